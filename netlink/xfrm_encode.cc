#include <array>

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

constexpr uint16_t kLegacyWindowMax = 32;  // bits of the kernel's old replay bitmap

void set_lifetime(xfrm_lifetime_cfg& lifetime, Duration hard, const policy::VolumeLimits& volume) {
  const auto limit = [](uint64_t value) { return value != 0 ? value : kUnlimited; };
  lifetime.soft_byte_limit = limit(volume.soft_bytes);
  lifetime.hard_byte_limit = limit(volume.hard_bytes);
  lifetime.soft_packet_limit = limit(volume.soft_packets);
  lifetime.hard_packet_limit = limit(volume.hard_packets);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(hard).count();
  // The time limit is only a backstop behind our own timers, so it has no soft half that would wake us.
  lifetime.hard_add_expires_seconds = seconds > 0 ? static_cast<uint64_t>(seconds) : (hard.count() > 0 ? 1 : 0);
}

template <typename T>
T algorithm_header(const policy::Algorithm& algorithm, size_t key_bytes) {
  auto header = zeroed<T>();
  VERIFY(algorithm.kernel_name.size() < header.alg_name.size());
  std::ranges::copy(algorithm.kernel_name, header.alg_name.begin());
  header.alg_key_len = static_cast<unsigned>(key_bytes * 8);
  return header;
}

/// `keys`: encryption key, salt, integrity key, in this order (RFC 7296 section 2.17).
Status put_algorithms(Message& message, const policy::EspSuite& suite, const Secret& keys) {
  const auto* cipher = find_algorithm(TransformType::kEncryption, suite.encryption, suite.key_bits);
  if (cipher == nullptr || !cipher->esp) return Error(Reason::kUnsupported, "cipher of " + to_string(suite));
  if (keys.size() != suite.key_material_bytes())
    return Error(Reason::kInternal, to_string(suite) + " needs " + std::to_string(suite.key_material_bytes()) +
                                        " bytes of keys, not " + std::to_string(keys.size()));
  const size_t cipher_bytes = size_t{cipher->key_bytes} + cipher->salt_bytes;
  const ByteView cipher_key = keys.expose().first(cipher_bytes);
  if (cipher->aead) {
    auto header = algorithm_header<AeadHeader>(*cipher, cipher_bytes);
    header.alg_icv_len = cipher->icv_bytes * 8U;
    message.put_struct(XFRMA_ALG_AEAD, header, cipher_key);
    return {};
  }
  const auto* integrity = find_algorithm(TransformType::kIntegrity, suite.integrity);
  if (integrity == nullptr) return Error(Reason::kUnsupported, "a cipher without integrity: " + to_string(suite));
  // Always with the truncation length: without it the kernel takes hmac(sha256) to 96 bits.
  auto header = algorithm_header<AuthHeader>(*integrity, integrity->key_bytes);
  header.alg_trunc_len = integrity->icv_bytes * 8U;
  message.put_struct(XFRMA_ALG_AUTH_TRUNC, header, keys.expose().subspan(cipher_bytes));
  message.put_struct(XFRMA_ALG_CRYPT, algorithm_header<CipherHeader>(*cipher, cipher_bytes), cipher_key);
  return {};
}

/// What the kernel is to remember of sequence numbers.
struct ReplayForm {
  uint8_t legacy_window = 0;
  std::optional<uint32_t> bitmap_window;  ///< As XFRMA_REPLAY_ESN_VAL.
};

ReplayForm replay_form(const policy::SaConfig& sa, SaDirection direction) {
  if (sa.direction == Direction::kOut) {
    if (!sa.suite.esn) return {};
    // A kernel that is not told the direction wants a window with ESN even where nothing is received.
    return {.bitmap_window = direction == SaDirection::kKnown ? 0U : kLegacyWindowMax};
  }
  if (sa.suite.esn || sa.replay_window > kLegacyWindowMax) return {.bitmap_window = sa.replay_window};
  return {.legacy_window = static_cast<uint8_t>(sa.replay_window)};
}

void put_replay(Message& message, uint32_t window) {
  auto state = zeroed<ReplayHeader>();
  state.bmp_len = (window + 31) / 32;
  state.replay_window = window;
  message.put_struct(XFRMA_REPLAY_ESN_VAL, state);  // without the bitmap: the kernel begins with an empty one
}

void put_offload(Message& message, const policy::OffloadRequest& request, Direction direction, const IpAddress& outer,
                 int ifindex) {
  if (request.kind == OffloadKind::kNone) return;
  auto offload = zeroed<xfrm_user_offload>();
  offload.ifindex = ifindex;
  if (!outer.is_v4()) offload.flags |= uapi::kOffloadIpv6;
  if (direction != Direction::kOut) offload.flags |= uapi::kOffloadInbound;
  if (request.kind == OffloadKind::kPacket) offload.flags |= uapi::kOffloadPacket;
  message.put_struct(XFRMA_OFFLOAD_DEV, offload);
}

void put_mark(Message& message, const policy::Mark& mark) {
  if (mark.mask == 0 && mark.value == 0) return;
  message.put_struct(XFRMA_MARK, xfrm_mark{.v = mark.value, .m = mark.mask});
}

void put_sa_attributes(Message& message, const policy::SaConfig& sa, const EncodeContext& context) {
  if (sa.encap_source_port != 0 || sa.encap_destination_port != 0) {
    auto encap = zeroed<xfrm_encap_tmpl>();
    encap.encap_type = uapi::kEncapEspInUdp;
    encap.encap_sport = htons(sa.encap_source_port);
    encap.encap_dport = htons(sa.encap_destination_port);
    message.put_struct(XFRMA_ENCAP, encap);
  }
  if (sa.output_mark.mask != 0) {
    message.put_u32(XFRMA_SET_MARK, sa.output_mark.value);
    message.put_u32(XFRMA_SET_MARK_MASK, sa.output_mark.mask);
  }
  // These say how packets are written, so kernels refuse them on what only receives.
  const uint32_t extra =
      (sa.dscp_zero ? uapi::kExtraDontEncapDscp : 0) | (sa.sequence_wraps ? uapi::kExtraSequenceMayWrap : 0);
  if (extra != 0 && sa.direction == Direction::kOut) message.put_u32(XFRMA_SA_EXTRA_FLAGS, extra);
  if (sa.if_id != 0) message.put_u32(XFRMA_IF_ID, sa.if_id);
  put_offload(message, sa.offload, sa.direction, sa.key.destination, context.offload_ifindex);
  if (context.sa_direction == SaDirection::kKnown)
    message.put_u8(uapi::kXfrmaSaDir, sa.direction == Direction::kOut ? uapi::kSaDirOut : uapi::kSaDirIn);
}

xfrm_selector to_kernel_selector(const policy::PolicyKey& key) {
  auto selector = zeroed<xfrm_selector>();
  selector.saddr = to_kernel(key.source.address);
  selector.daddr = to_kernel(key.destination.address);
  selector.prefixlen_s = key.source.length;
  selector.prefixlen_d = key.destination.length;
  selector.family = family_of(key.source.address);
  selector.proto = key.protocol;
  selector.sport = htons(key.source_port);
  selector.sport_mask = htons(key.source_port_mask);
  selector.dport = htons(key.destination_port);
  selector.dport_mask = htons(key.destination_port_mask);
  selector.user = key.user;
  return selector;
}

uint8_t to_kernel(Direction direction) {
  switch (direction) {
    case Direction::kIn: return XFRM_POLICY_IN;
    case Direction::kOut: return XFRM_POLICY_OUT;
    case Direction::kForward: return XFRM_POLICY_FWD;
  }
  return XFRM_POLICY_OUT;
}

Message policy_id(uint16_t type, const policy::PolicyKey& key) {
  Message message(type);
  auto id = zeroed<xfrm_userpolicy_id>();
  id.sel = to_kernel_selector(key);
  id.dir = to_kernel(key.direction);
  message.header(id);
  put_mark(message, key.mark);
  if (key.if_id != 0) message.put_u32(XFRMA_IF_ID, key.if_id);
  return message;
}

void put_template(Message& message, const policy::PolicyConfig& policy) {
  auto entry = zeroed<xfrm_user_tmpl>();
  const bool tunnel = policy.mode == policy::EspMode::kTunnel;
  entry.id.daddr = detail::to_kernel(policy.tunnel_destination);
  entry.id.proto = kEsp;
  entry.saddr = detail::to_kernel(policy.tunnel_source);
  entry.family = family_of(tunnel ? policy.tunnel_destination : policy.key.source.address);
  entry.reqid = policy.reqid;
  entry.mode = detail::to_kernel(policy.mode);
  entry.optional = policy.optional_template ? 1 : 0;
  entry.aalgos = entry.ealgos = entry.calgos = UINT32_MAX;  // whatever the SA was negotiated with
  message.put_struct(XFRMA_TMPL, entry);
}

}  // namespace

Result<Message> encode_new_sa(const policy::SaConfig& sa, const EncodeContext& context) {
  if (sa.source.family() != sa.key.destination.family())
    return Error(Reason::kInternal, "an SA from " + to_string(sa.source) + " to " + to_string(sa.key.destination));
  if (sa.direction == Direction::kForward) return Error(Reason::kInternal, "an SA of direction forward");
  if (sa.replay_window > uapi::kReplayBitsMax)
    return Error(Reason::kLimitReached, "a replay window of " + std::to_string(sa.replay_window) + " packets");
  const ReplayForm replay = replay_form(sa, context.sa_direction);
  const bool out = sa.direction == Direction::kOut;

  auto info = zeroed<xfrm_usersa_info>();
  info.id.daddr = detail::to_kernel(sa.key.destination);
  info.id.spi = htonl(sa.key.spi.value());
  info.id.proto = kEsp;
  info.saddr = detail::to_kernel(sa.source);
  info.family = family_of(sa.key.destination);
  info.reqid = sa.reqid;
  info.mode = detail::to_kernel(sa.mode);
  info.replay_window = replay.legacy_window;
  set_lifetime(info.lft, sa.hard_lifetime, sa.volume);
  // In tunnel mode the inner family is the packet's: one SA carries both (IPv4 in IPv6 and the reverse).
  if (sa.mode == policy::EspMode::kTunnel) info.flags |= XFRM_STATE_AF_UNSPEC;
  if (sa.suite.esn) info.flags |= XFRM_STATE_ESN;
  if (sa.df_clear && out) info.flags |= XFRM_STATE_NOPMTUDISC;

  Message message(XFRM_MSG_NEWSA);
  message.header(info);
  TRY(put_algorithms(message, sa.suite, sa.keys), "");
  if (replay.bitmap_window) put_replay(message, *replay.bitmap_window);
  put_sa_attributes(message, sa, context);
  return message;
}

Message encode_delete_sa(const policy::SaKey& key) {
  Message message(XFRM_MSG_DELSA);
  message.header(to_kernel_id(key));
  return message;
}

Message encode_get_sa(const policy::SaKey& key) {
  Message message(XFRM_MSG_GETSA);
  message.header(to_kernel_id(key));
  return message;
}

Message encode_dump_sas() { return Message(XFRM_MSG_GETSA); }
Message encode_dump_policies() { return Message(XFRM_MSG_GETPOLICY); }

Result<Message> encode_policy(const policy::PolicyConfig& policy, PolicyWrite write, const EncodeContext& context) {
  if (policy.key.source.address.family() != policy.key.destination.address.family())
    return Error(Reason::kInternal,
                 "a policy from " + to_string(policy.key.source) + " to " + to_string(policy.key.destination));
  auto info = zeroed<xfrm_userpolicy_info>();
  info.sel = to_kernel_selector(policy.key);
  set_lifetime(info.lft, Duration{0}, {});
  info.priority = policy.priority;
  info.dir = to_kernel(policy.key.direction);
  info.action = policy.action == policy::PolicyAction::kAllow ? XFRM_POLICY_ALLOW : XFRM_POLICY_BLOCK;

  Message message(write == PolicyWrite::kCreate ? XFRM_MSG_NEWPOLICY : XFRM_MSG_UPDPOLICY);
  message.header(info);
  if (policy.has_template) put_template(message, policy);
  put_mark(message, policy.key.mark);
  if (policy.key.if_id != 0) message.put_u32(XFRMA_IF_ID, policy.key.if_id);
  if (policy.offload.kind != OffloadKind::kNone) {
    // The kernel takes no other flag than "packet" here; the direction is the policy's.
    auto offload = zeroed<xfrm_user_offload>();
    offload.ifindex = context.offload_ifindex;
    offload.flags = uapi::kOffloadPacket;
    message.put_struct(XFRMA_OFFLOAD_DEV, offload);
  }
  return message;
}

Message encode_delete_policy(const policy::PolicyKey& key) { return policy_id(XFRM_MSG_DELPOLICY, key); }
Message encode_get_policy(const policy::PolicyKey& key) { return policy_id(XFRM_MSG_GETPOLICY, key); }

Message encode_adopt_larval(const LarvalKey& key) {
  auto request = zeroed<xfrm_userspi_info>();
  request.info.id.daddr = detail::to_kernel(key.destination);
  request.info.id.proto = kEsp;
  request.info.saddr = detail::to_kernel(key.source);
  request.info.family = family_of(key.destination);
  request.info.reqid = key.reqid;
  request.info.mode = detail::to_kernel(key.mode);
  request.min = 0x100;  // 1 to 255 are reserved (RFC 4303 section 2.1)
  request.max = UINT32_MAX;
  Message message(XFRM_MSG_ALLOCSPI);
  message.header(request);
  put_mark(message, key.mark);
  if (key.if_id != 0) message.put_u32(XFRMA_IF_ID, key.if_id);
  return message;
}

Message encode_delete_larval(const policy::SaKey& key, const policy::Mark& mark) {
  Message message = encode_delete_sa(key);
  put_mark(message, mark);
  return message;
}

}  // namespace ipsec::netlink
