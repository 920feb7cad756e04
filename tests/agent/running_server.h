#pragma once

#include <future>
#include <memory>
#include <string>
#include <thread>

#include "agent/event_loop.h"
#include "tests/agent/control_support.h"

namespace ipsec::agent::control {

/// A server on a real path with the daemon's own event loop, on a thread of its own.
class RunningServer {
 public:
  explicit RunningServer(const std::string& path) : loop_(agent::EventLoop::create().value()) {
    auto& loop = *loop_;
    const Watcher watcher = {
        .watch = [&loop](
                     int fd, Watcher::Interest interest,
                     std::function<void()> handler) { return loop.watch(fd, translate(interest), std::move(handler)); },
        .change = [&loop](int fd, Watcher::Interest interest) { return loop.change(fd, translate(interest)); },
        .forget = [&loop](int fd) { loop.forget(fd); },
        .post = [&loop](std::function<void()> action) { loop.post(std::move(action)); }};
    server_ =
        std::make_unique<Server>(Server::Options{.version = "1.2.3", .now = &agent::monotonic_now}, backend, watcher);
    started = server_->listen(path).ok();
    thread_ = std::thread([this] { loop_->run(); });
  }
  ~RunningServer() {
    loop_->stop();
    thread_.join();
  }

  /// Changes the backend on the loop's thread, and waits until that is done.
  void change(const std::function<void(FakeBackend&)>& action) {
    std::promise<void> done;
    loop_->post([&] {
      action(backend);
      done.set_value();
    });
    done.get_future().wait();
  }

  FakeBackend backend;  ///< To look at; changed only by `change`.
  bool started = false;

 private:
  static agent::EventLoop::Interest translate(Watcher::Interest interest) {
    return interest == Watcher::Interest::kRead ? agent::EventLoop::Interest::kRead
                                                : agent::EventLoop::Interest::kReadWrite;
  }
  std::unique_ptr<agent::EventLoop> loop_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

}  // namespace ipsec::agent::control
