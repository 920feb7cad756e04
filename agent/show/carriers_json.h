#pragma once

#include <nlohmann/json.hpp>

#include "agent/carriers.h"
#include "policy/config_changes.h"

/// What the control socket says of carriers; keys as in agent/control/net.ipsecd.control.varlink.
namespace ipsec::agent {

/// Rows of List("carriers").
nlohmann::json carrier_rows(const Carriers& carriers, Instant now);
/// How many are in each state.
nlohmann::json carrier_counts(const Carriers& carriers);
/// Whether one that is enabled does not stand ready.
bool lacks_carriers(const nlohmann::json& counts);
/// What a configuration changes for them, for ConfigDiff and ConfigApply.
nlohmann::json carrier_changes_json(const policy::CarrierChanges& changes);
/// All carriers of a configuration, with their defaults.
nlohmann::json carriers_effective(const policy::Config& config);

}  // namespace ipsec::agent
