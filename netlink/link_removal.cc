#include <linux/rtnetlink.h>

#include <cerrno>
#include <set>

#include "netlink/links.h"
#include "netlink/namespace_port.h"

// Many interfaces that go at once. The kernel waits for a grace period of RCU (some 15 ms) after each removal, or after
// the removal of a whole interface group.
namespace ipsec::netlink {
namespace {

/// "ips" and a zero: no group that anybody chooses.
constexpr uint32_t kLeavingGroup = 0x69707300;

}  // namespace

/// The operations, all of them DeleteLink, that stand at the head of the queue.
std::vector<policy::KernelOperation> NamespacePort::take_removals() {
  std::vector<policy::KernelOperation> removals;
  while (!queued_.empty() && std::holds_alternative<policy::DeleteLink>(queued_.front().change)) {
    removals.push_back(std::move(queued_.front()));
    queued_.pop_front();
  }
  return removals;
}

void NamespacePort::remove_links(std::vector<policy::KernelOperation> removals) {
  xfrm_.send();  // what was submitted before goes first
  // One by one if it cannot be done at once, and to say of each why: what is gone already costs a look.
  if (removals.size() >= kRemovedAtOnceMin) (void)remove_at_once(removals);
  for (policy::KernelOperation& each : removals) start(std::move(each));
}

Status NamespacePort::remove_at_once(const std::vector<policy::KernelOperation>& removals) {
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  TRY_ASSIGN(const std::vector<LinkInfo> all, netlink::dump_links(*dumps), "");
  std::set<std::string_view> names;
  for (const policy::KernelOperation& each : removals) names.insert(std::get<policy::DeleteLink>(each.change).name);
  std::vector<int> indices;
  for (const LinkInfo& link : all) {
    // A VRF goes by itself: others may be in it.
    const bool goes = names.contains(link.name) && link.kind != "vrf" && is_ours(link);
    if (goes) indices.push_back(link.index);
    if (!goes && link.group == kLeavingGroup) return Error(Reason::kKernelConflict, "the group is in use");
  }
  return delete_links_at_once(route_, indices, kLeavingGroup);
}

}  // namespace ipsec::netlink
