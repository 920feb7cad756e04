#include "agent/shared_objects.h"

#include <algorithm>
#include <set>

#include "policy/base/verify.h"
#include "policy/drift.h"
#include "policy/plan.h"

namespace ipsec::agent {
namespace {

policy::PolicyKey guard_key(policy::PolicyKey key) {
  key.user = policy::kGuardUser;
  return key;
}

}  // namespace

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
  const auto guard = policy::plan_guard(wanted);
  if (!guard) {
    hold_policy(owner, netns, wanted, std::move(done));
    return release_policy(owner.id, netns, guard_key(wanted.key));
  }
  hold_policy({.id = owner.id, .tunnel = owner.tunnel, .rank = Rank::kBlock}, netns, *guard,
              [this, owner, netns, wanted, done = std::move(done)](Status status) {
                if (!status.ok()) return done(std::move(status));
                if (!is_held_by(owner.id, netns, guard_key(wanted.key)))  // released meanwhile
                  return done(Error(Reason::kCancelled, "removed meanwhile"));
                hold_policy(owner, netns, wanted, done);
              });
}

bool SharedObjects::is_held_by(uint64_t owner, const std::string& netns, const policy::PolicyKey& key) const {
  const auto it = policies_.find({netns, key});
  return it != policies_.end() &&
         std::ranges::find(it->second.holders, owner, &PolicyHolder::owner) != it->second.holders.end();
}

void SharedObjects::hold_policy(Owner owner, const std::string& netns, const policy::PolicyConfig& wanted, Done done) {
  const auto key = std::pair(netns, wanted.key);
  PolicyHolders& entry = policies_.try_emplace(key, PolicyHolders{.tunnel = owner.tunnel, .holders = {}}).first->second;
  if (entry.tunnel != owner.tunnel)
    return done(Error(Reason::kPolicyTaken, policy::object_text(wanted.key) + " is held by " + name_of_(entry.tunnel)));
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
  if (const auto guard = policy::plan_guard(standing))  // asked for again: its holder may have ended before it stood
    hold_policy({.id = owner.id, .tunnel = owner.tunnel, .rank = Rank::kBlock}, netns, *guard, [](const Status&) {});
  PolicyHolders& entry = policies_[{netns, standing.key}];
  entry.tunnel = owner.tunnel;
  entry.holders.push_back({owner.id, owner.rank, standing});
  entry.confirmation = {.serial = ++serial_, .standing = true};
}

void SharedObjects::adopt(Owner owner, const std::string& netns, const policy::RouteConfig& standing) {
  RouteClaims& entry = routes_[place_of(netns, standing)];
  entry.route = standing;
  entry.claims.push_back({owner.id, owner.tunnel, standing});
  entry.confirmation = {.serial = ++serial_, .standing = true};
}

void SharedObjects::release(uint64_t owner, const std::string& netns, const policy::PolicyKey& key) {
  release_policy(owner, netns, key);
  release_policy(owner, netns, guard_key(key));
}

void SharedObjects::release_policy(uint64_t owner, const std::string& netns, const policy::PolicyKey& key) {
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

const SharedObjects::RouteClaim& SharedObjects::RouteClaims::holder() const {
  const auto found = std::ranges::find(claims, route, &RouteClaim::route);
  VERIFY(found != claims.end());
  return *found;
}

void SharedObjects::hold(Owner owner, const std::string& netns, const policy::RouteConfig& wanted, Done done) {
  const RoutePlace place = place_of(netns, wanted);
  if (const auto known = routes_.find(place); known != routes_.end())
    if (const auto mine = std::ranges::find(known->second.claims, owner.id, &RouteClaim::owner);
        mine != known->second.claims.end() && mine->route != wanted)
      release(owner.id, netns, policy::RouteConfig(mine->route));
  const auto [it, fresh] = routes_.try_emplace(place);
  RouteClaims& entry = it->second;
  if (fresh) entry.route = wanted;
  const bool known = std::ranges::any_of(
      entry.claims, [&](const RouteClaim& each) { return each.tunnel == owner.tunnel && each.route == wanted; });
  if (std::ranges::find(entry.claims, owner.id, &RouteClaim::owner) == entry.claims.end())
    entry.claims.push_back({owner.id, owner.tunnel, wanted});
  if (entry.route != wanted) {
    const uint32_t holder = entry.holder().tunnel;
    if (!known && holder != owner.tunnel) on_conflict_({.tunnel = owner.tunnel, .holder = holder, .wanted = wanted});
    return done({});
  }
  if (entry.confirmation.standing) return done({});
  queue_.submit(netns, policy::AddRoute{wanted}, confirming(routes_, place, std::move(done)));
}

void SharedObjects::release(uint64_t owner, const std::string& netns, const policy::RouteConfig& route) {
  const auto it = routes_.find(place_of(netns, route));
  if (it == routes_.end()) return;
  RouteClaims& entry = it->second;
  const auto mine = std::ranges::find_if(
      entry.claims, [&](const RouteClaim& each) { return each.owner == owner && each.route == route; });
  if (mine == entry.claims.end()) return;
  const uint32_t tunnel = mine->tunnel;
  entry.claims.erase(mine);
  if (std::ranges::any_of(entry.claims, [&](const RouteClaim& each) { return !entry.waits(each); })) return;
  queue_.submit(netns, policy::DeleteRoute{entry.route}, {});
  if (entry.claims.empty())
    routes_.erase(it);
  else
    hand_over(it->first, entry, tunnel);
}

void SharedObjects::replace(Owner owner, const std::string& netns, const std::vector<policy::RouteConfig>& before,
                            const std::vector<policy::RouteConfig>& wanted, const Done& complain) {
  for (const policy::RouteConfig& each : wanted)
    if (std::ranges::find(before, each) == before.end()) hold(owner, netns, each, complain);
  for (const policy::RouteConfig& each : before)
    if (std::ranges::find(wanted, each) == wanted.end()) release(owner.id, netns, each);
}

/// The one that has waited longest has the place now.
void SharedObjects::hand_over(const RoutePlace& place, RouteClaims& entry, uint32_t from) {
  entry.route = entry.claims.front().route;
  entry.confirmation = {};
  // One that the kernel refuses is wanted all the same: whoever keeps the namespace true tries again, and says why.
  queue_.submit(place.first, policy::AddRoute{entry.route}, confirming(routes_, place, {}));
  const uint32_t holder = entry.holder().tunnel;
  if (holder != from) on_conflict_({.tunnel = holder, .holder = holder, .wanted = entry.route, .settled = true});
}

bool SharedObjects::collect(const std::string& netns, Cursor& cursor, size_t most,
                            policy::NamespaceState& state) const {
  const policy::PolicyKey least{.direction = policy::Direction::kIn};  // a key's default is none
  if (!cursor.policies_done) {
    auto it = cursor.policy ? policies_.upper_bound({netns, *cursor.policy}) : policies_.lower_bound({netns, least});
    for (; it != policies_.end() && it->first.first == netns; ++it, --most) {
      if (most == 0) return true;
      state.add(it->second.holders.back().policy);
      cursor.policy = it->first.second;
    }
    cursor.policies_done = true;
  }
  auto it = cursor.route ? routes_.upper_bound({netns, *cursor.route}) : routes_.lower_bound({netns, {}});
  for (; it != routes_.end() && it->first.first == netns; ++it, --most) {
    if (most == 0) return true;
    state.add(it->second.route);
    cursor.route = it->first.second;
  }
  return false;
}

std::optional<policy::PolicyConfig> SharedObjects::wanted_policy(const std::string& netns,
                                                                 const policy::PolicyKey& key) const {
  const auto it = policies_.find({netns, key});
  return it != policies_.end() ? std::optional(it->second.holders.back().policy) : std::nullopt;
}

std::vector<policy::RouteConfig> SharedObjects::wanted_routes(const std::string& netns,
                                                              const IpPrefix& destination) const {
  std::vector<policy::RouteConfig> found;
  auto it = routes_.lower_bound({netns, {.destination = destination, .vrf = {}, .metric = 0}});
  for (; it != routes_.end() && it->first.first == netns && it->first.second.destination == destination; ++it)
    found.push_back(it->second.route);
  return found;
}

bool SharedObjects::wants_route(const std::string& netns, const IpPrefix& destination) const {
  return !wanted_routes(netns, destination).empty();
}

void SharedObjects::confirm(const std::string& netns, const policy::PolicyKey& key) {
  if (auto it = policies_.find({netns, key}); it != policies_.end()) it->second.confirmation.standing = true;
}

void SharedObjects::confirm(const std::string& netns, const policy::RouteConfig& route) {
  const auto it = routes_.find(place_of(netns, route));
  if (it != routes_.end() && it->second.route == route) it->second.confirmation.standing = true;
}

std::vector<SharedObjects::RouteRow> SharedObjects::routes(std::optional<RoutePlace>& after, size_t places) const {
  std::vector<RouteRow> rows;
  auto it = after ? routes_.upper_bound(*after) : routes_.begin();
  for (; it != routes_.end() && places != 0; ++it, --places) {
    const auto& [place, entry] = *it;
    std::set<uint32_t> told;
    for (const RouteClaim& each : entry.claims) {
      if (!told.insert(each.tunnel).second) continue;
      RouteRow& row = rows.emplace_back(RouteRow{place.first, each.route, each.tunnel, {}});
      if (entry.waits(each)) row.waits_for = entry.holder().tunnel;
    }
    after = place;
  }
  return rows;
}

}  // namespace ipsec::agent
