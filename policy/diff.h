#pragma once

#include <vector>

#include "policy/desired_state.h"
#include "policy/kernel_port.h"

namespace ipsec::policy {

/// How to get from what stands to what is wanted.
struct StateDiff {
  std::vector<KernelChange> changes;  ///< In the order in which they must be carried out.
  size_t more = 0;                    ///< Further changes that were left out: a later read finds them.
  std::vector<SaKey> missing;         ///< Wanted SAs that do not stand: only IKE can make them, it has the keys.
  bool empty() const { return changes.empty() && more == 0 && missing.empty(); }
};

/// `ours`: what stands in the kernel AND is proven ours; what is not proven must not be in it. The order lets no packet
/// out unprotected and none into nothing: links, then policies, then routes that lead to them are made; then routes go
/// first, SAs next, policies after them (a packet that still comes is held by its policy), links last. An SA of a
/// wanted key that was made for something else goes, and is missing.
StateDiff diff(const NamespaceState& desired, const NamespaceState& ours);

}  // namespace ipsec::policy
