#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "policy/base/ip.h"
#include "policy/child_spec.h"
#include "policy/config.h"

/// How large packets may be inside a tunnel, and what of that TCP is to know. Pure.
namespace ipsec::policy {

inline constexpr uint32_t kUnderlayMtu = 1500;  ///< Bytes; of a path that nobody can tell anything about.
inline constexpr uint32_t kIpv6MtuMin = 1280;   ///< Bytes that every IPv6 link carries (RFC 8200 section 5).
inline constexpr uint32_t kMtuMin = 256;        ///< Bytes; what may be configured, and what computing ends at.
inline constexpr uint32_t kMtuMax = 65000;      ///< Bytes.
inline constexpr uint32_t kOuterMtuMin = 576;   ///< Bytes; what every IPv4 host takes (RFC 791).
inline constexpr uint32_t kMssMin = 88, kMssMax = 65000;  ///< Bytes; the least that Linux works with.

/// All that decides how many bytes ESP adds.
struct EspShape {
  EspSuite suite;
  EspMode mode = EspMode::kTunnel;
  Family outer = Family::kIpv4;
  bool udp_encapsulation = false;
  friend bool operator==(const EspShape&, const EspShape&) = default;
};

/// Bytes of the largest packet, its IP header included, that leaves as at most `path` bytes of ESP. Tunnel mode:
/// path - outer IP header - [8 UDP] - 8 ESP header - IV - ICV, rounded down to the cipher's block (4 at least, RFC 4303
/// section 2.4), - 2 bytes of trailer. Transport mode: the IP header is not encrypted, so that only what follows it is
/// rounded. kMtuMin where nothing sensible is left.
uint32_t inner_mtu(const EspShape& shape, uint32_t path);

/// The packet at its largest: what an inner packet of `inner` bytes leaves as. The inverse of inner_mtu().
uint32_t outer_bytes(const EspShape& shape, uint32_t inner);

/// What carries a tunnel's packets, as far as it is known.
struct PathFacts {
  std::string device;           ///< In the public namespace; empty: nobody knows.
  uint32_t mtu = kUnderlayMtu;  ///< Bytes; of the device, the route, or learnt from ICMP, the least of them.
  bool direct = false;          ///< Without a gateway, or by way of the peer itself.
  friend bool operator==(const PathFacts&, const PathFacts&) = default;
};

/// The inner MTU of one child, and what it was made from, for people.
struct InnerMtu {
  uint32_t bytes = kUnderlayMtu;
  std::string because;
  friend bool operator==(const InnerMtu&, const InnerMtu&) = default;
};

/// As ChildPolicy::mtu says, or computed from the path (ChildPolicy::outer_mtu instead of what the kernel knows of it).
/// `shape`: of its SAs; nothing while nothing has been negotiated: then the largest of the offered ones counts, with
/// UDP encapsulation, so that what comes will fit.
InnerMtu child_mtu(const Tunnel& tunnel, const ChildConfig& child, const std::optional<EspShape>& shape,
                   const PathFacts& path);

/// Whether packets of this family may enter the tunnel.
bool carries(const Tunnel& tunnel, Family family);

/// What the device of the tunnel gets: IPv6 is not possible over a link of less than kIpv6MtuMin, so that with IPv6
/// selectors it is at least that; larger IPv6 packets meet "packet too big" then, up to that they pass whole.
uint32_t link_mtu(const Tunnel& tunnel, uint32_t inner);

/// The largest TCP segments, in bytes, by the family of the packets that carry them; 0: as the end points have it.
struct MssLimits {
  uint16_t ipv4 = 0, ipv6 = 0;
  friend auto operator<=>(const MssLimits&, const MssLimits&) = default;
};
/// For a tunnel whose inner MTU is this: from it, less the headers of IP and TCP, or the configured value.
MssLimits mss_limits(const MssClamp& clamp, uint32_t inner);

}  // namespace ipsec::policy
