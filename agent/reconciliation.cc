#include "agent/reconciliation.h"

#include <algorithm>

#include "agent/limits.h"
#include "policy/marks.h"

namespace ipsec::agent {

using policy::Reconciler;
using Hint = Reconciler::Hint;

namespace {

/// Of an operation that puts something there: whom it concerns beside the kernel.
struct Made {
  std::optional<policy::PolicyKey> policy;
  std::optional<policy::RouteConfig> route;
  std::string link;
};

Made made_by(const policy::KernelChange& change) {
  Made made;
  if (const auto* policy = std::get_if<policy::AddPolicy>(&change)) made.policy = policy->policy.key;
  if (const auto* policy = std::get_if<policy::UpdatePolicy>(&change)) made.policy = policy->policy.key;
  if (const auto* route = std::get_if<policy::AddRoute>(&change)) made.route = route->route;
  if (const auto* link = std::get_if<policy::AddLink>(&change)) made.link = link->link.name;
  return made;
}

}  // namespace

std::string netns_object(const std::string& netns) { return "netns/" + (netns.empty() ? std::string("-") : netns); }

void Reconciliation::begin(Instant now, const std::string& netns) {
  if (stopped_) return;
  const auto [space, fresh] = spaces_.try_emplace(netns, random_);
  if (fresh) space->second.reconciler.hint(now, Hint::kPerhaps);
}

// ---- signs of a change

void Reconciliation::hint(Instant now, Space& space, Hint what) {
  // The end of a reading forgets what was due before it.
  if (space.is_busy()) space.hint = space.hint ? std::max(*space.hint, what) : what;
  space.reconciler.hint(now, what);
}

void Reconciliation::suspect(Instant now, const std::string& netns) {
  if (auto it = spaces_.find(netns); it != spaces_.end()) hint(now, it->second, Hint::kGone);
}

void Reconciliation::expect(const std::string& netns, const policy::LinkConfig& link) {
  const auto space = spaces_.find(netns);
  if (space == spaces_.end()) return;
  space->second.watched.expect_link(link);
  if (space->second.is_busy()) space->second.expected[link.name] = link;
}

void Reconciliation::expect_no_link(const std::string& netns, const std::string& name) {
  const auto space = spaces_.find(netns);
  if (space == spaces_.end()) return;
  space->second.watched.forget_link(name);
  if (space->second.is_busy()) space->second.expected[name] = std::nullopt;
}

/// A link of ours that is as it should be, and links that do not concern us, are no sign of anything.
std::optional<Hint> Reconciliation::hint_of(const policy::LinkChanged& change, const Space& space) const {
  if (space.watched.vrfs.contains(change.name)) {
    if (change.gone) return Hint::kGone;
    if (space.reconciler.state() == Reconciler::State::kAwaiting) return Hint::kReturned;
    return std::nullopt;
  }
  if (space.watched.devices.contains(change.name)) {
    if (change.up && !change.gone) return std::nullopt;
    return Hint::kGone;
  }
  const auto wanted = space.watched.links.find(change.name);
  if (wanted == space.watched.links.end()) return std::nullopt;
  if (change.gone) return Hint::kGone;
  const policy::LinkConfig& link = wanted->second;
  if (change.admin_up == link.up && change.dormant == link.dormant && change.mtu == link.mtu &&
      change.enslaved == !link.vrf.empty())
    return std::nullopt;
  return Hint::kPerhaps;
}

/// What the event names is put right by its key: a complete read takes long where there are many tunnels, and somebody
/// who changes one object after the other must not keep us busy with it. False: a read is to find out.
bool Reconciliation::repair(Instant now, const std::string& netns, std::vector<policy::KernelChange> changes) {
  const auto space = spaces_.find(netns);
  if (held_ || space == spaces_.end() || changes.empty() || !space->second.reconciler.may_repair(now)) return false;
  for (policy::KernelChange& change : changes) {
    auto done = [this, netns, what = policy::change_text(change),
                 made = made_by(change)](const Result<policy::KernelReply>& result) {
      if (result.ok() && made.policy) shared_.confirm(netns, *made.policy);
      if (result.ok() && made.route) shared_.confirm(netns, *made.route);
      const auto there = spaces_.find(netns);
      if (there == spaces_.end()) return;
      if (result.ok())
        on_repaired(there->second, what);
      else
        hint(now_, there->second, Hint::kGone);
    };
    queue_.submit(netns, std::move(change), std::move(done));
  }
  return true;
}

bool Reconciliation::repair(Instant now, const policy::SaRemoved& removed) {
  const auto space = spaces_.find(removed.netns);
  if (!removed.key || space == spaces_.end()) return false;
  const auto child = hooks_.child_of(removed.netns, *removed.key);
  if (!child) return false;
  if (!space->second.reconciler.may_repair(now)) return false;
  // The event may be late, and another SA of this key stand there by now.
  queue_.submit(removed.netns, policy::ReadSa{*removed.key},
                [this, netns = removed.netns, key = *removed.key](const Result<policy::KernelReply>& found) {
                  const auto there = spaces_.find(netns);
                  if (there == spaces_.end() || found.ok()) return;
                  const auto owner = hooks_.child_of(netns, key);
                  if (!owner || found.error().reason() != Reason::kNotFound) return;
                  there->second.watched.children.insert_or_assign(key, *owner);
                  there->second.reconciler.on_sa_gone(now_, key);
                  if (there->second.is_busy()) hint(now_, there->second, Hint::kGone);
                });
  return true;
}

bool Reconciliation::repair(Instant now, const policy::PolicyDisturbed& disturbed) {
  const auto wanted = disturbed.key ? shared_.wanted_policy(disturbed.netns, *disturbed.key) : std::nullopt;
  if (!wanted) return false;
  std::vector<policy::KernelChange> changes;
  changes.emplace_back(policy::UpdatePolicy{*wanted});
  return repair(now, disturbed.netns, std::move(changes));
}

bool Reconciliation::repair(Instant now, const policy::RouteRemoved& removed) {
  std::vector<policy::KernelChange> changes;
  for (const policy::RouteConfig& each : shared_.wanted_routes(removed.netns, removed.destination))
    if (each.metric == removed.metric) changes.emplace_back(policy::AddRoute{each});
  return repair(now, removed.netns, std::move(changes));
}

void Reconciliation::on_event(Instant now, const policy::KernelEvent& event) {
  const auto hint_to = [&](const std::string& netns, Hint what) {
    if (auto it = spaces_.find(netns); it != spaces_.end()) hint(now, it->second, what);
  };
  if (const auto* link = std::get_if<policy::LinkChanged>(&event)) {
    // Links of this and other namespaces may lie over it.
    for (auto& [netns, each] : spaces_) {
      if (!each.watched.undersides.contains({link->netns, link->name})) continue;
      if (link->gone) hint(now, each, Hint::kGone);
      if (!link->gone && each.reconciler.state() == Reconciler::State::kAwaiting) hint(now, each, Hint::kReturned);
    }
    const auto space = spaces_.find(link->netns);
    if (space == spaces_.end()) return;
    if (const auto what = hint_of(*link, space->second)) hint_to(link->netns, *what);
  } else if (const auto* address = std::get_if<policy::AddressRemoved>(&event)) {
    if (const auto space = spaces_.find(address->netns);
        space != spaces_.end() && space->second.watched.addresses.contains(address->address))
      hint_to(address->netns, Hint::kGone);
  } else if (const auto* sa = std::get_if<policy::SaRemoved>(&event)) {
    if (!repair(now, *sa)) hint_to(sa->netns, Hint::kGone);
  } else if (const auto* policy = std::get_if<policy::PolicyDisturbed>(&event)) {
    if (!repair(now, *policy)) hint_to(policy->netns, Hint::kGone);
  } else if (const auto* route = std::get_if<policy::RouteRemoved>(&event)) {
    if (shared_.wants_route(route->netns, route->destination) && !repair(now, *route))
      hint_to(route->netns, Hint::kGone);
  } else if (const auto* rules = std::get_if<policy::PacketRulesDisturbed>(&event)) {
    hint_to(rules->netns, Hint::kGone);
  } else if (const auto* rule = std::get_if<policy::RuleRemoved>(&event)) {
    if (const auto space = spaces_.find(rule->netns); space != spaces_.end() && space->second.watched.has_rules)
      hint_to(rule->netns, Hint::kGone);
  } else if (const auto* gone = std::get_if<policy::NamespaceGone>(&event)) {
    hint_to(gone->netns, Hint::kGone);
  } else if (const auto* resync = std::get_if<policy::ResyncNeeded>(&event)) {
    begin(now, resync->netns);
    const auto space = spaces_.find(resync->netns);
    if (space == spaces_.end()) return;
    const bool waits = space->second.reconciler.state() == Reconciler::State::kAwaiting;
    hint_to(resync->netns, waits ? Hint::kReturned : Hint::kPerhaps);
  }
}

// ---- reading

void Reconciliation::touch(const std::string& netns, const policy::KernelObject& object) {
  const auto space = spaces_.find(netns);
  if (space == spaces_.end() || !space->second.is_busy()) return;
  if (space->second.reading)
    space->second.reading->touch(object);
  else
    space->second.touched.insert(object);
}

void Reconciliation::begin_reading(SpaceEntry& entry) {
  const std::string& netns = entry.first;
  Space& space = entry.second;
  space.reading.emplace(netns,
                        NamespaceReading::Sources{.kernel = queue_.port(),
                                                  .wanted = hooks_.wanted(netns),
                                                  .packet_rules = [this, netns] { return hooks_.packet_rules(netns); },
                                                  .saw_sas =
                                                      [this, netns](const std::vector<policy::SaState>& states) {
                                                        hooks_.saw_sas(netns, ReadPart::kSome, states);
                                                      }});
  space.waiting = std::exchange(space.asked, {});
  space.purpose = space.waiting.empty() ? CompareFor::kRepair : CompareFor::kPeople;
  space.took = Duration{0};
  space.touched.clear();
  space.hint.reset();
  space.expected.clear();
  // What the kernel works on may be seen before or after it. What it worked on already when the last read began has
  // lost its answer.
  const uint64_t before = std::exchange(space.last_id_before, queue_.last_id());
  queue_.for_each_in_flight([&](uint64_t id, const std::string& where, const policy::KernelObject& object) {
    if (id > before && where == netns) space.reading->touch(object);
  });
  hooks_.saw_sas(netns, ReadPart::kBegin, {});
}

void Reconciliation::read_some(Instant now, SpaceEntry& entry, size_t& objects) {
  Space& space = entry.second;
  const bool due = space.reconciler.read_due(now) || !space.asked.empty();
  if (!space.is_busy() && due) begin_reading(entry);
  if (!space.reading) return;
  const Instant begun = hooks_.clock ? hooks_.clock() : Instant{};
  auto progress = NamespaceReading::Progress::kGoesOn;
  while (progress == NamespaceReading::Progress::kGoesOn && objects > 0) {
    size_t work = 0;
    progress = space.reading->step(std::min(objects, kReadStep), work);
    objects -= std::min(objects, work);
    const Duration took = hooks_.clock ? hooks_.clock() - begun : Duration{0};
    if (took >= kReadTurnMax) objects = 0;
  }
  if (hooks_.clock) space.took += hooks_.clock() - begun;
  if (progress == NamespaceReading::Progress::kEnded) hand_over(entry);
}

void Reconciliation::aside(std::function<void()> work, std::function<void()> then) {
  if (hooks_.aside) return hooks_.aside(std::move(work), std::move(then));
  work();
  then();
}

void Reconciliation::hand_over(SpaceEntry& entry) {
  Space& space = entry.second;
  const auto comparison = std::make_shared<Comparison>(space.reading->take());
  space.reading.reset();
  space.comparing = true;
  if (!comparison->failed) hooks_.saw_sas(entry.first, ReadPart::kEnd, {});
  aside([comparison, purpose = space.purpose] { compare(*comparison, purpose); },
        [this, netns = entry.first, comparison]() mutable {
          on_compared(netns, *comparison);
          // Its end takes long, too.
          aside([last = std::move(comparison)]() mutable { last.reset(); }, [] {});
        });
}

void Reconciliation::on_compared(const std::string& netns, Comparison& comparison) {
  const auto entry = spaces_.find(netns);
  if (entry == spaces_.end()) return;
  Space& space = entry->second;
  space.comparing = false;
  if (space.purpose == CompareFor::kPeople)
    answer_drift(now_, *entry, comparison);
  else if (comparison.failed)
    space.reconciler.on_unreadable(now_, *comparison.failed);
  else
    take_difference(now_, space, comparison);
  if (const auto meanwhile = std::exchange(space.hint, {})) space.reconciler.hint(now_, *meanwhile);
}

void Reconciliation::take_difference(Instant now, Space& space, Comparison& comparison) {
  std::swap(space.watched, comparison.watched);  // the one before ends aside
  for (const auto& [name, link] : std::exchange(space.expected, {}))
    if (link)
      space.watched.expect_link(*link);
    else
      space.watched.forget_link(name);
  // What we have changed since is another difference by now.
  std::erase_if(comparison.difference.changes,
                [&](const policy::KernelChange& each) { return space.touched.contains(policy::object_of(each)); });
  std::erase_if(comparison.difference.missing,
                [&](const policy::SaKey& each) { return !space.touched.empty() && space.touched.contains(each); });
  space.reconciler.on_read(now, std::move(comparison.difference), comparison.objects, space.took);
}

void Reconciliation::answer_drift(Instant now, SpaceEntry& entry, Comparison& comparison) {
  Space& space = entry.second;
  NamespaceDrift found{.netns = entry.first,
                       .state = space.reconciler.state(),
                       .obstacle = space.reconciler.obstacle(),
                       .rows = std::make_shared<const std::vector<policy::DriftRow>>(std::move(comparison.rows))};
  if (comparison.failed) found.obstacle = std::move(comparison.failed);
  if (comparison.has_drift) hint(now, space, Hint::kGone);
  for (const auto& request : std::exchange(space.waiting, {})) {
    request->found[entry.first] = found;
    answer_if_complete(*request);
  }
}

void Reconciliation::answer_if_complete(DriftRequest& request) {
  std::vector<NamespaceDrift> all;
  for (const auto& [netns, each] : request.found) {
    if (!each) return;
    all.push_back(*each);
  }
  std::exchange(request.done, {})(std::move(all));
}

void Reconciliation::drift(Instant now, const std::optional<std::string>& netns, DriftDone done) {
  const auto request = std::make_shared<DriftRequest>();
  request->done = std::move(done);
  for (const auto& [name, space] : spaces_)
    if (!netns || name == *netns) request->found.try_emplace(name);
  if (stopped_) return std::exchange(request->done, {})(Error(Reason::kShutdown, "the daemon is stopping"));
  if (request->found.empty()) return answer_if_complete(*request);
  now_ = now;
  size_t objects = kObjectsPerTurn;
  for (auto& entry : spaces_) {
    if (!request->found.contains(entry.first)) continue;
    entry.second.asked.push_back(request);
    if (!held_) read_some(now, entry, objects);
  }
}

void Reconciliation::stop() {
  stopped_ = true;
  std::set<std::shared_ptr<DriftRequest>> open;
  for (const auto& [netns, space] : spaces_)
    for (const auto* requests : {&space.asked, &space.waiting}) open.insert(requests->begin(), requests->end());
  spaces_.clear();
  for (const auto& request : open)
    if (request->done) std::exchange(request->done, {})(Error(Reason::kShutdown, "the daemon is stopping"));
}

void Reconciliation::on_claimed(Instant now, const std::string& netns, const policy::NamespaceState& claimed,
                                size_t objects) {
  const auto space = spaces_.find(netns);
  if (space == spaces_.end()) return;
  hooks_.event(netns_object(netns), Reason::kDriftAdopted, {field("objects", uint64_t{objects})});
  // Nothing may differ of such an interface, so that no change would tell whoever waits for it.
  constexpr uint64_t kOfNoRound = 0;
  const std::map<std::string, policy::LinkConfig>& wanted = space->second.watched.links;
  for (const auto& [name, link] : claimed.links)
    if (const auto there = wanted.find(name); there != wanted.end())
      submit(netns, {.id = kOfNoRound, .change = policy::AddLink{there->second}});
  hint(now, space->second, Hint::kGone);
}

// ---- putting right

void Reconciliation::submit(const std::string& netns, policy::SubmitChange submit) {
  const uint64_t id = submit.id;
  Made made = made_by(submit.change);
  queue_.submit(netns, std::move(submit.change),
                [this, netns, id, made = std::move(made)](Result<policy::KernelReply> result) {
                  if (result.ok() && made.policy) shared_.confirm(netns, *made.policy);
                  if (result.ok() && made.route) shared_.confirm(netns, *made.route);
                  if (result.ok() && !made.link.empty()) hooks_.link_made(made.link);
                  const auto space = spaces_.find(netns);
                  if (space == spaces_.end()) return;
                  const Status status = result.ok() ? Status() : Status(std::move(result).error());
                  space->second.reconciler.on_done(now_, id, status);
                });
}

void Reconciliation::report_mended(const std::string& netns, Space& space, const policy::ChangeText& what) {
  // After a flush of thousands the sum is enough.
  if (++space.told > kMendedTold) return hooks_.count(Reason::kDriftMended);
  hooks_.event(
      netns_object(netns), Reason::kDriftMended,
      {field("kind", std::string(what.kind)), field("name", what.object), field("done", std::string(what.verb))});
}

void Reconciliation::on_repaired(Space& space, const policy::ChangeText& what) {
  space.reconciler.on_repaired(now_, what);
  if (space.is_busy()) hint(now_, space, Hint::kPerhaps);  // a later read confirms it
}

void Reconciliation::act(const std::string& netns, Space& space) {
  std::set<ike::ChildId> asked;
  for (size_t count = 0; count < kActionsPerTurn; ++count) {
    auto action = space.reconciler.poll();
    if (!action) return;
    if (auto* change = std::get_if<policy::SubmitChange>(&*action)) {
      submit(netns, std::move(*change));
    } else if (const auto* replace = std::get_if<policy::ReplaceSa>(&*action)) {
      const auto child = space.watched.children.find(replace->key);
      if (child != space.watched.children.end() && asked.insert(child->second).second)
        hooks_.replace_child(child->second, replace->key, replace->tries);
    } else if (const auto* mended = std::get_if<policy::ReportMended>(&*action)) {
      report_mended(netns, space, mended->what);
    } else if (const auto* stays = std::get_if<policy::ReportStays>(&*action)) {
      hooks_.event(netns_object(netns), Reason::kDriftStays,
                   {field("kind", std::string(stays->what.kind)), field("name", stays->what.object),
                    field("because", std::string(code(stays->why.reason()))), field("detail", stays->why.text())});
    } else if (const auto* waiting = std::get_if<policy::ReportWaiting>(&*action)) {
      hooks_.event(netns_object(netns), Reason::kReconcileWaiting, {field("detail", waiting->why.text())});
    } else if (const auto* synced = std::get_if<policy::ReportSynced>(&*action)) {
      space.told = 0;
      hooks_.event(netns_object(netns), Reason::kReconciled,
                   {field("mended", uint64_t{synced->mended}), field("ms", static_cast<uint64_t>(synced->took / 1ms))});
    }
  }
}

void Reconciliation::run(Instant now) {
  now_ = now;
  if (held_) return;
  size_t objects = kObjectsPerTurn;
  // Behind the one that came last: a large namespace must not use up the turns of the others.
  auto it = spaces_.upper_bound(last_run_);
  for (size_t i = 0; i < spaces_.size(); ++i, ++it) {
    if (it == spaces_.end()) it = spaces_.begin();
    if (objects > 0) last_run_ = it->first;
    it->second.reconciler.tick(now);
    // Read, put right, read back; what takes longer goes on in a later turn.
    for (int rounds = 0; rounds < 3; ++rounds) {
      read_some(now, *it, objects);
      act(it->first, it->second);
      queue_.drain_some(kCompletionsPerTurn, hooks_.clock, kDrainTurnMax);
      act(it->first, it->second);
      if (it->second.is_busy() || !it->second.reconciler.read_due(now)) break;
    }
  }
}

std::optional<Instant> Reconciliation::next_deadline() const {
  std::optional<Instant> next;
  if (held_) return next;
  for (const auto& [netns, space] : spaces_) {
    const bool goes_on = space.reading || space.reconciler.has_actions() || (!space.comparing && !space.asked.empty());
    if (goes_on) return now_;
    const auto each = space.comparing ? std::nullopt : space.reconciler.next_deadline();
    if (each) next = next ? std::min(*next, *each) : *each;
  }
  return next;
}

}  // namespace ipsec::agent
