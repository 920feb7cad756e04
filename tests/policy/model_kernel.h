#pragma once

#include <string>
#include <utility>

#include "policy/diff.h"

namespace ipsec::policy {

/// The kernel's view of a wanted SA.
inline SaState as_installed(const SaKey& key, const DesiredSa& sa) {
  SaState state;
  state.key = key;
  state.source = sa.source;
  state.reqid = sa.reqid;
  state.if_id = sa.if_id;
  state.mode = sa.mode;
  state.direction = sa.direction;
  state.suite = sa.suite;
  state.replay_window = sa.replay_window;
  return state;
}

/// One step; false where a kernel (or our own rule about foreign objects) refuses.
struct Applier {
  ActualNamespace& space;
  const DesiredNamespace* wanted;

  template <typename Map, typename Value>
  static bool add(Map& map, const typename Map::key_type& key, const Value& value) {
    return map.try_emplace(key, typename Map::mapped_type{value, Owner::kOurs}).second;
  }
  template <typename Map>
  static bool remove(Map& map, const typename Map::key_type& key) {
    const auto it = map.find(key);
    if (it == map.end() || it->second.owner == Owner::kForeign) return false;
    map.erase(it);
    return true;
  }

  bool operator()(const InstallSa& step) const {
    return wanted != nullptr && add(space.sas, step.key, as_installed(step.key, wanted->sas.at(step.key)));
  }
  bool operator()(const DeleteSa& step) const { return remove(space.sas, step.key); }
  bool operator()(const AddPolicy& step) const { return add(space.policies, step.policy.key, step.policy); }
  bool operator()(const UpdatePolicy& step) const {
    return remove(space.policies, step.policy.key) && add(space.policies, step.policy.key, step.policy);
  }
  bool operator()(const DeletePolicy& step) const { return remove(space.policies, step.key); }
  bool operator()(const AddLink& step) const { return add(space.links, step.link.name, step.link); }
  bool operator()(const DeleteLink& step) const {
    if (!remove(space.links, step.name)) return false;
    std::erase_if(space.routes, [&](const auto& each) { return each.second.value.device == step.name; });
    return true;
  }
  bool operator()(const AddRoute& step) const {
    return space.links.contains(step.route.device) && add(space.routes, key_of(step.route), step.route);
  }
  bool operator()(const DeleteRoute& step) const { return remove(space.routes, key_of(step.route)); }
};

template <typename Map>
void standing(const Map& wanted, auto& found) {
  for (const auto& [key, value] : wanted) found.insert_or_assign(key, Owned{value, Owner::kOurs});
}

/// A kernel in which exactly the wanted state stands, all of it ours.
inline ActualState as_standing(const DesiredState& desired) {
  ActualState state;
  for (const auto& [netns, wanted] : desired) {
    ActualNamespace& space = state[netns];
    for (const auto& [key, sa] : wanted.sas) space.sas[key] = {as_installed(key, sa), Owner::kOurs};
    standing(wanted.policies, space.policies);
    standing(wanted.links, space.links);
    standing(wanted.routes, space.routes);
  }
  return state;
}

/// What is foreign in a state, as text: must be the same before and after.
inline std::string foreign_of(const ActualState& state) {
  std::string text;
  auto note = [&text](Owner owner, const Step& step) {
    if (owner == Owner::kForeign) text += to_string(step) + "\n";
  };
  for (const auto& [netns, space] : state) {
    for (const auto& [key, sa] : space.sas) note(sa.owner, {netns, DeleteSa{key}});
    for (const auto& [key, policy] : space.policies) note(policy.owner, {netns, DeletePolicy{key}});
    for (const auto& [name, link] : space.links) note(link.owner, {netns, DeleteLink{name}});
    for (const auto& [key, route] : space.routes) note(route.owner, {netns, DeleteRoute{route.value}});
  }
  return text;
}

/// What a kernel does with the steps of a diff: adding never replaces, a link that goes takes its routes along.
class ModelKernel {
 public:
  explicit ModelKernel(ActualState state = {}) : state_(std::move(state)) {}
  /// The first step that this kernel would refuse, as text; nothing when all went in. At most `count` are carried out.
  std::string apply(const Difference& difference, const DesiredState& desired, size_t count = SIZE_MAX);
  const ActualState& state() const { return state_; }
  ActualState& state() { return state_; }

 private:
  ActualState state_;
};

inline std::string ModelKernel::apply(const Difference& difference, const DesiredState& desired, size_t count) {
  for (const Step& step : difference.steps) {
    if (count-- == 0) return {};
    const auto space = state_.find(step.netns);
    const auto wanted = desired.find(step.netns);
    if (space == state_.end() ||
        !std::visit(Applier{space->second, wanted == desired.end() ? nullptr : &wanted->second}, step.change))
      return to_string(step);
  }
  return {};
}

}  // namespace ipsec::policy
