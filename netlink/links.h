#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "netlink/netns.h"
#include "netlink/socket.h"
#include "policy/base/ip.h"
#include "policy/kernel_model.h"

/// Network interfaces, over a NETLINK_ROUTE socket of the namespace concerned. All of these wait for the answer, which
/// the kernel gives within the send call.
namespace ipsec::netlink {

/// Of a GRE or IP-in-IP interface what tells it from others in its public namespace.
struct TunnelEnds {
  IpAddress local, remote;
  uint32_t key = 0;     ///< Of GRE; 0: none.
  uint32_t device = 0;  ///< What it lies over, in its public namespace; 0: whatever its routes say.
  uint8_t tos = 0;      ///< Of IP in IP over IPv4: what stands there outside; 1: as inside.
  friend bool operator==(const TunnelEnds&, const TunnelEnds&) = default;
};

struct LinkInfo {
  int index = 0;
  std::string name;
  std::string kind;         ///< "xfrm", "vrf", "veth"; empty for a plain device.
  std::string member_kind;  ///< What its master is: "vrf", "bridge", "bond"; empty without one.
  uint16_t hardware = 0;    ///< ARPHRD_*: what stands before the IP header.
  std::vector<std::string> altnames;
  bool up = false;         ///< Administratively up, and running.
  bool admin_up = false;   ///< Administratively up.
  bool own_state = false;  ///< Its operational state is user space's to say (IFLA_LINKMODE).
  bool dormant = false;    ///< And is "dormant" (RFC 2863). Never while it is down: the kernel tells "down" then.
  uint32_t mtu = 0, group = 0;
  int master = 0;         ///< Interface index; 0: none.
  uint32_t if_id = 0;     ///< Of an xfrm interface.
  bool external = false;  ///< An xfrm interface whose routes say the if_id (collect metadata).
  int public_device = 0;  ///< Of an xfrm interface: what it lies over, in its public namespace; 0: nothing.
  std::optional<uint32_t> public_netns;  ///< Number of the namespace that it lies over, where that is another one.
  uint32_t vrf_table = 0;                ///< Of a VRF.
  TunnelEnds ends;                       ///< Of a GRE or IP-in-IP interface (netlink/tunnel_links.h).
};

/// The payload of RTM_NEWLINK or RTM_DELLINK.
Result<LinkInfo> decode_link(ByteView payload);

/// The interface of a name or an alternative name; nothing when there is none.
Result<std::optional<LinkInfo>> find_link(Socket& route, const std::string& name);
Result<std::optional<LinkInfo>> find_link(Socket& route, int index);
/// The same, `kDeviceMissing` when there is none.
Result<LinkInfo> need_link(Socket& route, const std::string& name);
/// The request for a dump of all interfaces, and what one message of it holds.
Message encode_dump_links();
Status take_link(const Received& message, std::vector<LinkInfo>& found);
/// All interfaces of the namespace of `dumps`, on which nothing else may be in flight.
Result<std::vector<LinkInfo>> dump_links(Socket& dumps);
/// A VRF; `kVrfMissing` (with the command that makes it) when it is not there or something else.
Result<LinkInfo> need_vrf(Socket& route, const std::string& name);

/// The number by which the namespace of `route` knows `other`; one is given to it if it has none yet.
Result<uint32_t> netns_id(Socket& route, const UniqueFd& other);

/// Where the SAs and policies of an xfrm interface live, as seen from its own namespace.
struct PublicSide {
  std::optional<uint32_t> netns_id;  ///< Nothing: the same namespace.
  int device_index = 0;              ///< In the public namespace; 0: none.
};

/// Gives an interface its alternative name.
Status add_altname(Socket& route, const policy::LinkConfig& link);
/// Makes an xfrm interface in the namespace of `route`, in one message, with its name of the second kind in another:
/// enslaved, MTU set, up (and dormant), or not there at all; it has no addresses yet. EEXIST (os_errno) when the name,
/// or the if_id in the public namespace, is taken.
Status add_xfrm_link(Socket& route, const policy::LinkConfig& link, const PublicSide& public_side);
/// Brings VRF, MTU, group, alternative name, "up" and the operational state of the interface that is `there` to what
/// `link` says, in one message where its name stands. Without its VRF (`kVrfMissing`) it is taken down.
Status update_xfrm_link(Socket& route, const policy::LinkConfig& link, const LinkInfo& there);
/// The part of RTM_NEWLINK and RTM_SETLINK that says whether a link is dormant. User space cannot change the carrier of
/// these interfaces, but it can have their operational state to itself (IFLA_LINKMODE), which decides IFF_RUNNING.
void put_operational_state(Message& message, bool dormant);
/// Moves these interfaces into an interface group that nobody else uses, and removes all that is in the group.
Status delete_links_at_once(Socket& route, const std::vector<int>& indices, uint32_t group);
/// Removes an interface by name: only an xfrm interface; nothing there is success.
Status delete_xfrm_link(Socket& route, const std::string& name);

}  // namespace ipsec::netlink
