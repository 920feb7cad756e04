#include "hwoffload/verify.h"

namespace ipsec::hwoffload {

std::vector<policy::SaKey> CounterWatch::observe(const std::string& netns, uint64_t out_drops,
                                                 const std::vector<Sample>& offloaded) {
  std::vector<policy::SaKey> suspects;
  auto [it, first] = before_.try_emplace(netns, Before{out_drops, {}});
  Before& before = it->second;
  const bool drops_rose = !first && out_drops > before.out_drops;
  std::map<policy::SaKey, uint64_t> seen;
  for (const Sample& sample : offloaded) {
    auto known = before.packets.find(sample.key);
    if (drops_rose && known != before.packets.end() && known->second == sample.packets) suspects.push_back(sample.key);
    seen.emplace(sample.key, sample.packets);
  }
  before.out_drops = out_drops;
  before.packets = std::move(seen);
  return suspects;
}

bool OfferedWatch::stands_still(const policy::SaKey& key, uint64_t packets) {
  const auto [it, fresh] = seen_.try_emplace(key, Seen{packets, {}});
  if (fresh || it->second.packets == packets) return true;  // one that never moved has nothing to compare with
  it->second = {packets, {}};
  return false;
}

bool OfferedWatch::was_offered(const policy::SaKey& key, uint64_t packets) {
  const auto it = seen_.find(key);
  if (it == seen_.end()) return false;
  std::optional<uint64_t>& before = it->second.offered;
  if (before && packets >= *before) return packets - *before >= kEnough;
  before = packets;
  return false;
}

void OfferedWatch::forget_all_but(const std::set<policy::SaKey>& keys) {
  std::erase_if(seen_, [&](const auto& each) { return !keys.contains(each.first); });
}

}  // namespace ipsec::hwoffload
