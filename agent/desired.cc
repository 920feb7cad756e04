#include <map>
#include <set>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"
#include "agent/wanted_here.h"

// What should be in the kernel, as far as the manager knows it, and what follows when something of it is not.
namespace ipsec::agent {

using Standing = InstalledChild::Standing;

Reconciliation::Hooks TunnelManager::reconciliation_hooks() {
  return {.wanted = [this](const std::string& netns) { return std::make_unique<WantedHere>(*this, netns); },
          .packet_rules =
              [this](const std::string& netns) {
                policy::NamespaceState state;
                packet_rules_.collect(netns, state);
                return state.packet_rules;
              },
          .saw_sas = [this](const std::string& netns, Reconciliation::ReadPart part,
                            const std::vector<policy::SaState>& states) { on_saw_sas(netns, part, states); },
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
          .aside = services_.aside,
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

void TunnelManager::drift(Instant now, const std::optional<std::string>& netns, Reconciliation::DriftDone done) {
  reconciliation_.drift(now, netns, std::move(done));
}

void TunnelManager::on_saw_sas(const std::string& netns, Reconciliation::ReadPart part,
                               const std::vector<policy::SaState>& states) {
  switch (part) {
    case Reconciliation::ReadPart::kBegin:
      orphans_.begin_read(netns);
      traffic_.begin_read(netns);
      break;
    case Reconciliation::ReadPart::kSome:
      orphans_.on_seen(netns, states);
      recover_acquires(netns, states);
      look_at_volumes(netns, states);
      break;
    case Reconciliation::ReadPart::kEnd:
      orphans_.end_read(now_, netns);
      traffic_.end_read(netns);
      look_at_paths(netns);
      break;
  }
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
                       (child.up.empty() || !uncovered_of(child).empty());
    if (!waits || child.leaving || child.given_up || !child.trap) continue;
    event("tunnel/" + row->tunnel->name, Reason::kAcquireRecovered, {field("count", uint64_t{1})});
    begin(now_, *row, child, nullptr);
  }
}

/// Events may have been lost, or never been sent: of what a NIC carries with packet offload the kernel learns only when
/// it asks, and limits are watched by the driver, if it does. So what has reached a limit shows in the SAs themselves.
void TunnelManager::look_at_volumes(const std::string& netns, const std::vector<policy::SaState>& states) {
  traffic_.saw(netns, states, installer_);
  std::map<ike::ChildId, policy::SaExpired> due;  // both directions often reach theirs in one look
  const auto reached = [](uint64_t carried, uint64_t limit) { return limit != 0 && carried >= limit; };
  for (const policy::SaState& state : states)
    for (const ike::ChildId id : installer_.children_of(netns, state.key)) {
      const InstalledChild& child = *installer_.children().find(id)->second;
      if (!child.has_inbound || !child.has_outbound) continue;
      const bool in = child.plan.inbound.key == state.key;
      const policy::VolumeLimits& limits = (in ? child.plan.inbound : child.plan.outbound).volume;
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
