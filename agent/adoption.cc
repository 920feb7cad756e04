#include "agent/adoption.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "policy/plan.h"
#include "policy/plan_carriers.h"
#include "policy/plan_groups.h"
#include "policy/plan_routes.h"

namespace ipsec::agent {
namespace {

using policy::Direction;

/// What one reqid has in a namespace.
struct Owned {
  std::vector<const policy::PolicyConfig*> policies;
  std::vector<const policy::SaState*> sas;
};
using OwnedKey = std::tuple<std::string, uint32_t, uint32_t>;  // namespace, if_id, reqid

/// As the outbound policy of the same traffic has it. ICMP: type and code stand alike in both directions.
policy::PolicyKey as_outbound(policy::PolicyKey key) {
  constexpr uint8_t kIcmp = 1, kIcmpV6 = 58;
  if (key.direction == Direction::kOut) return key;
  key.direction = Direction::kOut;
  std::swap(key.source, key.destination);
  if (key.protocol == kIcmp || key.protocol == kIcmpV6) return key;
  std::swap(key.source_port, key.destination_port);
  std::swap(key.source_port_mask, key.destination_port_mask);
  return key;
}

bool covers(const IpPrefix& outer, const IpPrefix& inner) {
  return outer.address.family() == inner.address.family() && outer.length <= inner.length &&
         outer.contains(inner.address);
}

bool covers_ports(uint16_t outer, uint16_t outer_mask, uint16_t inner, uint16_t inner_mask) {
  return (outer_mask & inner_mask) == outer_mask && (inner & outer_mask) == outer;
}

/// Prefixes and port blocks are cut at powers of two, so that one that a range allows lies within one of its own.
bool covers(const policy::PolicyKey& outer, const policy::PolicyKey& inner) {
  return covers(outer.source, inner.source) && covers(outer.destination, inner.destination) &&
         (outer.protocol == 0 || outer.protocol == inner.protocol) &&
         covers_ports(outer.source_port, outer.source_port_mask, inner.source_port, inner.source_port_mask) &&
         covers_ports(outer.destination_port, outer.destination_port_mask, inner.destination_port,
                      inner.destination_port_mask) &&
         outer.if_id == inner.if_id && outer.mark == inner.mark;
}

bool allows(const policy::SelectorList& selectors, const IpPrefix& prefix) {
  return std::ranges::any_of(selectors, [&](const policy::TrafficSelector& each) {
    return std::ranges::any_of(each.addresses.prefixes(), [&](const IpPrefix& own) { return covers(own, prefix); });
  });
}

/// A namespace that the kernel shows as a number cannot be compared; whether the interface lies over the right one
/// shows when it is made again, which replaces one that does not.
bool is_underside(const policy::LinkConfig& link, const policy::TunnelGroup& group) {
  return link.public_netns == group.public_place.netns || link.public_netns.starts_with("#");
}

bool fits(const policy::LinkConfig& link, const policy::TunnelGroup& group) {
  const bool external = group.interfaces == policy::InterfaceScope::kExternal;
  const std::string name = external ? policy::external_interface_name(group.name) : policy::interface_name(link.if_id);
  return link.name == name && (link.kind == policy::LinkKind::kExternal) == external && is_underside(link, group) &&
         (link.vrf == group.private_place.vrf || link.vrf.empty());  // one that has lost its VRF gets it back
}

/// Whose traffic an SA carries; nothing when it is not between the tunnel's addresses.
std::optional<Direction> direction_of(const policy::SaState& sa, const policy::Tunnel& tunnel) {
  const auto ours = [&](const IpAddress& address) {
    return std::ranges::count(tunnel.group->public_addresses, address) != 0;
  };
  const auto theirs = [&](const IpAddress& address) { return !tunnel.remote || *tunnel.remote == address; };
  if (ours(sa.key.destination) && theirs(sa.source)) return Direction::kIn;
  if (ours(sa.source) && theirs(sa.key.destination)) return Direction::kOut;
  return std::nullopt;
}

class Adopter {
 public:
  Adopter(const policy::Config& config, const std::map<std::string, Found>& found) : config_(config), found_(found) {
    for (const auto& [netns, each] : found_) index(netns, each);
    for (const auto& [name, tunnel] : config_.tunnels)
      ++tunnels_to_[{tunnel->group->public_place.netns, tunnel->remote}];
  }

  Adoption run() {
    for (const auto& [name, tunnel] : config_.tunnels)
      if (tunnel->group->enabled) keep_blocks(*tunnel);
    for (const auto& [name, carrier] : config_.carriers) keep_carrier_blocks(*carrier);
    keep_exceptions();
    keep_packet_rules();
    for (const auto& [name, group] : config_.groups) keep_shared(*group);
    if (config_.orphan_grace == Duration{0}) return std::move(adoption_);
    for (const auto& [name, tunnel] : config_.tunnels) {
      if (!tunnel->group->enabled) continue;
      if (tunnel->group->attached == policy::Attachment::kPolicy)
        adopt_by_policy(*tunnel);
      else if (tunnel->shares_interface())
        adopt_external(*tunnel);
      else
        adopt_interface(*tunnel);
    }
    for (const auto& [name, carrier] : config_.carriers) adopt_carrier(*carrier);
    return std::move(adoption_);
  }

 private:
  void index(const std::string& netns, const Found& found) {
    const auto note = [](uint32_t& last, uint32_t number) { last = std::max(last, number); };
    for (const auto& [name, link] : found.ours.links) {
      if (!link.altname.empty()) links_[{netns, link.altname}] = &link;
      note(adoption_.last_number, link.if_id);
    }
    for (const auto& [key, policy] : found.ours.policies) {
      if (policy.has_template) owned_[{netns, key.if_id, policy.reqid}].policies.push_back(&policy);
      note(adoption_.last_number, key.if_id);
      note(adoption_.last_reqid, policy.reqid);
    }
    for (const auto& [key, route] : found.ours.routes) {
      routes_[{netns, route.device, route.encap_if_id}].push_back(&route);
      if (policy::is_peer_route(route)) peer_routes_[{netns, *route.gateway}].push_back(&route);
    }
    for (const policy::SaState& sa : found.sas) {
      owned_[{netns, sa.if_id, sa.reqid}].sas.push_back(&sa);
      note(adoption_.last_number, sa.if_id);
      note(adoption_.last_reqid, sa.reqid);
    }
    const auto first = owned_.lower_bound({netns, 0, 0});
    for (auto it = first; it != owned_.end() && std::get<0>(it->first) == netns; ++it) {
      const auto keys = outbound_keys(it->second);
      if (keys.empty()) continue;
      by_peer_[{netns, peer_of(it->second)}].push_back(it->first);
      for (const std::optional<IpAddress>& peer : {peer_of(it->second), std::optional<IpAddress>()})
        by_first_policy_[{netns, *keys.begin(), peer}].push_back(it->first);
    }
  }

  void adopt_interface(const policy::Tunnel& tunnel) {
    const policy::TunnelGroup& group = *tunnel.group;
    const auto found = links_.find({group.private_place.netns, tunnel.name});
    if (found == links_.end() || !fits(*found->second, group)) return;
    const policy::LinkConfig& link = *found->second;
    adoption_.keep[group.private_place.netns].add(link);
    Adoption::Numbers& numbers = adoption_.numbers[tunnel.name];
    numbers.number = numbers.if_id = link.if_id;
    const auto first = owned_.lower_bound({group.public_place.netns, link.if_id, 0});
    for (auto it = first; it != owned_.end() && is_of(it->first, group.public_place.netns, link.if_id); ++it)
      if (const policy::ChildConfig* child = child_of(tunnel, link.if_id, it->second); child != nullptr)
        note_reqid(numbers, child->name, std::get<2>(it->first), it->second);
    adopt_children(tunnel, numbers);
  }

  /// Of two reqids of one child the later one counts, and what is outbound only is a part of it (ChildIds::part_reqid).
  static void note_reqid(Adoption::Numbers& numbers, const std::string& child, uint32_t reqid, const Owned& owned) {
    const auto is_out = [](const policy::PolicyConfig* each) { return each->key.direction == Direction::kOut; };
    if (owned.sas.empty() || !std::ranges::all_of(owned.policies, is_out)) {
      numbers.reqids[child] = reqid;
      return;
    }
    const auto keys = outbound_keys(owned);
    numbers.parts[child].emplace(reqid, SelectorSets::Keys(keys.begin(), keys.end()));
  }

  void adopt_children(const policy::Tunnel& tunnel, Adoption::Numbers& numbers) {
    for (const auto& [name, parts] : numbers.parts)
      if (!numbers.reqids.contains(name)) numbers.reqids[name] = ++adoption_.last_reqid;
    const auto adopt = [&](const std::string& child, uint32_t reqid, uint32_t part_of) {
      const auto owned = owned_.find({tunnel.group->public_place.netns, numbers.if_id, reqid});
      if (owned != owned_.end()) adopt_child(tunnel, *tunnel.child(child), numbers, owned->second, {reqid, part_of});
    };
    for (const auto& [name, reqid] : numbers.reqids) adopt(name, reqid, 0);
    for (const auto& [name, parts] : numbers.parts)
      for (const auto& [reqid, keys] : parts) adopt(name, reqid, numbers.reqids.at(name));
  }

  /// Its policies and routes say which if_id a tunnel had.
  void adopt_external(const policy::Tunnel& tunnel) {
    const policy::TunnelGroup& group = *tunnel.group;
    const auto found = links_.find({group.private_place.netns, "group:" + group.name});
    if (found == links_.end() || !fits(*found->second, group)) return;
    adoption_.keep[group.private_place.netns].add(*found->second);
    Adoption::Numbers numbers;
    for (const auto& [child, key] : of_tunnel(tunnel)) {
      const uint32_t if_id = std::get<1>(key);
      if (if_id == 0 || (numbers.if_id != 0 && numbers.if_id != if_id)) continue;
      numbers.number = numbers.if_id = if_id;
      note_reqid(numbers, child, std::get<2>(key), owned_.at(key));
    }
    adopt_numbers(tunnel, std::move(numbers));
  }

  void adopt_by_policy(const policy::Tunnel& tunnel) {
    Adoption::Numbers numbers{.number = adoption_.last_number + 1, .reqids = {}, .parts = {}};
    for (const auto& [child, key] : of_tunnel(tunnel))
      if (std::get<1>(key) == 0) note_reqid(numbers, child, std::get<2>(key), owned_.at(key));
    if (!numbers.reqids.empty() || !numbers.parts.empty()) ++adoption_.last_number;
    adopt_numbers(tunnel, std::move(numbers));
  }

  void adopt_numbers(const policy::Tunnel& tunnel, Adoption::Numbers numbers) {
    if (numbers.reqids.empty() && numbers.parts.empty()) return;
    adopt_children(tunnel, adoption_.numbers[tunnel.name] = std::move(numbers));
  }

  static bool is_of(const OwnedKey& key, const std::string& netns, uint32_t if_id) {
    return std::get<0>(key) == netns && std::get<1>(key) == if_id;
  }

  /// Of all directions as the outbound ones, without if_id.
  static std::set<policy::PolicyKey> outbound_keys(const Owned& owned) {
    std::set<policy::PolicyKey> keys;
    for (const policy::PolicyConfig* each : owned.policies) {
      policy::PolicyKey key = as_outbound(each->key);
      key.if_id = 0;
      keys.insert(key);
    }
    return keys;
  }

  /// What no interface says to be this tunnel's, by child: where no other tunnel has the same peer, what lies within
  /// one of its children; else only what has exactly the policies of one.
  std::vector<std::pair<std::string, OwnedKey>> of_tunnel(const policy::Tunnel& tunnel) const {
    std::vector<std::pair<std::string, OwnedKey>> all;
    const std::pair place{tunnel.group->public_place.netns, tunnel.remote};
    const auto found = by_peer_.find(place);
    if (!tunnel.remote || tunnels_to_.at(place) != 1) {
      for (const policy::ChildConfig& child : tunnel.children)
        for (const OwnedKey& key : exactly(tunnel, child)) all.emplace_back(child.name, key);
    } else if (found != by_peer_.end()) {
      for (const OwnedKey& key : found->second) {
        const Owned& owned = owned_.at(key);
        const policy::ChildConfig* child = is_elsewhere(owned) ? nullptr : child_of(tunnel, std::get<1>(key), owned);
        if (child != nullptr) all.emplace_back(child->name, key);
      }
    }
    return all;
  }

  /// One with optional templates is of a tunnel that has its SAs in another namespace.
  static bool is_elsewhere(const Owned& owned) {
    return std::ranges::any_of(owned.policies, [](const auto* each) { return each->optional_template; });
  }

  /// What has exactly the policies of this child, between its tunnel's addresses.
  std::vector<OwnedKey> exactly(const policy::Tunnel& tunnel, const policy::ChildConfig& child) const {
    const auto keys = policy::policy_keys(child.local, child.remote, 0, child.policy->policies_max);
    if (!keys.ok() || keys->empty()) return {};
    const auto found =
        by_first_policy_.find({tunnel.group->public_place.netns, *std::ranges::min_element(*keys), tunnel.remote});
    if (found == by_first_policy_.end()) return {};
    std::vector<OwnedKey> all;
    for (const OwnedKey& key : found->second) {
      const Owned& owned = owned_.at(key);
      if (!is_elsewhere(owned) && std::ranges::equal(outbound_keys(owned), *keys)) all.push_back(key);
    }
    return all;
  }

  static std::optional<IpAddress> peer_of(const Owned& owned) {
    const policy::PolicyConfig& first = *owned.policies.front();
    return first.key.direction == Direction::kOut ? first.tunnel_destination : first.tunnel_source;
  }

  /// The one with exactly these selectors, else the only one that allows them.
  static const policy::ChildConfig* child_of(const policy::Tunnel& tunnel, uint32_t if_id, const Owned& owned) {
    if (owned.policies.empty()) return nullptr;
    std::vector<const policy::ChildConfig*> candidates;
    for (const policy::ChildConfig& child : tunnel.children) {
      const auto keys = policy::policy_keys(child.local, child.remote, if_id, child.policy->policies_max);
      if (!keys.ok()) continue;
      std::set<policy::PolicyKey> outbound;
      const bool all = std::ranges::all_of(owned.policies, [&](const policy::PolicyConfig* each) {
        const policy::PolicyKey key = *outbound.insert(as_outbound(each->key)).first;
        return std::ranges::any_of(*keys, [&](const policy::PolicyKey& own) { return covers(own, key); });
      });
      if (all && outbound.size() == keys->size() && std::ranges::equal(outbound, *keys)) return &child;
      if (all) candidates.push_back(&child);
    }
    return candidates.size() == 1 ? candidates.front() : nullptr;
  }

  struct Reqids {
    uint32_t reqid = 0, part_of = 0;  ///< As OrphanedChild has them.
  };
  void adopt_child(const policy::Tunnel& tunnel, const policy::ChildConfig& child, const Adoption::Numbers& numbers,
                   const Owned& owned, Reqids reqids) {
    const policy::TunnelGroup& group = *tunnel.group;
    policy::ChildIds ids{.reqid = reqids.reqid, .if_id = numbers.if_id, .tunnel = numbers.number};
    if (tunnel.shares_interface())
      ids.interface = policy::external_interface_name(group.name);
    else if (ids.if_id != 0)
      ids.interface = policy::interface_name(ids.if_id);
    OrphanedChild orphaned{.tunnel = tunnel.name,
                           .child = child.name,
                           .public_netns = group.public_place.netns,
                           .private_netns = group.private_place.netns,
                           .local = child.local,
                           .remote = child.remote,
                           .reqid = reqids.reqid,
                           .part_of = reqids.part_of,
                           .number = ids.tunnel};
    policy::NamespaceState& outside = adoption_.keep[orphaned.public_netns];
    for (const policy::SaState* sa : owned.sas) {
      const auto direction = direction_of(*sa, tunnel);
      if (!direction || sa->mode != child.policy->mode) continue;
      (*direction == Direction::kIn ? orphaned.inbound : orphaned.outbound).emplace(sa->key, *sa);
      outside.sas.emplace(sa->key, policy::SaIdentity::of(*sa));
    }
    if (orphaned.inbound.empty() && orphaned.outbound.empty()) return keep_trap(tunnel, child, ids);
    for (const policy::PolicyConfig* each : owned.policies) {
      orphaned.policies.push_back(*each);
      outside.add(*each);
      if (const auto guard = policy::plan_guard(*each)) keep_standing(group, {*guard}, {});
    }
    if (policy::crosses_from_vrf(group)) adopt_private_policies(ids, orphaned);
    if (ids.if_id != 0) adopt_routes(tunnel, child, ids, orphaned);
    adopt_peer_route(group, orphaned);
    adoption_.children.push_back(std::move(orphaned));
  }

  void adopt_private_policies(const policy::ChildIds& ids, OrphanedChild& orphaned) {
    const auto found = owned_.find({orphaned.private_netns, 0, ids.reqid});
    if (found == owned_.end()) return;
    for (const policy::PolicyConfig* each : found->second.policies) {
      orphaned.private_policies.push_back(*each);
      adoption_.keep[orphaned.private_netns].add(*each);
    }
  }

  /// Of the tunnel's own routes all that stand: they lead into each of its children.
  void adopt_routes(const policy::Tunnel& tunnel, const policy::ChildConfig& child, const policy::ChildIds& ids,
                    OrphanedChild& orphaned) {
    policy::NamespaceState& inside = adoption_.keep[orphaned.private_netns];
    const uint32_t encap = tunnel.shares_interface() ? ids.if_id : 0;
    for (const policy::RouteConfig* route : routes_[{orphaned.private_netns, ids.interface, encap}]) {
      const bool fits = allows(child.remote, route->destination) ||
                        std::ranges::count(tunnel.routes, route->destination, &policy::StaticRoute::prefix) != 0;
      if (route->vrf != tunnel.group->private_place.vrf || !fits) continue;
      orphaned.routes.push_back(*route);
      inside.add(*route);
    }
  }

  void adopt_peer_route(const policy::TunnelGroup& group, OrphanedChild& orphaned) {
    for (const auto& [key, sa] : orphaned.outbound) {
      if (sa.offload != policy::OffloadKind::kPacket) continue;
      for (const policy::RouteConfig* route : peer_routes_[{orphaned.public_netns, key.destination}]) {
        if (route->vrf != group.public_place.vrf) continue;
        orphaned.peer_route = *route;
        adoption_.keep[orphaned.public_netns].add(*route);
        return;
      }
    }
  }

  /// What will be made anew at once had better not be gone for a moment: traffic would take another way.
  void keep_trap(const policy::Tunnel& tunnel, const policy::ChildConfig& child, const policy::ChildIds& ids) {
    if (child.start != policy::StartMode::kTraffic) return;
    const auto plan = policy::plan_trap(tunnel, child, ids);
    if (plan.ok()) keep_standing(*tunnel.group, plan->policies, plan->routes);
    keep_standing(*tunnel.group, {}, policy::plan_static_routes(tunnel, ids, policy::RouteState::kIdle));
  }

  void keep_blocks(const policy::Tunnel& tunnel) {
    const policy::TunnelGroup& group = *tunnel.group;
    if (!group.default_block) return;
    // Any number: routes to nowhere have none.
    const uint32_t if_id = group.attached == policy::Attachment::kInterface ? 1 : 0;
    for (const policy::ChildConfig& child : tunnel.children)
      if (const auto plan = policy::plan_block(tunnel, child, {.if_id = if_id}); plan.ok())
        keep_standing(group, plan->policies, plan->routes);
  }

  void keep_carrier_blocks(const policy::Carrier& carrier) {
    if (!carrier.enabled) return;
    for (const policy::CarrierPath& path : carrier.paths)
      if (const auto blocks = policy::plan_carrier_blocks(carrier, path); blocks.ok())
        keep_standing(*path.tunnel->group, *blocks, {});
  }

  /// Its routes stay until it is known how it is with the tunnels: orphans carry what takes them.
  void adopt_carrier(const policy::Carrier& carrier) {
    const std::string& netns = carrier.private_place.netns;
    const auto found = links_.find({netns, carrier.name});
    if (!carrier.enabled || found == links_.end()) return;
    const policy::LinkConfig& link = *found->second;
    for (size_t i = 0; i < carrier.paths.size(); ++i) {
      const policy::LinkConfig wanted = policy::plan_carrier_link(carrier, i, link.mtu);
      const bool fits = link.name == wanted.name && link.kind == wanted.kind && is_underside(link, carrier.group()) &&
                        link.tunnel_local == wanted.tunnel_local && link.tunnel_remote == wanted.tunnel_remote &&
                        (link.vrf == wanted.vrf || link.vrf.empty());
      if (!fits) continue;
      adoption_.carriers[carrier.name] = link.tunnel_remote;
      adoption_.keep[netns].add(link);
      for (const policy::RouteState state : {policy::RouteState::kUp, policy::RouteState::kIdle})
        keep_routes(netns, policy::plan_carrier_routes(carrier, state));
    }
  }

  /// Where the configuration wants some, they stay until they are put there anew: what they do is done meanwhile.
  void keep_packet_rules() {
    const auto keep = [&](const std::string& netns) {
      if (const auto found = found_.find(netns); found != found_.end())
        adoption_.keep[netns].add(found->second.ours.packet_rules);
    };
    for (const auto& [name, carrier] : config_.carriers)
      if (carrier->enabled && policy::plan_carrier_seal(*carrier, carrier->paths.front()))
        keep(carrier->group().public_place.netns);
    for (const auto& [name, tunnel] : config_.tunnels) {
      const policy::TunnelGroup& group = *tunnel->group;
      const bool by_interface = group.attached == policy::Attachment::kInterface;
      if (!group.enabled) continue;
      if (tunnel->mss_clamp().mode != policy::MssClamp::Mode::kNone)
        keep(by_interface ? group.private_place.netns : group.public_place.netns);
      for (const policy::ChildConfig& child : tunnel->children) {
        if (policy::goes_by_rules(*child.policy)) keep(group.public_place.netns);
        if (child.policy->inner_df == policy::InnerDf::kClear) keep(group.private_place.netns);
      }
    }
  }

  void keep_exceptions() {
    for (const auto& [name, group] : config_.groups) {
      if (!group->enabled || group->attached != policy::Attachment::kPolicy) continue;
      keep_standing(*group, policy::plan_neighbour_discovery(), {});
      for (size_t i = 0; i < group->exceptions.size(); ++i)
        if (const auto policies = policy::plan_exception(group->exceptions[i], i); policies.ok())
          keep_standing(*group, *policies, {});
    }
  }

  /// Whatever of ours stands in the place of these policies, for they take it over: without SAs a policy lets nothing
  /// pass. And these routes, if they stand.
  void keep_standing(const policy::TunnelGroup& group, const std::vector<policy::PolicyConfig>& policies,
                     const std::vector<policy::RouteConfig>& routes) {
    const auto outside = found_.find(group.public_place.netns);
    if (outside != found_.end())
      for (const policy::PolicyConfig& each : policies)
        if (const auto there = outside->second.ours.policies.find(each.key);
            there != outside->second.ours.policies.end())
          adoption_.keep[group.public_place.netns].add(there->second);
    keep_routes(group.private_place.netns, routes);
  }

  /// What stands for a whole group.
  void keep_shared(const policy::TunnelGroup& group) {
    keep_routes(group.public_place.netns, policy::plan_gateway_routes(group));
    const auto inside = found_.find(group.private_place.netns), outside = found_.find(group.public_place.netns);
    if (const auto vrf = policy::plan_vrf(group); vrf && inside != found_.end())
      if (const auto there = inside->second.ours.links.find(vrf->name);
          there != inside->second.ours.links.end() && there->second.vrf_table == vrf->vrf_table)
        adoption_.keep[group.private_place.netns].add(there->second);
    if (outside == found_.end()) return;
    for (const policy::RuleConfig& each : policy::plan_rules(group))
      if (outside->second.ours.rules.contains(each)) adoption_.keep[group.public_place.netns].add(each);
  }

  void keep_routes(const std::string& netns, const std::vector<policy::RouteConfig>& routes) {
    const auto found = found_.find(netns);
    if (found == found_.end()) return;
    for (const policy::RouteConfig& each : routes)
      if (const auto there = found->second.ours.routes.find(policy::RouteKey::of(each));
          there != found->second.ours.routes.end() && there->second == each)
        adoption_.keep[netns].add(each);
  }

  const policy::Config& config_;
  const std::map<std::string, Found>& found_;
  using Named = std::pair<std::string, std::string>;
  std::map<Named, const policy::LinkConfig*> links_;  // by namespace, alternative name
  /// By namespace, device, and if_id where the device is external.
  std::map<std::tuple<std::string, std::string, uint32_t>, std::vector<const policy::RouteConfig*>> routes_;
  std::map<std::pair<std::string, IpAddress>, std::vector<const policy::RouteConfig*>> peer_routes_;  // by namespace
  std::map<OwnedKey, Owned> owned_;
  /// By namespace, first outbound policy without its if_id, and peer; and once more without the peer.
  std::map<std::tuple<std::string, policy::PolicyKey, std::optional<IpAddress>>, std::vector<OwnedKey>>
      by_first_policy_;
  using Peer = std::pair<std::string, std::optional<IpAddress>>;  // namespace, other end
  std::map<Peer, std::vector<OwnedKey>> by_peer_;
  std::map<Peer, size_t> tunnels_to_;
  Adoption adoption_;
};

}  // namespace

Adoption adopt(const policy::Config& config, const std::map<std::string, Found>& found) {
  return Adopter(config, found).run();
}

}  // namespace ipsec::agent
