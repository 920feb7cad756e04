#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "agent/agent.h"
#include "agent/control/backend.h"

/// Tunnels, groups and credentials as the control socket shows them.
namespace ipsec::agent::show {

/// Row of List("tunnels").
nlohmann::json tunnel_row(const Agent& agent, const TunnelRow& row);
std::unique_ptr<control::RowSource> tunnel_rows(const Agent& agent);
/// A tunnel in the effective configuration.
nlohmann::json effective_tunnel(const policy::Tunnel& tunnel);
/// All of them, as pairs of name and object.
std::unique_ptr<control::RowSource> effective_tunnels(const Agent& agent);
/// What became of a tunnel. Error kConfigNotInForce when it is not there any more.
Result<nlohmann::json> outcome_of(const Agent& agent, const std::string& tunnel);

std::unique_ptr<control::RowSource> group_rows(const Agent& agent);
/// What the configuration says of a group, without what is counted.
nlohmann::json group_settings(const policy::TunnelGroup& group);
std::unique_ptr<control::RowSource> credential_rows(const Agent& agent);

}  // namespace ipsec::agent::show
