#include <doctest/doctest.h>

#include <algorithm>

#include "agent/limits.h"
#include "agent/show/offload_json.h"
#include "policy/plan_routes.h"
#include "tests/manager/offload_child.h"

using namespace ipsec;
using namespace ipsec::testing;
using agent::OffloadBook;
using policy::OffloadKind;
using policy::OffloadPin;

namespace {

const hwoffload::Effective& outbound(const ManagerWorld& world, uint32_t child) {
  return world.manager->installer().children().at(ike::ChildId(child))->outbound;
}

size_t rekeys_for(const ManagerWorld& world, Reason reason) {
  return static_cast<size_t>(std::ranges::count(world.workers.rekeys, reason, &RecordedWorkers::Rekeyed::reason));
}

size_t asked(const ManagerWorld& world, std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      world.kernel.texts(), [&](const std::string& each) { return each.find(text) != std::string::npos; }));
}

size_t policies_on_nic(const ManagerWorld& world) {
  return static_cast<size_t>(std::ranges::count_if(world.kernel.in("pub").policies, [](const auto& each) {
    return each.second.config.offload.kind == OffloadKind::kPacket;
  }));
}

}  // namespace

TEST_CASE("offload: an SA that is shown on the NIC while its packets are dropped is rekeyed into software, and told") {
  ManagerWorld world("packet");
  up(world);
  REQUIRE(outbound(world, 0xc1).kind == OffloadKind::kPacket);
  carried(world, 10);
  world.pass(5s);
  world.out_drops = 20;
  world.pass(5s);
  CHECK(world.events_of(Reason::kOffloadNotCounting).size() == 1);
  CHECK(rekeys_for(world, Reason::kOffloadMoving) == 1);
  CHECK(outbound(world, 0xc1).reason == Reason::kOffloadNotCounting);
  rekey(world);
  CHECK(outbound(world, 0xc2).kind == OffloadKind::kNone);
  CHECK(world.events_of(Reason::kOffloadMoved).size() == 1);
}

TEST_CASE("offload: drops alone, or counters that stand still alone, prove nothing") {
  ManagerWorld world("packet");
  up(world);
  world.pass(5s);
  world.pass(5s);
  for (uint64_t packets = 1; packets < 4; ++packets) {
    carried(world, packets);
    world.out_drops += 100;
    world.pass(5s);
  }
  CHECK(world.events_of(Reason::kOffloadNotCounting).empty());
  CHECK(world.workers.rekeys.empty());
}

TEST_CASE("offload: a device that goes down is told once, and its SAs are made anew in software") {
  ManagerWorld world("packet");
  up(world);
  link(world, false);
  CHECK(world.events_of(Reason::kOffloadDeviceLost).size() == 1);
  CHECK(rekeys_for(world, Reason::kOffloadMoving) == 1);
  rekey(world);
  CHECK(outbound(world, 0xc2).kind == OffloadKind::kNone);
  CHECK(outbound(world, 0xc2).reason == Reason::kOffloadNoDevice);
}

TEST_CASE("offload: a device that is taken out goes down first, and its loss is told once") {
  ManagerWorld world("packet");
  up(world);
  link(world, false);
  world.devices[0].present = false;
  world.kernel.emit(policy::LinkChanged{.netns = "pub", .name = "ens1", .up = false, .gone = true});
  world.run();
  CHECK(world.events_of(Reason::kOffloadDeviceLost).size() == 1);
  CHECK(rekeys_for(world, Reason::kOffloadMoving) == 1);
}

TEST_CASE("offload: a device that comes back is used after it has stood for a while, not before") {
  ManagerWorld world("packet");
  up(world);
  link(world, false);
  rekey(world);
  world.workers.rekeys.clear();
  link(world, true);
  carried(world, 1000000);
  world.pass(5s);
  carried(world, 2000000);
  world.pass(5s);
  CHECK(world.workers.rekeys.empty());
  for (int i = 3; i < 20; ++i) carried(world, static_cast<uint64_t>(i) * 1000000), world.pass(5s);
  CHECK(rekeys_for(world, Reason::kOffloadMoving) >= 1);
}

namespace {

/// Its child is busy for so long, and rekeyed whenever that is asked for. How often it was; `last` is its SA.
size_t rekeys_in(ManagerWorld& world, Duration time, uint32_t& last) {
  size_t rekeys = 0;
  for (const Instant end = world.now + time; world.now < end;) {
    uint64_t packets = 0;
    for (const auto& [key, sa] : world.pub().sas) packets = std::max(packets, sa.state.packets);
    carried(world, packets + 1000000);
    world.pass(5s);
    if (world.workers.rekeys.empty()) continue;
    world.workers.rekeys.clear();
    rekey(world, last, last + 1);
    ++last, ++rekeys;
  }
  return rekeys;
}

}  // namespace

TEST_CASE("offload: a busy child that rules keep off the NIC is not rekeyed for it, until a setting lets it on") {
  ManagerWorld world("packet");
  hwoffload::DeviceFacts& nic = world.devices[0];
  nic.driver = "mlx5_core", nic.eswitch = "switchdev", nic.flow_steering = "smfs";
  up(world);
  uint32_t last = 0xc1;
  REQUIRE(outbound(world, last).kind == OffloadKind::kNone);
  CHECK(rekeys_in(world, 10min, last) == 0);
  nic.flow_steering = "dmfs";  // nobody tells
  CHECK(rekeys_in(world, 2min, last) == 1);
  CHECK(outbound(world, last).kind == OffloadKind::kPacket);
  nic.flow_steering = "smfs";
  CHECK(rekeys_in(world, 2min, last) == 1);
  CHECK(outbound(world, last).kind == OffloadKind::kNone);
}

TEST_CASE("offload: a NIC that cannot be read for a moment is neither lost nor another one") {
  ManagerWorld world("packet");
  hwoffload::DeviceFacts& nic = world.devices[0];
  nic.driver = "mlx5_core", nic.eswitch = "switchdev", nic.flow_steering = "smfs";
  up(world);
  uint32_t last = 0xc1;
  world.settings_read = false;
  CHECK(rekeys_in(world, 3min, last) == 0);
  world.settings_read = true;
  nic.flow_steering = "dmfs";
  REQUIRE(rekeys_in(world, 2min, last) == 1);
  world.devices_read = false;
  CHECK(rekeys_in(world, 3min, last) == 0);
  CHECK(world.events_of(Reason::kOffloadDeviceLost).empty());
  CHECK(outbound(world, last).kind == OffloadKind::kPacket);
}

TEST_CASE("offload: who asks about NICs is told of them as they are, not as they were read last") {
  ManagerWorld world("packet");
  hwoffload::DeviceFacts& nic = world.devices[0];
  nic.driver = "mlx5_core", nic.eswitch = "switchdev", nic.flow_steering = "smfs";
  up(world);
  const auto told = [&](std::string_view words) {
    const auto explained = agent::explain_offload(*world.manager, world.now, world.manager->tunnels().at("a"));
    return explained.dump().find(words) != std::string::npos;
  };
  CHECK_FALSE(told("which is hmfs"));
  nic.flow_steering = "hmfs";
  world.pass(1s);
  CHECK(told("which is hmfs"));
  nic.flow_steering = "dmfs";
  world.pass(1s);
  CHECK_FALSE(told("which is hmfs"));
}

TEST_CASE("offload: a pin does not get a child onto a NIC against the rules, nor rekey it in vain") {
  ManagerWorld world("packet");
  world.devices[0].esp_offload = hwoffload::Known::kNo;
  up(world);
  REQUIRE(world.manager->pin_offload(world.now, "a", "", OffloadPin::kNic, OffloadBook::PinFor::kGood).ok());
  uint32_t last = 0xc1;
  CHECK(rekeys_in(world, 10min, last) == 0);
}

TEST_CASE("offload: what the kernel refused to one is asked for again ever more rarely, and each rekey asks") {
  ManagerWorld world("packet");
  up(world, Capability::kIncapable);
  uint32_t last = 0xc1;
  world.kernel.forget_texts();
  const size_t rekeys = rekeys_in(world, 2h, last);
  CHECK(rekeys >= 1);
  CHECK(rekeys <= 3);
  CHECK(asked(world, "packet ens1") >= rekeys);
}

TEST_CASE("offload: a pin moves a child by a rekey, in both directions, and without it nothing moves back at once") {
  ManagerWorld world("packet");
  up(world);
  REQUIRE(world.manager->pin_offload(world.now, "a", "", OffloadPin::kSoftware, OffloadBook::PinFor::kGood).ok());
  world.run();
  CHECK(rekeys_for(world, Reason::kOffloadMoving) == 1);
  rekey(world);
  CHECK(outbound(world, 0xc2).kind == OffloadKind::kNone);
  CHECK_MESSAGE(outbound(world, 0xc2).reason == Reason::kOffloadPinned, outbound(world, 0xc2).detail);
}

TEST_CASE("offload: what cannot be pinned says why") {
  ManagerWorld world("packet");
  up(world);
  const auto pin = [&](const std::string& tunnel, const std::string& child) {
    return world.manager->pin_offload(world.now, tunnel, child, OffloadPin::kNic, OffloadBook::PinFor::kGood);
  };
  CHECK(pin("b", "").error().reason() == Reason::kNotFound);
  CHECK(pin("a", "wan").error().reason() == Reason::kNotFound);
  ManagerWorld software("none");
  software.start({{}});
  CHECK(software.manager->pin_offload(software.now, "a", "", OffloadPin::kNic, OffloadBook::PinFor::kGood)
            .error()
            .reason() == Reason::kUnsupported);
}

TEST_CASE("offload: one move ends with itself") {
  ManagerWorld world("packet");
  up(world);
  REQUIRE(world.manager->pin_offload(world.now, "a", "lan", OffloadPin::kSoftware, OffloadBook::PinFor::kOneMove).ok());
  world.run();
  rekey(world);
  CHECK(outbound(world, 0xc2).kind == OffloadKind::kNone);
  const uint32_t reqid = world.manager->tunnels().at("a").children.at("lan").ids.reqid;
  CHECK(world.manager->offload().seat(reqid)->pin == hwoffload::Pin::kNone);
}

TEST_CASE("offload: what a driver refused is not asked for again by the next SA of the kind") {
  ManagerWorld world("auto");
  up(world);
  world.pub().devices["ens1"].capability = Capability::kCrypto;
  world.kernel.forget_texts();
  rekey(world);
  const size_t refused = asked(world, "packet ens1");
  CHECK(refused >= 1);
  world.kernel.forget_texts();
  world.inbound({.ike = kIke, .id = 0xc3, .replaces = 0xc2});
  world.outbound({.ike = kIke, .id = 0xc3, .replaces = 0xc2});
  CHECK(asked(world, "packet ens1") == 0);
  CHECK(outbound(world, 0xc3).kind == OffloadKind::kCrypto);
}

TEST_CASE("offload: with packet offload forward policies stay with the kernel") {
  ManagerWorld world("packet");
  up(world);
  for (const auto& each : world.pub().policies) {
    CAPTURE(policy::object_text(each.first));
    const bool on_nic = each.second.config.offload.kind == OffloadKind::kPacket;
    if (each.first.direction == policy::Direction::kForward) CHECK_FALSE(on_nic);
  }
}

TEST_CASE(
    "offload: packets that leave by another device stay in software, and go onto the NIC when the route changes") {
  ManagerWorld world("packet");
  world.pub().path.device = "ens9";
  up(world);
  CHECK(outbound(world, 0xc1).reason == Reason::kOffloadNoDevice);
  world.pub().path.device = "ens1";
  world.kernel.emit(policy::RoutesChanged{.netns = "pub"});
  carried(world, 1000000);
  world.pass(5s);
  carried(world, 2000000);
  world.pass(5s);
  carried(world, 3000000);
  world.pass(5s);
  CHECK(rekeys_for(world, Reason::kOffloadMoving) >= 1);
}

TEST_CASE("offload: a NIC that takes an SA and carries nothing is seen by the tunnel's own interface") {
  ManagerWorld world("packet");
  up(world);
  world.sent_packets = 2;
  world.pass(5s);
  CHECK(world.events_of(Reason::kOffloadNotCounting).empty());  // they may be on their way
  world.sent_packets = 50;
  world.pass(5s);
  CHECK(world.events_of(Reason::kOffloadNotCounting).size() == 1);
  CHECK(rekeys_for(world, Reason::kOffloadMoving) == 1);
}

TEST_CASE("offload: a NIC whose room is taken gets no further child, and the reason is told") {
  ManagerWorld world("packet");
  world.budget = R"("devices": { "ens1": { "netns": "pub", "children_max": 1 } })";
  world.pub().devices["ens1"].capability = Capability::kPacket;
  world.start({{.more = {{"wan", "10.3.0.0/16"}}}});
  world.initiated(kIke);
  world.identity(kIke);
  world.inbound(kOld);
  world.outbound(kOld);
  const ChildShape second{.ike = kIke, .id = 0xd1, .child = "wan"};
  world.inbound(second);
  world.outbound(second);
  CHECK(outbound(world, 0xc1).kind == OffloadKind::kPacket);
  CHECK(outbound(world, 0xd1).kind == OffloadKind::kNone);
  CHECK(outbound(world, 0xd1).reason == Reason::kOffloadBusierFirst);
  CHECK(world.workers.rekeys.empty());
}

TEST_CASE("offload: what a NIC alone counts reaches its soft limit without a word of the kernel, and is rekeyed") {
  for (const bool bytes : {true, false}) {
    CAPTURE(bytes);
    ManagerWorld world("packet");
    world.adjust = [&](policy::IkePolicy&, policy::ChildPolicy& policy) {
      (bytes ? policy.lifetime_bytes : policy.lifetime_packets) = bytes ? 100'000 : 100;
    };
    up(world);
    carried(world, 50);
    world.pass(5s);
    CHECK(world.workers.rekeys.empty());
    carried(world, 95);  // a packet is a thousand bytes
    world.pass(5s);
    CHECK(rekeys_for(world, bytes ? Reason::kRekeyBytes : Reason::kRekeyPackets) == 1);
    CHECK(world.workers.closed_children.empty());
    rekey(world);
    CHECK(outbound(world, 0xc2).kind == OffloadKind::kPacket);
  }
}

TEST_CASE("offload: without rekeying a child on a NIC ends at its hard limit, though the kernel does not say so") {
  ManagerWorld world("packet");
  world.adjust = [](policy::IkePolicy&, policy::ChildPolicy& policy) {
    policy.lifetime_packets = 100;
    policy.rekey.enabled = false;
  };
  up(world);
  carried(world, 99);
  world.pass(5s);
  CHECK(world.workers.closed_children.empty());
  carried(world, 100);
  world.pass(5s);
  REQUIRE(world.workers.closed_children.size() >= 1);
  CHECK(world.workers.closed_children[0].reason == Reason::kKernelExpired);
  CHECK(world.workers.rekeys.empty());
}

TEST_CASE(
    "offload: a child at its hard limit on a NIC that does not end it is closed when its rekeys come to nothing") {
  ManagerWorld world("packet");
  world.adjust = [](policy::IkePolicy&, policy::ChildPolicy& policy) { policy.lifetime_packets = 100; };
  up(world);
  carried(world, 100);
  for (int i = 0; i < 60 && world.workers.closed_children.empty(); ++i) world.pass(1s);
  CHECK(rekeys_for(world, Reason::kKernelExpired) == agent::kReplaceByRekeyMax);
  REQUIRE(world.workers.closed_children.size() == 1);
  CHECK(world.workers.closed_children[0].reason == Reason::kKernelExpired);
}

TEST_CASE("offload: below each policy on a NIC stands a block that does not go with the NIC, first in and last out") {
  ManagerWorld world("packet");
  world.group = R"("attachment": "policy")";
  up(world);
  const auto& policies = world.pub().policies;
  const auto guards = [&] {
    return std::ranges::count_if(policies, [](const auto& each) { return each.first.user != 0; });
  };
  REQUIRE(policies_on_nic(world) == 2);
  for (const auto& [key, policy] : policies) {
    if (policy.config.offload.kind != OffloadKind::kPacket) continue;
    policy::PolicyKey below = key;
    below.user = policy::kGuardUser;
    const std::string name = policy::object_text(key);
    REQUIRE_MESSAGE(policies.contains(below), name);
    const policy::PolicyConfig& guard = policies.at(below).config;
    CHECK_MESSAGE(guard.action == policy::PolicyAction::kBlock, name);
    CHECK_MESSAGE(guard.offload.kind == OffloadKind::kNone, name);
    CHECK_MESSAGE(guard.priority > policy.config.priority, name);
  }
  CHECK(guards() == 2);
  const std::string out = "out 10.1.0.0/16 10.2.0.0/16", in = "in 10.2.0.0/16 10.1.0.0/16";
  for (const std::string& each : {out, in}) {
    CAPTURE(each);
    const size_t on_nic = world.asked_at("policy " + each + " reqid 0x01000001 on ens1");
    CHECK(on_nic < world.kernel.texts().size());
    CHECK(world.asked_at("add-policy " + each + " user 50") < on_nic);
  }

  world.pub().devices["ens1"].capability = Capability::kCrypto;
  world.kernel.forget_texts();
  rekey(world);
  for (const std::string& each : {out, in}) {
    CAPTURE(each);
    const size_t goes = world.asked_at("delete-policy " + each + " user 50");
    CHECK(goes < world.kernel.texts().size());
    CHECK(world.asked_at("update-policy " + each + " reqid 0x01000001") < goes);
  }
  CHECK(policies_on_nic(world) == 0);
  CHECK(guards() == 0);
}

TEST_CASE("offload: a guard that cannot stand keeps its policy off the NIC") {
  ManagerWorld world("packet");
  world.group = R"("attachment": "policy")";
  world.pub().devices["ens1"].capability = Capability::kPacket;
  world.start({{.start = "traffic"}});
  world.initiated(kIke);
  world.identity(kIke);
  const policy::PolicyKey guard{.source = *IpPrefix::parse("10.2.0.0/16"),
                                .destination = *IpPrefix::parse("10.1.0.0/16"),
                                .direction = policy::Direction::kIn,
                                .user = policy::kGuardUser};
  world.kernel.put_foreign("pub", policy::PolicyConfig{.key = guard});
  world.inbound(kOld);
  world.run();
  CHECK(world.manager->installer().children().at(ike::ChildId(0xc1))->inbound.kind == OffloadKind::kNone);
  CHECK(policies_on_nic(world) == 0);
}

TEST_CASE("offload: a NIC that takes an SA and has no room for its policies gives the SA back, and no child is lost") {
  for (const std::string mode : {"packet", "auto"}) {
    CAPTURE(mode);
    for (const size_t room : {0U, 1U, 2U}) {
      CAPTURE(room);
      ManagerWorld world(mode);
      world.group = R"("attachment": "policy")";
      world.pub().devices["ens1"].policies_size = room;
      up(world);
      REQUIRE(world.state() == "up");
      const auto& child = *world.manager->installer().children().at(ike::ChildId(0xc1));
      const OffloadKind without = mode == "auto" ? OffloadKind::kCrypto : OffloadKind::kNone;
      CHECK(child.inbound.kind == (room >= 1 ? OffloadKind::kPacket : without));
      CHECK(child.outbound.kind == (room >= 2 ? OffloadKind::kPacket : without));
      for (const hwoffload::Effective* each : {&child.inbound, &child.outbound}) {
        if (each->kind == OffloadKind::kNone) CHECK(each->reason == Reason::kOffloadTableFull);
        if (each->kind != OffloadKind::kPacket) CHECK(each->detail.find("No space for policy") != std::string::npos);
      }
      CHECK(world.workers.closed_children.empty());
      CHECK(policies_on_nic(world) == room);
      world.remove(kOld, Reason::kDeletedByPeer);
      CHECK(world.pub().sas.empty());
    }
  }
}

TEST_CASE("offload: a rekey onto a NIC without room for policies leaves the old ones standing, and is in software") {
  ManagerWorld world("packet");
  world.pub().devices["ens1"].policies_size = 0;
  up(world);
  rekey(world);
  CHECK(world.state() == "up");
  CHECK(outbound(world, 0xc2).kind == OffloadKind::kNone);
  CHECK(world.differences().empty());
}

// Two selectors, so two policies each way; those of the inbound SA come first.
TEST_CASE("offload: an outbound key that a policy on the NIC may have used never goes on in software") {
  ManagerWorld world("packet");
  world.group = R"("attachment": "policy")";
  world.pub().devices["ens1"].policies_size = 3;  // both inbound ones, and one outbound
  world.pub().devices["ens1"].capability = Capability::kPacket;
  world.start({{.selector = "10.2.0.0/16\", \"10.4.0.0/16", .start = "traffic"}});
  world.initiated(kIke);
  world.identity(kIke);
  world.inbound(kOld);
  REQUIRE(world.manager->installer().children().at(ike::ChildId(0xc1))->plan.outbound_policies.size() == 2);
  world.outbound(kOld);
  world.run();
  REQUIRE(world.workers.closed_children.size() == 1);
  CHECK(asked(world, "add-sa out") == 1);
}

TEST_CASE(
    "paths: few tunnels are looked at soon again, many at the pace of routing daemons, and none later than that") {
  CHECK(agent::path_look_rest(1) < 250ms);
  CHECK(agent::path_look_rest(1000) == 400ms);
  CHECK(agent::path_look_rest(100'000) == 2s);
}

TEST_CASE(
    "offload: a peer on the link gets a host route by way of itself, while a NIC sends to it and it is a neighbour") {
  ManagerWorld world("packet");
  const IpAddress peer = *IpAddress::parse("198.51.100.7");
  world.pub().neighbours.insert(peer);
  up(world);
  const auto held = [&] {
    std::vector<policy::RouteConfig> routes;
    for (const auto& each : all_routes(world.manager->shared()))
      if (policy::is_peer_route(each.route)) routes.push_back(each.route);
    return routes;
  };
  const auto look = [&] {  // soon, though the last one was just before
    world.kernel.emit(policy::RoutesChanged{"pub"});
    world.run();
    for (int i = 0; i < 5; ++i) world.pass(100ms);
  };
  REQUIRE(outbound(world, 0xc1).kind == OffloadKind::kPacket);
  REQUIRE(held().size() == 1);
  CHECK(held()[0].destination == IpPrefix::host(peer));
  CHECK(held()[0].gateway == peer);
  CHECK(held()[0].device == "ens1");
  rekey(world);
  CHECK(held().size() == 1);

  world.pub().neighbours.clear();
  look();
  CHECK(held().empty());
  CHECK(world.pub().routes.empty());
  world.pub().neighbours.insert(peer);
  look();
  CHECK(held().size() == 1);
  world.pub().path.direct = false;  // a gateway is in between, whatever the subnet says
  look();
  CHECK(held().empty());
  world.pub().path.direct = true;
  look();
  CHECK(held().size() == 1);

  // In software packets are encrypted before anybody asks for a neighbour.
  world.pub().devices["ens1"].capability = Capability::kCrypto;
  rekey(world, 0xc2, 0xc3);
  CHECK(held().empty());
}
