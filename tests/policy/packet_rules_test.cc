#include "policy/packet_rules.h"

#include "policy/diff.h"
#include "policy/drift.h"
#include "tests/policy/config_support.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

const SaKey kSa{IpAddress::v4(0xc0000202), ChildSpi(0xc0000001)};

NamespaceState with(const PacketRules& rules) {
  NamespaceState state;
  state.add(rules);
  return state;
}

PacketRules clamped() { return {.interfaces = {{"ips1", {1300, 1280}}}}; }

ChildPolicy policy_of(const std::string& settings) {
  const ConfigOutcome outcome = parse_one(Document{.child_policy = settings}.text());
  REQUIRE(outcome.config != nullptr);
  return *outcome.config->child_policies.at("fast");
}

}  // namespace

TEST_CASE("packet rules: a DSCP is copied, zero, a number or a name") {
  struct Row {
    const char* text;
    DscpMode mode;
    int value;
  };
  for (const Row& row : {Row{"copy", DscpMode::kCopy, 0},
                         {"zero", DscpMode::kZero, 0},
                         {"0", DscpMode::kFixed, 0},
                         {"63", DscpMode::kFixed, 63},
                         {"0x28", DscpMode::kFixed, 40},
                         {"cs5", DscpMode::kFixed, 40},
                         {"cs0", DscpMode::kFixed, 0},
                         {"af11", DscpMode::kFixed, 10},
                         {"af43", DscpMode::kFixed, 38},
                         {"ef", DscpMode::kFixed, 46}}) {
    CAPTURE(row.text);
    const auto parsed = parse_dscp(row.text);
    REQUIRE(parsed);
    CHECK(parsed->mode == row.mode);
    CHECK(parsed->value == row.value);
  }
  for (const char* text : {"", "64", "0x40", "cs8", "af14", "af51", "af1", "-1", "1 ", "EF", "0x", "12345678901"})
    CHECK_MESSAGE(!parse_dscp(text), text);
}

TEST_CASE("packet rules: an MSS is none, that of the MTU, or bytes") {
  CHECK(parse_mss("none")->mode == MssClamp::Mode::kNone);
  CHECK(parse_mss("mtu")->mode == MssClamp::Mode::kMtu);
  CHECK(*parse_mss("88") == MssClamp{MssClamp::Mode::kFixed, 88});
  CHECK(*parse_mss("65000") == MssClamp{MssClamp::Mode::kFixed, 65000});
  for (const char* text : {"", "87", "65001", "mtu ", "1300 bytes", "-88"}) CHECK_MESSAGE(!parse_mss(text), text);
  for (const char* text : {"none", "mtu", "1360"}) CHECK(to_string(*parse_mss(text)) == text);
}

TEST_CASE("packet rules: what the configuration says of packets arrives in the policy, and what is wrong is told") {
  const ChildPolicy policy = policy_of(R"(, "df": "set", "dscp": "af31", "outer_mtu": 1400, "inner_df": "clear")");
  CHECK(policy.df == DfMode::kSet);
  CHECK(policy.dscp == DscpMode::kFixed);
  CHECK(policy.dscp_value == 26);
  CHECK(policy.outer_mtu == 1400);
  CHECK(policy.inner_df == InnerDf::kClear);
  for (const char* wrong : {R"(, "dscp": "cs9")", R"(, "mtu": 255)", R"(, "outer_mtu": 575)",
                            R"(, "mtu": 1300, "outer_mtu": 1400)", R"(, "df": "Set")"})
    (void)only_error(Document{.child_policy = wrong}.text());
  CHECK(only_error(Document{.group = R"(, "mss": "12")"}.text()).pointer == "/tunnel_groups/core/mss");
  CHECK(only_error(Document{.tunnel = R"(, "mss": "all")"}.text()).pointer == "/tunnels/a/mss");
}

TEST_CASE("packet rules: a tunnel's MSS takes the place of its group's") {
  const auto group_only = parse_one(Document{.group = R"(, "mss": "mtu")"}.text()).config;
  CHECK(group_only->tunnels.at("a")->mss_clamp().mode == MssClamp::Mode::kMtu);
  const auto both = parse_one(Document{.group = R"(, "mss": "mtu")", .tunnel = R"(, "mss": "none")"}.text()).config;
  CHECK(both->tunnels.at("a")->mss_clamp().mode == MssClamp::Mode::kNone);
}

TEST_CASE("packet rules: what needs an interface is refused where there is none") {
  for (const char* setting : {R"(, "mtu": 1300)", R"(, "outer_mtu": 1400)", R"(, "inner_df": "clear")"}) {
    const ConfigError error =
        only_error(Document{.group = R"(, "attachment": "policy")", .child_policy = setting}.text());
    CHECK(error.reason == Reason::kConfigConflict);
    CHECK(error.pointer == "/tunnels/a/children/lan/policy");
  }
}

TEST_CASE("packet rules: only what XFRM cannot is a matter of rules") {
  CHECK_FALSE(goes_by_rules(policy_of(R"(, "df": "clear", "dscp": "zero")")));
  CHECK(outer_header(policy_of(R"(, "df": "set")"), true) == OuterHeader{.df_set = true, .udp_encapsulation = true});
  CHECK(outer_header(policy_of(R"(, "dscp": "0")"), false) == OuterHeader{.dscp = uint8_t{0}});
  // In transport mode XFRM makes no header in which it could.
  ChildPolicy transport = policy_of(R"(, "dscp": "zero")");
  transport.mode = EspMode::kTransport;
  CHECK(outer_header(transport, false) == OuterHeader{.dscp = uint8_t{0}});
}

TEST_CASE("packet rules: a change puts there, replaces and takes away, and leaves the rest") {
  PacketRules rules = clamped();
  rules.outer[kSa] = {.df_set = true};
  PacketRuleChange change;
  change.interfaces = {{"ips1", std::nullopt}, {"ips2", MssLimits{1200, 1180}}};
  change.inner_df = {{{.interface = "ips2"}, true}};
  change.apply_to(rules);
  CHECK(rules.interfaces == std::map<std::string, MssLimits>{{"ips2", {1200, 1180}}});
  CHECK(rules.inner_df.size() == 1);
  CHECK(rules.outer.size() == 1);
  const PacketRules::Sealed pair{IpAddress::parse("192.0.2.2").value(), IpAddress::parse("192.0.2.1").value()};
  for (const bool wanted : {true, false}) {
    PacketRuleChange{.sealed = {{pair, wanted}}}.apply_to(rules);
    CHECK(rules.sealed.contains(pair) == wanted);
  }
  change = {.inner_df = {{{.interface = "ips2"}, false}}};
  change.outer[kSa] = std::nullopt;
  change.apply_to(rules);
  CHECK(rules.inner_df.empty());
  CHECK(rules.outer.empty());
}

TEST_CASE("packet rules: DF bits come apart from the rest, and together again") {
  const SaKey six{IpAddress::parse("2001:db8::2").value(), ChildSpi(0xc0000006)};
  const SaKey other{IpAddress::parse("192.0.2.9").value(), ChildSpi(0xc0000009)};
  PacketRules rules = clamped();
  CHECK_FALSE(has_df(rules));
  CHECK(with_df(without_df(rules), only_df(rules)) == rules);
  rules.outer[kSa] = {.df_set = true, .dscp = uint8_t{46}, .udp_encapsulation = true};
  rules.outer[other] = {.df_set = true};
  rules.outer[six] = {.df_set = true};  // means nothing
  CHECK(has_df(rules));
  CHECK(only_df(rules).outer ==
        std::map<SaKey, OuterHeader>{{kSa, {.df_set = true, .udp_encapsulation = true}}, {other, {.df_set = true}}});
  CHECK(only_df(rules).interfaces.empty());
  CHECK(without_df(rules).outer ==
        std::map<SaKey, OuterHeader>{{kSa, {.dscp = uint8_t{46}, .udp_encapsulation = true}}, {six, {.df_set = true}}});
  CHECK(without_df(rules).interfaces == rules.interfaces);
  rules.inner_df = {{.interface = "ips2"}};
  CHECK(only_df(rules).inner_df == rules.inner_df);
  CHECK(without_df(rules).inner_df.empty());
  CHECK(with_df(without_df(rules), only_df(rules)) == rules);

  PacketRules changed = only_df(rules);
  changed.intact = false;
  CHECK_FALSE(with_df(without_df(rules), changed).intact);
  changed.intact = true, changed.outer[kSa].udp_encapsulation = false;
  CHECK_FALSE(with_df(without_df(rules), changed).intact);
}

TEST_CASE("packet rules: a change without its DF bits takes out what has nothing else") {
  PacketRuleChange change;
  change.outer[kSa] = OuterHeader{.dscp = uint8_t{46}};
  CHECK_FALSE(has_df(change));
  change.outer[kSa]->df_set = true;
  CHECK(has_df(change));
  CHECK(without_df(change).outer.at(kSa) == OuterHeader{.dscp = uint8_t{46}});
  change.outer[kSa] = OuterHeader{.df_set = true};
  CHECK(without_df(change).outer.at(kSa) == std::nullopt);
  change.outer.clear();
  change.inner_df = {{{.interface = "ips2"}, false}};
  CHECK(has_df(change));
  CHECK(without_df(change).empty());
}

TEST_CASE("packet rules: the difference between two states is one whole table") {
  CHECK(diff(with(clamped()), with(clamped())).empty());
  const StateDiff made = diff(with(clamped()), {});
  REQUIRE(made.changes.size() == 1);
  CHECK(std::get<SetPacketRules>(made.changes[0]).rules == clamped());
  const StateDiff gone = diff({}, with(clamped()));
  REQUIRE(gone.changes.size() == 1);
  CHECK(std::get<SetPacketRules>(gone.changes[0]).rules.empty());
  PacketRules touched = clamped();
  touched.intact = false;
  CHECK(diff(with(clamped()), with(touched)).changes.size() == 1);
}

TEST_CASE("packet rules: drift says whether they are missing, changed, left over, or somebody else's") {
  using Rows = std::vector<DriftRow>;
  const auto verdicts = [](const Rows& rows) {
    std::vector<DriftVerdict> all;
    for (const DriftRow& row : rows) {
      CHECK(row.kind == "rules");
      CHECK(row.object == "table inet ipsecd");
      all.push_back(row.verdict);
    }
    return all;
  };
  PacketRules touched = clamped();
  touched.intact = false;
  CHECK(verdicts(drift("n", with(clamped()), {})) == std::vector{DriftVerdict::kMissing});
  CHECK(verdicts(drift("n", {}, {.ours = with(clamped())})) == std::vector{DriftVerdict::kExtra});
  const Rows changed = drift("n", with(clamped()), {.ours = with(touched)});
  CHECK(verdicts(changed) == std::vector{DriftVerdict::kChanged});
  CHECK(changed[0].detail == "1 interfaces with MSS, changed by others; wanted 1 interfaces with MSS");
  CHECK(verdicts(drift("n", {}, {.foreign = with(clamped())})) == std::vector{DriftVerdict::kUnclaimed});
  CHECK(drift("n", with(clamped()), {.ours = with(clamped())}).empty());
}
