#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "policy/config.h"

namespace ipsec::policy {

/// Policies with prefixes of at least these lengths are found by a hash, others by walking a tree (kernel:
/// `ip xfrm policy set hthresh4 LOCAL REMOTE`). The defaults are the kernel's.
struct PolicyHash {
  uint8_t local_v4 = 32, remote_v4 = 32;    ///< 0 to 32.
  uint8_t local_v6 = 128, remote_v6 = 128;  ///< 0 to 128.
  friend bool operator==(const PolicyHash&, const PolicyHash&) = default;
};

/// By public namespace, the thresholds for the policies that a configuration brings there: the longest prefixes that at
/// least 95 % of the selectors reach, so that a few wide ones do not spoil the hash for all others. Only namespaces
/// with selectors; the kernel's own value for a side or family without any.
std::map<std::string, PolicyHash> plan_policy_hashes(const Config& config);

}  // namespace ipsec::policy
