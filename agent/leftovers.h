#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "agent/adoption.h"
#include "netlink/xfrm_kernel.h"

namespace ipsec::agent {

/// What an earlier run of this daemon left behind when it was killed, as far as the journal proves that it is ours.
struct Leftovers {
  Adoption adoption;   ///< What stays, and whose it is.
  size_t removed = 0;  ///< Objects.
  std::vector<Error> failed;
  /// Objects that are probably ours, where the journal of that run is missing or damaged. They are left alone.
  size_t unclaimed = 0;
};

/// Reads what is ours in these namespaces, decides what fits the configuration, and removes the rest, before anything
/// new is made. `wait` lets the kernel answer; false when time is over. Namespaces that are not there hold nothing.
Leftovers take_over(policy::KernelPort& kernel, const std::set<std::string>& namespaces, const policy::Config& config,
                    const std::function<bool()>& wait);
/// The same in all namespaces that the journal names; what it names and is not there any more is struck off. Without a
/// complete journal also counts, in the namespaces of the configuration, what is unclaimed.
Leftovers take_over(netlink::XfrmKernel& kernel, const policy::Config& config);

}  // namespace ipsec::agent
