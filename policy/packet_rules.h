#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "policy/config.h"
#include "policy/kernel_model.h"
#include "policy/mtu.h"

/// What is done to packets beside SAs, policies and interfaces, as values: the content of our one table of packet rules
/// (nftables) in a namespace.
namespace ipsec::policy {

/// What an outbound SA's packets get in the header that goes over the wire, where XFRM has no setting for it.
struct OuterHeader {
  bool df_set = false;             ///< IPv4 only.
  std::optional<uint8_t> dscp;     ///< 0 to 63; nothing: as XFRM has written it.
  bool udp_encapsulation = false;  ///< Where the SPI stands in the packet.
  bool empty() const { return !df_set && !dscp; }
  friend auto operator<=>(const OuterHeader&, const OuterHeader&) = default;
};

struct PacketRules {
  /// TCP SYN packets that leave into or come out of a tunnel's interface, or that a policy of this reqid takes.
  std::map<std::string, MssLimits> interfaces;
  std::map<uint32_t, MssLimits> reqids;
  /// Interfaces into which IPv4 packets go without their DF bit, as far as they are forwarded: by their destination and
  /// the VRF that they come from (empty: none), because the decision falls before the interface is known. Where the
  /// route can be asked for, it has to lead into the interface, too.
  struct Clearing {
    std::string vrf;
    std::string interface;
    IpPrefix destination;
    friend auto operator<=>(const Clearing&, const Clearing&) = default;
  };
  std::set<Clearing> inner_df;
  std::map<SaKey, OuterHeader> outer;
  /// Two IPv4 gateways between which IPv6 in IPv4 (protocol 41) is taken out of SAs only. The kernel's interface for IP
  /// in IP asks policies about IPv4 inside, and takes IPv6 inside from anybody who names the other gateway as its
  /// source.
  struct Sealed {
    IpAddress remote, local;
    friend auto operator<=>(const Sealed&, const Sealed&) = default;
  };
  std::set<Sealed> sealed;
  /// As read: whether nothing but these entries differs from what was put there. What is wanted is always intact.
  bool intact = true;

  bool empty() const {
    return interfaces.empty() && reqids.empty() && inner_df.empty() && outer.empty() && sealed.empty() && intact;
  }
  friend bool operator==(const PacketRules&, const PacketRules&) = default;
};
/// "3 interfaces, 2 SAs, changed by others".
std::string to_string(const PacketRules& rules);

/// Some entries of a table: a value is put there, nothing is taken out.
struct PacketRuleChange {
  std::map<std::string, std::optional<MssLimits>> interfaces;
  std::map<uint32_t, std::optional<MssLimits>> reqids;
  std::map<PacketRules::Clearing, bool> inner_df;
  std::map<SaKey, std::optional<OuterHeader>> outer;
  std::map<PacketRules::Sealed, bool> sealed;
  bool empty() const {
    return interfaces.empty() && reqids.empty() && inner_df.empty() && outer.empty() && sealed.empty();
  }
  void apply_to(PacketRules& rules) const;
};

// Where rules cannot write DF bits, something else does that part of the work. The part, and the rest (an IPv6 header
// has no such bit, so that what is said of it stays where it is):
bool has_df(const PacketRules& rules);
bool has_df(const PacketRuleChange& change);
PacketRules only_df(const PacketRules& rules);
PacketRules without_df(const PacketRules& rules);
PacketRuleChange without_df(const PacketRuleChange& change);
/// What only_df() and without_df() have made of rules, together again.
PacketRules with_df(PacketRules rest, const PacketRules& df);

/// What the SAs of this policy's children need beside XFRM's own settings.
OuterHeader outer_header(const ChildPolicy& policy, bool udp_encapsulation);
/// Whether it is anything.
bool goes_by_rules(const ChildPolicy& policy);

struct DscpSetting {
  DscpMode mode = DscpMode::kCopy;
  uint8_t value = 0;
};
/// "copy", "zero", a number of 0 to 63, decimal or hexadecimal (0x28), or a name: cs5, af31, ef.
std::optional<DscpSetting> parse_dscp(std::string_view text);
/// "none", "mtu", or a number of kMssMin to kMssMax.
std::optional<MssClamp> parse_mss(std::string_view text);
/// What parse_mss() reads.
std::string to_string(const MssClamp& clamp);

}  // namespace ipsec::policy
