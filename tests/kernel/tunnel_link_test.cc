#include <doctest/doctest.h>

#include <algorithm>

#include "tests/kernel/lab_network.h"

// GRE and IP-in-IP interfaces.

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }

struct Shape {
  LinkKind kind;
  const char* word;  ///< The kernel's.
  bool v6;
};
constexpr Shape kShapes[] = {{LinkKind::kGre, "gre", false},
                             {LinkKind::kGre, "ip6gre", true},
                             {LinkKind::kIpIp, "sit", false},
                             {LinkKind::kIpIp, "ip6tnl", true}};

LinkConfig link_of(const Shape& shape) {
  LinkConfig link{.kind = shape.kind,
                  .name = "gre7",
                  .altname = "carrier-7",
                  .public_netns = "left-pub",
                  .vrf = "blue",
                  .mtu = 1380,
                  .group = 77,
                  .tunnel_local = address(shape.v6 ? "2001:db8::1" : "192.0.2.1"),
                  .tunnel_remote = address(shape.v6 ? "2001:db8::2" : "192.0.2.2")};
  if (shape.kind == LinkKind::kGre) link.tunnel_key = 0x70000001;
  return link;
}

LinkConfig shown(Port& port) {
  const auto all = port.kernel->dump_links("left-priv");
  REQUIRE(all.ok());
  const auto found = std::ranges::find(*all, "gre7", &LinkConfig::name);
  REQUIRE(found != all->end());
  CHECK(port.kernel->owns("left-priv", *found));
  return *found;
}

}  // namespace

TEST_CASE("tunnel link: each kind is made in its VRF over another namespace, reads back as asked for, and goes") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.word);
    Network network;
    Port port;
    const LinkConfig link = link_of(shape);
    CHECK(error_of(port.done("left-priv", AddLink{link})) == "");
    const std::string text = shell_output("ip -n left-priv -d link show gre7");
    for (const std::string part : {"master blue", "altname carrier-7", ",UP", "MULTICAST", "link-netns left-pub"})
      CHECK_MESSAGE(text.find(part) != std::string::npos, part, " in ", text);
    CHECK(text.find(std::string(" ") + shape.word + " ") != std::string::npos);
    CHECK(shown(port) == link);
    CHECK(error_of(port.done("left-priv", AddLink{link})) == "");
    CHECK(error_of(port.done("left-priv", DeleteLink{"gre7"})) == "");
    CHECK(error_of(port.done("left-priv", DeleteLink{"gre7"})) == "");
    CHECK(shell("ip -n left-priv link show gre7") != 0);
    CHECK(port.kernel->journal().size() == 0);
  }
}

TEST_CASE("tunnel link: its other end, key and MTU change in place, also after a restart of the daemon") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.word);
    Network network;
    const std::string index = "ip -n left-priv -o link show gre7 | cut -d: -f1";
    std::string before;
    LinkConfig link = link_of(shape);
    {
      Port port("tunnel-link");
      REQUIRE(error_of(port.done("left-priv", AddLink{link})) == "");
      before = shell_output(index);
      link.tunnel_remote = address(shape.v6 ? "2001:db8::9" : "192.0.2.9");
      CHECK(error_of(port.done("left-priv", UpdateLink{link})) == "");
      CHECK(shown(port) == link);
    }
    Port port("tunnel-link");
    CHECK(shown(port).tunnel_remote == link.tunnel_remote);
    link.tunnel_remote = address(shape.v6 ? "2001:db8::2" : "192.0.2.2");
    link.mtu = 1400;
    if (shape.kind == LinkKind::kGre) link.tunnel_key = 0;
    CHECK(error_of(port.done("left-priv", AddLink{link})) == "");
    CHECK(shown(port) == link);
    CHECK(shell_output(index) == before);
    CHECK(error_of(port.done("left-priv", DeleteLink{"gre7"})) == "");
  }
}

TEST_CASE("tunnel link: IP in IP over IPv4 asks for the way of each packet, also one of an earlier run") {
  Network network;
  const auto inherits = [] { return shell("ip -n left-priv -d link show gre7 | grep -q 'tos inherit'") == 0; };
  LinkConfig link = link_of(kShapes[2]);
  {
    Port port("tunnel-link");
    REQUIRE(error_of(port.done("left-priv", AddLink{link})) == "");
    CHECK(inherits());
    link.tunnel_remote = address("192.0.2.9");
    REQUIRE(error_of(port.done("left-priv", UpdateLink{link})) == "");
    CHECK(inherits());
  }
  REQUIRE(shell("ip -n left-priv link change gre7 type sit tos 0") == 0);
  REQUIRE_FALSE(inherits());
  Port port("tunnel-link");
  CHECK(error_of(port.done("left-priv", AddLink{link})) == "");
  CHECK(inherits());
}

TEST_CASE("tunnel link: one whose end of ours changes is made anew, and a foreign one of its name is left alone") {
  Network network;
  Port port;
  REQUIRE(error_of(port.done("left-priv", AddLink{link_of(kShapes[0])})) == "");
  CHECK(error_of(port.done("left-priv", AddLink{link_of(kShapes[1])})) == "");
  CHECK(shown(port) == link_of(kShapes[1]));
  LinkConfig elsewhere = link_of(kShapes[1]);
  elsewhere.tunnel_local = address("2001:db8::5");
  CHECK(error_of(port.done("left-priv", AddLink{elsewhere})) == "");
  CHECK(shown(port) == elsewhere);
  REQUIRE(shell("ip -n left-priv link del gre7") == 0);
  REQUIRE(shell("ip -n left-priv link add gre7 type ip6gre local 2001:db8::7 remote 2001:db8::2") == 0);
  CHECK(reason_of(port.done("left-priv", UpdateLink{link_of(kShapes[1])})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done("left-priv", DeleteLink{"gre7"})) == Reason::kKernelConflict);
  CHECK(shell("ip -n left-priv link show gre7") == 0);
}

TEST_CASE("tunnel link: without its VRF, or with ends that another one has, nothing is made") {
  Network network;
  Port port;
  LinkConfig link = link_of(kShapes[0]);
  link.vrf = "green";
  CHECK(reason_of(port.done("left-priv", AddLink{link})) == Reason::kVrfMissing);
  CHECK(shell("ip -n left-priv link show gre7") != 0);
  REQUIRE(shell("ip -n left-pub link add mine type gre local 192.0.2.1 remote 192.0.2.2 key 0x70000001") == 0);
  CHECK(reason_of(port.done("left-priv", AddLink{link_of(kShapes[0])})) == Reason::kKernelConflict);
  CHECK(shell("ip -n left-priv link show gre7") != 0);
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("tunnel link: packets of both families pass between two of them, and those without ends are not shown") {
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.word);
    Network network;
    Port port;
    LinkConfig left = link_of(shape), right = left;
    right.public_netns = "right-pub";
    std::swap(right.tunnel_local, right.tunnel_remote);
    REQUIRE(error_of(port.done("left-priv", AddLink{left})) == "");
    REQUIRE(error_of(port.done("right-priv", AddLink{right})) == "");
    for (const char* side : {"left", "right"}) {
      const std::string add = std::string("ip -n ") + side + "-priv addr add ";
      const bool is_left = side[0] == 'l';
      REQUIRE(shell(add + (is_left ? "10.99.0.1" : "10.99.0.2") + "/30 dev gre7") == 0);
      REQUIRE(shell(add + (is_left ? "fd99::1" : "fd99::2") + "/64 dev gre7 nodad") == 0);
    }
    CHECK(shell("ip netns exec left-priv ip vrf exec blue ping -q -c 2 -i 0.05 -W 1 10.99.0.2") == 0);
    CHECK(shell("ip netns exec left-priv ip vrf exec blue ping -q -c 2 -i 0.05 -W 1 fd99::2") == 0);
    const auto links = port.kernel->dump_links("left-pub");
    REQUIRE(links.ok());
    CHECK(std::ranges::none_of(*links, [](const LinkConfig& each) { return is_tunnel(each.kind); }));
  }
}
