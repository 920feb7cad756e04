#include "policy/plan_groups.h"

#include <set>

#include "policy/config_routes.h"
#include "policy/diff.h"
#include "policy/drift.h"
#include "policy/plan.h"
#include "tests/policy/config_support.h"

// What stands for whole groups: VRFs, and rules between two of them. And how places are named.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

std::shared_ptr<const Config> accepted(const Document& document) {
  ConfigOutcome outcome = parse_one(document.text());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

const TunnelGroup& group_of(const std::shared_ptr<const Config>& config) { return *config->groups.at("core"); }

const Document kBetween{.group = R"(, "attachment": "policy", "private": { "vrf": "blue" })",
                        .public_place = R"(, "vrf": "wan")"};

ChildPlan planned(const std::shared_ptr<const Config>& config, const ChildIds& ids) {
  ChildSpec spec;
  spec.tunnel = config->tunnels.at("a");
  spec.child = "lan";
  spec.spi_in = ChildSpi(1), spec.spi_out = ChildSpi(2);
  spec.suite = {.encryption = kEncrAesGcm16, .key_bits = 256};
  spec.local = spec.tunnel->child("lan")->local, spec.remote = spec.tunnel->child("lan")->remote;
  spec.local_endpoint = {*spec.tunnel->local_address(), 500};
  spec.remote_endpoint = {*spec.tunnel->remote, 500};
  return plan_child(spec, ids).value();
}

std::vector<std::string> texts(const StateDiff& diff) {
  std::vector<std::string> lines;
  for (const KernelChange& each : diff.changes) {
    const ChangeText text = change_text(each);
    lines.push_back(std::string(text.kind) + " " + text.object + " " + std::string(text.verb));
  }
  return lines;
}

}  // namespace

TEST_CASE("vrf: planned where the group names its table, and up") {
  const auto config = accepted({.group = R"(, "private": { "netns": "c", "vrf": "blue", "vrf_table": 70001 })"});
  const auto vrf = plan_vrf(group_of(config));
  REQUIRE(vrf.has_value());
  CHECK(vrf->kind == LinkKind::kVrf);
  CHECK(vrf->name == "blue");
  CHECK(vrf->altname == "ipsecd-vrf-blue");
  CHECK(vrf->vrf_table == 70001);
  CHECK(vrf->up);
  CHECK_FALSE(plan_vrf(group_of(accepted({.group = R"(, "private": { "vrf": "blue" })"}))));
  CHECK_FALSE(
      plan_vrf(group_of(accepted({.group = R"(, "enabled": false, "private": { "vrf": "blue", "vrf_table": 7 })"}))));
}

TEST_CASE("rules: into both VRFs for both families, by marks that only the names decide") {
  const auto rules = plan_rules(group_of(accepted(kBetween)));
  REQUIRE(rules.size() == 4);
  std::set<std::pair<Family, std::string>> places;
  for (const RuleConfig& each : rules) {
    CHECK(each.priority < 1000);  // the kernel's own rule for VRFs
    CHECK(each.mark == vrf_mark(each.vrf));
    CHECK((each.mark.value & ~each.mark.mask) == 0);
    places.emplace(each.family, each.vrf);
  }
  CHECK(places.size() == 4);
  CHECK(vrf_mark("blue") != vrf_mark("wan"));
  CHECK(vrf_mark("blue") == Mark{.value = 0x69000000 | (vrf_mark("blue").value & 0xffff00), .mask = 0xffffff00});
  CHECK(plan_rules(group_of(accepted({}))).empty());
  CHECK(plan_rules(group_of(accepted({.group = R"(, "attachment": "policy")"}))).empty());
}

TEST_CASE("between two VRFs: each SA marks what it lets out with the VRF where that goes on") {
  const ChildPlan plan = planned(accepted(kBetween), {.reqid = 7});
  CHECK(plan.inbound.output_mark == vrf_mark("blue"));
  CHECK(plan.outbound.output_mark == vrf_mark("wan"));
  CHECK(plan.private_policies.empty());
  const ChildPlan plain = planned(accepted({.group = R"(, "attachment": "policy")"}), {.reqid = 7});
  CHECK(plain.inbound.output_mark.mask == 0);
  CHECK(plain.outbound.output_mark.mask == 0);
}

TEST_CASE("out of an underlay VRF into another namespace: an optional inbound policy there for each outbound one") {
  const auto config = accepted({.group = R"(, "private": { "netns": "customers" })",
                                .public_place = R"(, "vrf": "wan")",
                                .remote_selector = R"(10.2.0.0/16", "10.3.0.0/16)"});
  const ChildIds ids{.reqid = 7, .if_id = 0x1000001, .interface = "ips1000001"};
  const ChildPlan plan = planned(config, ids);
  REQUIRE(plan.private_policies.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    const PolicyConfig& each = plan.private_policies[i];
    CHECK(each.key.direction == Direction::kIn);
    CHECK(each.key.if_id == 0);
    CHECK(each.key.source == plan.outbound_policies[i].key.destination);
    CHECK(each.key.destination == plan.outbound_policies[i].key.source);
    CHECK(each.optional_template);
    CHECK(each.reqid == 7);
    CHECK(to_string(each.tunnel_source) == "198.51.100.7");
  }
  CHECK(plan_link(*config->tunnels.at("a"), ids).public_device == "wan");
  const auto same = accepted({.group = R"(, "private": { "vrf": "blue" })", .public_place = R"(, "vrf": "wan")"});
  CHECK(planned(same, ids).private_policies.empty());
}

TEST_CASE("diff: VRFs come before the links in them and go after them; rules go after the SAs") {
  NamespaceState state;
  LinkConfig vrf{.kind = LinkKind::kVrf, .name = "zeta", .vrf_table = 7}, link{.name = "ips1", .vrf = "zeta"};
  const RuleConfig rule{.mark = {.value = 0x69000000, .mask = kVrfMarkMask}, .vrf = "zeta"};
  const SaKey sa{IpAddress::parse("192.0.2.1").value(), ChildSpi(1)};
  state.add(vrf), state.add(link), state.add(rule);

  CHECK(texts(diff(state, {})) == std::vector<std::string>{"link zeta made", "link ips1 made",
                                                           "rule IPv4 mark 0x69000000/0xffffff00 vrf zeta made"});
  state.sas[sa] = {};
  CHECK(texts(diff({}, state)) == std::vector<std::string>{"sa 0x00000001 to 192.0.2.1 removed",
                                                           "rule IPv4 mark 0x69000000/0xffffff00 vrf zeta removed",
                                                           "link ips1 removed", "link zeta removed"});
}

TEST_CASE("diff: a VRF of another table is made anew, and a rule into a table that is nobody's any more as well") {
  NamespaceState wanted, ours;
  wanted.add(LinkConfig{.kind = LinkKind::kVrf, .name = "blue", .vrf_table = 8});
  ours.add(LinkConfig{.kind = LinkKind::kVrf, .name = "blue", .vrf_table = 7});
  wanted.add(RuleConfig{.priority = 950, .mark = vrf_mark("blue"), .vrf = "blue"});
  ours.add(RuleConfig{.priority = 950, .mark = vrf_mark("blue"), .vrf = "#7"});
  const auto lines = texts(diff(wanted, ours));
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] == "link blue removed");
  CHECK(lines[1] == "link blue made");
  CHECK(lines[2].ends_with("vrf #7 removed"));
  CHECK(lines[3].ends_with("vrf blue made"));
  CHECK(drift("n", wanted, {.ours = ours, .foreign = {}}).size() == 3);
}

TEST_CASE("namespaces: one has one text, whether named, by process, or by path") {
  for (const char* text : {"", "customers", "a.b-c_d", "pid:1", "pid:4294967", "/run/mine/net", "/var/run/other/net"})
    CHECK(canonical_netns(text) == std::optional<std::string>(text));
  CHECK(canonical_netns("/run/netns/customers") == "customers");
  CHECK(canonical_netns("/var/run/netns/customers") == "customers");
  CHECK(canonical_netns("/proc/42/ns/net") == "pid:42");
  for (const char* text : {"pid:", "pid:x", "pid:07", "pid:1/../2", "a/b", "..", ".", "/", "//x", "/run/", "/run/./x",
                           "/run/../x", "/run//x", "a b", "pid:123456789012"})
    CHECK_MESSAGE(!canonical_netns(text), text);
}

TEST_CASE("role of a group: its tunnels only answer, whatever their IKE policies say") {
  const auto config = accepted({.group = R"(, "role": "respond")"});
  CHECK(config->tunnels.at("a")->ike_policy->role == Role::kRespond);
  CHECK(config->ike_policies.at("strong")->role == Role::kBoth);
  CHECK(accepted({})->tunnels.at("a")->ike_policy->role == Role::kBoth);
}
