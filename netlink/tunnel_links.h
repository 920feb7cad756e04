#pragma once

#include <optional>
#include <string_view>

#include "netlink/links.h"

/// GRE and IP-in-IP interfaces, over a NETLINK_ROUTE socket of their namespace. As xfrm interfaces they may lie over
/// another namespace than their own. What they have in common with these (VRF, MTU, group, names, up) is in links.h.
namespace ipsec::netlink {

/// The kernel's word for them: "gre", "ip6gre", "sit" (it carries both families over IPv4), "ip6tnl".
std::string_view tunnel_kind(policy::LinkKind kind, Family outer);
/// Which of ours an interface of that kind is; nothing when it is none.
std::optional<policy::LinkKind> tunnel_kind(std::string_view kind);

/// Of the interface's IFLA_INFO_DATA what tells it from others.
Result<TunnelEnds> read_tunnel_ends(std::string_view kind, const Attributes& data);

/// Makes the interface, with its alternative name: enslaved, MTU set, up, or not there at all. EEXIST (os_errno) when
/// the name, or these ends with this key, are taken in the public namespace.
Status add_tunnel_link(Socket& route, const policy::LinkConfig& link, const PublicSide& public_side);
/// As update_xfrm_link(); and its ends and key, which change in place.
Status update_tunnel_link(Socket& route, const policy::LinkConfig& link, const LinkInfo& there);
/// Removes it by name: only one of these kinds; nothing there is success.
Status delete_tunnel_link(Socket& route, const std::string& name);

}  // namespace ipsec::netlink
