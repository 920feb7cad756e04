#include "netlink/nft_expressions.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>

#include <algorithm>

namespace ipsec::netlink {
namespace {

constexpr uint32_t kRegister = NFT_REG32_00;  // of slot 0
constexpr uint32_t kIpv4ChecksumAt = 10;
constexpr uint8_t kMaximumSegmentSize = 2;  // TCP option
constexpr uint8_t kDirectionIn = 0, kDirectionOut = 1;

std::array<uint8_t, IFNAMSIZ> padded(const std::string& name) {
  std::array<uint8_t, IFNAMSIZ> bytes{};
  std::copy_n(name.begin(), std::min(name.size(), bytes.size() - 1), bytes.begin());
  return bytes;
}

}  // namespace

void put_be32(Message& message, uint16_t attribute, uint32_t value) {
  ByteWriter writer(4);
  writer.u32(value);
  message.put(attribute, writer.view());
}

void NftRule::expression(const char* name, const std::function<void()>& data) {
  message_.nest(NFTA_LIST_ELEM, [&] {
    message_.put_text(NFTA_EXPR_NAME, name);
    message_.nest(NFTA_EXPR_DATA, data);
  });
}

void NftRule::put_data(uint16_t attribute, ByteView value) {
  message_.nest(attribute, [&] { message_.put(NFTA_DATA_VALUE, value); });
}

void NftRule::load_meta(uint32_t key) {
  expression("meta", [&] {
    put_be32(message_, NFTA_META_KEY, key);
    put_be32(message_, NFTA_META_DREG, kRegister);
  });
}

void NftRule::load(uint32_t base, uint32_t offset, uint32_t length, uint32_t slot) {
  expression("payload", [&] {
    put_be32(message_, NFTA_PAYLOAD_DREG, kRegister + slot);
    put_be32(message_, NFTA_PAYLOAD_BASE, base);
    put_be32(message_, NFTA_PAYLOAD_OFFSET, offset);
    put_be32(message_, NFTA_PAYLOAD_LEN, length);
  });
}

void NftRule::compare(ByteView value) {
  expression("cmp", [&] {
    put_be32(message_, NFTA_CMP_SREG, kRegister);
    put_be32(message_, NFTA_CMP_OP, NFT_CMP_EQ);
    put_data(NFTA_CMP_DATA, value);
  });
}

void NftRule::mask(ByteView mask, ByteView exclusive_or) {
  expression("bitwise", [&] {
    put_be32(message_, NFTA_BITWISE_SREG, kRegister);
    put_be32(message_, NFTA_BITWISE_DREG, kRegister);
    put_be32(message_, NFTA_BITWISE_LEN, static_cast<uint32_t>(mask.size()));
    put_data(NFTA_BITWISE_MASK, mask);
    put_data(NFTA_BITWISE_XOR, exclusive_or);
  });
}

void NftRule::store_network(uint32_t offset, uint32_t length, bool has_checksum) {
  expression("payload", [&] {
    put_be32(message_, NFTA_PAYLOAD_SREG, kRegister);
    put_be32(message_, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
    put_be32(message_, NFTA_PAYLOAD_OFFSET, offset);
    put_be32(message_, NFTA_PAYLOAD_LEN, length);
    put_be32(message_, NFTA_PAYLOAD_CSUM_TYPE, has_checksum ? NFT_PAYLOAD_CSUM_INET : NFT_PAYLOAD_CSUM_NONE);
    if (has_checksum) put_be32(message_, NFTA_PAYLOAD_CSUM_OFFSET, kIpv4ChecksumAt);
  });
}

void NftRule::lookup(const std::string& map) {
  expression("lookup", [&] {
    message_.put_text(NFTA_LOOKUP_SET, map);
    put_be32(message_, NFTA_LOOKUP_SREG, kRegister);
    put_be32(message_, NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
  });
}

void NftRule::match_family(Family family) {
  load_meta(NFT_META_NFPROTO);
  compare(std::array<uint8_t, 1>{family == Family::kIpv4 ? uint8_t{NFPROTO_IPV4} : uint8_t{NFPROTO_IPV6}});
}

void NftRule::match_protocol(uint8_t protocol) {
  load_meta(NFT_META_L4PROTO);
  compare(std::array<uint8_t, 1>{protocol});
}

void NftRule::match_syn() {
  constexpr uint32_t kFlagsAt = 13;
  constexpr uint8_t kSyn = 0x02, kRst = 0x04;
  match_protocol(IPPROTO_TCP);
  load(NFT_PAYLOAD_TRANSPORT_HEADER, kFlagsAt, 1);
  mask(std::array<uint8_t, 1>{kSyn | kRst}, std::array<uint8_t, 1>{0});
  compare(std::array<uint8_t, 1>{kSyn});
}

void NftRule::match_interface_in(const std::string& name) {
  load_meta(NFT_META_IIFNAME);
  compare(padded(name));
}

void NftRule::match_route_out(const std::string& name) {
  expression("fib", [&] {
    put_be32(message_, NFTA_FIB_DREG, kRegister);
    put_be32(message_, NFTA_FIB_RESULT, NFT_FIB_RESULT_OIFNAME);
    put_be32(message_, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
  });
  compare(padded(name));
}

void NftRule::match_destination(const IpPrefix& prefix) {
  constexpr uint32_t kDestinationAt = 16;
  Bytes bits(4);
  for (unsigned bit = 0; bit < prefix.length; ++bit)
    bits[bit / 8] = static_cast<uint8_t>(bits[bit / 8] | 0x80 >> bit % 8);
  load(NFT_PAYLOAD_NETWORK_HEADER, kDestinationAt, 4);
  mask(bits, Bytes(4));
  compare(prefix.address.bytes());
}

void NftRule::match_unprotected() {
  load_meta(NFT_META_SECPATH);
  compare(std::array<uint8_t, 1>{0});
}

void NftRule::lookup_interface(const std::string& map, Way way) {
  load_meta(way == Way::kIn ? NFT_META_IIFNAME : NFT_META_OIFNAME);
  lookup(map);
}

void NftRule::lookup_reqid(const std::string& map, Way way) {
  expression("xfrm", [&] {
    put_be32(message_, NFTA_XFRM_DREG, kRegister);
    put_be32(message_, NFTA_XFRM_KEY, NFT_XFRM_KEY_REQID);
    message_.put_u8(NFTA_XFRM_DIR, way == Way::kIn ? kDirectionIn : kDirectionOut);
    put_be32(message_, NFTA_XFRM_SPNUM, 0);
  });
  lookup(map);
}

void NftRule::lookup_sa(const std::string& map, Family family, uint32_t spi_at) {
  const bool v4 = family == Family::kIpv4;
  load(NFT_PAYLOAD_NETWORK_HEADER, v4 ? 16 : 24, v4 ? 4 : 16);
  load(NFT_PAYLOAD_TRANSPORT_HEADER, spi_at, 4, v4 ? 1 : 4);
  lookup(map);
}

void NftRule::lookup_pair(const std::string& map) {
  load(NFT_PAYLOAD_NETWORK_HEADER, 12, 4);
  load(NFT_PAYLOAD_NETWORK_HEADER, 16, 4, 1);  // two of them, so that the command nft names the addresses
  lookup(map);
}

void NftRule::set_mss(uint16_t bytes) {
  ByteWriter value(2);
  value.u16(bytes);
  expression("immediate", [&] {
    put_be32(message_, NFTA_IMMEDIATE_DREG, kRegister);
    put_data(NFTA_IMMEDIATE_DATA, value.view());
  });
  // The kernel never makes it larger than it is.
  expression("exthdr", [&] {
    put_be32(message_, NFTA_EXTHDR_SREG, kRegister);
    message_.put_u8(NFTA_EXTHDR_TYPE, kMaximumSegmentSize);
    put_be32(message_, NFTA_EXTHDR_OFFSET, 2);
    put_be32(message_, NFTA_EXTHDR_LEN, 2);
    put_be32(message_, NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
  });
}

void NftRule::set_dscp(Family family, uint8_t dscp) {
  using Pair = std::array<uint8_t, 2>;
  // Both bytes of a pair, because the checksum is corrected by pairs. IPv6: the traffic class begins at bit 4.
  const bool v4 = family == Family::kIpv4;
  const Pair kept = v4 ? Pair{0xff, 0x03} : Pair{0xf0, 0x3f};
  const Pair set = v4 ? Pair{0, static_cast<uint8_t>(dscp << 2)}
                      : Pair{static_cast<uint8_t>(dscp >> 2), static_cast<uint8_t>((dscp & 3) << 6)};
  match_family(family);
  load(NFT_PAYLOAD_NETWORK_HEADER, 0, 2);
  mask(kept, set);
  store_network(0, 2, v4);
}

void NftRule::set_df(Df df) {
  constexpr uint32_t kFlagsAt = 6;
  match_family(Family::kIpv4);
  load(NFT_PAYLOAD_NETWORK_HEADER, kFlagsAt, 2);
  mask(std::array<uint8_t, 2>{0xbf, 0xff}, std::array<uint8_t, 2>{df == Df::kSet ? uint8_t{0x40} : uint8_t{0}, 0});
  store_network(kFlagsAt, 2, true);
}

void NftRule::drop() {
  expression("immediate", [&] {
    put_be32(message_, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    message_.nest(NFTA_IMMEDIATE_DATA,
                  [&] { message_.nest(NFTA_DATA_VERDICT, [&] { put_be32(message_, NFTA_VERDICT_CODE, NF_DROP); }); });
  });
}

}  // namespace ipsec::netlink
