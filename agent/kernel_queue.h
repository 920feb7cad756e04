#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>

#include "policy/base/time.h"
#include "policy/kernel_object.h"
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
    policy::KernelObject object = policy::object_of(change);
    if (observer_) observer_(netns, object);
    waiting_.emplace(id, Waiting{.done = std::move(done), .netns = netns, .object = std::move(object)});
    port_.submit({.id = id, .netns = netns, .change = std::move(change)});
    dirty_ = true;
  }

  /// Sends what was submitted and runs the continuations of what is done, until nothing more happens at once.
  void drain() {
    while (drain_some(SIZE_MAX)) {
    }
  }
  /// The same with at most `most` continuations, and for about `limit` by the clock, if there is one. True: there is
  /// more to do at once.
  bool drain_some(size_t most, const std::function<Instant()>& clock = {}, Duration limit = Duration{0}) {
    const Instant begun = clock ? clock() : Instant{};
    more_ = false;
    for (size_t count = 0; count < most && (!clock || clock() - begun <= limit);) {
      if (std::exchange(dirty_, false)) port_.flush();
      auto completion = port_.poll_completion();
      if (!completion) {
        if (dirty_) continue;
        // What is not sent yet is for the next call.
        dirty_ = more_ = port_.has_unsent();
        return more_;
      }
      auto it = waiting_.find(completion->id);
      if (it == waiting_.end()) continue;
      Done done = std::move(it->second.done);
      waiting_.erase(it);
      ++count;
      if (done) done(std::move(completion->result));
    }
    return more_ = true;
  }
  /// Whether drain_some() has something to do at once.
  bool has_more() const { return more_ || dirty_; }

  size_t in_flight() const { return waiting_.size(); }
  /// The number of the last operation that was submitted.
  uint64_t last_id() const { return last_id_; }
  /// Calls `each` with number, namespace and object of every operation that has no answer yet.
  template <typename Each>
  void for_each_in_flight(const Each& each) const {
    for (const auto& [id, waiting] : waiting_) each(id, waiting.netns, waiting.object);
  }
  /// From now on called with the object of every operation, when it is submitted.
  void set_observer(std::function<void(const std::string& netns, const policy::KernelObject&)> observer) {
    observer_ = std::move(observer);
  }
  policy::KernelPort& port() { return port_; }

 private:
  struct Waiting {
    Done done;
    std::string netns;
    policy::KernelObject object;
  };
  policy::KernelPort& port_;
  uint64_t last_id_ = 0;
  bool dirty_ = false, more_ = false;
  std::unordered_map<uint64_t, Waiting> waiting_;
  std::function<void(const std::string& netns, const policy::KernelObject&)> observer_;
};

}  // namespace ipsec::agent
