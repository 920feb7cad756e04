#include <algorithm>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// A child SA from InstallInbound to RemoveChild, its successors by rekeying included.
namespace ipsec::agent {

using Step = ChildRow::Step;

namespace {

constexpr int kIdleLooks = 20;  // in the lifetime of a child

policy::EndAction action_for(const policy::IkePolicy& policy, Reason reason) {
  if (reason == Reason::kDeletedByPeer) return policy.on_close;
  // What ended because nothing used it is not set up again before something does.
  if (reason == Reason::kIdleEnded) return policy::EndAction::kTraffic;
  return policy.on_failure;
}

}  // namespace

ChildRow* TunnelManager::row_of(const policy::ChildSpec& spec, TunnelRow** row) {
  *row = find(spec.tunnel->name);
  return *row != nullptr ? find(**row, spec.child) : nullptr;
}

const TunnelManager::Home* TunnelManager::home_of(ike::ChildId id) const {
  auto it = homes_.find(id);
  return it == homes_.end() ? nullptr : &it->second;
}

const InstalledChild* TunnelManager::predecessor_of(ike::ChildId id) const {
  const Home* home = home_of(id);
  if (home == nullptr || !home->replaces) return nullptr;
  auto it = installer_.children().find(*home->replaces);
  return it == installer_.children().end() ? nullptr : it->second.get();
}

void TunnelManager::forget_home(ike::ChildId id) {
  auto it = homes_.find(id);
  if (it == homes_.end()) return;
  if (const auto known = child_by_reqid_.find(it->second.reqid); known != child_by_reqid_.end()) {
    TunnelRow* row = find(known->second.first);
    if (ChildRow* child = row != nullptr ? find(*row, known->second.second) : nullptr; child != nullptr) {
      --child->homes;
      child->parts.release(it->second.part_reqid);
      sweep_soon(*row);
    }
  }
  if (auto ike = ikes_.find(it->second.ike); ike != ikes_.end()) ike->second.children.erase(id);
  homes_.erase(it);
}

void TunnelManager::on_install_inbound(size_t worker, ike::InstallInbound action) {
  const ike::AskId ask = action.id;
  const ike::IkeSaId ike = action.ike;
  auto reply = [this, worker, ask, ike](Status status) {
    if (status.ok())
      services_.workers.answer(worker, {ask, ike, ike::Installed{}});
    else
      services_.workers.answer(worker, {ask, ike, ike::Refused{std::move(status).error()}});
  };
  TunnelRow* row = nullptr;
  ChildRow* child = row_of(*action.spec, &row);
  if (child == nullptr) return reply(Error(Reason::kNotFound, "tunnel " + action.spec->tunnel->name));
  if (child->leaving) return reply(check_in_force(row, row->tunnel->name, child->config->name));
  if (child->held_down)
    return reply(Error(Reason::kDeletedByOperator, "child " + child->config->name + " of tunnel " + row->tunnel->name +
                                                       " is held down: ipsecctl up"));
  if (!row->link_ready) return reply(no_interface(*row));
  // Below what is installed now: the child's own policies must be the ones that count.
  child->given_up = false;  // the peer can be reached: a packet may ask for it again
  if (child->trap_dropped) set_trap(*row, *child);
  const ike::ChildId id = action.child;
  const auto orphan_has = [this](uint32_t reqid) { return orphans_.children().contains(reqid); };
  const auto next = [this] { return ++last_reqid_; };
  const auto before = homes_.find(id);
  if (before == homes_.end()) ++child->homes;
  policy::ChildIds ids = child->ids;
  ids.part_reqid = before != homes_.end() ? before->second.part_reqid
                                          : child->parts.reqid_for(*child->config, *action.spec, orphan_has, next);
  if (ids.part_reqid != 0) child_by_reqid_.try_emplace(ids.part_reqid, row->tunnel->name, child->config->name);
  homes_[id] = {
      .ike = ike, .worker = worker, .reqid = ids.reqid, .part_reqid = ids.part_reqid, .replaces = action.replaces};
  ike_row(ike, worker, row->tunnel->name).children.insert(id);
  installer_.install_inbound(id, action.spec, ids, std::move(action.keys), [this, id, reply](const Status& status) {
    if (!status.ok() && !installer_.children().contains(id)) forget_home(id);
    reply(status);
  });
}

void TunnelManager::on_install_outbound(Instant now, size_t worker, ike::InstallOutbound action) {
  const ike::ChildId id = action.child;
  const ike::IkeSaId ike = action.ike;
  watch_.stop_inbound(id);
  if (action.replaces && installer_.children().contains(*action.replaces)) {
    homes_[id].replaces = action.replaces;
    renewals_[*action.replaces] = {.fresh = id};
  }
  if (const auto it = installer_.children().find(id); it != installer_.children().end())
    orphans_.give_way(it->second->spec->tunnel->group->public_place.netns, it->second->plan.outbound.key);
  installer_.install_outbound(id, std::move(action.keys), [this, now, worker, id, ike](const Status& status) {
    // IKE has agreed and the kernel will not: the child must go on both sides.
    if (!status.ok()) services_.workers.close_child(worker, ike, id, status.error().reason());
    on_outbound(now, id, status);
    if (auto it = ikes_.find(ike); it != ikes_.end()) end_older(now, it->second);
  });
}

void TunnelManager::on_outbound(Instant now, ike::ChildId id, const Status& status) {
  auto it = installer_.children().find(id);
  TunnelRow* row = nullptr;
  ChildRow* child = it != installer_.children().end() ? row_of(*it->second->spec, &row) : nullptr;
  if (child == nullptr) return finish_renewal(now, id, false);
  if (status.ok()) return on_child_up(now, *row, *child, *it->second, id);
  event("tunnel/" + row->tunnel->name, status.error().reason(),
        {field("child", child->config->name), field("detail", status.error().text())});
  settle_waiters(row->tunnel->name, child->config->name, WaitFor::kChildRekey, status);
  finish_renewal(now, id, false);
  if (child->up.empty()) attempt_failed(now, *row, *child, status.error().reason(), status.error().text());
}

void TunnelManager::on_child_up(Instant now, TunnelRow& row, ChildRow& child, const InstalledChild& installed,
                                ike::ChildId id) {
  const Home* home = home_of(id);
  const bool renews = home != nullptr && home->replaces &&
                      std::find(child.up.begin(), child.up.end(), *home->replaces) != child.up.end();
  child.up.push_back(id);
  set_routes(row);
  on_shape(row, child, installed);
  orphans_.replace(now, child.ids.reqid);  // what both hold goes on standing
  follow(now, id, installed);
  if (child.held_down && home != nullptr)  // the operator was quicker than the kernel
    services_.workers.close_child(home->worker, home->ike, id, Reason::kDeletedByOperator);
  if (renews) {
    const auto old = installer_.children().find(*home->replaces);
    if (old != installer_.children().end()) announce_move(row, *old->second, installed);
    moving_.erase(child.ids.reqid);
    settle_waiters(row.tunnel->name, child.config->name, WaitFor::kChildRekey, {});
    return finish_renewal(now, id, true);
  }
  child.step = Step::kNone;
  child.attempt.reset();
  // The kernel takes its question for answered by an SA with the reqid that it asked for.
  if (child.acquire && installed.ids.part_reqid != 0) services_.clear_acquire(*child.acquire);
  child.acquire.reset();
  child.pause = Duration{0};
  child.failures = 0;
  child.given_up = false;
  set_retry(child, {});
  row.last_reason = Reason::kTunnelUp;
  row.last_detail.clear();
  row.since = services_.wall_clock();
  std::vector<Field> fields{field("child", child.config->name)};
  if (installed.ids.part_reqid != 0)
    fields.push_back(field(
        "selectors", policy::to_string(installed.spec->local) + " - " + policy::to_string(installed.spec->remote)));
  event("tunnel/" + row.tunnel->name, Reason::kTunnelUp, std::move(fields));
  announce_offload(row, installed);
  finish_renewal(now, id, true);
  settle_waiters(row.tunnel->name, child.config->name, WaitFor::kUp, {});
  on_part_up(now, row, child, installed);
}

void TunnelManager::announce_offload(const TunnelRow& row, const InstalledChild& installed) {
  for (const auto& [direction, effective] :
       {std::pair("in", &installed.inbound), std::pair("out", &installed.outbound)}) {
    if (effective->requested == policy::OffloadMode::kNone) continue;
    event("tunnel/" + row.tunnel->name, effective->reason,
          {field("direction", std::string(direction)),
           field("effective", std::string(policy::to_string(effective->kind))), field("device", effective->device),
           field("detail", effective->detail)});
  }
}

// ---- rekeys

void TunnelManager::on_watch_inbound(Instant now, const ike::WatchInbound& action) {
  auto it = installer_.children().find(action.child);
  if (it == installer_.children().end()) return;
  watch_.watch_inbound(now, action.child, it->second->spec->tunnel->group->public_place.netns,
                       it->second->plan.inbound.key);
}

void TunnelManager::on_stop_outbound(const ike::StopOutbound& action) {
  // Not before its successor can send: the kernel may still be walking down the ladder of placements.
  if (auto renewal = renewals_.find(action.child); renewal != renewals_.end()) {
    renewal->second.stop = true;
    return;
  }
  TunnelRow* row = nullptr;
  ChildRow* child = row_of(*action.spec, &row);
  // Without a successor that works it goes on sending until it is removed.
  if (child != nullptr && child->up == std::vector{action.child}) return;
  installer_.stop_outbound(action.child);
  watch_.forget(action.child);
  if (child == nullptr) return;
  std::erase(child->up, action.child);
  settle_peer_route(*row, PeerLook::kAsKnown);
}

/// The outbound half of `fresh` is there, or never will be: now what was ordered for its predecessor is done.
void TunnelManager::finish_renewal(Instant now, ike::ChildId fresh, bool fresh_is_up) {
  auto home = homes_.find(fresh);
  if (home == homes_.end() || !home->second.replaces) return;
  const ike::ChildId old = *home->second.replaces;
  auto it = renewals_.find(old);
  if (it == renewals_.end() || it->second.fresh != fresh) return;
  const Renewal renewal = std::move(it->second);
  renewals_.erase(it);
  auto there = installer_.children().find(old);
  if (renewal.stop && fresh_is_up && there != installer_.children().end())
    on_stop_outbound({.ike = home->second.ike, .child = old, .spec = there->second->spec});
  if (renewal.removal) remove_child(now, *renewal.removal);
}

void TunnelManager::on_remove_child(Instant now, const ike::RemoveChild& action) {
  if (auto renewal = renewals_.find(action.child); renewal != renewals_.end())
    renewal->second.removal = action;
  else
    remove_child(now, action);
}

void TunnelManager::remove_child(Instant now, const ike::RemoveChild& action) {
  const Home* home = home_of(action.child);
  const auto ike = home != nullptr ? home->ike : action.ike;
  TunnelRow* row = nullptr;
  ChildRow* child = row_of(*action.spec, &row);
  const bool was_up = child != nullptr && std::erase(child->up, action.child) != 0;
  if (was_up) set_routes(*row);  // first, so that traffic stops taking the tunnel
  installer_.remove(action.child);
  watch_.forget(action.child);
  finish_renewal(now, action.child, false);
  forget_home(action.child);
  if (child == nullptr) return;
  if (was_up && child->up.empty()) on_child_ended(now, *row, *child, action.reason);
  if (was_up && !child->up.empty()) on_part_ended(now, *row, *child, action.reason);
  auto it = ikes_.find(ike);
  if (it == ikes_.end() || !it->second.children.empty()) return;
  childless_.set(ike, now + kChildlessGrace);  // an IKE SA that ends says so at once
  end_older(now, it->second);                  // its child has failed: nothing to wait for
}

/// Others of the child go on.
void TunnelManager::on_part_ended(Instant now, TunnelRow& row, ChildRow& child, Reason reason) {
  const bool again = action_for(*row.tunnel->ike_policy, reason) == policy::EndAction::kRestart &&
                     child.config->start == policy::StartMode::kNow;
  if (stopping_ || child.held_down || !again || uncovered_of(child).empty()) return;
  set_retry(child, now + vary(row.tunnel->ike_policy->retry.first));
}

void TunnelManager::on_child_ended(Instant now, TunnelRow& row, ChildRow& child, Reason reason) {
  set_routes(row);
  child.rest = {};
  row.last_reason = reason;
  row.since = services_.wall_clock();
  event("tunnel/" + row.tunnel->name, Reason::kTunnelDown,
        {field("child", child.config->name), field("because", std::string(code(reason)))});
  settle_waiters(row.tunnel->name, child.config->name, WaitFor::kDown, {});
  settle_waiters(row.tunnel->name, child.config->name, WaitFor::kChildRekey, Error(reason, "it ended instead"));
  if (stopping_ || child.held_down) return;
  switch (action_for(*row.tunnel->ike_policy, reason)) {
    case policy::EndAction::kRestart:
      if (child.config->start != policy::StartMode::kNow || child.step != Step::kNone) return;
      child.pause = row.tunnel->ike_policy->retry.first;
      return set_retry(child, now + vary(child.pause));
    case policy::EndAction::kTraffic:
      if (child.config->start != policy::StartMode::kRespond && !child.trap) set_trap(row, child);
      return;
    case policy::EndAction::kClear:
      if (child.trap) drop_trap(row, child);
      return;
  }
}

// ---- what SAs have carried

void TunnelManager::follow(Instant now, ike::ChildId id, const InstalledChild& installed) {
  if (installed.spec->tunnel->is_manual()) return;  // its numbers wrap, and nothing follows from silence
  const policy::ChildPolicy& policy = *installed.spec->tunnel->child(installed.spec->child)->policy;
  SaWatch::Interest interest;
  if (!installed.spec->suite.esn) interest.rekey_at = SequenceWatch::rekey_point(policy.rekey, services_.random.u64());
  if (policy.idle == policy::IdleRekey::kEnd)
    interest.idle_interval = std::clamp<Duration>(policy.lifetime / kIdleLooks, 1s, kIdleLookMost);
  if (!interest.rekey_at && !interest.idle_interval) return;
  watch_.follow(now, id,
                {.netns = installed.spec->tunnel->group->public_place.netns,
                 .in = installed.plan.inbound.key,
                 .out = installed.plan.outbound.key},
                interest);
}

void TunnelManager::on_sequence_due(ike::ChildId id, uint64_t sequence) {
  auto home = homes_.find(id);
  auto it = installer_.children().find(id);
  if (home == homes_.end() || it == installer_.children().end()) return;
  const policy::ChildSpec& spec = *it->second->spec;
  if (!std::exchange(home->second.sequence_told, true))
    event("tunnel/" + spec.tunnel->name, Reason::kRekeySequence,
          {field("child", spec.child), field("sequence", sequence)});
  if (spec.tunnel->child(spec.child)->policy->rekey.enabled)
    services_.workers.rekey_child(home->second.worker, home->second.ike, id, Reason::kRekeySequence);
  else  // better an end that is known than one in silence
    services_.workers.close_child(home->second.worker, home->second.ike, id, Reason::kLifetimeEnded);
}

/// The packets were faster than the rekey: it may be under way. Without one that ends well the child is set up anew:
/// when the SA stays gone, or is seen again and again, for not every NIC ends one by itself. Both directions often get
/// there at once, and an SA that stays is seen by every look: a rekey gets its time before the next one counts.
void TunnelManager::on_hard_limit(ike::ChildId id, const policy::SaKey& key) {
  Home& home = homes_.at(id);
  if (now_ < home.expired_counts_at) return;
  home.expired_counts_at = now_ + kHardLimitRest;
  replace_child(id, key, home.expired++);
}

void TunnelManager::on_expired(const policy::SaExpired& expired) {
  if (expired.hard) orphans_.on_expired(now_, expired.netns, expired.key);
  for (const ike::ChildId id : installer_.children_of(expired.netns, expired.key)) {
    const InstalledChild& child = *installer_.children().find(id)->second;
    const bool in = child.plan.inbound.key == expired.key;
    const Home* home = home_of(id);
    if (home == nullptr) return expired.hard ? reconciliation_.suspect(now_, expired.netns) : void();
    const policy::VolumeLimits& limits = (in ? child.plan.inbound : child.plan.outbound).volume;
    if (expired.hard) {
      reconciliation_.suspect(now_, expired.netns);
      return on_hard_limit(id, expired.key);
    }
    if (limits.soft_bytes == 0 && limits.soft_packets == 0) return;
    const bool packets = limits.soft_bytes == 0 || (limits.soft_packets != 0 && expired.packets >= limits.soft_packets);
    return services_.workers.rekey_child(home->worker, home->ike, id,
                                         packets ? Reason::kRekeyPackets : Reason::kRekeyBytes);
  }
}

}  // namespace ipsec::agent
