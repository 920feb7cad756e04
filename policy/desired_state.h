#pragma once

#include <map>
#include <string>

#include "policy/kernel_model.h"

namespace ipsec::policy {

/// What tells an SA from another one of the same key: what it was made for. Never its keys.
struct SaIdentity {
  IpAddress source;
  uint32_t reqid = 0, if_id = 0;
  EspMode mode = EspMode::kTunnel;
  friend auto operator<=>(const SaIdentity&, const SaIdentity&) = default;

  static SaIdentity of(const SaConfig& sa) { return {sa.source, sa.reqid, sa.if_id, sa.mode}; }
  static SaIdentity of(const SaState& sa) { return {sa.source, sa.reqid, sa.if_id, sa.mode}; }
};

/// What the kernel compares routes by: it has one per table, destination and metric, whatever its device or protocol.
struct RouteKey {
  IpPrefix destination;
  std::string vrf;
  uint32_t metric = 0;
  friend auto operator<=>(const RouteKey&, const RouteKey&) = default;

  static RouteKey of(const RouteConfig& route) { return {route.destination, route.vrf, route.metric}; }
};

/// All objects of ours in one namespace: as wanted, or as they stand.
struct NamespaceState {
  std::map<SaKey, SaIdentity> sas;
  std::map<PolicyKey, PolicyConfig> policies;
  std::map<std::string, LinkConfig> links;
  std::map<RouteKey, RouteConfig> routes;
  std::map<RuleConfig, RuleConfig> rules;  ///< Each is its own key: nothing of a rule can be changed in place.
  friend bool operator==(const NamespaceState&, const NamespaceState&) = default;

  void add(const PolicyConfig& policy) { policies.insert_or_assign(policy.key, policy); }
  void add(const LinkConfig& link) { links.insert_or_assign(link.name, link); }
  void add(const RouteConfig& route) { routes.insert_or_assign(RouteKey::of(route), route); }
  void add(const RuleConfig& rule) { rules.emplace(rule, rule); }
};

/// What stands in one namespace: what is proven ours, and what is not.
struct StandingState {
  NamespaceState ours, foreign;
};

}  // namespace ipsec::policy
