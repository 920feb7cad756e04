#include "policy/drift.h"

#include <algorithm>

#include "policy/base/bytes.h"
#include "policy/marks.h"

namespace ipsec::policy {
namespace {

constexpr std::string_view kRulesObject = "table inet ipsecd";

std::string with_0x(uint32_t value) { return "0x" + hex32(value); }

/// "mtu 1300, wanted 1400; ..." out of what differs.
class Differences {
 public:
  void compare(std::string_view what, const std::string& found, const std::string& wanted) {
    if (found == wanted) return;
    if (!text_.empty()) text_ += "; ";
    text_.append(what).append(" ").append(found.empty() ? "none" : found);
    text_.append(", wanted ").append(wanted.empty() ? "none" : wanted);
  }
  void compare(std::string_view what, uint64_t found, uint64_t wanted) {
    compare(what, std::to_string(found), std::to_string(wanted));
  }
  std::string take() { return text_.empty() ? "not as wanted" : std::move(text_); }

 private:
  std::string text_;
};

std::string offload_text(const OffloadRequest& offload) {
  return offload.kind == OffloadKind::kNone ? std::string()
                                            : std::string(to_string(offload.kind)) + " " + offload.device;
}

std::string shape_text(const PolicyConfig& policy) {
  std::string text = policy.action == PolicyAction::kBlock ? "block" : "allow";
  if (!policy.has_template) return text + " without template";
  text.append(" ").append(to_string(policy.mode)).append(" ").append(to_string(policy.tunnel_source));
  text.append(" to ").append(to_string(policy.tunnel_destination));
  return policy.optional_template ? text + " optional" : text;
}

std::string difference(const SaIdentity& found, const SaIdentity& wanted) {
  Differences differences;
  differences.compare("reqid", found.reqid, wanted.reqid);
  differences.compare("if_id", found.if_id, wanted.if_id);
  differences.compare("source", to_string(found.source), to_string(wanted.source));
  differences.compare("mode", std::string(to_string(found.mode)), std::string(to_string(wanted.mode)));
  return differences.take();
}

std::string difference(const PolicyConfig& found, const PolicyConfig& wanted) {
  Differences differences;
  differences.compare("priority", found.priority, wanted.priority);
  differences.compare("reqid", found.reqid, wanted.reqid);
  differences.compare("action", shape_text(found), shape_text(wanted));
  differences.compare("offload", offload_text(found.offload), offload_text(wanted.offload));
  return differences.take();
}

std::string difference(const LinkConfig& found, const LinkConfig& wanted) {
  Differences differences;
  differences.compare("kind", std::string(to_string(found.kind)), std::string(to_string(wanted.kind)));
  differences.compare("state", found.up ? "up" : "down", wanted.up ? "up" : "down");
  differences.compare("operational state", found.dormant ? "dormant" : "running",
                      wanted.dormant ? "dormant" : "running");
  differences.compare("addresses", to_string(found.addresses), to_string(wanted.addresses));
  differences.compare("vrf", found.vrf, wanted.vrf);
  differences.compare("mtu", found.mtu, wanted.mtu);
  differences.compare("group", found.group, wanted.group);
  differences.compare("altname", found.altname, wanted.altname);
  differences.compare("if_id", found.if_id, wanted.if_id);
  differences.compare("table", found.vrf_table, wanted.vrf_table);
  differences.compare("local end", to_string(found.tunnel_local), to_string(wanted.tunnel_local));
  differences.compare("other end", to_string(found.tunnel_remote), to_string(wanted.tunnel_remote));
  differences.compare("key", found.tunnel_key, wanted.tunnel_key);
  differences.compare("public namespace", found.public_netns, wanted.public_netns);
  differences.compare("public device", found.public_device, wanted.public_device);
  return differences.take();
}

std::string difference(const RouteConfig& found, const RouteConfig& wanted) {
  const auto source = [](const RouteConfig& route) {
    return route.preferred_source ? to_string(*route.preferred_source) : std::string();
  };
  const auto gateway = [](const RouteConfig& route) {
    return route.gateway ? to_string(*route.gateway) : std::string();
  };
  Differences differences;
  differences.compare("device", found.device, wanted.device);
  differences.compare("protocol", found.protocol, wanted.protocol);
  differences.compare("source", source(found), source(wanted));
  differences.compare("gateway", gateway(found), gateway(wanted));
  differences.compare("encap if_id", found.encap_if_id, wanted.encap_if_id);
  return differences.take();
}

/// Never asked: a rule is its own key.
std::string difference(const RuleConfig&, const RuleConfig&) { return {}; }

std::string text_of(const std::pair<const RuleConfig, RuleConfig>& rule) { return object_text(rule.first); }
std::string text_of(const std::pair<const SaKey, SaIdentity>& sa) { return object_text(sa.first); }
std::string text_of(const std::pair<const PolicyKey, PolicyConfig>& policy) { return object_text(policy.first); }
std::string text_of(const std::pair<const std::string, LinkConfig>& link) { return object_text(link.second); }
std::string text_of(const std::pair<const RouteKey, RouteConfig>& route) { return object_text(route.second); }

template <typename Map>
void compare(DriftRow row, const Map& desired, const Map& ours, const Map& foreign, std::vector<DriftRow>& rows) {
  const auto add = [&](const auto& object, DriftVerdict verdict, std::string detail) {
    row.object = text_of(object);
    row.verdict = verdict;
    row.detail = std::move(detail);
    rows.push_back(row);
  };
  for (const auto& wanted : desired) {
    const auto there = ours.find(wanted.first);
    if (there == ours.end())
      add(wanted, DriftVerdict::kMissing, foreign.count(wanted.first) != 0 ? "somebody else's is in its place" : "");
    else if (!(there->second == wanted.second))
      add(wanted, DriftVerdict::kChanged, difference(there->second, wanted.second));
  }
  for (const auto& there : ours)
    if (desired.count(there.first) == 0) add(there, DriftVerdict::kExtra, {});
  for (const auto& there : foreign)
    add(there, has_own_mark(there.second) ? DriftVerdict::kUnclaimed : DriftVerdict::kForeign, {});
}

/// There is one table or none.
void compare(const std::string& netns, const PacketRules& desired, const StandingState& standing,
             std::vector<DriftRow>& rows) {
  const PacketRules& ours = standing.ours.packet_rules;
  DriftRow row{.kind = "rules", .netns = netns, .object = std::string(kRulesObject)};
  if (ours != desired) {
    row.verdict = ours.empty()      ? DriftVerdict::kMissing
                  : desired.empty() ? DriftVerdict::kExtra
                                    : DriftVerdict::kChanged;
    if (row.verdict == DriftVerdict::kChanged) row.detail = to_string(ours) + "; wanted " + to_string(desired);
    rows.push_back(row);
  }
  if (standing.foreign.packet_rules.empty()) return;
  row.verdict = DriftVerdict::kUnclaimed;  // its comment is our mark
  row.detail.clear();
  rows.push_back(row);
}

struct Describe {
  ChangeText operator()(const AddSa& each) const { return {"sa", object_text(each.sa.key), "made"}; }
  ChangeText operator()(const DeleteSa& each) const { return {"sa", object_text(each.key), "removed"}; }
  ChangeText operator()(const ReadSa& each) const { return {"sa", object_text(each.key), "read"}; }
  ChangeText operator()(const AddPolicy& each) const { return {"policy", object_text(each.policy.key), "made"}; }
  ChangeText operator()(const UpdatePolicy& each) const { return {"policy", object_text(each.policy.key), "changed"}; }
  ChangeText operator()(const DeletePolicy& each) const { return {"policy", object_text(each.key), "removed"}; }
  ChangeText operator()(const AddLink& each) const { return {"link", object_text(each.link), "made"}; }
  ChangeText operator()(const UpdateLink& each) const { return {"link", object_text(each.link), "changed"}; }
  ChangeText operator()(const DeleteLink& each) const { return {"link", each.name, "removed"}; }
  ChangeText operator()(const AddRoute& each) const { return {"route", object_text(each.route), "made"}; }
  ChangeText operator()(const DeleteRoute& each) const { return {"route", object_text(each.route), "removed"}; }
  ChangeText operator()(const SetPacketRules& each) const {
    return {"rules", std::string(kRulesObject), each.rules.empty() ? "removed" : "made"};
  }
  ChangeText operator()(const ChangePacketRules&) const { return {"rules", std::string(kRulesObject), "changed"}; }
  ChangeText operator()(const AddRule& each) const { return {"rule", object_text(each.rule), "made"}; }
  ChangeText operator()(const DeleteRule& each) const { return {"rule", object_text(each.rule), "removed"}; }
};

}  // namespace

std::string_view to_string(DriftVerdict verdict) {
  switch (verdict) {
    case DriftVerdict::kMissing: return "missing";
    case DriftVerdict::kChanged: return "changed";
    case DriftVerdict::kExtra: return "extra";
    case DriftVerdict::kUnclaimed: return "unclaimed";
    case DriftVerdict::kForeign: return "foreign";
  }
  return "";
}

std::string object_text(const SaKey& key) { return with_0x(key.spi.value()) + " to " + to_string(key.destination); }

std::string object_text(const PolicyKey& key) {
  std::string text(to_string(key.direction));
  const auto side = [&](const IpPrefix& prefix, uint16_t port, uint16_t mask) {
    text.append(" ").append(to_string(prefix));
    if (mask != 0) text.append("[").append(std::to_string(port)).append("/").append(with_0x(mask)).append("]");
  };
  side(key.source, key.source_port, key.source_port_mask);
  side(key.destination, key.destination_port, key.destination_port_mask);
  if (key.protocol != 0) text.append(" protocol ").append(std::to_string(key.protocol));
  if (key.if_id != 0) text.append(" if_id ").append(with_0x(key.if_id));
  if (key.mark.mask != 0)
    text.append(" mark ").append(with_0x(key.mark.value)).append("/").append(with_0x(key.mark.mask));
  if (key.user != 0) text.append(" user ").append(std::to_string(key.user));
  return text;
}

std::string object_text(const LinkConfig& link) {
  return link.altname.empty() ? link.name : link.name + " (" + link.altname + ")";
}

std::string object_text(const RouteConfig& route) {
  std::string text = to_string(route.destination);
  if (!route.vrf.empty()) text.append(" vrf ").append(route.vrf);
  text.append(route.kind == RouteKind::kUnreachable ? " unreachable" : " dev " + route.device);
  if (route.gateway) text.append(" via ").append(to_string(*route.gateway));
  return text.append(" metric ").append(std::to_string(route.metric));
}

std::string object_text(const RuleConfig& rule) {
  std::string text = rule.family == Family::kIpv4 ? "IPv4" : "IPv6";
  text.append(" mark ").append(with_0x(rule.mark.value)).append("/").append(with_0x(rule.mark.mask));
  return text.append(rule.vrf.empty() ? " main" : " vrf " + rule.vrf);
}

ChangeText change_text(const KernelChange& change) { return std::visit(Describe{}, change); }

std::vector<DriftRow> drift(const std::string& netns, const NamespaceState& desired, const StandingState& standing) {
  std::vector<DriftRow> rows;
  const auto row = [&](std::string kind) { return DriftRow{.kind = std::move(kind), .netns = netns}; };
  const NamespaceState &ours = standing.ours, &foreign = standing.foreign;
  compare(row("link"), desired.links, ours.links, foreign.links, rows);
  compare(row("policy"), desired.policies, ours.policies, foreign.policies, rows);
  compare(row("route"), desired.routes, ours.routes, foreign.routes, rows);
  compare(row("rule"), desired.rules, ours.rules, foreign.rules, rows);
  compare(row("sa"), desired.sas, ours.sas, foreign.sas, rows);
  compare(netns, desired.packet_rules, standing, rows);
  return rows;
}

bool has_drift(const std::vector<DriftRow>& rows) {
  return std::ranges::any_of(rows, [](const DriftRow& row) {
    return row.verdict != DriftVerdict::kForeign && row.verdict != DriftVerdict::kUnclaimed;
  });
}

}  // namespace ipsec::policy
