#include <algorithm>
#include <utility>

#include "agent/owners.h"
#include "agent/tunnel_manager.h"
#include "policy/plan_routes.h"

// Routes beside those that children bring, as the configuration wants them of a tunnel; and whose a route is when two
// tunnels want it.
namespace ipsec::agent {
namespace {

using policy::RouteState;

/// Beside those of children, traps, blocks and orphans.
SharedObjects::Owner routes_owner(const TunnelRow& row) { return {(uint64_t{row.number} << 32) | 3, row.number}; }

}  // namespace

/// The end of a conflict is told as well, so that nobody goes on looking for it.
void TunnelManager::on_route_conflict(const SharedObjects::RouteConflict& conflict) {
  const std::string carrier = carriers_.name_of(conflict.holder);
  const std::string holder = carrier.empty() ? tunnel_of(conflict.holder) : "carrier " + carrier;
  event(object_of(conflict.tunnel), Reason::kRouteConflict,
        {field("destination", policy::object_text(conflict.wanted)),
         field("holder", conflict.holder == 0 ? "a group" : holder),
         field("state", std::string(conflict.settled ? "settled" : "waiting"))});
}

/// Brings a tunnel's own routes, and its interface, to what its state deserves: after whatever may have changed that.
void TunnelManager::set_routes(TunnelRow& row) {
  carriers_.touch(row.tunnel->name);
  const auto any = [&](auto&& is) {
    return std::ranges::any_of(row.children, [&](const auto& each) { return is(each.second); });
  };
  std::vector<policy::RouteConfig> wanted;
  const auto add = [&](RouteState state) {
    const policy::ChildIds ids{.if_id = row.if_id, .interface = row.interface, .tunnel = row.number};
    for (policy::RouteConfig& each : policy::plan_static_routes(*row.tunnel, ids, state))
      wanted.push_back(std::move(each));
  };
  if (any([](const ChildRow& child) { return !child.up.empty(); })) add(RouteState::kUp);
  if (any([](const ChildRow& child) { return child.trap; })) add(RouteState::kIdle);
  hold_routes(row, std::move(wanted));
  settle_peer_route(row, PeerLook::kAsKnown);
  settle_link(row);
}

/// The peer to which a NIC with packet offload sends in tunnel mode.
std::optional<IpAddress> TunnelManager::peer_by_nic(const TunnelRow& row) const {
  for (const auto& [name, child] : row.children)
    for (const ike::ChildId id : child.up) {
      const auto it = installer_.children().find(id);
      if (it != installer_.children().end() && it->second->outbound.kind == policy::OffloadKind::kPacket &&
          it->second->spec->mode == policy::EspMode::kTunnel)
        return it->second->spec->remote_endpoint.address;
    }
  return std::nullopt;
}

/// While a host route to the peer stands the kernel shows nothing but that, so it stands only where the peer is within
/// a subnet of the device. Looked at anew when a child has come up and when routes have changed.
void TunnelManager::settle_peer_route(TunnelRow& row, PeerLook look) {
  const policy::TunnelGroup& group = *row.tunnel->group;
  const std::optional<IpAddress> peer = config_->offload.peer_routes ? peer_by_nic(row) : std::nullopt;
  std::optional<policy::RouteConfig> wanted;
  if (peer && !row.path.device.empty()) wanted = policy::plan_peer_route(group, *peer, row.path.device);
  if (wanted && look == PeerLook::kAnew && !row.path.direct) {
    wanted.reset();
  } else if (wanted && look == PeerLook::kAnew) {
    const auto near = services_.kernel.is_on_link(group.public_place, *peer);
    if (!near.ok() || !*near) wanted.reset();
  } else if (wanted != row.peer_route) {
    wanted.reset();
  }
  if (wanted == row.peer_route) return;
  const std::optional<policy::RouteConfig> before = std::exchange(row.peer_route, wanted);
  const std::string& netns = group.public_place.netns;
  if (wanted)
    shared_.hold(routes_owner(row), netns, *wanted,
                 [this, object = "tunnel/" + row.tunnel->name](const Status& status) {
                   if (!status.ok()) event(object, status.error().reason(), {field("detail", status.error().text())});
                 });
  if (!before) return;
  shared_.release(routes_owner(row).id, netns, *before);
  paths_due_.try_emplace(netns, now_);  // which way is it without the route?
}

/// What is new stands before what is old goes.
void TunnelManager::hold_routes(TunnelRow& row, std::vector<policy::RouteConfig> wanted) {
  const std::string& netns = row.tunnel->group->private_place.netns;
  const std::vector<policy::RouteConfig> before = std::exchange(row.routes, std::move(wanted));
  const auto complain = [this, object = "tunnel/" + row.tunnel->name](const Status& status) {
    if (!status.ok()) event(object, status.error().reason(), {field("detail", status.error().text())});
  };
  shared_.replace(routes_owner(row), netns, before, row.routes, complain);
}

/// Its group has other settings of routes, or another default block, than `before`: what the child holds follows.
/// `child` has its new tunnel.
void TunnelManager::follow_group(TunnelRow& row, ChildRow& child, const policy::Tunnel& before) {
  const policy::TunnelGroup& group = *row.tunnel->group;
  const std::string& netns = group.private_place.netns;
  const auto complain = [this, object = "tunnel/" + row.tunnel->name](const Status& status) {
    if (!status.ok()) event(object, status.error().reason(), {field("detail", status.error().text())});
  };
  if (child.trap)
    shared_.replace(
        trap_owner(child), netns,
        policy::plan_selector_routes(child.config->remote, before, child.ids, policy::RouteState::kIdle),
        policy::plan_selector_routes(child.config->remote, *row.tunnel, child.ids, policy::RouteState::kIdle),
        complain);
  std::set<ike::ChildId> ids(child.up.begin(), child.up.end());
  for (const ike::IkeSaId each : row.ikes)
    if (const auto ike = ikes_.find(each); ike != ikes_.end())
      ids.insert(ike->second.children.begin(), ike->second.children.end());
  for (const ike::ChildId id : ids)
    if (const auto installed = installer_.children().find(id);
        installed != installer_.children().end() && installed->second->ids.reqid == child.ids.reqid)
      installer_.reroute(id, *row.tunnel, complain);
  set_block(row, child);  // its routes, too, are of the group's protocol
}

}  // namespace ipsec::agent
