#include "netlink/socket.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <climits>

#include "netlink/netns.h"
#include "policy/base/verify.h"

namespace ipsec::netlink {
namespace {

using Clock = std::chrono::steady_clock;

std::string protocol_module(int protocol) {
  if (protocol == NETLINK_NETFILTER) return "nf_tables";
  return protocol == NETLINK_XFRM ? "xfrm_user" : "rtnetlink";
}

/// Order of sequence numbers, which wrap.
bool is_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

/// The verdict in an NLMSG_ERROR or at the end of a dump, with the extended-ack text where there is one.
Status verdict(const Received& message) {
  TRY_ASSIGN(const int code, from_bytes<int>(message.payload), "netlink verdict");
  if (code == 0) return {};
  std::string words;
  if ((message.flags & NLM_F_ACK_TLVS) != 0) {
    size_t behind = sizeof(int);
    if (message.type == NLMSG_ERROR) {
      TRY_ASSIGN(const auto error, from_bytes<nlmsgerr>(message.payload), "netlink error");
      behind = sizeof(nlmsgerr);
      // Without NETLINK_CAP_ACK the request itself stands between the error and its text.
      if ((message.flags & NLM_F_CAPPED) == 0 && error.msg.nlmsg_len >= sizeof(nlmsghdr))
        behind += aligned(error.msg.nlmsg_len) - sizeof(nlmsghdr);
    }
    if (auto attributes = attributes_behind(message.payload, behind); attributes.ok())
      words = attributes->text(NLMSGERR_ATTR_MSG);
  }
  return kernel_error(code < 0 ? -code : code, words);
}

}  // namespace

Error kernel_error(int os_errno, std::string_view kernel_text) {
  std::string detail =
      kernel_text.empty() ? std::string("the kernel refused") : "kernel: " + printable(as_bytes(kernel_text), 256);
  switch (os_errno) {
    case EPERM:
    case EACCES: return Error(Reason::kPermission, detail + " (needs CAP_NET_ADMIN)", os_errno);
    case ENOSYS:
    case EPROTONOSUPPORT: return Error(Reason::kKernelMissingFeature, std::move(detail), os_errno);
    default: break;
  }
  if (kernel_text == "Unknown device type") return Error(Reason::kKernelMissingFeature, std::move(detail), os_errno);
  return Error(Reason::kKernelRefused, std::move(detail), os_errno);
}

Result<Socket> Socket::open(const Options& options) {
  auto fd = socket_in_netns(options.netns, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, options.protocol);
  if (!fd.ok()) {
    const int code = fd.error().os_errno();
    if (code == EPROTONOSUPPORT || code == EAFNOSUPPORT || code == ESOCKTNOSUPPORT)
      return Error(Reason::kKernelMissingFeature,
                   "the kernel has no " + protocol_module(options.protocol) + "; try `modprobe " +
                       protocol_module(options.protocol) + "`",
                   code);
    return std::move(fd).error();
  }
  Socket socket(std::move(fd).value(), options.protocol);
  TRY(socket.configure(options), "netlink socket in namespace \"" + options.netns + "\"");
  return socket;
}

Status Socket::configure(const Options& options) {
  const auto set = [&](int level, int name, int value) {
    return ::setsockopt(fd(), level, name, &value, sizeof(value)) == 0;
  };
  // The forced size ignores net.core.rmem_max; without the capability the bounded one must do.
  if (!set(SOL_SOCKET, SO_RCVBUFFORCE, options.receive_buffer_bytes))
    set(SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  // Both only make answers better and shorter: an old kernel without them still answers.
  set(SOL_NETLINK, NETLINK_EXT_ACK, 1);
  set(SOL_NETLINK, NETLINK_CAP_ACK, 1);
  if (options.strict) set(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);  // without it we leave out the rest ourselves
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  // A sockaddr is the one structure that the C interface forces us to alias.
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);  // NOLINT
  if (::bind(fd(), generic, sizeof(address)) != 0) return Error(Reason::kSystemCall, "bind", errno);
  TRY(learn_port_id(), "");
  if (!options.filter.empty()) TRY(set_filter(options.filter), "");
  for (const uint32_t group : options.groups)
    if (!set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, static_cast<int>(group)))
      return Error(errno == EPERM ? Reason::kPermission : Reason::kSystemCall,
                   "join multicast group " + std::to_string(group), errno);
  buffer_.resize(kReceiveChunkBytes);
  return {};
}

Status Socket::learn_port_id() {
  sockaddr_nl address{};
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);  // NOLINT: as in configure()
  if (::getsockname(fd(), generic, &size) != 0) return Error(Reason::kSystemCall, "getsockname", errno);
  port_id_ = address.nl_pid;
  return {};
}

Status Socket::set_filter(std::span<const sock_filter> program) {
  const sock_fprog attached{.len = static_cast<unsigned short>(program.size()),
                            .filter = const_cast<sock_filter*>(program.data())};  // NOLINT: only read
  if (::setsockopt(fd(), SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof(attached)) != 0)
    return Error(Reason::kSystemCall, "attach a filter", errno);
  return {};
}

uint32_t Socket::queue(Message message) {
  if (batch_.size() >= kBatchMessagesMax || batch_bytes_ + message.bytes().size() > kBatchBytesMax) send();
  const uint32_t sequence = next_sequence_++;
  if (next_sequence_ == 0) next_sequence_ = 1;  // 0 marks multicast messages
  message.set_sequence(sequence);
  message.set_sender(port_id_);
  batch_bytes_ += message.bytes().size();
  batch_.push_back(std::move(message));
  waiting_.push_back({.sequence = sequence, .since = Clock::now(), .data = {}});
  return sequence;
}

void Socket::send() {
  if (batch_.empty()) return;
  std::array<iovec, kBatchMessagesMax> parts{};
  for (size_t i = 0; i < batch_.size(); ++i) {
    const ByteView bytes = batch_[i].bytes();
    parts[i] = {.iov_base = const_cast<uint8_t*>(bytes.data()), .iov_len = bytes.size()};  // NOLINT: only read
  }
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = batch_.size();
  ssize_t sent = -1;
  do sent = ::sendmsg(fd(), &header, 0);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) fail_batch(errno);
  batch_.clear();  // wipes
  batch_bytes_ = 0;
}

void Socket::fail_batch(int os_errno) {
  // ENOBUFS may also be the report of an earlier overrun, which the kernel hands to whichever call comes next.
  if (os_errno == ENOBUFS) overrun_ = true;
  const uint32_t first = batch_.front().sequence();
  for (Waiting& each : waiting_)
    if (!is_before(each.sequence, first))
      finish(each, os_errno == EPERM
                       ? kernel_error(os_errno, {})
                       : Error(Reason::kSystemCall, "send " + std::to_string(batch_.size()) + " requests", os_errno));
  while (!waiting_.empty() && !is_before(waiting_.back().sequence, first)) waiting_.pop_back();
}

void Socket::finish(Waiting& waiting, Status status) {
  ready_.push_back({.sequence = waiting.sequence, .status = std::move(status), .data = std::move(waiting.data)});
}

Socket::Receive Socket::receive(const std::function<void(ByteView)>& handle) {
  sockaddr_nl from{};
  iovec part{.iov_base = buffer_.data(), .iov_len = buffer_.size()};
  msghdr header{};
  header.msg_name = &from;
  header.msg_namelen = sizeof(from);
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ssize_t count = -1;
  do count = ::recvmsg(fd(), &header, 0);
  while (count < 0 && errno == EINTR);
  if (count < 0) {
    if (errno != ENOBUFS) return Receive::kNothing;
    overrun_ = true;
    return Receive::kSomething;
  }
  const auto bytes = std::span<uint8_t>(buffer_).first(static_cast<size_t>(count));
  // Any local process may send to this socket; only port 0 is the kernel.
  if (from.nl_pid != 0) return Receive::kSomething;
  if ((header.msg_flags & MSG_TRUNC) != 0) overrun_ = true;
  handle(bytes);
  return Receive::kSomething;
}

void Socket::absorb(ByteView datagram) {
  ByteView rest = datagram;
  while (!rest.empty()) {
    auto message = take_message(rest);
    if (!message.ok()) break;  // whoever waits for it is told by expire() or the next answer
    answer(*message);
  }
  if (protocol_ == NETLINK_XFRM) wipe(std::span<uint8_t>(buffer_).first(datagram.size()));
}

void Socket::answer(const Received& message) {
  // The kernel answers in order: whatever is still open before this number has lost its answer.
  if (message.sequence == 0 || waiting_.empty() || is_before(message.sequence, waiting_.front().sequence) ||
      is_before(waiting_.back().sequence, message.sequence))
    return;
  while (waiting_.front().sequence != message.sequence) {
    finish(waiting_.front(), Error(Reason::kKernelLost, "the kernel's answer was lost"));
    waiting_.pop_front();
  }
  if (message.type == NLMSG_ERROR || message.type == NLMSG_DONE) {
    finish(waiting_.front(), verdict(message));
    waiting_.pop_front();
    return;
  }
  waiting_.front().data.push_back({.type = message.type, .payload = Secret::copy_of(message.payload)});
}

std::optional<Reply> Socket::poll_reply() {
  while (ready_.empty() && !waiting_.empty()) {
    if (receive([this](ByteView datagram) { absorb(datagram); }) == Receive::kSomething) continue;
    // The kernel answers inside the send call, so after an overrun nothing more will come for what was sent.
    if (overrun_ && batch_.empty()) lose_all();
    break;
  }
  if (ready_.empty()) return std::nullopt;
  Reply reply = std::move(ready_.front());
  ready_.pop_front();
  return reply;
}

void Socket::lose_all() {
  for (Waiting& each : waiting_) finish(each, Error(Reason::kKernelLost, "the kernel's answer was lost"));
  waiting_.clear();
}

void Socket::expire(Clock::time_point now) {
  while (!waiting_.empty() && now - waiting_.front().since > kReplyTimeout) {
    finish(waiting_.front(),
           Error(Reason::kKernelTimeout, "no answer in " + std::to_string(kReplyTimeout.count()) + " ms"));
    waiting_.pop_front();
  }
}

bool Socket::wait_readable(Clock::time_point deadline) const {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  if (left <= 0) return false;
  pollfd entry{.fd = fd(), .events = POLLIN, .revents = 0};
  const int count = ::poll(&entry, 1, static_cast<int>(left));
  return count > 0 || (count < 0 && errno == EINTR);
}

Result<std::vector<Reply::Data>> Socket::transact(Message message) {
  const uint32_t sequence = queue(std::move(message));
  send();
  const auto deadline = Clock::now() + kReplyTimeout;
  for (;;) {
    // Searched from the back: answers come in order, so it is the last one there.
    if (!ready_.empty() && ready_.back().sequence == sequence) {
      Reply reply = std::move(ready_.back());
      ready_.pop_back();
      if (!reply.status.ok()) return std::move(reply.status).error();
      return std::move(reply.data);
    }
    if (receive([this](ByteView datagram) { absorb(datagram); }) == Receive::kSomething) continue;
    if (!wait_readable(deadline)) {
      expire(Clock::time_point::max());
      if (!ready_.empty() && ready_.back().sequence == sequence) continue;
      return Error(Reason::kKernelTimeout, "no answer in " + std::to_string(kReplyTimeout.count()) + " ms");
    }
  }
}

Status Socket::send_batch(const std::vector<Message>& messages) {
  Bytes bytes;
  for (const Message& each : messages) bytes.insert(bytes.end(), each.bytes().begin(), each.bytes().end());
  // The kernel takes no more at a time than the send buffer holds.
  const int room = static_cast<int>(std::min<size_t>(2 * bytes.size() + kBatchBytesMax, INT_MAX));
  (void)::setsockopt(fd(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));  // else sending says that it is too much
  ssize_t sent = -1;
  do sent = ::send(fd(), bytes.data(), bytes.size(), 0);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return kernel_error(errno, {}).context("send a transaction");
  return {};
}

Status Socket::transact_batch(std::vector<Message> messages) {
  constexpr size_t kFrame = 2;
  VERIFY(batch_.empty() && waiting_.empty() && messages.size() > kFrame);
  for (Message& each : messages) {
    each.set_sequence(next_sequence_++);
    if (next_sequence_ == 0) next_sequence_ = 1;
    each.set_sender(port_id_);
  }
  const uint32_t first = messages.front().sequence(), last = messages[messages.size() - kFrame].sequence();
  TRY(send_batch(messages), "");
  Status outcome;
  bool done = false;
  const auto take = [&](const Received& message) {
    if (message.type != NLMSG_ERROR || is_before(message.sequence, first) || is_before(last, message.sequence)) return;
    Status each = verdict(message);
    if (message.sequence == last || (message.sequence == first && !each.ok())) done = true;
    if (each.ok() || !outcome.ok()) return;
    outcome = std::move(each).error().context("request " + std::to_string(message.sequence - first) + " of " +
                                              std::to_string(messages.size() - kFrame));
  };
  const auto deadline = Clock::now() + kReplyTimeout;
  while (!done) {
    const auto got = receive([&](ByteView rest) {
      while (!rest.empty()) {
        auto message = take_message(rest);
        if (!message.ok()) return;
        take(*message);
      }
    });
    if (got == Receive::kNothing && !wait_readable(deadline))
      return outcome.ok() ? Error(Reason::kKernelTimeout, "no answer to a transaction") : std::move(outcome);
  }
  return outcome;
}

Status Socket::dump_chunk(ByteView datagram, const std::function<Status(const Received&)>& each) {
  while (!datagram.empty() && !dump_.done) {
    TRY_ASSIGN(const Received message, take_message(datagram), "dump");
    if (message.sequence != dump_.sequence) continue;
    if ((message.flags & NLM_F_DUMP_INTR) != 0) dump_.interrupted = true;
    if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) {
      dump_.done = true;
      TRY(verdict(message), "dump");
    } else {
      TRY(each(message), "dump");
    }
  }
  return {};
}

Status Socket::begin_dump(Message request) {
  VERIFY(batch_.empty());
  request.add_flags(NLM_F_DUMP);
  request.set_sequence(next_sequence_++);
  overrun_ = false;
  dump_ = {.sequence = request.sequence(), .status = {}};
  const ByteView bytes = request.bytes();
  if (::send(fd(), bytes.data(), bytes.size(), 0) < 0) return kernel_error(errno, {}).context("ask for a dump");
  return {};
}

Result<Socket::Dump> Socket::dump_some(const std::function<Status(const Received&)>& each) {
  const auto deadline = Clock::now() + kReplyTimeout;
  const auto take = [&](ByteView datagram) {
    Status chunk = dump_chunk(datagram, each);
    if (dump_.status.ok() && !chunk.ok()) dump_.status = std::move(chunk);
    if (protocol_ == NETLINK_XFRM) wipe(std::span<uint8_t>(buffer_).first(datagram.size()));
  };
  while (receive(take) == Receive::kNothing)
    if (!wait_readable(deadline)) return Error(Reason::kKernelTimeout, "a dump did not end in time");
  if (overrun_) dump_.interrupted = true;  // read on to its end: the kernel refuses a second dump beside an open one
  if (!dump_.done) return Dump::kGoesOn;
  if (!dump_.status.ok()) return std::move(dump_.status).error();
  return dump_.interrupted ? Dump::kInterrupted : Dump::kDone;
}

Status Socket::dump(const std::function<Message()>& request, const std::function<Status(const Received&)>& each,
                    const std::function<void()>& restart) {
  for (int tries = 0; tries < kDumpTriesMax; ++tries) {
    TRY(begin_dump(request()), "");
    Dump state = Dump::kGoesOn;
    while (state == Dump::kGoesOn) {
      TRY_ASSIGN(state, dump_some(each), "");
    }
    if (state == Dump::kDone) return {};
    restart();
  }
  return Error(Reason::kKernelLost, "the table changed during " + std::to_string(kDumpTriesMax) + " dumps");
}

bool Socket::poll_event(const std::function<void(const Received&)>& handler) {
  while (event_rest_.empty()) {
    // What is told of an SA's end holds its keys.
    if (protocol_ == NETLINK_XFRM) wipe(std::span<uint8_t>(buffer_).first(event_bytes_));
    event_bytes_ = 0;
    const auto take = [this](ByteView datagram) { event_rest_ = datagram, event_bytes_ = datagram.size(); };
    if (receive(take) == Receive::kNothing) return false;
  }
  auto message = take_message(event_rest_);
  if (!message.ok())
    event_rest_ = {};
  else
    handler(*message);
  return true;
}

}  // namespace ipsec::netlink
