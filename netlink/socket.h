#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netlink/limits.h"
#include "netlink/message.h"
#include "netlink/unique_fd.h"
#include "policy/base/secret.h"

struct sock_filter;

namespace ipsec::netlink {

/// What the kernel answered to one request: done or refused (with its own words), and the messages that came with it.
/// Those may hold keys (GETSA does), so they are kept in wiped memory.
struct Reply {
  uint32_t sequence = 0;
  Status status;
  struct Data {
    uint16_t type = 0;
    Secret payload;
  };
  std::vector<Data> data;
};

/// The error for an errno and the kernel's extended-ack text: `kPermission`, `kKernelMissingFeature` or
/// `kKernelRefused`.
Error kernel_error(int os_errno, std::string_view kernel_text);

/// A netlink socket in a namespace. Requests are numbered, collected, sent many at a time, and answered in the order of
/// sending: the kernel works through them inside the send call. Not for several threads.
class Socket {
 public:
  struct Options {
    int protocol = 0;                                ///< NETLINK_XFRM, NETLINK_ROUTE or NETLINK_NETFILTER.
    std::string netns;                               ///< As in netns.h.
    std::vector<uint32_t> groups;                    ///< Multicast groups to join.
    int receive_buffer_bytes = kReceiveBufferBytes;  ///< Small ones are for tests.
    std::span<const sock_filter> filter = {};        ///< As for set_filter(), before the first message.
    bool strict = false;  ///< The kernel looks at what a dump asks for, where it can, and leaves out the rest.
  };
  static Result<Socket> open(const Options& options);

  int fd() const { return fd_.get(); }
  /// The number by which the kernel names this socket in what it tells others about our requests.
  uint32_t port_id() const { return port_id_; }
  /// Lets the kernel drop the messages that `program` (of classic BPF) does not want, before they take room.
  Status set_filter(std::span<const sock_filter> program);

  /// Takes a request and gives its number. It leaves with `send()`, or when the batch is full.
  uint32_t queue(Message message);
  /// Sends what is queued. On failure the requests concerned get their Reply with the error.
  void send();
  /// Reads what is there and returns the next complete answer, without waiting.
  std::optional<Reply> poll_reply();
  /// Requests queued or sent and not yet answered; keep below kInFlightMax.
  size_t in_flight() const { return waiting_.size(); }
  /// Answers that never came: pending longer than kReplyTimeout ends with `kKernelTimeout`.
  void expire(std::chrono::steady_clock::time_point now);

  /// Sends one request (after everything queued) and waits for its answer; other answers stay for `poll_reply`.
  Result<std::vector<Reply::Data>> transact(Message message);

  /// Sends these in one piece, as the transactions of nf_tables want it: a beginning, requests of which the last one is
  /// acknowledged, an end. Error: what the first request that failed met; then none has had an effect. Nothing else may
  /// be in flight.
  Status transact_batch(std::vector<Message> messages);

  /// A complete and consistent dump: `each` is called per message; when the kernel says that the table changed in
  /// between, `restart` is called and the dump begins again. Nothing else may be in flight.
  Status dump(const std::function<Message()>& request, const std::function<Status(const Received&)>& each,
              const std::function<void()>& restart);

  /// The same a piece at a time, so that a long dump keeps nobody waiting. begin_dump() asks; dump_some() reads one
  /// piece and calls `each` per message. Nothing else may be in flight between the two. kInterrupted: the table has
  /// changed in between, what was read is no complete state. An error ends the dump.
  enum class Dump : uint8_t { kGoesOn, kDone, kInterrupted };
  Status begin_dump(Message request);
  Result<Dump> dump_some(const std::function<Status(const Received&)>& each);

  /// The next multicast message, without waiting; `handler` sees it while its buffer is valid. False: nothing there.
  bool poll_event(const std::function<void(const Received&)>& handler);
  /// Whether the kernel dropped messages for this socket since the last call (ENOBUFS).
  bool take_overrun() { return std::exchange(overrun_, false); }

 private:
  enum class Receive { kSomething, kNothing };
  struct Waiting {
    uint32_t sequence;
    std::chrono::steady_clock::time_point since;
    std::vector<Reply::Data> data;
  };

  Socket(UniqueFd fd, int protocol) : fd_(std::move(fd)), protocol_(protocol) {}
  Status configure(const Options& options);
  Status learn_port_id();
  Receive receive(const std::function<void(ByteView)>& handle);
  void absorb(ByteView datagram);
  void answer(const Received& message);
  void finish(Waiting& waiting, Status status);
  void fail_batch(int os_errno);
  void lose_all();
  Status send_batch(const std::vector<Message>& messages);
  struct DumpState {
    uint32_t sequence = 0;
    bool done = false, interrupted = false;
    Status status;  ///< The first error; the rest is read all the same, and thrown away.
  };
  Status dump_chunk(ByteView datagram, const std::function<Status(const Received&)>& each);
  bool wait_readable(std::chrono::steady_clock::time_point deadline) const;

  UniqueFd fd_;
  int protocol_ = 0;
  uint32_t port_id_ = 0;
  uint32_t next_sequence_ = 1;
  std::vector<Message> batch_;
  size_t batch_bytes_ = 0;
  std::deque<Waiting> waiting_;  // ascending sequence; a prefix of it is answered at any time
  std::deque<Reply> ready_;
  Bytes buffer_;
  ByteView event_rest_;     // of buffer_: messages of the last datagram not yet handed out
  size_t event_bytes_ = 0;  // of that datagram, until it is wiped
  DumpState dump_;
  bool overrun_ = false;
};

}  // namespace ipsec::netlink
