#include "agent/show/status_json.h"

#include <algorithm>
#include <map>

#include "agent/show/carriers_json.h"

namespace ipsec::agent {
namespace {

using nlohmann::json;

json warnings_of(const Census& census, const StatusFacts& facts) {
  json warnings = facts.warnings;
  if (census.silently_in_software() != 0)
    warnings.push_back(std::to_string(census.silently_in_software()) +
                       (census.silently_in_software() == 1 ? " SA is" : " SAs are") +
                       " in software although offload is configured: ipsecctl list sas");
  if (const uint64_t partial = census.partial_children(); partial != 0)
    warnings.push_back(
        std::to_string(partial) + (partial == 1 ? " child carries" : " children carry") +
        " a part of the configured selectors only, for the peer has not taken the rest: see UNCOVERED in "
        "ipsecctl list children");
  if (const uint64_t waiting = census.waiting_routes(); waiting != 0)
    warnings.push_back(std::to_string(waiting) + (waiting == 1 ? " route waits" : " routes wait") +
                       ", for other tunnels have theirs: ipsecctl list routes");
  return warnings;
}

json weak_json(const Census& census) {
  json rows = json::array();
  for (const auto& [tunnel, algorithms] : census.weak())
    rows.push_back({{"tunnel", tunnel}, {"algorithms", algorithms}});
  return rows;
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

json status_json(const TunnelManager& manager, const Census& census, const StatusFacts& facts) {
  const Census::ByState& states = census.tunnels();
  json warnings = warnings_of(census, facts);
  json counters = json::object();
  for (size_t i = 1; i < kReasonCount; ++i)
    if (const uint64_t count = facts.count(static_cast<Reason>(i)); count != 0)
      counters[std::string(code(static_cast<Reason>(i)))] = count;
  json carriers = carrier_counts(manager.carriers());
  const bool degraded = states.at("down") + states.at("establishing") + states.at("failed") != 0 || !warnings.empty() ||
                        lacks_carriers(carriers);
  return {{"version", facts.version},
          {"node_id", facts.node_id},
          {"started_at", facts.started_at},
          {"health", degraded ? "degraded" : "ok"},
          {"groups", manager.config().groups.size()},
          {"tunnels", states},
          {"carriers", std::move(carriers)},
          {"ike_sas", census.ike_sas()},
          {"half_open", census.ike_establishing()},
          {"child_sas", manager.installer().children().size()},
          {"orphans", manager.orphans().sas()},
          {"offload",
           {{"packet", census.sas()[static_cast<size_t>(policy::OffloadKind::kPacket)]},
            {"crypto", census.sas()[static_cast<size_t>(policy::OffloadKind::kCrypto)]},
            {"software", census.sas()[static_cast<size_t>(policy::OffloadKind::kNone)]}}},
          {"offload_refusals", refusals_json(manager.offload())},
          {"weak", weak_json(census)},
          {"weak_sas_more", census.weak_sas_more()},
          {"workers", facts.workers},
          {"warnings", std::move(warnings)},
          {"counters", std::move(counters)}};
}

}  // namespace ipsec::agent
