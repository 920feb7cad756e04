#include "ike/exchange/upkeep.h"

#include <algorithm>

#include "ike/exchange/child.h"
#include "ike/exchange/create_child.h"
#include "ike/exchange/informational.h"

namespace ipsec::ike {
namespace {

/// Any step of the upkeep may end the IKE SA: a request that cannot be made any more does.
Established* living(IkeSa& sa) { return std::get_if<Established>(&sa.state); }

ChildSa* living_child(IkeSa& sa, ChildId id) {
  Established* established = living(sa);
  return established != nullptr ? established->child(id) : nullptr;
}

bool checks_liveness(const IkeSa& sa) {
  const policy::IkePolicy& policy = *sa.tunnel->ike_policy;
  return policy.dpd > Duration{0} && policy.dpd_mode == policy::DpdMode::kActive;
}

/// RFC 7296 2.23: who is behind a NAT keeps its mapping. ESP may do so as well, but only the kernel sees that.
bool keeps_mapping(const IkeSa& sa) { return sa.nat_local && sa.tunnel->ike_policy->nat_keepalive > Duration{0}; }

/// Whether our next request could leave now.
bool is_free(const IkeSa& sa, const Established& established) {
  return !sa.window.outstanding && !established.own && !established.waits_for_pace &&
         !deletes_wait_for_peer(established);
}

bool is_listed(const std::vector<ChildSpi>& list, ChildSpi spi) { return std::ranges::count(list, spi) != 0; }

/// A child's lifetime is over, or whatever its phase waits for did not come.
void child_timed_out(EngineCore& core, Instant now, IkeSa& sa, ChildSa& child) {
  auto& established = std::get<Established>(sa.state);
  switch (child.phase) {
    case ChildPhase::kInUse:
      // Its replacement is under way: that exchange ends by itself, one way or the other.
      if (established.own && established.own->task.child == child.id) {
        established.own->task.is_last = true;
        child.until = now + kAskTimeout;
        return;
      }
      core.report(sa, Reason::kLifetimeEnded,
                  {field("child", child.spec->child), field("spi_in", hex(child.spec->spi_in))});
      return close_child(core, now, sa, child, Reason::kLifetimeEnded);
    case ChildPhase::kAwaitingUse: {
      const auto replaced = child.replaces;
      use_child(core, now, sa, established.children, child.id);
      if (ChildSa* old = established.child(*replaced); old != nullptr && old->phase == ChildPhase::kReplaced)
        retire_child(core, now, sa, *old);
      return;
    }
    // The peer owes us a Delete: then it is ours to send.
    case ChildPhase::kReplaced:
    case ChildPhase::kRedundant: return retire_child(core, now, sa, child);
    case ChildPhase::kClosed:
    case ChildPhase::kDeleting: {
      const ChildSpi spi = child.spec->spi_in;
      if (is_listed(established.deletes_waiting, spi) || is_listed(established.deletes_sent, spi)) {
        child.until = now + kRekeyGuard;
        return;
      }
      return bury_child(core, now, sa, child.id, Reason::kReplaced);
    }
    case ChildPhase::kLingering: {
      const ChildId id = child.id;
      core.act(RemoveChild{sa.id, id, child.spec, Reason::kReplaced});
      core.spis.release(child.spec->spi_in);
      std::erase_if(established.children, [&](const ChildSa& each) { return each.id == id; });
      return;
    }
  }
}

/// The time for a child's replacement has come.
void child_due(EngineCore& core, Instant now, IkeSa& sa, ChildSa& child) {
  child.rekey_at.reset();
  const policy::ChildPolicy& policy = *child.spec->tunnel->child(child.spec->child)->policy;
  if (policy.idle == policy::IdleRekey::kEnd && !child.used) {
    core.report(sa, Reason::kIdleEnded, {field("child", child.spec->child)});
    return close_child(core, now, sa, child, Reason::kIdleEnded);
  }
  Status queued =
      add_task(core, now, sa, {.kind = Task::Kind::kRekeyChild, .child = child.id, .reason = Reason::kRekeyTime});
  if (!queued.ok() && queued.error().reason() != Reason::kExists) core.count(queued.error().reason());
}

void children_upkeep(EngineCore& core, Instant now, IkeSa& sa) {
  // Ends first: a list of ids, because what is done changes the list of children.
  std::vector<ChildId> ended, due;
  const auto& children = std::get<Established>(sa.state).children;
  for (const ChildSa& child : children) {
    if (child.until <= now)
      ended.push_back(child.id);
    else if (child.rekey_at && *child.rekey_at <= now)
      due.push_back(child.id);
  }
  for (ChildId id : ended)
    if (ChildSa* child = living_child(sa, id); child != nullptr && child->until <= now)
      child_timed_out(core, now, sa, *child);
  for (ChildId id : due)
    if (ChildSa* child = living_child(sa, id); child != nullptr && child->rekey_at) child_due(core, now, sa, *child);
  if (!ended.empty()) core.snapshot_changed(sa);
}

/// The kernel did not answer in time.
void exchanges_upkeep(EngineCore& core, Instant now, IkeSa& sa) {
  const Error late(Reason::kTimeout, "no answer to the installation of a child");
  const auto& own = living(sa)->own;
  if (own && own->stage == OwnExchange::Stage::kInstalling && own->deadline <= now)
    on_own_child_refused(core, now, sa, late);
  const Established* still = living(sa);
  if (still != nullptr && still->peer && still->peer->deadline <= now) on_peer_child_refused(core, now, sa, late);
}

}  // namespace

std::optional<Instant> next_upkeep(const IkeSa& sa) {
  const auto& established = std::get<Established>(sa.state);
  Instant next = established.until;
  auto consider = [&](Instant when) { next = std::min(next, when); };
  if (established.rekey_at) consider(*established.rekey_at);
  for (const ChildSa& child : established.children) {
    consider(child.until);
    if (child.rekey_at) consider(*child.rekey_at);
  }
  if (established.own && established.own->stage == OwnExchange::Stage::kInstalling) consider(established.own->deadline);
  if (established.peer) consider(established.peer->deadline);
  if (keeps_mapping(sa)) consider(established.keepalive_at);
  if (!sa.window.outstanding && checks_liveness(sa)) consider(sa.last_heard + sa.tunnel->ike_policy->dpd);
  if (is_free(sa, established))
    for (const Task& task : established.tasks)
      if (!waits_for_peer(established, task)) consider(task.not_before);
  return next;
}

void run_upkeep(EngineCore& core, Instant now, IkeSa& sa) {
  if (std::get<Established>(sa.state).until <= now) {
    core.report(sa, Reason::kLifetimeEnded, {field("peer", to_string(sa.path.remote))});
    return start_delete_ike(core, now, sa, Reason::kLifetimeEnded);
  }
  exchanges_upkeep(core, now, sa);
  if (living(sa) != nullptr) children_upkeep(core, now, sa);
  Established* established = living(sa);
  if (established == nullptr) return;
  const bool ids_run_out = std::max(sa.window.next_request, sa.window.expected) >= kMessageIdRekey;
  if (established->rekey_at && (*established->rekey_at <= now || ids_run_out)) {
    established->rekey_at.reset();
    (void)add_task(core, now, sa, {.kind = Task::Kind::kRekeyIke, .reason = Reason::kRekeyTime});
  }
  serve(core, now, sa);
  established = living(sa);
  if (established == nullptr) return;
  if (keeps_mapping(sa) && established->keepalive_at <= now) {
    core.act(SendKeepalive{sa.path});
    established->keepalive_at = now + sa.tunnel->ike_policy->nat_keepalive;
  }
  if (!sa.window.outstanding && checks_liveness(sa) && sa.last_heard + sa.tunnel->ike_policy->dpd <= now)
    check_liveness(core, now, sa);
}

void child_seen_in_use(EngineCore& core, Instant now, IkeSa& sa, ChildId id) {
  auto* established = std::get_if<Established>(&sa.state);
  ChildSa* child = established != nullptr ? established->child(id) : nullptr;
  if (child == nullptr || child->phase != ChildPhase::kAwaitingUse) return;
  use_child(core, now, sa, established->children, id);
  core.snapshot_changed(sa);
}

}  // namespace ipsec::ike
