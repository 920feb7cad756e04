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

void Reconciliation::suspect(Instant now, const std::string& netns) {
  if (auto it = spaces_.find(netns); it != spaces_.end()) it->second.reconciler.hint(now, Hint::kGone);
}

void Reconciliation::Space::forget_link(const std::string& name) {
  const auto known = links.find(name);
  if (known == links.end()) return;
  for (const policy::InterfaceAddress& each : known->second.addresses)
    if (const auto it = addresses.find(each.address); it != addresses.end()) addresses.erase(it);
  links.erase(known);
}

void Reconciliation::expect(const std::string& netns, const policy::LinkConfig& link) {
  const auto space = spaces_.find(netns);
  if (space == spaces_.end() || !space->second.links.contains(link.name)) return;  // the next read tells
  space->second.forget_link(link.name);
  space->second.links.emplace(link.name, link);
  for (const policy::InterfaceAddress& each : link.addresses) space->second.addresses.insert(each.address);
}

void Reconciliation::expect_no_link(const std::string& netns, const std::string& name) {
  if (const auto space = spaces_.find(netns); space != spaces_.end()) space->second.forget_link(name);
}

/// A link of ours that is as it should be, and links that do not concern us, are no sign of anything.
std::optional<Hint> Reconciliation::hint_of(const policy::LinkChanged& change, const Space& space) const {
  if (space.vrfs.contains(change.name)) {
    if (change.gone) return Hint::kGone;
    if (space.reconciler.state() == Reconciler::State::kAwaiting) return Hint::kReturned;
    return std::nullopt;
  }
  if (space.devices.contains(change.name)) {
    if (change.up && !change.gone) return std::nullopt;
    return Hint::kGone;
  }
  const auto wanted = space.links.find(change.name);
  if (wanted == space.links.end()) return std::nullopt;
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
  if (space == spaces_.end() || changes.empty() || !space->second.reconciler.may_repair(now)) return false;
  for (policy::KernelChange& change : changes) {
    auto done = [this, netns, what = policy::change_text(change),
                 made = made_by(change)](const Result<policy::KernelReply>& result) {
      if (result.ok() && made.policy) shared_.confirm(netns, *made.policy);
      if (result.ok() && made.route) shared_.confirm(netns, *made.route);
      const auto there = spaces_.find(netns);
      if (there == spaces_.end()) return;
      if (result.ok())
        there->second.reconciler.on_repaired(now_, what);
      else
        there->second.reconciler.hint(now_, Hint::kGone);
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
                  there->second.children.insert_or_assign(key, *owner);
                  there->second.reconciler.on_sa_gone(now_, key);
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
  const auto hint = [&](const std::string& netns, Hint what) {
    if (auto it = spaces_.find(netns); it != spaces_.end()) it->second.reconciler.hint(now, what);
  };
  if (const auto* link = std::get_if<policy::LinkChanged>(&event)) {
    // Links of this and other namespaces may lie over it.
    for (auto& [netns, each] : spaces_) {
      if (!each.undersides.contains({link->netns, link->name})) continue;
      if (link->gone) each.reconciler.hint(now, Hint::kGone);
      if (!link->gone && each.reconciler.state() == Reconciler::State::kAwaiting)
        each.reconciler.hint(now, Hint::kReturned);
    }
    const auto space = spaces_.find(link->netns);
    if (space == spaces_.end()) return;
    if (const auto what = hint_of(*link, space->second)) hint(link->netns, *what);
  } else if (const auto* address = std::get_if<policy::AddressRemoved>(&event)) {
    if (const auto space = spaces_.find(address->netns);
        space != spaces_.end() && space->second.addresses.contains(address->address))
      hint(address->netns, Hint::kGone);
  } else if (const auto* sa = std::get_if<policy::SaRemoved>(&event)) {
    if (!repair(now, *sa)) hint(sa->netns, Hint::kGone);
  } else if (const auto* policy = std::get_if<policy::PolicyDisturbed>(&event)) {
    if (!repair(now, *policy)) hint(policy->netns, Hint::kGone);
  } else if (const auto* route = std::get_if<policy::RouteRemoved>(&event)) {
    if (shared_.wants_route(route->netns, route->destination) && !repair(now, *route)) hint(route->netns, Hint::kGone);
  } else if (const auto* rules = std::get_if<policy::PacketRulesDisturbed>(&event)) {
    hint(rules->netns, Hint::kGone);
  } else if (const auto* rule = std::get_if<policy::RuleRemoved>(&event)) {
    if (const auto space = spaces_.find(rule->netns); space != spaces_.end() && space->second.has_rules)
      hint(rule->netns, Hint::kGone);
  } else if (const auto* gone = std::get_if<policy::NamespaceGone>(&event)) {
    hint(gone->netns, Hint::kGone);
  } else if (const auto* resync = std::get_if<policy::ResyncNeeded>(&event)) {
    begin(now, resync->netns);
    const auto space = spaces_.find(resync->netns);
    if (space == spaces_.end()) return;
    const bool waits = space->second.reconciler.state() == Reconciler::State::kAwaiting;
    hint(resync->netns, waits ? Hint::kReturned : Hint::kPerhaps);
  }
}

// ---- reading

Result<policy::StandingState> Reconciliation::read(const std::string& netns, Desired& desired) {
  policy::KernelPort& kernel = queue_.port();
  TRY(kernel.watch(netns), "");
  // Wanted is what was so when the reading began: the answers to what is still under way come after it.
  desired = hooks_.desired(netns);
  policy::StandingState standing;
  const auto side = [&](const auto& object) -> policy::NamespaceState& {
    return kernel.owns(netns, object) ? standing.ours : standing.foreign;
  };
  TRY_ASSIGN(const auto links, kernel.dump_links(netns), "");
  for (const policy::LinkConfig& each : links) {
    policy::NamespaceState& owner = side(each);
    if (each.kind != policy::LinkKind::kVrf || &owner == &standing.ours)
      owner.add(each);
    else  // An operator's serves as it is, and is nobody's business where none is wanted.
      desired.state.links.erase(each.name);
    if (each.kind == policy::LinkKind::kVrf && policy::has_own_mark(each)) owner.add(each);
  }
  TRY_ASSIGN(const auto policies, kernel.dump_policies(netns), "");
  for (const policy::PolicyConfig& each : policies) side(each).add(each);
  TRY_ASSIGN(const auto routes, kernel.dump_routes(netns), "");
  for (const policy::RouteConfig& each : routes) side(each).add(each);
  TRY_ASSIGN(const auto packet_rules, kernel.dump_packet_rules(netns), "");
  side(packet_rules).add(packet_rules);
  TRY_ASSIGN(const auto rules, kernel.dump_rules(netns), "");
  for (const policy::RuleConfig& each : rules) side(each).add(each);
  TRY_ASSIGN(const auto sas, kernel.dump_sas(netns), "");
  for (const policy::SaState& each : sas)
    if (!each.larval && !desired.under_way.contains(each.key))
      side(each).sas.emplace(each.key, policy::SaIdentity::of(each));
  hooks_.saw_sas(netns, sas);
  return standing;
}

void Reconciliation::read_and_compare(Instant now, const std::string& netns, Space& space) {
  Desired desired;
  const Instant begun = hooks_.clock ? hooks_.clock() : Instant{};
  auto standing = read(netns, desired);
  if (!standing.ok()) return space.reconciler.on_unreadable(now, standing.error());
  space.links = desired.state.links;
  space.children = std::move(desired.children);
  space.devices = std::move(desired.devices);
  space.vrfs.clear();
  space.undersides.clear();
  space.addresses.clear();
  for (const auto& [name, link] : space.links)
    for (const policy::InterfaceAddress& each : link.addresses) space.addresses.insert(each.address);
  for (const auto& [name, link] : space.links)
    if (!link.public_device.empty()) space.undersides.emplace(link.public_netns, link.public_device);
  for (const auto& [name, link] : space.links)
    if (!link.vrf.empty()) space.vrfs.insert(link.vrf);
  for (const auto& [rule, same] : desired.state.rules)
    if (!rule.vrf.empty()) space.vrfs.insert(rule.vrf);
  for (const auto& [name, link] : space.links)
    if (link.kind == policy::LinkKind::kVrf) space.vrfs.insert(name);
  const policy::NamespaceState& wanted = desired.state;
  space.has_rules = !wanted.rules.empty();
  const size_t objects =
      wanted.links.size() + wanted.policies.size() + wanted.routes.size() + wanted.rules.size() + wanted.sas.size();
  auto difference = policy::diff(wanted, standing->ours);
  const Duration took = hooks_.clock ? hooks_.clock() - begun : Duration{0};
  space.reconciler.on_read(now, std::move(difference), objects, took);
}

std::vector<NamespaceDrift> Reconciliation::drift(Instant now, const std::optional<std::string>& netns) {
  std::vector<NamespaceDrift> all;
  for (auto& [name, space] : spaces_) {
    if (netns && name != *netns) continue;
    NamespaceDrift found{.netns = name, .rows = {}};
    Desired desired;
    auto standing = read(name, desired);
    // Of a namespace that cannot be read all that is wanted is missing.
    if (!standing.ok()) desired = hooks_.desired(name);
    found.rows = policy::drift(name, desired.state, standing.ok() ? *standing : policy::StandingState{});
    found.state = space.reconciler.state();
    found.obstacle = space.reconciler.obstacle();
    if (!standing.ok()) found.obstacle = std::move(standing).error();
    if (policy::has_drift(found.rows)) space.reconciler.hint(now, Hint::kGone);
    all.push_back(std::move(found));
  }
  return all;
}

void Reconciliation::on_claimed(Instant now, const std::string& netns, const policy::NamespaceState& claimed,
                                size_t objects) {
  const auto space = spaces_.find(netns);
  if (space == spaces_.end()) return;
  hooks_.event(netns_object(netns), Reason::kDriftAdopted, {field("objects", uint64_t{objects})});
  // Nothing may differ of such an interface, so that no change would tell whoever waits for it.
  constexpr uint64_t kOfNoRound = 0;
  const policy::NamespaceState wanted = hooks_.desired(netns).state;
  for (const auto& [name, link] : claimed.links)
    if (const auto there = wanted.links.find(name); there != wanted.links.end())
      submit(netns, {.id = kOfNoRound, .change = policy::AddLink{there->second}});
  space->second.reconciler.hint(now, Hint::kGone);
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

void Reconciliation::act(const std::string& netns, Space& space) {
  std::set<ike::ChildId> asked;
  while (auto action = space.reconciler.poll()) {
    if (auto* change = std::get_if<policy::SubmitChange>(&*action)) {
      submit(netns, std::move(*change));
    } else if (const auto* replace = std::get_if<policy::ReplaceSa>(&*action)) {
      const auto child = space.children.find(replace->key);
      if (child != space.children.end() && asked.insert(child->second).second)
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
  for (auto& [netns, space] : spaces_) {
    space.reconciler.tick(now);
    // Read, put right, read back; what takes longer goes on in a later round.
    for (int rounds = 0; rounds < 3; ++rounds) {
      if (space.reconciler.read_due(now)) read_and_compare(now, netns, space);
      act(netns, space);
      queue_.drain();
      act(netns, space);
      if (!space.reconciler.read_due(now)) break;
    }
  }
}

std::optional<Instant> Reconciliation::next_deadline() const {
  std::optional<Instant> next;
  for (const auto& [netns, space] : spaces_)
    if (const auto each = space.reconciler.next_deadline()) next = next ? std::min(*next, *each) : *each;
  return next;
}

}  // namespace ipsec::agent
