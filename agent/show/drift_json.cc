#include "agent/show/drift_json.h"

namespace ipsec::agent {

using nlohmann::json;
using policy::Reconciler;

namespace {

std::string_view state_text(Reconciler::State state) {
  switch (state) {
    case Reconciler::State::kAwaiting: return "awaiting";
    case Reconciler::State::kSyncing: return "syncing";
    case Reconciler::State::kSynced: return "synced";
  }
  return "";
}

json row_json(const policy::DriftRow& row) {
  return {{"netns", row.netns},
          {"kind", row.kind},
          {"object", row.object},
          {"verdict", policy::to_string(row.verdict)},
          {"detail", row.detail.empty() ? json(nullptr) : json(row.detail)}};
}

}  // namespace

std::string no_such_namespace(const std::string& netns) {
  return "nothing of ours belongs into a namespace \"" + netns + "\"";
}

Result<json> drift_json(const std::vector<NamespaceDrift>& found, const std::optional<std::string>& netns) {
  if (netns && found.empty()) return Error(Reason::kNotFound, no_such_namespace(*netns));
  json all = json::array();
  for (const NamespaceDrift& each : found) {
    json rows = json::array();
    for (const policy::DriftRow& row : *each.rows) rows.push_back(row_json(row));
    all.push_back({{"netns", each.netns},
                   {"state", state_text(each.state)},
                   {"code", each.obstacle ? json(code(each.obstacle->reason())) : json(nullptr)},
                   {"detail", each.obstacle ? json(each.obstacle->text()) : json(nullptr)},
                   {"drift", policy::has_drift(*each.rows)},
                   {"rows", std::move(rows)}});
  }
  return all;
}

}  // namespace ipsec::agent
