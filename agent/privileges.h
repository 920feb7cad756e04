#pragma once

#include <string>
#include <vector>

#include "policy/base/result.h"

namespace ipsec::agent {

/// Keeps key material out of core dumps and swap: not dumpable, no core file, memory locked. What the system did not
/// permit comes back as warnings, each with the way to mend it; the daemon runs all the same.
std::vector<Error> protect_memory();

}  // namespace ipsec::agent
