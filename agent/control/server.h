#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "agent/control/access.h"
#include "agent/control/backend.h"
#include "agent/control/listener.h"
#include "agent/control/session.h"
#include "agent/control/watcher.h"

namespace ipsec::agent::control {

inline constexpr std::string_view kDefaultSocket = "/run/ipsecd/control";

/// The control socket of the daemon: accepts clients, lets them call what net.ipsecd.control.varlink describes, and
/// asks the backend.
///
/// NOTE threading: everything runs on the watcher's thread; nothing here blocks. The backend may call back (the outcome
/// of `up`, `on_new_events`) from inside a call or at any later time.
/// NOTE turns: clients that have something to do queue; each serving of the queue has a budget of time, and who is not
/// done goes to the end, so that no client keeps the others or the daemon from their work.
/// NOTE limits: limits.h. A client beyond the limit is told so and disconnected; one that sends too much, or falls
/// behind the events that are kept, is disconnected and counted.
class Server {
 public:
  struct Options {
    std::string version;  ///< Of the daemon, for GetInfo.
    AccessRules rules = system_access_rules();
    CredentialLookup credentials = peer_credentials;
    std::function<Instant()> now;  ///< The monotonic clock; must be given.
  };

  /// `backend` and what `watcher` stands for must outlive the server.
  Server(Options options, Backend& backend, Watcher watcher);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Starts to listen at a path. Error kExists when another daemon does.
  Status listen(const std::string& path);
  /// Listens on a socket that was handed over; owns it from now on, even after an error.
  Status adopt(int listening_fd);
  /// Serves a connected socket; owns it from now on.
  void add_client(int fd);

  /// To be called after events were appended to the ring; once after several is enough.
  void on_new_events();

  const ServerCounters& counters() const { return host_.counters; }
  size_t client_count() const { return clients_.size(); }

 private:
  struct Client {
    std::unique_ptr<Session> session;
    Watcher::Interest interest = Watcher::Interest::kRead;
    bool queued = false;
  };

  Status start(Result<Listener> listener);
  void on_connection();
  void shed_connection();
  bool has_room(Access access) const;
  void on_ready(uint64_t id);
  void complete(uint64_t id, Result<nlohmann::json> outcome);
  void complete_reply(uint64_t id, std::string reply);
  void enqueue(uint64_t id);
  void serve();
  void serve_later();
  void settle(uint64_t id);

  Options options_;
  Watcher watcher_;
  SessionHost host_;
  std::unique_ptr<Listener> listener_;
  Descriptor spare_;  ///< Given up for a moment when the process has no descriptors left.
  uint64_t next_id_ = 1;
  std::map<uint64_t, Client> clients_;
  std::deque<uint64_t> queue_;     ///< Clients that have something to do.
  bool serving_ = false;           ///< `serve` will be called.
  std::shared_ptr<Server*> self_;  ///< Outcomes that come after our end find that it is gone.
};

}  // namespace ipsec::agent::control
