#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "policy/base/result.h"
#include "policy/base/time.h"

namespace ipsec::agent {

/// The monotonic clock as the engine wants it.
Instant monotonic_now();
WallTime wall_now();

/// epoll for one thread. Handlers run on that thread, one at a time; a handler may add and remove descriptors, its own
/// too. `post` is the only method for other threads: it queues a function and wakes the loop.
class EventLoop {
 public:
  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  enum class Interest : uint8_t { kRead, kReadWrite, kNothing };
  /// Calls `handler` while `fd` is readable (or writable, if asked for; or broken, in any case), until removed. The
  /// caller keeps owning the descriptor.
  Status watch(int fd, Interest interest, std::function<void()> handler);
  Status change(int fd, Interest interest);
  void forget(int fd);

  /// Asked before each sleep; the loop wakes no later than that.
  void set_deadline_source(std::function<std::optional<Instant>()> source) { deadline_ = std::move(source); }
  /// Called after each round of handlers, and when the deadline has come.
  void set_after_round(std::function<void()> action) { after_round_ = std::move(action); }

  void post(std::function<void()> action);
  /// The longest time that one round of handlers has taken, what was posted and what comes after a round included.
  Duration longest_turn() const { return longest_turn_; }
  /// Runs until `stop()`. May be called again afterwards.
  void run();
  /// Ends `run` after the present round. For any thread.
  void stop();

 private:
  EventLoop(int epoll_fd, int wake_fd) : epoll_fd_(epoll_fd), wake_fd_(wake_fd) {}
  void run_posted();
  int wait_milliseconds() const;
  int epoll_fd_;
  int wake_fd_;
  Duration longest_turn_{0};
  bool stopping_ = false;  // only touched on the loop's thread: stop() posts
  std::map<int, std::shared_ptr<std::function<void()>>> handlers_;
  std::function<std::optional<Instant>()> deadline_;
  std::function<void()> after_round_;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace ipsec::agent
