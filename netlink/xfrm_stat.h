#pragma once

#include <map>
#include <string>

#include "policy/base/result.h"

namespace ipsec::netlink {

/// The counters of /proc/net/xfrm_stat of a namespace, by name ("XfrmOutNoStates"). They are the namespace's, not ours
/// alone.
Result<std::map<std::string, uint64_t>> read_xfrm_stat(const std::string& netns);

}  // namespace ipsec::netlink
