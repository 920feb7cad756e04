#include <doctest/doctest.h>

#include <algorithm>

#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

LinkConfig tunnel_link() {
  return {.name = "tun0",
          .altname = "customer-a",
          .if_id = 42,
          .public_netns = "left-pub",
          .public_device = "wan",
          .vrf = "blue",
          .mtu = 1380,
          .group = 77};
}

}  // namespace

TEST_CASE("link: an xfrm interface is made in its VRF with everything asked for, and goes") {
  Network network;
  Port port;
  CHECK(error_of(port.done("left-priv", AddLink{tunnel_link()})) == "");

  const std::string shown = shell_output("ip -n left-priv -d link show tun0");
  for (const char* part :
       {"mtu 1380", "master blue", "group 77", "altname customer-a", "if_id 0x2a", ",UP", "link-netns left-pub"})
    CHECK_MESSAGE(shown.find(part) != std::string::npos, part, " in ", shown);
  CHECK(error_of(port.done("left-priv", AddLink{tunnel_link()})) == "");  // made before by us: nothing to do
  CHECK(error_of(port.done("left-priv", DeleteLink{"tun0"})) == "");
  CHECK(error_of(port.done("left-priv", DeleteLink{"tun0"})) == "");
  CHECK(shell("ip -n left-priv link show tun0") != 0);
}

TEST_CASE("link: when its last step fails, nothing is left of it") {
  Network network;
  Port port;
  REQUIRE(shell("ip -n left-priv link property add dev lan altname customer-a") == 0);
  const Status made = port.done("left-priv", AddLink{tunnel_link()});
  CHECK(!made.ok());
  CHECK(shell("ip -n left-priv link show tun0") != 0);
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("link: what is missing is named") {
  Network network;
  Port port;
  LinkConfig link = tunnel_link();
  link.vrf = "green";
  CHECK(reason_of(port.done("left-priv", AddLink{link})) == Reason::kVrfMissing);
  link.vrf = "lan";
  CHECK(reason_of(port.done("left-priv", AddLink{link})) == Reason::kVrfMissing);
  link = tunnel_link();
  link.public_device = "wan7";
  CHECK(reason_of(port.done("left-priv", AddLink{link})) == Reason::kDeviceMissing);
  link = tunnel_link();
  link.public_netns = "nowhere";
  CHECK(reason_of(port.done("left-priv", AddLink{link})) == Reason::kNamespaceMissing);
}

TEST_CASE("link: many go at once, foreign ones among them stay, and each is answered") {
  Network network;
  Port port;
  REQUIRE(shell("ip -n left-priv link add tun3 type xfrm if_id 43") == 0);
  uint64_t id = 0;
  for (uint32_t i : {0U, 1U, 2U, 4U, 5U, 6U}) {
    LinkConfig link = tunnel_link();
    link.name = "tun" + std::to_string(i);
    link.altname = "customer-" + std::to_string(i);
    link.if_id = 50 + i;
    REQUIRE(port.done("left-priv", AddLink{link}).ok());
  }
  for (uint32_t i = 0; i < 8; ++i)
    port.kernel->submit({.id = ++id, .netns = "left-priv", .change = DeleteLink{"tun" + std::to_string(i)}});
  port.kernel->flush();
  for (uint32_t i = 0; i < 8; ++i) {
    const auto completion = port.kernel->poll_completion();
    REQUIRE(completion);
    CHECK(completion->id == i + 1);
    CHECK(completion->result.ok() == (i != 3));
    if (i == 3) CHECK(completion->result.error().reason() == Reason::kKernelConflict);
  }
  CHECK(shell_output("ip -n left-priv -o link show type xfrm | wc -l") == "1\n");
  CHECK(shell("ip -n left-priv link show tun3") == 0);
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("link: foreign interfaces are neither taken over nor removed") {
  Network network;
  Port port;
  REQUIRE(shell("ip -n left-priv link add tun0 type xfrm if_id 42") == 0);
  CHECK(reason_of(port.done("left-priv", AddLink{tunnel_link()})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done("left-priv", DeleteLink{"tun0"})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done("left-priv", DeleteLink{"lan"})) == Reason::kKernelConflict);
  CHECK(shell("ip -n left-priv link show tun0") == 0);
}

TEST_CASE(
    "route: both families go into the table of the VRF, with protocol, metric and source, and only they go again") {
  Network network;
  Port port;
  REQUIRE(port.done("left-priv", AddLink{tunnel_link()}).ok());
  const RouteConfig v4{.destination = prefix("10.2.0.0/16"),
                       .vrf = "blue",
                       .device = "tun0",
                       .metric = 120,
                       .preferred_source = address("10.1.0.1")};
  const RouteConfig v6{.destination = prefix("fd02::/64"), .vrf = "blue", .device = "tun0"};
  CHECK(error_of(port.done("left-priv", AddRoute{v4})) == "");
  CHECK(error_of(port.done("left-priv", AddRoute{v6})) == "");
  CHECK(error_of(port.done("left-priv", AddRoute{v4})) == "");
  const std::string shown = shell_output("ip -N -n left-priv route show table 1001 10.2.0.0/16");
  for (const char* part : {"dev tun0", "proto 50", "metric 120", "src 10.1.0.1"})
    CHECK_MESSAGE(shown.find(part) != std::string::npos, part, " in ", shown);
  CHECK(shell_output("ip -6 -N -n left-priv route show table 1001 fd02::/64").find("proto 50") != std::string::npos);

  REQUIRE(shell("ip -n left-priv route add 10.2.0.0/16 dev lan table 1001 metric 121") == 0);
  CHECK(error_of(port.done("left-priv", DeleteRoute{v4})) == "");
  CHECK(error_of(port.done("left-priv", DeleteRoute{v6})) == "");
  CHECK(error_of(port.done("left-priv", DeleteRoute{v4})) == "");
  CHECK(shell_output("ip -n left-priv route show table 1001 10.2.0.0/16").find("dev lan") != std::string::npos);
  CHECK(shell_output("ip -n left-priv route show table 1001").find("tun0") == std::string::npos);
}

TEST_CASE("route: a foreign one of the same destination and metric is a conflict and stays") {
  Network network;
  Port port;
  REQUIRE(port.done("left-priv", AddLink{tunnel_link()}).ok());
  REQUIRE(shell("ip -n left-priv route add 10.2.0.0/16 dev lan table 1001 metric 100") == 0);
  const RouteConfig route{.destination = prefix("10.2.0.0/16"), .vrf = "blue", .device = "tun0"};
  CHECK(reason_of(port.done("left-priv", AddRoute{route})) == Reason::kKernelConflict);
  CHECK(port.done("left-priv", DeleteRoute{route}).ok());
  CHECK(shell_output("ip -n left-priv route show table 1001").find("10.2.0.0/16 dev lan") != std::string::npos);
}

TEST_CASE("route: one that leads nowhere outlives its tunnel's interface, and goes alone") {
  Network network;
  Port port;
  REQUIRE(port.done("left-priv", AddLink{tunnel_link()}).ok());
  REQUIRE(shell("ip -n left-priv route add unreachable 10.3.0.0/16 table 1001 metric 4294967294") == 0);
  for (const char* destination : {"10.2.0.0/16", "fd02::/64"}) {
    CAPTURE(destination);
    const RouteConfig nowhere{
        .destination = prefix(destination), .vrf = "blue", .metric = 4294967294, .kind = RouteKind::kUnreachable};
    CHECK(error_of(port.done("left-priv", AddRoute{nowhere})) == "");
    CHECK(error_of(port.done("left-priv", AddRoute{nowhere})) == "");
    const auto shown = port.kernel->dump_routes("left-priv").value();
    CHECK(std::count(shown.begin(), shown.end(), nowhere) == 1);
    CHECK(port.kernel->owns("left-priv", nowhere));
  }
  REQUIRE(port.done("left-priv", DeleteLink{"tun0"}).ok());
  const auto left = port.kernel->dump_routes("left-priv").value();
  CHECK(left.size() == 2);
  for (const RouteConfig& each : left) CHECK(error_of(port.done("left-priv", DeleteRoute{each})) == "");
  CHECK(port.kernel->dump_routes("left-priv")->empty());
  CHECK(shell_output("ip -n left-priv route show table 1001").find("unreachable 10.3.0.0/16") != std::string::npos);
}

TEST_CASE("namespace: questions about addresses, devices and VRFs are answered") {
  Network network;
  Port port;
  CHECK(*port.kernel->address_exists("left-pub", address("192.0.2.1")));
  CHECK(*port.kernel->address_exists("left-pub", address("2001:db8::1")));
  CHECK(!*port.kernel->address_exists("left-pub", address("192.0.2.2")));
  CHECK(*port.kernel->vrf_table("left-priv", "blue") == 1001);
  CHECK(reason_of(port.kernel->device("left-pub", "nope")) == Reason::kDeviceMissing);
}

TEST_CASE("namespace: a missing one is named with the command that makes it") {
  Port port;
  const auto reply = port.run("nowhere", ReadSa{make_sa({}).key});
  REQUIRE(!reply.ok());
  CHECK(reply.error().reason() == Reason::kNamespaceMissing);
  CHECK(reply.error().text().find("ip netns add nowhere") != std::string::npos);
  CHECK(reason_of(port.kernel->watch("nowhere")) == Reason::kNamespaceMissing);
  CHECK(reason_of(port.run("../../etc", ReadSa{make_sa({}).key})) == Reason::kNamespaceMissing);
  CHECK(reason_of(port.run("pid:1x", ReadSa{make_sa({}).key})) == Reason::kNamespaceMissing);
  CHECK(reason_of(port.run("pid:1", ReadSa{make_sa({}).key})) == Reason::kNotFound);
  CHECK(reason_of(port.run("/proc/1/ns/net", ReadSa{make_sa({}).key})) == Reason::kNotFound);
}

TEST_CASE("namespace: one that vanishes is left, and a new one of its name begins empty") {
  Port port;
  {
    Namespace netns("vanish");
    REQUIRE(port.done("vanish", AddSa{make_sa({})}).ok());
    REQUIRE(port.kernel->watch("vanish").ok());
  }
  CHECK(port.kernel->leave("vanish", netlink::XfrmKernel::Leave::kIsGone).ok());
  CHECK(port.kernel->journal().size() == 0);
  CHECK(port.kernel->fds_changed());
  CHECK(reason_of(port.run("vanish", ReadSa{make_sa({}).key})) == Reason::kNamespaceMissing);
  Namespace again("vanish");
  CHECK(port.kernel->dump_sas("vanish")->empty());
  CHECK(port.done("vanish", AddSa{make_sa({})}).ok());
}

TEST_CASE("link: after a restart of the daemon its own is taken over, known by names again, and mended") {
  Network network;
  {
    Port before("links");
    REQUIRE(error_of(before.done("left-priv", AddLink{tunnel_link()})) == "");
  }
  const std::string index = shell_output("ip netns exec left-priv cat /sys/class/net/tun0/ifindex");
  REQUIRE(shell("ip -n left-priv link set tun0 nomaster mtu 1300") == 0);

  Port port("links");
  CHECK(error_of(port.done("left-priv", AddLink{tunnel_link()})) == "");

  CHECK(shell_output("ip netns exec left-priv cat /sys/class/net/tun0/ifindex") == index);
  auto links = port.kernel->dump_links("left-priv");
  REQUIRE(links.ok());
  std::erase_if(*links, [](const LinkConfig& each) { return each.kind == LinkKind::kVrf; });
  REQUIRE(links->size() == 1);
  CHECK(links->front() == tunnel_link());
  REQUIRE(port.kernel->owns("left-priv", links->front()));
  CHECK(error_of(port.done("left-priv", DeleteLink{"tun0"})) == "");
}

TEST_CASE("link: one of an earlier run that lies over something else is made anew") {
  Network network;
  {
    Port before("links");
    REQUIRE(error_of(before.done("left-priv", AddLink{tunnel_link()})) == "");
  }
  LinkConfig wanted = tunnel_link();
  wanted.public_netns = "right-pub";

  Port port("links");
  CHECK(error_of(port.done("left-priv", AddLink{wanted})) == "");

  auto links = port.kernel->dump_links("left-priv");
  REQUIRE(links.ok());
  std::erase_if(*links, [](const LinkConfig& each) { return each.kind == LinkKind::kVrf; });
  REQUIRE(links->size() == 1);
  CHECK(links->front() == wanted);
  CHECK(error_of(port.done("left-priv", DeleteLink{"tun0"})) == "");
}

TEST_CASE("journal: what it names and the kernel does not show is struck off, and nothing else") {
  Network network;
  const RouteConfig route{.destination = IpPrefix::parse("10.9.0.0/16").value(),
                          .vrf = "blue",
                          .device = "tun0",
                          .protocol = 77,
                          .metric = 50};
  RouteConfig gone = route;
  gone.metric = 60;
  {
    Port before("absent");
    REQUIRE(error_of(before.done("left-priv", AddLink{tunnel_link()})) == "");
    REQUIRE(error_of(before.done("left-priv", AddRoute{route})) == "");
    REQUIRE(error_of(before.done("left-priv", AddRoute{gone})) == "");
  }
  REQUIRE(shell("ip -n left-priv route del 10.9.0.0/16 table 1001 metric 60") == 0);

  Port port("absent");
  REQUIRE(port.kernel->journal().size() == 3);
  CHECK(error_of(port.kernel->forget_absent({"left-priv", "nowhere"})) == "");

  CHECK(port.kernel->journal().size() == 2);
  CHECK(port.kernel->owns("left-priv", route));  // of a protocol that this run has not used yet
  CHECK_FALSE(port.kernel->owns("left-priv", gone));
  CHECK(error_of(port.done("left-priv", DeleteRoute{route})) == "");
  CHECK(error_of(port.done("left-priv", DeleteLink{"tun0"})) == "");
}
