#include <doctest/doctest.h>

#include <algorithm>

#include "tests/kernel/lab_network.h"

// Addresses and the operational state of interfaces, of all kinds.

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }

const std::vector<InterfaceAddress> kBoth = {{address("10.255.0.1"), 30}, {address("fe80::1"), 64}};

LinkConfig link_of(LinkKind kind, Family outer = Family::kIpv4) {
  LinkConfig link{.kind = kind,
                  .name = "tun7",
                  .altname = "customer-7",
                  .public_netns = "left-pub",
                  .vrf = "blue",
                  .mtu = 1380,
                  .group = 77,
                  .addresses = kBoth};
  if (kind == LinkKind::kXfrm) link.if_id = 42;
  if (!is_tunnel(kind)) return link;
  const bool v4 = outer == Family::kIpv4;
  link.tunnel_local = address(v4 ? "192.0.2.1" : "2001:db8::1");
  link.tunnel_remote = address(v4 ? "192.0.2.2" : "2001:db8::2");
  return link;
}

std::vector<LinkConfig> every_kind() {
  return {link_of(LinkKind::kXfrm), link_of(LinkKind::kExternal),
          link_of(LinkKind::kGre),  link_of(LinkKind::kGre, Family::kIpv6),
          link_of(LinkKind::kIpIp), link_of(LinkKind::kIpIp, Family::kIpv6)};
}

LinkConfig shown(Port& port) {
  const auto all = port.kernel->dump_links("left-priv");
  REQUIRE(all.ok());
  const auto found = std::ranges::find(*all, "tun7", &LinkConfig::name);
  REQUIRE(found != all->end());
  return *found;
}

int ip(const std::string& line) { return shell("ip -n left-priv " + line); }
bool runs() { return shell("ip -n left-priv -j link show tun7 | grep -q '\"operstate\":\"DORMANT\"'") != 0; }
/// How many carry our protocol.
std::string ours() { return shell_output("ip -n left-priv -o addr show dev tun7 | grep -c ' proto 0x32 '"); }
bool has(const std::string& text) {
  return shell("ip -n left-priv -o addr show dev tun7 | grep -q ' " + text + " '") == 0;
}

}  // namespace

TEST_CASE("link addresses: on every kind of interface, in its VRF and over another namespace, as asked for") {
  for (const LinkConfig& link : every_kind()) {
    CAPTURE(to_string(link.kind));
    Network network;
    Port port;
    CHECK(error_of(port.done("left-priv", AddLink{link})) == "");
    CHECK(shown(port) == link);
    CHECK(ours() == "2\n");
    CHECK_MESSAGE(shell("ip -n left-priv route show table 1001 | grep -q '10.255.0.0/30 dev tun7'") == 0, "in the VRF");
    CHECK(shell("ip -n left-priv -6 addr show dev tun7 tentative | grep -q fe80::1") != 0);
    CHECK(error_of(port.done("left-priv", DeleteLink{"tun7"})) == "");
    CHECK(port.kernel->journal().size() == 0);
  }
}

TEST_CASE("link addresses: an update adds what is missing and takes what is too much of ours, and of others' nothing") {
  Network network;
  Port port;
  LinkConfig link = link_of(LinkKind::kXfrm);
  REQUIRE(error_of(port.done("left-priv", AddLink{link})) == "");
  REQUIRE(ip("addr add 10.77.0.1/24 dev tun7") == 0);
  REQUIRE(ip("addr add 10.78.0.1/24 dev tun7 proto 77") == 0);
  CHECK(shown(port) == link);  // no drift

  // 10.255.0.2 is in the subnet of one that goes, with which the kernel takes it along.
  link.addresses = {{address("10.254.0.1"), 32}, {address("10.255.0.2"), 30}, {address("fd00::1"), 128}};
  CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
  CHECK(shown(port) == link);
  link.addresses = {{address("10.255.0.1"), 30}, {address("10.255.0.2"), 30}};
  CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
  CHECK(shown(port) == link);
  link.addresses = {{address("10.255.0.1"), 30}};
  CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
  CHECK(shown(port) == link);
  link.addresses.clear();
  CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
  CHECK(shown(port) == link);
  CHECK(ours() == "0\n");
  CHECK(has("10.77.0.1/24"));
  CHECK(has("10.78.0.1/24"));
}

TEST_CASE("link addresses: what somebody removes shows as missing and is put back, after a look only") {
  Network network;
  Port port;
  const LinkConfig link = link_of(LinkKind::kXfrm);
  REQUIRE(error_of(port.done("left-priv", AddLink{link})) == "");
  REQUIRE(ip("addr del 10.255.0.1/30 dev tun7") == 0);
  CHECK(to_string(shown(port).addresses) == "fe80::1/64");
  CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
  CHECK(shown(port) == link);
  // The kernel drops IPv6 addresses of what goes down.
  REQUIRE(ip("link set tun7 down") == 0);
  CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
  CHECK(shown(port) == link);
}

TEST_CASE("link addresses: one that somebody else has put there serves; one of another length in its way is told") {
  Network network;
  Port port;
  LinkConfig link = link_of(LinkKind::kXfrm);
  link.addresses.clear();
  REQUIRE(error_of(port.done("left-priv", AddLink{link})) == "");
  REQUIRE(ip("addr add 10.255.0.1/30 dev tun7") == 0);
  REQUIRE(ip("addr add fd00::1/64 dev tun7 nodad") == 0);
  CHECK(shown(port) == link);
  link.addresses = {{address("10.255.0.1"), 30}};
  CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
  CHECK(shown(port) == link);
  link.addresses = {{address("fd00::1"), 128}};
  const Status refused = port.done("left-priv", UpdateLink{link});
  CHECK(reason_of(refused) == Reason::kKernelConflict);
  CHECK(error_of(refused).find("fd00::1/128") != std::string::npos);
  CHECK(has("10.255.0.1/30"));
  CHECK(has("fd00::1/64"));
}

TEST_CASE("link addresses: one that the kernel refuses is named, and nothing is left of the interface") {
  for (const LinkConfig& each : every_kind()) {
    CAPTURE(to_string(each.kind));
    Network network;
    Port port;
    LinkConfig link = each;
    link.addresses.insert(link.addresses.begin() + 1, {address("10.255.0.5"), 33});
    const Status made = port.done("left-priv", AddLink{link});
    CHECK(!made.ok());
    CHECK_MESSAGE(error_of(made).find("address 10.255.0.5/33") != std::string::npos, error_of(made));
    CHECK(ip("link show tun7") != 0);
    CHECK(port.kernel->journal().size() == 0);
  }
}

TEST_CASE("operational state: every kind can be made dormant, keeps its addresses so, and goes on running") {
  for (const LinkConfig& each : every_kind()) {
    if (each.kind == LinkKind::kExternal) continue;
    CAPTURE(to_string(each.kind));
    Network network;
    Port port;
    LinkConfig link = each;
    link.dormant = true;
    CHECK(error_of(port.done("left-priv", AddLink{link})) == "");
    CHECK(shown(port) == link);
    CHECK_FALSE(runs());
    // It is no matter of its carrier: what the peer sends comes in.
    CHECK(shell("ip -n left-priv link show tun7 | grep -q ',LOWER_UP'") == 0);
    for (const bool dormant : {false, true, false}) {
      link.dormant = dormant;
      CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
      CHECK(shown(port) == link);
      CHECK(runs() == !dormant);
    }
    // Somebody else's hands: down and up, another state, another mode.
    for (const char* line : {"link set tun7 state dormant", "link set tun7 down"}) {
      REQUIRE(ip(line) == 0);
      CHECK(shown(port) != link);
      CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
      CHECK(shown(port) == link);
    }
    link.dormant = true;
    REQUIRE(error_of(port.done("left-priv", UpdateLink{link})) == "");
    REQUIRE(ip("link set tun7 mode default") == 0);
    CHECK(shown(port) != link);
    CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
    CHECK(shown(port) == link);
  }
}

TEST_CASE("operational state: after a restart of the daemon it is taken over with the addresses, or changed in place") {
  Network network;
  LinkConfig link = link_of(LinkKind::kXfrm);
  {
    Port before("link-state");
    REQUIRE(error_of(before.done("left-priv", AddLink{link})) == "");
  }
  REQUIRE(ip("addr del fe80::1/64 dev tun7") == 0);
  REQUIRE(ip("addr add 10.77.0.1/24 dev tun7") == 0);
  const std::string index = shell_output("ip netns exec left-priv cat /sys/class/net/tun7/ifindex");

  Port port("link-state");
  CHECK(to_string(shown(port).addresses) == "10.255.0.1/30");
  link.dormant = true;
  link.addresses = {{address("10.255.0.2"), 30}, {address("fe80::1"), 64}};
  CHECK(error_of(port.done("left-priv", AddLink{link})) == "");

  CHECK(shown(port) == link);
  CHECK(has("10.77.0.1/24"));
  CHECK_FALSE(runs());
  CHECK(shell_output("ip netns exec left-priv cat /sys/class/net/tun7/ifindex") == index);
  CHECK(error_of(port.done("left-priv", DeleteLink{"tun7"})) == "");
}
