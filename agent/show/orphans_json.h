#pragma once

#include <map>
#include <nlohmann/json.hpp>

#include "agent/orphans.h"
#include "agent/show/sa_json.h"

namespace ipsec::agent {

/// "orphaned", or "replaced".
std::string_view state_of(const Orphans::Kept& kept);
/// Rows of List("sas") for what is left of an earlier run: state "orphaned", or "replaced" once new SAs carry the
/// traffic. `shown`: the kernel's SAs at this moment; one that is not there any more has no row.
nlohmann::json orphan_sa_rows(const Orphans::Kept& kept, const std::map<policy::SaKey, policy::SaState>& shown,
                              const Moment& moment);
/// The row of List("children"); of several pairs the newest.
nlohmann::json orphan_child_row(const Orphans::Kept& kept, const Moment& moment);

}  // namespace ipsec::agent
