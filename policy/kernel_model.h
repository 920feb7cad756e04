#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/base/ip.h"
#include "policy/base/secret.h"
#include "policy/child_spec.h"
#include "policy/config.h"
#include "policy/traffic_selector.h"

/// What can stand in a kernel, as values: for each kind of object, what identifies it apart from what configures it.
namespace ipsec::policy {

enum class Direction : uint8_t { kIn, kOut, kForward };
enum class OffloadKind : uint8_t { kNone, kCrypto, kPacket };
std::string_view to_string(Direction direction);
std::string_view to_string(OffloadKind kind);

struct Mark {
  uint32_t value = 0, mask = 0;
  friend auto operator<=>(const Mark&, const Mark&) = default;
};

/// The kernel's key of an ESP SA within one namespace.
struct SaKey {
  IpAddress destination;
  ChildSpi spi;
  friend auto operator<=>(const SaKey&, const SaKey&) = default;
};

struct OffloadRequest {
  OffloadKind kind = OffloadKind::kNone;
  std::string device;  ///< Name in the SA's namespace.
  friend bool operator==(const OffloadRequest&, const OffloadRequest&) = default;
};

/// How much an SA may carry; 0: no limit. At a soft limit the kernel says so once, at a hard one it ends the SA.
struct VolumeLimits {
  uint64_t soft_bytes = 0, hard_bytes = 0;
  uint64_t soft_packets = 0, hard_packets = 0;
  friend bool operator==(const VolumeLimits&, const VolumeLimits&) = default;
};

/// An SA as it should be installed. Holds keys: move-only.
struct SaConfig {
  SaKey key;
  IpAddress source;
  Direction direction = Direction::kIn;  ///< In or out.
  EspSuite suite;
  EspMode mode = EspMode::kTunnel;
  uint32_t reqid = 0;
  uint32_t if_id = 0;                                          ///< 0: none.
  Mark output_mark;                                            ///< XFRMA_SET_MARK; mask 0: none.
  uint16_t replay_window = 0;                                  ///< Packets; 0 on outbound SAs.
  uint16_t encap_source_port = 0, encap_destination_port = 0;  ///< UDP encapsulation; 0: none.
  bool df_clear = false;                                       ///< XFRM_STATE_NOPMTUDISC.
  bool dscp_zero = false;                                      ///< XFRM_SA_XFLAG_DONT_ENCAP_DSCP.
  bool sequence_wraps = false;  ///< XFRM_SA_XFLAG_OSEQ_MAY_WRAP: after the last sequence number comes 0, not the end.
  Duration hard_lifetime{0};    ///< The kernel's backstop behind our own timers; 0: none.
  VolumeLimits volume;
  OffloadRequest offload;
  Secret keys;  ///< ChildKeys::material.
};

/// An SA as the kernel shows it (never its keys).
struct SaState {
  SaKey key;
  IpAddress source;
  uint32_t reqid = 0, if_id = 0;
  EspMode mode = EspMode::kTunnel;
  std::optional<Direction> direction;  ///< Where the kernel tells.
  EspSuite suite;                      ///< What of it the kernel's names say.
  uint16_t replay_window = 0;
  bool udp_encapsulation = false;
  OffloadKind offload = OffloadKind::kNone;
  std::string offload_device;
  uint64_t packets = 0, bytes = 0;
  /// The last sequence numbers sent and received (with ESN all 64 bits). Not the number of packets: one packet that is
  /// cut up late (GSO) takes many.
  uint64_t sequence_sent = 0, sequence_received = 0;
  uint64_t replay_drops = 0, integrity_drops = 0;
  bool larval = false;        ///< SPI reserved or acquire pending.
  WallTime made_at;           ///< By the kernel's clock, to the second.
  Duration hard_lifetime{0};  ///< From then on, until the kernel ends it; 0: no limit.
};

/// The kernel's key of a policy within one namespace: one pair of prefixes, protocol, ports, direction, interface id,
/// mark, user.
struct PolicyKey {
  IpPrefix source, destination;
  uint8_t protocol = 0;
  uint16_t source_port = 0, source_port_mask = 0, destination_port = 0, destination_port_mask = 0;
  Direction direction = Direction::kOut;
  uint32_t if_id = 0;
  Mark mark;
  uint32_t user = 0;  ///< Tells two policies of the same traffic apart; the kernel compares it with no packet.
  friend auto operator<=>(const PolicyKey&, const PolicyKey&) = default;
};

enum class PolicyAction : uint8_t { kAllow, kBlock };

struct PolicyConfig {
  PolicyKey key;
  uint32_t priority = 0;
  PolicyAction action = PolicyAction::kAllow;
  bool has_template = true;  ///< false: bypass (allow) or discard (block).
  IpAddress tunnel_source, tunnel_destination;
  uint32_t reqid = 0;
  EspMode mode = EspMode::kTunnel;
  bool optional_template = false;  ///< Level "use": inbound traffic without protection passes too.
  OffloadRequest offload;          ///< Only packet offload has policies on the device.
  friend bool operator==(const PolicyConfig&, const PolicyConfig&) = default;
};

enum class LinkKind : uint8_t {
  kXfrm,      ///< One xfrm interface per tunnel.
  kExternal,  ///< One for all tunnels of a public namespace (collect metadata): if_id 0, routes name the tunnel.
  kVrf,
  kGre,  ///< GRE over IPv4 or IPv6, as the ends say.
  kIpIp  ///< IPv4 or IPv6 in IPv4 or IPv6, as the ends say.
};

std::string_view to_string(LinkKind kind);

/// Whether it is one between two gateways, with ends of its own.
constexpr bool is_tunnel(LinkKind kind) { return kind == LinkKind::kGre || kind == LinkKind::kIpIp; }

/// An interface of ours.
struct LinkConfig {
  LinkKind kind = LinkKind::kXfrm;
  std::string name;     ///< At most 15 bytes.
  std::string altname;  ///< The object's name; at most 127 bytes.
  uint32_t if_id = 0;
  std::string public_netns;   ///< Whose SAs and policies it uses.
  std::string public_device;  ///< The device below it, in that namespace; empty: none.
  std::string vrf;            ///< Master in its own namespace; empty: none.
  uint32_t mtu = 1400;
  uint32_t group = 0;    ///< Interface group, for removal in one go.
  bool up = true;        ///< Administratively.
  bool dormant = false;  ///< Up, and its tunnel carries nothing: not IFF_RUNNING, so that routing daemons leave it.
                         ///< Never of a VRF or an external one.
  std::vector<InterfaceAddress> addresses;  ///< Ours (IFA_PROTO 50), sorted. Not of a VRF.
  uint32_t vrf_table = 0;                   ///< Of a VRF.
  IpAddress tunnel_local, tunnel_remote;    ///< Of GRE and IP in IP.
  uint32_t tunnel_key = 0;                  ///< Of GRE; 0: none.
  friend bool operator==(const LinkConfig&, const LinkConfig&) = default;
};

enum class RouteKind : uint8_t {
  kDevice,      ///< Out of a device.
  kUnreachable  ///< Nowhere: the sender is told so. It has no device.
};

struct RouteConfig {
  IpPrefix destination;
  std::string vrf;  ///< Whose table; empty: main.
  std::string device;
  uint8_t protocol = 50;
  uint32_t metric = 100;
  std::optional<IpAddress> preferred_source;
  std::optional<IpAddress> gateway;  ///< On the device's own link; of the destination's family.
  RouteKind kind = RouteKind::kDevice;
  uint32_t encap_if_id = 0;  ///< Of the tunnel, where the device is external; 0: none.
  friend bool operator==(const RouteConfig&, const RouteConfig&) = default;
};

/// A routing policy rule: packets with this mark look into this VRF's table.
struct RuleConfig {
  Family family = Family::kIpv4;
  uint32_t priority = 0;
  Mark mark;
  std::string vrf;  ///< Whose table; empty: main.
  uint8_t protocol = 50;
  friend auto operator<=>(const RuleConfig&, const RuleConfig&) = default;
};

}  // namespace ipsec::policy
