#include "agent/control/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/control/limits.h"
#include "agent/control/socket_address.h"

namespace ipsec::agent::control {

using nlohmann::json;

Client::Client(Descriptor socket) : socket_(std::move(socket)), input_(kReplyBytesMax + 1024) {
  const int flags = fcntl(socket_.get(), F_GETFL);
  if (flags >= 0) fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK);
}

Result<Client> Client::connect(const std::string& path) {
  TRY_ASSIGN(const sockaddr_un address, socket_address(path), "");
  // Blocking while connecting: a full queue of the daemon empties soon.
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error(Reason::kSystemCall, "socket", errno);
  const timeval patience{.tv_sec = 5, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const int error = connect_unix(socket.get(), address);
  if (error == EACCES || error == EPERM)
    return Error(Reason::kPermission,
                 "no permission to open " + path +
                     ": be root, or join the group ipsecd (`usermod -aG ipsecd USER`, then log in again)");
  if (error == ENOENT || error == ECONNREFUSED)
    return Error(Reason::kNotFound,
                 "ipsecd is not running (nobody answers at " + path +
                     "): start it with `systemctl start ipsecd`, then see `systemctl status ipsecd`");
  if (error == EAGAIN) return Error(Reason::kTimeout, "ipsecd does not accept connections at " + path);
  if (error != 0) return Error(Reason::kSystemCall, "connect to " + path, error);
  return Client(std::move(socket));
}

Status Client::await(Ready what, const Wait& wait) {
  using std::chrono::milliseconds;
  using Clock = std::chrono::steady_clock;
  constexpr milliseconds kTick{100};
  const auto begin = Clock::now();
  for (;;) {
    const auto passed = std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
    if (wait.longest.count() > 0 && passed >= wait.longest)
      return Error(Reason::kTimeout, "ipsecd did not answer within " + std::to_string(wait.longest.count()) + " ms");
    if (wait.progress && passed >= kTick) wait.progress(passed);
    const auto left = wait.longest.count() > 0 ? wait.longest - passed : milliseconds{60000};
    const auto sleep = wait.progress ? std::min(left, kTick) : left;
    const short wanted = what == Ready::kRead ? POLLIN : POLLOUT;
    pollfd item{.fd = socket_.get(), .events = wanted, .revents = 0};
    const int count = poll(&item, 1, static_cast<int>(std::max<int64_t>(sleep.count(), 1)));
    if (count > 0) return {};
    if (count < 0 && errno != EINTR) return Error(Reason::kSystemCall, "poll", errno);
  }
}

Status Client::send(const Call& call, const Wait& wait) {
  std::string text = write_call(call);
  text.push_back('\0');
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t put = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (put > 0) {
      rest.remove_prefix(static_cast<size_t>(put));
    } else if (errno == EAGAIN) {
      TRY(await(Ready::kWrite, wait), "");
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return {};  // the reason may already be there to be read
    } else if (errno != EINTR) {
      return Error(Reason::kSystemCall, "send to ipsecd", errno);
    }
  }
  return {};
}

Result<Reply> Client::receive(const Wait& wait) {
  std::array<char, 65536> block;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by recv
  for (;;) {
    if (const auto message = input_.next()) return parse_reply(*message);
    const ssize_t got = recv(socket_.get(), block.data(), block.size(), 0);
    if (got > 0) {
      TRY(input_.add(std::string_view(block.data(), static_cast<size_t>(got))), "reply");
    } else if (got == 0 || errno == ECONNRESET) {
      return Error(Reason::kCancelled, "ipsecd closed the connection: it has stopped, or this client was too slow");
    } else if (errno == EAGAIN) {
      TRY(await(Ready::kRead, wait), "");
    } else if (errno != EINTR) {
      return Error(Reason::kSystemCall, "receive from ipsecd", errno);
    }
  }
}

namespace {

std::string qualified(std::string_view method) {
  if (method.find('.') != std::string_view::npos) return std::string(method);
  return std::string(kInterface).append(".").append(method);
}

}  // namespace

Result<Reply> Client::call(std::string_view method, json parameters, const Wait& wait) {
  TRY(send({.method = qualified(method), .parameters = std::move(parameters)}, wait), "");
  return receive(wait);
}

Status Client::stream(std::string_view method, json parameters, const Wait& wait, const EachReply& each) {
  TRY(send({.method = qualified(method), .parameters = std::move(parameters), .more = Flag::kOn}, wait), "");
  for (;;) {
    TRY_ASSIGN(const Reply reply, receive(wait), "");
    if (each(reply) == Flag::kOff || reply.continues == Flag::kOff) return {};
  }
}

}  // namespace ipsec::agent::control
