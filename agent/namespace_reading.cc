#include "agent/namespace_reading.h"

#include <type_traits>
#include <utility>
#include <variant>

#include "policy/diff.h"
#include "policy/limits.h"
#include "policy/marks.h"

namespace ipsec::agent {

void WatchedObjects::forget_link(const std::string& name) {
  const auto known = links.find(name);
  if (known == links.end()) return;
  for (const policy::InterfaceAddress& each : known->second.addresses)
    if (const auto it = addresses.find(each.address); it != addresses.end()) addresses.erase(it);
  links.erase(known);
}

void WatchedObjects::expect_link(const policy::LinkConfig& link) {
  if (!links.contains(link.name)) return;  // the next read finds it
  forget_link(link.name);
  links.emplace(link.name, link);
  for (const policy::InterfaceAddress& each : link.addresses) addresses.insert(each.address);
}

namespace {

size_t size_of(const policy::NamespaceState& state) {
  return state.links.size() + state.policies.size() + state.routes.size() + state.rules.size() + state.sas.size();
}

WatchedObjects watched_of(Desired& desired) {
  WatchedObjects watched;
  watched.has_rules = !desired.state.rules.empty();
  watched.links = desired.state.links;
  watched.children = std::move(desired.children);
  watched.devices = std::move(desired.devices);
  for (const auto& [name, link] : watched.links) {
    for (const policy::InterfaceAddress& each : link.addresses) watched.addresses.insert(each.address);
    if (!link.public_device.empty()) watched.undersides.emplace(link.public_netns, link.public_device);
    if (!link.vrf.empty()) watched.vrfs.insert(link.vrf);
    if (link.kind == policy::LinkKind::kVrf) watched.vrfs.insert(name);
  }
  for (const auto& [rule, same] : desired.state.rules)
    if (!rule.vrf.empty()) watched.vrfs.insert(rule.vrf);
  return watched;
}

struct EraseFrom {
  policy::NamespaceState& state;
  void operator()(const policy::AllPacketRules&) const {}  // read and wanted at the same moment
  void operator()(const policy::LinkName& link) const { state.links.erase(link.name); }
  void operator()(const policy::PolicyKey& key) const { state.policies.erase(key); }
  void operator()(const policy::RouteKey& key) const { state.routes.erase(key); }
  void operator()(const policy::RuleConfig& rule) const { state.rules.erase(rule); }
  void operator()(const policy::SaKey& key) const { state.sas.erase(key); }
};

void leave_out_touched(Comparison& comparison) {
  for (const policy::KernelObject& each : comparison.touched)
    for (policy::NamespaceState* state :
         {&comparison.desired.state, &comparison.standing.ours, &comparison.standing.foreign})
      std::visit(EraseFrom{*state}, each);
}

}  // namespace

void compare(Comparison& comparison, CompareFor purpose) {
  const policy::NamespaceState& wanted = comparison.desired.state;
  comparison.objects = size_of(wanted);
  comparison.watched = watched_of(comparison.desired);
  leave_out_touched(comparison);
  if (purpose == CompareFor::kPeople) {
    comparison.rows = policy::drift(comparison.netns, wanted, comparison.standing);
    comparison.has_drift = policy::has_drift(comparison.rows);
    return;
  }
  comparison.difference = policy::diff(wanted, comparison.standing.ours);
  std::vector<policy::KernelChange>& changes = comparison.difference.changes;
  if (changes.size() <= policy::kChangesPerRound) return;
  comparison.difference.more = changes.size() - policy::kChangesPerRound;
  changes.erase(changes.begin() + policy::kChangesPerRound, changes.end());
}

NamespaceReading::NamespaceReading(std::string netns, Sources sources) : sources_(std::move(sources)) {
  found_.netns = std::move(netns);
}

NamespaceReading::Progress NamespaceReading::step(size_t most, size_t& work) {
  constexpr size_t kLeast = 50;  // a piece of a dump holds about so many objects
  work = kLeast;
  switch (phase_) {
    case Phase::kBegin:
      if (Status watched = sources_.kernel.watch(found_.netns); !watched.ok())
        found_.failed = std::move(watched).error();
      phase_ = Phase::kWanted;
      break;
    case Phase::kWanted:
      if (collect_some(most, work) == WantedSource::More::kYes) break;
      phase_ = found_.failed ? Phase::kEnded : Phase::kOpen;
      if (found_.failed) found_.desired.state.add(sources_.packet_rules());
      break;
    case Phase::kOpen:
    case Phase::kRead: {
      Status read = read_some(most, work);
      if (read.ok()) break;
      found_.failed = std::move(read).error();
      found_.standing = {};
      found_.desired.state.add(sources_.packet_rules());
      phase_ = Phase::kEnded;
      break;
    }
    case Phase::kEnded: break;
  }
  return phase_ == Phase::kEnded ? Progress::kEnded : Progress::kGoesOn;
}

WantedSource::More NamespaceReading::collect_some(size_t most, size_t& work) {
  const size_t before = size_of(found_.desired.state);
  const WantedSource::More more = sources_.wanted->collect(found_.desired, most);
  work += size_of(found_.desired.state) - before;
  return more;
}

Status NamespaceReading::read_some(size_t most, size_t& work) {
  if (phase_ == Phase::kOpen) {
    TRY_ASSIGN(found_.finished, sources_.kernel.begin_read(found_.netns), "");
    phase_ = Phase::kRead;
  }
  std::vector<policy::StandingObject> objects;
  TRY_ASSIGN(const auto more, found_.finished->next(objects, most), "");
  work += objects.size();
  std::vector<policy::SaState> sas;
  for (policy::StandingObject& each : objects) sort_in(std::move(each), sas);
  if (!sas.empty()) sources_.saw_sas(sas);
  if (more == policy::NamespaceRead::More::kNo) phase_ = Phase::kEnded;
  return {};
}

void NamespaceReading::sort_in(policy::StandingObject object, std::vector<policy::SaState>& sas) {
  std::visit(
      [&](auto& each) {
        using Object = std::remove_cvref_t<decltype(each)>;
        const bool ours = sources_.kernel.owns(found_.netns, each);
        policy::NamespaceState& side = ours ? found_.standing.ours : found_.standing.foreign;
        if constexpr (std::is_same_v<Object, policy::SaState>) {
          if (!each.larval && !found_.desired.under_way.contains(each.key))
            side.sas.emplace(each.key, policy::SaIdentity::of(each));
          sas.push_back(std::move(each));
        } else if constexpr (std::is_same_v<Object, policy::LinkConfig>) {
          if (each.kind != policy::LinkKind::kVrf || ours)
            side.add(each);
          else  // An operator's serves as it is, and is nobody's business where none is wanted.
            found_.desired.state.links.erase(each.name);
          if (each.kind == policy::LinkKind::kVrf && !ours && policy::has_own_mark(each)) side.add(each);
        } else {
          if constexpr (std::is_same_v<Object, policy::PacketRules>) found_.desired.state.add(sources_.packet_rules());
          side.add(each);
        }
      },
      object);
}

}  // namespace ipsec::agent
