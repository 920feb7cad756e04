#include <algorithm>

#include "agent/ctl/columns.h"
#include "agent/ctl/render.h"
#include "policy/base/reasons.h"

namespace ipsec::agent::ctl {

using control::member_at;
using control::text_at;
using nlohmann::json;

namespace {

std::string line(size_t indent, std::string_view label, const std::string& value) {
  std::string out(indent, ' ');
  out.append(label);
  const size_t column = 16;
  if (out.size() < column) out.append(column - out.size(), ' ');
  return out.append(" ").append(value).append("\n");
}

std::string at(const json& object, std::string_view key) { return cell(member_at(object, key)); }

std::string heading(const std::string& text, Color color) { return paint(text, Paint::kBold, color) + "\n"; }

/// The catalogue's sentence behind a code.
std::string explained(const std::string& code) {
  const auto reason = reason_from_code(code);
  return reason ? clean(code) + ": " + std::string(info(*reason).text) : clean(code);
}

/// Objects as "outer.inner value" lines.
void flatten(const std::string& prefix, const json& value, std::string& out) {
  if (!value.is_object()) {
    out.append(line(2, prefix, cell(value)));
    return;
  }
  for (const auto& [key, inner] : value.items())
    flatten(prefix.empty() ? clean(key) : prefix + "." + clean(key), inner, out);
}

std::string render_ike_sa(const json& sa, Color color) {
  std::string out = heading("IKE SA " + at(sa, "ike_spi_i") + " / " + at(sa, "ike_spi_r"), color);
  const std::string state = text_at(sa, "state", "unknown");
  out.append(line(2, "state",
                  paint(clean(state), paint_of(state), color) + ", " + at(sa, "role") + ", age " +
                      duration(member_at(sa, "age_seconds")) + ", worker " + at(sa, "worker")));
  const json& rekey = member_at(sa, "rekey_in_seconds");
  const json& ends = member_at(sa, "ends_in_seconds");
  if (!rekey.is_null() || !ends.is_null())
    out.append(line(2, "lifetime",
                    (rekey.is_null() ? "not rekeyed" : "rekeyed in " + duration(rekey)) +
                        (ends.is_null() ? "" : ", ends in " + duration(ends))));
  out.append(line(2, "path", at(sa, "local") + " to " + at(sa, "remote")));
  out.append(line(2, "remote id", at(sa, "remote_id")));
  out.append(line(2, "proposal", at(sa, "proposal")));
  const json& nat = member_at(sa, "nat");
  return out + line(2, "NAT", nat.is_null() ? "none" : cell(nat));
}

std::string render_direction(const json& sa, Color color) {
  std::string out =
      line(2, at(sa, "direction"),
           at(sa, "spi") + ", " + at(sa, "source") + " to " + at(sa, "destination") + ", " + at(sa, "mode") + " mode");
  out.append(line(4, "suite", at(sa, "suite")));
  const std::string effective = text_at(sa, "offload_effective", "unknown");
  std::string offload = "requested " + at(sa, "offload_requested") + ", effective ";
  offload.append(paint(clean(effective), paint_of(effective), color));
  const std::string device = text_at(sa, "offload_device");
  if (!device.empty()) offload.append(" on ").append(clean(device));
  out.append(line(4, "offload", offload));
  const std::string reason = text_at(sa, "offload_reason");
  if (!reason.empty()) out.append(line(4, "reason", explained(reason)));
  const std::string words = text_at(sa, "offload_detail");
  if (!words.empty()) out.append(line(4, "the kernel", "\"" + clean(words) + "\""));
  out.append(line(4, "packets", at(sa, "packets")));
  return out + line(4, "bytes", at(sa, "bytes"));
}

std::string render_child(const json& child, const json& sas, Color color) {
  const std::string name = text_at(child, "child", "?");
  const std::string state = text_at(child, "state", "unknown");
  std::string out = paint("Child " + clean(name), Paint::kBold, color);
  out.append(": ").append(paint(clean(state), paint_of(state), color)).append("\n");
  const std::string replaces = text_at(child, "replaces");
  if (!replaces.empty()) out.append(line(2, "replaces", clean(replaces)));
  if (const json& ends = member_at(child, "ends_in_seconds"); !ends.is_null())
    out.append(
        line(2, "ends", "in " + duration(ends) + ", made " + duration(member_at(child, "age_seconds")) + " ago"));
  out.append(line(2, "selectors", at(child, "local") + " === " + at(child, "remote")));
  out.append(line(2, "proposal", at(child, "proposal")));
  // During a rekey two children have one name.
  const std::string in = text_at(child, "spi_in"), outward = text_at(child, "spi_out");
  for (const json& sa : sas)
    if (const std::string spi = text_at(sa, "spi");
        text_at(sa, "child") == name && (in.empty() || spi == in || spi == outward))
      out.append(render_direction(sa, color));
  return out;
}

std::string render_tunnel(const json& tunnel, Color color) {
  const std::string state = text_at(tunnel, "state", "unknown");
  std::string out = paint("Tunnel " + at(tunnel, "name"), Paint::kBold, color);
  out.append(" of group ").append(at(tunnel, "group")).append(": ");
  out.append(paint(clean(state), paint_of(state), color));
  const std::string since = text_at(tunnel, "since");
  out.append(since.empty() ? "" : " since " + clean(since)).append("\n");
  const bool manual = text_at(tunnel, "keying") == "manual";
  if (manual) out.append(line(2, "keys", "manual: nobody renews them, and replayed packets are not told apart"));
  out.append(line(2, "remote", at(tunnel, "remote")));
  if (!manual) out.append(line(2, "local id", at(tunnel, "local_id")));
  if (!manual) out.append(line(2, "remote id", at(tunnel, "remote_id")));
  if (const std::string interface = text_at(tunnel, "interface"); !interface.empty()) {
    const json& addresses = member_at(tunnel, "addresses");
    const bool some = addresses.is_array() && !addresses.empty();
    out.append(line(2, "interface",
                    clean(interface) + ", " + at(tunnel, "interface_state") + (some ? ", " + cell(addresses) : "")));
  }
  if (const json& mtu = member_at(tunnel, "mtu"); !mtu.is_null()) {
    const std::string because = text_at(tunnel, "mtu_because");
    out.append(line(2, "mtu", cell(mtu) + (because.empty() ? "" : ": " + clean(because))));
  }
  if (const std::string mss = text_at(tunnel, "mss"); !mss.empty() && mss != "none")
    out.append(line(2, "mss", clean(mss)));
  const json& children = member_at(tunnel, "children");  // the list; a number in a row
  const std::string total = children.is_array() ? std::to_string(children.size()) : cell(children);
  out.append(line(2, "children", at(tunnel, "children_up") + " of " + total + " up"));
  const std::string reason = text_at(tunnel, "last_reason");
  if (!reason.empty()) {
    out.append(line(2, "last reason", explained(reason)));
    const std::string detail = text_at(tunnel, "last_detail");
    if (!detail.empty()) out.append(line(2, "", clean(detail)));
    const auto known = reason_from_code(reason);
    if (state != "up" && known && !info(*known).remedy.empty())
      out.append(line(2, "what to do", std::string(info(*known).remedy)));
  }
  const json& config = member_at(tunnel, "config");
  if (config.is_object() && !config.empty()) {
    out.append("\n").append(heading("Configuration", color));
    flatten("", config, out);
  }
  for (const json& route : member_at(tunnel, "routes")) {
    if (text_at(route, "state") != "waiting") continue;
    out.append(line(2, "no route to",
                    at(route, "destination") + " metric " + at(route, "metric") + ": tunnel " + at(route, "waits_for") +
                        " has it"));
  }
  for (const json& sa : member_at(tunnel, "ike_sas")) out.append("\n").append(render_ike_sa(sa, color));
  for (const json& child : children)
    if (child.is_object()) out.append("\n").append(render_child(child, member_at(tunnel, "sas"), color));
  return out;
}

/// Any other object: the columns of its kind with their headers, then what else there is.
std::string render_plain(std::string_view kind, const json& item) {
  std::string out;
  for (const Column& column : columns_of(kind)) {
    if (!item.contains(std::string(column.key))) continue;
    const json& value = member_at(item, column.key);
    std::string label(column.key);
    std::replace(label.begin(), label.end(), '_', ' ');
    out.append(column.key == "age_seconds" ? line(0, "age", duration(value)) : line(0, label, cell(value)));
  }
  for (const auto& [key, value] : item.items())
    if (!has_column(kind, key)) out.append(line(0, clean(key), cell(value)));
  return out;
}

}  // namespace

std::string render_show(std::string_view kind, const json& item, Color color) {
  if (!item.is_object()) return cell(item) + "\n";
  if (kind == "tunnels") return render_tunnel(item, color);
  if (kind == "sas")
    return heading("SA " + at(item, "tunnel") + "/" + at(item, "child"), color) + render_direction(item, color);
  if (kind == "peers") return render_ike_sa(item, color);
  return render_plain(kind, item);
}

}  // namespace ipsec::agent::ctl
