#include "netlink/routes.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

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
  header.rtm_type = RTN_UNICAST;
  // IPv4 wants "link" for a route without a gateway; IPv6 has no scopes.
  header.rtm_scope = v4 ? static_cast<uint8_t>(scope == RouteScope::kAny ? RT_SCOPE_NOWHERE : RT_SCOPE_LINK)
                        : static_cast<uint8_t>(RT_SCOPE_UNIVERSE);
  Message message(type, flags);
  message.header(header);
  message.put(RTA_DST, config.destination.address.bytes());
  message.put_u32(RTA_TABLE, context.table);
  message.put_u32(RTA_PRIORITY, config.metric);
  message.put_u32(RTA_OIF, static_cast<uint32_t>(context.device_index));
  if (config.preferred_source) message.put(RTA_PREFSRC, config.preferred_source->bytes());
  return message;
}

}  // namespace

Result<RouteContext> resolve_route(Socket& route, const policy::RouteConfig& config) {
  RouteContext context;
  if (!config.vrf.empty()) {
    TRY_ASSIGN(const LinkInfo vrf, need_vrf(route, config.vrf), "");
    context.table = vrf.vrf_table;
  }
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
