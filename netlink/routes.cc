#include "netlink/routes.h"

#include <linux/lwtunnel.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "netlink/family_dump.h"
#include "netlink/links.h"

namespace ipsec::netlink {
namespace {

enum class RouteScope : uint8_t { kOfNewRoute, kAny };

Message encode(uint16_t type, uint16_t flags, const policy::RouteConfig& config, const RouteContext& context,
               RouteScope scope) {
  const bool v4 = config.destination.address.is_v4();
  rtmsg header{};
  header.rtm_family = v4 ? AF_INET : AF_INET6;
  header.rtm_dst_len = config.destination.length;
  header.rtm_table = RT_TABLE_UNSPEC;  // the attribute holds it: VRF tables do not fit into 8 bits
  header.rtm_protocol = config.protocol;
  const bool to_device = config.kind == policy::RouteKind::kDevice;
  const bool by_gateway = to_device && config.gateway.has_value();
  if (by_gateway) header.rtm_flags = RTNH_F_ONLINK;
  header.rtm_type = to_device ? RTN_UNICAST : RTN_UNREACHABLE;
  // IPv4 wants "link" for a route to a device without a gateway; IPv6 has no scopes.
  header.rtm_scope = RT_SCOPE_UNIVERSE;
  if (v4 && scope == RouteScope::kAny)
    header.rtm_scope = RT_SCOPE_NOWHERE;
  else if (v4 && to_device && !by_gateway)
    header.rtm_scope = RT_SCOPE_LINK;
  Message message(type, flags);
  message.header(header);
  message.put(RTA_DST, config.destination.address.bytes());
  message.put_u32(RTA_TABLE, context.table);
  message.put_u32(RTA_PRIORITY, config.metric);
  if (to_device) message.put_u32(RTA_OIF, static_cast<uint32_t>(context.device_index));
  if (by_gateway) message.put(RTA_GATEWAY, config.gateway->bytes());
  if (config.preferred_source) message.put(RTA_PREFSRC, config.preferred_source->bytes());
  if (to_device && config.encap_if_id != 0) {
    message.put_struct<uint16_t>(RTA_ENCAP_TYPE, LWTUNNEL_ENCAP_XFRM);
    message.nest(RTA_ENCAP, [&] { message.put_u32(LWT_XFRM_IF_ID, config.encap_if_id); });
  }
  return message;
}

}  // namespace

Result<RouteContext> resolve_route(Socket& route, const policy::RouteConfig& config) {
  RouteContext context;
  if (!config.vrf.empty()) {
    TRY_ASSIGN(const LinkInfo vrf, need_vrf(route, config.vrf), "");
    context.table = vrf.vrf_table;
  }
  if (config.kind == policy::RouteKind::kUnreachable) return context;
  TRY_ASSIGN(const LinkInfo device, need_link(route, config.device), "");
  context.device_index = device.index;
  return context;
}

Message encode_new_route(const policy::RouteConfig& config, const RouteContext& context) {
  return encode(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, config, context, RouteScope::kOfNewRoute);
}

Message encode_delete_route(const policy::RouteConfig& config, const RouteContext& context) {
  return encode(RTM_DELROUTE, 0, config, context, RouteScope::kAny);
}

Result<DecodedRoute> decode_route(ByteView payload) {
  TRY_ASSIGN(const auto header, from_bytes<rtmsg>(payload), "route");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(header)), "route");
  const bool v4 = header.rtm_family == AF_INET;
  if (!v4 && header.rtm_family != AF_INET6)
    return Error(Reason::kUnsupported, "a route of address family " + std::to_string(header.rtm_family));
  DecodedRoute route;
  const auto address = [&](uint16_t type) -> Result<std::optional<IpAddress>> {
    const auto bytes = attributes.find(type);
    if (!bytes) return std::optional<IpAddress>();
    TRY_ASSIGN(const IpAddress found, IpAddress::from_bytes(*bytes), "route");
    if (found.is_v4() != v4) return Error(Reason::kMalformed, "a route with an address of another family");
    return std::optional(found);
  };
  TRY_ASSIGN(const auto destination, address(RTA_DST), "");
  TRY_ASSIGN(route.config.preferred_source, address(RTA_PREFSRC), "");
  TRY_ASSIGN(route.config.gateway, address(RTA_GATEWAY), "");
  TRY_ASSIGN(const auto table, attributes.get<uint32_t>(RTA_TABLE), "route");
  TRY_ASSIGN(const auto metric, attributes.get<uint32_t>(RTA_PRIORITY), "route");
  TRY_ASSIGN(const auto device, attributes.get<uint32_t>(RTA_OIF), "route");
  const IpAddress none = IpAddress::any(v4 ? Family::kIpv4 : Family::kIpv6);
  if (header.rtm_dst_len > none.bits()) return Error(Reason::kMalformed, "a route with too long a prefix");
  route.config.destination = {destination.value_or(none), header.rtm_dst_len};
  route.config.protocol = header.rtm_protocol;
  route.config.metric = metric.value_or(0);
  route.context = {.table = table.value_or(header.rtm_table), .device_index = static_cast<int>(device.value_or(0))};
  if (header.rtm_type == RTN_UNREACHABLE) {
    route.config.kind = policy::RouteKind::kUnreachable;
    route.context.device_index = 0;  // IPv6 shows the loopback device
  }
  TRY_ASSIGN(const auto encap, attributes.get<uint16_t>(RTA_ENCAP_TYPE), "route");
  if (encap == LWTUNNEL_ENCAP_XFRM) {
    TRY_ASSIGN(const Attributes encapsulation, attributes.nested(RTA_ENCAP), "route");
    TRY_ASSIGN(const auto if_id, encapsulation.get<uint32_t>(LWT_XFRM_IF_ID), "route");
    route.config.encap_if_id = if_id.value_or(0);
  }
  const bool other_encap = encap && route.config.encap_if_id == 0;
  const bool on_link = !route.config.gateway || (header.rtm_flags & RTNH_F_ONLINK) != 0;
  const bool unicast = header.rtm_type == RTN_UNICAST && device && on_link && !attributes.find(RTA_VIA) &&
                       !attributes.find(RTA_MULTIPATH);
  route.plain = !other_encap && (unicast || header.rtm_type == RTN_UNREACHABLE) && header.rtm_src_len == 0 &&
                header.rtm_tos == 0 && (header.rtm_flags & RTM_F_CLONED) == 0;
  return route;
}

Message encode_dump_routes(uint8_t family, uint8_t protocol) {
  Message message(RTM_GETROUTE);
  rtmsg header{};
  header.rtm_family = family;
  header.rtm_protocol = protocol;
  message.header(header);
  return message;
}

Status take_route(const Received& message, uint8_t protocol, std::vector<DecodedRoute>& found) {
  if (message.type != RTM_NEWROUTE) return {};
  TRY_ASSIGN(DecodedRoute route, decode_route(message.payload), "");
  if (route.plain && route.config.protocol == protocol) found.push_back(std::move(route));
  return {};
}

Result<std::vector<DecodedRoute>> dump_routes(Socket& dumps, uint8_t protocol) {
  const auto request = [protocol](uint8_t family) { return encode_dump_routes(family, protocol); };
  const auto take = [protocol](const Received& message, std::vector<DecodedRoute>& found) {
    return take_route(message, protocol, found);
  };
  TRY_ASSIGN(std::vector<DecodedRoute> all, dump_families<DecodedRoute>(dumps, request, take), "read all routes");
  return all;
}

Status add_route(Socket& route, const policy::RouteConfig& config) {
  TRY_ASSIGN(const RouteContext context, resolve_route(route, config), "route " + to_string(config.destination));
  TRY(route.transact(encode_new_route(config, context)), "route " + to_string(config.destination));
  return {};
}

Status delete_route(Socket& route, const policy::RouteConfig& config) {
  auto context = resolve_route(route, config);
  if (!context.ok()) {
    // Routes go with their device and with their table.
    if (context.error().reason() == Reason::kDeviceMissing || context.error().reason() == Reason::kVrfMissing)
      return {};
    return std::move(context).error().context("remove route " + to_string(config.destination));
  }
  auto gone = route.transact(encode_delete_route(config, *context));
  if (gone.ok() || gone.error().os_errno() == ESRCH || gone.error().os_errno() == ENODEV) return {};
  return std::move(gone).error().context("remove route " + to_string(config.destination));
}

}  // namespace ipsec::netlink
