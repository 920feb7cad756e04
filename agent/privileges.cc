#include "agent/privileges.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>

namespace ipsec::agent {

std::vector<Error> protect_memory() {
  std::vector<Error> warnings;
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    warnings.emplace_back(Reason::kPermission, "core dumps could not be switched off", errno);
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0)
    warnings.emplace_back(Reason::kPermission, "core files could not be switched off", errno);
  // On fault: only what is really used is locked, so that big tables and stacks cost nothing in advance.
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    const int error = errno;
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    warnings.emplace_back(Reason::kMemoryLock,
                          "memory is not locked (limit " + std::to_string(limit.rlim_cur) +
                              " bytes), keys might be swapped out: set LimitMEMLOCK=infinity or `ulimit -l unlimited`",
                          error);
  }
  return warnings;
}

}  // namespace ipsec::agent
