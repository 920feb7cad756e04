#pragma once

#include <string>
#include <vector>

#include "netlink/xfrm_kernel.h"

namespace ipsec::agent {

/// What an earlier run of this daemon left behind when it was killed, as far as the journal proves that it is ours:
/// interfaces, policies and SAs of the namespaces named here or in the journal. Removed before anything new is made:
/// their keys died with that run, so the peers will set their tunnels up anew. Returns how many objects were removed;
/// what could not be is in `failed`.
struct Leftovers {
  size_t removed = 0;
  std::vector<Error> failed;
};
Leftovers remove_leftovers(netlink::XfrmKernel& kernel);

}  // namespace ipsec::agent
