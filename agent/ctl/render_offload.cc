#include "agent/ctl/render.h"

namespace ipsec::agent::ctl {

using control::member_at;
using control::text_at;
using nlohmann::json;

namespace {

std::string line(std::string_view label, const std::string& value) {
  std::string out = "    ";
  out.append(label);
  if (label.size() < 12) out.append(12 - label.size(), ' ');
  return out.append(" ").append(value).append("\n");
}

std::string rule_text(const json& rule) {
  std::string text = clean(text_at(rule, "kind"));
  if (const std::string device = text_at(rule, "device"); !device.empty()) text.append(" on ").append(clean(device));
  text.append(": ").append(clean(text_at(rule, "text")));
  if (const std::string source = text_at(rule, "source"); !source.empty())
    text.append("  [").append(clean(source)).append("]");
  return text;
}

std::string render_direction(const json& direction, Color color) {
  std::string out = "  " + clean(text_at(direction, "direction")) + "\n";
  out.append(line("requested", clean(text_at(direction, "requested"))));
  out.append(line("predicted", clean(text_at(direction, "predicted"))));
  const std::string effective = text_at(direction, "effective");
  if (!effective.empty()) {
    std::string what = effective == "none" ? "software" : clean(effective);
    if (const std::string device = text_at(direction, "device"); !device.empty() && effective != "none")
      what.append(" on ").append(clean(device));
    what.append(", ").append(clean(text_at(direction, "code")));
    out.append(line("effective", paint(what, effective == "none" ? Paint::kBad : Paint::kGood, color)));
    if (const std::string detail = text_at(direction, "detail"); !detail.empty()) out.append(line("", clean(detail)));
  }
  std::string rungs;
  for (const json& each : member_at(direction, "rungs"))
    rungs.append(rungs.empty() ? "" : ", then ").append(cell(each));
  out.append(line("is tried", rungs));
  for (const json& rule : member_at(direction, "rules")) {
    out.append(line("ruled out", rule_text(rule)));
    if (const std::string remedy = text_at(rule, "remedy"); !remedy.empty())
      out.append(line("", "to change that: " + clean(remedy)));
  }
  for (const json& each : member_at(direction, "unknown")) out.append(line("unknown", cell(each)));
  return out;
}

}  // namespace

std::string render_offload(const json& children, Color color) {
  std::string out;
  for (const json& child : children) {
    std::string head = clean(text_at(child, "tunnel")) + "/" + clean(text_at(child, "child")) + ": offload " +
                       clean(text_at(child, "requested")) + ", attachment " + clean(text_at(child, "attachment"));
    out.append(out.empty() ? "" : "\n").append(paint(head, Paint::kBold, color)).append("\n");
    const bool planned = control::flag_at(child, "planned") == control::Flag::kOn;
    if (const std::string problem = text_at(child, "problem"); !problem.empty()) {
      out.append("  ").append(clean(problem)).append("\n");
      continue;
    }
    out.append("  suite ").append(clean(text_at(child, "suite")));
    if (planned) out.append(" (nothing is installed: what the configuration offers first, without a NAT)");
    out.append("\n");
    if (const std::string place = text_at(child, "place"); !place.empty())
      out.append("  place ")
          .append(clean(place))
          .append(", ")
          .append(clean(text_at(child, "place_because")))
          .append("; ")
          .append(cell(member_at(child, "rate")))
          .append(" bytes/s; pin ")
          .append(clean(text_at(child, "pin")))
          .append("\n");
    for (const json& each : member_at(child, "directions")) out.append(render_direction(each, color));
  }
  return out.empty() ? "The tunnel has no child.\n" : out;
}

}  // namespace ipsec::agent::ctl
