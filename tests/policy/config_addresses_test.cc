#include "policy/config_addresses.h"

#include "policy/mtu.h"
#include "policy/plan.h"
#include "tests/policy/config_support.h"

// Addresses of tunnel interfaces, from the configuration to what is planned.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

std::string addresses(const std::string& list) { return R"(, "addresses": [)" + list + "]"; }

std::string external(const std::string& list) {
  return R"(, "attachment": "interface", "interfaces": "external", "private": { "vrf": "blue", "addresses": [)" + list +
         "] }";
}

std::shared_ptr<const Config> accepted(const Document& document) {
  ConfigOutcome outcome = parse_one(document.text());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

void refuses(const Document& document, const std::string& pointer, const std::string& allowed, size_t line = 6) {
  const ConfigError error = only_error(document.text());
  CHECK(error.pointer == pointer);
  CHECK(error.line == line);
  CHECK_MESSAGE(error.allowed.find(allowed) != std::string::npos, error.text());
}

/// A document with a second tunnel "b", beside "a" with these addresses.
Document two(const std::string& first, const std::string& second, const std::string& group = {}) {
  return {.group = group,
          .tunnel = addresses(first),
          .child = R"( } } }, "b": { "group": "core", "remote": "198.51.100.8", "credential": "key")" +
                   addresses(second) +
                   R"(, "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.3.0.0/16"])"};
}

}  // namespace

TEST_CASE("interface addresses: those of a tunnel are on its interface, sorted, and IPv6 gets the MTU that it needs") {
  const auto config =
      accepted({.child_policy = R"(, "mtu": 1000)",
                .tunnel = addresses(R"("fe80::1/64", "10.255.0.5/30", "10.255.0.1/30", "fd00::1/128")")});
  const Tunnel& tunnel = *config->tunnels.at("a");
  const ChildIds ids{.if_id = 0x1000002, .interface = "ips1000002"};

  const LinkConfig link = plan_link(tunnel, ids, link_mtu(tunnel, 1000));

  CHECK(to_string(link.addresses) == "10.255.0.1/30, 10.255.0.5/30, fd00::1/128, fe80::1/64");
  CHECK_FALSE(link.dormant);
  CHECK(link.mtu == 1280);
  CHECK(link_mtu(*accepted({.tunnel = addresses(R"("10.255.0.1/30")")})->tunnels.at("a"), 1000) == 1000);
}

TEST_CASE("interface addresses: those of a group are on its external interface") {
  const auto config = accepted({.group = external(R"("10.255.0.1/24")")});
  CHECK(to_string(plan_external_link(*config, *config->groups.at("core")).addresses) == "10.255.0.1/24");
  CHECK(plan_link(*config->tunnels.at("a"), {.if_id = 7, .interface = "ips7"}, 1400).addresses.empty());
}

TEST_CASE("interface addresses: what no interface can have is refused where it stands, with what would be right") {
  const struct {
    const char* text;
    const char* allowed;
  } cases[] = {
      {"10.255.0.1", "with the length of its subnet"},
      {"10.255.0.1/", "with the length"},
      {"10.255.0.1/30x", "with the length"},
      {"gw/30", "with the length"},
      {"10.255.0.1/33", "1 to 32 bits"},
      {"10.255.0.1/0", "1 to 32 bits"},
      {"fe80::1/129", "1 to 128 bits"},
      {"224.0.0.5/32", "one machine"},
      {"ff02::5/64", "one machine"},
      {"127.0.0.1/8", "one machine"},
      {"::1/128", "one machine"},
      {"0.0.0.0/8", "one machine"},
      {"10.255.0.0/30", "inside 10.255.0.0/30"},
      {"10.255.0.3/30", "neither its first nor its last"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.text);
    refuses({.tunnel = addresses('"' + std::string(each.text) + '"')}, "/tunnels/a/addresses", each.allowed);
  }
  // Two that share a link need no more (RFC 3021), and IPv6 has no broadcast address.
  accepted({.tunnel = addresses(R"("10.255.0.0/31", "10.255.0.2/32", "fd00::/64")")});
}

TEST_CASE("interface addresses: none twice in a list, nor more than sixteen") {
  refuses({.tunnel = addresses(R"("10.255.0.1/30", "10.255.0.1/24")")}, "/tunnels/a/addresses",
          "not in the list already");
  std::string many = R"("10.255.1.1/32")";
  for (int i = 2; i <= 17; ++i) many += R"(, "10.255.1.)" + std::to_string(i) + R"(/32")";
  refuses({.tunnel = addresses(many)}, "/tunnels/a/addresses", "16");
}

TEST_CASE("interface addresses: without an interface of the tunnel's own there is nothing to put them on") {
  refuses({.group = R"(, "attachment": "policy")", .tunnel = addresses(R"("10.255.0.1/30")")}, "/tunnels/a/addresses",
          "attached by policy");
  refuses({.group = external(R"("10.254.0.1/24")"), .tunnel = addresses(R"("10.255.0.1/30")")}, "/tunnels/a/addresses",
          "private.addresses of the group");
  refuses({.group = R"(, "private": { "addresses": ["10.255.0.1/30"] })"}, "/tunnel_groups/core/private/addresses",
          "interfaces external", 2);
  refuses({.group = R"(, "attachment": "policy", "private": { "addresses": ["10.255.0.1/30"] })"},
          "/tunnel_groups/core/private/addresses", "interfaces external", 2);
}

TEST_CASE("interface addresses: two interfaces of one place do not share one, unless it is a host's or of link scope") {
  refuses(two(R"("10.255.0.1/30")", R"("10.255.0.1/30")"), "/tunnels/b/addresses", "tunnel a has it", 7);
  refuses({.tunnel = addresses(R"("192.0.2.1/24")")}, "/tunnels/a/addresses", "group core as a gateway address");
  accepted(two(R"("10.255.0.1/32", "fe80::1/64")", R"("10.255.0.1/32", "fe80::1/64", "10.255.0.2/30")"));
  // In another VRF it is another address.
  accepted({.group = R"(, "private": { "vrf": "blue" })", .tunnel = addresses(R"("192.0.2.1/24")")});
}
