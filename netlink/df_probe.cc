#include "netlink/df_probe.h"

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

#include "netlink/bpf_calls.h"
#include "netlink/df_code.h"
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

/// A rule writes the bit and then drops the packet, which sending is told of.
Result<bool> try_rules() {
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

/// An ESP packet without DF to 192.0.2.2, with the SPI 0x100, behind a link header; its checksum is right.
Bytes trial_packet() {
  ByteWriter frame;
  frame.zeros(12), frame.u16(0x0800);
  frame.u16(0x4500), frame.u16(28), frame.u32(0);
  frame.u16(0x4032), frame.u16(0xf6ac), frame.u32(0xc0000201), frame.u32(0xc0000202);
  frame.u32(0x100), frame.u32(1);
  const ByteView bytes = frame.view();
  return {bytes.begin(), bytes.end()};
}

/// A program sets the bit, with its checksum, and can be put on a device.
Status try_program() {
  constexpr int kLoopback = 1;
  constexpr size_t kLinkHeader = 14, kFlagsAt = kLinkHeader + 6, kChecksumAt = kLinkHeader + 10;
  const IpAddress destination = IpAddress::v4(0xc0000202);
  const auto key = df_key(policy::SaKey{destination, policy::ChildSpi(0x100)}, policy::OuterHeader{.df_set = true});
  TRY_ASSIGN(const UniqueFd map, make_bpf_map({BPF_MAP_TYPE_HASH, sizeof(DfSaKey), 1}), "");
  TRY(put_bpf_key(map, *key), "");
  TRY_ASSIGN(const UniqueFd program, load_bpf_program(set_df_code(map.get(), kLinkHeader), BpfWay::kSent), "");
  Bytes expected = trial_packet();
  TRY_ASSIGN(const Bytes after, try_bpf_program(program, expected), "");
  expected[kFlagsAt] = 0x40;
  expected[kChecksumAt] = static_cast<uint8_t>(expected[kChecksumAt] - 0x40);
  if (after != expected) return Error(Reason::kKernelMissingFeature, "bpf: a program that sets DF has no effect");
  TRY(attach_bpf_program(program, BpfWay::kSent, kLoopback), "");
  return {};
}

/// In a namespace of its own.
Result<DfWriter> try_here() {
  if (::unshare(CLONE_NEWNET) != 0) return failed("make a namespace");
  const auto by_rules = try_rules();
  if (by_rules.ok() && *by_rules) return DfWriter::kRules;
  const Status by_program = try_program();
  if (by_program.ok()) return DfWriter::kPrograms;
  const std::string rules = by_rules.ok() ? "packet rules pass over it" : by_rules.error().text();
  return Error(by_program.error().reason(), rules + "; " + by_program.error().text(), by_program.error().os_errno());
}

}  // namespace

Result<DfWriter> probe_df_writer() {
  Result<DfWriter> outcome = DfWriter::kRules;
  // A thread of its own, which takes the namespace with it.
  std::thread([&outcome] { outcome = try_here(); }).join();
  return outcome;
}

}  // namespace ipsec::netlink
