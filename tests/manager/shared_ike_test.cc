#include <doctest/doctest.h>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

// One IKE SA for all children of a tunnel.

namespace {

constexpr ike::IkeSaId kIke{0x11}, kFresh{0x22};
const TunnelText kThree{.start = "now", .more = {{"dmz", "10.8.0.0/16"}, {"voice", "10.9.0.0/16"}}};

const agent::ChildRow& child(const ManagerWorld& world, const std::string& name) {
  return world.manager->tunnels().at("a").children.at(name);
}

/// The first child by name leads.
void established(ManagerWorld& world) {
  world.manager->on_initiated(world.now, 1, "a", "dmz", kIke);
  world.identity(kIke);
}

}  // namespace

TEST_CASE("children: of several that start at once the first begins the IKE SA, the others follow on it") {
  ManagerWorld world;
  world.start({kThree});
  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(world.workers.initiations[0].child == "dmz");
  CHECK(world.workers.creations.empty());

  established(world);

  CHECK(world.workers.initiations.size() == 1);
  REQUIRE(world.workers.creations.size() == 2);
  CHECK(world.workers.creations[0].child == "lan");
  CHECK(world.workers.creations[1].child == "voice");
  for (const auto& each : world.workers.creations) CHECK(each.ike == kIke);
}

TEST_CASE("children: one that an acquire asks for goes to the IKE SA that stands, with the packet's selectors") {
  ManagerWorld world;
  world.start({{.start = "traffic", .more = {{"dmz", "10.8.0.0/16"}}}});
  world.identity(kIke);
  world.inbound(ChildShape{.ike = kIke, .id = 0xd1, .child = "dmz"});
  world.outbound(ChildShape{.ike = kIke, .id = 0xd1, .child = "dmz"});

  world.kernel.emit(world.acquire_for("a"));
  world.run();

  CHECK(world.workers.initiations.empty());
  REQUIRE(world.workers.creations.size() == 1);
  REQUIRE(world.workers.creations[0].trigger.has_value());
  CHECK(policy::to_string(world.workers.creations[0].trigger->first) == "10.1.0.5/32[udp/4000]");
}

TEST_CASE("children: when the IKE SA cannot be had, all are tried again at one time, and one leads again") {
  ManagerWorld world;
  world.start({kThree});
  world.manager->on_initiated(world.now, 1, "a", "dmz", kIke);

  world.ike_failed(kIke, Reason::kTimeout);

  CHECK(child(world, "dmz").retry_at.has_value());
  CHECK(child(world, "lan").retry_at == child(world, "dmz").retry_at);
  CHECK(child(world, "voice").retry_at == child(world, "dmz").retry_at);
  world.pass(60s);
  CHECK(world.workers.initiations.size() == 2);
  CHECK(world.workers.creations.empty());
}

TEST_CASE("children: when only the leading one is refused, the IKE SA stays for the others") {
  ManagerWorld world;
  world.start({kThree});
  world.manager->on_initiated(world.now, 1, "a", "dmz", kIke);

  world.identity(kIke, false);
  world.child_failed(kIke, Reason::kTsUnacceptable, "dmz");

  CHECK(world.workers.closed_ikes.empty());
  CHECK(world.workers.creations.size() == 2);
  CHECK(child(world, "dmz").failures == 1);
  world.child_failed(kIke, Reason::kTsUnacceptable, "lan");
  CHECK(world.workers.closed_ikes.empty());
  world.child_failed(kIke, Reason::kTsUnacceptable, "voice");
  REQUIRE(world.workers.closed_ikes.size() == 1);  // now it serves nobody
  CHECK(world.workers.closed_ikes[0].ike == kIke);
}

TEST_CASE("children: a refused one fails with its reason, and up answers it") {
  ManagerWorld world;
  world.start({{.start = "respond"}});
  world.identity(kIke);
  std::string answer;
  world.manager->up(world.now, "a", "lan", [&](Status status) { answer = status.ok() ? "ok" : status.error().text(); });
  REQUIRE(world.workers.creations.size() == 1);
  CHECK(world.state() == "establishing");

  world.child_failed(kIke, Reason::kNoAdditionalSas);

  CHECK(answer.find("no") != std::string::npos);
  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kNoAdditionalSas);
  CHECK(world.state() == "down");
}

TEST_CASE("children: an IKE SA that the engine no longer has is given up for a new one") {
  ManagerWorld world;
  world.start({{.start = "respond"}});
  world.identity(kIke);
  world.manager->up(world.now, "a", "lan", [](Status) {});
  REQUIRE(world.workers.creations.size() == 1);

  world.manager->on_creating(world.now, kIke, "a", "lan", Error(Reason::kExists));
  CHECK(world.state() == "establishing");
  world.manager->on_creating(world.now, kIke, "a", "lan", Error(Reason::kNotFound));

  CHECK(world.workers.initiations.size() == 1);
  CHECK(world.state() == "establishing");
}

TEST_CASE("children: another refusal of the engine ends the attempt") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.identity(kIke, true);
  world.install(kIke, 0xc1);
  world.remove(ChildShape{.ike = kIke, .id = 0xc1}, Reason::kDeletedByPeer);
  world.pass(3s);
  REQUIRE(world.workers.creations.size() == 1);  // the IKE SA was kept for it

  world.manager->on_creating(world.now, kIke, "a", "lan", Error(Reason::kUnsupported, "not yet"));

  CHECK(child(world, "lan").failures == 1);
  CHECK(child(world, "lan").retry_at.has_value());
}

TEST_CASE("childless: an IKE SA that lost its last child is closed after a grace, unless the policy allows it") {
  for (const auto childless : {policy::ChildlessPolicy::kRefuse, policy::ChildlessPolicy::kAllow}) {
    ManagerWorld world;
    world.adjust = [&](policy::IkePolicy& ike, policy::ChildPolicy&) { ike.childless = childless; };
    world.start({{.start = "respond"}});
    world.identity(kIke);
    world.install(kIke, 0xc1);
    world.remove(ChildShape{.ike = kIke, .id = 0xc1}, Reason::kDeletedByPeer);
    CHECK(world.workers.closed_ikes.empty());

    world.pass(31s);

    CHECK(world.workers.closed_ikes.size() == (childless == policy::ChildlessPolicy::kRefuse ? 1 : 0));
  }
}

TEST_CASE("childless: one that got another child in time stays") {
  ManagerWorld world;
  world.start({{.start = "respond"}});
  world.identity(kIke);
  world.install(kIke, 0xc1);
  world.remove(ChildShape{.ike = kIke, .id = 0xc1}, Reason::kDeletedByPeer);
  world.pass(10s);
  world.install(kIke, 0xc2);

  world.pass(60s);

  CHECK(world.workers.closed_ikes.empty());
}

TEST_CASE("rekeyed: children, attempts and what operators ask for move to the new IKE SA") {
  ManagerWorld world;
  world.start({{.start = "now", .more = {{"dmz", "10.8.0.0/16"}}}});
  established(world);
  world.inbound(ChildShape{.ike = kIke, .id = 0xd1, .child = "dmz"});
  world.outbound(ChildShape{.ike = kIke, .id = 0xd1, .child = "dmz"});

  world.act(ike::IkeRekeyed{.old = kIke, .fresh = kFresh, .children = {ike::ChildId(0xd1)}});
  CHECK(child(world, "lan").attempt == kFresh);
  world.ike_gone(kIke);

  CHECK(world.state() == "establishing");  // lan is still on its way
  CHECK(child(world, "dmz").up.size() == 1);
  REQUIRE(world.manager->ike_sas().size() == 1);
  CHECK(world.manager->ike_sas().at(kFresh).tunnel == "a");
  CHECK(world.manager->ike_sas().at(kFresh).initiator);
  world.manager->rekey(world.now, "a", "dmz", agent::TunnelManager::RekeyTarget::kChildren, [](Status) {});
  CHECK(world.workers.rekeys.back().ike == kFresh);
  world.manager->down(world.now, "a", "", [](Status) {});
  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].ike == kFresh);
}

TEST_CASE("rekeyed: an IKE SA that takes the place of one that an operator has closed is closed too") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.initiated(kIke);
  world.identity(kIke);
  world.manager->down(world.now, "a", "", [](Status) {});

  world.act(ike::IkeRekeyed{.old = kIke, .fresh = kFresh, .children = {}});

  CHECK(world.workers.closed_ikes.back().ike == kFresh);
}
