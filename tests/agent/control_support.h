#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/control/backend.h"
#include "agent/control/client.h"
#include "agent/control/server.h"

namespace ipsec::agent::control {

/// A daemon without tunnels: answers what the test has put in.
class FakeBackend : public Backend {
 public:
  Work status() override { return done_at_once(status_value); }
  Result<std::unique_ptr<RowSource>> list(std::string_view kind) override;
  Work show(std::string_view kind, std::string_view name) override;
  void up(const std::string& tunnel, const std::string& child, Done done) override;
  void down(const std::string& tunnel, const std::string& child, Done done) override;
  void rekey(const std::string& tunnel, const std::string& child, RekeyTarget target, Done done) override;
  EventRing::Page events(uint64_t from, size_t most) override { return ring.read(from, most); }
  Result<nlohmann::json> explain_negotiation(const std::string& peer) override;
  void drift(const std::optional<std::string>& netns, std::function<void(Maker)> done) override;
  Work drift_adopt(const std::optional<std::string>& netns) override;
  Work metrics(const std::string& format, const ServerCounters& counters, size_t clients) override;
  nlohmann::json config_check(const std::vector<NamedText>& files) const override;
  void aside(std::function<void()> work, std::function<void()> then) override;
  void config_apply(ApplyMode mode, Done done) override;
  Effective config_effective() override;

  /// Appends events and returns the last sequence number.
  uint64_t add_events(size_t count, const std::string& object = "tunnel/branch-7");

  nlohmann::json status_value = {{"version", "1.2.3"}, {"health", "ok"}};
  std::map<std::string, nlohmann::json, std::less<>> rows;
  std::string metrics_text = "# EOF\n";
  size_t rows_per_part = 20;  ///< Of a list, at each call.
  size_t parts_asked = 0;
  /// What was given to another thread, to be run by the test; at once without it.
  std::optional<std::vector<std::function<void()>>> set_aside;
  EventRing ring{1000};
  std::vector<std::string> operations;  ///< "up branch-7/lan"
  std::vector<Done> waiting;            ///< Outcomes that the test gives.
  std::optional<nlohmann::json> outcome_at_once;
  size_t applied = 0;  ///< Configurations.
  bool config_is_bad = false;
  bool applies_later = false;  ///< The test gives the outcome of config_apply, too.
};

/// An event loop over poll(2) that runs only as long as there is something to do.
class TestLoop {
 public:
  Watcher watcher();
  /// Runs the handlers of what is ready; false if nothing was within the time.
  bool run_once(int wait_ms = 0);
  void run_until_idle();
  size_t watched() const { return handlers_.size(); }
  size_t rounds = 0;  ///< In which posted functions ran.

 private:
  struct Entry {
    Watcher::Interest interest;
    std::function<void()> handler;
  };
  std::map<int, Entry> handlers_;
  std::vector<std::function<void()>> posted_;
};

/// A server with a fake backend; clients come over socket pairs and are whoever the test says.
class World {
 public:
  World();
  /// The client's end; blocking operations on it would wait for ever, so it is non-blocking.
  int connect();
  Credentials who{.uid = 0, .groups = {}};
  static constexpr gid_t kReaders = 5001;
  static constexpr gid_t kWriters = 5002;

  /// Sends bytes as they are, runs the loop, and returns all replies that came.
  std::vector<nlohmann::json> exchange(int fd, std::string_view bytes);
  /// The only reply to a call of our interface.
  nlohmann::json call(int fd, std::string_view method, nlohmann::json parameters = nlohmann::json::object(),
                      nlohmann::json extra = nlohmann::json::object());
  std::vector<nlohmann::json> read_replies(int fd);
  /// The server has closed the connection.
  static bool is_closed(int fd);

  FakeBackend backend;
  TestLoop loop;
  /// The clock goes on by this much whenever it is read.
  Duration tick{0};
  Instant time{};
  std::unique_ptr<Server> server;

 private:
  std::vector<Descriptor> ends_;
  std::map<int, std::string> unread_;
};

/// A call as bytes with its NUL.
std::string call_bytes(std::string_view method, nlohmann::json parameters = nlohmann::json::object(),
                       nlohmann::json extra = nlohmann::json::object());

/// A folder that is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path;
};

}  // namespace ipsec::agent::control
