#include "agent/shared_objects.h"

#include <algorithm>

namespace ipsec::agent {
namespace {

KernelQueue::Done status_only(SharedObjects::Done done) {
  return [done = std::move(done)](Result<policy::KernelReply> result) {
    if (!done) return;
    if (result.ok())
      done({});
    else
      done(std::move(result).error());
  };
}

}  // namespace

void SharedObjects::hold(Owner owner, const std::string& netns, const policy::PolicyConfig& wanted, Done done) {
  PolicyHolders& entry = policies_[{netns, wanted.key}];
  const bool fresh = entry.holders.empty();
  const bool differs = fresh || entry.holders.back().second != wanted;
  std::erase_if(entry.holders, [&](const auto& each) { return each.first == owner; });
  entry.holders.emplace_back(owner, wanted);
  if (!differs) return done({});
  if (fresh)
    queue_.submit(netns, policy::AddPolicy{wanted}, status_only(std::move(done)));
  else
    queue_.submit(netns, policy::UpdatePolicy{wanted}, status_only(std::move(done)));
}

void SharedObjects::release(Owner owner, const std::string& netns, const policy::PolicyKey& key) {
  auto it = policies_.find({netns, key});
  if (it == policies_.end()) return;
  auto& holders = it->second.holders;
  auto mine = std::find_if(holders.begin(), holders.end(), [&](const auto& each) { return each.first == owner; });
  if (mine == holders.end()) return;
  const policy::PolicyConfig present = holders.back().second;
  holders.erase(mine);
  if (holders.empty()) {
    policies_.erase(it);
    queue_.submit(netns, policy::DeletePolicy{key}, {});
  } else if (holders.back().second != present) {
    queue_.submit(netns, policy::UpdatePolicy{holders.back().second}, {});
  }
}

void SharedObjects::hold(Owner owner, const std::string& netns, const policy::RouteConfig& wanted, Done done) {
  RouteHolders& entry = routes_[key_of(netns, wanted)];
  if (std::find(entry.owners.begin(), entry.owners.end(), owner) != entry.owners.end()) return done({});
  entry.owners.push_back(owner);
  entry.route = wanted;
  if (entry.owners.size() > 1) return done({});
  queue_.submit(netns, policy::AddRoute{wanted}, status_only(std::move(done)));
}

void SharedObjects::release(Owner owner, const std::string& netns, const policy::RouteConfig& route) {
  auto it = routes_.find(key_of(netns, route));
  if (it == routes_.end() || std::erase(it->second.owners, owner) == 0 || !it->second.owners.empty()) return;
  queue_.submit(netns, policy::DeleteRoute{it->second.route}, {});
  routes_.erase(it);
}

std::vector<SharedObjects::RouteRow> SharedObjects::routes() const {
  std::vector<RouteRow> rows;
  for (const auto& [key, entry] : routes_) rows.push_back({std::get<0>(key), entry.route});
  return rows;
}

}  // namespace ipsec::agent
