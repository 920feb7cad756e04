#pragma once

#include <memory>
#include <span>
#include <string>

#include "policy/config.h"
#include "policy/config_reader.h"

/// Reading of policies and limits, with the checks between their own keys; what they mean for a tunnel is checked where
/// the tunnel is read.
namespace ipsec::policy {

/// What weak algorithms may be used, and whether PFS must be, says `config`, whose defaults have been read.
std::shared_ptr<const IkePolicy> read_ike_policy(const std::string& name, ObjectReader reader, const Config& config);
std::shared_ptr<const ChildPolicy> read_child_policy(const std::string& name, ObjectReader reader,
                                                     const Config& config);
/// `defaults.allow_weak` and `defaults.require_pfs`.
void read_algorithm_rules(ObjectReader& defaults, Config& config);
/// The key "mss" of a group or tunnel.
void read_mss(ObjectReader& reader, MssClamp& clamp);

void read_admission(ObjectReader& reader, AdmissionLimits& limits);
void read_offload_budget(ObjectReader& reader, ErrorList& errors, OffloadBudget& budget);
void read_tunnel_offload(ObjectReader& reader, Tunnel& tunnel);

}  // namespace ipsec::policy
