#include "policy/config_changes.h"

#include <algorithm>

#include "policy/packet_rules.h"

namespace ipsec::policy {
namespace {

using Kind = TunnelChange::Kind;

/// Notes the settings that differ, and how much that disturbs.
template <typename Change>
class Comparison {
 public:
  explicit Comparison(Change& change) : change_(change) {}
  void note(std::string setting, Kind kind) {
    change_.settings.push_back(std::move(setting));
    change_.kind = std::max(change_.kind, kind);
  }
  template <typename T>
  bool differs(const T& from, const T& to, std::string setting, Kind kind) {
    if (from == to) return false;
    note(std::move(setting), kind);
    return true;
  }

 private:
  Change& change_;
};

/// Equality of what is behind two references, none of which may be there.
template <typename T>
bool same(const std::shared_ptr<const T>& a, const std::shared_ptr<const T>& b) {
  return a == b || (a && b && *a == *b);
}

/// What is negotiated, or a part of the SAs (clear and zero are, set and fixed are rules beside them), and so is in
/// force only with fresh SAs. Whether there are rules at all decides whether a NIC may write the outer header.
bool negotiates_alike(const ChildPolicy& a, const ChildPolicy& b) {
  return a.proposals == b.proposals && a.pfs == b.pfs && a.pfs_if_wanted == b.pfs_if_wanted &&
         a.lifetime == b.lifetime && a.lifetime_bytes == b.lifetime_bytes && a.lifetime_packets == b.lifetime_packets &&
         a.rekey == b.rekey && a.replay_window == b.replay_window &&
         (a.df == DfMode::kClear) == (b.df == DfMode::kClear) &&
         (a.dscp == DscpMode::kZero) == (b.dscp == DscpMode::kZero) && goes_by_rules(a) == goes_by_rules(b);
}

/// The same with manual keys: what the SAs are made of. They have no lifetime.
bool is_made_alike(const ChildConfig& a, const ChildConfig& b) {
  return a.policy->proposals == b.policy->proposals && a.policy->df == b.policy->df &&
         a.policy->dscp == b.policy->dscp && same(a.manual->credential, b.manual->credential);
}

bool same_spis(const ChildConfig& a, const ChildConfig& b) {
  if (!a.manual || !b.manual) return a.manual.has_value() == b.manual.has_value();
  return a.manual->spi_in == b.manual->spi_in && a.manual->spi_out == b.manual->spi_out;
}

/// What a tunnel cannot be moved out of: where its packets and its interface are, and whose it is.
TunnelGroup place_of(TunnelGroup group) {
  group.public_addresses.clear();  // only those that the tunnel uses count: see loses_address()
  group.default_block = false;
  group.route_protocol = {};
  group.metrics = {};
  group.selector_routes = true;
  group.offload = {};
  group.offload_devices.clear();
  group.tunnels_max = 0;
  group.mss = {};
  group.private_addresses.clear();
  group.exceptions.clear();
  group.gateway_routes = false;       // they are the group's, not a tunnel's
  group.role = Role::kBoth;           // in force through the tunnels' IKE policies
  group.attachment = group.attached;  // however it was chosen
  group.attached_because.clear();
  return group;
}

bool has_other_routes(const TunnelGroup& from, const TunnelGroup& to) {
  return from.route_protocol != to.route_protocol || !(from.metrics == to.metrics) ||
         from.selector_routes != to.selector_routes;
}

/// Whether an IKE SA of the tunnel may run over an address that its group has no more: that of the tunnel itself, or
/// any one that its peer has chosen.
bool loses_address(const Tunnel& from, const Tunnel& to) {
  if (from.local_address() != to.local_address()) return true;
  if (from.local || from.is_manual() || from.ike_policy->role == Role::kInitiate) return false;
  return std::ranges::any_of(from.group->public_addresses, [&](const IpAddress& each) {
    const bool of_family = !from.remote || from.remote->family() == each.family();
    return of_family && std::ranges::find(to.group->public_addresses, each) == to.group->public_addresses.end();
  });
}

void compare_child(const ChildConfig& from, const ChildConfig& to, TunnelChange& change) {
  const std::string child = "child " + from.name + ": ";
  Comparison comparison(change);
  bool other = comparison.differs(from.local, to.local, child + "local", Kind::kInPlace);
  other = comparison.differs(from.remote, to.remote, child + "remote", Kind::kInPlace) || other;
  other = comparison.differs(from.policy->mode, to.policy->mode, child + "mode", Kind::kInPlace) || other;
  if (!same_spis(from, to)) {
    comparison.note(child + "manual", Kind::kInPlace);
    other = true;
  }
  if (other) {
    change.children_removed.push_back(from.name);
    change.children_added.push_back(from.name);
    return;
  }
  const bool alike = from.manual ? is_made_alike(from, to) : negotiates_alike(*from.policy, *to.policy);
  if (!alike) {
    comparison.note(child + (from.manual ? "policy or keys" : "policy"), Kind::kRekey);
    change.children_rekeyed.push_back(from.name);
  } else if (!same(from.policy, to.policy)) {
    comparison.note(child + "policy", Kind::kInPlace);
  }
  comparison.differs(from.start, to.start, child + "start", Kind::kInPlace);
}

void compare_children(const Tunnel& from, const Tunnel& to, TunnelChange& change) {
  Comparison comparison(change);
  for (const ChildConfig& each : from.children) {
    if (const ChildConfig* kept = to.child(each.name)) {
      compare_child(each, *kept, change);
      continue;
    }
    comparison.note("child " + each.name + ": removed", Kind::kInPlace);
    change.children_removed.push_back(each.name);
  }
  for (const ChildConfig& each : to.children) {
    if (from.child(each.name) != nullptr) continue;
    comparison.note("child " + each.name + ": added", Kind::kInPlace);
    change.children_added.push_back(each.name);
  }
}

TunnelChange compare(const Tunnel& from, const Tunnel& to) {
  TunnelChange change;
  Comparison comparison(change);
  comparison.differs(place_of(*from.group), place_of(*to.group), "group", Kind::kRestart);
  comparison.differs(from.is_manual(), to.is_manual(), "manual", Kind::kRestart);
  comparison.differs(from.group->default_block, to.group->default_block, "default_block of the group", Kind::kInPlace);
  if (has_other_routes(*from.group, *to.group)) comparison.note("routes of the group", Kind::kInPlace);
  if (loses_address(from, to))
    comparison.note(from.local_address() != to.local_address() ? "local" : "addresses of the group", Kind::kRestart);
  else
    comparison.differs(from.group->public_addresses, to.group->public_addresses, "addresses of the group",
                       Kind::kInPlace);
  comparison.differs(from.group->exceptions, to.group->exceptions, "exceptions of the group", Kind::kInPlace);
  comparison.differs(from.group->gateway_routes, to.group->gateway_routes, "routes to the group's addresses",
                     Kind::kInPlace);
  comparison.differs(from.routes, to.routes, "routes", Kind::kInPlace);
  comparison.differs(from.addresses, to.addresses, "addresses", Kind::kInPlace);
  comparison.differs(from.group->private_addresses, to.group->private_addresses, "addresses of the group's interface",
                     Kind::kInPlace);
  comparison.differs(from.remote, to.remote, "remote", Kind::kRestart);
  comparison.differs(from.remote_port, to.remote_port, "remote_port", Kind::kInPlace);
  comparison.differs(from.local_id, to.local_id, "local_id", Kind::kRestart);
  comparison.differs(from.remote_id, to.remote_id, "remote_id", Kind::kRestart);
  if (!same(from.credential, to.credential)) comparison.note("credential", Kind::kInPlace);
  comparison.differs(from.mss_clamp(), to.mss_clamp(), "mss", Kind::kInPlace);
  comparison.differs(from.pin, to.pin, "offload pin", Kind::kInPlace);
  const IkePolicy &before = *from.ike_policy, &after = *to.ike_policy;
  change.rekey_ike = before.proposals != after.proposals || before.lifetime != after.lifetime;
  if (change.rekey_ike || !(before == after))
    comparison.note("ike_policy", change.rekey_ike ? Kind::kRekey : Kind::kInPlace);
  compare_children(from, to, change);
  // While nothing is wanted of the devices, nothing is on them.
  const Kind devices = from.offload_mode() == OffloadMode::kNone ? Kind::kInPlace : Kind::kRekey;
  const bool moved =
      comparison.differs(from.offload_mode(), to.offload_mode(), "offload", Kind::kRekey) ||
      (comparison.differs(from.group->offload_devices, to.group->offload_devices, "offload devices", devices) &&
       devices == Kind::kRekey);
  if (moved) {
    change.children_rekeyed.clear();
    for (const ChildConfig& each : from.children)
      if (std::ranges::find(change.children_removed, each.name) == change.children_removed.end())
        change.children_rekeyed.push_back(each.name);
  }
  if (change.kind == Kind::kRestart) {
    change.rekey_ike = false;
    change.children_rekeyed.clear();
    change.children_removed.clear();
    change.children_added.clear();
  }
  return change;
}

struct CarrierEnds {
  std::vector<std::string> tunnels;
  std::vector<std::vector<std::string>> children;
  std::vector<IpAddress> remotes;
};

CarrierEnds ends_of(const Carrier& carrier) {
  CarrierEnds ends;
  for (const CarrierPath& each : carrier.paths) {
    ends.tunnels.push_back(each.tunnel->name);
    ends.children.push_back(each.children);
    ends.remotes.push_back(*each.tunnel->remote);
  }
  return ends;
}

CarrierChange compare(const Carrier& from, const Carrier& to) {
  CarrierChange change;
  Comparison comparison(change);
  const TunnelGroup &before = from.group(), &after = to.group();
  const CarrierEnds left = ends_of(from), right = ends_of(to);
  comparison.differs(from.kind, to.kind, "kind", Kind::kRestart);
  comparison.differs(from.private_place, to.private_place, "private", Kind::kRestart);
  comparison.differs(before.public_place, after.public_place, "public place of the tunnels", Kind::kRestart);
  comparison.differs(from.paths.front().tunnel->local_address(), to.paths.front().tunnel->local_address(),
                     "local address", Kind::kRestart);
  comparison.differs(from.enabled, to.enabled, "enabled", Kind::kRestart);
  comparison.differs(left.tunnels, right.tunnels, "protected_by", Kind::kInPlace);
  comparison.differs(left.remotes, right.remotes, "remotes of the tunnels", Kind::kInPlace);
  comparison.differs(left.children, right.children, "children that protect it", Kind::kInPlace);
  comparison.differs(from.key, to.key, "key", Kind::kInPlace);
  comparison.differs(from.addresses, to.addresses, "addresses", Kind::kInPlace);
  comparison.differs(from.peers, to.peers, "peers", Kind::kInPlace);
  comparison.differs(from.routes, to.routes, "routes", Kind::kInPlace);
  comparison.differs(before.metrics, after.metrics, "metrics of the group", Kind::kInPlace);
  comparison.differs(before.route_protocol, after.route_protocol, "route protocol of the group", Kind::kInPlace);
  comparison.differs(from.mtu, to.mtu, "mtu", Kind::kInPlace);
  comparison.differs(from.hold_down, to.hold_down, "hold_down", Kind::kInPlace);
  return change;
}

}  // namespace

std::string_view to_string(TunnelChange::Kind kind) {
  switch (kind) {
    case Kind::kInPlace: return "in place";
    case Kind::kRekey: return "rekey";
    case Kind::kRestart: return "restart";
    case Kind::kAdded: return "added";
    case Kind::kRemoved: return "removed";
  }
  return {};
}

TunnelChanges tunnel_changes(const Config& from, const Config& to) {
  TunnelChanges changes;
  for (const auto& [name, tunnel] : from.tunnels) {
    const auto kept = to.tunnels.find(name);
    if (kept == to.tunnels.end()) {
      changes[name].kind = Kind::kRemoved;
      continue;
    }
    TunnelChange change = compare(*tunnel, *kept->second);
    if (!change.settings.empty()) changes.emplace(name, std::move(change));
  }
  for (const auto& [name, tunnel] : to.tunnels)
    if (!from.tunnels.contains(name)) changes[name].kind = Kind::kAdded;
  return changes;
}

std::vector<std::string> start_only_changes(const Config& in_force, const Config& to) {
  constexpr std::string_view kWhen = " when the daemon starts: it needs a restart of the daemon to change";
  std::vector<std::string> changes;
  if (in_force.node_id != to.node_id)
    changes.push_back("node.id is " + std::to_string(to.node_id) + " in the files and " +
                      std::to_string(in_force.node_id) + " in force; it is read" + std::string(kWhen));
  if (!(in_force.admission == to.admission))
    changes.push_back("node.admission in the files is not the one in force; it is read" + std::string(kWhen));
  if (in_force.orphan_grace != to.orphan_grace)
    changes.push_back("node.orphan_grace in the files is not the one in force; it is read" + std::string(kWhen));
  return changes;
}

std::shared_ptr<const Config> with_start_settings(std::shared_ptr<const Config> config, const Config& in_force) {
  if (start_only_changes(in_force, *config).empty()) return config;
  auto adjusted = std::make_shared<Config>(*config);
  adjusted->node_id = in_force.node_id;
  adjusted->admission = in_force.admission;
  adjusted->orphan_grace = in_force.orphan_grace;
  return adjusted;
}

CarrierChanges carrier_changes(const Config& from, const Config& to) {
  CarrierChanges changes;
  for (const auto& [name, carrier] : from.carriers) {
    const auto kept = to.carriers.find(name);
    if (kept == to.carriers.end()) {
      changes[name].kind = Kind::kRemoved;
      continue;
    }
    CarrierChange change = compare(*carrier, *kept->second);
    if (!change.settings.empty()) changes.emplace(name, std::move(change));
  }
  for (const auto& [name, carrier] : to.carriers)
    if (!from.carriers.contains(name)) changes[name].kind = Kind::kAdded;
  return changes;
}

}  // namespace ipsec::policy
