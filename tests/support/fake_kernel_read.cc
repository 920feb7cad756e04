#include <algorithm>
#include <optional>

#include "tests/support/fake_kernel.h"

namespace ipsec::testing {

using namespace ipsec::policy;

namespace {

Error no_namespace(const std::string& netns) {
  return Error(Reason::kNamespaceMissing, "there is no namespace \"" + netns + "\"", ENOENT);
}

/// Goes from key to key of the maps, so that objects may come and go meanwhile.
class FakeRead final : public NamespaceRead {
 public:
  FakeRead(FakeKernel& kernel, std::string netns) : kernel_(kernel), netns_(std::move(netns)) {}

  Result<More> next(std::vector<StandingObject>& objects, size_t most) override {
    if (!kernel_.has_namespace(netns_)) return no_namespace(netns_);
    const FakeKernel::Namespace& space = kernel_.in(netns_);
    size_t left = std::max<size_t>(most, 1);
    const auto config = [](const auto& each) { return StandingObject(each.config); };
    while (left > 0 && phase_ != kEnd) {
      switch (phase_) {
        case kLinks: part(space.links, last_link_, config, objects, left); break;
        case kPolicies: part(space.policies, last_policy_, config, objects, left); break;
        case kRoutes: part(space.routes, last_route_, config, objects, left); break;
        case kPacketRules: take_packet_rules(space, objects, left); break;
        case kRules: take_rules(space, objects, left); break;
        case kSas:
          if (!last_sa_ && !std::exchange(noted_, true)) kernel_.note_read();
          part(
              space.sas, last_sa_, [](const auto& each) { return StandingObject(each.state); }, objects, left);
          break;
        case kEnd: break;
      }
    }
    kernel_.note_read_objects(objects.size());
    return phase_ == kEnd ? More::kNo : More::kYes;
  }

 private:
  enum Phase : uint8_t { kLinks, kPolicies, kRoutes, kPacketRules, kRules, kSas, kEnd };

  void next_phase() { phase_ = static_cast<Phase>(phase_ + 1); }
  template <typename Map, typename ObjectOf>
  void part(const Map& map, std::optional<typename Map::key_type>& last, ObjectOf object_of,
            std::vector<StandingObject>& objects, size_t& left) {
    auto it = last ? map.upper_bound(*last) : map.begin();
    for (; it != map.end() && left > 0; ++it, --left) {
      objects.push_back(object_of(it->second));
      last = it->first;
    }
    if (it == map.end()) next_phase();
  }
  void take_packet_rules(const FakeKernel::Namespace& space, std::vector<StandingObject>& objects, size_t& left) {
    objects.emplace_back(kernel_.owns(netns_, space.packet_rules) ? space.packet_rules : PacketRules{});
    --left;
    next_phase();
  }
  void take_rules(const FakeKernel::Namespace& space, std::vector<StandingObject>& objects, size_t& left) {
    for (const auto& [rule, maker] : space.rules) objects.emplace_back(rule);
    left -= std::min(left, space.rules.size());
    next_phase();
  }

  FakeKernel& kernel_;
  std::string netns_;
  Phase phase_ = kLinks;
  bool noted_ = false;
  std::optional<std::string> last_link_;
  std::optional<PolicyKey> last_policy_;
  std::optional<FakeKernel::RouteKey> last_route_;
  std::optional<SaKey> last_sa_;
};

}  // namespace

Result<std::unique_ptr<NamespaceRead>> FakeKernel::begin_read(const std::string& netns) {
  flush();
  if (!has_namespace(netns)) return no_namespace(netns);
  return std::unique_ptr<NamespaceRead>(std::make_unique<FakeRead>(*this, netns));
}

}  // namespace ipsec::testing
