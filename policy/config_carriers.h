#pragma once

#include <map>
#include <string>

#include "policy/config.h"
#include "policy/config_reader.h"

/// Carriers in the configuration: GRE and IP-in-IP interfaces, and what protects them.
namespace ipsec::policy {

/// Reads them into Config::carriers; its tunnels are known, and how their groups are attached. `nodes`, `tunnel_nodes`:
/// by name. What a tunnel must be to protect a carrier is judged only while `errors` is empty, for what follows from an
/// error is none of its own.
void read_carriers(Config& config, const std::map<std::string, const JsonNode*>& nodes,
                   const std::map<std::string, const JsonNode*>& tunnel_nodes, ErrorList& errors);

}  // namespace ipsec::policy
