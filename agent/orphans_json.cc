#include "agent/orphans_json.h"

#include <algorithm>

namespace ipsec::agent {
namespace {

using nlohmann::json;
using Sas = std::map<policy::SaKey, policy::SaState>;

std::string hex_spi(policy::ChildSpi spi) {
  ByteWriter out(4);
  out.u32(spi.value());
  return to_hex(out.view());
}

/// Whichever comes first: the end of the grace, or the kernel's.
json ends_in(const policy::SaState& sa, const Orphans::Kept& kept, const Moment& moment) {
  const int64_t grace = std::max<Duration>(kept.until - moment.now, Duration{0}) / 1s;
  const json kernel = ends_in_seconds(sa, moment);
  return kernel.is_null() ? grace : std::min(grace, kernel.get<int64_t>());
}

std::string_view state_of(const Orphans::Kept& kept) { return kept.replaced ? "replaced" : "orphaned"; }

json sa_row(const Orphans::Kept& kept, policy::Direction direction, const policy::SaState& sa, const Moment& moment) {
  const bool in = direction == policy::Direction::kIn;
  return {{"tunnel", kept.child.tunnel},
          {"child", kept.child.child},
          {"state", state_of(kept)},
          {"direction", policy::to_string(direction)},
          {"spi", hex_spi(sa.key.spi)},
          {"source", to_string(sa.source)},
          {"destination", to_string(sa.key.destination)},
          {"suite", policy::to_string(sa.suite)},
          {"mode", policy::to_string(sa.mode)},
          {"if_id", sa.if_id},
          {"reqid", sa.reqid},
          {"udp_encapsulation", nullptr},
          {"offload_requested", nullptr},  // by a configuration that nobody knows any more
          {"offload_effective", policy::to_string(sa.offload)},
          {"offload_device", sa.offload_device.empty() ? json(nullptr) : json(sa.offload_device)},
          {"offload_reason", nullptr},
          {"offload_detail", nullptr},
          {"packets", sa.packets},
          {"bytes", sa.bytes},
          {"sequence", in ? sa.sequence_received : sa.sequence_sent},
          {"age_seconds", age_seconds(sa, moment)},
          {"ends_in_seconds", ends_in(sa, kept, moment)}};
}

const policy::SaState* newest(const Sas& sas) {
  const auto it = std::max_element(sas.begin(), sas.end(),
                                   [](const auto& a, const auto& b) { return a.second.made_at < b.second.made_at; });
  return it == sas.end() ? nullptr : &it->second;
}

}  // namespace

json age_seconds(const policy::SaState& sa, const Moment& moment) {
  return std::max<Duration>(moment.wall.since_epoch - sa.made_at.since_epoch, Duration{0}) / 1s;
}

json ends_in_seconds(const policy::SaState& sa, const Moment& moment) {
  if (sa.hard_lifetime == Duration{0}) return nullptr;
  return std::max<Duration>(sa.made_at.since_epoch + sa.hard_lifetime - moment.wall.since_epoch, Duration{0}) / 1s;
}

json orphan_sa_rows(const Orphans::Kept& kept, const Sas& shown, const Moment& moment) {
  json rows = json::array();
  for (const auto& [direction, sas] : {std::pair(policy::Direction::kIn, &kept.child.inbound),
                                       std::pair(policy::Direction::kOut, &kept.child.outbound)})
    for (const auto& [key, state] : *sas)
      if (const auto there = shown.find(key); there != shown.end())
        rows.push_back(sa_row(kept, direction, there->second, moment));
  return rows;
}

json orphan_child_row(const Orphans::Kept& kept, const Moment& moment) {
  const policy::SaState* in = newest(kept.child.inbound);
  const policy::SaState* out = newest(kept.child.outbound);
  const policy::SaState* any = in != nullptr ? in : out;
  const auto of = [](const policy::SaState* sa, auto what) { return sa != nullptr ? json(what(*sa)) : json(nullptr); };
  const auto spi = [](const policy::SaState& sa) { return hex_spi(sa.key.spi); };
  const auto offload = [](const policy::SaState& sa) { return policy::to_string(sa.offload); };
  return {{"tunnel", kept.child.tunnel},
          {"child", kept.child.child},
          {"state", state_of(kept)},
          {"replaces", nullptr},
          {"spi_in", of(in, spi)},
          {"spi_out", of(out, spi)},
          {"local", policy::to_string(kept.child.local)},
          {"remote", policy::to_string(kept.child.remote)},
          {"proposal", of(any, [](const policy::SaState& sa) { return policy::to_string(sa.suite); })},
          {"offload_in", of(in, offload)},
          {"offload_out", of(out, offload)},
          {"age_seconds", of(any, [&](const policy::SaState& sa) { return age_seconds(sa, moment); })},
          {"ends_in_seconds", of(any, [&](const policy::SaState& sa) { return ends_in(sa, kept, moment); })}};
}

}  // namespace ipsec::agent
