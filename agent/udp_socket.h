#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ike/actions.h"
#include "netlink/unique_fd.h"
#include "policy/base/result.h"
#include "policy/config.h"

namespace ipsec::agent {

inline constexpr uint16_t kIkePort = 500, kNatPort = 4500;

/// One UDP socket of one worker for one local address and port. The sockets of all workers for the same address and
/// port form a group in which a filter steers each datagram to the worker that its SPI names (architecture, decision
/// 8).
class UdpSocket {
 public:
  /// Opens the sockets of a whole group, one per worker, in the order of the workers; nothing stays open on an error.
  /// Errors: kPortInUse, kAddressMissing, kVrfMissing, kNamespaceMissing, kPermission, each naming what to do.
  static Result<std::vector<UdpSocket>> open_group(const policy::RoutingPlace& place, ike::SocketContext context,
                                                   const Endpoint& local, size_t workers);

  int fd() const { return fd_.get(); }
  ike::SocketContext context() const { return context_; }
  const Endpoint& local() const { return local_; }

  /// Reads what is there, at most `kReceiveBatch` datagrams; each goes to `sink` without the non-ESP marker. Other
  /// datagrams on port 4500 (keepalives, ESP without SA) are passed over.
  void receive(const std::function<void(const ike::Path&, ByteView)>& sink);
  /// Sends one datagram; on port 4500 the non-ESP marker goes in front (RFC 7296 section 3.1). A full buffer is an
  /// error like any other: IKE repeats.
  Status send(const Endpoint& remote, ByteView bytes);
  /// One byte of 0xff, without marker (RFC 3948 section 2.3).
  Status send_keepalive(const Endpoint& remote);

 private:
  UdpSocket(netlink::UniqueFd fd, ike::SocketContext context, const Endpoint& local)
      : fd_(std::move(fd)), context_(context), local_(local) {}
  Status send_parts(const Endpoint& remote, ByteView marker, ByteView bytes);
  netlink::UniqueFd fd_;
  ike::SocketContext context_;
  Endpoint local_;
};

/// What the filter computes: which worker a datagram on `port` goes to. The same arithmetic in C++, for tests and for
/// the bench.
size_t worker_for(ByteView datagram, uint16_t port, size_t workers);

}  // namespace ipsec::agent
