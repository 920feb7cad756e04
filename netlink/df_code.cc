// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The kernel offers its routing table to programs under its own licence only, so these two are offered under that too.
#include "netlink/df_code.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/if_arp.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstddef>

#include "netlink/message.h"

namespace ipsec::netlink {
namespace {

using Code = BpfCode;

// Of the IPv4 header (RFC 791 3.1).
constexpr int16_t kTosAt = 1, kFlagsAt = 6, kProtocolAt = 9, kChecksumAt = 10, kSourceAt = 12, kDestinationAt = 16;
constexpr int32_t kHeaderBytes = 20, kUdpBytes = 8;
constexpr uint8_t kEsp = 50, kUdp = 17;
constexpr uint16_t kDf = 0x4000, kFragment = 0x3fff;

// The stack: what of the packet is read, what is written, a key, the question of a route.
constexpr int16_t kHeader = -24, kFlags = -32, kKey = -48, kRoute = -112;
constexpr int kRouteBytes = 64;

// Newer than the headers that this is built with may be.
constexpr int32_t kNextProgram = -1;                                        // TCX_NEXT
constexpr int32_t kWithoutNeighbour = 4;                                    // BPF_FIB_LOOKUP_SKIP_NEIGH
constexpr int32_t kRouteFound = 0, kRouteSaysMore = 6, kRouteTooSmall = 8;  // BPF_FIB_LKUP_RET_*

static_assert(sizeof(bpf_fib_lookup) == kRouteBytes);

int32_t as_in_packet(uint16_t value) { return htons(value); }

/// r6: the packet. The first 20 bytes of its IPv4 header are on the stack afterwards, its flags in r7.
void read_header(Code& code, uint8_t link_header, Code::Label& pass) {
  code.move(Code::kR6, Code::kR1);
  code.load(Code::kWord, Code::kR2, Code::kR6, offsetof(__sk_buff, protocol));
  code.jump_if(Code::kR2, Code::kNotEqual, as_in_packet(ETH_P_IP), pass);
  // With a VLAN's tag it belongs to another device, on which it is looked at.
  code.load(Code::kWord, Code::kR2, Code::kR6, offsetof(__sk_buff, vlan_present));
  code.jump_if(Code::kR2, Code::kNotEqual, 0, pass);
  code.move(Code::kR1, Code::kR6);
  code.move(Code::kR2, link_header);
  code.stack_address(Code::kR3, kHeader);
  code.move(Code::kR4, kHeaderBytes);
  code.call(BPF_FUNC_skb_load_bytes);
  code.jump_if(Code::kR0, Code::kNotEqual, 0, pass);
  code.load(Code::kByte, Code::kR2, Code::kStack, kHeader);
  code.compute(Code::kR2, Code::kAnd, 0xf0);
  code.jump_if(Code::kR2, Code::kNotEqual, 0x40, pass);
  code.load(Code::kHalf, Code::kR7, Code::kStack, kHeader + kFlagsAt);
}

/// Flags from r7 to r8, and the checksum with them. What the device has summed up stays right: the two changes cancel.
void write_flags(Code& code, uint8_t link_header, Code::Label& pass) {
  code.store(Code::kHalf, Code::kStack, kFlags, Code::kR8);
  code.move(Code::kR1, Code::kR6);
  code.move(Code::kR2, link_header + kFlagsAt);
  code.stack_address(Code::kR3, kFlags);
  code.move(Code::kR4, sizeof(uint16_t));
  code.move(Code::kR5, 0);
  code.call(BPF_FUNC_skb_store_bytes);
  code.jump_if(Code::kR0, Code::kNotEqual, 0, pass);
  code.move(Code::kR1, Code::kR6);
  code.move(Code::kR2, link_header + kChecksumAt);
  code.move(Code::kR3, Code::kR7);
  code.move(Code::kR4, Code::kR8);
  code.move(Code::kR5, sizeof(uint16_t));
  code.call(BPF_FUNC_l3_csum_replace);
}

/// r0: the value of the key on the stack, or 0.
void look_up(Code& code, int map) {
  code.map(Code::kR1, map);
  code.stack_address(Code::kR2, kKey);
  code.call(BPF_FUNC_map_lookup_elem);
}

/// Copies a field of the header on the stack; both places are in the order of the packet.
void copy(Code& code, Code::Width width, int16_t header_at, int16_t to) {
  code.load(width, Code::kR2, Code::kStack, static_cast<int16_t>(kHeader + header_at));
  code.store(width, Code::kStack, to, Code::kR2);
}

/// Asks how the packet would be forwarded; r0: what of it.
void ask_route(Code& code) {
  for (int16_t at = 0; at < kRouteBytes; at += 8)
    code.store(Code::kDouble, Code::kStack, static_cast<int16_t>(kRoute + at), 0);
  code.store(Code::kByte, Code::kStack, kRoute + int16_t{offsetof(bpf_fib_lookup, family)}, AF_INET);
  copy(code, Code::kByte, kProtocolAt, kRoute + int16_t{offsetof(bpf_fib_lookup, l4_protocol)});
  copy(code, Code::kByte, kTosAt, kRoute + int16_t{offsetof(bpf_fib_lookup, tos)});
  copy(code, Code::kWord, kSourceAt, kRoute + int16_t{offsetof(bpf_fib_lookup, ipv4_src)});
  copy(code, Code::kWord, kDestinationAt, kRoute + int16_t{offsetof(bpf_fib_lookup, ipv4_dst)});
  code.load(Code::kWord, Code::kR2, Code::kR6, offsetof(__sk_buff, ifindex));
  code.store(Code::kWord, Code::kStack, kRoute + int16_t{offsetof(bpf_fib_lookup, ifindex)}, Code::kR2);
  code.move(Code::kR1, Code::kR6);
  code.stack_address(Code::kR2, kRoute);
  code.move(Code::kR3, kRouteBytes);
  code.move(Code::kR4, kWithoutNeighbour);
  code.call(BPF_FUNC_fib_lookup);
}

void append(ByteView bytes, size_t at, std::array<uint8_t, 12>& key) {
  std::ranges::copy(bytes, key.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

std::optional<DfSaKey> df_key(const policy::SaKey& sa, const policy::OuterHeader& header) {
  if (!sa.destination.is_v4()) return std::nullopt;
  DfSaKey key{};
  ByteWriter spi(4);
  spi.u32(sa.spi.value());
  append(sa.destination.bytes(), 0, key);
  append(spi.view(), 4, key);
  key[8] = header.udp_encapsulation ? kUdp : kEsp;
  return key;
}

std::optional<std::pair<policy::SaKey, policy::OuterHeader>> sa_of(const DfSaKey& key) {
  const ByteView bytes(key);
  const auto destination = IpAddress::from_bytes(bytes.first(4));
  const auto spi = ByteReader(bytes.subspan(4, 4)).u32();
  const policy::OuterHeader header{.df_set = true, .dscp = {}, .udp_encapsulation = key[8] == kUdp};
  if (!destination.ok() || !spi.ok()) return std::nullopt;
  const policy::SaKey sa{*destination, policy::ChildSpi(*spi)};
  if (df_key(sa, header) != key) return std::nullopt;
  return std::pair(sa, header);
}

DfDestinationKey df_key(int scope, const IpPrefix& destination) {
  DfDestinationKey key{};
  const uint32_t bits = 32U + destination.length;
  append(to_bytes(bits), 0, key);
  append(to_bytes(scope), 4, key);
  append(destination.address.bytes().first(4), 8, key);
  return key;
}

DfInterfaceKey df_key(int interface) {
  DfInterfaceKey key{};
  std::ranges::copy(to_bytes(interface), key.begin());
  return key;
}

std::optional<DfPlace> df_place(const LinkInfo& device) {
  constexpr std::array<uint16_t, 6> kWithoutHeader{ARPHRD_TUNNEL, ARPHRD_SIT,  ARPHRD_IPGRE,
                                                   ARPHRD_PPP,    ARPHRD_NONE, 519 /* ARPHRD_RAWIP */};
  if (device.kind == "xfrm" || device.kind == "vrf") return std::nullopt;
  if (!device.member_kind.empty() && device.member_kind != "vrf") return std::nullopt;
  const int scope = device.member_kind == "vrf" ? device.master : 0;
  if (device.hardware == ARPHRD_ETHER) return DfPlace{.link_header = ETH_HLEN, .scope = scope};
  if (std::ranges::count(kWithoutHeader, device.hardware) != 0) return DfPlace{.link_header = 0, .scope = scope};
  return std::nullopt;
}

std::vector<bpf_insn> set_df_code(int sa_map, uint8_t link_header) {
  Code code;
  Code::Label pass, spi;
  read_header(code, link_header, pass);
  code.move(Code::kR2, Code::kR7);
  code.compute(Code::kR2, Code::kAnd, as_in_packet(kDf | kFragment));
  code.jump_if(Code::kR2, Code::kNotEqual, 0, pass);
  code.load(Code::kByte, Code::kR9, Code::kStack, kHeader + kProtocolAt);
  // r2: where the SPI is, behind a header of so many words.
  code.load(Code::kByte, Code::kR2, Code::kStack, kHeader);
  code.compute(Code::kR2, Code::kAnd, 0x0f);
  code.compute(Code::kR2, Code::kShiftLeft, 2);
  code.compute(Code::kR2, Code::kAdd, link_header);
  code.jump_if(Code::kR9, Code::kEqual, kEsp, spi);
  code.jump_if(Code::kR9, Code::kNotEqual, kUdp, pass);
  code.compute(Code::kR2, Code::kAdd, kUdpBytes);  // IKE has four zeros there, which are no SPI (RFC 3948 2.2)
  code.place(spi);
  code.move(Code::kR1, Code::kR6);
  code.stack_address(Code::kR3, kKey + 4);
  code.move(Code::kR4, sizeof(uint32_t));
  code.call(BPF_FUNC_skb_load_bytes);
  code.jump_if(Code::kR0, Code::kNotEqual, 0, pass);
  copy(code, Code::kWord, kDestinationAt, kKey);
  code.store(Code::kWord, Code::kStack, kKey + 8, 0);
  code.store(Code::kByte, Code::kStack, kKey + 8, Code::kR9);
  look_up(code, sa_map);
  code.jump_if(Code::kR0, Code::kEqual, 0, pass);
  code.move(Code::kR8, Code::kR7);
  code.compute(Code::kR8, Code::kOr, as_in_packet(kDf));
  write_flags(code, link_header, pass);
  code.place(pass);
  code.leave(kNextProgram);
  return code.instructions();
}

std::vector<bpf_insn> clear_df_code(int destination_map, int interface_map, const DfPlace& place) {
  Code code;
  Code::Label pass, found, clear;
  read_header(code, place.link_header, pass);
  code.move(Code::kR2, Code::kR7);
  code.compute(Code::kR2, Code::kAnd, as_in_packet(kDf));
  code.jump_if(Code::kR2, Code::kEqual, 0, pass);
  code.store(Code::kWord, Code::kStack, kKey, 64);  // as many bits as there are
  code.store(Code::kWord, Code::kStack, kKey + 4, place.scope);
  copy(code, Code::kWord, kDestinationAt, kKey + 8);
  look_up(code, destination_map);
  code.jump_if(Code::kR0, Code::kEqual, 0, pass);
  ask_route(code);
  code.jump_if(Code::kR0, Code::kEqual, kRouteSaysMore, clear);
  code.jump_if(Code::kR0, Code::kEqual, kRouteFound, found);
  code.jump_if(Code::kR0, Code::kNotEqual, kRouteTooSmall, pass);  // which is what its DF is cleared for
  code.place(found);
  code.load(Code::kWord, Code::kR2, Code::kStack, kRoute + int16_t{offsetof(bpf_fib_lookup, ifindex)});
  code.store(Code::kWord, Code::kStack, kKey, Code::kR2);
  look_up(code, interface_map);
  code.jump_if(Code::kR0, Code::kEqual, 0, pass);
  code.place(clear);
  code.move(Code::kR8, Code::kR7);
  code.compute(Code::kR8, Code::kAnd, as_in_packet(static_cast<uint16_t>(~kDf)));
  write_flags(code, place.link_header, pass);
  code.place(pass);
  code.leave(kNextProgram);
  return code.instructions();
}

}  // namespace ipsec::netlink
