#include "policy/diff.h"

#include <algorithm>

namespace ipsec::policy {
namespace {

template <typename Map>
bool has_equal(const Map& map, const typename Map::value_type& wanted) {
  const auto there = map.find(wanted.first);
  return there != map.end() && there->second == wanted.second;
}

/// Same name, kind, if_id, underside and end of ours: what else a link has can be changed in place.
bool is_same_link(const LinkConfig& a, const LinkConfig& b) {
  return a.kind == b.kind && a.vrf_table == b.vrf_table && a.if_id == b.if_id && a.tunnel_local == b.tunnel_local &&
         a.public_netns == b.public_netns && a.public_device == b.public_device;
}

/// What cannot be changed in place: it goes before its successor is made, because both have one key.
bool is_replaced(const NamespaceState& desired, const LinkConfig& link) {
  const auto wanted = desired.links.find(link.name);
  return wanted != desired.links.end() && !is_same_link(wanted->second, link);
}

/// The kernel takes the routes of a link with it, and those of one that changes its VRF.
bool loses_its_link(const NamespaceState& desired, const NamespaceState& ours, const RouteConfig& route) {
  const auto link = ours.links.find(route.device);
  if (link == ours.links.end()) return false;
  const auto wanted = desired.links.find(route.device);
  return is_replaced(desired, link->second) ||
         (wanted != desired.links.end() && wanted->second.vrf != link->second.vrf);
}

/// VRFs come first, and go last.
enum class Links : uint8_t { kVrfs, kOthers };

bool is_one_of(Links which, const LinkConfig& link) { return (link.kind == LinkKind::kVrf) == (which == Links::kVrfs); }

void mend_links(const NamespaceState& desired, const NamespaceState& ours, Links which,
                std::vector<KernelChange>& changes) {
  for (const auto& link : desired.links) {
    if (!is_one_of(which, link.second)) continue;
    const auto there = ours.links.find(link.first);
    if (there == ours.links.end() || is_replaced(desired, there->second))
      changes.emplace_back(AddLink{link.second});
    else if (there->second != link.second)
      changes.emplace_back(UpdateLink{link.second});
  }
}

void remove_links(const NamespaceState& desired, const NamespaceState& ours, Links which,
                  std::vector<KernelChange>& changes) {
  for (const auto& [name, link] : ours.links)
    if (is_one_of(which, link) && desired.links.count(name) == 0) changes.emplace_back(DeleteLink{name});
}

/// One that takes the place of another: the kernel's table of the VRF is another one now.
bool is_replaced(const NamespaceState& desired, const RuleConfig& rule) {
  if (desired.rules.count(rule) != 0) return false;
  return std::any_of(desired.rules.begin(), desired.rules.end(), [&](const auto& each) {
    const RuleConfig& other = each.first;
    return other.family == rule.family && other.priority == rule.priority && other.mark == rule.mark;
  });
}

}  // namespace

StateDiff diff(const NamespaceState& desired, const NamespaceState& ours) {
  StateDiff result;
  auto& changes = result.changes;
  for (const auto& [key, route] : ours.routes)
    if (loses_its_link(desired, ours, route)) changes.emplace_back(DeleteRoute{route});
  for (const auto& link : ours.links)
    if (is_replaced(desired, link.second)) changes.emplace_back(DeleteLink{link.first});

  mend_links(desired, ours, Links::kVrfs, changes);
  mend_links(desired, ours, Links::kOthers, changes);
  for (const auto& [rule, same] : ours.rules)
    if (is_replaced(desired, rule)) changes.emplace_back(DeleteRule{rule});
  for (const auto& [rule, same] : desired.rules)
    if (ours.rules.count(rule) == 0) changes.emplace_back(AddRule{rule});
  // Before what sends packets, which shall not leave otherwise than wanted.
  if (desired.packet_rules != ours.packet_rules) changes.emplace_back(SetPacketRules{desired.packet_rules});
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
  // Not before the SAs: what they let out would go on in the table of the underlay, in the clear.
  for (const auto& [rule, same] : ours.rules)
    if (desired.rules.count(rule) == 0 && !is_replaced(desired, rule)) changes.emplace_back(DeleteRule{rule});
  remove_links(desired, ours, Links::kOthers, changes);
  remove_links(desired, ours, Links::kVrfs, changes);

  for (const auto& sa : desired.sas)
    if (!has_equal(ours.sas, sa)) result.missing.push_back(sa.first);
  return result;
}

}  // namespace ipsec::policy
