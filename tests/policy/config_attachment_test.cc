#include <algorithm>

#include "policy/plan.h"
#include "policy/plan_groups.h"
#include "tests/policy/config_support.h"

// How groups are attached, and which settings do not go with that.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

const char* const kPolicy = R"(, "attachment": "policy")";
const char* const kTransport = R"(, "mode": "transport")";

std::shared_ptr<const Config> accepted(const Document& document) {
  ConfigOutcome outcome = parse_one(document.text());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

const TunnelGroup& group_of(const std::shared_ptr<const Config>& config) { return *config->groups.at("core"); }

/// Host to host, as transport mode wants it.
Document hosts() {
  return {.child_policy = kTransport, .local_selector = "192.0.2.1", .remote_selector = "198.51.100.7"};
}

bool warns(const std::shared_ptr<const Config>& config, std::string_view text) {
  return std::any_of(config->warnings.begin(), config->warnings.end(),
                     [&](const std::string& each) { return each.find(text) != std::string::npos; });
}

void refuses(const Document& document, Reason reason, const std::string& pointer, const std::string& allowed) {
  const ConfigError error = only_error(document.text());
  CHECK(error.reason == reason);
  CHECK(error.pointer == pointer);
  CHECK_MESSAGE(error.allowed.find(allowed) != std::string::npos, error.text());
}

/// A second tunnel beside "a", in a group of its own in the same namespace.
Document with_second(const std::string& group, const std::string& remote_selector) {
  return {.group = std::string(kPolicy) + R"( }, "edge": { "public": { "addresses": ["192.0.2.3"] })" + group,
          .child = R"( } } }, "b": { "group": "edge", "remote": "198.51.100.8", "credential": "key",
            "children": { "dmz": { "local": ["10.1.0.0/16"], "remote": [")" +
                   remote_selector + R"("])"};
}

}  // namespace

TEST_CASE("attachment: auto is by interface, unless a child is in transport mode, and says why") {
  const auto plain = accepted({});
  CHECK(group_of(plain).attachment == Attachment::kAuto);
  CHECK(group_of(plain).attached == Attachment::kInterface);
  CHECK(group_of(plain).attached_because == "no child is in transport mode");
  CHECK(plain->warnings.empty());
  const auto transport = accepted(hosts());
  CHECK(group_of(transport).attached == Attachment::kPolicy);
  CHECK(group_of(transport).attached_because == "child lan of tunnel a is in transport mode");
  CHECK(warns(transport, "attachment auto chose policy: child lan of tunnel a is in transport mode"));
}

TEST_CASE("attachment: what is configured is taken without a word") {
  const auto by_policy = accepted({.group = kPolicy});
  CHECK(group_of(by_policy).attached == Attachment::kPolicy);
  CHECK(by_policy->warnings.empty());
  CHECK(group_of(accepted({.group = R"(, "attachment": "interface")"})).attached == Attachment::kInterface);
}

TEST_CASE("attachment by policy: the private side is the public one, also when nothing is said of it") {
  const auto silent = accepted({.group = kPolicy, .public_place = R"(, "netns": "outside", "vrf": "under")"});
  CHECK(group_of(silent).private_place == RoutingPlace{"outside", "under"});
  const auto said = accepted({.group = std::string(kPolicy) + R"(, "private": { "netns": "outside" })",
                              .public_place = R"(, "netns": "outside")"});
  CHECK(group_of(said).private_place == RoutingPlace{"outside", ""});
  refuses({.group = std::string(kPolicy) + R"(, "private": { "netns": "customers" })"}, Reason::kConfigConflict,
          "/tunnel_groups/core/private/netns", "the namespace of public");
}

TEST_CASE("attachment by policy: between two VRFs of one namespace, in tunnel mode only") {
  const std::string members = std::string(kPolicy) + R"(, "private": { "vrf": "blue" })";
  CHECK(joins_vrfs(group_of(accepted({.group = members}))));
  CHECK(joins_vrfs(group_of(accepted({.group = members, .public_place = R"(, "vrf": "wan")"}))));
  CHECK_FALSE(joins_vrfs(group_of(accepted({.group = members, .public_place = R"(, "vrf": "blue")"}))));
  Document transport = hosts();
  transport.group = members;
  refuses(transport, Reason::kConfigConflict, "/tunnels/a/children/lan/policy", "one VRF for public and private");
}

TEST_CASE("attachment by interface: out of an underlay VRF into another namespace, each pair of selectors once there") {
  const char* const vrf = R"(, "vrf": "wan")";
  const std::string inside = R"(, "private": { "netns": "customers", "vrf": "blue" })";
  CHECK(crosses_from_vrf(group_of(accepted({.group = inside, .public_place = vrf}))));
  CHECK_FALSE(crosses_from_vrf(group_of(accepted({.group = inside}))));
  CHECK_FALSE(
      crosses_from_vrf(group_of(accepted({.group = R"(, "private": { "vrf": "blue" })", .public_place = vrf}))));
  // Another VRF of that namespace does not help; another namespace does.
  const auto second = [&](const std::string& place) {
    Document document = with_second(R"(, "private": )" + place, "10.2.0.0/16");
    document.group = inside + document.group.substr(std::string(kPolicy).size());
    document.group.replace(document.group.find(R"("192.0.2.3"])"), 12, R"("192.0.2.3"], "vrf": "wan")");
    document.public_place = vrf;
    return document;
  };
  refuses(second(R"({ "netns": "customers", "vrf": "red" })"), Reason::kConfigConflict,
          "/tunnels/b/children/dmz/remote", "the latter has each pair once, whatever its VRFs");
  CHECK(accepted(second(R"({ "netns": "others", "vrf": "red" })"))->tunnels.size() == 2);
}

TEST_CASE("vrf_table: one VRF has one table, and one table is of one VRF, within a namespace") {
  const auto groups = [](const std::string& first, const std::string& second) {
    Document document = with_second(R"(, "attachment": "interface", "private": )" + second, "10.3.0.0/16");
    document.group = R"(, "private": )" + first + document.group.substr(std::string(kPolicy).size());
    return document;
  };
  const char* const blue = R"({ "netns": "a", "vrf": "blue", "vrf_table": 7 })";
  CHECK(accepted(groups(blue, blue))->groups.size() == 2);
  CHECK(accepted(groups(blue, R"({ "netns": "b", "vrf": "red", "vrf_table": 7 })"))->groups.size() == 2);
  CHECK(accepted(groups(blue, R"({ "netns": "a", "vrf": "blue" })"))->groups.size() == 2);
  refuses(groups(blue, R"({ "netns": "a", "vrf": "blue", "vrf_table": 8 })"), Reason::kConfigConflict,
          "/tunnel_groups/edge/private/vrf_table", "7, as another group says of VRF blue");
  refuses(groups(blue, R"({ "netns": "a", "vrf": "red", "vrf_table": 7 })"), Reason::kConfigConflict,
          "/tunnel_groups/edge/private/vrf_table", "this one is VRF blue's");
}

TEST_CASE("attachment by policy: there is no interface to route into") {
  refuses({.group = kPolicy, .tunnel = R"(, "routes": [{ "prefix": "10.2.1.0/24" }])"}, Reason::kConfigConflict,
          "/tunnels/a/routes", "none, because group core is attached by policy");
}

TEST_CASE("attachment: what auto chose is told where it does not fit") {
  Document other_side = hosts();
  other_side.group = R"(, "private": { "netns": "customers" })";
  refuses(other_side, Reason::kConfigConflict, "/tunnel_groups/core/private/netns",
          "auto chose it: child lan of tunnel a is in transport mode");
}

TEST_CASE("attachment by policy: one pair of selectors stands once in a namespace") {
  CHECK(accepted(with_second(kPolicy, "10.3.0.0/16"))->tunnels.size() == 2);
  // More specific ones count first: no collision.
  CHECK(accepted(with_second(kPolicy, "10.2.1.0/24"))->tunnels.size() == 2);
  refuses(with_second(kPolicy, "10.2.0.0/16"), Reason::kConfigConflict, "/tunnels/b/children/dmz/remote",
          "traffic that nothing else takes; child lan of tunnel a has 10.1.0.0/16 to 10.2.0.0/16");
  // Elsewhere, by interface, and in a group that is off they are apart.
  CHECK(accepted(with_second(R"(, "attachment": "interface")", "10.2.0.0/16"))->tunnels.size() == 2);
  CHECK(accepted(with_second(std::string(kPolicy) + R"(, "enabled": false)", "10.2.0.0/16"))->tunnels.size() == 2);
}

TEST_CASE("attachment by policy: selectors that overlap one another are warned of") {
  CHECK(warns(accepted({.group = kPolicy, .remote_selector = "0.0.0.0/0"}),
              "tunnel a: local and remote of child lan have 10.1.0.0/16 in common"));
  CHECK_FALSE(warns(accepted({.remote_selector = "0.0.0.0/0"}), "in common"));
}

TEST_CASE("transport mode: the selectors are the two gateways' own addresses") {
  Document ports = hosts();
  ports.local_selector = "192.0.2.1[udp/1701]";
  CHECK(accepted(ports)->tunnels.at("a")->child("lan")->policy->mode == EspMode::kTransport);
  Document network = hosts();
  network.remote_selector = "198.51.100.0/24";
  refuses(network, Reason::kConfigConflict, "/tunnels/a/children/lan/remote", "the gateway's own address 198.51.100.7");
  Document other = hosts();
  other.local_selector = "192.0.2.9";
  refuses(other, Reason::kConfigConflict, "/tunnels/a/children/lan/local", "the gateway's own address 192.0.2.1");
}

TEST_CASE("transport mode: not through an interface, and not with a peer of unknown address") {
  Document interface = hosts();
  interface.group = R"(, "attachment": "interface")";
  refuses(interface, Reason::kConfigConflict, "/tunnels/a/children/lan/policy", "attachment policy of group core");
  Document anybody = hosts();
  anybody.remote = "any";
  anybody.tunnel = R"(, "remote_id": "b.example")";
  refuses(anybody, Reason::kConfigConflict, "/tunnels/a/children/lan/policy", "the peer's address is not known");
}

TEST_CASE("exceptions: in their order, of everything where nothing is said") {
  const auto config = accepted({.group = std::string(kPolicy) + R"(, "exceptions": [
      { "local": ["10.1.0.0/16"], "remote": ["10.2.0.9"], "action": "discard" },
      { "remote": ["10.0.0.0/8[udp/53]"], "action": "bypass" }])"});
  const auto& exceptions = group_of(config).exceptions;
  REQUIRE(exceptions.size() == 2);
  CHECK(exceptions[0].action == ExceptionAction::kDiscard);
  CHECK(to_string(exceptions[0].local) + " " + to_string(exceptions[0].remote) == "10.1.0.0/16 10.2.0.9/32");
  CHECK(exceptions[1].action == ExceptionAction::kBypass);
  CHECK(to_string(exceptions[1].local) == "0.0.0.0/0 ::/0");
}

TEST_CASE("exceptions: each that cannot be is refused where it stands") {
  const auto with = [](const std::string& exceptions, std::string_view attachment = kPolicy) {
    return Document{.group = std::string(attachment) + R"(, "exceptions": )" + exceptions};
  };
  refuses(with(R"([{ "remote": ["10.9.0.0/16"] }])"), Reason::kConfigMissing, "/tunnel_groups/core/exceptions/0/action",
          "bypass");
  refuses(with(R"([{ "action": "bypass", "remote": ["10.9.0.0/33"] }])"), Reason::kConfigBadValue,
          "/tunnel_groups/core/exceptions/0/remote", "");
  refuses(with(R"([7])"), Reason::kConfigBadValue, "/tunnel_groups/core/exceptions/0", "an object");
  refuses(with(R"({ "action": "bypass" })"), Reason::kConfigBadValue, "/tunnel_groups/core/exceptions", "a list");
  refuses(with(R"([{ "action": "bypass" }])", ""), Reason::kConfigConflict, "/tunnel_groups/core/exceptions",
          "attachment policy");
  refuses(with(R"([{ "action": "bypass", "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"] }])"),
          Reason::kConfigConflict, "/tunnels/a/children/lan/remote", "exception 0 of group core has");
  refuses(with(R"([{ "action": "bypass" }, { "action": "discard", "remote": ["0.0.0.0/0"] }])"),
          Reason::kConfigConflict, "/tunnel_groups/core/exceptions", "exception 0 of group core has");
}

TEST_CASE("an external interface: one for a public namespace, and not with attachment by policy") {
  const std::string external = R"(, "interfaces": "external")";
  CHECK(group_of(accepted({.group = external})).interfaces == InterfaceScope::kExternal);
  CHECK(group_of(accepted({})).interfaces == InterfaceScope::kTunnel);
  const auto second = [&](const std::string& more) {
    return Document{.group = external + R"( }, "edge": { "public": { "addresses": ["192.0.2.3"] })" + more};
  };
  refuses(second(external), Reason::kConfigConflict, "/tunnel_groups/edge/interfaces", "that of group core");
  CHECK(accepted(second("")) != nullptr);
  CHECK(accepted(second(external + R"(, "enabled": false)")) != nullptr);
  refuses({.group = external, .public_place = R"(, "vrf": "under")"}, Reason::kConfigNotSupported,
          "/tunnel_groups/core/interfaces", "interfaces tunnel");
  refuses({.group = external + kPolicy}, Reason::kConfigConflict, "/tunnel_groups/core/interfaces",
          "attachment interface");
}
