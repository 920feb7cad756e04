#include <doctest/doctest.h>

#include <string>

#include "policy/config_changes.h"
#include "policy/plan_carriers.h"
#include "tests/policy/config_support.h"

// Carriers in the configuration: what they may say, and what their tunnels must be.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// Two gateways under transport-mode SAs, and a third that is attached by interface.
struct Text {
  std::string carrier;  ///< Members, behind protected_by.
  std::string protected_by = R"(["near", "far"])";
  std::string near = R"("local": ["192.0.2.1[gre]"], "remote": ["198.51.100.7[gre]"])";
  std::string far = R"("local": ["192.0.2.1"], "remote": ["198.51.100.8"])";
  std::string more = {};  ///< Further carriers.
  std::string name = "wire";

  std::string text() const {
    return R"({ "version": 1,
"tunnel_groups": {
  "hosts": { "public": { "netns": "pub", "addresses": ["192.0.2.1", "192.0.2.2", "2001:db8::1"] }, "attachment": "policy" },
  "others": { "public": { "addresses": ["192.0.2.9"] }, "attachment": "policy" },
  "links": { "public": { "netns": "pub", "addresses": ["192.0.2.1"] }, "private": { "netns": "priv" }, "attachment": "interface" } },
"child_policies": { "host": { "mode": "transport" }, "net": {} },
"credentials": { "key": { "psk": { "file": "key" } } },
"tunnels": {
  "near": { "group": "hosts", "remote": "198.51.100.7", "credential": "key", "children": { "a": { )" +
           near + R"(, "policy": "host" } } },
  "far": { "group": "hosts", "remote": "198.51.100.8", "credential": "key", "children": { "a": { )" +
           far + R"(, "policy": "host" } } },
  "second": { "group": "hosts", "local": "192.0.2.2", "remote": "198.51.100.8", "credential": "key",
     "children": { "a": { "local": ["192.0.2.2"], "remote": ["198.51.100.8"], "policy": "host" } } },
  "elsewhere": { "group": "others", "remote": "198.51.100.8", "credential": "key",
     "children": { "a": { "local": ["192.0.2.9"], "remote": ["198.51.100.8"], "policy": "host" } } },
  "six": { "group": "hosts", "remote": "2001:db8::8", "credential": "key",
     "children": { "a": { "local": ["2001:db8::1"], "remote": ["2001:db8::8"], "policy": "host" } } },
  "nets": { "group": "hosts", "remote": "198.51.100.10", "credential": "key",
     "children": { "a": { "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"], "policy": "net" } } },
  "anyone": { "group": "links", "remote": "any", "remote_id": "x", "credential": "key",
     "children": { "a": { "local": ["10.3.0.0/16"], "remote": ["10.4.0.0/16"], "policy": "net" } } } },
"carriers": { ")" +
           name + R"(": { "protected_by": )" + protected_by + carrier + " }" + more + R"( } })";
  }
};

std::shared_ptr<const Carrier> read(const Text& text) {
  const ConfigOutcome outcome = parse_one(text.text());
  std::string all;
  for (const ConfigError& each : outcome.errors) all += "\n" + each.text();
  REQUIRE_MESSAGE(outcome.config != nullptr, all);
  return outcome.config->carriers.at(text.name);
}

/// The only error, which is at this key of the carrier and says this.
void refused(const Text& text, const std::string& key, const std::string& says) {
  const ConfigError error = only_error(text.text());
  CHECK(error.pointer == "/carriers/" + text.name + (key.empty() ? "" : "/" + key));
  CHECK_MESSAGE(error.text().find(says) != std::string::npos, error.text());
  CHECK(error.line > 1);
}

}  // namespace

TEST_CASE("carriers: all that one may say is read") {
  const auto carrier = read({.carrier = R"(, "key": 7, "private": { "netns": "priv", "vrf": "blue" }, "mtu": 1400,
    "addresses": ["fd00:7::1/64", "10.255.0.1/30"], "peers": ["10.255.0.2", "fd00:7::2"], "hold_down": "90s",
    "routes": [{ "prefix": "10.7.0.0/16", "metric": 20 }, { "prefix": "10.8.0.0/16" }])"});
  CHECK(carrier->kind == CarrierKind::kGre);
  REQUIRE(carrier->paths.size() == 2);
  CHECK(carrier->paths[0].tunnel->name == "near");
  CHECK(carrier->paths[1].tunnel->name == "far");
  CHECK(carrier->paths[1].children == std::vector<std::string>{"a"});
  CHECK(carrier->private_place == RoutingPlace{"priv", "blue"});
  CHECK(carrier->key == 7);
  CHECK(carrier->mtu == 1400);
  CHECK(carrier->hold_down == 90s);
  REQUIRE(carrier->addresses.size() == 2);
  CHECK(to_string(carrier->addresses[0].address) == "10.255.0.1");
  CHECK(carrier->addresses[0].length == 30);
  CHECK(carrier->peers.size() == 2);
  REQUIRE(carrier->routes.size() == 2);
  CHECK(carrier->routes[0].metric == 20);
  CHECK_FALSE(carrier->routes[1].metric);
}

TEST_CASE("carriers: without a word about it the interface is where the tunnels are") {
  CHECK(read({})->private_place == RoutingPlace{"pub", ""});
  CHECK(read({.carrier = R"(, "private": {})"})->private_place == RoutingPlace{});
}

TEST_CASE("carriers: its tunnels must be able to protect it") {
  refused({.protected_by = R"(["ner"])"}, "protected_by", "did you mean \"near\"?");
  refused({.protected_by = R"(["anyone"])"}, "protected_by", "group links is attached by interface");
  refused({.protected_by = R"(["nets"])"}, "protected_by", "takes IP protocol 47 between its gateways");
  refused({.near = R"("local": ["192.0.2.1[tcp]"], "remote": ["198.51.100.7"])"}, "protected_by", "198.51.100.7[47]");
  refused({.protected_by = R"(["near", "near"])"}, "protected_by", "another tunnel than the first");
  refused({.protected_by = R"(["near", "second"])"}, "protected_by", "192.0.2.2");
  refused({.protected_by = R"(["near", "elsewhere"])"}, "protected_by", "same public namespace");
  refused({.protected_by = R"(["near", "six"])"}, "protected_by", "2001:db8::1");
}

TEST_CASE("carriers: IP in IP needs the protocols of what is configured inside") {
  const Text four{.near = R"("local": ["192.0.2.1[4]"], "remote": ["198.51.100.7[4]"])"};
  Text text = four;
  text.carrier = R"(, "kind": "ipip", "addresses": ["10.255.0.1/30"])";
  CHECK(read(text)->paths.size() == 2);
  text.carrier = R"(, "kind": "ipip", "addresses": ["10.255.0.1/30", "fd00::1/64"])";
  refused(text, "protected_by", "IP protocol 41");
  text.carrier = R"(, "kind": "ipip", "routes": [{ "prefix": "fd00:9::/48" }])";
  refused(text, "protected_by", "IP protocol 41");
  text.carrier = R"(, "kind": "ipip")";
  CHECK(read(text)->paths[0].children.size() == 1);
  text.carrier = R"(, "kind": "ipip", "key": 3)";
  refused(text, "key", "only GRE");
}

TEST_CASE("carriers: each value is checked where it stands") {
  refused({.carrier = R"(, "addresses": ["10.255.0.1/33"])"}, "addresses", "1 to 32 bits");
  refused({.carrier = R"(, "addresses": ["10.255.0.1/30x"])"}, "addresses", "10.255.0.1/30");
  refused({.carrier = R"(, "addresses": ["224.0.0.5/30"])"}, "addresses", "one machine");
  refused({.carrier = R"(, "addresses": ["10.255.0.1/30", "10.255.0.1/24"])"}, "addresses", "already");
  refused({.carrier = R"(, "addresses": ["10.255.0.1/30"], "peers": ["10.255.0.5"])"}, "peers", "in the subnet");
  refused({.carrier = R"(, "addresses": ["10.255.0.1/30"], "peers": ["10.255.0.1"])"}, "peers", "our own");
  refused({.carrier = R"(, "addresses": ["10.255.0.1/30"], "peers": ["x"])"}, "peers", "one machine");
  refused({.carrier = R"(, "mtu": 100)"}, "mtu", "256");
  refused({.carrier = R"(, "addresses": ["fd00::1/64"], "mtu": 1279)"}, "mtu", "1280");
  refused({.carrier = R"(, "routes": [{ "prefix": "10.7.0.0/16" }, { "prefix": "10.7.0.0/16" }])"}, "routes/1/prefix",
          "already");
  refused({.carrier = R"(, "routes": [{ "prefix": "10.7.0.1/16" }])"}, "routes/0/prefix", "10.7.0.0/16");
  refused({.carrier = R"(, "routes": [{ "prefix": "198.51.100.0/24" }])"}, "routes", "led into the carrier");
  CHECK(read({.carrier = R"(, "routes": [{ "prefix": "198.51.100.0/24" }], "private": { "netns": "priv" })"}) !=
        nullptr);
  refused({.name = "near"}, "", "the name of a tunnel");
}

TEST_CASE("carriers: two of one pair of ends differ in their keys") {
  const std::string second = R"(, "xother": { "protected_by": ["far"])";
  refused({.carrier = {}, .more = second + "}", .name = "yours"}, "protected_by", "carrier xother has the same");
  CHECK(read({.carrier = {}, .more = second + R"(, "key": 8 })"}) != nullptr);
  CHECK(read({.carrier = {}, .more = second + R"(, "kind": "ipip" })"}) != nullptr);
}

TEST_CASE("carriers: what they are in the kernel") {
  const auto carrier = read({.carrier = R"(, "key": 7, "private": { "netns": "priv", "vrf": "blue" },
    "addresses": ["10.255.0.1/30"], "routes": [{ "prefix": "10.7.0.0/16" }, { "prefix": "10.8.0.0/16", "metric": 20 }])"});
  const LinkConfig link = plan_carrier_link(*carrier, 1, 1400);
  CHECK(link.kind == LinkKind::kGre);
  CHECK(link.name == "ipsg-wire");
  CHECK(link.altname == "wire");
  CHECK(link.public_netns == "pub");
  CHECK(link.vrf == "blue");
  CHECK(link.mtu == 1400);
  CHECK(to_string(link.tunnel_local) == "192.0.2.1");
  CHECK(to_string(link.tunnel_remote) == "198.51.100.8");
  CHECK(link.tunnel_key == 7);
  CHECK(link.addresses == carrier->addresses);
  CHECK(carrier_interface_name("a-very-long-name").size() == 15);

  const auto up = plan_carrier_routes(*carrier, RouteState::kUp),
             idle = plan_carrier_routes(*carrier, RouteState::kIdle);
  REQUIRE(up.size() == 2);
  CHECK(up[0].metric == 100);
  CHECK(up[1].metric == 20);
  CHECK(idle[1].metric == 300);
  CHECK(up[0].device == "ipsg-wire");
  CHECK(up[0].vrf == "blue");
}

TEST_CASE("carriers: what they send never leaves in the clear, in either direction") {
  const auto gre = read({});
  const auto blocks = plan_carrier_blocks(*gre, gre->paths[0]);
  REQUIRE(blocks.ok());
  REQUIRE(blocks->size() == 2);
  for (const PolicyConfig& each : *blocks) {
    CHECK(each.action == PolicyAction::kBlock);
    CHECK(each.key.protocol == 47);
    CHECK(to_string(each.key.direction == Direction::kOut ? each.key.source : each.key.destination) == "192.0.2.1/32");
    CHECK(to_string(each.key.direction == Direction::kOut ? each.key.destination : each.key.source) ==
          "198.51.100.7/32");
  }
  const auto ipip = read({.carrier = R"(, "kind": "ipip")", .protected_by = R"(["far"])"});
  CHECK(plan_carrier_blocks(*ipip, ipip->paths[0])->size() == 6);  // MPLS too, which nobody needs
}

TEST_CASE("carriers: the MTU is what is left of the path, less the header of each kind") {
  const auto mtu = [](const std::string& members, const std::string& tunnels = R"(["far"])") {
    return carrier_mtu(*read({.carrier = members, .protected_by = tunnels}), 1466);
  };
  CHECK(mtu("") == 1442);                     // IPv4 20, GRE 4
  CHECK(mtu(R"(, "key": 1)") == 1438);        // and its key
  CHECK(mtu(R"(, "kind": "ipip")") == 1446);  // IPv4 alone
  CHECK(mtu("", R"(["six"])") == 1422);       // IPv6 40, GRE 4
  CHECK(mtu(R"(, "kind": "ipip")", R"(["six"])") == 1426);
  CHECK(mtu(R"(, "mtu": 1300)") == 1300);
  const auto carrier = read({.carrier = R"(, "addresses": ["fd00::1/64"])"});
  CHECK(carrier_mtu(*carrier, 1290) == 1280);
  CHECK(carrier_mtu(*read({}), 10) == 256);
}

TEST_CASE("carriers: what another configuration changes is told, and how much it disturbs") {
  using Kind = TunnelChange::Kind;
  const auto config = [](const Text& text) { return parse_one(text.text()).config; };
  const auto before = config({.carrier = R"(, "key": 7)"});
  REQUIRE(before != nullptr);
  const auto change = [&](const Text& text) {
    const auto after = config(text);
    REQUIRE(after != nullptr);
    return carrier_changes(*before, *after);
  };
  CHECK(change({.carrier = R"(, "key": 7)"}).empty());
  struct Case {
    const char *carrier, *protected_by, *setting;
    Kind kind;
  };
  for (const Case& each :
       {Case{R"(, "key": 8)", R"(["near", "far"])", "key", Kind::kInPlace},
        Case{R"(, "key": 7)", R"(["far"])", "protected_by", Kind::kInPlace},
        Case{R"(, "key": 7, "hold_down": "1s")", R"(["near", "far"])", "hold_down", Kind::kInPlace},
        Case{R"(, "key": 7, "enabled": false)", R"(["near", "far"])", "enabled", Kind::kRestart},
        Case{R"(, "key": 7, "private": { "netns": "x" })", R"(["near", "far"])", "private", Kind::kRestart},
        Case{R"(, "key": 7)", R"(["second"])", "local address", Kind::kRestart}}) {
    CAPTURE(each.setting);
    const CarrierChanges changes = change({.carrier = each.carrier, .protected_by = each.protected_by});
    REQUIRE(changes.contains("wire"));
    CHECK(changes.at("wire").kind == each.kind);
    CHECK(changes.at("wire").settings.front() == each.setting);
  }
  const CarrierChanges other = change({.carrier = {}, .name = "rope"});
  CHECK(other.at("wire").kind == Kind::kRemoved);
  CHECK(other.at("rope").kind == Kind::kAdded);
}
