#include "agent/traffic_book.h"

#include <set>

namespace ipsec::agent {

void TrafficBook::saw(const std::string& netns, const std::vector<policy::SaState>& states, const Children& children) {
  struct Owner {
    std::array<Carried, 3>* of_group;
    uint64_t* of_child;  ///< Stays where it is, whatever is added to the map.
  };
  std::map<policy::SaKey, Owner> owners;
  for (const auto& [id, child] : children) {
    const policy::TunnelGroup& group = *child->spec->tunnel->group;
    if (group.public_place.netns != netns || !(child->has_inbound || child->has_outbound)) continue;
    OfGroup& cells = groups_[group.name];
    uint64_t& bytes = by_reqid_[child->ids.reqid];
    if (child->has_inbound) owners.emplace(child->plan.inbound.key, Owner{&cells[0], &bytes});
    if (child->has_outbound) owners.emplace(child->plan.outbound.key, Owner{&cells[1], &bytes});
  }
  std::map<policy::SaKey, Carried>& before = seen_[netns];
  std::map<policy::SaKey, Carried> now;
  for (const policy::SaState& state : states) {
    const auto owner = owners.find(state.key);
    if (owner == owners.end()) continue;
    const Carried carried{.bytes = state.bytes, .packets = state.packets};
    const auto last = before.find(state.key);
    // A smaller number is another SA's under the same key.
    const bool goes_on =
        last != before.end() && last->second.bytes <= carried.bytes && last->second.packets <= carried.packets;
    const Carried known = goes_on ? last->second : Carried{};
    Carried& cell = (*owner->second.of_group)[static_cast<size_t>(state.offload)];
    cell.bytes += carried.bytes - known.bytes;
    *owner->second.of_child += carried.bytes - known.bytes;
    cell.packets += carried.packets - known.packets;
    now.emplace(state.key, carried);
  }
  before = std::move(now);
}

uint64_t TrafficBook::bytes_of(uint32_t reqid) const {
  const auto known = by_reqid_.find(reqid);
  return known != by_reqid_.end() ? known->second : 0;
}

void TrafficBook::keep(const policy::Config& config) {
  std::set<std::string> namespaces;
  for (const auto& [name, group] : config.groups) namespaces.insert(group->public_place.netns);
  std::erase_if(groups_, [&](const auto& each) { return !config.groups.contains(each.first); });
  std::erase_if(seen_, [&](const auto& each) { return !namespaces.contains(each.first); });
}

}  // namespace ipsec::agent
