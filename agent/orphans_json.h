#pragma once

#include <map>
#include <nlohmann/json.hpp>

#include "agent/orphans.h"

namespace ipsec::agent {

/// The clocks of one moment.
struct Moment {
  Instant now;
  WallTime wall;
};

/// Seconds since the kernel made an SA, and until it ends it; null where it does not.
nlohmann::json age_seconds(const policy::SaState& sa, const Moment& moment);
nlohmann::json ends_in_seconds(const policy::SaState& sa, const Moment& moment);

/// Rows of List("sas") for what is left of an earlier run: state "orphaned", or "replaced" once new SAs carry the
/// traffic. `shown`: the kernel's SAs at this moment; one that is not there any more has no row.
nlohmann::json orphan_sa_rows(const Orphans::Kept& kept, const std::map<policy::SaKey, policy::SaState>& shown,
                              const Moment& moment);
/// The row of List("children"); of several pairs the newest.
nlohmann::json orphan_child_row(const Orphans::Kept& kept, const Moment& moment);

}  // namespace ipsec::agent
