#include "agent/show/metrics_groups.h"

#include <array>
#include <string_view>

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

void add_states(MetricFamily family, std::string_view group, const Census::ByState& counts, Exposition& out) {
  for (const auto& [state, count] : counts) out.set(family, {group, state}, count);
}

void add_sas(std::string_view group, const Census::Group& counts, Exposition& out) {
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

void add_groups(const TunnelManager& manager, const Census& census, Exposition& out) {
  for (const auto& [name, counts] : census.groups()) {
    const auto configured = manager.config().groups.find(name);
    if (configured == manager.config().groups.end()) continue;  // it left while others were counted
    const policy::TunnelGroup& group = *configured->second;
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

void add_device_sas(const Census& census, const std::set<OffloadCounts::Device>& devices, Exposition& out) {
  static const Census::OnDevice kNone{};
  for (const OffloadCounts::Device& device : devices) {
    const auto found = census.devices().find(device);
    const Census::OnDevice& sas = found != census.devices().end() ? found->second : kNone;
    for (const Direction direction : kDirections)
      for (const OffloadKind kind : {OffloadKind::kCrypto, OffloadKind::kPacket})
        out.set(MetricFamily::kDeviceSas,
                {device.first, device.second, policy::to_string(direction), policy::to_string(kind)},
                sas[static_cast<size_t>(direction)][static_cast<size_t>(kind)]);
  }
}

}  // namespace ipsec::agent
