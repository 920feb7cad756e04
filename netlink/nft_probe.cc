#include "netlink/nft_probe.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <thread>

#include "netlink/nft_codec.h"
#include "netlink/socket.h"
#include "netlink/unique_fd.h"

namespace ipsec::netlink {
namespace {

Error failed(const char* doing) {
  const int code = errno;
  return Error(code == EPERM ? Reason::kPermission : Reason::kSystemCall, std::string("probe of DF: ") + doing, code);
}

Status raise_loopback(const UniqueFd& socket) {
  ifreq request{};
  std::copy_n("lo", 2, std::begin(request.ifr_name));
  request.ifr_flags = IFF_UP;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return failed("raise loopback");
  return {};
}

/// In a namespace of its own: a rule writes the bit and then drops the packet, which sending is told of.
Result<bool> try_here() {
  if (::unshare(CLONE_NEWNET) != 0) return failed("make a namespace");
  TRY_ASSIGN(Socket nft, Socket::open({.protocol = NETLINK_NETFILTER, .netns = {}, .groups = {}}), "probe of DF");
  const UniqueFd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!udp.valid()) return failed("open a socket");
  TRY(raise_loopback(udp), "");
  TRY(nft.transact_batch(encode_df_probe()), "probe of DF");
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* generic = reinterpret_cast<const sockaddr*>(&to);  // NOLINT: what the C interface wants
  const std::array<uint8_t, 1> byte{};
  if (::sendto(udp.get(), byte.data(), byte.size(), MSG_DONTWAIT, generic, sizeof(to)) >= 0) return false;
  if (errno == EPERM) return true;
  return failed("send");
}

}  // namespace

Result<bool> probe_df_writes() {
  Result<bool> outcome = false;
  // A thread of its own, which takes the namespace with it.
  std::thread([&outcome] { outcome = try_here(); }).join();
  return outcome;
}

}  // namespace ipsec::netlink
