#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/control/socket_address.h"
#include "agent/event_loop.h"
#include "tests/agent/control_support.h"

using namespace ipsec;
using namespace ipsec::agent::control;
using nlohmann::json;

namespace {

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
        .forget = [&loop](int fd) { loop.forget(fd); }};
    server_ = std::make_unique<Server>(Server::Options{.version = "1.2.3"}, backend, watcher);
    started = server_->listen(path).ok();
    thread_ = std::thread([this] { loop_->run(); });
  }
  ~RunningServer() {
    loop_->stop();
    thread_.join();
  }

  FakeBackend backend;
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

}  // namespace

TEST_CASE("client: status over a real socket and the daemon's event loop") {
  const TemporaryFolder folder;
  const RunningServer server(folder.path + "/control");
  REQUIRE(server.started);

  auto client = Client::connect(folder.path + "/control");
  REQUIRE(client.ok());
  const auto reply = client->call("Status", json::object(), {});

  REQUIRE(reply.ok());
  CHECK(reply.value().error.empty());
  CHECK(text_at(member_at(reply.value().parameters, "status"), "version") == "1.2.3");
}
