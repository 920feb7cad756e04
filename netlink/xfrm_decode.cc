#include "netlink/uapi_xfrm.h"
#include "netlink/xfrm_codec.h"
#include "netlink/xfrm_structs.h"
#include "policy/algorithms.h"

namespace ipsec::netlink {
namespace {

using namespace detail;  // NOLINT(google-build-using-namespace): the codec's own pieces
using policy::Direction;
using policy::OffloadKind;
using policy::TransformType;

template <typename T>
std::string_view algorithm_name(const T& header) {
  const std::string_view field(header.alg_name.data(), header.alg_name.size());
  return field.substr(0, field.find('\0'));
}

/// The row whose kernel name and sizes these are; the salt counts into the kernel's key size. GCM with tags of
/// different sizes has one name. A cipher that has no tag of its own has 0 bits here.
const policy::Algorithm* find_by_kernel_name(TransformType type, std::string_view name, unsigned key_bits,
                                             unsigned icv_bits) {
  for (const policy::Algorithm& row : policy::all_algorithms())
    if (row.type == type && row.kernel_name == name && (row.key_bytes + row.salt_bytes) * 8U == key_bits &&
        row.icv_bytes * 8U == icv_bits)
      return &row;
  return nullptr;
}

void set_cipher(policy::EspSuite& suite, const policy::Algorithm* row) {
  if (row == nullptr) return;
  suite.encryption = row->id;
  suite.key_bits = row->key_bits;
}

/// The names only: the keys behind them are not looked at.
Status read_algorithms(const Attributes& attributes, policy::SaState& state) {
  TRY_ASSIGN(const auto aead, attributes.get<AeadHeader>(XFRMA_ALG_AEAD), "AEAD");
  TRY_ASSIGN(const auto cipher, attributes.get<CipherHeader>(XFRMA_ALG_CRYPT), "cipher");
  TRY_ASSIGN(const auto integrity, attributes.get<AuthHeader>(XFRMA_ALG_AUTH_TRUNC), "integrity");
  if (aead)
    set_cipher(state.suite, find_by_kernel_name(TransformType::kEncryption, algorithm_name(*aead), aead->alg_key_len,
                                                aead->alg_icv_len));
  if (cipher)
    set_cipher(state.suite,
               find_by_kernel_name(TransformType::kEncryption, algorithm_name(*cipher), cipher->alg_key_len, 0));
  if (integrity) {
    const auto* row = find_by_kernel_name(TransformType::kIntegrity, algorithm_name(*integrity), integrity->alg_key_len,
                                          integrity->alg_trunc_len);
    if (row != nullptr) state.suite.integrity = row->id;
  }
  state.larval = !aead && !cipher && !integrity;
  return {};
}

Status read_offload(const Attributes& attributes, OffloadKind& kind, std::optional<Direction>* direction,
                    int& ifindex) {
  TRY_ASSIGN(const auto offload, attributes.get<xfrm_user_offload>(XFRMA_OFFLOAD_DEV), "offload");
  if (!offload) return {};
  kind = (offload->flags & uapi::kOffloadPacket) != 0 ? OffloadKind::kPacket : OffloadKind::kCrypto;
  ifindex = offload->ifindex;
  if (direction != nullptr)
    *direction = (offload->flags & uapi::kOffloadInbound) != 0 ? Direction::kIn : Direction::kOut;
  return {};
}

Status read_sa_attributes(const Attributes& attributes, DecodedSa& sa) {
  TRY(read_algorithms(attributes, sa.state), "");
  TRY_ASSIGN(const auto if_id, attributes.get<uint32_t>(XFRMA_IF_ID), "if_id");
  TRY_ASSIGN(const auto replay, attributes.get<ReplayHeader>(XFRMA_REPLAY_ESN_VAL), "replay state");
  TRY_ASSIGN(const auto legacy, attributes.get<LegacyReplay>(XFRMA_REPLAY_VAL), "replay state");
  TRY(read_offload(attributes, sa.state.offload, &sa.state.direction, sa.offload_ifindex), "");
  TRY_ASSIGN(const auto direction, attributes.get<uint8_t>(uapi::kXfrmaSaDir), "direction");
  sa.state.if_id = if_id.value_or(0);
  sa.state.udp_encapsulation = attributes.find(XFRMA_ENCAP).has_value();
  if (replay) {
    sa.state.replay_window = static_cast<uint16_t>(replay->replay_window);
    sa.state.sequence_sent = uint64_t{replay->oseq_hi} << 32 | replay->oseq;
    sa.state.sequence_received = uint64_t{replay->seq_hi} << 32 | replay->seq;
  } else if (legacy) {
    sa.state.sequence_sent = legacy->oseq;
    sa.state.sequence_received = legacy->seq;
  }
  if (direction == uapi::kSaDirIn) sa.state.direction = Direction::kIn;
  if (direction == uapi::kSaDirOut) sa.state.direction = Direction::kOut;
  return {};
}

Result<policy::PolicyKey> read_selector(const xfrm_selector& selector) {
  policy::PolicyKey key;
  TRY_ASSIGN(key.source.address, from_kernel(selector.saddr, selector.family), "selector");
  TRY_ASSIGN(key.destination.address, from_kernel(selector.daddr, selector.family), "selector");
  key.source.length = selector.prefixlen_s;
  key.destination.length = selector.prefixlen_d;
  if (key.source.length > key.source.address.bits() || key.destination.length > key.destination.address.bits())
    return Error(Reason::kMalformed, "selector: prefix length");
  key.protocol = selector.proto;
  key.source_port = ntohs(selector.sport);
  key.source_port_mask = ntohs(selector.sport_mask);
  key.destination_port = ntohs(selector.dport);
  key.destination_port_mask = ntohs(selector.dport_mask);
  key.user = selector.user;
  return key;
}

Result<policy::PolicyKey> read_policy_key(const xfrm_userpolicy_info& info, const Attributes& attributes) {
  TRY_ASSIGN(policy::PolicyKey key, read_selector(info.sel), "");
  // The direction's two low bits; what is above marks socket policies.
  key.direction = info.dir == XFRM_POLICY_IN    ? Direction::kIn
                  : info.dir == XFRM_POLICY_FWD ? Direction::kForward
                                                : Direction::kOut;
  TRY_ASSIGN(const auto if_id, attributes.get<uint32_t>(XFRMA_IF_ID), "if_id");
  TRY_ASSIGN(const auto mark, attributes.get<xfrm_mark>(XFRMA_MARK), "mark");
  key.if_id = if_id.value_or(0);
  if (mark) key.mark = {.value = mark->v, .mask = mark->m};
  return key;
}

/// 0 for what is beyond reckoning, as XFRM_INF is.
Duration seconds(uint64_t count) {
  constexpr uint64_t kMost = Duration::max() / 1s;
  return count <= kMost ? std::chrono::seconds(static_cast<int64_t>(count)) : Duration{0};
}

policy::EspMode read_mode(uint8_t mode) {
  return mode == XFRM_MODE_TUNNEL ? policy::EspMode::kTunnel : policy::EspMode::kTransport;
}

/// The side of a packet that raised an acquire: the host, and its port where the protocol has ports.
policy::TrafficSelector packet_side(const IpAddress& host, const xfrm_selector& packet, uint16_t port,
                                    uint16_t port_mask) {
  policy::TrafficSelector side{.addresses = IpRange::of(IpPrefix::host(host)), .protocol = packet.proto};
  const bool icmp = packet.proto == IPPROTO_ICMP || packet.proto == IPPROTO_ICMPV6;
  const bool ports = packet.proto == IPPROTO_TCP || packet.proto == IPPROTO_UDP || packet.proto == IPPROTO_SCTP ||
                     packet.proto == IPPROTO_DCCP || packet.proto == IPPROTO_UDPLITE;
  if (icmp && packet.sport_mask != 0) {
    // The kernel keeps the type as source and the code as destination port; a selector holds both in one number, the
    // type in its upper half (RFC 7296 section 3.13.1).
    side.port_first = side.port_last = static_cast<uint16_t>(ntohs(packet.sport) << 8 | (ntohs(packet.dport) & 0xff));
  } else if (ports && port_mask != 0) {
    side.port_first = side.port_last = ntohs(port);
  }
  return side;
}

}  // namespace

Result<DecodedSa> decode_sa(ByteView payload) {
  TRY_ASSIGN(const auto info, from_bytes<xfrm_usersa_info>(payload), "SA");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(info)), "SA");
  DecodedSa sa;
  sa.is_esp = info.id.proto == kEsp;
  TRY_ASSIGN(sa.state.key.destination, from_kernel(info.id.daddr, info.family), "SA destination");
  TRY_ASSIGN(sa.state.source, from_kernel(info.saddr, info.family), "SA source");
  sa.state.key.spi = policy::ChildSpi(ntohl(info.id.spi));
  sa.state.reqid = info.reqid;
  sa.state.mode = read_mode(info.mode);
  sa.state.suite.esn = (info.flags & XFRM_STATE_ESN) != 0;
  sa.state.replay_window = info.replay_window;
  sa.state.packets = info.curlft.packets;
  sa.state.bytes = info.curlft.bytes;
  sa.state.made_at = {seconds(info.curlft.add_time)};
  sa.state.hard_lifetime = seconds(info.lft.hard_add_expires_seconds);
  sa.state.replay_drops = uint64_t{info.stats.replay_window} + info.stats.replay;
  sa.state.integrity_drops = info.stats.integrity_failed;
  TRY(read_sa_attributes(attributes, sa), "SA");
  return sa;
}

Result<DecodedPolicy> decode_policy(ByteView payload) {
  TRY_ASSIGN(const auto info, from_bytes<xfrm_userpolicy_info>(payload), "policy");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(info)), "policy");
  DecodedPolicy policy;
  policy::PolicyConfig& config = policy.config;
  TRY_ASSIGN(config.key, read_policy_key(info, attributes), "policy");
  config.priority = info.priority;
  config.action = info.action == XFRM_POLICY_BLOCK ? policy::PolicyAction::kBlock : policy::PolicyAction::kAllow;
  policy.ordinary = info.dir <= XFRM_POLICY_FWD;
  TRY_ASSIGN(const auto type, attributes.get<xfrm_userpolicy_type>(XFRMA_POLICY_TYPE), "policy type");
  if (type && type->type != XFRM_POLICY_TYPE_MAIN) policy.ordinary = false;
  TRY(read_offload(attributes, config.offload.kind, nullptr, policy.offload_ifindex), "policy");

  const auto templates = attributes.find(XFRMA_TMPL);
  config.has_template = templates && !templates->empty();
  if (!config.has_template) return policy;
  if (templates->size() != sizeof(xfrm_user_tmpl)) policy.ordinary = false;
  TRY_ASSIGN(const auto entry, from_bytes<xfrm_user_tmpl>(*templates), "template");
  if (entry.id.proto != kEsp) policy.ordinary = false;
  TRY_ASSIGN(config.tunnel_source, from_kernel(entry.saddr, entry.family), "template");
  TRY_ASSIGN(config.tunnel_destination, from_kernel(entry.id.daddr, entry.family), "template");
  config.reqid = entry.reqid;
  config.mode = read_mode(entry.mode);
  config.optional_template = entry.optional != 0;
  return policy;
}

Result<policy::Acquire> decode_acquire(ByteView payload) {
  TRY_ASSIGN(const auto info, from_bytes<xfrm_user_acquire>(payload), "acquire");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(info)), "acquire");
  policy::Acquire acquire;
  TRY_ASSIGN(acquire.policy, read_policy_key(info.policy, attributes), "acquire");
  TRY_ASSIGN(const auto entry, attributes.get<xfrm_user_tmpl>(XFRMA_TMPL), "acquire: template");
  if (entry) acquire.reqid = entry->reqid;
  // The tunnel's addresses are those of the state that waits, of the template's family; the packet's may be another.
  const uint16_t outer = entry ? entry->family : info.policy.sel.family;
  TRY_ASSIGN(acquire.tunnel_source, from_kernel(info.saddr, outer), "acquire: source");
  TRY_ASSIGN(acquire.tunnel_destination, from_kernel(info.id.daddr, outer), "acquire: destination");
  TRY_ASSIGN(const policy::PolicyKey packet, read_selector(info.sel), "acquire: packet");
  acquire.packet_source = packet_side(packet.source.address, info.sel, info.sel.sport, info.sel.sport_mask);
  acquire.packet_destination = packet_side(packet.destination.address, info.sel, info.sel.dport, info.sel.dport_mask);
  return acquire;
}

Result<DecodedExpire> decode_expire(ByteView payload) {
  TRY_ASSIGN(const auto info, from_bytes<xfrm_user_expire>(payload), "expire");
  DecodedExpire expire;
  expire.is_esp = info.state.id.proto == kEsp;
  TRY_ASSIGN(expire.event.key.destination, from_kernel(info.state.id.daddr, info.state.family), "expire");
  expire.event.key.spi = policy::ChildSpi(ntohl(info.state.id.spi));
  expire.event.hard = info.hard != 0;
  expire.event.bytes = info.state.curlft.bytes;
  expire.event.packets = info.state.curlft.packets;
  return expire;
}

Result<policy::SaMappingChanged> decode_mapping(ByteView payload) {
  TRY_ASSIGN(const auto info, from_bytes<xfrm_user_mapping>(payload), "mapping");
  policy::SaMappingChanged change;
  TRY_ASSIGN(change.key.destination, from_kernel(info.id.daddr, info.id.family), "mapping");
  change.key.spi = policy::ChildSpi(ntohl(info.id.spi));
  TRY_ASSIGN(change.old_remote.address, from_kernel(info.old_saddr, info.id.family), "mapping");
  TRY_ASSIGN(change.new_remote.address, from_kernel(info.new_saddr, info.id.family), "mapping");
  change.old_remote.port = ntohs(info.old_sport);
  change.new_remote.port = ntohs(info.new_sport);
  return change;
}

Result<std::optional<policy::SaKey>> decode_sa_removed(ByteView payload) {
  TRY_ASSIGN(const auto id, from_bytes<xfrm_usersa_id>(payload), "removed SA");
  if (id.proto != kEsp) return std::optional<policy::SaKey>();
  policy::SaKey key;
  TRY_ASSIGN(key.destination, from_kernel(id.daddr, id.family), "removed SA");
  key.spi = policy::ChildSpi(ntohl(id.spi));
  return std::optional(key);
}

Result<policy::PolicyKey> decode_policy_removed(ByteView payload) {
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(xfrm_userpolicy_id)), "removed policy");
  TRY_ASSIGN(const auto info, attributes.get<xfrm_userpolicy_info>(XFRMA_POLICY), "removed policy");
  if (!info) return Error(Reason::kMalformed, "the kernel does not say which policy was removed");
  return read_policy_key(*info, attributes);
}

Result<std::optional<policy::PolicyKey>> decode_policy_expired(ByteView payload) {
  TRY_ASSIGN(const auto expired, from_bytes<xfrm_user_polexpire>(payload), "expired policy");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(expired)), "expired policy");
  if (expired.hard == 0) return std::optional<policy::PolicyKey>();
  TRY_ASSIGN(const policy::PolicyKey key, read_policy_key(expired.pol, attributes), "");
  return std::optional(key);
}

Result<policy::PolicyKey> decode_policy_overwritten(ByteView payload) {
  TRY_ASSIGN(const auto info, from_bytes<xfrm_userpolicy_info>(payload), "policy");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(info)), "policy");
  return read_policy_key(info, attributes);
}

}  // namespace ipsec::netlink
