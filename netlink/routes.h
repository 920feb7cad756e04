#pragma once

#include <vector>

#include "netlink/socket.h"
#include "policy/kernel_model.h"

namespace ipsec::netlink {

/// What the names of a RouteConfig mean in its namespace.
struct RouteContext {
  uint32_t table = 254;  ///< Of the VRF; 254 is main.
  int device_index = 0;
};

/// Looks the names up: `kVrfMissing`, `kDeviceMissing`.
Result<RouteContext> resolve_route(Socket& route, const policy::RouteConfig& config);

/// RTM_NEWROUTE (creates, never replaces) and RTM_DELROUTE (names everything that the route has, so that a route of
/// somebody else to the same destination stays).
Message encode_new_route(const policy::RouteConfig& config, const RouteContext& context);
Message encode_delete_route(const policy::RouteConfig& config, const RouteContext& context);

/// The payload of RTM_NEWROUTE or RTM_DELROUTE; device and VRF still as numbers, their names empty.
struct DecodedRoute {
  policy::RouteConfig config;
  RouteContext context;
  /// One that leads out of one device, without a gateway or with one on that link, or is unreachable: such as ours.
  bool plain = false;
};
Result<DecodedRoute> decode_route(ByteView payload);
/// The request for a dump of one family's routes of one protocol, and what one message of it holds.
Message encode_dump_routes(uint8_t family, uint8_t protocol);
Status take_route(const Received& message, uint8_t protocol, std::vector<DecodedRoute>& found);
/// All plain routes of one protocol, of both families and all tables. Nothing else may be in flight on `dumps`; one
/// opened with `strict` lets the kernel leave out all others.
Result<std::vector<DecodedRoute>> dump_routes(Socket& dumps, uint8_t protocol);

/// EEXIST (os_errno) when a route of the same destination, metric and table is there.
Status add_route(Socket& route, const policy::RouteConfig& config);
/// A route, device or VRF that is gone is success.
Status delete_route(Socket& route, const policy::RouteConfig& config);

}  // namespace ipsec::netlink
