#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "agent/config_places.h"
#include "agent/negotiation_log.h"

namespace ipsec::agent {

/// The control interface's NegotiationFailure of each entry that fits `peer` (an address, an identity or a tunnel;
/// empty: all, without what was compared), the newest first, explained by the configuration given.
/// `files`: its texts, for the lines. Error kNotFound when nothing is kept of this peer; says how peers are listed.
Result<nlohmann::json> negotiation_failures(const NegotiationLog& log, const policy::Config& config,
                                            const std::vector<policy::ConfigFile>& files, const std::string& peer);

}  // namespace ipsec::agent
