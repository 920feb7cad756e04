#include "policy/diff.h"

namespace ipsec::policy {
namespace {

template <typename Map>
bool has_equal(const Map& map, const typename Map::value_type& wanted) {
  const auto there = map.find(wanted.first);
  return there != map.end() && there->second == wanted.second;
}

/// What cannot be changed in place: it goes before its successor is made, because both have one key.
bool is_replaced(const NamespaceState& desired, const std::pair<const std::string, LinkConfig>& link) {
  return desired.links.count(link.first) != 0 && !has_equal(desired.links, link);
}

/// The kernel takes the routes of a link with it.
bool loses_its_link(const NamespaceState& desired, const NamespaceState& ours, const RouteConfig& route) {
  const auto link = ours.links.find(route.device);
  return link != ours.links.end() && is_replaced(desired, *link);
}

}  // namespace

StateDiff diff(const NamespaceState& desired, const NamespaceState& ours) {
  StateDiff result;
  auto& changes = result.changes;
  for (const auto& [key, route] : ours.routes)
    if (loses_its_link(desired, ours, route)) changes.emplace_back(DeleteRoute{route});
  for (const auto& link : ours.links)
    if (is_replaced(desired, link)) changes.emplace_back(DeleteLink{link.first});

  for (const auto& link : desired.links)
    if (!has_equal(ours.links, link)) changes.emplace_back(AddLink{link.second});
  for (const auto& policy : desired.policies) {
    if (ours.policies.count(policy.first) == 0)
      changes.emplace_back(AddPolicy{policy.second});
    else if (!has_equal(ours.policies, policy))
      changes.emplace_back(UpdatePolicy{policy.second});
  }
  for (const auto& [key, route] : desired.routes) {
    const auto there = ours.routes.find(key);
    const bool stands = there != ours.routes.end() && !loses_its_link(desired, ours, there->second);
    if (stands && there->second == route) continue;
    if (stands) changes.emplace_back(DeleteRoute{there->second});  // one key, one route: gone for one step
    changes.emplace_back(AddRoute{route});
  }

  for (const auto& [key, route] : ours.routes)
    if (desired.routes.count(key) == 0 && !loses_its_link(desired, ours, route))
      changes.emplace_back(DeleteRoute{route});
  for (const auto& sa : ours.sas)
    if (!has_equal(desired.sas, sa)) changes.emplace_back(DeleteSa{sa.first});
  for (const auto& [key, policy] : ours.policies)
    if (desired.policies.count(key) == 0) changes.emplace_back(DeletePolicy{key});
  for (const auto& [name, link] : ours.links)
    if (desired.links.count(name) == 0) changes.emplace_back(DeleteLink{name});

  for (const auto& sa : desired.sas)
    if (!has_equal(ours.sas, sa)) result.missing.push_back(sa.first);
  return result;
}

}  // namespace ipsec::policy
