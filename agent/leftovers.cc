#include "agent/leftovers.h"

#include <poll.h>

#include <set>

#include "agent/event_loop.h"
#include "agent/limits.h"
#include "policy/diff.h"

namespace ipsec::agent {
namespace {

using Operations = std::vector<policy::KernelOperation>;

/// What of a namespace the journal proves ours, as it stands in the kernel. Routes go with their interfaces.
Result<policy::NamespaceState> owned_state(netlink::XfrmKernel& kernel, const std::string& netns) {
  policy::NamespaceState state;
  for (const netlink::ObjectKey& key : kernel.journal().all("link"))
    if (key.netns == netns) state.add(policy::LinkConfig{.name = key.name});
  TRY_ASSIGN(auto policies, kernel.dump_policies(netns), "");
  for (const policy::PolicyConfig& each : policies)
    if (kernel.owns(netns, each.key)) state.add(each);
  TRY_ASSIGN(auto sas, kernel.dump_sas(netns), "");
  for (const policy::SaState& each : sas)
    if (kernel.owns(netns, each.key)) state.sas.emplace(each.key, policy::SaIdentity::of(each));
  TRY_ASSIGN(auto routes, kernel.dump_routes(netns), "");
  for (const policy::RouteConfig& each : routes)  // one that leads nowhere
    if (each.device.empty() && kernel.owns(netns, each)) state.add(each);
  return state;
}

/// Nothing is wanted yet: the difference to what stands is its removal, in the order that leaks nothing.
Operations removals(netlink::XfrmKernel& kernel, std::vector<Error>& failed) {
  std::set<std::string> namespaces;
  for (const netlink::ObjectKey& key : kernel.journal().all()) namespaces.insert(key.netns);
  Operations operations;
  for (const std::string& netns : namespaces) {
    auto ours = owned_state(kernel, netns);
    if (!ours.ok()) {
      failed.push_back(std::move(ours).error());
      continue;
    }
    for (policy::KernelChange& change : policy::diff({}, *ours).changes)
      operations.push_back({operations.size() + 1, netns, std::move(change)});
  }
  return operations;
}

}  // namespace

Leftovers remove_leftovers(netlink::XfrmKernel& kernel) {
  Leftovers result;
  Operations operations = removals(kernel, result.failed);
  size_t waiting = operations.size();
  for (policy::KernelOperation& each : operations) kernel.submit(std::move(each));
  kernel.flush();
  const Instant deadline = monotonic_now() + kKernelTimeout;
  while (waiting != 0 && monotonic_now() < deadline) {
    kernel.process();
    while (auto completion = kernel.poll_completion()) {
      --waiting;
      if (completion->result.ok())
        ++result.removed;
      else
        result.failed.push_back(std::move(completion->result).error());
    }
    if (waiting == 0) break;
    std::vector<pollfd> descriptors;
    for (int fd : kernel.poll_fds()) descriptors.push_back({fd, POLLIN, 0});
    poll(descriptors.data(), descriptors.size(), 100);
  }
  if (waiting != 0)
    result.failed.emplace_back(Reason::kKernelTimeout, std::to_string(waiting) + " removals without answer");
  return result;
}

}  // namespace ipsec::agent
