#pragma once

#include <vector>

#include "policy/config.h"
#include "policy/kernel_model.h"
#include "policy/plan.h"

/// Routes: to the peers' selectors, those that tunnels have beside them, and those to our own addresses. Pure.
namespace ipsec::policy {

/// In which of a tunnel's states a route stands.
enum class RouteState : uint8_t {
  kUp,   ///< A child is up.
  kIdle  ///< A child waits for traffic: the idle metric, so that a packet can raise it and others are preferred.
};
/// Routes to what selectors cover, sorted, each once, in the private table, out of the tunnel's interface; none where
/// there is no interface.
std::vector<RouteConfig> plan_routes_to(const SelectorList& remotes, const Tunnel& tunnel, const ChildIds& ids,
                                        uint32_t metric);
/// The same of a child in one of its states; none where the group wants no routes to selectors.
std::vector<RouteConfig> plan_selector_routes(const SelectorList& remotes, const Tunnel& tunnel, const ChildIds& ids,
                                              RouteState state);
/// Tunnel::routes, in the private table, out of the tunnel's interface; none where there is no interface.
std::vector<RouteConfig> plan_static_routes(const Tunnel& tunnel, const ChildIds& ids, RouteState state);

/// One for each of the group's addresses, in the public table, where the group wants them. They lead nowhere: what is
/// for an address of this machine never gets to them, and while it is not here the sender is told.
std::vector<RouteConfig> plan_gateway_routes(const TunnelGroup& group);

/// Of a peer on the link of `device` itself, to which a NIC with packet offload sends: a host route whose gateway is
/// the peer. The packets that Linux hands to such a NIC are not encrypted yet, and without a gateway the kernel asks
/// the link for the neighbour of the inner destination. Its metric is the highest, so that any other host route counts.
RouteConfig plan_peer_route(const TunnelGroup& group, const IpAddress& peer, const std::string& device);
/// Whether it is such a route.
bool is_peer_route(const RouteConfig& route);

}  // namespace ipsec::policy
