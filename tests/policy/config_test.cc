#include <algorithm>

#include "policy/limits.h"
#include "tests/policy/config_support.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

struct Wrong {
  const char* what;
  Document document;
  Reason reason;
  size_t line;
  const char* pointer;
  const char* found;
  const char* allowed;  ///< Must occur in the text.
};

void check(const Wrong& wrong) {
  CAPTURE(std::string(wrong.what));
  const ConfigError error = only_error(wrong.document.text());
  CHECK(error.reason == wrong.reason);
  CHECK(error.file == "gw.json");
  CHECK(error.line == wrong.line);
  CHECK(error.pointer == wrong.pointer);
  CHECK(error.found == wrong.found);
  CHECK_MESSAGE(error.allowed.find(wrong.allowed) != std::string::npos, error.allowed);
}

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("config: the example of the product description is accepted") {
  const ConfigOutcome outcome = parse_one(R"({
  "version": 1,
  "tunnel_groups": {
    "core": {
      "public":  { "addresses": ["192.0.2.1", "2001:db8::1"] },
      "private": { "netns": "customers", "vrf": "blue" },
      "attachment": "auto",                       // interface | policy | auto
      "offload": { "mode": "auto", "devices": ["ens1f0np0"] },
      "routes": { "protocol": 50, "metric": { "alone": 100 } }
    }
  },
  "ike_policies":   { "std": { "proposals": ["aes256gcm16-prfsha384-x25519"], "lifetime": "24h", "dpd": "30s" } },
  "child_policies": { "std": { "proposals": ["aes256gcm16"], "pfs": true, "lifetime": "1h", "replay_window": 128 } },
  "credentials":    { "branch-7": { "psk": { "file": "branch-7.psk" } } },
  "tunnels": {
    "branch-7": {
      "group": "core", "remote": "198.51.100.7",
      "local_id": "gw.example.net", "remote_id": "branch-7.example.net", "credential": "branch-7",
      "ike_policy": "std",
      "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.7.0.0/16"], "policy": "std", "start": "traffic" } }
    }
  }
})");

  REQUIRE(outcome.errors.empty());
  const Tunnel& tunnel = *outcome.config->tunnels.at("branch-7");
  CHECK(tunnel.group->private_place == RoutingPlace{"customers", "blue"});
  CHECK(tunnel.offload_mode() == OffloadMode::kAuto);
  CHECK(tunnel.ike_policy->dpd == 30s);
  CHECK(to_string(*tunnel.local_address()) == "192.0.2.1");
  CHECK(tunnel.child("lan")->policy->pfs);
  CHECK(tunnel.child("lan")->start == StartMode::kTraffic);
  CHECK(outcome.config->warnings.empty());
}

namespace {
/// One wrong document per kind of error.
const std::vector<Wrong> kWrongDocuments = {
    {"unknown key",
     {.tunnel = R"(, "remot_id": "x")"},
     Reason::kConfigUnknownKey,
     6,
     "/tunnels/a/remot_id",
     "",
     "did you mean \"remote_id\"?"},
    {"a key that resembles none",
     {.tunnel = R"(, "zzzzzzzz": 1)"},
     Reason::kConfigUnknownKey,
     6,
     "/tunnels/a/zzzzzzzz",
     "",
     "no such key here"},
    {"wrong type",
     {.group = R"(, "enabled": "yes")"},
     Reason::kConfigBadValue,
     2,
     "/tunnel_groups/core/enabled",
     "\"yes\"",
     "true or false"},
    {"a fraction",
     {.child_policy = R"(, "replay_window": 64.5)"},
     Reason::kConfigBadValue,
     4,
     "/child_policies/fast/replay_window",
     "64.5",
     "a whole number from 32 to 4096"},
    {"a word",
     {.child = R"(, "start": "trafic")"},
     Reason::kConfigBadValue,
     7,
     "/tunnels/a/children/lan/start",
     "\"trafic\"",
     "one of: now traffic respond; did you mean \"traffic\"?"},
    {"a duration without unit",
     {.ike_policy = R"(, "dpd": 30)"},
     Reason::kConfigBadValue,
     3,
     "/ike_policies/strong/dpd",
     "30",
     "with a unit: \"30s\""},
    {"a required key",
     {.credential = R"( }, "b": { "psk": { })"},
     Reason::kConfigMissing,
     5,
     "/credentials/b/psk/file",
     "",
     "file with the key"},
    {"a reference",
     {.tunnel = R"(, "local": "192.0.2.9")"},
     Reason::kConfigBadValue,
     6,
     "/tunnels/a/local",
     "\"192.0.2.9\"",
     "one of the group's public addresses"},
    {"a policy that is not there",
     {.child = R"( }, "b": { "local": ["10.1.0.0/16"], "remote": ["10.3.0.0/16"],
            "policy": "fats")"},
     Reason::kConfigBadReference,
     8,
     "/tunnels/a/children/b/policy",
     "\"fats\"",
     "the name of a child policy; did you mean \"fast\"?"},
    {"a remote address",
     {.remote = "branch.example"},
     Reason::kConfigBadValue,
     6,
     "/tunnels/a/remote",
     "\"branch.example\"",
     "the peer's IP address, or \"any\""},
    {"host bits",
     {.local_selector = "10.1.0.1/16"},
     Reason::kConfigBadValue,
     7,
     "/tunnels/a/children/lan/local",
     "\"10.1.0.1/16\"",
     "10.1.0.0/16"},
    {"an algorithm that is not known",
     {.ike_policy = R"(, "proposals": ["3des-sha1-modp1024"])"},
     Reason::kConfigWeak,
     3,
     "/ike_policies/strong/proposals",
     "\"3des-sha1-modp1024\"",
     "3des"},
    {"a contradiction",
     {.ike_policy = R"(, "role": "respond")", .child = R"(, "start": "now")"},
     Reason::kConfigConflict,
     7,
     "/tunnels/a/children/lan/start",
     "\"now\"",
     "role respond"},
    {"a limit",
     {.group = R"(, "tunnels_max": 1)", .tunnel = R"(, "children": { "x": { "local": ["10.1.0.0/16"],
            "remote": ["10.2.0.0/16"] } } }, "b": { "group": "core", "remote": "198.51.100.8", "credential": "key")"},
     Reason::kLimitReached,
     7,
     "/tunnels/b",
     "one tunnel more than tunnels_max of group core",
     "1 tunnels"},
    {"offload without devices",
     {.group = R"(, "offload": { "mode": "auto" })"},
     Reason::kConfigMissing,
     2,
     "/tunnel_groups/core/offload/devices",
     "",
     "the NICs"},
    {"retransmission",
     {.ike_policy = R"(, "retransmit": { "first": "2s", "most": "1s" })"},
     Reason::kConfigConflict,
     3,
     "/ike_policies/strong/retransmit/most",
     "less than first",
     "at least first"},
    {"a namespace that cannot be named so",
     {.group = R"(, "private": { "netns": "/run/../etc" })"},
     Reason::kConfigBadValue,
     2,
     "/tunnel_groups/core/private/netns",
     "\"/run/../etc\"",
     "an absolute path"},
    {"a table of no VRF",
     {.group = R"(, "private": { "vrf_table": 77 })"},
     Reason::kConfigConflict,
     2,
     "/tunnel_groups/core/private/vrf_table",
     "77",
     "vrf beside it"},
    {"a table of the system's",
     {.group = R"(, "private": { "vrf": "blue", "vrf_table": 254 })"},
     Reason::kConfigBadValue,
     2,
     "/tunnel_groups/core/private/vrf_table",
     "254",
     "not 253, 254 or 255"},
    {"a group that only answers",
     {.group = R"(, "role": "respond")", .child = R"(, "start": "now")"},
     Reason::kConfigConflict,
     7,
     "/tunnels/a/children/lan/start",
     "\"now\"",
     "because group core has role respond"},
};
}  // namespace

TEST_CASE("config: each error names file, line, pointer, what was found and what is allowed") {
  for (const Wrong& wrong : kWrongDocuments) check(wrong);
}

TEST_CASE("config: a responder for any address needs to know who the peer must be") {
  CHECK(only_error(Document{.remote = "any"}.text()).pointer == "/tunnels/a/remote_id");
  CHECK(parse_one(Document{.tunnel = R"(, "remote_id": "b.example")", .remote = "any"}.text()).errors.empty());
  const ConfigError error = only_error(
      Document{.tunnel = R"(, "remote_id": "b.example")", .child = R"(, "start": "now")", .remote = "any"}.text());
  CHECK(error.reason == Reason::kConfigConflict);
  CHECK(error.allowed.find("remote address is not known") != std::string::npos);
}

TEST_CASE("config: all errors of one document are told at once, up to the limit") {
  const ConfigOutcome outcome = parse_one(Document{.top = R"(, "nod": {})",
                                                   .group = R"(, "enabled": 1)",
                                                   .ike_policy = R"(, "dpd": "never")",
                                                   .child = R"(, "start": "soon")"}
                                              .text());
  CHECK(outcome.config == nullptr);
  CHECK(outcome.errors.size() == 4);

  std::string many = R"({ "version": 1)";
  for (int i = 0; i < 200; ++i) many += ", \"x" + std::to_string(i) + "\": 1";
  CHECK(parse_one(many + "}").errors.size() == kConfigErrorsMax);
}

TEST_CASE("config: an error is one sentence that an editor can jump to") {
  CHECK(only_error(Document{.child = R"(, "start": "trafic")"}.text()).text() ==
        "gw.json:7: /tunnels/a/children/lan/start: found \"trafic\", allowed: one of: now traffic respond; did you "
        "mean \"traffic\"?");
}

TEST_CASE("config: what is not JSON is told with its line") {
  const ConfigError cut = only_error("{\n  \"version\": 1,\n  oops\n}");
  CHECK(cut.reason == Reason::kConfigSyntax);
  CHECK(cut.line == 3);
  CHECK(only_error("").reason == Reason::kConfigSyntax);
  CHECK(only_error("{ \"version\": 1 } {}").reason == Reason::kConfigSyntax);
  CHECK(only_error("[]").allowed == "an object: { ... }");
  CHECK(only_error("{ \"version\": 2 }").allowed == "a whole number from 1 to 1");
  CHECK(only_error("{}").pointer == "/version");
}

TEST_CASE("config: comments of both kinds are passed over and do not shift lines") {
  CHECK(parse_one("// head\n{ /* a\nb */ \"version\": 1 // tail\n}").errors.empty());
  const ConfigError error = only_error("// one\n/* two\nthree */\n{ \"version\": 1,\n  // five\n  \"nod\": {} }");
  CHECK(error.line == 6);
  CHECK(error.allowed.find("\"node\"") != std::string::npos);
}

TEST_CASE("config: a key that stands twice in one object is an error, not the last one's win") {
  const ConfigError error = only_error("{ \"version\": 1,\n\"node\": { \"id\": 1,\n\"id\": 2 } }");
  CHECK(error.reason == Reason::kConfigSyntax);
  CHECK(error.line == 3);
  CHECK(error.allowed == "the key \"id\" stands twice in one object");
}

TEST_CASE("config: nesting is limited") {
  CHECK(only_error(nested(kConfigDepthMax + 1)).allowed == "nested deeper than 16 levels");
  CHECK(only_error(nested(kConfigDepthMax)).allowed == "an object: { ... }");
  CHECK(only_error(nested(100000)).allowed == "nested deeper than 16 levels");
}

TEST_CASE("config: files are merged by object, and one name in two files is told with both places") {
  const std::string more = R"({ "version": 1, "tunnels": { "b": { "group": "core", "remote": "198.51.100.8",
    "credential": "key", "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.3.0.0/16"] } } } } })";
  const ConfigOutcome merged = parse_config({{"gw.json", Document{}.text()}, {"conf.d/b.json", more}});
  REQUIRE(merged.errors.empty());
  CHECK(merged.config->tunnels.size() == 2);
  CHECK(merged.config->tunnels.at("b")->group == merged.config->tunnels.at("a")->group);

  const ConfigOutcome twice =
      parse_config({{"gw.json", Document{}.text()}, {"conf.d/b.json", more}, {"conf.d/c.json", "\n" + more}});
  REQUIRE(twice.errors.size() == 1);
  CHECK(twice.errors[0].reason == Reason::kConfigConflict);
  CHECK(twice.errors[0].file == "conf.d/c.json");
  CHECK(twice.errors[0].line == 2);
  CHECK(twice.errors[0].pointer == "/tunnels/b");
  CHECK(twice.errors[0].allowed == "the first one is in conf.d/b.json:1");
}

TEST_CASE("config: a file that is not JSON does not hide the errors of the others") {
  const ConfigOutcome outcome = parse_config({{"a.json", "{"}, {"b.json", R"({ "version": 1, "x": 1 })"}});
  REQUIRE(outcome.errors.size() == 2);
  CHECK(outcome.errors[0].file == "a.json");
  CHECK(outcome.errors[1].file == "b.json");
}

TEST_CASE("config: a key that is not served yet is answered as such unless it is empty") {
  for (const char* key : {"trust_profiles", "gateways", "pools", "aaa", "ha"}) {
    CAPTURE(std::string(key));
    const std::string head = std::string(", \"") + key + "\": ";
    CHECK(only_error(Document{.top = head + R"({ "x": {} })"}.text()).reason == Reason::kConfigNotSupported);
    CHECK(only_error(Document{.top = head + "true"}.text()).reason == Reason::kConfigNotSupported);
    CHECK(parse_one(Document{.top = head + "{}"}.text()).errors.empty());
  }
}

TEST_CASE("config: durations are numbers with units, added up") {
  CHECK(*parse_duration("500ms") == 500ms);
  CHECK(*parse_duration("30s") == 30s);
  CHECK(*parse_duration("1h30m") == 90min);
  CHECK(*parse_duration("2d1s") == 172801s);
  CHECK(*parse_duration("0s") == 0s);
  for (const char* wrong : {"", "30", "s", "30 s", "-1s", "1.5h", "30sec", "1h30", "99999999999s", "1000000000d", "3S"})
    CHECK_MESSAGE(!parse_duration(wrong).ok(), wrong);
}

TEST_CASE("config: names are letters, digits, dot, underscore and dash, at most 64") {
  auto with_name = [](const std::string& name) {
    return parse_one(R"({ "version": 1, "credentials": { ")" + name + R"(": { "psk": { "file": "k" } } } })").errors;
  };
  CHECK(with_name("Branch_7.east-1").empty());
  CHECK(with_name(std::string(64, 'a')).empty());
  CHECK(with_name(std::string(65, 'a')).size() == 1);
  CHECK(with_name("").size() == 1);
  CHECK(with_name("a/b").size() == 1);
  CHECK(with_name("a b").size() == 1);
}

TEST_CASE("config: a namespace or VRF that could leave its folder is refused") {
  for (const char* name : {"..", ".", "../x", "a/b"}) {
    CAPTURE(std::string(name));
    CHECK(only_error(Document{.group = std::string(R"(, "private": { "netns": ")") + name + "\" }"}.text()).pointer ==
          "/tunnel_groups/core/private/netns");
  }
  CHECK(only_error(Document{.group = R"(, "private": { "vrf": "sixteen-letters-" })"}.text()).pointer ==
        "/tunnel_groups/core/private/vrf");
}

TEST_CASE("config: selectors take prefixes, ranges, protocols and ports; the address family decides our address") {
  for (const char* good : {"10.1.0.0/16", "10.1.0.1-10.1.0.9", "10.1.0.0/16[tcp/443]", "10.1.0.0/16[udp/1000-2000]",
                           "0.0.0.0/0[icmp/8/0]", "10.1.0.5"})
    CHECK_MESSAGE(parse_one(Document{.local_selector = good}.text()).errors.empty(), good);
  CHECK(parse_one(Document{.local_selector = "2001:db8:1::/48", .remote_selector = "2001:db8:2::/48"}.text())
            .errors.empty());
  for (const char* bad : {"", "10.1.0.0/33", "10.1.0.9-10.1.0.1", "10.1.0.0/16[tcp/2000-1000]", "10.1.0.0/16[", "host"})
    CHECK_MESSAGE(only_error(Document{.local_selector = bad}.text()).pointer == "/tunnels/a/children/lan/local", bad);
  const ConfigOutcome outcome = parse_one(Document{.remote = "2001:db8:f::7"}.text());
  REQUIRE(outcome.errors.empty());
  CHECK(to_string(*outcome.config->tunnels.at("a")->local_address()) == "2001:db8::1");
}

TEST_CASE("config: two tunnels that lead to the same place are told as a warning") {
  const ConfigOutcome outcome =
      parse_one(Document{.tunnel = R"(, "children": { "x": { "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/24"] } } },
        "b": { "group": "core", "remote": "198.51.100.8", "credential": "key")"}
                    .text());
  REQUIRE(outcome.errors.empty());
  CHECK(std::any_of(outcome.config->warnings.begin(), outcome.config->warnings.end(), [](const std::string& each) {
    return each.find("tunnels a and b both lead to 10.2.0.0/24") != std::string::npos;
  }));
}

TEST_CASE("config: no document makes the parser fail otherwise than with errors") {
  const std::string whole = Document{.top = R"(, "node": { "id": 3 })"}.text();
  for (size_t length = 0; length < whole.size(); ++length) {
    const ConfigOutcome outcome = parse_one(whole.substr(0, length));
    CHECK((outcome.config == nullptr && !outcome.errors.empty()));
  }
}
