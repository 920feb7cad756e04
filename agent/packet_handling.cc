#include <algorithm>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// How large packets may be in each tunnel, and what is done to them beside encryption.
namespace ipsec::agent {
namespace {

using Clearing = policy::PacketRules::Clearing;

/// Which packets, on their way into this tunnel's interface, lose DF: an external interface is that of others too.
std::set<Clearing> clearings_of(const TunnelRow& row) {
  std::set<Clearing> clearings;
  const std::string& vrf = row.tunnel->group->private_place.vrf;
  for (const policy::ChildConfig& child : row.tunnel->children) {
    if (child.policy->inner_df != policy::InnerDf::kClear || row.interface.empty()) continue;
    for (const policy::TrafficSelector& remote : child.remote)
      for (const IpPrefix& prefix : remote.addresses.prefixes())
        if (prefix.address.is_v4()) clearings.insert({vrf, row.interface, prefix});
  }
  return clearings;
}

std::optional<policy::MssLimits> limits_of(const policy::MssClamp& clamp, uint32_t mtu) {
  if (clamp.mode == policy::MssClamp::Mode::kNone) return std::nullopt;
  return policy::mss_limits(clamp, mtu);
}

policy::EspShape shape_of(const policy::ChildSpec& spec) {
  return {.suite = spec.suite,
          .mode = spec.mode,
          .outer = spec.local_endpoint.address.family(),
          .udp_encapsulation = spec.udp_encapsulation};
}

}  // namespace

/// To the peer that is there, else to the configured one.
policy::PathFacts TunnelManager::look_at_path(const TunnelRow& row) {
  std::optional<IpAddress> peer = row.tunnel->remote;
  for (const auto& [name, child] : row.children)
    if (!child.up.empty())
      if (const auto it = installer_.children().find(child.up.back()); it != installer_.children().end())
        peer = it->second->spec->remote_endpoint.address;
  if (!peer) return {};
  auto path = services_.kernel.path_to(row.tunnel->group->public_place, *peer);
  return path.ok() ? std::move(*path) : policy::PathFacts{};  // without a way there no packet leaves either
}

/// Computes the MTU anew and brings interface and rules to it.
void TunnelManager::settle_packets(TunnelRow& row) {
  const policy::TunnelGroup& group = *row.tunnel->group;
  if (!group.enabled || row.leaving) return;
  carriers_.touch(row.tunnel->name);
  row.path = look_at_path(row);
  settle_peer_route(row, PeerLook::kAnew);
  seat_children(row);
  const uint32_t before = row.mtu.bytes;
  std::optional<policy::InnerMtu> least;
  for (auto& [name, child] : row.children) {
    if (child.leaving) continue;
    child.mtu = policy::child_mtu(*row.tunnel, *child.config, child.shape, row.path);
    if (!least || child.mtu.bytes < least->bytes) least = child.mtu;
    if (row.interface.empty())
      for (const uint32_t reqid : reqids_of(child))
        packet_rules_.clamp_reqid(group.public_place.netns, reqid, limits_of(row.tunnel->mss_clamp(), child.mtu.bytes));
  }
  if (least) row.mtu = *least;
  if (row.tunnel->shares_interface()) {
    // One interface for all: it has the group's MTU, and so have its segments.
    const std::optional<policy::MssLimits> limits = limits_of(group.mss, link_of(row).mtu);
    packet_rules_.clamp_interface(group.private_place.netns, row.interface, limits);
  } else if (!row.interface.empty()) {
    if (row.mtu.bytes != before) settle_link(row);
    packet_rules_.clamp_interface(group.private_place.netns, row.interface,
                                  limits_of(row.tunnel->mss_clamp(), row.mtu.bytes));
  }
  std::set<Clearing> clearings = clearings_of(row);
  packet_rules_.hold_clearings(group.private_place.netns, row.clearings, clearings);
  row.clearings = std::move(clearings);
}

/// The headers of SAs that stand, after their policy has changed.
void TunnelManager::settle_headers(const TunnelRow& row) {
  for (const auto& [name, child] : row.children)
    for (const ike::ChildId id : child.up) {
      const auto it = installer_.children().find(id);
      if (child.leaving || it == installer_.children().end() || !it->second->has_outbound) continue;
      packet_rules_.write_outer(row.tunnel->group->public_place.netns, it->second->plan.outbound.key,
                                policy::outer_header(*child.config->policy, it->second->spec->udp_encapsulation));
    }
}

/// What was negotiated tells how much ESP adds; it is remembered while the child is down, so that the MTU stays.
void TunnelManager::on_shape(TunnelRow& row, ChildRow& child, const InstalledChild& installed) {
  child.shape = shape_of(*installed.spec);
  settle_packets(row);
}

void TunnelManager::drop_packets(const TunnelRow& row) {
  const policy::TunnelGroup& group = *row.tunnel->group;
  const bool in_use = row.tunnel->shares_interface() && shared_link(row) != nullptr;
  if (!row.interface.empty() && !in_use)
    packet_rules_.clamp_interface(group.private_place.netns, row.interface, std::nullopt);
  packet_rules_.hold_clearings(group.private_place.netns, row.clearings, {});
}

/// SAs of an earlier run go on with the headers that their configuration wants.
void TunnelManager::adopt_headers(const std::vector<OrphanedChild>& children) {
  for (const OrphanedChild& each : children) {
    const auto tunnel = config_->tunnels.find(each.tunnel);
    const policy::ChildConfig* child = tunnel != config_->tunnels.end() ? tunnel->second->child(each.child) : nullptr;
    if (child == nullptr) continue;
    for (const auto& [key, state] : each.outbound)
      packet_rules_.write_outer(each.public_netns, key, policy::outer_header(*child->policy, state.udp_encapsulation));
  }
}

/// A device of a public namespace carries more or less than before.
void TunnelManager::on_device(const policy::LinkChanged& change) {
  const auto known = device_mtus_.find({change.netns, change.name});
  if (change.gone) {
    if (known != device_mtus_.end()) device_mtus_.erase(known);
    return;
  }
  if (known != device_mtus_.end() && known->second == change.mtu) return;
  if (tunnel_by_interface_.contains(change.name)) return;
  device_mtus_.insert_or_assign({change.netns, change.name}, change.mtu);
  bool some_without = false;
  for (auto& [name, row] : tunnels_) {
    if (row.tunnel->group->public_place.netns != change.netns) continue;
    some_without = some_without || row.path.device.empty();
    if (row.path.device == change.name) settle_packets(row);
  }
  if (some_without) look_at_paths(change.netns);  // it may be the way that was missing
}

/// Routes to peers change, and what ICMP has told is forgotten: a part of the tunnels after the other.
void TunnelManager::look_at_paths(const std::string& netns) {
  std::string& last = paths_seen_[netns];
  auto it = tunnels_.upper_bound(last);
  last.clear();
  for (size_t looks = 0; it != tunnels_.end(); ++it) {
    if (it->second.tunnel->group->public_place.netns != netns) continue;
    if (++looks > kPathLooksAtOnce) return;
    settle_packets(it->second);
    last = it->first;
  }
  last.clear();  // from the first one again
}

/// After a change of routes: all tunnels, a part at a time. The next change is told from then on, so that a routing
/// daemon with a full table costs a look, and as much longer a rest as there are more tunnels to be looked at.
void TunnelManager::run_paths(Instant now) {
  for (auto it = paths_due_.begin(); it != paths_due_.end();) {
    if (it->second > now) {
      ++it;
      continue;
    }
    const std::string netns = it->first;
    const bool begins = paths_seen_[netns].empty();
    if (begins) (void)services_.kernel.watch_routes(netns);  // a namespace that is gone is met anew
    look_at_paths(netns);
    if (paths_seen_[netns].empty()) {
      paths_rest_[netns] = now + path_look_rest(tunnels_.size());
      it = paths_due_.erase(it);
    } else {
      it->second = now + kPathPartPause;
      ++it;
    }
  }
}

}  // namespace ipsec::agent
