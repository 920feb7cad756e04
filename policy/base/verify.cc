#include "policy/base/verify.h"

#include <cstdio>
#include <cstdlib>

namespace ipsec {

void verify_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "ipsecd: broken invariant at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace ipsec
