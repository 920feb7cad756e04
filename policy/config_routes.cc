#include "policy/config_routes.h"

#include <algorithm>
#include <array>

#include "policy/config_rules.h"

namespace ipsec::policy {
namespace {

/// The two halves of a prefix of more than one address: the upper one begins with the next bit set.
std::array<IpPrefix, 2> halves(const IpPrefix& prefix) {
  const auto length = static_cast<uint8_t>(prefix.length + 1);
  std::vector<uint8_t> bytes(prefix.address.bytes().begin(), prefix.address.bytes().end());
  bytes[prefix.length / 8] |= static_cast<uint8_t>(0x80 >> (prefix.length % 8));
  return {IpPrefix{prefix.address, length}, IpPrefix{IpAddress::from_bytes(bytes).value(), length}};
}

/// Whether the ranges, all of one family, cover a prefix together.
bool cover(const std::vector<IpRange>& ranges, const IpPrefix& prefix) {
  const IpRange all = IpRange::of(prefix);
  bool meets = false;
  for (const IpRange& each : ranges) {
    if (each.contains(all)) return true;
    meets = meets || (each.first <= all.last && all.first <= each.last);
  }
  if (!meets || prefix.length == prefix.address.bits()) return false;
  return std::ranges::all_of(halves(prefix), [&](const IpPrefix& half) { return cover(ranges, half); });
}

std::vector<IpRange> reach_of(const Tunnel& tunnel, Family family) {
  std::vector<IpRange> ranges;
  for (const ChildConfig& child : tunnel.children)
    for (const TrafficSelector& each : child.remote)
      if (each.addresses.first.family() == family) ranges.push_back(each.addresses);
  return ranges;
}

}  // namespace

void read_group_routes(ObjectReader& reader, TunnelGroup& group) {
  reader.number("protocol", group.route_protocol);
  if (auto metric = reader.object("metric")) {
    metric->number("alone", group.metrics.alone);
    metric->number("idle", group.metrics.idle);
  }
  reader.flag("selectors", group.selector_routes);
  reader.flag("gateway_addresses", group.gateway_routes);
}

void read_place(ObjectReader& reader, RoutingPlace& place) {
  reader.text("netns", place.netns);
  reader.text("vrf", place.vrf);
  if (auto netns = canonical_netns(place.netns))
    place.netns = std::move(*netns);
  else
    reader.error("netns", Reason::kConfigBadValue, "\"" + printable(as_bytes(place.netns)) + "\"",
                 "a name as in `ip netns list`, pid:N, or an absolute path");
  if (!is_place_name(place.vrf) || place.vrf.size() > 15)
    reader.error("vrf", Reason::kConfigBadValue, "\"" + printable(as_bytes(place.vrf)) + "\"",
                 "an interface name of at most 15 characters");
}

void read_vrf_table(ObjectReader& reader, TunnelGroup& group) {
  constexpr uint32_t kDefault = 253, kMain = 254, kLocal = 255;
  if (reader.find("vrf_table") == nullptr) return;
  reader.number("vrf_table", group.private_vrf_table);
  for (const uint32_t taken : {kDefault, kMain, kLocal})
    if (group.private_vrf_table == taken)
      reader.error("vrf_table", Reason::kConfigBadValue, std::to_string(taken),
                   "a table that the system does not use itself: not 253, 254 or 255");
}

std::optional<std::string> canonical_netns(const std::string& text) {
  const auto is_number = [](std::string_view part) {
    return !part.empty() && part.size() <= 10 && part.front() != '0' &&
           part.find_first_not_of("0123456789") == std::string_view::npos;
  };
  constexpr std::string_view kPid = "pid:", kProc = "/proc/", kProcEnd = "/ns/net";
  if (text.empty()) return text;
  if (text.starts_with(kPid)) return is_number(text.substr(kPid.size())) ? std::optional(text) : std::nullopt;
  if (text.front() != '/') return is_place_name(text) ? std::optional(text) : std::nullopt;
  // A path: parts without "." and "..", so that one namespace has one text as far as the text can tell.
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('/', at + 1), text.size());
    const std::string_view part = std::string_view(text).substr(at + 1, end - at - 1);
    if (part.empty() || part == "." || part == ".." || printable(as_bytes(part)) != part) return std::nullopt;
    at = end;
  }
  for (const std::string_view folder : {"/run/netns/", "/var/run/netns/"})
    if (text.starts_with(folder) && is_place_name(text.substr(folder.size()))) return text.substr(folder.size());
  if (text.starts_with(kProc) && text.ends_with(kProcEnd) && text.size() > kProc.size() + kProcEnd.size()) {
    const std::string pid = text.substr(kProc.size(), text.size() - kProc.size() - kProcEnd.size());
    if (is_number(pid)) return std::string(kPid) + pid;
  }
  return text;
}

void read_static_routes(ObjectReader& reader, Tunnel& tunnel) {
  for (ObjectReader& each : reader.objects("routes")) {
    std::string text;
    each.text("prefix", text);
    const JsonNode* node = each.find("prefix");
    if (node == nullptr || node->kind != JsonNode::Kind::kText) continue;  // reported
    StaticRoute route;
    if (each.find("metric") != nullptr) each.number("metric", route.metric.emplace());
    auto prefix = IpPrefix::parse(text);
    if (!prefix.ok()) {
      each.error(*node, "prefix", Reason::kConfigBadValue, prefix.error().detail());
      continue;
    }
    route.prefix = *prefix;
    if (std::ranges::find(tunnel.routes, route.prefix, &StaticRoute::prefix) != tunnel.routes.end())
      each.error("prefix", Reason::kConfigConflict, node->shown(), "a prefix that is not in the list already");
    else if (const auto ranges = reach_of(tunnel, route.prefix.address.family());
             !tunnel.children.empty() && !cover(ranges, route.prefix))
      each.error("prefix", Reason::kConfigConflict, node->shown(),
                 "a part of what the remote selectors of the tunnel's children cover: the kernel would drop the rest");
    tunnel.routes.push_back(route);
  }
}

}  // namespace ipsec::policy
