#include "agent/wanted_here.h"

#include "agent/tunnel_manager.h"

namespace ipsec::agent {

using Standing = InstalledChild::Standing;

WantedSource::More WantedHere::collect(Desired& into, size_t most) {
  bool more = true;
  switch (phase_) {
    case Phase::kTunnels: more = collect_tunnels(into, most); break;
    case Phase::kGroups:
      collect_groups(into);
      more = false;
      break;
    case Phase::kShared: more = manager_.shared_.collect(netns_, shared_, most, into.state); break;
    case Phase::kChildren: more = collect_children(into, most); break;
    // What is left of an earlier run may go at any time, and is not made again.
    case Phase::kOrphans: more = manager_.orphans_.collect(netns_, orphan_, most, into.under_way, into.devices); break;
    case Phase::kEnd: break;
  }
  if (!more) phase_ = static_cast<Phase>(static_cast<uint8_t>(phase_) + 1);
  return phase_ == Phase::kEnd ? More::kNo : More::kYes;
}

bool WantedHere::collect_tunnels(Desired& into, size_t most) {
  for (auto it = manager_.tunnels_.upper_bound(tunnel_); it != manager_.tunnels_.end(); ++it, --most) {
    if (most == 0) return true;
    tunnel_ = it->first;
    const TunnelRow& row = it->second;
    const policy::TunnelGroup& group = *row.tunnel->group;
    if (row.interface.empty()) continue;  // attached by policy
    // The interface of a tunnel that leaves goes last, and is not made any more.
    if (!group.enabled || group.private_place.netns != netns_ || (row.leaving && !row.link_ready)) continue;
    into.state.add(manager_.link_of(row));
  }
  return false;
}

void WantedHere::collect_groups(Desired& into) {
  for (const auto& [place, vrf] : manager_.vrfs_)
    if (place.first == netns_) into.state.add(vrf);
  for (const auto& [place, rule] : manager_.rules_)
    if (place == netns_) into.state.add(rule);
  manager_.carriers_.collect(netns_, into.state);
}

bool WantedHere::collect_children(Desired& into, size_t most) {
  const auto& children = manager_.installer_.children();
  for (auto it = child_ ? children.upper_bound(*child_) : children.begin(); it != children.end(); ++it, --most) {
    if (most == 0) return true;
    child_ = it->first;
    if (it->second->spec->tunnel->group->public_place.netns == netns_) add(it->first, *it->second, into);
  }
  return false;
}

void WantedHere::add(ike::ChildId id, const InstalledChild& child, Desired& into) {
  const auto add_sa = [&](const policy::SaConfig& sa, Standing standing, bool read_back) {
    if (standing == Standing::kPresent && read_back) {
      into.state.sas.emplace(sa.key, policy::SaIdentity::of(sa));
      into.children.emplace(sa.key, id);
    } else if (standing != Standing::kAbsent) {
      into.under_way.insert(sa.key);
    }
  };
  // An inbound SA that only lingers is not worth another one.
  add_sa(child.plan.inbound, child.inbound_sa, child.has_inbound && !child.stopped);
  add_sa(child.plan.outbound, child.outbound_sa, child.has_outbound);
  for (const hwoffload::Effective* effective : {&child.inbound, &child.outbound})
    if (effective->kind != policy::OffloadKind::kNone) into.devices.insert(effective->device);
}

}  // namespace ipsec::agent
