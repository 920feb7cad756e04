#include "agent/show/negotiation_json.h"

#include "agent/control/event_json.h"

namespace ipsec::agent {
namespace {

using nlohmann::json;

json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json summary_of(const NegotiationLog::Entry& entry) {
  json fields = json::object();
  for (const Field& each : entry.fields) fields[each.name] = printable(as_bytes(each.value), each.value.size());
  const ReasonInfo& reason = info(entry.reason);
  const policy::Negotiation* about = entry.negotiation.get();
  return {{"time", control::rfc3339(entry.time)},
          {"tunnel", or_null(entry.tunnel)},
          {"child", about == nullptr ? json(nullptr) : or_null(about->child)},
          {"local", to_string(entry.local)},
          {"remote", to_string(entry.remote)},
          {"identity", or_null(entry.identity)},
          {"code", reason.code},
          {"text", reason.text},
          {"remedy", reason.remedy},
          {"fields", std::move(fields)},
          {"count", entry.count},
          {"resolved_at", entry.succeeded_at ? json(control::rfc3339(*entry.succeeded_at)) : json(nullptr)},
          {"offered_by", about == nullptr ? json(nullptr) : json(about->we_offered ? "us" : "peer")},
          {"rows", json::array()},
          {"first_mismatch", nullptr},
          {"pointer", nullptr},
          {"file", nullptr},
          {"line", nullptr},
          {"advice", nullptr}};
}

void add_comparison(const NegotiationLog::Entry& entry, const policy::Config& config, ConfigPlaces& places,
                    json& failure) {
  if (entry.negotiation == nullptr) return;
  policy::Negotiation about = *entry.negotiation;
  if (about.tunnel.empty()) about.tunnel = entry.tunnel;  // known by the peer's address
  const policy::Explanation explained = policy::explain(about, config);
  for (const policy::Explanation::Row& row : explained.rows) {
    const bool unknown = row.verdict == policy::Explanation::Verdict::kUnknown && row.configured.empty();
    failure["rows"].push_back({{"what", row.what},
                               {"offered", row.offered},
                               {"configured", unknown ? json(nullptr) : json(row.configured)},
                               {"verdict", policy::to_string(row.verdict)}});
  }
  if (explained.first_mismatch) failure["first_mismatch"] = *explained.first_mismatch;
  failure["pointer"] = or_null(explained.pointer);
  failure["advice"] = or_null(explained.advice);
  if (const auto place = places.find(explained.pointer)) {
    failure["file"] = place->file;
    failure["line"] = place->line;
  }
}

Error not_found(const policy::Config& config, const std::string& peer) {
  const std::string what = "no failed negotiation with \"" + printable(as_bytes(peer)) + "\" is kept";
  if (config.tunnels.contains(peer)) return Error(Reason::kNotFound, what + ": none of this tunnel has failed");
  return Error(Reason::kNotFound, what +
                                      "; a peer is named by tunnel, address or identity: `ipsecctl explain "
                                      "negotiation` lists all that failed, `ipsecctl list tunnels` the tunnels");
}

}  // namespace

Result<json> negotiation_failures(const NegotiationLog& log, const policy::Config& config,
                                  const std::vector<policy::ConfigFile>& files, const std::string& peer) {
  const auto entries = log.find(peer, peer.empty() ? kFailuresListedMax : kExplainedMax);
  if (entries.empty() && !peer.empty()) return not_found(config, peer);
  ConfigPlaces places(files);
  json failures = json::array();
  for (const NegotiationLog::Entry* entry : entries) {
    json failure = summary_of(*entry);
    if (!peer.empty()) add_comparison(*entry, config, places, failure);
    failures.push_back(std::move(failure));
  }
  return failures;
}

}  // namespace ipsec::agent
