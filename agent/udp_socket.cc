#include "agent/udp_socket.h"

#include <linux/filter.h>
#include <linux/udp.h>
#include <linux/xfrm.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "agent/limits.h"
#include "ike/limits.h"
#include "netlink/netns.h"

namespace ipsec::agent {
namespace {

constexpr size_t kMarkerBytes = 4;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// The socket interface wants pointers to its own structures: the only casts of this file.
sockaddr* generic(sockaddr_storage& storage) { return reinterpret_cast<sockaddr*>(&storage); }  // NOLINT

SocketAddress to_socket_address(const Endpoint& endpoint) {
  SocketAddress result;
  const ByteView bytes = endpoint.address.bytes();
  if (endpoint.address.is_v4()) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    std::memcpy(&address.sin_addr, bytes.data(), bytes.size());
    std::memcpy(&result.storage, &address, sizeof address);
    result.size = sizeof address;
  } else {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(endpoint.port);
    std::memcpy(&address.sin6_addr, bytes.data(), bytes.size());
    std::memcpy(&result.storage, &address, sizeof address);
    result.size = sizeof address;
  }
  return result;
}

Endpoint to_endpoint(const sockaddr_storage& storage) {
  std::array<uint8_t, 16> bytes{};
  uint16_t port = 0;
  size_t size = 4;
  if (storage.ss_family == AF_INET) {
    sockaddr_in address{};
    std::memcpy(&address, &storage, sizeof address);
    std::memcpy(bytes.data(), &address.sin_addr, size);
    port = ntohs(address.sin_port);
  } else {
    sockaddr_in6 address{};
    std::memcpy(&address, &storage, sizeof address);
    size = 16;
    std::memcpy(bytes.data(), &address.sin6_addr, size);
    port = ntohs(address.sin6_port);
  }
  return {*IpAddress::from_bytes(ByteView(bytes).first(size)), port};
}

template <typename T>
Status set_option(int fd, int level, int name, const T& value, const char* what) {
  if (setsockopt(fd, level, name, &value, sizeof value) == 0) return {};
  return Error(errno == EPERM ? Reason::kPermission : Reason::kSystemCall, what, errno);
}

/// IKE itself must pass whatever policies say: the socket has a bypass policy of its own in both directions.
Status bypass_policies(int fd, bool v4) {
  for (uint8_t direction : {XFRM_POLICY_IN, XFRM_POLICY_OUT}) {
    xfrm_userpolicy_info info{};
    info.dir = direction;
    info.action = XFRM_POLICY_ALLOW;
    info.sel.family = v4 ? AF_INET : AF_INET6;
    TRY(set_option(fd, v4 ? int{IPPROTO_IP} : int{IPPROTO_IPV6}, v4 ? IP_XFRM_POLICY : IPV6_XFRM_POLICY, info,
                   "let IKE pass by IPsec policies"),
        "");
  }
  return {};
}

/// The steering of architecture decision 8 as a classic filter: its result is an index into the group, offsets count
/// from the UDP payload. A load beyond the end returns 0, the first worker.
Status attach_steering(int fd, uint16_t port, size_t workers) {
  const uint32_t at = port == kNatPort ? kMarkerBytes : 0;
  const auto n = static_cast<uint32_t>(workers);
  std::vector<sock_filter> code;
  auto statement = [&](uint16_t op, uint32_t k) { code.push_back({op, 0, 0, k}); };
  auto jump = [&](uint16_t op, uint32_t k, uint8_t yes, uint8_t no) { code.push_back({op, yes, no, k}); };
  if (port == kNatPort) {
    // Not the non-ESP marker: ESP or a keepalive, any worker.
    statement(BPF_LD | BPF_W | BPF_ABS, 0);
    jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    statement(BPF_RET | BPF_K, 0);
  }
  statement(BPF_LD | BPF_B | BPF_ABS, at + 19);  // flags
  jump(BPF_JMP | BPF_JSET | BPF_K, 0x08, 3, 0);
  // The Initiator flag is clear: our SPI is the initiator's.
  statement(BPF_LD | BPF_B | BPF_ABS, at + 7);
  statement(BPF_ALU | BPF_MOD | BPF_K, n);
  statement(BPF_RET | BPF_A, 0);
  // Set: our SPI is the responder's...
  statement(BPF_LD | BPF_W | BPF_ABS, at + 8);
  statement(BPF_MISC | BPF_TAX, 0);
  statement(BPF_LD | BPF_W | BPF_ABS, at + 12);
  statement(BPF_ALU | BPF_OR | BPF_X, 0);
  jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0);
  statement(BPF_LD | BPF_B | BPF_ABS, at + 15);
  statement(BPF_ALU | BPF_MOD | BPF_K, n);
  statement(BPF_RET | BPF_A, 0);
  // ... or 0: the first message, so that its repetitions land alike, a sum over the initiator's SPI.
  statement(BPF_LD | BPF_W | BPF_ABS, at);
  statement(BPF_MISC | BPF_TAX, 0);
  statement(BPF_LD | BPF_W | BPF_ABS, at + 4);
  statement(BPF_ALU | BPF_XOR | BPF_X, 0);
  statement(BPF_MISC | BPF_TAX, 0);
  statement(BPF_ALU | BPF_RSH | BPF_K, 16);
  statement(BPF_ALU | BPF_XOR | BPF_X, 0);
  statement(BPF_ALU | BPF_MOD | BPF_K, n);
  statement(BPF_RET | BPF_A, 0);
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return set_option(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program, "steer datagrams to workers");
}

Status bind_socket(int fd, const policy::RoutingPlace& place, const Endpoint& local) {
  if (!place.vrf.empty() &&
      setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, place.vrf.c_str(), static_cast<socklen_t>(place.vrf.size())) != 0)
    return Error(errno == ENODEV ? Reason::kVrfMissing : Reason::kPermission, "VRF " + place.vrf, errno);
  SocketAddress address = to_socket_address(local);
  if (bind(fd, generic(address.storage), address.size) == 0) return {};
  const std::string where = to_string(local) + (place.netns.empty() ? "" : " in namespace " + place.netns);
  if (errno == EADDRINUSE)
    return Error(Reason::kPortInUse, where + ": another program (another IKE daemon?) has bound this port", errno);
  if (errno == EADDRNOTAVAIL)
    return Error(Reason::kAddressMissing,
                 where + ": the address is not configured: ip addr add " + to_string(local.address) + " dev DEVICE",
                 errno);
  return Error(errno == EACCES ? Reason::kPermission : Reason::kSystemCall, "bind " + where, errno);
}

Status prepare(int fd, const policy::RoutingPlace& place, const Endpoint& local) {
  const bool v4 = local.address.is_v4();
  const int on = 1;
  TRY(set_option(fd, SOL_SOCKET, SO_REUSEPORT, on, "share the port among workers"), "");
  if (!v4) TRY(set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, on, "IPv6 only"), "");
  TRY(bypass_policies(fd, v4), "");
  // A bigger buffer than the system's limit where we may, the limit where not.
  const int bytes = kSocketBufferBytes;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
    TRY(set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes, "receive buffer"), "");
  TRY(bind_socket(fd, place, local), "");
  // ESP in UDP goes to the kernel from either port (RFC 3948, 7296 section 2.23); IKE messages come up to us.
  if (local.port == kNatPort) {
    const int encapsulation = UDP_ENCAP_ESPINUDP;
    TRY(set_option(fd, IPPROTO_UDP, UDP_ENCAP, encapsulation, "UDP encapsulation of ESP"), "");
  }
  return {};
}

uint32_t word_at(ByteView bytes, size_t at) {
  return uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 | uint32_t{bytes[at + 2]} << 8 | bytes[at + 3];
}

}  // namespace

size_t worker_for(ByteView datagram, uint16_t port, size_t workers) {
  if (port == kNatPort) {
    if (datagram.size() < kMarkerBytes || word_at(datagram, 0) != 0) return 0;
    datagram = datagram.subspan(kMarkerBytes);
  }
  if (datagram.size() < 20) return 0;
  if ((datagram[19] & 0x08) == 0) return datagram[7] % workers;
  if ((word_at(datagram, 8) | word_at(datagram, 12)) != 0) return datagram[15] % workers;
  const uint32_t mixed = word_at(datagram, 0) ^ word_at(datagram, 4);
  return (mixed ^ mixed >> 16) % workers;
}

Result<std::vector<UdpSocket>> UdpSocket::open_group(const policy::RoutingPlace& place, ike::SocketContext context,
                                                     const Endpoint& local, size_t workers) {
  std::vector<UdpSocket> group;
  for (size_t i = 0; i < workers; ++i) {
    const int family = local.address.is_v4() ? AF_INET : AF_INET6;
    TRY_ASSIGN(netlink::UniqueFd fd,
               netlink::socket_in_netns(place.netns, family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP),
               "UDP socket");
    TRY(prepare(fd.get(), place, local), "");
    group.push_back(UdpSocket(std::move(fd), context, local));
  }
  if (workers > 1) TRY(attach_steering(group.front().fd(), local.port, workers), "");
  return group;
}

void UdpSocket::receive(const std::function<void(const ike::Path&, ByteView)>& sink) {
  // One buffer per thread, not per socket: a socket's datagrams are handed on before the next socket is read.
  constexpr size_t kBufferBytes = ike::kDatagramBytesMax + 1;
  static thread_local std::vector<uint8_t> storage(kReceiveBatch * kBufferBytes);
  std::array<mmsghdr, kReceiveBatch> headers{};
  std::array<iovec, kReceiveBatch> vectors{};
  std::array<sockaddr_storage, kReceiveBatch> peers{};
  for (size_t i = 0; i < kReceiveBatch; ++i) {
    vectors[i] = {storage.data() + i * kBufferBytes, kBufferBytes};
    headers[i].msg_hdr.msg_iov = &vectors[i];
    headers[i].msg_hdr.msg_iovlen = 1;
    headers[i].msg_hdr.msg_name = &peers[i];
    headers[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage);
  }
  const int count = recvmmsg(fd_.get(), headers.data(), kReceiveBatch, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<size_t>(i);
    ByteView datagram(storage.data() + index * kBufferBytes, headers[index].msg_len);
    if (local_.port == kNatPort) {
      if (datagram.size() < kMarkerBytes || word_at(datagram, 0) != 0) continue;
      datagram = datagram.subspan(kMarkerBytes);
    }
    sink({.context = context_, .local = local_, .remote = to_endpoint(peers[index])}, datagram);
  }
}

Status UdpSocket::send(const Endpoint& remote, ByteView bytes) {
  static constexpr std::array<uint8_t, kMarkerBytes> kMarker{};
  return send_parts(remote, {kMarker.data(), local_.port == kNatPort ? kMarkerBytes : 0}, bytes);
}

Status UdpSocket::send_keepalive(const Endpoint& remote) {
  static constexpr std::array<uint8_t, 1> kKeepalive{0xff};
  return send_parts(remote, {}, kKeepalive);
}

Status UdpSocket::send_parts(const Endpoint& remote, ByteView marker, ByteView bytes) {
  SocketAddress address = to_socket_address(remote);
  std::array<iovec, 2> parts{};
  // sendmsg does not write to what it sends; its interface has no const.
  parts[0] = {const_cast<uint8_t*>(marker.data()), marker.size()};
  parts[1] = {const_cast<uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_name = &address.storage;
  message.msg_namelen = address.size;
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
  return Error(Reason::kDatagramSendFailed, "send to " + to_string(remote), errno);
}

}  // namespace ipsec::agent
