#include "policy/plan_routes.h"
#include "tests/policy/config_support.h"

// Routes that the configuration names, and what is planned of them.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

std::string routes(const std::string& list) { return R"(, "routes": [)" + list + "]"; }

std::shared_ptr<const Config> accepted(const Document& document) {
  ConfigOutcome outcome = parse_one(document.text());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

void refuses(const std::string& list, const std::string& pointer, const std::string& allowed,
             const std::string& remote = "10.2.0.0/16") {
  const ConfigError error = only_error(Document{.tunnel = routes(list), .remote_selector = remote}.text());
  CHECK(error.pointer == "/tunnels/a/routes/" + pointer);
  CHECK_MESSAGE(error.allowed.find(allowed) != std::string::npos, error.text());
}

constexpr uint32_t kIfId = 0x1000002;
const ChildIds kIds{.if_id = kIfId, .interface = "ips1000002"};

}  // namespace

TEST_CASE("static routes: up they have their own metric or the group's, and the idle one while the tunnel waits") {
  const auto config = accepted(
      {.group = R"(, "private": { "vrf": "blue" }, "routes": { "protocol": 60, "metric": { "alone": 7, "idle": 9 } })",
       .tunnel = routes(R"({ "prefix": "10.2.1.0/24" }, { "prefix": "10.2.0.0/16", "metric": 20 })")});
  const Tunnel& tunnel = *config->tunnels.at("a");

  const auto up = plan_static_routes(tunnel, kIds, RouteState::kUp);
  const auto idle = plan_static_routes(tunnel, kIds, RouteState::kIdle);

  REQUIRE(up.size() == 2);
  CHECK(up[0] == RouteConfig{.destination = IpPrefix::parse("10.2.1.0/24").value(),
                             .vrf = "blue",
                             .device = "ips1000002",
                             .protocol = 60,
                             .metric = 7,
                             .preferred_source = {}});
  CHECK(up[1].metric == 20);
  REQUIRE(idle.size() == 2);
  for (const RouteConfig& each : idle) CHECK(each.metric == 9);
  CHECK(plan_static_routes(tunnel, {}, RouteState::kUp).empty());
}

TEST_CASE("static routes: selectors together may cover what none of them covers alone") {
  const std::string halves = R"(0.0.0.0/1", "128.0.0.0/1", "::/0)";
  const auto config = accepted(
      {.tunnel = routes(R"({ "prefix": "0.0.0.0/0" }, { "prefix": "2001:db8::/32" })"), .remote_selector = halves});
  CHECK(config->tunnels.at("a")->routes.size() == 2);
  const auto odd =
      accepted({.tunnel = routes(R"({ "prefix": "10.2.0.0/30" })"), .remote_selector = "10.2.0.0-10.2.0.3"});
  CHECK(odd->tunnels.at("a")->routes.size() == 1);
}

TEST_CASE("static routes: a prefix that no child takes, twice the same, and no prefix at all are refused") {
  refuses(R"({ "prefix": "10.3.0.0/16" })", "0/prefix", "a part of what the remote selectors");
  refuses(R"({ "prefix": "10.0.0.0/8" })", "0/prefix", "a part of what the remote selectors");
  refuses(R"({ "prefix": "10.2.0.0/30" })", "0/prefix", "a part of what the remote selectors", "10.2.0.0-10.2.0.2");
  refuses(R"({ "prefix": "2001:db8::/32" })", "0/prefix", "a part of what the remote selectors");
  refuses(R"({ "prefix": "10.2.0.0/16" }, { "prefix": "10.2.0.0/16", "metric": 5 })", "1/prefix",
          "not in the list already");
  refuses(R"({ "prefix": "10.2.0.1/16" })", "0/prefix", "10.2.0.0/16");
  refuses(R"({ "metric": 5 })", "0/prefix", "");
}

TEST_CASE("routes to selectors: left out where the group says so, for children and traps; blocks stay") {
  for (const bool wanted : {true, false}) {
    const auto config = accepted({.group = std::string(R"(, "default_block": true, "routes": { "selectors": )") +
                                           (wanted ? "true }" : "false }")});
    const Tunnel& tunnel = *config->tunnels.at("a");
    const ChildConfig& child = tunnel.children.front();
    CHECK(plan_trap(tunnel, child, kIds)->routes.size() == (wanted ? 1 : 0));
    CHECK(plan_block(tunnel, child, kIds)->routes.size() == 1);
  }
}

TEST_CASE("routes to the group's own addresses: one each, leading nowhere, in the public table") {
  const auto config = accepted({.group = R"(, "routes": { "gateway_addresses": true, "protocol": 60 })",
                                .public_place = R"(, "netns": "outside", "vrf": "under")"});
  const auto made = plan_gateway_routes(*config->groups.at("core"));
  REQUIRE(made.size() == 2);
  CHECK(made[0] == RouteConfig{.destination = IpPrefix::parse("192.0.2.1/32").value(),
                               .vrf = "under",
                               .device = {},
                               .protocol = 60,
                               .metric = 100,
                               .preferred_source = {},
                               .kind = RouteKind::kUnreachable});
  CHECK(to_string(made[1].destination) == "2001:db8::1/128");
  CHECK(plan_gateway_routes(*accepted({})->groups.at("core")).empty());
  const auto off = accepted({.group = R"(, "enabled": false, "routes": { "gateway_addresses": true })"});
  CHECK(plan_gateway_routes(*off->groups.at("core")).empty());
}
