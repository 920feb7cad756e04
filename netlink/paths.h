#pragma once

#include <string>

#include "netlink/socket.h"
#include "policy/mtu.h"

namespace ipsec::netlink {

/// How a packet to this address would leave the namespace of `route` now, out of a VRF of it (empty: none): the device,
/// and how large it may be, as device, route and the ICMP messages heard so far say. Error when there is no way.
Result<policy::PathFacts> path_to(Socket& route, const std::string& vrf, const IpAddress& destination);

/// KernelPort::is_on_link(). `dumps`: for addresses; nothing else may be in flight there.
Result<bool> is_on_link(Socket& route, Socket& dumps, const std::string& vrf, const IpAddress& destination);

/// The question, RTM_GETROUTE; `vrf_index`: 0 without one.
Message encode_get_path(const IpAddress& destination, int vrf_index);
/// Of the answer: the index of the device, and the MTU of the route; 0: it has none of its own.
struct DecodedPath {
  int device_index = 0;
  uint32_t mtu = 0;
  bool direct = false;  ///< To a host elsewhere, without a gateway or by way of itself.
};
Result<DecodedPath> decode_path(ByteView payload);

}  // namespace ipsec::netlink
