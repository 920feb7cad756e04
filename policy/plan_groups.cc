#include "policy/plan_groups.h"

namespace ipsec::policy {

std::optional<LinkConfig> plan_vrf(const TunnelGroup& group) {
  if (!group.enabled || group.private_vrf_table == 0) return std::nullopt;
  LinkConfig link;
  link.kind = LinkKind::kVrf;
  link.name = group.private_place.vrf;
  link.altname = std::string(kVrfAltname) + group.private_place.vrf;
  link.vrf_table = group.private_vrf_table;
  return link;
}

bool joins_vrfs(const TunnelGroup& group) {
  return group.attached == Attachment::kPolicy && group.private_place.vrf != group.public_place.vrf;
}

Mark vrf_mark(const std::string& vrf) {
  constexpr uint32_t kOffset = 2166136261, kPrime = 16777619;  // FNV-1a
  constexpr uint32_t kOurs = 0x69000000;
  uint32_t hash = kOffset;
  for (const char each : vrf) hash = (hash ^ static_cast<uint8_t>(each)) * kPrime;
  return {.value = kOurs | ((hash ^ hash >> 16) & 0xffff) << 8, .mask = kVrfMarkMask};
}

std::vector<RuleConfig> plan_rules(const TunnelGroup& group) {
  std::vector<RuleConfig> rules;
  if (!group.enabled || !joins_vrfs(group)) return rules;
  for (const Family family : {Family::kIpv4, Family::kIpv6})
    for (const std::string& vrf : {group.private_place.vrf, group.public_place.vrf})
      rules.push_back({.family = family, .priority = kRulePriority, .mark = vrf_mark(vrf), .vrf = vrf});
  return rules;
}

}  // namespace ipsec::policy
