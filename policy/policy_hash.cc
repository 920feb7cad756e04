#include "policy/policy_hash.h"

#include <array>
#include <numeric>

namespace ipsec::policy {
namespace {

/// How many selectors there are of each prefix length.
class Lengths {
 public:
  void add(const IpPrefix& prefix) {
    ++counts_[prefix.length];
    ++all_;
  }
  size_t all() const { return all_; }
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

std::optional<PolicyHash> plan_policy_hash(const Config& config, const std::string& public_netns) {
  Side local, remote;
  for (const auto& [name, tunnel] : config.tunnels) {
    if (!tunnel->group->enabled || tunnel->group->public_place.netns != public_netns) continue;
    for (const ChildConfig& child : tunnel->children) {
      local.add(child.local);
      remote.add(child.remote);
    }
  }
  if (local.v4.all() + local.v6.all() == 0) return std::nullopt;
  const PolicyHash kernels;
  return PolicyHash{.local_v4 = local.v4.threshold(kernels.local_v4),
                    .remote_v4 = remote.v4.threshold(kernels.remote_v4),
                    .local_v6 = local.v6.threshold(kernels.local_v6),
                    .remote_v6 = remote.v6.threshold(kernels.remote_v6)};
}

}  // namespace ipsec::policy
