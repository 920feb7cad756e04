#include "agent/shared_objects.h"

#include <algorithm>
#include <optional>

#include "policy/drift.h"

namespace ipsec::agent {

template <typename Map>
KernelQueue::Done SharedObjects::confirming(Map& map, const typename Map::key_type& key, Done done) {
  Confirmation& present = map.at(key).confirmation;
  if (present.serial == 0) present.serial = ++serial_;
  return [&map, key, serial = present.serial, done = std::move(done)](Result<policy::KernelReply> result) {
    if (auto it = map.find(key); it != map.end() && it->second.confirmation.serial == serial)
      it->second.confirmation.standing = result.ok();
    if (!done) return;
    if (result.ok())
      done({});
    else
      done(std::move(result).error());
  };
}

void SharedObjects::hold(Owner owner, const std::string& netns, const policy::PolicyConfig& wanted, Done done) {
  const auto key = std::pair(netns, wanted.key);
  PolicyHolders& entry = policies_.try_emplace(key, PolicyHolders{.tunnel = owner.tunnel, .holders = {}}).first->second;
  if (entry.tunnel != owner.tunnel)
    return done(Error(Reason::kPolicyTaken, policy::object_text(wanted.key) + " belongs to another tunnel"));
  std::optional<policy::PolicyConfig> before;
  if (!entry.holders.empty()) before = entry.holders.back().policy;
  std::erase_if(entry.holders, [&](const PolicyHolder& each) { return each.owner == owner.id; });
  const auto above = std::ranges::upper_bound(entry.holders, owner.rank, {}, &PolicyHolder::rank);
  entry.holders.insert(above, {owner.id, owner.rank, wanted});
  const policy::PolicyConfig& counts = entry.holders.back().policy;
  if (!entry.confirmation.standing)
    queue_.submit(netns, policy::AddPolicy{counts}, confirming(policies_, key, std::move(done)));
  else if (before != counts)
    queue_.submit(netns, policy::UpdatePolicy{counts}, confirming(policies_, key, std::move(done)));
  else
    done({});
}

void SharedObjects::adopt(Owner owner, const std::string& netns, const policy::PolicyConfig& standing) {
  PolicyHolders& entry = policies_[{netns, standing.key}];
  entry.tunnel = owner.tunnel;
  entry.holders.push_back({owner.id, owner.rank, standing});
  entry.confirmation = {.serial = ++serial_, .standing = true};
}

void SharedObjects::adopt(Owner owner, const std::string& netns, const policy::RouteConfig& standing) {
  RouteHolders& entry = routes_[key_of(netns, standing)];
  entry.route = standing;
  entry.owners.push_back(owner.id);
  entry.confirmation = {.serial = ++serial_, .standing = true};
}

void SharedObjects::release(uint64_t owner, const std::string& netns, const policy::PolicyKey& key) {
  auto it = policies_.find({netns, key});
  if (it == policies_.end()) return;
  auto& holders = it->second.holders;
  auto mine =
      std::find_if(holders.begin(), holders.end(), [&](const PolicyHolder& each) { return each.owner == owner; });
  if (mine == holders.end()) return;
  const policy::PolicyConfig present = holders.back().policy;
  holders.erase(mine);
  if (holders.empty()) {
    policies_.erase(it);
    queue_.submit(netns, policy::DeletePolicy{key}, {});
  } else if (holders.back().policy != present) {
    queue_.submit(netns, policy::UpdatePolicy{holders.back().policy}, {});
  }
}

void SharedObjects::hold(Owner owner, const std::string& netns, const policy::RouteConfig& wanted, Done done) {
  const RouteKey key = key_of(netns, wanted);
  RouteHolders& entry = routes_[key];
  if (std::find(entry.owners.begin(), entry.owners.end(), owner.id) == entry.owners.end())
    entry.owners.push_back(owner.id);
  entry.route = wanted;
  if (entry.confirmation.standing) return done({});
  queue_.submit(netns, policy::AddRoute{wanted}, confirming(routes_, key, std::move(done)));
}

void SharedObjects::release(uint64_t owner, const std::string& netns, const policy::RouteConfig& route) {
  auto it = routes_.find(key_of(netns, route));
  if (it == routes_.end() || std::erase(it->second.owners, owner) == 0 || !it->second.owners.empty()) return;
  queue_.submit(netns, policy::DeleteRoute{it->second.route}, {});
  routes_.erase(it);
}

void SharedObjects::collect(const std::string& netns, policy::NamespaceState& state) const {
  const policy::PolicyKey least{.direction = policy::Direction::kIn};  // a key's default is none
  for (auto it = policies_.lower_bound({netns, least}); it != policies_.end() && it->first.first == netns; ++it)
    state.add(it->second.holders.back().policy);
  for (auto it = routes_.lower_bound({netns, {}, {}, {}, 0}); it != routes_.end() && std::get<0>(it->first) == netns;
       ++it)
    if (it->second.confirmation.standing || !state.routes.contains(policy::RouteKey::of(it->second.route)))
      state.add(it->second.route);
}

bool SharedObjects::wants_route(const std::string& netns, const IpPrefix& destination) const {
  const auto it = routes_.lower_bound({netns, destination, {}, {}, 0});
  return it != routes_.end() && std::get<0>(it->first) == netns && std::get<1>(it->first) == destination;
}

void SharedObjects::confirm(const std::string& netns, const policy::PolicyKey& key) {
  if (auto it = policies_.find({netns, key}); it != policies_.end()) it->second.confirmation.standing = true;
}

void SharedObjects::confirm(const std::string& netns, const policy::RouteConfig& route) {
  if (auto it = routes_.find(key_of(netns, route)); it != routes_.end()) it->second.confirmation.standing = true;
}

std::vector<SharedObjects::RouteRow> SharedObjects::routes() const {
  std::vector<RouteRow> rows;
  for (const auto& [key, entry] : routes_) rows.push_back({std::get<0>(key), entry.route});
  return rows;
}

}  // namespace ipsec::agent
