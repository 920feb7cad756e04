#include "agent/tunnel_manager.h"

// What of the traffic around tunnels passes in the clear, and what never does: the groups' exceptions, and the blocks
// that stand whether a tunnel is up or not.
namespace ipsec::agent {
namespace {

/// One more than that of the child's trap.
SharedObjects::Owner block_owner(const ChildRow& child) {
  return {(uint64_t{child.ids.reqid} << 32) | 1, child.ids.tunnel, SharedObjects::Rank::kBlock};
}

// Exceptions belong to no tunnel; their keys tell them apart.
constexpr SharedObjects::Owner kExceptionOwner{UINT64_MAX, 0};

std::string group_object(const std::string& name) { return "group/" + name; }

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

/// Brings the exceptions to what the configuration says: what is new stands before what is old goes.
void TunnelManager::set_exceptions() {
  std::map<std::pair<std::string, policy::PolicyKey>, policy::PolicyConfig> wanted;
  for (const auto& [name, group] : config_->groups) {
    if (!group->enabled || group->attached != policy::Attachment::kPolicy) continue;
    const auto complain = [this, object = group_object(name)](const Status& status) {
      if (!status.ok()) event(object, status.error().reason(), {field("detail", status.error().text())});
    };
    for (size_t i = 0; i < group->exceptions.size(); ++i) {
      auto policies = policy::plan_exception(group->exceptions[i], i);
      if (!policies.ok()) {
        complain(std::move(policies).error());
        continue;
      }
      for (const policy::PolicyConfig& each : *policies) {
        const std::string& netns = group->public_place.netns;
        wanted.insert_or_assign({netns, each.key}, each);
        if (const auto there = exceptions_.find({netns, each.key}); there == exceptions_.end() || there->second != each)
          shared_.hold(kExceptionOwner, netns, each, complain);
      }
    }
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
