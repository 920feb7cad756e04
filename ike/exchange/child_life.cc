#include <algorithm>

#include "ike/exchange/child.h"
#include "ike/exchange/create_child.h"
#include "ike/exchange/informational.h"

namespace ipsec::ike {
namespace {

Established& established_of(IkeSa& sa) { return std::get<Established>(sa.state); }

bool same_work(const Task& a, const Task& b) { return a.kind == b.kind && a.child == b.child && a.name == b.name; }

bool has_successor(const Established& established, ChildId id) {
  return std::ranges::any_of(established.children, [&](const ChildSa& each) {
    return each.replaces == id && each.phase != ChildPhase::kRedundant && each.phase != ChildPhase::kLingering;
  });
}

void stop_outbound(EngineCore& core, const IkeSa& sa, ChildSa& child) {
  if (!child.outbound) return;
  child.outbound = false;
  core.act(StopOutbound{sa.id, child.id, child.spec});
}

}  // namespace

Status add_task(EngineCore& core, Instant now, IkeSa& sa, Task task) {
  Established& established = established_of(sa);
  const bool under_way = established.own && established.own->task.kind == task.kind &&
                         established.own->task.child == task.child &&
                         (task.kind != Task::Kind::kCreateChild || established.own->task.name == task.name);
  const bool waiting = std::ranges::any_of(established.tasks, [&](const Task& each) { return same_work(each, task); });
  if (under_way || waiting) return Error(Reason::kExists, "it is under way already");
  if (established.tasks.size() >= kTasksMax) return Error(Reason::kIkeQueueLimit, "requests waiting in one IKE SA");
  established.tasks.push_back(std::move(task));
  serve(core, now, sa);
  return {};
}

bool waits_for_peer(const Established& established, const Task& task) {
  if (!established.peer) return false;
  // RFC 7296 2.25.2: the IKE SA is not rekeyed while a child is being made in it.
  if (task.kind == Task::Kind::kRekeyIke) return true;
  // The peer has been quicker. A request now would cross nothing that the nonces decide about, as its request has been
  // judged already, and leave two successors. Ours is needed only if the peer's comes to nothing.
  return task.kind == Task::Kind::kRekeyChild && established.peer->child.replaces == task.child;
}

bool deletes_wait_for_peer(const Established& established) {
  // Our response leaves first: a peer that sees our Delete of what both have rekeyed before takes its own rekey for one
  // of a child that is gone, and keeps what it makes beside ours.
  return !established.deletes_waiting.empty() && established.peer && established.peer->child.replaces;
}

void serve(EngineCore& core, Instant now, IkeSa& sa) {
  auto* established = std::get_if<Established>(&sa.state);
  if (established == nullptr || sa.window.outstanding) return;
  if (!established->deletes_waiting.empty()) {
    if (deletes_wait_for_peer(*established)) return;  // the end of the peer's exchange comes here again
    return send_waiting_deletes(core, now, sa);
  }
  if (established->own) return;  // answered, and now with the kernel: one after the other
  auto due = std::ranges::find_if(established->tasks, [&](const Task& each) {
    return each.not_before <= now && !waits_for_peer(*established, each);
  });
  if (due == established->tasks.end()) return;
  if (due->kind != Task::Kind::kCreateChild && core.own_exchanges >= core.own_exchanges_max) {
    if (std::exchange(established->waits_for_pace, true)) return;
    return core.pace_queue.push_back(sa.id);
  }
  Task task = std::move(*due);
  established->tasks.erase(due);
  if (task.kind == Task::Kind::kRekeyIke) return begin_rekey_ike(core, now, sa, std::move(task));
  begin_child(core, now, sa, std::move(task));
  if (auto* after = std::get_if<Established>(&sa.state); after != nullptr && !after->own && !after->tasks.empty())
    core.arm(sa);  // that one needed nothing any more; the next one is due at once
}

std::unique_ptr<OwnExchange> end_own(EngineCore& core, Established& established) {
  VERIFY(established.own && core.own_exchanges > 0);
  --core.own_exchanges;
  return std::move(established.own);
}

bool try_again(EngineCore& core, Instant now, IkeSa& sa, Task task) {
  Established& established = established_of(sa);
  Instant end = established.until;
  if (task.kind == Task::Kind::kRekeyChild) {
    const ChildSa* child = established.child(task.child);
    if (child == nullptr || child->phase != ChildPhase::kInUse) return false;
    end = child->until;
  }
  constexpr uint8_t kCreateTries = 8;
  if (task.kind == Task::Kind::kCreateChild && task.failures >= kCreateTries) return false;
  const Duration full = std::min(kRetryMost, kRetryFirst * (int64_t{1} << std::min<uint8_t>(task.failures, 10)));
  // Two sides that refuse each other must not try again in step.
  const Duration pause =
      full / 2 + Duration(static_cast<int64_t>(core.random.below(static_cast<uint64_t>(full.count()))));
  if (task.is_last || now + kRetryLeast >= end) return false;
  if (task.failures < UINT8_MAX) ++task.failures;
  // Near the end of its life there is still a try or two.
  task.not_before = now + std::max(kRetryLeast, std::min(pause, (end - now) / 2));
  if (established.tasks.size() < kTasksMax) established.tasks.push_back(std::move(task));
  return true;
}

bool is_out_of_sync(Instant now, Established& established) {
  if (!established.put_off_since) established.put_off_since = now;
  return now - *established.put_off_since >= kPutOffMost;
}

std::optional<uint16_t> wanted_group(const OwnExchange& own, const NotifyPayload& notice) {
  auto wanted = ByteReader(notice.data).u16();
  if (!wanted.ok() || notice.data.size() != 2 || own.group_retries >= kInvalidKeRetriesMax) return std::nullopt;
  if (own.key_pair && own.key_pair->group == *wanted) return std::nullopt;
  for (const policy::Proposal& each : own.offered)
    if (std::ranges::count(each.transforms, policy::Transform{policy::TransformType::kKeyExchange, *wanted}) != 0)
      return *wanted;
  return std::nullopt;
}

void retire_child(EngineCore& core, Instant now, IkeSa& sa, ChildSa& child) {
  stop_outbound(core, sa, child);
  child.phase = ChildPhase::kDeleting;
  child.outbound_key.wipe();
  child.rekey_at.reset();
  child.until = now + kRekeyGuard;
  established_of(sa).deletes_waiting.push_back(child.spec->spi_in);
}

void close_child(EngineCore& core, Instant now, IkeSa& sa, ChildSa& child, Reason reason) {
  core.act(RemoveChild{sa.id, child.id, child.spec, reason});
  child.phase = ChildPhase::kClosed;
  child.outbound = false;
  child.outbound_key.wipe();
  child.rekey_at.reset();
  child.until = now + kRekeyGuard;
  established_of(sa).deletes_waiting.push_back(child.spec->spi_in);
}

void bury_child(EngineCore& core, Instant now, IkeSa& sa, ChildId id, Reason reason) {
  Established& established = established_of(sa);
  ChildSa* child = established.child(id);
  const std::optional<ChildId> replaced = child->replaces;
  const bool in_kernel = child->phase != ChildPhase::kClosed;
  if (has_successor(established, id) && in_kernel && child->phase != ChildPhase::kRedundant) {
    stop_outbound(core, sa, *child);
    child->phase = ChildPhase::kLingering;
    child->outbound_key.wipe();
    child->rekey_at.reset();
    child->until = now + kInboundLinger;
    return;
  }
  if (in_kernel) core.act(RemoveChild{sa.id, id, child->spec, reason});
  core.spis.release(child->spec->spi_in);
  std::erase_if(established.children, [&](const ChildSa& each) { return each.id == id; });
  // The peer gives up what it made in place of an older one: that one stays in use, unless ours replaces it.
  ChildSa* old = replaced ? established.child(*replaced) : nullptr;
  if (old == nullptr || old->phase != ChildPhase::kReplaced || !old->outbound || has_successor(established, *replaced))
    return;
  old->phase = ChildPhase::kInUse;
  const policy::ChildPolicy& policy = *old->spec->tunnel->child(old->spec->child)->policy;
  old->until = now + policy.lifetime / 10;
  if (policy.rekey.enabled) old->rekey_at = now + kRetryMost;
}

void move_children(EngineCore& core, IkeSa& from, IkeSa& to) {
  Established& source = established_of(from);
  Established& target = established_of(to);
  IkeRekeyed moved{from.id, to.id, {}};
  size_t living = 0;
  for (ChildSa& child : source.children) {
    moved.children.push_back(child.id);
    if (child.phase == ChildPhase::kInUse || child.phase == ChildPhase::kAwaitingUse) ++living;
    target.children.push_back(std::move(child));
  }
  source.children.clear();
  for (Task& task : source.tasks)
    if (task.kind != Task::Kind::kRekeyIke) {
      task.not_before = to.created_at;  // what it was put off for is over
      target.tasks.push_back(std::move(task));
    }
  source.tasks.clear();
  for (IkeSaId each : std::exchange(source.replaced, {})) target.replaced.push_back(each);
  std::ranges::copy(source.deletes_waiting, std::back_inserter(target.deletes_waiting));
  source.deletes_waiting.clear();
  target.predecessor.reset();
  from.successor = to.id;
  core.report(to, Reason::kIkeRekeyed, {field("peer", to_string(to.path.remote)), field("children", uint64_t{living})});
  core.act(std::move(moved));
  stand_for(core, to, from.id);
  core.snapshot_changed(to);
  core.snapshot_changed(from);
  core.arm(to);
}

void end_replaced(EngineCore& core, IkeSaId old) {
  IkeSa* sa = core.find(old);
  if (sa == nullptr || (sa->state_id() != StateId::kRekeyed && sa->state_id() != StateId::kDeleting)) return;
  core.destroy(*sa, Reason::kIkePredecessors, {field("peer", to_string(sa->path.remote))});
}

void stand_for(EngineCore& core, IkeSa& standing, IkeSaId old) {
  auto& replaced = established_of(standing).replaced;
  std::erase_if(replaced, [&](IkeSaId each) { return each == old || core.find(each) == nullptr; });
  replaced.push_back(old);
  for (; replaced.size() > kPredecessorsMax; replaced.erase(replaced.begin())) end_replaced(core, replaced.front());
}

void adopt_by_rival(EngineCore& core, IkeSa& old) {
  auto* established = std::get_if<Established>(&old.state);
  if (established == nullptr || !established->own || !established->own->rival_ike) return;
  IkeSa* rival = core.find(established->own->rival_ike);
  if (rival == nullptr || rival->state_id() != StateId::kEstablished) return;
  if (std::get<Established>(rival->state).predecessor) move_children(core, old, *rival);
}

void abandon_exchanges(EngineCore& core, IkeSa& sa, Reason reason) {
  auto* established = std::get_if<Established>(&sa.state);
  if (established == nullptr) return;
  if (established->own) {
    const auto own = end_own(core, *established);
    if (own->child) core.act(RemoveChild{sa.id, ChildId(own->spi_in.value()), own->child->spec, reason});
    if (own->spi_in) core.spis.release(own->spi_in);
    if (own->task.kind == Task::Kind::kCreateChild) core.act(ChildFailed{sa.id, sa.tunnel, own->task.name, reason, {}});
  }
  if (established->peer) {
    const PendingChild& child = established->peer->child;
    core.act(RemoveChild{sa.id, ChildId(child.spec->spi_in.value()), child.spec, reason});
    core.spis.release(child.spec->spi_in);
    established->peer.reset();
  }
  for (const Task& task : established->tasks)
    if (task.kind == Task::Kind::kCreateChild) core.act(ChildFailed{sa.id, sa.tunnel, task.name, reason, {}});
  established->tasks.clear();
}

}  // namespace ipsec::ike
