#include "hwoffload/verify.h"

namespace ipsec::hwoffload {

std::vector<policy::SaKey> CounterWatch::observe(const std::string& netns, uint64_t out_no_states,
                                                 const std::vector<Sample>& offloaded) {
  std::vector<policy::SaKey> suspects;
  auto [it, first] = before_.try_emplace(netns, Before{out_no_states, {}});
  Before& before = it->second;
  const bool drops_rose = !first && out_no_states > before.out_no_states;
  std::map<policy::SaKey, uint64_t> seen;
  for (const Sample& sample : offloaded) {
    auto known = before.packets.find(sample.key);
    if (drops_rose && known != before.packets.end() && known->second == sample.packets) suspects.push_back(sample.key);
    seen.emplace(sample.key, sample.packets);
  }
  before.out_no_states = out_no_states;
  before.packets = std::move(seen);
  return suspects;
}

}  // namespace ipsec::hwoffload
