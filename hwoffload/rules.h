#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "hwoffload/device.h"
#include "policy/base/reasons.h"

/// What rules out an offload before it is tried: the kernel's own refusals, and those of known drivers, as data.
namespace ipsec::hwoffload {

/// What of an SA matters for placement.
struct SaNeeds {
  policy::Direction direction = policy::Direction::kIn;
  policy::EspSuite suite;
  policy::EspMode mode = policy::EspMode::kTunnel;
  uint16_t replay_window = 0;  ///< Packets; 0 outbound.
  bool has_if_id = false;
  bool udp_encapsulation = false;
  bool rules_for_outer = false;  ///< Packet rules write the outer header (df set, a fixed dscp).
  Family outer = Family::kIpv4;
  bool covers_outer = false;        ///< The selectors include the tunnel's own outer addresses, so IKE too.
  bool inner_other_family = false;  ///< Some selector is of another family than the outer addresses.
  bool other_protocols = false;     ///< Some selector names a protocol other than TCP and UDP.
  bool hard_volume_only = false;    ///< A hard limit of bytes or packets without a soft one below it.
  friend bool operator==(const SaNeeds&, const SaNeeds&) = default;
};

/// A rule that decided, for people: "packet on ens1: UDP encapsulation cannot be offloaded".
struct Verdict {
  policy::OffloadKind kind = policy::OffloadKind::kNone;
  std::string device;
  Reason reason = Reason::kNone;
  std::string detail;
  std::string remedy = {};  ///< What to change to get it onto the NIC; empty: nothing that we know of.
  std::string source = {};  ///< Where the rule comes from.
};

/// Of what a driver looks at before it takes an SA.
enum class Property : uint8_t {
  kKind,        ///< 1: crypto, 2: packet.
  kDirection,   ///< 0: in, 1: out.
  kMode,        ///< 0: tunnel, 1: transport.
  kCipher,      ///< 1: AES-GCM, 2: ChaCha20-Poly1305, 0: anything else.
  kKeyBits,     ///< Of the cipher.
  kEsn,         ///< 1: extended sequence numbers.
  kWindow,      ///< Replay window in packets; 0 outbound.
  kUdp,         ///< 1: UDP encapsulation.
  kProtocols,   ///< 1: selectors with a protocol other than TCP and UDP.
  kHardVolume,  ///< 1: a hard limit of volume without a soft one.
};

/// A few values.
struct Allowed {
  std::array<uint32_t, 4> values{};
  size_t count = 0;
  constexpr Allowed() = default;
  constexpr Allowed(std::initializer_list<uint32_t> list) {
    for (const uint32_t each : list) values.at(count++) = each;
  }
  bool contains(uint32_t value) const {
    return std::find(values.begin(), values.begin() + count, value) != values.begin() + count;
  }
};

/// A rule of one driver: an SA whose property has none of these values is refused. For SAs of these kinds, directions
/// and modes only.
struct DriverRule {
  std::string_view driver;
  uint8_t kinds = 3;       ///< 1: crypto, 2: packet.
  uint8_t directions = 3;  ///< 1: in, 2: out.
  uint8_t modes = 3;       ///< 1: tunnel, 2: transport.
  Property property = Property::kKind;
  Allowed allowed;
  Reason reason = Reason::kOffloadRefused;
  std::string_view says;
  std::string_view remedy;
  std::string_view source;
};
std::span<const DriverRule> driver_rules();

/// A driver that is known: what its table holds.
struct KnownDriver {
  std::string_view name;
  Known crypto = Known::kUnknown, packet = Known::kUnknown;
  size_t sas_in = 0, sas_out = 0;  ///< Room for so many; 0: not known.
  std::string_view source;
};
std::span<const KnownDriver> known_drivers();
const KnownDriver* find_driver(std::string_view name);

/// Everything that rules out this kind of offload of this SA on this device; empty: nothing known does.
std::vector<Verdict> refusals(const SaNeeds& needs, const DeviceFacts& device, const KernelFacts& kernel,
                              policy::OffloadKind kind);

}  // namespace ipsec::hwoffload
