#include <algorithm>
#include <utility>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// Another configuration while tunnels are up. What ends does so in its own time: Deletes are answered, or given up,
// before the interface goes and a successor of the same name is made.
namespace ipsec::agent {

using Step = ChildRow::Step;
using Kind = policy::TunnelChange::Kind;

namespace {

/// What a tunnel's children hold in the kernel by the settings of their group, beside its place.
bool has_other_routes(const policy::TunnelGroup& from, const policy::TunnelGroup& to) {
  return from.route_protocol != to.route_protocol || !(from.metrics == to.metrics) ||
         from.selector_routes != to.selector_routes || from.default_block != to.default_block;
}

}  // namespace

void TunnelManager::reconfigure(Instant now, std::shared_ptr<const policy::Config> config,
                                std::shared_ptr<const policy::TunnelChanges> changes) {
  while (rollout_.active) {  // the tunnels follow one configuration after the other
    roll_out(now);
    queue_.drain();
  }
  config_ = std::move(config);
  offload_.configure(now, *config_);
  traffic_.keep(*config_);
  probe_devices();
  plan_shared_links();
  set_exceptions();
  set_group_objects();
  rollout_.begin(std::move(changes));
  reconciliation_.hold();
  run(now);
}

/// Some tunnels follow the configuration, while the kernel keeps up. The interfaces of an earlier run that are adopted
/// belong to tunnels that come later: nothing is put right before the last one follows.
void TunnelManager::roll_out(Instant now) {
  const Instant begun = services_.monotonic_clock ? services_.monotonic_clock() : Instant{};
  for (size_t count = 0; rollout_.active && count < kTunnelsPerTurn; ++count) {
    if (queue_.in_flight() > kRolloutInFlightMax && queue_.has_more()) return;
    const auto row = tunnels_.upper_bound(rollout_.last);
    const auto wanted = config_->tunnels.upper_bound(rollout_.last);
    const bool has_row = row != tunnels_.end(), is_wanted = wanted != config_->tunnels.end();
    if (!has_row && !is_wanted) {
      if (!queue_.has_more()) finish_rollout(now);
      return;
    }
    rollout_.last = !is_wanted || (has_row && row->first < wanted->first) ? row->first : wanted->first;
    if (rollout_.early.erase(rollout_.last) == 0) follow(now, rollout_.last);
    if (services_.monotonic_clock && services_.monotonic_clock() - begun >= kRolloutTurnMax) return;
  }
}

/// The carriers' operations are still on their way to the kernel. Reconciliation waits for them (settle_rollout()): an
/// earlier read would not know their interfaces, so that no event about one of them would count before the next read.
void TunnelManager::finish_rollout(Instant now) {
  const bool is_start = rollout_.changes == nullptr;
  rollout_ = {};
  rollout_.settles_by = now + kRolloutSettle;
  adopted_.clear();
  if (is_start)
    carriers_.start(now, *config_, std::exchange(adopted_carriers_, {}));
  else
    carriers_.reconfigure(now, *config_);
}

/// The kernel is never idle while many tunnels come up; then the time ends the wait.
void TunnelManager::settle_rollout(Instant now) {
  if (!rollout_.settles_by) return;
  const bool is_idle = queue_.in_flight() == 0 && !queue_.has_more();
  if (!is_idle && now < *rollout_.settles_by) return;
  rollout_.settles_by.reset();
  reconciliation_.go_on();
}

/// One tunnel follows the configuration.
void TunnelManager::follow(Instant now, const std::string& name) {
  const auto wanted = config_->tunnels.find(name);
  const auto found = tunnels_.find(name);
  const policy::TunnelChange* change = rollout_.change_of(name);
  if (found == tunnels_.end()) {
    if (wanted != config_->tunnels.end()) start_tunnel(now, wanted->second);
  } else if (TunnelRow& row = found->second; row.leaving) {
    row.next = wanted != config_->tunnels.end() ? wanted->second : nullptr;
  } else if (wanted == config_->tunnels.end()) {
    leave(row);
  } else if (change != nullptr && change->kind == Kind::kRestart) {
    row.next = wanted->second;
    leave(row);
  } else {
    update(now, row, wanted->second, change);
    if (row.tunnel->is_manual())
      refresh_manual(now, row, change);
    else if (change != nullptr)
      rekey_changed(row, *change);
  }
  if (change != nullptr)
    event("tunnel/" + name, Reason::kConfigApplied, {field("change", std::string(to_string(change->kind)))});
}

void TunnelManager::leave(TunnelRow& row) {
  row.leaving = true;
  for (auto& [name, child] : row.children) leave(row, child);
  settle_waiters(row.tunnel->name, {}, WaitFor::kIkeRekey, Error(Reason::kConfigApplied, "configured otherwise"));
  for (const ike::IkeSaId id : row.ikes)
    if (const auto ike = ikes_.find(id); ike != ikes_.end())
      close(ike->second, Reason::kConfigApplied, ike::CloseMode::kTellPeer);
}

/// Nothing begins it any more; what of it is up ends.
void TunnelManager::leave(TunnelRow& row, ChildRow& child) {
  child.leaving = child.held_down = true;
  if (child.step == Step::kWaiting) child.step = Step::kNone;
  sweep_soon(row);
  child.given_up = false;
  set_retry(child, {});
  orphans_.end(now_, child.ids.reqid, Reason::kConfigApplied);
  for (const WaitFor what : {WaitFor::kUp, WaitFor::kChildRekey})
    settle_waiters(row.tunnel->name, child.config->name, what, Error(Reason::kConfigApplied, "configured otherwise"));
  if (child.trap) drop_trap(row, child);
  child.trap_dropped = false;
  if (child.acquire) services_.clear_acquire(*child.acquire);
  child.acquire.reset();
  if (child.config->manual) return end_manual(row, child, Reason::kConfigApplied);
  if (row.leaving) return;  // with its IKE SAs
  close_children(row, child.config->name, Reason::kConfigApplied);
}

/// All SAs of one child, also those that are being replaced.
void TunnelManager::close_children(const TunnelRow& row, const std::string& child, Reason reason) {
  for (const ike::IkeSaId each : row.ikes) {
    const auto ike = ikes_.find(each);
    if (ike == ikes_.end()) continue;
    for (const ike::ChildId id : ike->second.children)
      if (const auto it = installer_.children().find(id);
          it != installer_.children().end() && it->second->spec->child == child)
        services_.workers.close_child(ike->second.worker, each, id, reason);
  }
}

/// The tunnel stays where it is. `change`: nullptr when it is as it was.
void TunnelManager::update(Instant now, TunnelRow& row, const std::shared_ptr<const policy::Tunnel>& tunnel,
                           const policy::TunnelChange* change) {
  const auto ends = [&](const std::string& child) {
    return tunnel->child(child) == nullptr ||
           (change != nullptr && std::ranges::find(change->children_removed, child) != change->children_removed.end());
  };
  const std::shared_ptr<const policy::Tunnel> former = std::exchange(row.tunnel, tunnel);
  const bool other_group = has_other_routes(*former->group, *tunnel->group);
  for (auto& [name, child] : row.children) {
    if (child.leaving) continue;  // its successor follows the newest configuration
    if (ends(name)) {
      leave(row, child);
      continue;
    }
    const policy::ChildConfig* wanted = tunnel->child(name);
    const policy::StartMode before = child.config->start;
    if (before != wanted->start && child.trap) drop_trap(row, child);
    if (!tunnel->group->default_block) {
      drop_block(child);
      child.blocked = false;
    }
    child.tunnel = tunnel;
    child.config = wanted;
    child.rest.refused.clear();
    if (other_group) follow_group(row, child, *former);
    child.trap_dropped = child.trap_dropped && wanted->start == policy::StartMode::kTraffic;
    const bool again = std::exchange(child.given_up, false);  // it may be another configuration that was wanting
    if (again) {
      child.failures = 0;
      child.pause = Duration{0};
    }
    if ((again || before != wanted->start) && row.link_ready) start_child(now, row, child);
  }
  for (const policy::ChildConfig& each : tunnel->children) {
    if (row.children.contains(each.name)) continue;
    add_child(row, each);
    if (row.link_ready) start_child(now, row, row.children.at(each.name));
  }
  set_routes(row);
  if (other_group) settle_peer_route(row, PeerLook::kAnew);
  settle_packets(row);
  settle_headers(row);
}

void TunnelManager::rekey_changed(const TunnelRow& row, const policy::TunnelChange& change) {
  for (const std::string& name : change.children_rekeyed) {
    const auto child = row.children.find(name);
    if (child == row.children.end() || child->second.up.empty()) continue;
    for (const ike::ChildId id : child->second.up)
      if (const Home* home = home_of(id); home != nullptr)
        services_.workers.rekey_child(home->worker, home->ike, id, Reason::kConfigApplied);
  }
  const IkeRow* ike = change.rekey_ike ? ike_in_use(row) : nullptr;
  if (ike != nullptr) services_.workers.rekey_ike(ike->worker, ike->id, Reason::kConfigApplied);
}

bool TunnelManager::has_leaving() const {
  return std::any_of(tunnels_.begin(), tunnels_.end(), [](const auto& each) { return each.second.leaving; });
}

void TunnelManager::forget_child(const ChildRow& child) {
  for (const uint32_t reqid : reqids_of(child)) {
    packet_rules_.clamp_reqid(child.tunnel->group->public_place.netns, reqid, std::nullopt);
    child_by_reqid_.erase(reqid);
  }
  offload_.remove(child.ids.reqid);
  traffic_.forget(child.ids.reqid);
  moving_.erase(child.ids.reqid);
  retries_.cancel(child.ids.reqid);
}

/// Something of the tunnel has come to an end: perhaps the last thing of what leaves.
void TunnelManager::sweep_soon(const TunnelRow& row) {
  if (row.leaving ||
      std::any_of(row.children.begin(), row.children.end(), [](const auto& each) { return each.second.leaving; }))
    to_sweep_.insert(row.tunnel->name);
}

/// Makes room where what left is gone.
void TunnelManager::sweep(Instant now) {
  for (size_t count = 0; count < kTunnelsPerTurn && !to_sweep_.empty(); ++count) {
    const std::string name = std::move(to_sweep_.extract(to_sweep_.begin()).value());
    const auto it = tunnels_.find(name);
    if (it == tunnels_.end()) continue;
    if (it->second.leaving)
      sweep_tunnel(now, it);
    else
      sweep_children(now, it->second);
  }
  if (unused_group_objects_) drop_unused_group_objects();
}

void TunnelManager::sweep_tunnel(Instant now, std::map<std::string, TunnelRow>::iterator it) {
  TunnelRow& row = it->second;
  const bool busy = std::any_of(row.children.begin(), row.children.end(), [](const auto& each) {
    return each.second.step != Step::kNone || each.second.homes != 0;
  });
  if (busy || !row.ikes.empty() || row.link_asked) return;
  if (row.link_ready) remove_link(row);
  for (const auto& [name, child] : row.children) forget_child(child);
  unlist_peer(*row.tunnel);
  tunnel_by_interface_.erase(row.interface);
  tunnel_by_number_.erase(row.number);
  drop_packets(row);
  const TunnelRow gone = std::move(row);
  tunnels_.erase(it);
  if (gone.next && !stopping_) start_tunnel(now, gone.next, gone.number);
  for (const auto& [name, child] : gone.children) drop_block(child);  // its successor's stands
}

void TunnelManager::sweep_children(Instant now, TunnelRow& row) {
  std::vector<std::string> successors;
  std::vector<ChildRow> gone;
  for (auto it = row.children.begin(); it != row.children.end();) {
    const ChildRow& child = it->second;
    if (!child.leaving || child.step != Step::kNone || child.homes != 0) {
      ++it;
      continue;
    }
    forget_child(child);
    if (row.tunnel->child(it->first) != nullptr) successors.push_back(it->first);
    gone.push_back(std::move(it->second));
    it = row.children.erase(it);
  }
  for (const std::string& name : successors) {
    add_child(row, *row.tunnel->child(name));
    settle_packets(row);
    if (row.link_ready && !stopping_) start_child(now, row, row.children.at(name));
  }
  for (const ChildRow& child : gone) drop_block(child);
}

}  // namespace ipsec::agent
