#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>

#include <algorithm>
#include <cstring>

#include "policy/plan.h"
#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

LinkConfig link_of(const std::string& name, uint32_t if_id) {
  return {.name = name,
          .altname = "tunnel-" + name,
          .if_id = if_id,
          .public_netns = "left-pub",
          .public_device = "wan",
          .vrf = "blue",
          .mtu = 1380,
          .group = kLinkGroup};
}

RouteConfig route_of(const std::string& destination, const std::string& device) {
  return {.destination = prefix(destination), .vrf = "blue", .device = device};
}

/// IPv4.
xfrm_selector selector_of(const PolicyKey& key) {
  xfrm_selector selector{};
  std::memcpy(&selector.saddr, key.source.address.bytes().data(), 4);
  std::memcpy(&selector.daddr, key.destination.address.bytes().data(), 4);
  selector.prefixlen_s = key.source.length, selector.prefixlen_d = key.destination.length;
  selector.family = AF_INET;
  return selector;
}

template <typename Object>
const Object* find(const std::vector<Object>& all, const auto& matches) {
  const auto found = std::ranges::find_if(all, matches);
  return found == all.end() ? nullptr : &*found;
}

const LinkConfig* named(const std::vector<LinkConfig>& all, const std::string& name) {
  return find(all, [&](const LinkConfig& each) { return each.name == name; });
}

const RouteConfig* to(const std::vector<RouteConfig>& all, const std::string& destination) {
  return find(all, [&](const RouteConfig& each) { return each.destination == prefix(destination); });
}

/// Everything that was told since the last call, of one kind.
template <typename Event>
std::vector<Event> told(Port& port) {
  port.kernel->process();
  std::vector<Event> events;
  while (auto event = port.kernel->poll_event())
    if (auto* wanted = std::get_if<Event>(&*event)) events.push_back(std::move(*wanted));
  return events;
}

}  // namespace

TEST_CASE("dump: our links read back as they were asked for, and a foreign one is not ours") {
  Network network;
  Port port;
  const LinkConfig ours = link_of("ips2a", 42);
  REQUIRE(error_of(port.done("left-priv", AddLink{ours})) == "");
  LinkConfig bare{.name = "ips2b", .if_id = 43, .public_netns = "left-priv", .mtu = 1300};
  REQUIRE(error_of(port.done("left-priv", AddLink{bare})) == "");
  REQUIRE(shell("ip -n left-priv link add theirs type xfrm if_id 7") == 0);

  const auto links = port.kernel->dump_links("left-priv");

  REQUIRE_MESSAGE(links.ok(), error_of(links));
  REQUIRE(links->size() == 4);  // and the VRF
  CHECK(named(*links, "blue")->kind == LinkKind::kVrf);
  CHECK(!port.kernel->owns("left-priv", *named(*links, "blue")));
  REQUIRE(named(*links, "ips2a") != nullptr);
  CHECK(*named(*links, "ips2a") == ours);
  CHECK(*named(*links, "ips2b") == bare);
  CHECK(port.kernel->owns("left-priv", *named(*links, "ips2a")));
  CHECK(port.kernel->owns("left-priv", *named(*links, "ips2b")));
  CHECK(!port.kernel->owns("left-priv", *named(*links, "theirs")));
}

TEST_CASE("dump: what was changed on a link shows, and is mended without making it anew") {
  Network network;
  Port port;
  const LinkConfig ours = link_of("ips2a", 42);
  REQUIRE(error_of(port.done("left-priv", AddLink{ours})) == "");
  const std::string index = shell_output("ip netns exec left-priv cat /sys/class/net/ips2a/ifindex");
  for (const char* change : {"link set ips2a mtu 1300", "link set ips2a nomaster", "link set ips2a group 3",
                             "link set ips2a down", "link property del dev ips2a altname tunnel-ips2a"}) {
    CAPTURE(change);
    REQUIRE(shell("ip -n left-priv " + std::string(change)) == 0);
    REQUIRE(*named(*port.kernel->dump_links("left-priv"), "ips2a") != ours);

    CHECK(error_of(port.done("left-priv", UpdateLink{ours})) == "");

    CHECK(*named(*port.kernel->dump_links("left-priv"), "ips2a") == ours);
    CHECK(shell_output("ip netns exec left-priv cat /sys/class/net/ips2a/ifindex") == index);
  }
}

TEST_CASE("dump: a link whose VRF is gone is down until the VRF is back, and a foreign link is not mended") {
  Network network;
  Port port;
  const LinkConfig ours = link_of("ips2a", 42);
  REQUIRE(error_of(port.done("left-priv", AddLink{ours})) == "");
  REQUIRE(shell("ip -n left-priv link del blue") == 0);

  CHECK(reason_of(port.done("left-priv", UpdateLink{ours})) == Reason::kVrfMissing);
  CHECK(!named(*port.kernel->dump_links("left-priv"), "ips2a")->up);

  REQUIRE(shell("ip -n left-priv link add blue type vrf table 1002; ip -n left-priv link set blue up") == 0);
  CHECK(error_of(port.done("left-priv", UpdateLink{ours})) == "");
  CHECK(*named(*port.kernel->dump_links("left-priv"), "ips2a") == ours);

  REQUIRE(shell("ip -n left-priv link add theirs type xfrm if_id 7") == 0);
  CHECK(reason_of(port.done("left-priv", UpdateLink{{.name = "theirs", .if_id = 7}})) == Reason::kKernelConflict);
}

TEST_CASE(
    "dump: our routes read back as they were asked for; others of our protocol are not ours, the rest is left out") {
  Network network;
  Port port;
  REQUIRE(error_of(port.done("left-priv", AddLink{link_of("ips2a", 42)})) == "");
  RouteConfig four = route_of("10.9.0.0/16", "ips2a"), six = route_of("2001:db8:9::/48", "ips2a");
  four.preferred_source = address("10.1.0.1");
  RouteConfig other = route_of("10.8.0.0/16", "ips2a");
  other.protocol = 77;
  other.metric = 7;
  for (const RouteConfig& each : {four, six, other}) REQUIRE(error_of(port.done("left-priv", AddRoute{each})) == "");
  REQUIRE(shell("ip -n left-priv route add 10.7.0.0/16 dev ips2a table 1001 proto 50 metric 100") == 0);
  REQUIRE(shell("ip -n left-priv route add 10.6.0.0/16 dev ips2a table 1001 proto 186 metric 100") == 0);
  REQUIRE(shell("ip -n left-priv route add 10.5.0.0/16 dev ips2a table 4000 proto 50 metric 100") == 0);

  const auto routes = port.kernel->dump_routes("left-priv");

  REQUIRE_MESSAGE(routes.ok(), error_of(routes));
  CHECK(routes->size() == 5);
  REQUIRE(to(*routes, "10.9.0.0/16") != nullptr);
  CHECK(*to(*routes, "10.9.0.0/16") == four);
  CHECK(*to(*routes, "2001:db8:9::/48") == six);
  CHECK(*to(*routes, "10.8.0.0/16") == other);
  CHECK(to(*routes, "10.6.0.0/16") == nullptr);
  CHECK(to(*routes, "10.5.0.0/16")->vrf == "#4000");
  for (const RouteConfig& each : {four, six, other}) CHECK(port.kernel->owns("left-priv", each));
  CHECK(!port.kernel->owns("left-priv", *to(*routes, "10.7.0.0/16")));
}

TEST_CASE("disturbance: what we do ourselves is not told, what others remove of ours is, and what is not ours is not") {
  Network network;
  Port port;
  REQUIRE(port.kernel->watch("left-pub").ok());
  REQUIRE(port.kernel->watch("left-priv").ok());
  const SaKey key = make_sa({}).key;
  const PolicyConfig policy = make_policy({});
  const RouteConfig route = route_of("10.9.0.0/16", "ips2a");
  told<ResyncNeeded>(port);

  for (int round = 0; round < 2; ++round) {
    REQUIRE(error_of(port.done("left-pub", AddSa{make_sa({})})) == "");
    REQUIRE(error_of(port.done("left-pub", AddPolicy{policy})) == "");
    REQUIRE(error_of(port.done("left-pub", UpdatePolicy{policy})) == "");
    REQUIRE(error_of(port.done("left-priv", AddLink{link_of("ips2a", 42)})) == "");
    REQUIRE(error_of(port.done("left-priv", AddRoute{route})) == "");
    if (round == 1) break;
    REQUIRE(port.done("left-priv", DeleteRoute{route}).ok());
    REQUIRE(port.done("left-pub", DeletePolicy{policy.key}).ok());
    REQUIRE(port.done("left-pub", DeleteSa{key}).ok());
    REQUIRE(port.done("left-priv", DeleteLink{"ips2a"}).ok());
  }
  port.kernel->process();
  while (auto event = port.kernel->poll_event()) CHECK(std::holds_alternative<LinkChanged>(*event));

  shell("ip -n left-pub xfrm state add src 192.0.2.1 dst 192.0.2.9 proto esp spi 0xf1 enc cipher_null ''");
  shell("ip -n left-pub xfrm state del src 192.0.2.1 dst 192.0.2.9 proto esp spi 0xf1");
  CHECK(told<SaRemoved>(port).empty());
  shell("ip -n left-pub xfrm state del src 192.0.2.1 dst 192.0.2.2 proto esp spi 0xc0000001");
  auto removed = told<SaRemoved>(port);
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].key == key);
  shell("ip -n left-pub xfrm policy del src 10.1.0.0/16 dst 10.2.0.0/16 dir out");
  auto disturbed = told<PolicyDisturbed>(port);
  REQUIRE(disturbed.size() == 1);
  CHECK(disturbed[0].key == policy.key);
  // Of ours that somebody has removed: an update makes it anew.
  CHECK(error_of(port.done("left-pub", UpdatePolicy{policy})) == "");
  CHECK(port.kernel->dump_policies("left-pub")->size() == 1);
  shell("ip -n left-pub xfrm policy flush; ip -n left-pub xfrm state flush");
  disturbed = told<PolicyDisturbed>(port);
  REQUIRE(disturbed.size() == 1);
  CHECK(!disturbed[0].key);
  shell("ip -n left-priv route del 10.9.0.0/16 dev ips2a table 1001");
  const auto routes = told<RouteRemoved>(port);
  REQUIRE(routes.size() == 1);
  CHECK(routes[0].destination == route.destination);
  shell("ip -n left-priv link del ips2a");
  const auto links = told<LinkChanged>(port);
  CHECK(std::ranges::any_of(links, [](const LinkChanged& each) { return each.gone && each.name == "ips2a"; }));
}

TEST_CASE("disturbance: a policy that somebody overwrote for another purpose is no longer ours, and stays") {
  Namespace netns("overwritten");
  Port port;
  REQUIRE(port.kernel->watch("overwritten").ok());
  const PolicyConfig ours = make_policy({});
  REQUIRE(error_of(port.done("overwritten", AddPolicy{ours})) == "");
  REQUIRE(netns.ip("xfrm policy update src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 5 tmpl src 192.0.2.1 dst "
                   "192.0.2.2 proto esp reqid 99 mode tunnel") == 0);

  CHECK(told<PolicyDisturbed>(port).size() == 1);
  const auto found = port.kernel->dump_policies("overwritten");
  REQUIRE(found->size() == 1);
  CHECK(!port.kernel->owns("overwritten", found->front()));
  CHECK(reason_of(port.done("overwritten", AddPolicy{ours})) == Reason::kKernelConflict);
  CHECK(port.kernel->dump_policies("overwritten")->front().reqid == 99);
}

TEST_CASE(
    "disturbance: a policy of ours that ends at a limit is told as gone, SAs that somebody moves as a reason to look") {
  Namespace netns("limited");
  Port port;
  REQUIRE(port.kernel->watch("limited").ok());
  const PolicyConfig ours = make_policy({});
  REQUIRE(error_of(port.done("limited", AddPolicy{ours})) == "");
  told<ResyncNeeded>(port);
  auto other = netlink::Socket::open({.protocol = NETLINK_XFRM, .netns = "limited"});
  REQUIRE(other.ok());

  for (const uint8_t hard : {0, 1}) {
    xfrm_user_polexpire limit{.pol = {}, .hard = hard};
    limit.pol.sel = selector_of(ours.key);
    limit.pol.dir = XFRM_POLICY_OUT;
    netlink::Message message(XFRM_MSG_POLEXPIRE);
    message.header(limit);
    REQUIRE(other->transact(std::move(message)).ok());
    const auto disturbed = told<PolicyDisturbed>(port);
    REQUIRE(disturbed.size() == hard);
    if (hard != 0) CHECK(disturbed[0].key == ours.key);
  }

  REQUIRE(netns.ip("xfrm policy add src 10.8.0.0/16 dst 10.9.0.0/16 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp "
                   "reqid 5 mode tunnel") == 0);
  xfrm_userpolicy_id policy{.sel = selector_of({.source = prefix("10.8.0.0/16"), .destination = prefix("10.9.0.0/16")}),
                            .index = 0,
                            .dir = XFRM_POLICY_OUT};
  xfrm_user_migrate move{};
  for (auto* side : {&move.old_saddr, &move.new_saddr}) side->a4 = htonl(0xc0000201);
  move.old_daddr.a4 = htonl(0xc0000202), move.new_daddr.a4 = htonl(0xc0000203);
  move.proto = IPPROTO_ESP, move.mode = XFRM_MODE_TUNNEL, move.reqid = 5;
  move.old_family = move.new_family = AF_INET;
  netlink::Message message(XFRM_MSG_MIGRATE);
  message.header(policy);
  message.put_struct(XFRMA_MIGRATE, move);
  REQUIRE(other->transact(std::move(message)).ok());
  CHECK(told<ResyncNeeded>(port).size() == 1);
}

TEST_CASE("namespace: when its name goes it is told, closed and forgotten; when it is back it can be watched again") {
  Port port;
  {
    Namespace netns("comes");
    REQUIRE(port.kernel->watch("comes").ok());
    REQUIRE(error_of(port.done("comes", AddPolicy{make_policy({})})) == "");
    told<ResyncNeeded>(port);
  }
  const auto gone = told<NamespaceGone>(port);
  REQUIRE(gone.size() == 1);
  CHECK(gone[0].netns == "comes");
  CHECK(port.kernel->journal().size() == 0);
  CHECK(reason_of(port.kernel->dump_policies("comes")) == Reason::kNamespaceMissing);
  CHECK(reason_of(port.kernel->watch("comes")) == Reason::kNamespaceMissing);

  Namespace netns("comes");
  CHECK(told<ResyncNeeded>(port).size() == 1);  // it is back
  CHECK(port.kernel->watch("comes").ok());
  CHECK(told<ResyncNeeded>(port).size() == 1);
  CHECK(port.kernel->dump_policies("comes")->empty());
}
