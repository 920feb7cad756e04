#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>

#include "policy/kernel_port.h"

namespace ipsec::agent {

/// Operations of the kernel port with what is to happen when each is done. Continuations run inside drain(), never
/// inside submit().
class KernelQueue {
 public:
  explicit KernelQueue(policy::KernelPort& port) : port_(port) {}
  using Done = std::function<void(Result<policy::KernelReply>)>;

  void submit(const std::string& netns, policy::KernelChange change, Done done) {
    const uint64_t id = ++last_id_;
    waiting_.emplace(id, std::move(done));
    port_.submit({.id = id, .netns = netns, .change = std::move(change)});
    dirty_ = true;
  }

  /// Sends what was submitted and runs the continuations of what is done, until nothing more happens at once.
  void drain() {
    for (;;) {
      if (std::exchange(dirty_, false)) port_.flush();
      auto completion = port_.poll_completion();
      if (!completion) {
        if (!dirty_) return;
        continue;
      }
      auto it = waiting_.find(completion->id);
      if (it == waiting_.end()) continue;
      Done done = std::move(it->second);
      waiting_.erase(it);
      if (done) done(std::move(completion->result));
    }
  }

  size_t in_flight() const { return waiting_.size(); }
  policy::KernelPort& port() { return port_; }

 private:
  policy::KernelPort& port_;
  uint64_t last_id_ = 0;
  bool dirty_ = false;
  std::unordered_map<uint64_t, Done> waiting_;
};

}  // namespace ipsec::agent
