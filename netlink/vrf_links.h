#pragma once

#include <vector>

#include "netlink/links.h"

/// VRFs, made and removed over a NETLINK_ROUTE socket of their namespace.
namespace ipsec::netlink {

/// Makes a VRF with the table, alternative name and "up" of `link`: or not there at all. EEXIST (os_errno) when the
/// name is taken.
Status add_vrf_link(Socket& route, const policy::LinkConfig& link);
/// Brings alternative name and "up" to what `link` says.
Status update_vrf_link(Socket& route, const policy::LinkConfig& link, const LinkInfo& there);
/// Removes it; what is in it leaves it. Gone already is success.
Status delete_vrf_link(Socket& route, const LinkInfo& there);

}  // namespace ipsec::netlink
