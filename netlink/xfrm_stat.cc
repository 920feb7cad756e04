#include "netlink/xfrm_stat.h"

#include <fstream>

#include "netlink/netns.h"

namespace ipsec::netlink {

Result<std::map<std::string, uint64_t>> read_xfrm_stat(const std::string& netns) {
  std::map<std::string, uint64_t> counters;
  // /proc/net would be that of the main thread; thread-self follows the thread that has changed its namespace.
  TRY(run_in_netns(netns,
                   [&]() -> Status {
                     std::ifstream file("/proc/thread-self/net/xfrm_stat");
                     if (!file)
                       return Error(Reason::kKernelMissingFeature,
                                    "the kernel has no /proc/net/xfrm_stat (CONFIG_XFRM_STATISTICS)");
                     std::string name;
                     for (uint64_t value = 0; file >> name >> value;) counters[name] = value;
                     return {};
                   }),
      "xfrm statistics");
  return counters;
}

}  // namespace ipsec::netlink
