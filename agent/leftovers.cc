#include "agent/leftovers.h"

#include <poll.h>

#include <set>

#include "agent/event_loop.h"
#include "agent/limits.h"

namespace ipsec::agent {
namespace {

using Operations = std::vector<policy::KernelOperation>;

/// Interfaces first, so that no clear packet takes a tunnel that is being taken apart; their routes go with them.
Operations removals(netlink::XfrmKernel& kernel, std::vector<Error>& failed) {
  Operations operations;
  auto add = [&](const std::string& netns, policy::KernelChange change) {
    operations.push_back({operations.size() + 1, netns, std::move(change)});
  };
  std::set<std::string> with_sas;
  for (const netlink::ObjectKey& key : kernel.journal().all()) {
    if (key.kind == "link") add(key.netns, policy::DeleteLink{key.name});
    if (key.kind == "sa" || key.kind == "policy") with_sas.insert(key.netns);
  }
  for (const std::string& netns : with_sas) {
    auto policies = kernel.dump_policies(netns);
    auto sas = kernel.dump_sas(netns);
    if (!policies.ok() || !sas.ok()) {
      failed.push_back(policies.ok() ? sas.error() : policies.error());
      continue;
    }
    for (const policy::PolicyConfig& each : *policies)
      if (kernel.owns(netns, each.key)) add(netns, policy::DeletePolicy{each.key});
    for (const policy::SaState& each : *sas)
      if (kernel.owns(netns, each.key)) add(netns, policy::DeleteSa{each.key});
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
