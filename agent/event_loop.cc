#include "agent/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace ipsec::agent {
namespace {

Duration clock_value(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return std::chrono::seconds(now.tv_sec) + Duration(now.tv_nsec);
}

}  // namespace

Instant monotonic_now() { return {clock_value(CLOCK_MONOTONIC)}; }
WallTime wall_now() { return {clock_value(CLOCK_REALTIME)}; }

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return Error(Reason::kSystemCall, "epoll_create1", errno);
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const int error = errno;
    close(epoll_fd);
    return Error(Reason::kSystemCall, "eventfd", error);
  }
  std::unique_ptr<EventLoop> loop(new EventLoop(epoll_fd, wake_fd));
  TRY(loop->watch(wake_fd, Interest::kRead,
                  [fd = wake_fd] {
                    uint64_t count = 0;
                    [[maybe_unused]] const ssize_t got = read(fd, &count, sizeof count);
                  }),
      "event loop");
  return loop;
}

EventLoop::~EventLoop() {
  close(wake_fd_);
  close(epoll_fd_);
}

namespace {

epoll_event event_for(int fd, EventLoop::Interest interest) {
  epoll_event event{};
  event.events = interest == EventLoop::Interest::kNothing ? 0U : EPOLLIN;
  if (interest == EventLoop::Interest::kReadWrite) event.events |= EPOLLOUT;
  event.data.fd = fd;
  return event;
}

}  // namespace

Status EventLoop::watch(int fd, Interest interest, std::function<void()> handler) {
  epoll_event event = event_for(fd, interest);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return Error(Reason::kSystemCall, "epoll_ctl", errno);
  handlers_[fd] = std::make_shared<std::function<void()>>(std::move(handler));
  return {};
}

Status EventLoop::change(int fd, Interest interest) {
  epoll_event event = event_for(fd, interest);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) return Error(Reason::kSystemCall, "epoll_ctl", errno);
  return {};
}

void EventLoop::forget(int fd) {
  if (handlers_.erase(fd) != 0) epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::post(std::function<void()> action) {
  bool first = false;
  {
    const std::lock_guard lock(posted_mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(action));
  }
  if (!first) return;  // somebody has woken it already
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> batch;
  {
    const std::lock_guard lock(posted_mutex_);
    batch.swap(posted_);
  }
  for (auto& action : batch) action();
}

int EventLoop::wait_milliseconds() const {
  const auto deadline = deadline_ ? deadline_() : std::nullopt;
  if (!deadline) return -1;
  const Duration left = *deadline - monotonic_now();
  if (left <= Duration{0}) return 0;
  // Rounded up, so that the deadline has really come when the loop wakes; at most a minute, in case of suspension.
  return static_cast<int>(std::min<int64_t>((left.count() + 999999) / 1000000, 60000));
}

void EventLoop::run() {
  stopping_ = false;
  while (!stopping_) {
    std::array<epoll_event, 64> events{};
    const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), wait_milliseconds());
    const Instant begun = monotonic_now();
    for (int i = 0; i < count; ++i) {
      auto it = handlers_.find(events[static_cast<size_t>(i)].data.fd);
      if (it == handlers_.end()) continue;  // removed by an earlier handler of this round
      const auto handler = it->second;      // stays alive if it removes itself
      (*handler)();
    }
    run_posted();
    if (after_round_) after_round_();
    longest_turn_ = std::max(longest_turn_, monotonic_now() - begun);
  }
}

void EventLoop::stop() {
  post([this] { stopping_ = true; });
}

}  // namespace ipsec::agent
