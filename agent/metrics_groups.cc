#include "agent/metrics_groups.h"

#include <array>
#include <map>
#include <string_view>

#include "agent/orphans_json.h"
#include "agent/sa_json.h"

namespace ipsec::agent {
namespace {

using metrics::Exposition;
using metrics::MetricFamily;
using policy::Direction;
using policy::OffloadKind;
using policy::OffloadMode;

constexpr std::array kDirections = {Direction::kIn, Direction::kOut};
constexpr std::array kKinds = {OffloadKind::kNone, OffloadKind::kCrypto, OffloadKind::kPacket};
constexpr std::array kModes = {OffloadMode::kNone, OffloadMode::kCrypto, OffloadMode::kPacket, OffloadMode::kAuto};

using ByState = std::map<std::string_view, uint64_t>;
using ByKind = std::array<uint64_t, kKinds.size()>;

/// One group. All states are there from the start: of what is looked at, none is a known 0.
struct GroupCounts {
  ByState tunnels{{"up", 0}, {"establishing", 0}, {"idle", 0}, {"failed", 0}, {"down", 0}, {"disabled", 0}};
  ByState ike_sas{{"established", 0}, {"ending", 0}};
  ByState children{{"establishing", 0}, {"up", 0}, {"replacing", 0}, {"replaced", 0}, {"orphaned", 0}};
  std::array<bool, kModes.size()> wanted{};  ///< By tunnels.
  std::array<std::array<ByKind, kModes.size()>, kDirections.size()> sas{};
  std::array<std::map<Reason, uint64_t>, kDirections.size()> reasons;
};

/// By name. Most neighbours are of one group, so the last one found is tried first.
class Groups {
 public:
  explicit Groups(const policy::Config& config) {
    for (const auto& [name, group] : config.groups) counts_.try_emplace(name);
  }
  /// Nothing: not in the configuration any more.
  GroupCounts* find(const policy::TunnelGroup& group) {
    if (last_ != nullptr && last_name_ == group.name) return last_;
    const auto it = counts_.find(group.name);
    if (it == counts_.end()) return nullptr;
    last_name_ = it->first;
    return last_ = &it->second;
  }
  const std::map<std::string, GroupCounts, std::less<>>& all() const { return counts_; }

 private:
  std::map<std::string, GroupCounts, std::less<>> counts_;
  GroupCounts* last_ = nullptr;
  std::string_view last_name_;
};

void count_tunnels(const TunnelManager& manager, Groups& groups) {
  for (const auto& [name, row] : manager.tunnels()) {
    GroupCounts* counts = groups.find(*row.tunnel->group);
    if (counts == nullptr) continue;
    ++counts->tunnels[TunnelManager::state_of(row)];
    counts->wanted[static_cast<size_t>(row.tunnel->offload_mode())] = true;
  }
  for (const auto& [id, row] : manager.ike_sas()) {
    if (!row.view) continue;
    const auto tunnel = manager.tunnels().find(row.tunnel);
    GroupCounts* counts = tunnel != manager.tunnels().end() ? groups.find(*tunnel->second.tunnel->group) : nullptr;
    if (counts != nullptr) ++counts->ike_sas[row.stage == IkeRow::Stage::kEnding ? "ending" : "established"];
  }
}

void count_children(const TunnelManager& manager, Groups& groups) {
  for (const auto& [id, child] : manager.installer().children()) {
    GroupCounts* counts = groups.find(*child->spec->tunnel->group);
    if (counts == nullptr) continue;
    ++counts->children[state_of(*child, manager.predecessor_of(id) != nullptr)];
    for (const Direction direction : kDirections) {
      const bool in = direction == Direction::kIn;
      if (!(in ? child->has_inbound : child->has_outbound)) continue;
      const hwoffload::Effective& effective = in ? child->inbound : child->outbound;
      const auto wanted = static_cast<size_t>(effective.requested);
      counts->wanted[wanted] = true;
      ++counts->sas[static_cast<size_t>(direction)][wanted][static_cast<size_t>(effective.kind)];
      ++counts->reasons[static_cast<size_t>(direction)][effective.reason];
    }
  }
  for (const auto& [reqid, kept] : manager.orphans().children()) {
    const auto tunnel = manager.tunnels().find(kept.child.tunnel);
    GroupCounts* counts = tunnel != manager.tunnels().end() ? groups.find(*tunnel->second.tunnel->group) : nullptr;
    if (counts != nullptr) ++counts->children[state_of(kept)];
  }
}

void add_states(MetricFamily family, std::string_view group, const ByState& counts, Exposition& out) {
  for (const auto& [state, count] : counts) out.set(family, {group, state}, count);
}

void add_sas(std::string_view group, const GroupCounts& counts, Exposition& out) {
  for (const Direction direction : kDirections) {
    const auto& sas = counts.sas[static_cast<size_t>(direction)];
    for (const OffloadMode wanted : kModes) {
      if (!counts.wanted[static_cast<size_t>(wanted)]) continue;
      for (const OffloadKind kind : kKinds)
        out.set(MetricFamily::kSas,
                {group, policy::to_string(direction), policy::to_string(wanted), policy::to_string(kind)},
                sas[static_cast<size_t>(wanted)][static_cast<size_t>(kind)]);
    }
    for (const auto& [reason, count] : counts.reasons[static_cast<size_t>(direction)])
      out.set(MetricFamily::kSasByReason, {group, policy::to_string(direction), code(reason)}, count);
  }
}

void add_traffic(std::string_view group, const TrafficBook::OfGroup& carried, Exposition& out) {
  for (const Direction direction : kDirections)
    for (const OffloadKind kind : kKinds) {
      const TrafficBook::Carried& cell = carried[static_cast<size_t>(direction)][static_cast<size_t>(kind)];
      const std::string_view towards = policy::to_string(direction), mode = policy::to_string(kind);
      out.set(MetricFamily::kTrafficBytes, {group, towards, mode}, cell.bytes);
      out.set(MetricFamily::kTrafficPackets, {group, towards, mode}, cell.packets);
    }
}

}  // namespace

void add_groups(const TunnelManager& manager, Exposition& out) {
  Groups groups(manager.config());
  count_tunnels(manager, groups);
  count_children(manager, groups);
  for (const auto& [name, counts] : groups.all()) {
    const policy::TunnelGroup& group = *manager.config().groups.at(name);
    out.set(MetricFamily::kGroup,
            {name, group.public_place.netns, group.public_place.vrf, group.private_place.netns, group.private_place.vrf,
             policy::to_string(group.attached), policy::to_string(group.offload)});
    add_states(MetricFamily::kTunnels, name, counts.tunnels, out);
    if (group.tunnels_max != 0) out.set(MetricFamily::kTunnelsLimit, {name}, uint64_t{group.tunnels_max});
    add_states(MetricFamily::kIkeSas, name, counts.ike_sas, out);
    add_states(MetricFamily::kChildSas, name, counts.children, out);
    add_sas(name, counts, out);
    const auto carried = manager.traffic().groups().find(name);
    if (carried != manager.traffic().groups().end()) add_traffic(name, carried->second, out);
  }
}

void add_device_sas(const TunnelManager& manager, const std::set<OffloadCounts::Device>& devices, Exposition& out) {
  using PerDevice = std::array<ByKind, kDirections.size()>;
  std::map<OffloadCounts::Device, PerDevice> all;
  for (const OffloadCounts::Device& each : devices) all.try_emplace(each);
  for (const auto& [id, child] : manager.installer().children())
    for (const Direction direction : kDirections) {
      const bool in = direction == Direction::kIn;
      const hwoffload::Effective& effective = in ? child->inbound : child->outbound;
      if (!(in ? child->has_inbound : child->has_outbound) || effective.kind == OffloadKind::kNone) continue;
      const auto on = all.find({child->spec->tunnel->group->public_place.netns, effective.device});
      if (on != all.end()) ++on->second[static_cast<size_t>(direction)][static_cast<size_t>(effective.kind)];
    }
  for (const auto& [device, sas] : all)
    for (const Direction direction : kDirections)
      for (const OffloadKind kind : {OffloadKind::kCrypto, OffloadKind::kPacket})
        out.set(MetricFamily::kDeviceSas,
                {device.first, device.second, policy::to_string(direction), policy::to_string(kind)},
                sas[static_cast<size_t>(direction)][static_cast<size_t>(kind)]);
}

}  // namespace ipsec::agent
