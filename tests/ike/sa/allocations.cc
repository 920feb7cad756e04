#include "tests/ike/sa/allocations.h"

#include <cstdlib>
#include <new>

namespace {
size_t count = 0;
}  // namespace

size_t ipsec::testing::allocations() { return count; }

void* operator new(size_t bytes) {
  ++count;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
