#include "agent/traffic_book.h"

#include <set>

namespace ipsec::agent {

void TrafficBook::saw(const std::string& netns, const std::vector<policy::SaState>& states,
                      const ChildInstaller& installer) {
  Seen& seen = seen_[netns];
  for (const policy::SaState& state : states) {
    for (const ike::ChildId id : installer.children_of(netns, state.key)) {
      const InstalledChild& child = *installer.children().find(id)->second;
      const bool in = child.plan.inbound.key == state.key;
      if (in ? !child.has_inbound : !child.has_outbound) continue;
      const Carried carried{.bytes = state.bytes, .packets = state.packets};
      Seen::Sa& last = seen.sas[state.key];
      // A smaller number is another SA's under the same key.
      const bool goes_on = last.carried.bytes <= carried.bytes && last.carried.packets <= carried.packets;
      const Carried known = goes_on ? last.carried : Carried{};
      Carried& cell = groups_[child.spec->tunnel->group->name][in ? 0 : 1][static_cast<size_t>(state.offload)];
      cell.bytes += carried.bytes - known.bytes;
      by_reqid_[child.ids.reqid] += carried.bytes - known.bytes;
      cell.packets += carried.packets - known.packets;
      last = {.carried = carried, .read = seen.read};
      break;
    }
  }
}

void TrafficBook::end_read(const std::string& netns) {
  Seen& seen = seen_[netns];
  std::erase_if(seen.sas, [&](const auto& each) { return each.second.read != seen.read; });
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
