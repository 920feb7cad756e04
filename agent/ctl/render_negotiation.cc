#include "agent/ctl/render.h"

namespace ipsec::agent::ctl {

using control::member_at;
using control::text_at;
using nlohmann::json;

namespace {

std::string line(std::string_view label, const std::string& value) {
  std::string out = "  ";
  out.append(label);
  if (label.size() < 12) out.append(12 - label.size(), ' ');
  return out.append(" ").append(value).append("\n");
}

std::string or_dash(const json& value) { return value.is_null() ? "-" : cell(value); }

/// What was compared: the first difference is marked.
std::string comparison(const json& failure, Color color) {
  const json& rows = member_at(failure, "rows");
  if (!rows.is_array() || rows.empty()) return {};
  const bool ours = text_at(failure, "offered_by") == "us";
  Table table(
      {"", ours ? "OFFERED BY US" : "OFFERED BY THE PEER", ours ? "THE PEER'S SIDE" : "CONFIGURED HERE", "VERDICT"});
  const json& first = member_at(failure, "first_mismatch");
  int64_t index = 0;
  for (const json& row : rows) {
    const bool is_first = first.is_number_integer() && first.get<int64_t>() == index++;
    const json& configured = member_at(row, "configured");
    table.add({clean(text_at(row, "what", "?")), or_dash(member_at(row, "offered")),
               configured.is_null() ? "not known" : cell(configured),
               clean(text_at(row, "verdict")) + (is_first ? "  <-- the first difference" : "")});
  }
  return "\n" + table.render(color) + "\n";
}

/// "/etc/ipsecd/ipsecd.json:12: /tunnels/a/remote_id", as far as it is known.
std::string place_of(const json& failure) {
  const std::string pointer = clean(text_at(failure, "pointer"));
  const std::string file = clean(text_at(failure, "file"));
  const json& number = member_at(failure, "line");
  if (file.empty() || !number.is_number_integer()) return pointer;
  return file + ":" + std::to_string(number.get<int64_t>()) + ": " + pointer;
}

std::string render_failure(const json& failure, Color color) {
  const std::string tunnel = text_at(failure, "tunnel");
  const std::string child = text_at(failure, "child");
  std::string head = tunnel.empty() ? "No tunnel that is known" : "Tunnel " + clean(tunnel);
  if (!child.empty()) head.append(", child ").append(clean(child));
  std::string out = paint(head, Paint::kBold, color) + "\n";
  out.append(line("peer", or_dash(member_at(failure, "remote")) + " to " + or_dash(member_at(failure, "local"))));
  if (const std::string identity = text_at(failure, "identity"); !identity.empty())
    out.append(line("identity", clean(identity)));
  const json& times = member_at(failure, "count");
  out.append(
      line("failed", cell(member_at(failure, "time")) + (times == 1 ? "" : ", " + cell(times) + " times in all")));
  if (const std::string resolved = text_at(failure, "resolved_at"); !resolved.empty())
    out.append(line("came up", paint(clean(resolved), Paint::kGood, color)));
  out.append(line("reason", paint(clean(text_at(failure, "code", "unknown")), Paint::kBad, color) + ": " +
                                clean(text_at(failure, "text"))));
  if (const std::string detail = text_at(member_at(failure, "fields"), "detail"); !detail.empty())
    out.append(line("detail", clean(detail)));
  out.append(comparison(failure, color));
  if (const std::string place = place_of(failure); !place.empty()) out.append(line("where", place));
  const std::string advice = text_at(failure, "advice");
  const std::string remedy = advice.empty() ? text_at(failure, "remedy") : advice;
  return out + line("what to do", remedy.empty() ? "nothing" : clean(remedy));
}

}  // namespace

std::string render_negotiations(const json& failures, Color color) {
  std::string out;
  for (const json& each : failures) out.append(out.empty() ? "" : "\n").append(render_failure(each, color));
  return out.empty() ? "No failed negotiation.\n" : out;
}

std::string render_negotiation_list(const json& failures, Color color) {
  if (!failures.is_array() || failures.empty()) return "No failed negotiation.\n";
  Table table({"TIME", "TUNNEL", "PEER", "IDENTITY", "TIMES", "CAME UP SINCE", "REASON"});
  for (const json& each : failures)
    table.add({or_dash(member_at(each, "time")), or_dash(member_at(each, "tunnel")), or_dash(member_at(each, "remote")),
               or_dash(member_at(each, "identity")), or_dash(member_at(each, "count")),
               member_at(each, "resolved_at").is_null() ? "no" : "yes", or_dash(member_at(each, "code"))});
  return table.render(color) + "`ipsecctl explain negotiation PEER` compares both sides of one.\n";
}

}  // namespace ipsec::agent::ctl
