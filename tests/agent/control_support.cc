#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "tests/agent/control_support.h"

namespace ipsec::agent::control {

using nlohmann::json;

namespace {

/// Rows that stand in the backend, a few at each call.
class FakeRows final : public RowSource {
 public:
  FakeRows(json rows, size_t most, size_t& asked) : rows_(std::move(rows)), most_(most), asked_(asked) {}
  More next(std::vector<json>& rows) override {
    ++asked_;
    for (size_t i = 0; i < most_ && at_ < rows_.size(); ++i) rows.push_back(rows_[at_++]);
    return at_ < rows_.size() ? More::kYes : More::kNo;
  }

 private:
  json rows_;
  size_t most_, at_ = 0;
  size_t& asked_;
};

json rows_of(const FakeBackend& backend, std::string_view kind) {
  const auto it = backend.rows.find(kind);
  return it == backend.rows.end() ? json::array() : it->second;
}

}  // namespace

Result<std::unique_ptr<RowSource>> FakeBackend::list(std::string_view kind) {
  return std::unique_ptr<RowSource>(std::make_unique<FakeRows>(rows_of(*this, kind), rows_per_part, parts_asked));
}

Work FakeBackend::show(std::string_view kind, std::string_view name) {
  for (const json& row : rows_of(*this, kind))
    if (row.value("name", "") == name) return done_at_once(row);
  return done_at_once(Error(Reason::kNotFound, "no tunnel \"" + std::string(name) + "\"; did you mean \"branch-7\"?"));
}

Backend::Effective FakeBackend::config_effective() {
  json tunnels = json::array();
  for (const json& row : rows_of(*this, "tunnels")) tunnels.push_back({row.value("name", ""), row});
  return {.common = {{"version", 1}},
          .tunnels = std::make_unique<FakeRows>(std::move(tunnels), rows_per_part, parts_asked)};
}

void FakeBackend::aside(std::function<void()> work, std::function<void()> then) {
  if (set_aside) {
    set_aside->push_back([work = std::move(work), then = std::move(then)] {
      work();
      then();
    });
    return;
  }
  work();
  then();
}

void FakeBackend::up(const std::string& tunnel, const std::string& child, Done done) {
  operations.push_back("up " + tunnel + "/" + child);
  if (outcome_at_once)
    done(*outcome_at_once);
  else
    waiting.push_back(std::move(done));
}

void FakeBackend::down(const std::string& tunnel, const std::string& child, Done done) {
  operations.push_back("down " + tunnel + "/" + child);
  waiting.push_back(std::move(done));
}

Result<json> FakeBackend::explain_negotiation(const std::string& peer) {
  const json all = rows_of(*this, "failures");
  if (peer.empty()) return all;
  json found = json::array();
  for (const json& each : all)
    if (each.value("tunnel", "") == peer) found.push_back(each);
  if (found.empty()) return Error(Reason::kNotFound, "no failed negotiation with \"" + peer + "\" is kept");
  return found;
}

void FakeBackend::drift(const std::optional<std::string>& netns, std::function<void(Maker)> done) {
  const json all = rows_of(*this, "namespaces");
  done([all, netns]() -> Result<json> {
    if (!netns) return all;
    for (const json& each : all)
      if (each.value("netns", "-") == *netns) return json::array({each});
    return Error(Reason::kNotFound, "nothing of ours belongs into a namespace \"" + *netns + "\"");
  });
}

Work FakeBackend::drift_adopt(const std::optional<std::string>& netns) {
  operations.push_back("adopt " + netns.value_or("all"));
  return [this, steps = std::make_shared<int>(0)]() -> std::optional<Result<json>> {
    if (++*steps < 3) return std::nullopt;  // a namespace at a time
    return Result<json>(rows_of(*this, "adopted"));
  };
}

void FakeBackend::rekey(const std::string& tunnel, const std::string& child, RekeyTarget target, Done done) {
  operations.push_back((target == RekeyTarget::kIke ? "rekey-ike " : "rekey ") + tunnel + "/" + child);
  if (outcome_at_once)
    done(*outcome_at_once);
  else
    waiting.push_back(std::move(done));
}

void FakeBackend::config_apply(ApplyMode mode, Done done) {
  json outcome = config_check({{.name = "gw.json", .text = config_is_bad ? "bad" : "good"}});
  outcome["changes"] = config_is_bad ? json::array() : rows.contains("changes") ? rows["changes"] : json::array();
  if (mode == ApplyMode::kApply && !config_is_bad) ++applied;
  if (applies_later)
    waiting.push_back(std::move(done));
  else
    done(std::move(outcome));
}

Work FakeBackend::metrics(const std::string& format, const ServerCounters& counters, size_t clients) {
  if (format == "xml")
    return done_at_once(Error(Reason::kControlBadRequest, "format: openmetrics or prometheus, not \"xml\""));
  return done_at_once(json("# " + format + " " + std::to_string(counters.calls) + " calls of " +
                           std::to_string(clients) + "\n" + metrics_text));
}

json FakeBackend::config_check(const std::vector<NamedText>& files) const {
  json errors = json::array();
  for (const NamedText& file : files)
    if (file.text.find("bad") != std::string::npos)
      errors.push_back({{"file", file.name},
                        {"line", 3},
                        {"pointer", "/tunnels/a/group"},
                        {"found", "cor"},
                        {"allowed", "core"},
                        {"text", file.name + ":3: /tunnels/a/group: found cor, allowed: core"}});
  return {{"ok", errors.empty()}, {"errors", errors}, {"warnings", json::array()}};
}

uint64_t FakeBackend::add_events(size_t count, const std::string& object) {
  uint64_t last = ring.last_sequence();
  for (size_t i = 0; i < count; ++i)
    last = ring.append({.time = {std::chrono::milliseconds(1795238030123)},
                        .object = object,
                        .reason = Reason::kIkeEstablished,
                        .fields = {field("peer", std::string("198.51.100.7"))}});
  return last;
}

Watcher TestLoop::watcher() {
  return {.watch = [this](int fd, Watcher::Interest interest, std::function<void()> handler) -> Status {
            handlers_[fd] = {interest, std::move(handler)};
            return {};
          },
          .change = [this](int fd, Watcher::Interest interest) -> Status {
            handlers_.at(fd).interest = interest;
            return {};
          },
          .forget = [this](int fd) { handlers_.erase(fd); },
          .post = [this](std::function<void()> action) { posted_.push_back(std::move(action)); }};
}

bool TestLoop::run_once(int wait_ms) {
  std::vector<pollfd> items;
  for (const auto& [fd, entry] : handlers_) {
    const int write = entry.interest == Watcher::Interest::kReadWrite ? POLLOUT : 0;
    items.push_back({.fd = fd, .events = static_cast<short>(POLLIN | write), .revents = 0});
  }
  if (poll(items.data(), items.size(), posted_.empty() ? wait_ms : 0) <= 0 && posted_.empty()) return false;
  for (const pollfd& item : items) {
    if (item.revents == 0) continue;
    const auto it = handlers_.find(item.fd);
    if (it == handlers_.end()) continue;
    const auto handler = it->second.handler;
    handler();
  }
  if (!posted_.empty()) ++rounds;
  for (const auto& action : std::exchange(posted_, {})) action();
  return true;
}

void TestLoop::run_until_idle() {
  for (int i = 0; i < 100000 && run_once(); ++i) {
  }
}

World::World() {
  server = std::make_unique<Server>(Server::Options{.version = "1.2.3",
                                                    .rules = {.own_uid = 77, .readers = kReaders, .writers = kWriters},
                                                    .credentials = [this](int) -> Result<Credentials> { return who; },
                                                    .now = [this] { return time = time + tick; }},
                                    backend, loop.watcher());
}

int World::connect() {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) std::abort();
  ends_.emplace_back(pair[0]);
  unread_[pair[0]].clear();
  server->add_client(pair[1]);
  return pair[0];
}

std::vector<json> World::read_replies(int fd) {
  std::vector<json> replies;
  std::string& buffer = unread_[fd];
  std::array<char, 65536> block{};
  for (;;) {
    loop.run_until_idle();
    const ssize_t got = recv(fd, block.data(), block.size(), MSG_DONTWAIT);
    if (got <= 0) break;
    buffer.append(block.data(), static_cast<size_t>(got));
  }
  for (size_t end = buffer.find('\0'); end != std::string::npos; end = buffer.find('\0')) {
    replies.push_back(json::parse(buffer.substr(0, end)));
    buffer.erase(0, end + 1);
  }
  return replies;
}

std::vector<json> World::exchange(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) bytes.remove_prefix(static_cast<size_t>(put));
    if (put < 0 && errno != EAGAIN) break;
    loop.run_until_idle();
  }
  return read_replies(fd);
}

json World::call(int fd, std::string_view method, json parameters, json extra) {
  const auto replies = exchange(fd, call_bytes(method, std::move(parameters), std::move(extra)));
  return replies.size() == 1 ? replies[0] : json{{"replies", replies.size()}};
}

bool World::is_closed(int fd) {
  char byte = 0;
  const ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
  return got == 0 || (got < 0 && errno != EAGAIN);
}

std::string call_bytes(std::string_view method, json parameters, json extra) {
  json message = std::move(extra);
  message["method"] = method.find('.') == std::string_view::npos ? "net.ipsecd.control." + std::string(method) : method;
  message["parameters"] = std::move(parameters);
  std::string bytes = message.dump();
  bytes.push_back('\0');
  return bytes;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = "/tmp/ipsec-control-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace ipsec::agent::control
