#include <utility>

#include "agent/tunnel_manager.h"
#include "policy/plan_groups.h"
#include "policy/plan_routes.h"

// What stands for whole groups, whatever their tunnels do: routes to their own addresses, VRFs that we make, and the
// rules between two VRFs.
namespace ipsec::agent {
namespace {

/// Routes to our own addresses belong to no tunnel; their places tell them apart.
constexpr SharedObjects::Owner kGatewayOwner{UINT64_MAX - 1, 0};

}  // namespace

TunnelManager::Vrfs TunnelManager::wanted_vrfs() const {
  Vrfs wanted;
  for (const auto& [name, group] : config_->groups)
    if (auto vrf = policy::plan_vrf(*group))
      wanted.emplace(std::pair(group->private_place.netns, vrf->name), std::move(*vrf));
  return wanted;
}

TunnelManager::Rules TunnelManager::wanted_rules() const {
  Rules wanted;
  for (const auto& [name, group] : config_->groups)
    for (policy::RuleConfig& each : policy::plan_rules(*group))
      wanted.emplace(group->public_place.netns, std::move(each));
  return wanted;
}

/// Makes what the configuration wants; before the interfaces that go into a VRF are asked for.
void TunnelManager::set_group_objects() {
  const auto complain = [this](const std::string& netns) {
    return [this, netns](const Result<policy::KernelReply>& result) {
      if (!result.ok()) event(netns_object(netns), result.error().reason(), {field("detail", result.error().text())});
    };
  };
  for (auto& [place, vrf] : wanted_vrfs()) {
    const auto there = vrfs_.find(place);
    if (there != vrfs_.end() && there->second == vrf) continue;
    // A table cannot be changed in place. One that others are in stays as it is, and that is told.
    if (there != vrfs_.end()) queue_.submit(place.first, policy::DeleteLink{place.second}, {});
    queue_.submit(place.first, policy::AddLink{vrf}, complain(place.first));
    vrfs_.insert_or_assign(place, vrf);
  }
  for (const auto& each : wanted_rules())
    if (rules_.insert(each).second) queue_.submit(each.first, policy::AddRule{each.second}, complain(each.first));
  GatewayRoutes routes;
  for (const auto& [name, group] : config_->groups)
    for (const policy::RouteConfig& each : policy::plan_gateway_routes(*group))
      routes.emplace(std::pair(group->public_place.netns, policy::RouteKey::of(each)), each);
  hold_gateway_routes(std::move(routes));
  unused_group_objects_ = true;  // perhaps: looked at when it is known which tunnels leave
}

/// What is not wanted any more goes when the last tunnel that may use it has gone.
void TunnelManager::drop_unused_group_objects() {
  unused_group_objects_ = has_leaving();
  if (stopping_ || unused_group_objects_) return;
  Vrfs vrfs = vrfs_;
  for (const auto& [place, vrf] : wanted_vrfs()) vrfs.erase(place);
  Rules rules = rules_;
  for (const auto& each : wanted_rules()) rules.erase(each);
  drop_group_objects(vrfs, rules);
}

void TunnelManager::drop_group_objects(const Vrfs& vrfs, const Rules& rules) {
  // Copies, for what is dropped may be all there is.
  for (const auto& each : Rules(rules)) {
    queue_.submit(each.first, policy::DeleteRule{each.second}, {});
    rules_.erase(each);
  }
  for (const auto& [place, vrf] : Vrfs(vrfs)) {
    queue_.submit(place.first, policy::DeleteLink{place.second}, {});
    vrfs_.erase(place);
  }
}

/// What is new stands before what is old goes.
void TunnelManager::hold_gateway_routes(GatewayRoutes wanted) {
  const GatewayRoutes before = std::exchange(gateway_routes_, std::move(wanted));
  for (const auto& [place, route] : gateway_routes_) {
    const auto there = before.find(place);
    if (there != before.end() && there->second == route) continue;
    shared_.hold(kGatewayOwner, place.first, route, [this, netns = place.first](const Status& status) {
      if (!status.ok()) event(netns_object(netns), status.error().reason(), {field("detail", status.error().text())});
    });
  }
  for (const auto& [place, route] : before)
    if (!gateway_routes_.contains(place)) shared_.release(kGatewayOwner.id, place.first, route);
}

}  // namespace ipsec::agent
