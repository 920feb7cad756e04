#include "agent/show/orphans_json.h"

#include <algorithm>

namespace ipsec::agent {
namespace {

using nlohmann::json;
using Sas = std::map<policy::SaKey, policy::SaState>;

/// Whichever comes first: the end of the grace, or the kernel's.
json ends_in(const policy::SaState& sa, const Orphans::Kept& kept, const Moment& moment) {
  const int64_t grace = std::max<Duration>(kept.until - moment.now, Duration{0}) / 1s;
  const json kernel = ends_in_seconds(sa, moment);
  return kernel.is_null() ? grace : std::min(grace, kernel.get<int64_t>());
}

json sa_row(const Orphans::Kept& kept, policy::Direction direction, const policy::SaState& sa, const Moment& moment) {
  json row = sa_fields(sa, direction);
  row.update(kernel_fields(&sa, direction, moment));
  row.update({{"tunnel", kept.child.tunnel},
              {"child", kept.child.child},
              {"keying", nullptr},  // as its offload_requested
              {"state", state_of(kept)},
              {"udp_encapsulation", nullptr},
              {"offload_requested", nullptr},  // by a configuration that nobody knows any more
              {"offload_effective", policy::to_string(sa.offload)},
              {"offload_device", sa.offload_device.empty() ? json(nullptr) : json(sa.offload_device)},
              {"offload_reason", nullptr},
              {"offload_detail", nullptr},
              {"ends_in_seconds", ends_in(sa, kept, moment)}});
  return row;
}

const policy::SaState* newest(const Sas& sas) {
  const auto it = std::max_element(sas.begin(), sas.end(),
                                   [](const auto& a, const auto& b) { return a.second.made_at < b.second.made_at; });
  return it == sas.end() ? nullptr : &it->second;
}

}  // namespace

std::string_view state_of(const Orphans::Kept& kept) { return kept.replaced ? "replaced" : "orphaned"; }

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
          {"keying", nullptr},
          {"state", state_of(kept)},
          {"replaces", nullptr},
          {"spi_in", of(in, spi)},
          {"spi_out", of(out, spi)},
          {"local", policy::to_string(kept.child.local)},
          {"remote", policy::to_string(kept.child.remote)},
          {"uncovered", nullptr},
          {"proposal", of(any, [](const policy::SaState& sa) { return policy::to_string(sa.suite); })},
          {"offload_in", of(in, offload)},
          {"offload_out", of(out, offload)},
          {"age_seconds", of(any, [&](const policy::SaState& sa) { return age_seconds(sa, moment); })},
          {"ends_in_seconds", of(any, [&](const policy::SaState& sa) { return ends_in(sa, kept, moment); })}};
}

}  // namespace ipsec::agent
