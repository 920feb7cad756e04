#include "agent/control/server.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "agent/control/limits.h"

namespace ipsec::agent::control {

Server::Server(Options options, Backend& backend, Watcher watcher)
    : options_(std::move(options)),
      watcher_(std::move(watcher)),
      host_{.backend = backend, .version = options_.version, .counters = {}, .queued_bytes = 0, .make_done = {}},
      spare_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      self_(std::make_shared<Server*>(this)) {
  host_.make_done = [this](uint64_t id) -> Backend::Done {
    return [weak = std::weak_ptr<Server*>(self_), id](Result<nlohmann::json> outcome) {
      if (const auto self = weak.lock()) (*self)->complete(id, std::move(outcome));
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

void Server::on_ready(uint64_t id) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  it->second.session->on_ready();
  settle(id);
}

void Server::complete(uint64_t id, Result<nlohmann::json> outcome) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  it->second.session->complete(std::move(outcome));
  settle(id);
}

void Server::on_new_events() {
  // By id: a session's turn may end with calls that end other sessions.
  std::vector<uint64_t> ids;
  ids.reserve(clients_.size());
  for (const auto& [id, client] : clients_) ids.push_back(id);
  for (const uint64_t id : ids) {
    const auto it = clients_.find(id);
    if (it == clients_.end()) continue;
    it->second.session->on_new_events();
    settle(id);
  }
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
