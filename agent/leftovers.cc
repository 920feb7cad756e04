#include "agent/leftovers.h"

#include <poll.h>

#include <algorithm>
#include <map>

#include "agent/event_loop.h"
#include "agent/limits.h"
#include "agent/namespace_objects.h"
#include "agent/unclaimed.h"
#include "policy/diff.h"

namespace ipsec::agent {
namespace {

/// Waits for the kernel, at most kKernelTimeout in all.
class Waiting {
 public:
  explicit Waiting(netlink::XfrmKernel& kernel) : kernel_(kernel), deadline_(monotonic_now() + kKernelTimeout) {}
  bool operator()() {
    constexpr int kPauseMs = 100;
    std::vector<pollfd> descriptors;
    for (int fd : kernel_.poll_fds()) descriptors.push_back({fd, POLLIN, 0});
    poll(descriptors.data(), descriptors.size(), kPauseMs);
    kernel_.process();
    return monotonic_now() < deadline_;
  }

 private:
  netlink::XfrmKernel& kernel_;
  Instant deadline_;
};

}  // namespace

Leftovers take_over(policy::KernelPort& kernel, const std::set<std::string>& namespaces, const policy::Config& config,
                    const std::function<bool()>& wait) {
  Leftovers result;
  std::map<std::string, Found> found;
  for (const std::string& netns : namespaces) {
    auto ours = read_objects(kernel, netns, Ownership::kOurs);
    if (ours.ok())
      found.emplace(netns, Found{.ours = std::move(ours->state), .sas = std::move(ours->sas)});
    else if (ours.error().reason() != Reason::kNamespaceMissing)
      result.failed.push_back(std::move(ours).error());
  }
  result.adoption = adopt(config, found);
  // What stays is a part of what stands, so that the difference is the removal of the rest, in the order that leaks
  // nothing.
  uint64_t asked = 0;
  for (const auto& [netns, each] : found)
    for (policy::KernelChange& change : policy::diff(result.adoption.keep[netns], each.ours).changes)
      kernel.submit({++asked, netns, std::move(change)});
  kernel.flush();
  for (uint64_t waiting = asked; waiting != 0;) {
    while (auto completion = kernel.poll_completion()) {
      --waiting;
      if (completion->result.ok())
        ++result.removed;
      else
        result.failed.push_back(std::move(completion->result).error());
    }
    if (kernel.has_unsent()) kernel.flush();  // some at a time
    if (waiting == 0 || wait()) continue;
    result.failed.emplace_back(Reason::kKernelTimeout, std::to_string(waiting) + " removals without answer");
    break;
  }
  return result;
}

Leftovers take_over(netlink::XfrmKernel& kernel, const policy::Config& config) {
  std::set<std::string> namespaces;
  for (const netlink::ObjectKey& key : kernel.journal().all()) namespaces.insert(key.netns);
  Leftovers result = take_over(kernel, namespaces, config, Waiting(kernel));
  // Of namespaces that are still in use the hash is set anew, from what was there before both runs.
  for (const std::string& netns : kernel.hashed_namespaces()) {
    const bool used = std::ranges::any_of(config.groups, [&](const auto& each) {
      return each.second->enabled && each.second->public_place.netns == netns;
    });
    if (used) continue;
    if (Status restored = kernel.restore_policy_hash(netns);
        !restored.ok() && restored.error().reason() != Reason::kNamespaceMissing)
      result.failed.push_back(std::move(restored).error());
  }
  if (Status struck = kernel.forget_absent(namespaces); !struck.ok())
    result.failed.push_back(std::move(struck).error().context("what is gone stays in the journal"));
  if (kernel.journal().found() == netlink::Journal::Found::kComplete) return result;
  for (const std::string& netns : namespaces_of(config))
    if (const auto found = find_unclaimed(kernel, netns); found.ok()) result.unclaimed += found->count;
  return result;
}

}  // namespace ipsec::agent
