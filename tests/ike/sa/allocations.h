#pragma once

#include <cstddef>

namespace ipsec::testing {

/// How often this program has asked for memory so far (operator new).
size_t allocations();

}  // namespace ipsec::testing
