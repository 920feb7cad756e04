#include "agent/offload_needs.h"

#include <algorithm>

#include "policy/packet_rules.h"

namespace ipsec::agent {
namespace {

constexpr uint8_t kTcp = 6, kUdp = 17;

bool covers(const policy::SelectorList& selectors, const IpAddress& address) {
  return std::ranges::any_of(selectors, [&](const policy::TrafficSelector& each) {
    return each.addresses.first.family() == address.family() && each.addresses.contains(address);
  });
}

bool hard_only(const policy::VolumeLimits& volume) {
  return (volume.hard_bytes != 0 && volume.soft_bytes == 0) || (volume.hard_packets != 0 && volume.soft_packets == 0);
}

/// The first transform of each type of our first proposal.
policy::EspSuite first_suite(const std::vector<policy::Proposal>& proposals) {
  policy::EspSuite suite;
  if (proposals.empty()) return suite;
  const policy::Transform* cipher = proposals.front().first(policy::TransformType::kEncryption);
  const policy::Transform* integrity = proposals.front().first(policy::TransformType::kIntegrity);
  const policy::Transform* esn = proposals.front().first(policy::TransformType::kEsn);
  if (cipher != nullptr) suite.encryption = cipher->id, suite.key_bits = cipher->key_bits;
  if (integrity != nullptr) suite.integrity = integrity->id;
  suite.esn = esn != nullptr && esn->id == policy::kEsn;
  return suite;
}

}  // namespace

hwoffload::SaNeeds needs_of(const policy::ChildSpec& spec, const policy::ChildPlan& plan, policy::Direction direction) {
  const Family outer = spec.local_endpoint.address.family();
  const policy::SaConfig& sa = direction == policy::Direction::kIn ? plan.inbound : plan.outbound;
  const auto any = [&](auto&& is) {
    return std::ranges::any_of(spec.local, is) || std::ranges::any_of(spec.remote, is);
  };
  return {.direction = direction,
          .suite = spec.suite,
          .mode = spec.mode,
          .replay_window = sa.replay_window,
          .has_if_id = sa.if_id != 0,
          .udp_encapsulation = spec.udp_encapsulation,
          .rules_for_outer = policy::goes_by_rules(*spec.tunnel->child(spec.child)->policy),
          .outer = outer,
          .covers_outer =
              covers(spec.local, spec.local_endpoint.address) && covers(spec.remote, spec.remote_endpoint.address),
          .inner_other_family = any([&](const auto& each) { return each.addresses.first.family() != outer; }),
          .other_protocols = any(
              [](const auto& each) { return each.protocol != 0 && each.protocol != kTcp && each.protocol != kUdp; }),
          .hard_volume_only = hard_only(sa.volume)};
}

Result<std::shared_ptr<const policy::ChildSpec>> expected_spec(const std::shared_ptr<const policy::Tunnel>& tunnel,
                                                               const policy::ChildConfig& child) {
  const auto local = tunnel->local_address();
  if (!local || !tunnel->remote)
    return Error(Reason::kNotFound, "the peer's address is not known before it comes: tunnel " + tunnel->name);
  auto spec = std::make_shared<policy::ChildSpec>();
  spec->tunnel = tunnel;
  spec->child = child.name;
  spec->suite = first_suite(child.policy->proposals);
  spec->mode = child.policy->mode;
  spec->local = child.local;
  spec->remote = child.remote;
  spec->local_endpoint = {*local, 500};
  spec->remote_endpoint = {*tunnel->remote, tunnel->remote_port};
  spec->initiator = true;
  return std::shared_ptr<const policy::ChildSpec>(std::move(spec));
}

}  // namespace ipsec::agent
