#include "policy/policy_hash.h"

#include <array>

namespace ipsec::policy {
namespace {

/// How many selectors there are of each prefix length.
class Lengths {
 public:
  void add(const IpPrefix& prefix) {
    ++counts_[prefix.length];
    ++all_;
  }
  uint8_t threshold(uint8_t otherwise) const {
    constexpr size_t kShorterPercent = 5;
    size_t shorter = 0;
    for (uint8_t length = 0; length < counts_.size(); ++length) {
      shorter += counts_[length];
      if (shorter * 100 > all_ * kShorterPercent) return length;
    }
    return otherwise;
  }

 private:
  std::array<size_t, 129> counts_{};
  size_t all_ = 0;
};

struct Side {
  Lengths v4, v6;
  void add(const SelectorList& selectors) {
    for (const TrafficSelector& each : selectors)
      for (const IpPrefix& prefix : each.addresses.prefixes()) (prefix.address.is_v4() ? v4 : v6).add(prefix);
  }
};

}  // namespace

std::map<std::string, PolicyHash> plan_policy_hashes(const Config& config) {
  struct Sides {
    Side local, remote;
  };
  std::map<std::string, Sides> all;
  for (const auto& [name, tunnel] : config.tunnels) {
    if (!tunnel->group->enabled) continue;
    for (const ChildConfig& child : tunnel->children) {
      Sides& sides = all[tunnel->group->public_place.netns];
      sides.local.add(child.local);
      sides.remote.add(child.remote);
    }
  }
  const PolicyHash kernels;
  std::map<std::string, PolicyHash> hashes;
  for (const auto& [netns, sides] : all)
    hashes[netns] = {.local_v4 = sides.local.v4.threshold(kernels.local_v4),
                     .remote_v4 = sides.remote.v4.threshold(kernels.remote_v4),
                     .local_v6 = sides.local.v6.threshold(kernels.local_v6),
                     .remote_v6 = sides.remote.v6.threshold(kernels.remote_v6)};
  return hashes;
}

}  // namespace ipsec::policy
