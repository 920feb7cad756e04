#include <algorithm>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// How children come up: on an IKE SA that stands, on one that is being set up, on one of their own; what follows when
// they do not; and what becomes of IKE SAs.
namespace ipsec::agent {

using Stage = IkeRow::Stage;
using Step = ChildRow::Step;

namespace {

/// Failures after which nobody tries any more.
uint32_t tries_of(const TunnelRow& row) {
  const uint16_t tries = row.tunnel->ike_policy->retry.tries;
  return tries != 0 ? tries : UINT32_MAX;
}

bool all_held(const TunnelRow& row) {
  return std::all_of(row.children.begin(), row.children.end(), [](const auto& each) { return each.second.held_down; });
}

}  // namespace

// ---- IKE SAs

IkeRow& TunnelManager::ike_row(ike::IkeSaId id, size_t worker, const std::string& tunnel) {
  IkeRow& ike = ikes_[id];
  ike.id = id;
  ike.worker = worker;
  if (tunnel.empty() || ike.tunnel == tunnel) return ike;
  if (TunnelRow* before = find(ike.tunnel); before != nullptr) std::erase(before->ikes, id);
  ike.tunnel = tunnel;
  if (TunnelRow* row = find(tunnel); row != nullptr) row->ikes.push_back(id);
  return ike;
}

/// The newest one.
IkeRow* TunnelManager::ike_in_use(const TunnelRow& row) {
  for (auto id = row.ikes.rbegin(); id != row.ikes.rend(); ++id)
    if (auto it = ikes_.find(*id); it != ikes_.end() && it->second.stage == Stage::kEstablished) return &it->second;
  return nullptr;
}

void TunnelManager::close(IkeRow& ike, Reason reason, ike::CloseMode mode) {
  ike.stage = Stage::kEnding;
  services_.workers.close_ike(ike.worker, ike.id, reason, mode);
}

bool TunnelManager::is_wanted(const TunnelRow& row, const IkeRow& ike, bool retries_count) const {
  if (!ike.children.empty()) return true;
  return std::any_of(row.children.begin(), row.children.end(), [&](const auto& each) {
    const ChildRow& child = each.second;
    return child.step == Step::kWaiting || (child.step != Step::kNone && child.attempt == ike.id) ||
           (retries_count && child.retry_at);
  });
}

void TunnelManager::close_if_childless(ike::IkeSaId id, Reason reason, bool retries_count) {
  auto it = ikes_.find(id);
  TunnelRow* row = it != ikes_.end() ? find(it->second.tunnel) : nullptr;
  if (row == nullptr || it->second.stage != Stage::kEstablished) return;
  if (all_held(*row)) return close(it->second, Reason::kDeletedByOperator, ike::CloseMode::kTellPeer);
  if (row->tunnel->ike_policy->childless != policy::ChildlessPolicy::kRefuse) return;
  if (!is_wanted(*row, it->second, retries_count)) close(it->second, reason, ike::CloseMode::kTellPeer);
}

void TunnelManager::on_identity(Instant now, size_t worker, const ike::IdentityEstablished& action) {
  IkeRow& ike = ike_row(action.ike, worker, action.tunnel->name);
  TunnelRow* row = find(action.tunnel->name);
  if (ike.stage == Stage::kSettingUp) {
    ike.stage = Stage::kEstablished;
    ike.established_at = now;
    ike.serial = ++last_serial_;
    if (row != nullptr) settle_duplicates(now, *row, ike, action.initial_contact);
  }
  // A peer, or an attempt of ours, was quicker than the reload that has removed the tunnel.
  if (row == nullptr) return close(ike, Reason::kConfigNotInForce, ike::CloseMode::kTellPeer);
  if (!action.has_child)
    for (auto& [name, child] : row->children)
      if (child.step == Step::kInitiating && child.attempt == action.ike)
        attempt_failed(now, *row, child, ike.last_reason, ike.last_detail);
  move_waiting(*row);
  // The kernel may have been quicker with the first child than the worker with its report.
  for (auto& [name, child] : row->children)
    if (child.step == Step::kNone && !child.up.empty())
      if (const auto it = installer_.children().find(child.up.back()); it != installer_.children().end())
        on_part_up(now, *row, child, *it->second);
  if (action.has_child) return;
  // An IKE SA without the child that it was made for serves nobody. A peer's may get a child yet.
  if (ike.initiator || all_held(*row)) return close_if_childless(action.ike, ike.last_reason, false);
  childless_.set(action.ike, now + kChildlessGrace);
}

void TunnelManager::on_view(ike::IkeSaView view) {
  auto known = ikes_.find(view.id);
  IkeRow& row = ike_row(view.id, known != ikes_.end() ? known->second.worker : 0, view.tunnel);
  row.initiator = view.initiator;
  row.view = std::move(view);
}

void TunnelManager::on_ike_rekeyed(Instant now, size_t worker, const ike::IkeRekeyed& action) {
  auto before = ikes_.find(action.old);
  const std::string tunnel = before != ikes_.end() ? before->second.tunnel : std::string();
  IkeRow& fresh = ike_row(action.fresh, worker, tunnel);
  fresh.stage = Stage::kEstablished;
  fresh.established_at = now;
  fresh.serial = ++last_serial_;
  if (auto old = ikes_.find(action.old); old != ikes_.end()) {
    if (!fresh.view) fresh.initiator = old->second.initiator;
    fresh.established_at = old->second.established_at;
    fresh.serial = old->second.serial;
    fresh.ends_older_from = old->second.ends_older_from;
    if (old->second.ends_older) crossings_.set(fresh.id, old->second.ends_older_from);
    fresh.ends_older = old->second.ends_older;
    old->second.stage = Stage::kEnding;
    for (ike::ChildId child : action.children) old->second.children.erase(child);
  }
  for (ike::ChildId child : action.children) {
    auto home = homes_.find(child);
    if (home == homes_.end()) continue;
    home->second.ike = action.fresh;
    fresh.children.insert(child);
  }
  TunnelRow* row = find(fresh.tunnel);
  if (row == nullptr && !fresh.tunnel.empty()) close(fresh, Reason::kConfigNotInForce, ike::CloseMode::kTellPeer);
  if (row == nullptr) return;
  for (auto& [name, child] : row->children)
    if (child.attempt == action.old) child.attempt = action.fresh;
  // Who asked for the end of the old one meant the peer.
  if (stopping_ || all_held(*row))
    close(fresh, stopping_ ? Reason::kShutdown : Reason::kDeletedByOperator, ike::CloseMode::kTellPeer);
  settle_waiters(row->tunnel->name, {}, WaitFor::kIkeRekey, {});
}

void TunnelManager::on_gone(Instant now, ike::IkeSaId id) {
  auto it = ikes_.find(id);
  if (it == ikes_.end()) return;
  const IkeRow gone = std::move(it->second);
  ikes_.erase(it);
  childless_.cancel(id);
  crossings_.cancel(id);
  TunnelRow* row = find(gone.tunnel);
  if (row == nullptr) return;
  std::erase(row->ikes, id);
  sweep_soon(*row);
  for (auto& [name, child] : row->children)
    if (child.attempt == id && child.step != Step::kNone)
      attempt_failed(now, *row, child, gone.last_reason, gone.last_detail);
  move_waiting(*row);
}

// ---- attempts

void TunnelManager::begin(Instant now, TunnelRow& row, ChildRow& child, const policy::Acquire* acquire) {
  (void)now;
  set_retry(child, {});
  if (stopping_ || child.held_down || child.step != Step::kNone) return;
  if (!child.up.empty()) return ask_for_rest(row, child, acquire);
  if (child.trap_dropped) set_trap(row, child);
  if (acquire != nullptr) {
    child.acquire = *acquire;
    event("tunnel/" + row.tunnel->name, Reason::kTrafficStart,
          {field("selectors",
                 policy::to_string(acquire->packet_source) + " " + policy::to_string(acquire->packet_destination))});
  }
  choose_way(row, child);
}

/// One IKE SA for all children of a tunnel: the one that stands, or the one that comes.
void TunnelManager::choose_way(TunnelRow& row, ChildRow& child) {
  if (child.config->manual) return begin_manual(row, child);
  child.attempt.reset();
  WorkerPort::Trigger trigger;
  if (child.acquire) trigger.emplace(child.acquire->packet_source, child.acquire->packet_destination);
  if (const IkeRow* ike = ike_in_use(row); ike != nullptr) {
    child.step = Step::kCreating;
    child.attempt = ike->id;
    return services_.workers.create_child(ike->worker,
                                          {ike->id, row.tunnel->name, child.config->name, std::move(trigger)});
  }
  const bool comes = std::any_of(row.children.begin(), row.children.end(),
                                 [](const auto& each) { return each.second.step == Step::kInitiating; });
  if (comes) {
    child.step = Step::kWaiting;
    return;
  }
  const ike::Contact contact = contact_for(row);
  child.step = Step::kInitiating;
  services_.workers.initiate(
      next_worker_++ % services_.workers.workers(),
      {.tunnel = row.tunnel, .child = child.config->name, .trigger = std::move(trigger), .contact = contact});
}

/// Those that wait go on when there is an IKE SA, or when nobody is bringing one any more.
void TunnelManager::move_waiting(TunnelRow& row) {
  for (auto& [name, child] : row.children) {
    if (child.step != Step::kWaiting) continue;
    child.step = Step::kNone;
    if (!stopping_ && !child.held_down && child.up.empty()) choose_way(row, child);
  }
}

void TunnelManager::on_initiated(Instant now, size_t worker, const std::string& tunnel, const std::string& child,
                                 Result<ike::IkeSaId> outcome) {
  TunnelRow* row = find(tunnel);
  ChildRow* wanted = row != nullptr ? find(*row, child) : nullptr;
  if (wanted == nullptr && outcome.ok())
    close(ike_row(*outcome, worker, tunnel), Reason::kConfigNotInForce, ike::CloseMode::kTellPeer);
  if (wanted == nullptr) return;
  if (!outcome.ok()) return attempt_failed(now, *row, *wanted, outcome.error().reason(), outcome.error().text());
  wanted->attempt = *outcome;
  IkeRow& ike = ike_row(*outcome, worker, tunnel);
  ike.initiator = true;
  // Nobody could name it when everything, or this tunnel, was taken down.
  if (stopping_ || all_held(*row))
    close(ike, stopping_ ? Reason::kShutdown : Reason::kDeletedByOperator, ike::CloseMode::kTellPeer);
}

void TunnelManager::on_creating(Instant now, ike::IkeSaId ike, const std::string& tunnel, const std::string& child,
                                const Status& status) {
  TunnelRow* row = find(tunnel);
  ChildRow* wanted = row != nullptr ? find(*row, child) : nullptr;
  if (wanted == nullptr || status.ok() || wanted->step != Step::kCreating || wanted->attempt != ike) return;
  // One that is under way has its own end.
  if (status.error().reason() == Reason::kExists) return;
  auto there = ikes_.find(ike);
  if (status.error().reason() != Reason::kNotFound || there == ikes_.end())
    return attempt_failed(now, *row, *wanted, status.error().reason(), status.error().text());
  // It has just ended, and we did not know yet.
  there->second.stage = Stage::kEnding;
  choose_way(*row, *wanted);
}

void TunnelManager::on_child_failed(Instant now, const ike::ChildFailed& action) {
  TunnelRow* row = find(action.tunnel->name);
  ChildRow* child = row != nullptr ? find(*row, action.child) : nullptr;
  if (child == nullptr) return;
  if (child->step != Step::kNone && child->attempt == action.ike)
    attempt_failed(now, *row, *child, action.reason, action.detail);
  close_if_childless(action.ike, action.reason, false);
}

void TunnelManager::attempt_failed(Instant now, TunnelRow& row, ChildRow& child, Reason reason,
                                   const std::string& detail) {
  if (child.rest.asked && !child.up.empty()) return rest_failed(now, row, child, reason, detail);
  child.rest.asked = false;
  const bool led = child.step == Step::kInitiating;
  child.step = Step::kNone;
  child.attempt.reset();
  sweep_soon(row);
  row.last_reason = reason;
  row.last_detail = detail;
  if (child.acquire) {
    // The state that the kernel's question left behind would keep it from asking again.
    services_.clear_acquire(*child.acquire);
    child.acquire.reset();
  }
  settle_waiters(row.tunnel->name, child.config->name, WaitFor::kUp, Error(reason, detail));
  const bool tries = !stopping_ && !child.held_down && child.up.empty();
  if (tries && comes_up_by_itself(child))
    plan_retry(now, row, child, detail);
  else if (tries && child.trap && ++child.failures >= tries_of(row))
    give_up(row, child, detail);  // or the next packet would begin again
  if (!led || ike_in_use(row) != nullptr) return;
  // Without the IKE SA there is nothing to wait for; they are tried again together, so that one leads again.
  for (auto& [name, other] : row.children) {
    if (other.step != Step::kWaiting) continue;
    attempt_failed(now, row, other, reason, detail);
    if (child.retry_at && other.retry_at) set_retry(other, child.retry_at);
  }
}

Duration TunnelManager::vary(Duration pause) {
  return pause * (750 + static_cast<int64_t>(services_.random.below(501))) / 1000;
}

void TunnelManager::set_retry(ChildRow& child, std::optional<Instant> when) {
  child.retry_at = when;
  if (when)
    retries_.set(child.ids.reqid, *when);
  else
    retries_.cancel(child.ids.reqid);
}

/// Until an operator, another configuration or the peer wants it again. Nothing asks for it meanwhile, and its routes
/// and its interface tell routing daemons so.
void TunnelManager::give_up(TunnelRow& row, ChildRow& child, const std::string& detail) {
  child.given_up = true;
  if (child.trap) drop_trap(row, child);
  row.last_detail = "given up after " + std::to_string(child.failures) + " tries: " + detail;
  settle_link(row);
  event("tunnel/" + row.tunnel->name, row.last_reason,
        {field("child", child.config->name), field("detail", row.last_detail)});
}

void TunnelManager::plan_retry(Instant now, TunnelRow& row, ChildRow& child, const std::string& detail) {
  const policy::RetryPolicy& retry = row.tunnel->ike_policy->retry;
  const std::string object = "tunnel/" + row.tunnel->name;
  ++child.failures;
  if (child.failures >= tries_of(row)) return give_up(row, child, detail);
  child.pause = child.pause == Duration{0} ? retry.first : std::min(child.pause * 2, retry.most);
  const Duration pause = vary(child.pause);
  set_retry(child, now + pause);
  event(object, Reason::kNegotiationRetry,
        {field("after", std::to_string(pause / 1ms) + "ms"), field("detail", detail)});
}

void TunnelManager::run_retries(Instant now) {
  for (size_t count = 0; count < kRetriesPerTurn; ++count) {
    const auto reqid = retries_.pop_due(now);
    if (!reqid) break;
    const auto known = child_by_reqid_.find(*reqid);
    TunnelRow* row = known != child_by_reqid_.end() ? find(known->second.first) : nullptr;
    ChildRow* child = row != nullptr ? find(*row, known->second.second) : nullptr;
    if (child != nullptr) begin(now, *row, *child, nullptr);
  }
  for (size_t count = 0; count < kRetriesPerTurn; ++count) {
    const auto ike = childless_.pop_due(now);
    if (!ike) break;
    close_if_childless(*ike, Reason::kIdleEnded, true);
  }
}

}  // namespace ipsec::agent
