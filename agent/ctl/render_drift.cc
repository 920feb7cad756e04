#include "agent/ctl/render.h"

namespace ipsec::agent::ctl {

using control::Flag;
using control::flag_at;
using control::member_at;
using control::text_at;
using nlohmann::json;

namespace {

std::string name_of(const json& space) {
  const std::string netns = text_at(space, "netns");
  return netns.empty() ? "(own)" : clean(netns);
}

/// What is ours or wanted comes first, then what is probably ours.
int rank_of(const json& row) {
  const std::string verdict = text_at(row, "verdict");
  return verdict == "foreign" ? 2 : verdict == "unclaimed" ? 1 : 0;
}

std::string head(const json& space, Color color) {
  const bool differs = flag_at(space, "drift") == Flag::kOn;
  std::string out = "Namespace " + name_of(space) + ": " + cell(member_at(space, "state")) + ", ";
  out += differs ? paint("drift", Paint::kBad, color) : paint("no drift", Paint::kGood, color);
  if (const json& why = member_at(space, "detail"); !why.is_null())
    out.append("\n  in the way   ").append(cell(member_at(space, "code"))).append(": ").append(cell(why));
  return out + "\n";
}

std::string rows_of(const json& space, Color color) {
  const json& rows = member_at(space, "rows");
  if (!rows.is_array() || rows.empty()) return {};
  Table table({"", "KIND", "OBJECT", "DETAIL"});
  bool unclaimed = false;
  for (const int rank : {0, 1, 2})
    for (const json& row : rows)
      if (rank_of(row) == rank) {
        unclaimed = unclaimed || rank == 1;
        const json& detail = member_at(row, "detail");
        table.add({cell(member_at(row, "verdict")), cell(member_at(row, "kind")), cell(member_at(row, "object")),
                   detail.is_null() ? "" : cell(detail)});
      }
  constexpr std::string_view kHint =
      "Unclaimed objects bear our marks. If they are ours, `ipsecctl drift --adopt` takes them over.\n";
  return table.render(color).append(unclaimed ? kHint : "");
}

}  // namespace

bool has_drift(const json& namespaces) {
  if (!namespaces.is_array()) return false;
  for (const json& space : namespaces)
    if (flag_at(space, "drift") == Flag::kOn) return true;
  return false;
}

std::string render_adopted(const json& outcome) {
  const json& adopted = member_at(outcome, "adopted");
  const bool one = adopted.is_number_integer() && adopted.get<int64_t>() == 1;
  return cell(adopted) + (one ? " object is" : " objects are") + " ours now.\n";
}

std::string render_drift(const json& namespaces, Color color) {
  if (!namespaces.is_array() || namespaces.empty()) return "No namespace has anything of ours.\n";
  std::string out;
  for (const json& space : namespaces)
    out.append(out.empty() ? "" : "\n").append(head(space, color)).append(rows_of(space, color));
  return out;
}

}  // namespace ipsec::agent::ctl
