#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "netlink/bpf_code.h"
#include "netlink/links.h"
#include "policy/packet_rules.h"

/// The two programs that write DF bits of IPv4 where packet rules cannot, the keys of the maps that they look into, and
/// the devices on which they stand. Pure; internal (kernel structures).
namespace ipsec::netlink {

/// Of the map of SAs whose packets leave with DF: destination and SPI as in the packet, then the protocol (50, or 17
/// for ESP in UDP) and three zeros.
using DfSaKey = std::array<uint8_t, 12>;
/// Nothing for an IPv6 destination: there is no such bit.
std::optional<DfSaKey> df_key(const policy::SaKey& sa, const policy::OuterHeader& header);
/// Inverse of df_key(); nothing for what it never makes.
std::optional<std::pair<policy::SaKey, policy::OuterHeader>> sa_of(const DfSaKey& key);

/// Of the map (a longest-prefix trie) of destinations to which packets go without DF: bits that count, the scope, the
/// address. A scope is the index of the VRF that packets come from; 0: no VRF.
using DfDestinationKey = std::array<uint8_t, 12>;
DfDestinationKey df_key(int scope, const IpPrefix& destination);
/// Of the map of interfaces into which packets go without DF: their index.
using DfInterfaceKey = std::array<uint8_t, 4>;
DfInterfaceKey df_key(int interface);

/// Where a program stands: behind how many bytes of link header the IPv4 header begins, and the scope of the device.
struct DfPlace {
  uint8_t link_header = 0;
  int scope = 0;
  friend auto operator<=>(const DfPlace&, const DfPlace&) = default;
};
/// Whether, and how, packets of ours that a device of the public side sends can be looked at. Not on xfrm interfaces,
/// VRFs and loopback; nor on members of bonds and bridges, whose packets are those of the whole.
std::optional<DfPlace> df_place(const LinkInfo& device);

/// For what a device sends: an unfragmented IPv4 packet of ESP, in UDP or not, whose SA is in the map leaves with DF.
std::vector<bpf_insn> set_df_code(int sa_map, uint8_t link_header);
/// For what a device receives: an IPv4 packet with DF to one of the destinations, which is routed into one of the
/// interfaces (by tables and rules, but for what rules say of marks), goes on without it. Of a route that says more
/// than an interface (`encap`, as those into external xfrm interfaces do) the kernel does not tell the interface: then
/// the destination alone decides.
std::vector<bpf_insn> clear_df_code(int destination_map, int interface_map, const DfPlace& place);

}  // namespace ipsec::netlink
