#include "policy/plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "policy/base/random.h"
#include "policy/limits.h"
#include "policy/mtu.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

const ChildIds kIds{.reqid = 0x1000001, .if_id = 0x1000002, .interface = "ips1000002"};
constexpr EspSuite kGcm{kEncrAesGcm16, 256, kAuthNone, false};

IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }
TrafficSelector selector(std::string_view text) { return parse_selector(text).value(); }

/// A child between two places, as IKE negotiates it.
ChildSpec spec_of(SelectorList local, SelectorList remote) {
  auto group = std::make_shared<TunnelGroup>();
  group->public_addresses = {address("192.0.2.1"), address("2001:db8::1")};
  group->private_place = {.netns = "priv", .vrf = "red"};
  auto policy = std::make_shared<ChildPolicy>();
  policy->proposals = parse_proposal(Protocol::kEsp, "aes256gcm16").value();
  auto tunnel = std::make_shared<Tunnel>();
  tunnel->name = "a";
  tunnel->group = group;
  tunnel->remote = address("198.51.100.7");
  tunnel->children.push_back({.name = "lan", .local = local, .remote = remote, .policy = policy});
  ChildSpec spec;
  spec.tunnel = tunnel;
  spec.child = "lan";
  spec.spi_in = ChildSpi(0xc1);
  spec.spi_out = ChildSpi(0xd1);
  spec.suite = kGcm;
  spec.local = std::move(local);
  spec.remote = std::move(remote);
  spec.local_endpoint = {address("192.0.2.1"), 4500};
  spec.remote_endpoint = {address("198.51.100.7"), 40000};
  return spec;
}

ChildPlan plan(std::string_view local, std::string_view remote) {
  return plan_child(spec_of({selector(local)}, {selector(remote)}), kIds).value();
}

std::string refusal(SelectorList local, SelectorList remote, Reason reason = Reason::kTsUnacceptable) {
  auto result = plan_child(spec_of(std::move(local), std::move(remote)), kIds);
  if (result.ok()) return "accepted";
  CHECK(result.error().reason() == reason);
  return result.error().text();
}

bool covers(const std::vector<PortBlock>& blocks, uint16_t port) {
  return std::any_of(blocks.begin(), blocks.end(),
                     [&](const PortBlock& each) { return (port & each.mask) == each.value; });
}

}  // namespace

TEST_CASE("plan: a child is two SAs, one outbound policy, its mirror inbound and forward, and a route") {
  const ChildPlan made = plan("10.1.0.0/16", "10.2.0.0/16");

  CHECK(made.inbound.key == SaKey{address("192.0.2.1"), ChildSpi(0xc1)});
  CHECK(made.outbound.key == SaKey{address("198.51.100.7"), ChildSpi(0xd1)});
  CHECK(made.inbound.replay_window == 128);
  CHECK(made.outbound.replay_window == 0);
  CHECK(made.inbound.reqid == kIds.reqid);
  CHECK(made.outbound.if_id == kIds.if_id);
  CHECK(made.inbound.encap_source_port == 0);
  CHECK(made.inbound.hard_lifetime == 72min);  // a fifth behind our own timer
  REQUIRE(made.outbound_policies.size() == 1);
  CHECK(to_string(made.outbound_policies[0].key.source) == "10.1.0.0/16");
  CHECK(made.outbound_policies[0].tunnel_destination == address("198.51.100.7"));
  REQUIRE(made.inbound_policies.size() == 2);
  CHECK(made.inbound_policies[0].key.direction == Direction::kIn);
  CHECK(made.inbound_policies[1].key.direction == Direction::kForward);
  CHECK(to_string(made.inbound_policies[1].key.source) == "10.2.0.0/16");
  CHECK(made.inbound_policies[1].tunnel_destination == address("192.0.2.1"));
  REQUIRE(made.routes.size() == 1);
  CHECK(made.routes[0] == RouteConfig{.destination = IpPrefix::parse("10.2.0.0/16").value(),
                                      .vrf = "red",
                                      .device = "ips1000002",
                                      .protocol = 50,
                                      .metric = 100,
                                      .preferred_source = {}});
}

TEST_CASE("plan: with UDP encapsulation each SA has the ports of its own direction") {
  ChildSpec spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")});
  spec.udp_encapsulation = true;

  const ChildPlan made = plan_child(spec, kIds).value();

  CHECK(made.inbound.encap_source_port == 40000);
  CHECK(made.inbound.encap_destination_port == 4500);
  CHECK(made.outbound.encap_source_port == 4500);
  CHECK(made.outbound.encap_destination_port == 40000);
}

TEST_CASE("plan: selectors of two families make policies only among their own family") {
  const ChildPlan made = plan_child(spec_of({selector("10.1.0.0/16"), selector("2001:db8:1::/48")},
                                            {selector("10.2.0.0/16"), selector("2001:db8:2::/48")}),
                                    kIds)
                             .value();

  REQUIRE(made.outbound_policies.size() == 2);
  for (const PolicyConfig& each : made.outbound_policies)
    CHECK(each.key.source.address.family() == each.key.destination.address.family());
  CHECK(made.routes.size() == 2);
  CHECK(refusal({selector("10.1.0.0/16")}, {selector("2001:db8:2::/48")}).find("no pair of selectors") !=
        std::string::npos);
  CHECK(refusal({selector("10.1.0.0/16[tcp]")}, {selector("10.2.0.0/16[udp]")}).find("no pair") != std::string::npos);
}

TEST_CASE("plan: port blocks cover exactly the range, whatever it is") {
  CHECK(port_blocks(0, 65535) == std::vector<PortBlock>{{0, 0}});
  CHECK(port_blocks(443, 443) == std::vector<PortBlock>{{443, 0xffff}});
  CHECK(port_blocks(1024, 65535).size() == 6);
  CHECK(port_blocks(1, 65534).size() == 30);  // the worst case
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    auto a = static_cast<uint16_t>(random.below(65536)), b = static_cast<uint16_t>(random.below(65536));
    if (a > b) std::swap(a, b);
    const auto blocks = port_blocks(a, b);
    size_t wrong = 0, sum = 0;
    for (uint32_t port = 0; port <= 65535; ++port)
      if (covers(blocks, static_cast<uint16_t>(port)) != (port >= a && port <= b)) ++wrong;
    for (const PortBlock& each : blocks) sum += 65536U - each.mask;
    CHECK(wrong == 0);
    CHECK(sum == size_t{b} - a + 1);  // so no two overlap
  }
}

TEST_CASE("plan: prefixes of a range cover exactly its addresses and each policy has its mirror") {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    auto a = static_cast<uint32_t>(random.below(4096)), b = static_cast<uint32_t>(random.below(4096));
    if (a > b) std::swap(a, b);
    TrafficSelector remote = selector("10.2.0.0/16");
    remote.addresses = {IpAddress::v4(0x0a020000 + a), IpAddress::v4(0x0a020000 + b)};

    const ChildPlan made = plan_child(spec_of({selector("10.1.0.0/16[tcp/80-83]")}, {remote}), kIds).value();

    size_t wrong = 0;
    for (uint32_t i = 0; i < 4096; ++i) {
      const auto matching =
          std::count_if(made.outbound_policies.begin(), made.outbound_policies.end(),
                        [&](auto& each) { return each.key.destination.contains(IpAddress::v4(0x0a020000 + i)); });
      if (matching != (i >= a && i <= b ? 1 : 0)) ++wrong;
    }
    CHECK(wrong == 0);
    std::set<PolicyKey> inbound;
    for (const PolicyConfig& each : made.inbound_policies) inbound.insert(each.key);
    CHECK(inbound.size() == 2 * made.outbound_policies.size());
    for (const PolicyConfig& out : made.outbound_policies) {
      PolicyKey mirror = out.key;
      std::swap(mirror.source, mirror.destination);
      std::swap(mirror.source_port, mirror.destination_port);
      std::swap(mirror.source_port_mask, mirror.destination_port_mask);
      mirror.direction = Direction::kIn;
      CHECK(inbound.count(mirror) == 1);
      mirror.direction = Direction::kForward;
      CHECK(inbound.count(mirror) == 1);
    }
  }
}

TEST_CASE("plan: ICMP type and code stand in the port fields and do not swap in the mirror") {
  const ChildPlan echo = plan("10.1.0.0/16[icmp/8/0]", "10.2.0.0/16[icmp/8/0]");
  REQUIRE(echo.outbound_policies.size() == 1);
  CHECK(echo.outbound_policies[0].key.protocol == 1);
  CHECK(echo.outbound_policies[0].key.source_port == 8);
  CHECK(echo.outbound_policies[0].key.source_port_mask == 0xffff);
  CHECK(echo.outbound_policies[0].key.destination_port == 0);
  CHECK(echo.outbound_policies[0].key.destination_port_mask == 0xffff);
  CHECK(echo.inbound_policies[0].key.source_port == 8);

  const ChildPlan type = plan("10.1.0.0/16[icmp/3]", "10.2.0.0/16[icmp]");
  CHECK(type.outbound_policies[0].key.source_port == 3);
  CHECK(type.outbound_policies[0].key.destination_port_mask == 0);

  const ChildPlan all = plan("2001:db8:1::/48[icmpv6]", "2001:db8:2::/48");
  CHECK(all.outbound_policies[0].key.protocol == 58);
  CHECK(all.outbound_policies[0].key.source_port_mask == 0);
}

TEST_CASE("plan: what the kernel cannot express is refused in words") {
  TrafficSelector types = selector("10.1.0.0/16[icmp]");
  types.port_first = 8 << 8;
  types.port_last = 13 << 8 | 0xff;
  CHECK(refusal({types}, {selector("10.2.0.0/16[icmp]")}).find("the kernel cannot express") != std::string::npos);
  CHECK(refusal({selector("10.1.0.0/16[icmp/8]")}, {selector("10.2.0.0/16[icmp/0]")}).find("cannot express") !=
        std::string::npos);
  TrafficSelector opaque = selector("10.1.0.0/16[tcp]");
  opaque.port_first = 65535;
  opaque.port_last = 0;
  CHECK(refusal({opaque}, {selector("10.2.0.0/16")}).find("cannot express") != std::string::npos);
  CHECK(refusal({selector("10.1.0.0/16")}, {opaque}).find("cannot express") != std::string::npos);
}

TEST_CASE("plan: more policies than the child policy allows are refused with their number") {
  // 30 port blocks on each side are 900, and 8 prefixes times them 7200.
  CHECK(selector("10.2.0.1-10.2.0.30").addresses.prefixes().size() == 8);
  CHECK(refusal({selector("10.1.0.0/16[tcp/1-65534]")}, {selector("10.2.0.1-10.2.0.30[tcp/1-65534]")},
                Reason::kSelectorCount) == "selectors: 7200 kernel policies would be needed, at most 256 are allowed");
  // 16 prefixes times 16 prefixes are just right.
  const char* local = "10.1.0.1-10.1.128.127";
  const char* remote = "10.2.0.1-10.2.128.127";
  CHECK(selector(local).addresses.prefixes().size() == 16);
  CHECK(plan(local, remote).outbound_policies.size() == ChildPolicy().policies_max);
  CHECK(refusal({selector(local), selector("10.9.0.0/16")}, {selector(remote)}, Reason::kSelectorCount)
            .find("272 kernel policies") != std::string::npos);
}

TEST_CASE("plan: the more specific policy comes first") {
  auto priority = [](std::string_view local, std::string_view remote) {
    return plan(local, remote).outbound_policies[0].priority;
  };
  CHECK(priority("10.1.0.0/24", "10.2.0.0/16") < priority("10.1.0.0/16", "10.2.0.0/16"));
  CHECK(priority("10.1.0.0/16[tcp]", "10.2.0.0/16") < priority("10.1.0.0/16", "10.2.0.0/16"));
  CHECK(priority("10.1.0.0/16[tcp/80]", "10.2.0.0/16") < priority("10.1.0.0/16[tcp]", "10.2.0.0/16"));
  CHECK(priority("10.1.0.0/17", "10.2.0.0/16") < priority("10.1.0.0/16[tcp/80]", "10.2.0.0/16"));
  CHECK(priority("0.0.0.0/0", "0.0.0.0/0") == 4096);
  CHECK(priority("2001:db8::1", "2001:db8::2") == 4096 - 4 * 256);
}

TEST_CASE("plan: the trap is the outbound policy alone, with the idle metric on its route") {
  const ChildSpec spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")});

  const TrapPlan trap = plan_trap(*spec.tunnel, spec.tunnel->children[0], kIds).value();

  const ChildPlan child = plan_child(spec, kIds).value();
  CHECK(trap.policies == child.outbound_policies);  // so that the child takes over without a gap
  REQUIRE(trap.routes.size() == 1);
  CHECK(trap.routes[0].metric == 300);
  Tunnel anyone = *spec.tunnel;
  anyone.remote.reset();
  CHECK(plan_trap(anyone, spec.tunnel->children[0], kIds).error().reason() == Reason::kConfigConflict);
}

TEST_CASE("plan: selectors that meet in one policy or route make it once") {
  const ChildPlan made = plan_child(spec_of({selector("10.1.0.0/16"), selector("10.1.0.0/16")},
                                            {selector("10.2.0.0/16[tcp/80]"), selector("10.2.0.0/16[tcp/443]")}),
                                    kIds)
                             .value();
  CHECK(made.outbound_policies.size() == 2);
  CHECK(made.routes.size() == 1);
}

TEST_CASE("plan: interface names fit into the kernel's 15 bytes and differ by if_id") {
  CHECK(interface_name(0x1000001) == "ips1000001");
  CHECK(interface_name(0xffffffff) == "ipsffffffff");
  CHECK(interface_name(0xffffffff).size() <= 15);
  CHECK(interface_name(1) == "ips1");
}

TEST_CASE("plan: the link has the names, the place and the MTU that it is to have") {
  const ChildSpec spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")});
  const LinkConfig link = plan_link(*spec.tunnel, kIds, 1400);
  CHECK(link.name == "ips1000002");
  CHECK(link.altname == "a");
  CHECK(link.vrf == "red");
  CHECK(link.group == kLinkGroup);
  CHECK(link.mtu == 1400);
}

TEST_CASE("plan: soft limits stand at the share of the configured ones, less a jitter; hard ones at the value itself") {
  ChildPolicy policy;
  CHECK(volume_limits(policy, 77) == VolumeLimits{});
  policy.lifetime_bytes = 1'000'000'000'000;
  policy.lifetime_packets = 1000;
  policy.rekey = {.enabled = true, .share_percent = 90, .jitter_percent = 10};

  CHECK(volume_limits(policy, 0) == VolumeLimits{900'000'000'000, 1'000'000'000'000, 900, 1000});
  CHECK(volume_limits(policy, 1000) == VolumeLimits{800'000'000'000, 1'000'000'000'000, 800, 1000});
  for (uint64_t spread = 0; spread < 5000; ++spread) {
    const VolumeLimits limits = volume_limits(policy, spread * 0x9e3779b97f4a7c15);
    CHECK(limits.soft_packets >= 800);
    CHECK(limits.soft_packets <= 900);
  }

  policy.rekey.enabled = false;
  CHECK(volume_limits(policy, 1) == VolumeLimits{.hard_bytes = 1'000'000'000'000, .hard_packets = 1000});
}

TEST_CASE("plan: a tiny volume still has a soft limit, before the hard one") {
  ChildPolicy policy;
  policy.lifetime_packets = 2;
  CHECK(volume_limits(policy, 1000).soft_packets == 1);
}

TEST_CASE("plan: both directions of a child have its volume") {
  auto spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")});
  const ChildPlan made = plan_child(spec, kIds, 3).value();
  CHECK(made.inbound.volume == made.outbound.volume);
  CHECK(made.inbound.volume == volume_limits(*spec.tunnel->child(spec.child)->policy, 3));
}

namespace {

const ChildIds kByPolicy{.reqid = 0x1000001, .tunnel = 7};

std::string text_of(const PolicyConfig& policy) {
  return std::string(to_string(policy.key.direction)) + " " + to_string(policy.key.source) + " " +
         to_string(policy.key.destination) + (policy.action == PolicyAction::kBlock ? " block" : " allow") +
         (policy.has_template ? " esp " : " ") + std::to_string(policy.priority);
}

std::vector<std::string> texts_of(const std::vector<PolicyConfig>& policies) {
  std::vector<std::string> texts;
  for (const PolicyConfig& each : policies) texts.push_back(text_of(each));
  return texts;
}

/// The child of a spec in transport mode between the two gateways.
ChildSpec hosts() {
  ChildSpec spec = spec_of({selector("192.0.2.1")}, {selector("198.51.100.7")});
  spec.mode = EspMode::kTransport;
  return spec;
}

}  // namespace

TEST_CASE("plan: attached by policy nothing has an interface, and there are no routes") {
  const auto made = plan_child(spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")}), kByPolicy).value();
  CHECK(made.routes.empty());
  CHECK(made.inbound.if_id == 0);
  CHECK(made.outbound.if_id == 0);
  CHECK(made.outbound_policies.at(0).key.if_id == 0);
  CHECK(made.outbound_policies.at(0).reqid == kByPolicy.reqid);
  CHECK(made.inbound_policies.size() == 2);
  const ChildSpec spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")});
  const auto trap = plan_trap(*spec.tunnel, spec.tunnel->children[0], kByPolicy).value();
  CHECK(trap.routes.empty());
  CHECK(trap.policies.at(0).key == made.outbound_policies.at(0).key);
}

TEST_CASE("plan: a transport child is the gateways' own, so that nothing of it is forwarded") {
  const auto made = plan_child(hosts(), kByPolicy).value();
  CHECK(made.inbound.mode == EspMode::kTransport);
  CHECK(made.outbound.mode == EspMode::kTransport);
  CHECK(texts_of(made.inbound_policies) == std::vector<std::string>{"in 198.51.100.7/32 192.0.2.1/32 allow esp 3840"});
  CHECK(made.outbound_policies.at(0).mode == EspMode::kTransport);
}

TEST_CASE("plan: a block stands where the child's own policies do, and counts after all others") {
  const ChildSpec spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")});
  const auto block = plan_block(*spec.tunnel, spec.tunnel->children[0], kByPolicy).value();
  CHECK(block.routes.empty());
  CHECK(texts_of(block.policies) == std::vector<std::string>{"out 10.1.0.0/16 10.2.0.0/16 block 8192",
                                                             "in 10.2.0.0/16 10.1.0.0/16 block 8192",
                                                             "fwd 10.2.0.0/16 10.1.0.0/16 block 8192"});
  const auto child = plan_child(spec, kByPolicy).value();
  CHECK(block.policies[0].key == child.outbound_policies.at(0).key);
  CHECK(block.policies[1].key == child.inbound_policies.at(0).key);
  CHECK(block.policies[2].key == child.inbound_policies.at(1).key);
}

TEST_CASE("plan: by interface a block is a route of the highest metric that leads nowhere") {
  const ChildSpec spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16"), selector("10.2.0.0/16[tcp/80]")});
  ChildConfig child = spec.tunnel->children[0];
  const auto block = plan_block(*spec.tunnel, child, kIds).value();
  CHECK(block.policies.empty());
  REQUIRE(block.routes.size() == 1);
  const RouteConfig& route = block.routes[0];
  CHECK(to_string(route.destination) == "10.2.0.0/16");
  CHECK(route.kind == RouteKind::kUnreachable);
  CHECK(route.device.empty());
  CHECK(route.vrf == "red");
  CHECK(route.metric == 4294967294);
  CHECK(route.protocol == 50);
}

TEST_CASE("plan: neighbour discovery passes, and nothing else of ICMPv6") {
  std::set<int> types;
  for (const PolicyConfig& each : plan_neighbour_discovery()) {
    CHECK(each.action == PolicyAction::kAllow);
    CHECK_FALSE(each.has_template);
    CHECK(each.priority < kExceptionPriority);
    CHECK(to_string(each.key.source) + " " + to_string(each.key.destination) == "::/0 ::/0");
    CHECK(each.key.protocol == 58);
    CHECK(each.key.destination_port_mask == 0);
    for (int type = 0; type < 256; ++type)
      if ((type & each.key.source_port_mask) == each.key.source_port)
        types.insert(each.key.direction == Direction::kIn ? type : type + 1000);
  }
  CHECK(types == std::set<int>{133, 134, 135, 136, 137, 1133, 1134, 1135, 1136, 1137});
}

TEST_CASE("plan: exceptions count before all tunnels, an earlier one before a later") {
  const TrafficException bypass{.local = {selector("192.0.2.1")}, .remote = {selector("198.51.100.0/24[tcp/22]")}};
  const auto first = plan_exception(bypass, 0).value();
  CHECK(texts_of(first) == std::vector<std::string>{"out 192.0.2.1/32 198.51.100.0/24 allow 1024",
                                                    "in 198.51.100.0/24 192.0.2.1/32 allow 1024",
                                                    "fwd 198.51.100.0/24 192.0.2.1/32 allow 1024"});
  CHECK(first[0].key.destination_port == 22);
  CHECK(first[1].key.source_port == 22);
  TrafficException discard = bypass;
  discard.action = ExceptionAction::kDiscard;
  CHECK(plan_exception(discard, kExceptionsMax - 1).value()[0].action == PolicyAction::kBlock);
  const auto most_specific = plan("192.0.2.1[tcp/22]", "198.51.100.7[tcp/22]").outbound_policies.at(0).priority;
  CHECK(plan_exception(discard, kExceptionsMax - 1).value()[0].priority < most_specific);
  const auto v6 = plan("2001:db8::1[tcp/22]", "2001:db8::2[tcp/22]").outbound_policies.at(0).priority;
  CHECK(plan_exception(discard, kExceptionsMax - 1).value()[0].priority < v6);
}

TEST_CASE("plan: through an external interface the routes name the tunnel, and the interface is the group's") {
  ChildSpec spec = spec_of({selector("10.1.0.0/16")}, {selector("10.2.0.0/16")});
  auto group = std::make_shared<TunnelGroup>(*spec.tunnel->group);
  group->interfaces = InterfaceScope::kExternal;
  group->default_block = true;
  auto tunnel = std::make_shared<Tunnel>(*spec.tunnel);
  tunnel->group = group;
  spec.tunnel = tunnel;
  ChildIds ids = kIds;
  ids.interface = external_interface_name(group->name);

  const ChildPlan made = plan_child(spec, ids).value();
  REQUIRE(made.routes.size() == 1);
  CHECK(made.routes[0].encap_if_id == kIds.if_id);
  CHECK(made.routes[0].device == ids.interface);
  const BlockPlan block = plan_block(*tunnel, tunnel->children.front(), ids).value();
  REQUIRE(block.routes.size() == 1);
  CHECK(block.routes[0].encap_if_id == 0);

  Config config;
  config.groups["core"] = group;
  config.tunnels["a"] = tunnel;
  const LinkConfig link = plan_external_link(config, *group);
  CHECK(link.kind == LinkKind::kExternal);
  CHECK(link.if_id == 0);
  CHECK(link.altname == "group:" + group->name);
  CHECK(link.mtu == link_mtu(*tunnel, child_mtu(*tunnel, tunnel->children.front(), {}, {}).bytes));
}

TEST_CASE("plan: the name of an external interface is the group's, as far as 15 bytes go") {
  CHECK(external_interface_name("core") == "ipsx-core");
  CHECK(external_interface_name("0123456789") == "ipsx-0123456789");
  const std::string hashed = external_interface_name("customers-of-the-north");
  CHECK(hashed.size() == 15);
  CHECK(hashed == external_interface_name("customers-of-the-north"));
  CHECK(hashed != external_interface_name("customers-of-the-south"));
}
