#include <map>
#include <set>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// What should be in the kernel, as far as the manager knows it, and what follows when something of it is not.
namespace ipsec::agent {

using Standing = InstalledChild::Standing;

Reconciliation::Hooks TunnelManager::reconciliation_hooks() {
  return {.desired = [this](const std::string& netns) { return desired(netns); },
          .saw_sas = [this](const std::string& netns,
                            const std::vector<policy::SaState>& states) { on_saw_sas(netns, states); },
          .replace_child = [this](ike::ChildId id, const policy::SaKey& key,
                                  uint32_t tries) { replace_child(id, key, tries); },
          .child_of = [this](const std::string& netns, const policy::SaKey& key) -> std::optional<ike::ChildId> {
            for (const ike::ChildId id : installer_.children_of(netns, key)) {
              const InstalledChild& child = *installer_.children().find(id)->second;
              const bool in = child.plan.inbound.key == key;
              const bool stands = (in ? child.inbound_sa : child.outbound_sa) == Standing::kPresent;
              if (stands && (in ? child.has_inbound && !child.stopped : child.has_outbound)) return id;
            }
            return std::nullopt;
          },
          .clock = services_.monotonic_clock,
          .link_made =
              [this](const std::string& link) {
                on_link_made(link);
                carriers_.on_link_made(link);
                wake_manual_on(link);
              },
          .event = [this](const std::string& object, Reason reason,
                          std::vector<Field> fields) { event(object, reason, std::move(fields)); },
          .count = [this](Reason reason) { services_.counters.add(reason); }};
}

void TunnelManager::look_after(Instant now, const std::set<std::string>& namespaces) {
  for (const std::string& netns : namespaces) reconciliation_.begin(now, netns);
}

std::vector<NamespaceDrift> TunnelManager::drift(Instant now, const std::optional<std::string>& netns) {
  return reconciliation_.drift(now, netns);
}

Reconciliation::Desired TunnelManager::desired(const std::string& netns) const {
  Reconciliation::Desired wanted;
  for (const auto& [name, row] : tunnels_) {
    const policy::TunnelGroup& group = *row.tunnel->group;
    // The interface of a tunnel that leaves goes last, and is not made any more.
    if (row.interface.empty()) continue;  // attached by policy
    if (!group.enabled || group.private_place.netns != netns || (row.leaving && !row.link_ready)) continue;
    wanted.state.add(link_of(row));
  }
  for (const auto& [place, vrf] : vrfs_)
    if (place.first == netns) wanted.state.add(vrf);
  for (const auto& [place, rule] : rules_)
    if (place == netns) wanted.state.add(rule);
  carriers_.collect(netns, wanted.state);
  shared_.collect(netns, wanted.state);
  packet_rules_.collect(netns, wanted.state);
  const auto add = [&](ike::ChildId id, const policy::SaConfig& sa, Standing standing, bool read_back) {
    if (standing == Standing::kPresent && read_back) {
      wanted.state.sas.emplace(sa.key, policy::SaIdentity::of(sa));
      wanted.children.emplace(sa.key, id);
    } else if (standing != Standing::kAbsent) {
      wanted.under_way.insert(sa.key);
    }
  };
  for (const auto& [id, child] : installer_.children()) {
    if (child->spec->tunnel->group->public_place.netns != netns) continue;
    // An inbound SA that only lingers is not worth another one.
    add(id, child->plan.inbound, child->inbound_sa, child->has_inbound && !child->stopped);
    add(id, child->plan.outbound, child->outbound_sa, child->has_outbound);
    for (const hwoffload::Effective* effective : {&child->inbound, &child->outbound})
      if (effective->kind != policy::OffloadKind::kNone) wanted.devices.insert(effective->device);
  }
  // What is left of an earlier run may go at any time, and is not made again.
  orphans_.collect(netns, wanted.under_way, wanted.devices);
  return wanted;
}

void TunnelManager::on_saw_sas(const std::string& netns, const std::vector<policy::SaState>& states) {
  orphans_.on_seen(now_, netns, states);
  recover_acquires(netns, states);
  look_at_paths(netns);
  look_at_volumes(netns, states);
}

/// An acquire whose event was lost stands in the kernel as a state without keys and without SPI, and until that ends no
/// further packet asks. So it counts as if it had been heard.
void TunnelManager::recover_acquires(const std::string& netns, const std::vector<policy::SaState>& states) {
  for (const policy::SaState& state : states) {
    if (!state.larval || state.key.spi.value() != 0) continue;
    const auto known = child_by_reqid_.find(state.reqid);
    TunnelRow* row = known != child_by_reqid_.end() ? find(known->second.first) : nullptr;
    if (row == nullptr || row->leaving || row->if_id != state.if_id || row->tunnel->remote != state.key.destination ||
        row->tunnel->group->public_place.netns != netns)
      continue;
    ChildRow& child = *find(*row, known->second.second);
    const bool waits = child.step == ChildRow::Step::kNone && !child.retry_at && !child.held_down &&
                       (child.up.empty() || (!child.rest.refused && !uncovered_of(child).empty()));
    if (!waits || child.leaving || child.given_up || !child.trap) continue;
    event("tunnel/" + row->tunnel->name, Reason::kAcquireRecovered, {field("count", uint64_t{1})});
    begin(now_, *row, child, nullptr);
  }
}

/// Events may have been lost, or never been sent: of what a NIC carries with packet offload the kernel learns only when
/// it asks, and limits are watched by the driver, if it does. So what has reached a limit shows in the SAs themselves.
void TunnelManager::look_at_volumes(const std::string& netns, const std::vector<policy::SaState>& states) {
  traffic_.saw(netns, states, installer_.children());
  std::map<policy::SaKey, std::pair<ike::ChildId, policy::VolumeLimits>> limited;
  for (const auto& [id, child] : installer_.children()) {
    if (child->spec->tunnel->group->public_place.netns != netns || !child->has_inbound || !child->has_outbound)
      continue;
    for (const policy::SaConfig* sa : {&child->plan.inbound, &child->plan.outbound})
      if (sa->volume != policy::VolumeLimits{}) limited.emplace(sa->key, std::pair(id, sa->volume));
  }
  if (limited.empty()) return;
  std::map<ike::ChildId, policy::SaExpired> due;  // both directions often reach theirs in one look
  const auto reached = [](uint64_t carried, uint64_t limit) { return limit != 0 && carried >= limit; };
  for (const policy::SaState& state : states) {
    const auto found = limited.find(state.key);
    if (found == limited.end()) continue;
    const auto& [id, limits] = found->second;
    const bool soft = reached(state.bytes, limits.soft_bytes) || reached(state.packets, limits.soft_packets);
    const bool hard = reached(state.bytes, limits.hard_bytes) || reached(state.packets, limits.hard_packets);
    if (!soft && !hard) continue;
    policy::SaExpired& expired = due[id];
    if (!expired.hard)
      expired = {.netns = netns, .key = state.key, .hard = hard, .bytes = state.bytes, .packets = state.packets};
  }
  for (const auto& [id, expired] : due) {
    if (!expired.hard)
      on_expired(expired);
    else if (homes_.contains(id))  // the kernel did not take the SA out: another look at it would find out no more
      on_hard_limit(id, expired.key);
  }
}

/// An SA cannot be made again, for nobody kept its keys: IKE replaces the child, or ends it, so that it is set up anew.
/// Manual keys were kept.
void TunnelManager::replace_child(ike::ChildId id, const policy::SaKey& key, uint32_t tries) {
  const Home* home = home_of(id);
  const auto it = installer_.children().find(id);
  const bool manual = manual_.contains(id);
  if ((home == nullptr && !manual) || it == installer_.children().end()) return;
  const policy::ChildSpec& spec = *it->second->spec;
  const Reason reason = home != nullptr && home->expired != 0 ? Reason::kKernelExpired : Reason::kSaLost;
  if (tries == 0 && reason == Reason::kSaLost)
    event("tunnel/" + spec.tunnel->name, Reason::kSaLost,
          {field("child", spec.child), field("sa", policy::object_text(key))});
  if (manual) return mend_manual(id);
  if (renewals_.contains(id)) return;  // another one takes its place already
  if (spec.tunnel->child(spec.child)->policy->rekey.enabled && tries < kReplaceByRekeyMax)
    services_.workers.rekey_child(home->worker, home->ike, id, reason);
  else
    services_.workers.close_child(home->worker, home->ike, id, reason);
}

}  // namespace ipsec::agent
