#include "netlink/xfrm_codec.h"

#include <doctest/doctest.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#include <map>

#include "netlink/links.h"
#include "netlink/routes.h"
#include "netlink/uapi_xfrm.h"
#include "netlink/xfrm_structs.h"
#include "tests/netlink/golden.h"

using namespace ipsec;
using namespace ipsec::netlink;
using namespace ipsec::policy;

namespace {

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }

/// What must agree with iproute2: type, flags, the fixed structure byte by byte, and the attributes in any order.
struct Parts {
  uint16_t type = 0, flags = 0;
  std::string fixed;
  std::map<uint16_t, std::string> attributes;
};

Parts parts_of(ByteView bytes, size_t fixed_bytes) {
  auto message = take_message(bytes);
  REQUIRE(message.ok());
  Parts parts{.type = message->type, .flags = message->flags, .fixed = {}, .attributes = {}};
  REQUIRE(message->payload.size() >= fixed_bytes);
  parts.fixed = to_hex(message->payload.first(fixed_bytes));
  REQUIRE(Attributes::for_each(message->payload.subspan(fixed_bytes), [&](uint16_t type, ByteView value) {
            parts.attributes[type] = to_hex(value);
          }).ok());
  return parts;
}

void check_same(const Message& ours, const char* golden, size_t fixed_bytes) {
  const auto recorded = from_hex(golden).value();
  const Parts a = parts_of(ours.bytes(), fixed_bytes), b = parts_of(recorded, fixed_bytes);
  CHECK(a.type == b.type);
  CHECK(a.flags == b.flags);
  CHECK(a.fixed == b.fixed);
  for (const auto& [type, value] : b.attributes) CHECK_MESSAGE(a.attributes.at(type) == value, "attribute ", type);
  CHECK(a.attributes.size() == b.attributes.size());
}

Secret counting_keys(const EspSuite& suite, uint8_t first) {
  Secret keys(suite.key_material_bytes());
  for (uint8_t& byte : keys.writable()) byte = first++;
  return keys;
}

constexpr EncodeContext kKnown{.sa_direction = SaDirection::kKnown, .offload_ifindex = 1};
constexpr EspSuite kGcm256{.encryption = kEncrAesGcm16, .key_bits = 256};
constexpr EspSuite kGcm128{.encryption = kEncrAesGcm16, .key_bits = 128};
constexpr EspSuite kCbc{.encryption = kEncrAesCbc, .key_bits = 128, .integrity = kAuthHmacSha256_128};
constexpr EspSuite kChachaEsn{.encryption = kEncrChaCha20Poly1305, .esn = true};

SaConfig sa(const char* source, const char* destination, uint32_t spi, Direction direction, const EspSuite& suite) {
  SaConfig config;
  config.key = {.destination = address(destination), .spi = ChildSpi(spi)};
  config.source = address(source);
  config.direction = direction;
  config.suite = suite;
  config.reqid = 7;
  config.keys = counting_keys(suite, static_cast<uint8_t>(spi));
  return config;
}

PolicyConfig policy_config(const char* source, const char* destination, Direction direction) {
  PolicyConfig config;
  config.key.source = IpPrefix::parse(source).value();
  config.key.destination = IpPrefix::parse(destination).value();
  config.key.direction = direction;
  config.tunnel_source = address("192.0.2.1");
  config.tunnel_destination = address("192.0.2.2");
  config.reqid = 7;
  return config;
}

Bytes payload_of(const char* golden) {
  const auto bytes = from_hex(golden).value();
  ByteView rest = bytes;
  auto message = take_message(rest);
  REQUIRE(message.ok());
  return {message->payload.begin(), message->payload.end()};
}

/// Cuts the payload at every byte and flips every byte: an answer or an error, within bounds (ASan looks on).
template <typename Decode>
void check_hostile(const char* golden, size_t fixed_bytes, Decode decode) {
  const Bytes whole = payload_of(golden);
  for (size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
    const bool ok = decode(cut).ok();
    if (length < fixed_bytes) CHECK(!ok);
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    Bytes changed = whole;
    changed[at] ^= 0xff;
    (void)decode(changed).ok();
  }
}

}  // namespace

TEST_CASE("codec: an outbound AES-GCM tunnel SA is what iproute2 sends for it") {
  auto message = encode_new_sa(sa("192.0.2.1", "192.0.2.2", 0xc0000001, Direction::kOut, kGcm256), kKnown);
  REQUIRE(message.ok());
  check_same(*message, golden::kNewSaGcmOut, sizeof(xfrm_usersa_info));
}

TEST_CASE("codec: an inbound CBC SA with UDP encapsulation, mark and if_id is what iproute2 sends for it") {
  SaConfig config = sa("192.0.2.2", "192.0.2.1", 0xc0000002, Direction::kIn, kCbc);
  config.replay_window = 32;
  config.encap_source_port = 4500, config.encap_destination_port = 4501;
  config.output_mark = {.value = 0x10, .mask = 0xff};
  config.if_id = 42;
  auto message = encode_new_sa(config, kKnown);
  REQUIRE(message.ok());
  check_same(*message, golden::kNewSaCbcIn, sizeof(xfrm_usersa_info));
}

TEST_CASE("codec: an inbound ChaCha20-Poly1305 transport SA over IPv6 with ESN is what iproute2 sends for it") {
  SaConfig config = sa("2001:db8::1", "2001:db8::2", 0xc0000003, Direction::kIn, kChachaEsn);
  config.reqid = 8;
  config.mode = EspMode::kTransport;
  config.replay_window = 128;
  auto message = encode_new_sa(config, kKnown);
  REQUIRE(message.ok());
  check_same(*message, golden::kNewSaChachaEsnIn, sizeof(xfrm_usersa_info));
}

TEST_CASE("codec: an outbound SA with offload, clear DF, zero DSCP and a time limit is what iproute2 sends for it") {
  SaConfig config = sa("192.0.2.1", "192.0.2.2", 0xc0000004, Direction::kOut, kGcm128);
  config.df_clear = config.dscp_zero = true;
  config.hard_lifetime = 3600s;
  config.offload = {.kind = OffloadKind::kCrypto, .device = "lo"};
  auto message = encode_new_sa(config, kKnown);
  REQUIRE(message.ok());
  check_same(*message, golden::kNewSaOffloadOut, sizeof(xfrm_usersa_info));
}

TEST_CASE("codec: limits of bytes and packets are what iproute2 sends for them, and none is the kernel's infinity") {
  SaConfig config = sa("192.0.2.1", "192.0.2.2", 0xc0000005, Direction::kOut, kGcm128);
  config.volume = {.soft_bytes = 900'000'000, .hard_bytes = 1'000'000'000, .soft_packets = 900, .hard_packets = 1000};
  auto message = encode_new_sa(config, kKnown);
  REQUIRE(message.ok());
  check_same(*message, golden::kNewSaVolumeOut, sizeof(xfrm_usersa_info));

  config.volume = {.hard_bytes = 5};
  message = encode_new_sa(config, kKnown);
  REQUIRE(message.ok());
  const auto info = from_bytes<xfrm_usersa_info>(message->bytes().subspan(sizeof(nlmsghdr)));
  CHECK(info->lft.hard_byte_limit == 5);
  for (const uint64_t none : {info->lft.soft_byte_limit, info->lft.soft_packet_limit, info->lft.hard_packet_limit})
    CHECK(none == UINT64_MAX);
}

TEST_CASE("codec: policies are what iproute2 sends for them") {
  PolicyConfig out = policy_config("10.1.0.0/16", "10.2.0.0/16", Direction::kOut);
  out.priority = 1000;
  out.key.if_id = 42;
  check_same(*encode_policy(out, PolicyWrite::kCreate, {}), golden::kNewPolicyOut, sizeof(xfrm_userpolicy_info));
  out.priority = 1001;
  check_same(*encode_policy(out, PolicyWrite::kReplace, {}), golden::kUpdatePolicy, sizeof(xfrm_userpolicy_info));
  check_same(encode_delete_policy(out.key), golden::kDeletePolicy, sizeof(xfrm_userpolicy_id));

  PolicyConfig in = policy_config("fd01::/64", "fd02::/64", Direction::kIn);
  in.key.protocol = 6;
  in.key.destination_port = 443, in.key.destination_port_mask = 0xffff;
  in.key.mark = {.value = 1, .mask = 0xf};
  in.priority = 5;
  in.optional_template = true;
  check_same(*encode_policy(in, PolicyWrite::kCreate, {}), golden::kNewPolicyIn6, sizeof(xfrm_userpolicy_info));

  PolicyConfig block = policy_config("10.1.0.0/16", "10.9.0.0/16", Direction::kForward);
  block.priority = 9;
  block.action = PolicyAction::kBlock;
  block.has_template = false;
  check_same(*encode_policy(block, PolicyWrite::kCreate, {}), golden::kNewPolicyBlock, sizeof(xfrm_userpolicy_info));
}

TEST_CASE("codec: deleting an SA names it as iproute2 does, without the source address, which the kernel ignores") {
  const Message ours = encode_delete_sa({.destination = address("192.0.2.2"), .spi = ChildSpi(0xc0000001)});
  const auto recorded = from_hex(golden::kDeleteSa).value();
  CHECK(parts_of(ours.bytes(), sizeof(xfrm_usersa_id)).fixed == parts_of(recorded, sizeof(xfrm_usersa_id)).fixed);
}

TEST_CASE(
    "codec: an outbound ESN SA has no window where the kernel knows directions, and one of 32 where it does not") {
  EspSuite suite = kGcm256;
  suite.esn = true;
  const SaConfig config = sa("192.0.2.1", "192.0.2.2", 0xc0000001, Direction::kOut, suite);
  auto known = encode_new_sa(config, kKnown);
  auto unknown = encode_new_sa(config, {.sa_direction = SaDirection::kUnknown});
  REQUIRE(known.ok());
  REQUIRE(unknown.ok());
  const auto with = parts_of(known->bytes(), sizeof(xfrm_usersa_info)).attributes;
  const auto without = parts_of(unknown->bytes(), sizeof(xfrm_usersa_info)).attributes;
  CHECK(with.at(XFRMA_REPLAY_ESN_VAL) == "000000000000000000000000000000000000000000000000");
  CHECK(without.at(XFRMA_REPLAY_ESN_VAL) == "010000000000000000000000000000000000000020000000");
  CHECK(with.contains(uapi::kXfrmaSaDir));
  CHECK(!without.contains(uapi::kXfrmaSaDir));
}

TEST_CASE("codec: what only an outer header needs is not put on an inbound SA") {
  SaConfig config = sa("192.0.2.1", "192.0.2.2", 0xc0000001, Direction::kIn, kGcm256);
  config.df_clear = config.dscp_zero = true;
  auto message = encode_new_sa(config, kKnown);
  REQUIRE(message.ok());
  CHECK(!parts_of(message->bytes(), sizeof(xfrm_usersa_info)).attributes.contains(XFRMA_SA_EXTRA_FLAGS));
  auto info = from_bytes<xfrm_usersa_info>(message->bytes().subspan(sizeof(nlmsghdr)));
  CHECK((info->flags & XFRM_STATE_NOPMTUDISC) == 0);
}

TEST_CASE("codec: sequence numbers that may wrap are said of what is sent, also beside a zero DSCP") {
  for (const bool zero : {false, true})
    for (const Direction direction : {Direction::kIn, Direction::kOut}) {
      SaConfig config = sa("192.0.2.1", "192.0.2.2", 0xc0000001, direction, kGcm256);
      config.sequence_wraps = true;
      config.dscp_zero = zero;
      const auto message = encode_new_sa(config, kKnown);
      REQUIRE(message.ok());
      const auto attributes = parts_of(message->bytes(), sizeof(xfrm_usersa_info)).attributes;
      CHECK(attributes.contains(XFRMA_SA_EXTRA_FLAGS) == (direction == Direction::kOut));
      if (direction == Direction::kOut) CHECK(attributes.at(XFRMA_SA_EXTRA_FLAGS) == (zero ? "03000000" : "02000000"));
    }
}

TEST_CASE("codec: keys of the wrong size, mixed outer families and too large windows are refused before the kernel") {
  SaConfig shorter = sa("192.0.2.1", "192.0.2.2", 1000, Direction::kIn, kGcm256);
  shorter.keys = Secret(35);
  CHECK(encode_new_sa(shorter, kKnown).error().reason() == Reason::kInternal);
  CHECK(!encode_new_sa(sa("2001:db8::1", "192.0.2.2", 1000, Direction::kIn, kGcm256), kKnown).ok());
  SaConfig wide = sa("192.0.2.1", "192.0.2.2", 1000, Direction::kIn, kGcm256);
  wide.replay_window = 4097;
  CHECK(encode_new_sa(wide, kKnown).error().reason() == Reason::kLimitReached);
  CHECK(!encode_new_sa(sa("192.0.2.1", "192.0.2.2", 1000, Direction::kForward, kGcm256), kKnown).ok());
  CHECK(!encode_policy(policy_config("10.0.0.0/8", "fd01::/64", Direction::kIn), PolicyWrite::kCreate, {}).ok());
}

TEST_CASE("codec: an SA that the kernel shows is read with all that we need and without its keys") {
  auto decoded = decode_sa(payload_of(golden::kShownSa));
  REQUIRE(decoded.ok());
  const SaState& state = decoded->state;
  CHECK(decoded->is_esp);
  CHECK(to_string(state.key.destination) == "192.0.2.1");
  CHECK(state.key.spi == ChildSpi(0xc0000002));
  CHECK(to_string(state.source) == "192.0.2.2");
  CHECK(state.reqid == 7);
  CHECK(state.if_id == 42);
  CHECK(state.mode == EspMode::kTunnel);
  CHECK(state.direction == Direction::kIn);
  CHECK(to_string(state.suite) == "aes128-sha256-esn");
  CHECK(state.replay_window == 64);
  CHECK(state.offload == OffloadKind::kNone);
  CHECK(!state.larval);
  CHECK(state.made_at.since_epoch / 1s == 1795238051);
  CHECK(state.hard_lifetime == 0s);  // XFRM_INF
}

TEST_CASE("codec: the lifetime that the kernel shows is the one that was asked for") {
  SaConfig limited = sa("192.0.2.1", "192.0.2.2", 0xc0000003, Direction::kOut, kGcm256);
  limited.hard_lifetime = 4320s;
  const auto message = encode_new_sa(limited, kKnown);
  REQUIRE(message.ok());

  CHECK(decode_sa(message->bytes().subspan(sizeof(nlmsghdr))).value().state.hard_lifetime == 4320s);
}

TEST_CASE("codec: sequence numbers are read from the replay state, without ESN and with all 64 bits of it") {
  const auto legacy = decode_sa(payload_of(golden::kShownLegacyReplay));
  REQUIRE(legacy.ok());
  CHECK(legacy->state.sequence_sent == 0xe0000001);
  CHECK(legacy->state.sequence_received == 0);
  CHECK(legacy->state.packets == 0);
  const auto esn = decode_sa(payload_of(golden::kShownEsnReplay));
  REQUIRE(esn.ok());
  CHECK(esn->state.sequence_sent == 0);
  CHECK(esn->state.sequence_received == 0x300000012);
  CHECK(esn->state.replay_window == 64);
}

TEST_CASE("codec: a policy that the kernel shows is the one that was installed") {
  auto decoded = decode_policy(payload_of(golden::kShownPolicy));
  REQUIRE(decoded.ok());
  PolicyConfig expected = policy_config("fd01::/64", "fd02::/64", Direction::kIn);
  expected.key.protocol = 6;
  expected.key.destination_port = 443, expected.key.destination_port_mask = 0xffff;
  expected.key.mark = {.value = 1, .mask = 0xf};
  expected.key.if_id = 9;
  expected.priority = 5;
  expected.optional_template = true;
  CHECK(decoded->config == expected);
  CHECK(decoded->ordinary);
}

TEST_CASE("codec: an acquire names the policy, the packet and the tunnel") {
  auto acquire = decode_acquire(payload_of(golden::kAcquire));
  REQUIRE(acquire.ok());
  CHECK(acquire->policy == policy_config("10.1.0.0/16", "10.2.0.0/16", Direction::kOut).key);
  CHECK(acquire->reqid == 7);
  CHECK(to_string(acquire->tunnel_source) == "192.0.2.1");
  CHECK(to_string(acquire->tunnel_destination) == "192.0.2.2");
  CHECK(to_string(acquire->packet_source.addresses) == "10.1.0.1/32");
  CHECK(to_string(acquire->packet_destination.addresses) == "10.2.0.5/32");
  CHECK(acquire->packet_source.protocol == 17);
  CHECK(acquire->packet_destination.port_first == 1025);
  CHECK(acquire->packet_destination.port_last == 1025);
}

TEST_CASE("codec: an expiry names the SA and whether it is gone") {
  auto expire = decode_expire(payload_of(golden::kExpire));
  REQUIRE(expire.ok());
  CHECK(expire->event.hard);
  CHECK(expire->event.key.spi == ChildSpi(0xc0000009));
}

TEST_CASE("codec: links are read with kind, if_id, alternative names and the table of a VRF") {
  auto tunnel = decode_link(payload_of(golden::kXfrmLink));
  REQUIRE(tunnel.ok());
  CHECK(tunnel->name == "tun0");
  CHECK(tunnel->kind == "xfrm");
  CHECK(tunnel->if_id == 42);
  CHECK(tunnel->altnames == std::vector<std::string>{"tunnel-a"});
  auto vrf = decode_link(payload_of(golden::kVrfLink));
  REQUIRE(vrf.ok());
  CHECK(vrf->kind == "vrf");
  CHECK(vrf->vrf_table == 1001);
}

TEST_CASE("codec: a route that is shown is the one that was asked for; one with a gateway elsewhere is another kind") {
  for (const char* destination : {"10.9.0.0/16", "2001:db8:9::/48"}) {
    CAPTURE(destination);
    RouteConfig config{.destination = IpPrefix::parse(destination).value(), .protocol = 77, .metric = 7};
    if (config.destination.address.is_v4()) config.preferred_source = address("10.1.0.1");
    const Message message = encode_new_route(config, {.table = 1001, .device_index = 5});

    const auto shown = decode_route(message.bytes().subspan(sizeof(nlmsghdr)));

    REQUIRE(shown.ok());
    CHECK(shown->config == config);
    CHECK(shown->context.table == 1001);
    CHECK(shown->context.device_index == 5);
    CHECK(shown->plain);
    Message other = encode_new_route(config, {.table = 1001, .device_index = 5});
    other.put(RTA_GATEWAY, config.destination.address.bytes());
    CHECK(!decode_route(other.bytes().subspan(sizeof(nlmsghdr)))->plain);

    config.gateway = config.destination.address;
    const Message by_gateway = encode_new_route(config, {.table = 1001, .device_index = 5});
    const auto by = decode_route(by_gateway.bytes().subspan(sizeof(nlmsghdr)));
    REQUIRE(by.ok());
    CHECK(by->config == config);
    CHECK(by->plain);
  }
}

TEST_CASE("codec: a route that leads nowhere names no device, also where the kernel shows one") {
  for (const char* destination : {"10.9.0.0/16", "2001:db8:9::/48"}) {
    CAPTURE(destination);
    const RouteConfig config{
        .destination = IpPrefix::parse(destination).value(), .metric = 4294967294, .kind = RouteKind::kUnreachable};
    Message message = encode_new_route(config, {.table = 1001});
    message.put_u32(RTA_OIF, 1);  // IPv6: the loopback

    const auto shown = decode_route(message.bytes().subspan(sizeof(nlmsghdr)));

    REQUIRE(shown.ok());
    CHECK(shown->config == config);
    CHECK(shown->context.device_index == 0);
    CHECK(shown->plain);
  }
}

namespace {

/// What the kernel tells others of a removed object: its name, and the object in an attribute.
Bytes removed_sa() {
  Message message(XFRM_MSG_DELSA);
  message.header(detail::to_kernel_id({.destination = address("192.0.2.2"), .spi = ChildSpi(0xc0000009)}));
  message.put_struct(XFRMA_SA, detail::zeroed<xfrm_usersa_info>());
  return {message.bytes().begin(), message.bytes().end()};
}

Bytes removed_policy(const PolicyConfig& policy) {
  const auto made = encode_policy(policy, PolicyWrite::kCreate, kKnown);
  const ByteView bytes = made->bytes().subspan(sizeof(nlmsghdr));
  Message message(XFRM_MSG_DELPOLICY);
  message.header(detail::zeroed<xfrm_userpolicy_id>());
  message.put(XFRMA_POLICY, bytes.first(sizeof(xfrm_userpolicy_info)));
  message.put_u32(XFRMA_IF_ID, policy.key.if_id);
  return {message.bytes().begin(), message.bytes().end()};
}

}  // namespace

TEST_CASE("codec: what others removed or overwrote is named by its key") {
  PolicyConfig policy;
  policy.key = {.source = IpPrefix::parse("10.1.0.0/16").value(),
                .destination = IpPrefix::parse("10.2.0.0/16").value(),
                .direction = Direction::kIn,
                .if_id = 42};
  policy.tunnel_source = address("192.0.2.1"), policy.tunnel_destination = address("192.0.2.2");
  const auto overwritten = encode_policy(policy, PolicyWrite::kReplace, kKnown);
  const Bytes sa = removed_sa(), gone = removed_policy(policy);

  const auto key = decode_sa_removed(ByteView(sa).subspan(sizeof(nlmsghdr)));
  REQUIRE(key.ok());
  CHECK(*key == SaKey{.destination = address("192.0.2.2"), .spi = ChildSpi(0xc0000009)});
  CHECK(decode_policy_removed(ByteView(gone).subspan(sizeof(nlmsghdr))).value() == policy.key);
  CHECK(decode_policy_overwritten(overwritten->bytes().subspan(sizeof(nlmsghdr))).value() == policy.key);
}

TEST_CASE("codec: every message cut off or changed at any byte gives an answer or an error") {
  check_hostile(golden::kShownSa, sizeof(xfrm_usersa_info), [](ByteView bytes) { return decode_sa(bytes); });
  check_hostile(golden::kShownLegacyReplay, sizeof(xfrm_usersa_info), [](ByteView bytes) { return decode_sa(bytes); });
  check_hostile(golden::kShownPolicy, sizeof(xfrm_userpolicy_info),
                [](ByteView bytes) { return decode_policy(bytes); });
  check_hostile(golden::kAcquire, sizeof(xfrm_user_acquire), [](ByteView bytes) { return decode_acquire(bytes); });
  check_hostile(golden::kExpire, sizeof(xfrm_user_expire), [](ByteView bytes) { return decode_expire(bytes); });
  check_hostile(golden::kXfrmLink, sizeof(ifinfomsg), [](ByteView bytes) { return decode_link(bytes); });
  const Message route = encode_new_route({.destination = IpPrefix::parse("10.9.0.0/16").value()}, {.device_index = 5});
  check_hostile(to_hex(route.bytes()).c_str(), sizeof(rtmsg), [](ByteView bytes) { return decode_route(bytes); });
  check_hostile(to_hex(removed_sa()).c_str(), sizeof(xfrm_usersa_id),
                [](ByteView bytes) { return decode_sa_removed(bytes); });
  check_hostile(to_hex(removed_policy({})).c_str(), sizeof(xfrm_userpolicy_id),
                [](ByteView bytes) { return decode_policy_removed(bytes); });
}
