#include "policy/marks.h"

#include <string_view>

#include "policy/plan.h"
#include "policy/plan_carriers.h"
#include "policy/plan_groups.h"
#include "policy/plan_routes.h"

namespace ipsec::policy {
namespace {

constexpr std::string_view kGroupAltname = "group:";

bool has_own_numbers(uint32_t reqid, uint32_t if_id) {
  return is_own_number(reqid) && (if_id == 0 || is_own_number(if_id));
}

}  // namespace

bool has_own_mark(const SaIdentity& sa) { return has_own_numbers(sa.reqid, sa.if_id); }

bool has_own_mark(const PolicyConfig& policy) {
  if (policy.has_template) return has_own_numbers(policy.reqid, policy.key.if_id);
  return policy.key.user == kGuardUser && policy.action == PolicyAction::kBlock;
}

bool has_own_mark(const LinkConfig& link) {
  if (link.altname.empty()) return false;
  switch (link.kind) {
    case LinkKind::kXfrm: return is_own_number(link.if_id) && link.name == interface_name(link.if_id);
    case LinkKind::kExternal:
      return link.altname.starts_with(kGroupAltname) &&
             link.name == external_interface_name(link.altname.substr(kGroupAltname.size()));
    case LinkKind::kVrf: return link.altname == std::string(kVrfAltname) + link.name;
    case LinkKind::kGre:
    case LinkKind::kIpIp: return link.name == carrier_interface_name(link.altname);
  }
  return false;
}

bool has_own_mark(const RouteConfig& route) {
  constexpr std::string_view kInterfaces = "ips";  // what the names of all our interfaces begin with
  if (route.protocol != kOwnProtocol) return false;
  return route.kind == RouteKind::kUnreachable || route.device.starts_with(kInterfaces) || is_peer_route(route);
}

bool has_own_mark(const RuleConfig& rule) {
  constexpr uint32_t kFirstByte = 0xff000000;
  const Mark ours = vrf_mark(rule.vrf);
  return rule.protocol == kOwnProtocol && rule.priority == kRulePriority && rule.mark.mask == ours.mask &&
         (rule.mark.value & kFirstByte) == (ours.value & kFirstByte);
}

NamespaceState with_own_marks(const NamespaceState& objects) {
  NamespaceState marked;
  const auto take = [](const auto& from, auto& to) {
    for (const auto& each : from)
      if (has_own_mark(each.second)) to.insert(each);
  };
  take(objects.sas, marked.sas);
  take(objects.policies, marked.policies);
  take(objects.links, marked.links);
  take(objects.routes, marked.routes);
  take(objects.rules, marked.rules);
  marked.packet_rules = objects.packet_rules;
  return marked;
}

}  // namespace ipsec::policy
