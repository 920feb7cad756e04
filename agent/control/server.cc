#include "agent/control/server.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "agent/control/limits.h"

namespace ipsec::agent::control {

Server::Server(Options options, Backend& backend, Watcher watcher)
    : options_(std::move(options)),
      watcher_(std::move(watcher)),
      host_{.backend = backend,
            .version = options_.version,
            .counters = {},
            .queued_bytes = 0,
            .make_done = {},
            .make_reply = {},
            .now = options_.now},
      spare_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      self_(std::make_shared<Server*>(this)) {
  host_.make_done = [this](uint64_t id) -> Backend::Done {
    return [weak = std::weak_ptr<Server*>(self_), id](Result<nlohmann::json> outcome) {
      if (const auto self = weak.lock()) (*self)->complete(id, std::move(outcome));
    };
  };
  host_.make_reply = [this](uint64_t id) -> std::function<void(std::string)> {
    return [weak = std::weak_ptr<Server*>(self_), id](std::string reply) {
      if (const auto self = weak.lock()) (*self)->complete_reply(id, std::move(reply));
    };
  };
}

Server::~Server() {
  if (listener_) watcher_.forget(listener_->fd());
  for (const auto& [id, client] : clients_) watcher_.forget(client.session->fd());
}

Status Server::listen(const std::string& path) { return start(Listener::create(path, options_.rules.readers)); }

Status Server::adopt(int listening_fd) { return start(Listener::adopt(listening_fd)); }

Status Server::start(Result<Listener> listener) {
  VERIFY(!listener_);
  TRY_ASSIGN(Listener made, std::move(listener), "");
  auto owned = std::make_unique<Listener>(std::move(made));
  TRY(watcher_.watch(owned->fd(), Watcher::Interest::kRead, [this] { on_connection(); }), "control socket");
  listener_ = std::move(owned);
  return {};
}

void Server::on_connection() {
  for (int taken = 0; taken < kBacklog; ++taken) {
    const int fd = accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      add_client(fd);
    } else if (errno == EMFILE || errno == ENFILE) {
      shed_connection();
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;  // nobody is waiting any more
    }
  }
}

/// Without a free descriptor the waiting client could not even be sent away, and the listening socket would stay
/// readable: the spare one makes room for that.
void Server::shed_connection() {
  spare_.reset();
  const Descriptor refused(accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  ++host_.counters.refused_clients;
  spare_ = Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

bool Server::has_room(Access access) const {
  const size_t limit = access == Access::kWrite ? kClientsMax : kClientsMax - kClientsReservedForRoot;
  return clients_.size() < limit;
}

void Server::add_client(int fd) {
  Descriptor socket(fd);
  const auto credentials = options_.credentials(fd);
  const Access access = credentials.ok() ? access_of(*credentials, options_.rules) : Access::kNone;
  const uint64_t id = next_id_++;
  auto session = std::make_unique<Session>(id, std::move(socket), access, host_);
  if (!has_room(access)) return session->refuse();
  if (!watcher_.watch(fd, Watcher::Interest::kRead, [this, id] { on_ready(id); }).ok()) return;
  ++host_.counters.accepted;
  clients_[id] = {.session = std::move(session)};
  host_.clients = clients_.size();
}

void Server::on_ready(uint64_t id) { enqueue(id); }

/// Not at once: while all that is ready is served one by one, each client would have its full turn.
void Server::enqueue(uint64_t id) {
  const auto it = clients_.find(id);
  if (it == clients_.end() || std::exchange(it->second.queued, true)) return;
  queue_.push_back(id);
  serve_later();
}

void Server::serve() {
  serving_ = false;
  const Instant begun = host_.now();
  while (!queue_.empty()) {
    const uint64_t id = queue_.front();
    queue_.pop_front();
    const auto it = clients_.find(id);
    if (it == clients_.end()) continue;
    it->second.queued = false;
    it->second.session->on_ready();
    settle(id);
    if (host_.now() - begun >= kTurnMax) break;
  }
  if (!queue_.empty()) serve_later();
}

void Server::serve_later() {
  if (std::exchange(serving_, true)) return;
  watcher_.post([weak = std::weak_ptr<Server*>(self_)] {
    if (const auto self = weak.lock()) (*self)->serve();
  });
}

void Server::complete(uint64_t id, Result<nlohmann::json> outcome) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  it->second.session->complete(std::move(outcome));
  enqueue(id);
}

void Server::complete_reply(uint64_t id, std::string reply) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  it->second.session->complete_reply(std::move(reply));
  enqueue(id);
}

void Server::on_new_events() {
  for (const auto& [id, client] : clients_)
    if (client.session->wants_events()) enqueue(id);
}

/// After a session's turn: ends it, or watches for what it waits for.
void Server::settle(uint64_t id) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  Client& client = it->second;
  if (client.session->finished()) {
    watcher_.forget(client.session->fd());
    clients_.erase(it);
    host_.clients = clients_.size();
    return;
  }
  if (client.session->is_runnable()) enqueue(id);
  const auto wanted = client.session->wants_write() ? Watcher::Interest::kReadWrite : Watcher::Interest::kRead;
  if (wanted == client.interest) return;
  client.interest = wanted;
  // A descriptor that cannot be watched any more would hang for ever.
  if (!watcher_.change(client.session->fd(), wanted).ok()) {
    watcher_.forget(client.session->fd());
    clients_.erase(it);
    host_.clients = clients_.size();
  }
}

}  // namespace ipsec::agent::control
