#include "policy/plan_routes.h"

#include <algorithm>

namespace ipsec::policy {
namespace {

constexpr uint32_t kPeerRouteMetric = 4294967295;

}  // namespace

std::vector<RouteConfig> plan_routes_to(const SelectorList& remotes, const Tunnel& tunnel, const ChildIds& ids,
                                        uint32_t metric) {
  std::vector<RouteConfig> routes;
  if (ids.if_id == 0) return routes;
  for (const TrafficSelector& remote : remotes)
    for (const IpPrefix& prefix : remote.addresses.prefixes())
      routes.push_back(route_into(tunnel, ids, prefix, metric));
  auto less = [](const RouteConfig& a, const RouteConfig& b) { return a.destination < b.destination; };
  std::sort(routes.begin(), routes.end(), less);
  routes.erase(std::unique(routes.begin(), routes.end()), routes.end());
  return routes;
}

std::vector<RouteConfig> plan_selector_routes(const SelectorList& remotes, const Tunnel& tunnel, const ChildIds& ids,
                                              RouteState state) {
  if (!tunnel.group->selector_routes) return {};
  const RouteMetrics& metrics = tunnel.group->metrics;
  return plan_routes_to(remotes, tunnel, ids, state == RouteState::kUp ? metrics.alone : metrics.idle);
}

std::vector<RouteConfig> plan_static_routes(const Tunnel& tunnel, const ChildIds& ids, RouteState state) {
  std::vector<RouteConfig> routes;
  if (ids.if_id == 0) return routes;
  const RouteMetrics& metrics = tunnel.group->metrics;
  for (const StaticRoute& each : tunnel.routes)
    routes.push_back(route_into(tunnel, ids, each.prefix,
                                state == RouteState::kUp ? each.metric.value_or(metrics.alone) : metrics.idle));
  return routes;
}

std::vector<RouteConfig> plan_gateway_routes(const TunnelGroup& group) {
  std::vector<RouteConfig> routes;
  if (!group.enabled || !group.gateway_routes) return routes;
  for (const IpAddress& each : group.public_addresses)
    routes.push_back({.destination = IpPrefix::host(each),
                      .vrf = group.public_place.vrf,
                      .device = {},
                      .protocol = group.route_protocol,
                      .metric = group.metrics.alone,
                      .preferred_source = {},
                      .gateway = {},
                      .kind = RouteKind::kUnreachable});
  return routes;
}

RouteConfig plan_peer_route(const TunnelGroup& group, const IpAddress& peer, const std::string& device) {
  return {.destination = IpPrefix::host(peer),
          .vrf = group.public_place.vrf,
          .device = device,
          .protocol = group.route_protocol,
          .metric = kPeerRouteMetric,
          .preferred_source = {},
          .gateway = peer};
}

bool is_peer_route(const RouteConfig& route) {
  return route.metric == kPeerRouteMetric && route.gateway == route.destination.address;
}

}  // namespace ipsec::policy
