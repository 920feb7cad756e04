#include "agent/ctl/render.h"

#include <algorithm>
#include <map>

#include "agent/ctl/columns.h"
#include "agent/ctl/exit_codes.h"
#include "policy/base/reasons.h"

namespace ipsec::agent::ctl {

using control::flag_at;
using control::member_at;
using control::text_at;
using nlohmann::json;

namespace {

constexpr size_t kCountersShown = 8;

std::string line(std::string_view label, const std::string& value) {
  std::string out = "  ";
  out.append(label);
  if (label.size() < 10) out.append(10 - label.size(), ' ');
  return out.append(" ").append(value).append("\n");
}

/// Counters of these say that something went on, not that something went wrong.
bool is_ordinary(Reason reason) {
  return reason == Reason::kNone ||
         (reason >= Reason::kIkeEstablished && reason <= Reason::kDaemonStarted &&
          reason != Reason::kPeerUnreachable) ||
         reason == Reason::kNatDetected || reason == Reason::kNegotiationRetry || reason == Reason::kIkeRetransmitted ||
         reason == Reason::kOffloadEffective || reason == Reason::kOffloadNotRequested;
}

std::string number_of(const json& object, std::string_view key) { return cell(member_at(object, key)); }

std::string render_counters(const json& counters, Color color) {
  struct Row {
    std::string code;
    int64_t count;
  };
  std::vector<Row> rows;
  for (const auto& [code, value] : counters.items()) {
    const auto reason = reason_from_code(code);
    if (value.is_number_integer() && value.get<int64_t>() > 0 && !(reason && is_ordinary(*reason)))
      rows.push_back({code, value.get<int64_t>()});
  }
  if (rows.empty()) return {};
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.count > b.count; });
  Table table({"COUNT", "CODE", "MEANING"});
  for (size_t i = 0; i < rows.size() && i < kCountersShown; ++i) {
    const auto reason = reason_from_code(rows[i].code);
    table.add({std::to_string(rows[i].count), clean(rows[i].code), reason ? std::string(info(*reason).text) : ""});
  }
  return "\n" + table.render(color) + "`ipsecctl explain CODE` tells what to do about one of them.\n";
}

/// "nic1 refused 3 offload-refused, 1 offload-table-full": one line for each NIC.
std::string render_refusals(const json& refusals) {
  std::map<std::string, std::string> by_device;
  for (const json& each : refusals) {
    std::string nic = text_at(each, "netns");
    if (!nic.empty()) nic += '/';
    nic += text_at(each, "device", "?");
    std::string& counts = by_device[clean(nic)];
    counts.append(counts.empty() ? "" : ", ").append(number_of(each, "count")).append(" ");
    counts.append(clean(text_at(each, "code", "?")));
  }
  std::string out;
  for (const auto& [device, counts] : by_device) out.append(line("refused", device + ": " + counts));
  return out;
}

}  // namespace

std::string render_status(const json& status, Color color) {
  const std::string health = text_at(status, "health", "unknown");
  std::string out = paint("ipsecd " + clean(text_at(status, "version", "of unknown version")), Paint::kBold, color);
  out.append(": ").append(paint(clean(health), paint_of(health), color));
  out.append(" (node ").append(number_of(status, "node_id"));
  out.append(", since ").append(clean(text_at(status, "started_at", "unknown"))).append(")\n");

  const json& tunnels = member_at(status, "tunnels");
  const json& offload = member_at(status, "offload");
  out.append(line("groups", number_of(status, "groups")));
  out.append(line("tunnels", number_of(tunnels, "up") + " up, " + number_of(tunnels, "down") + " down, " +
                                 number_of(tunnels, "establishing") + " establishing"));
  const json& carriers = member_at(status, "carriers");
  if (carriers.is_object() && std::ranges::any_of(carriers, [](const json& each) { return each != 0; }))
    out.append(line("carriers", number_of(carriers, "up") + " up, " + number_of(carriers, "idle") + " idle, " +
                                    number_of(carriers, "down") + " down, " + number_of(carriers, "failed") +
                                    " failed"));
  out.append(line("SAs", number_of(status, "ike_sas") + " IKE, " + number_of(status, "child_sas") + " child, " +
                             number_of(status, "half_open") + " half open; workers: " + number_of(status, "workers")));
  if (const json& orphans = member_at(status, "orphans"); orphans.is_number() && orphans != 0)
    out.append(line("orphans", cell(orphans) + " SAs of an earlier run still carry traffic: ipsecctl list children"));
  out.append(line("offload", number_of(offload, "packet") + " packet, " + number_of(offload, "crypto") + " crypto, " +
                                 number_of(offload, "software") + " software"));
  if (const json& refusals = member_at(status, "offload_refusals"); refusals.is_array() && !refusals.empty())
    out.append(render_refusals(refusals));
  if (const json& weak = member_at(status, "weak"); weak.is_array() && !weak.empty()) {
    std::string users;
    for (const json& each : weak) {
      users.append(users.empty() ? "" : ", ").append(cell(member_at(each, "tunnel"))).append(" (");
      std::string_view between;
      for (const json& name : member_at(each, "algorithms")) users.append(between).append(cell(name)), between = " ";
      users.append(")");
    }
    const json& more = member_at(status, "weak_sas_more");
    if (more.is_number() && more != 0) users.append(" and ").append(cell(more)).append(" SAs of others");
    out.append(line("weak", users));
  }
  const json& warnings = member_at(status, "warnings");
  if (warnings.is_array() && !warnings.empty()) {
    out.append("\n").append(paint("Warnings", Paint::kWarning, color)).append("\n");
    for (const json& warning : warnings) out.append("  - ").append(cell(warning)).append("\n");
  }
  return out + render_counters(member_at(status, "counters"), color);
}

int exit_code_of_status(const json& status) {
  const std::string health = text_at(status, "health");
  if (health == "ok") return kExitOk;
  return health == "degraded" ? kExitDegraded : kExitUnhealthy;
}

void sort_rows(std::vector<json>& rows, std::string_view key) {
  std::stable_sort(rows.begin(), rows.end(), [key](const json& left, const json& right) {
    const json& a = member_at(left, key);
    const json& b = member_at(right, key);
    if (a.is_null() || b.is_null()) return !a.is_null() && b.is_null();
    if (a.is_number() && b.is_number()) return a < b;
    return natural_less(cell(a), cell(b));
  });
}

std::string render_list(std::string_view kind, const std::vector<json>& rows, Color color) {
  if (rows.empty()) return "No " + std::string(kind) + ".\n";
  std::vector<std::string> header;
  for (const Column& column : columns_of(kind))
    if (!column.header.empty()) header.emplace_back(column.header);
  Table table(std::move(header));
  for (const json& row : rows) {
    std::vector<std::string> cells;
    for (const Column& column : columns_of(kind)) {
      if (column.header.empty()) continue;
      const json& value = member_at(row, column.key);
      // Only counters are worth the word: an absent name is simply absent.
      const bool counter = column.key == "packets" || column.key == "bytes";
      const bool in_time = column.key == "rekey_in_seconds" || column.key == "ends_in_seconds";
      if (column.key == "age_seconds" || (in_time && !value.is_null()))
        cells.push_back(duration(value));
      else
        cells.push_back(value.is_null() && !counter ? "-" : cell(value));
    }
    table.add(std::move(cells));
  }
  return table.render(color);
}

std::string render_event(const json& event, Color color) {
  std::string out = paint(clean(text_at(event, "time", "unknown")), Paint::kDim, color);
  const std::string object = text_at(event, "object");
  out.append(" ").append(number_of(event, "sequence"));
  out.append(" ").append(object.empty() ? "node" : clean(object));
  out.append(" ").append(paint(clean(text_at(event, "code")), Paint::kBold, color));
  out.append(": ").append(clean(text_at(event, "text")));
  const json& fields = member_at(event, "fields");
  for (const auto& [name, value] : fields.items()) {
    const std::string text = cell(value);
    const bool quote = text.empty() || text.find(' ') != std::string::npos;
    out.append(" ").append(clean(name)).append("=");
    out.append(quote ? "\"" + text + "\"" : text);
  }
  return out + "\n";
}

std::string render_lost(int64_t lost) {
  return "(" + count(lost, "event") + (lost == 1 ? " is" : " are") + " no longer kept)\n";
}

std::string render_outcome(std::string_view verb, const json& outcome, Color color) {
  const std::string child = text_at(outcome, "child");
  const std::string state = text_at(outcome, "state", verb);
  std::string out = child.empty() ? "Tunnel " : "Child ";
  out.append(clean(text_at(outcome, "tunnel", "?"))).append(child.empty() ? "" : "/" + clean(child));
  out.append(" is ").append(paint(clean(state), paint_of(state), color));
  const std::string detail = text_at(outcome, "detail");
  if (!detail.empty()) out.append(": ").append(clean(detail));
  out.append(".\n");
  const json& children = member_at(outcome, "children");
  if (!children.is_array()) return out;
  for (const json& each : children) {
    out.append("  ").append(clean(text_at(each, "child", "?"))).append(": ");
    out.append(cell(member_at(each, "local"))).append(" === ").append(cell(member_at(each, "remote")));
    out.append(", offload in ").append(cell(member_at(each, "offload_in")));
    out.append(", out ").append(cell(member_at(each, "offload_out"))).append("\n");
  }
  return out;
}

namespace {

/// The text has the file, the line and whatever else there is to say.
std::string render_issue(const json& issue, std::string_view kind, Color color) {
  const std::string kind_shown = paint(kind, kind == "error" ? Paint::kBad : Paint::kWarning, color);
  return kind_shown + ": " + clean(text_at(issue, "text")) + "\n";
}

}  // namespace

namespace {

/// One line for each of the first files.
std::string render_files(const json& names, std::string_view what) {
  constexpr size_t kNamedMax = 20;
  std::string out;
  if (!names.is_array()) return out;
  for (size_t i = 0; i < std::min(names.size(), kNamedMax); ++i)
    out.append(what).append(" ").append(cell(names[i])).append("\n");
  if (names.size() > kNamedMax)
    out.append(what).append(" ").append(std::to_string(names.size() - kNamedMax)).append(" more files\n");
  return out;
}

}  // namespace

std::string render_check(const json& reply, Color color) {
  const json& errors = member_at(reply, "errors");
  const json& warnings = member_at(reply, "warnings");
  std::string out;
  out.append(render_files(member_at(reply, "files"), "read"));
  out.append(render_files(member_at(reply, "not_read"), "not read, because it is no configuration file:"));
  for (const json& issue : errors) out.append(render_issue(issue, "error", color));
  for (const json& issue : warnings) out.append(render_issue(issue, "warning", color));
  const bool ok = flag_at(reply, "ok") == control::Flag::kOn;
  out.append(ok ? paint("The configuration is valid", Paint::kGood, color)
                : paint("The configuration is not valid", Paint::kBad, color));
  out.append(" (").append(count(static_cast<int64_t>(errors.size()), "error"));
  return out.append(", ").append(count(static_cast<int64_t>(warnings.size()), "warning")).append(").\n");
}

std::string render_changes(const json& reply, bool applied, Color color) {
  if (flag_at(reply, "ok") != control::Flag::kOn) return render_check(reply, color) + "Nothing was changed.\n";
  std::string out;
  for (const json& issue : member_at(reply, "warnings")) out.append(render_issue(issue, "warning", color));
  const json& changes = member_at(reply, "changes");
  const json& carriers = member_at(reply, "carriers");
  if (!changes.is_array() || (changes.empty() && (!carriers.is_array() || carriers.empty())))
    return out.append(applied ? "Nothing has changed.\n" : "Nothing would change.\n");
  Table table({"TUNNEL", applied ? "CHANGED" : "WOULD CHANGE", "SETTINGS"});
  const auto add = [&table](const std::string& object, const json& each) {
    const json& settings = member_at(each, "settings");
    const bool said = settings.is_array() && !settings.empty();
    table.add({clean(object), clean(text_at(each, "kind")), said ? cell(settings) : std::string()});
  };
  for (const json& each : changes) add(text_at(each, "tunnel"), each);
  for (const json& each : carriers) add("carrier " + text_at(each, "carrier"), each);
  return out.append(table.render(color));
}

std::string render_explain(const json& reply, Color color) {
  std::string out = paint(clean(text_at(reply, "code")), Paint::kBold, color);
  out.append(": ").append(clean(text_at(reply, "text"))).append("\n");
  const json& fields = member_at(reply, "fields");
  if (fields.is_array() && !fields.empty()) out.append(line("fields", cell(fields)));
  const std::string remedy = text_at(reply, "remedy");
  return out + line("what to do", remedy.empty() ? "nothing" : clean(remedy));
}

std::string render_error(const control::Reply& reply, Color color) {
  const std::string name = reply.error.substr(reply.error.rfind('.') + 1);
  const json& parameters = reply.parameters;
  std::string out = paint("ipsecctl: ", Paint::kBad, color);
  if (name == "PermissionDenied")
    return out + "no permission for " + clean(text_at(parameters, "method", "this method")) + ": it needs " +
           clean(text_at(parameters, "needed", "another user")) + "\n";
  if (name == "TooManyClients")
    return out + "ipsecd has too many clients (" + cell(member_at(parameters, "limit")) + "); try again\n";
  if (name == "MethodNotFound") return out + "this version of ipsecd does not know " + cell(parameters) + "\n";
  const std::string code = text_at(parameters, "code");
  if (code.empty()) return out + clean(reply.error) + " " + cell(parameters) + "\n";
  out.append(clean(text_at(parameters, "text"))).append(" [").append(clean(code)).append("]\n");
  const std::string remedy = text_at(parameters, "remedy");
  return remedy.empty() ? out : out + line("what to do", clean(remedy));
}

}  // namespace ipsec::agent::ctl
