#pragma once

#include <vector>

#include "policy/config.h"
#include "policy/kernel_model.h"
#include "policy/plan.h"

/// Routes that are no child's: those that tunnels have beside their selectors', and those to our own addresses. Pure.
namespace ipsec::policy {

/// In which of a tunnel's states a route stands.
enum class RouteState : uint8_t {
  kUp,   ///< A child is up.
  kIdle  ///< A child waits for traffic: the idle metric, so that a packet can raise it and others are preferred.
};
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
