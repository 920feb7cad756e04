#include "agent/status_json.h"

#include <algorithm>
#include <map>

#include "agent/carriers_json.h"

namespace ipsec::agent {
namespace {

using nlohmann::json;

struct Offloaded {
  std::map<std::string_view, size_t> sas{{"packet", 0}, {"crypto", 0}, {"software", 0}};
  size_t silently = 0;  ///< In software, although something else is configured.
};

Offloaded offloaded(const TunnelManager& manager) {
  Offloaded found;
  for (const auto& [id, child] : manager.installer().children()) {
    for (const auto& [installed, effective] :
         {std::pair(child->has_inbound, &child->inbound), std::pair(child->has_outbound, &child->outbound)}) {
      if (!installed) continue;
      const bool software = effective->kind == policy::OffloadKind::kNone;
      ++found.sas[software ? "software" : policy::to_string(effective->kind)];
      found.silently += software && effective->requested != policy::OffloadMode::kNone ? 1 : 0;
    }
  }
  return found;
}

json warnings_of(const TunnelManager& manager, const StatusFacts& facts, const Offloaded& offload) {
  json warnings = facts.warnings;
  if (offload.silently != 0)
    warnings.push_back(std::to_string(offload.silently) +
                       " SAs are in software although offload is configured: ipsecctl list sas");
  if (const size_t waiting = manager.shared().waiting_routes(); waiting != 0)
    warnings.push_back(std::to_string(waiting) + " routes wait, for other tunnels have theirs: ipsecctl list routes");
  return warnings;
}

}  // namespace

json refusals_json(const OffloadBook& book) {
  json rows = json::array();
  for (const auto& [device, counts] : book.counts().devices())
    for (const auto& [reason, count] : counts.refusals)
      rows.push_back({{"device", device.second},
                      {"netns", device.first.empty() ? json(nullptr) : json(device.first)},
                      {"code", code(reason)},
                      {"count", count}});
  return rows;
}

json status_json(const TunnelManager& manager, const StatusFacts& facts) {
  std::map<std::string_view, size_t> states{{"up", 0},   {"down", 0},   {"establishing", 0},
                                            {"idle", 0}, {"failed", 0}, {"disabled", 0}};
  for (const auto& [name, row] : manager.tunnels()) ++states[TunnelManager::state_of(row)];
  const Offloaded offload = offloaded(manager);
  json warnings = warnings_of(manager, facts, offload);
  json counters = json::object();
  for (size_t i = 1; i < kReasonCount; ++i)
    if (const uint64_t count = facts.count(static_cast<Reason>(i)); count != 0)
      counters[std::string(code(static_cast<Reason>(i)))] = count;
  const auto established = static_cast<size_t>(
      std::ranges::count_if(manager.ike_sas(), [](const auto& each) { return each.second.view.has_value(); }));
  json carriers = carrier_counts(manager.carriers());
  const bool degraded =
      states["down"] + states["establishing"] + states["failed"] != 0 || !warnings.empty() || lacks_carriers(carriers);
  return {{"version", facts.version},
          {"node_id", facts.node_id},
          {"started_at", facts.started_at},
          {"health", degraded ? "degraded" : "ok"},
          {"groups", manager.config().groups.size()},
          {"tunnels", states},
          {"carriers", std::move(carriers)},
          {"ike_sas", established},
          {"half_open", manager.ike_sas().size() - established},
          {"child_sas", manager.installer().children().size()},
          {"orphans", manager.orphans().sas()},
          {"offload", offload.sas},
          {"offload_refusals", refusals_json(manager.offload())},
          {"workers", facts.workers},
          {"warnings", std::move(warnings)},
          {"counters", std::move(counters)}};
}

}  // namespace ipsec::agent
