#include "policy/config_changes.h"

#include "tests/policy/config_support.h"

// What a new configuration disturbs, and that it disturbs nothing else.

using namespace ipsec;
using namespace ipsec::policy;
using Kind = TunnelChange::Kind;

namespace {

std::shared_ptr<const Config> config_of(const Document& document) {
  ConfigOutcome outcome = parse_one(document.text());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

/// What changes for the only tunnel.
TunnelChange change(const Document& to, const Document& from = {}) {
  const auto changes = tunnel_changes(*config_of(from), *config_of(to));
  REQUIRE(changes.size() == 1);
  REQUIRE(changes.contains("a"));
  return changes.at("a");
}

const char* const kSecondChild =
    R"( }, "dmz": { "local": ["10.101.0.0/16"], "remote": ["10.102.0.0/16"], "policy": "fast")";

}  // namespace

TEST_CASE("config changes: the same document again changes nothing") {
  CHECK(tunnel_changes(*config_of({}), *config_of({})).empty());
  // What no tunnel uses is nobody's change.
  CHECK(tunnel_changes(*config_of({}), *config_of({.credential = R"( }, "spare": { "psk": { "file": "spare" })"}))
            .empty());
}

TEST_CASE("config changes: what only we go by is taken over in place") {
  for (const Document& to :
       {Document{.ike_policy = R"(, "dpd": "7s")"}, Document{.ike_policy = R"(, "retry": { "first": "9s" })"},
        Document{.child_policy = R"(, "idle": "end")"}, Document{.child = R"(, "start": "now")"},
        Document{.tunnel = R"(, "routes": [{ "prefix": "10.2.1.0/24" }])"},
        Document{.tunnel = R"(, "addresses": ["10.255.0.1/30"])"},
        Document{.group = R"(, "routes": { "gateway_addresses": true })"},
        Document{.group = R"(, "routes": { "selectors": false })"}, Document{.group = R"(, "default_block": true)"}}) {
    const TunnelChange made = change(to);
    CHECK(made.kind == Kind::kInPlace);
    CHECK(made.settings.size() == 1);
    CHECK_FALSE(made.rekey_ike);
    CHECK(made.children_rekeyed.empty());
  }
}

TEST_CASE("config changes: what is negotiated comes with fresh SAs") {
  const TunnelChange child = change({.child_policy = R"(, "proposals": ["aes128gcm16"])"});
  CHECK(child.kind == Kind::kRekey);
  CHECK(child.children_rekeyed == std::vector<std::string>{"lan"});
  CHECK_FALSE(child.rekey_ike);
  const TunnelChange ike = change({.ike_policy = R"(, "proposals": ["aes128gcm16-prfsha256-ecp256"])"});
  CHECK(ike.kind == Kind::kRekey);
  CHECK(ike.rekey_ike);
  CHECK(ike.children_rekeyed.empty());
  const char* const device = R"(, "offload": { "mode": "none", "devices": ["eth1"] })";
  const TunnelChange offload =
      change({.group = device, .tunnel = R"(, "offload": { "mode": "auto" })"}, {.group = device});
  CHECK(offload.kind == Kind::kRekey);
  CHECK(offload.children_rekeyed == std::vector<std::string>{"lan"});
}

TEST_CASE("config changes: what rules do to packets changes in place, what SAs do to them with fresh ones") {
  for (const auto& [to, from] : {std::pair(R"(, "mtu": 1300)", ""),
                                 {R"(, "outer_mtu": 1400)", ""},
                                 {R"(, "inner_df": "clear")", ""},
                                 {R"(, "dscp": "ef")", R"(, "dscp": "cs5")"}}) {
    const TunnelChange made = change({.child_policy = to}, {.child_policy = from});
    CHECK(made.kind == Kind::kInPlace);
    CHECK(made.settings == std::vector<std::string>{"child lan: policy"});
  }
  for (const auto& [to, from] : {std::pair(R"(, "df": "clear")", ""),
                                 {R"(, "dscp": "zero")", ""},
                                 {R"(, "df": "set")", R"(, "df": "clear")"},
                                 // Whether a NIC may write the header is decided when an SA is made.
                                 {R"(, "df": "set")", ""},
                                 {R"(, "dscp": "ef")", ""}})
    CHECK(change({.child_policy = to}, {.child_policy = from}).kind == Kind::kRekey);
  const TunnelChange mss = change({.group = R"(, "mss": "mtu")"});
  CHECK(mss.kind == Kind::kInPlace);
  CHECK(mss.settings == std::vector<std::string>{"mss"});
  CHECK(tunnel_changes(*config_of({.group = R"(, "mss": "mtu")"}),
                       *config_of({.group = R"(, "mss": "1300")", .tunnel = R"(, "mss": "mtu")"}))
            .empty());
}

TEST_CASE("config changes: another end, name or place is another tunnel") {
  for (const Document& to :
       {Document{.remote = "198.51.100.8"}, Document{.tunnel = R"(, "local_id": "x.example")"},
        Document{.tunnel = R"(, "remote_id": "y.example")"}, Document{.group = R"(, "private": { "vrf": "blue" })"},
        Document{.group = R"(, "enabled": false)"}}) {
    const TunnelChange made = change(to);
    CHECK(made.kind == Kind::kRestart);
    CHECK(made.children_rekeyed.empty());
    CHECK_FALSE(made.rekey_ike);
  }
  // Also when other settings differ besides: no rekey of what ends.
  const TunnelChange both = change({.child_policy = R"(, "proposals": ["aes128gcm16"])", .remote = "198.51.100.8"});
  CHECK(both.kind == Kind::kRestart);
  CHECK(both.settings.size() == 2);
  CHECK(both.children_rekeyed.empty());
}

TEST_CASE("config changes: the way of attachment is a place, however it was chosen, and exceptions are not") {
  const char* const policy = R"(, "attachment": "policy")";
  CHECK(change({.group = policy}).kind == Kind::kRestart);
  CHECK(tunnel_changes(*config_of({}), *config_of({.group = R"(, "attachment": "interface")"})).empty());
  const std::string exceptions =
      std::string(policy) + R"(, "exceptions": [{ "action": "bypass", "remote": ["10.9.0.0/16"] }])";
  const TunnelChange made = change({.group = exceptions}, {.group = policy});
  CHECK(made.kind == Kind::kInPlace);
  CHECK(made.settings == std::vector<std::string>{"exceptions of the group"});
}

TEST_CASE("config changes: children come and go without the others, and one with other traffic does both") {
  const TunnelChange more = change({.child = kSecondChild});
  CHECK(more.kind == Kind::kInPlace);
  CHECK(more.children_added == std::vector<std::string>{"dmz"});
  CHECK(more.children_removed.empty());
  const TunnelChange fewer = change({}, {.child = kSecondChild});
  CHECK(fewer.children_removed == std::vector<std::string>{"dmz"});
  const TunnelChange wider = change({.remote_selector = "10.2.0.0/15"});
  CHECK(wider.kind == Kind::kInPlace);
  CHECK(wider.children_removed == std::vector<std::string>{"lan"});
  CHECK(wider.children_added == std::vector<std::string>{"lan"});
}

TEST_CASE("config changes: tunnels are added and removed by name") {
  const auto one = config_of({});
  const auto none = parse_one(R"({ "version": 1 })").config;
  REQUIRE(none != nullptr);
  CHECK(tunnel_changes(*none, *one).at("a").kind == Kind::kAdded);
  CHECK(tunnel_changes(*one, *none).at("a").kind == Kind::kRemoved);
}
