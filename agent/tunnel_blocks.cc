#include <algorithm>

#include "agent/owners.h"
#include "agent/tunnel_manager.h"

// What of the traffic around tunnels passes in the clear, and what never does: the groups' exceptions, and the blocks
// that stand whether a tunnel is up or not.
namespace ipsec::agent {
namespace {

// Exceptions belong to no tunnel; their keys tell them apart.
constexpr SharedObjects::Owner kExceptionOwner{UINT64_MAX, 0};

bool is_by_policy(const policy::TunnelGroup& group) {
  return group.enabled && group.attached == policy::Attachment::kPolicy;
}

bool covers_ipv6(const policy::Tunnel& tunnel) {
  return std::ranges::any_of(tunnel.children, [](const policy::ChildConfig& child) {
    return std::ranges::any_of(child.remote, [](const policy::TrafficSelector& each) {
      return each.addresses.first.family() == Family::kIpv6;
    });
  });
}

}  // namespace

/// Below all that the child will want: held first, so that what comes later counts, and this again when it goes.
void TunnelManager::set_block(TunnelRow& row, ChildRow& child) {
  const policy::TunnelGroup& group = *row.tunnel->group;
  if (!group.enabled || !group.default_block) return;
  const std::string object = "tunnel/" + row.tunnel->name;
  const auto complain = [this, object, name = child.config->name](const Status& status) {
    if (!status.ok())
      event(object, status.error().reason(), {field("child", name), field("detail", status.error().text())});
  };
  auto plan = policy::plan_block(*child.tunnel, *child.config, child.ids);
  if (!plan.ok()) return complain(std::move(plan).error());
  child.blocked = true;
  for (const auto& each : plan->policies) shared_.hold(block_owner(child), group.public_place.netns, each, complain);
  for (const auto& each : plan->routes) shared_.hold(block_owner(child), group.private_place.netns, each, complain);
}

void TunnelManager::drop_block(const ChildRow& child) {
  if (!child.blocked) return;
  const policy::TunnelGroup& group = *child.tunnel->group;
  const auto plan = policy::plan_block(*child.tunnel, *child.config, child.ids);
  if (!plan.ok()) return;
  for (const auto& each : plan->routes) shared_.release(block_owner(child).id, group.private_place.netns, each);
  for (const auto& each : plan->policies) shared_.release(block_owner(child).id, group.public_place.netns, each.key);
}

/// What the configuration lets pass or drops whatever its tunnels do.
TunnelManager::Exceptions TunnelManager::wanted_exceptions() {
  Exceptions wanted;
  for (const auto& [name, tunnel] : config_->tunnels) {
    if (!is_by_policy(*tunnel->group) || !covers_ipv6(*tunnel)) continue;
    for (const policy::PolicyConfig& each : policy::plan_neighbour_discovery())
      wanted.insert_or_assign({tunnel->group->public_place.netns, each.key}, each);
  }
  for (const auto& [name, group] : config_->groups) {
    if (!is_by_policy(*group)) continue;
    for (size_t i = 0; i < group->exceptions.size(); ++i) {
      auto policies = policy::plan_exception(group->exceptions[i], i);
      if (!policies.ok()) {
        event("group/" + name, policies.error().reason(), {field("detail", policies.error().text())});
        continue;
      }
      for (const policy::PolicyConfig& each : *policies)
        wanted.insert_or_assign({group->public_place.netns, each.key}, each);
    }
  }
  return wanted;
}

/// Brings the exceptions to what the configuration says: what is new stands before what is old goes.
void TunnelManager::set_exceptions() {
  Exceptions wanted = wanted_exceptions();
  for (const auto& [place, policy] : wanted) {
    const auto there = exceptions_.find(place);
    if (there != exceptions_.end() && there->second == policy) continue;
    shared_.hold(kExceptionOwner, place.first, policy, [this, netns = place.first](const Status& status) {
      if (!status.ok()) event(netns_object(netns), status.error().reason(), {field("detail", status.error().text())});
    });
  }
  for (const auto& [place, policy] : exceptions_)
    if (!wanted.contains(place)) shared_.release(kExceptionOwner.id, place.first, place.second);
  exceptions_ = std::move(wanted);
}

void TunnelManager::drop_exceptions() {
  for (const auto& [place, policy] : exceptions_) shared_.release(kExceptionOwner.id, place.first, place.second);
  exceptions_.clear();
}

}  // namespace ipsec::agent
