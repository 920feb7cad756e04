#include <doctest/doctest.h>

#include <algorithm>

#include "policy/plan_groups.h"
#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

// What groups share: VRFs that are made, rules between two VRFs, and the policies that a private namespace needs when
// the underlay is in a VRF.

namespace {

constexpr ike::IkeSaId kIke{0x11};
const std::string kMade = R"("private": { "netns": "priv", "vrf": "green", "vrf_table": 77 })";
const std::string kBetween = R"("private": { "netns": "pub", "vrf": "blue" }, "attachment": "policy")";

struct World : ManagerWorld {
  explicit World(std::string members) { group = std::move(members); }
  void up(uint32_t child = 0xc1) {
    install(kIke, child);
    identity(kIke);
  }
  void end() {
    manager->begin_shutdown();
    manager->remove_all();
    run();
  }
  size_t drift() {
    size_t rows = 0;
    for (const auto& each : drift_now(*manager, now)) rows += each.rows->size();
    return rows;
  }
  void look_after() {
    manager->look_after(now, {"pub", "priv"});
    run();
  }
  bool has_vrf(const std::string& name = "green") { return priv().vrfs.contains(name); }
};

/// The underlay is in VRF "wan".
struct Crossing : ManagerWorld {
  Crossing() {
    public_more = R"(, "vrf": "wan")";
    pub().vrfs.insert("wan");
  }
  size_t inside() { return priv().policies.size(); }
};

}  // namespace

TEST_CASE("vrf: made before the interface that goes into it, and gone after it") {
  World world(kMade);
  world.start({TunnelText{}});
  CHECK(world.has_vrf());
  REQUIRE(world.kernel.texts().size() >= 2);
  CHECK(world.kernel.texts()[0] == "add-link green");
  CHECK(world.kernel.texts()[1].starts_with("add-link ips"));
  world.up();
  CHECK(world.state() == "up");

  world.kernel.forget_texts();
  world.end();
  CHECK(world.kernel.texts().back() == "delete-link green");
  CHECK_FALSE(world.has_vrf());
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("vrf: one that is there is used as it is, is no drift, and stays at the end") {
  World world(kMade);
  world.priv().vrfs.insert("green");
  world.kernel.put_foreign("priv", policy::LinkConfig{.kind = policy::LinkKind::kVrf, .name = "green", .vrf_table = 5});
  world.start({TunnelText{}});
  world.look_after();
  world.up();
  CHECK(world.state() == "up");
  CHECK(world.drift() == 0);
  world.end();
  CHECK(world.has_vrf());
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("vrf: with somebody else's interface in it, it stays at the end") {
  World world(kMade);
  world.start({TunnelText{}});
  world.kernel.put_foreign("priv", policy::LinkConfig{.name = "lan", .if_id = 9, .vrf = "green"});
  world.end();
  CHECK(world.has_vrf());
  CHECK(world.kernel.ours() == Texts{"priv: link green"});
}

TEST_CASE("vrf: taken away, it is made anew with what was in it") {
  World world(kMade);
  world.start({TunnelText{}});
  world.look_after();
  world.up();
  world.kernel.remove_vrf("priv", "green");

  world.kernel.emit(policy::LinkChanged{.netns = "priv", .name = "green", .gone = true});
  world.run();
  for (int i = 0; i < 5; ++i) world.pass(1s);

  CHECK(world.has_vrf());
  CHECK(world.drift() == 0);
  CHECK(world.priv().routes.size() == 1);
}

TEST_CASE("vrf: a kill leaves it to the next run, or takes it out if it is not wanted any more") {
  World world(kMade);
  world.start({TunnelText{}});
  world.kernel.forget_texts();
  world.restart({TunnelText{}});
  CHECK(world.has_vrf());
  for (const std::string& text : world.kernel.texts()) CHECK_FALSE(text.starts_with("delete-link green"));

  world.group = R"("private": { "netns": "priv", "vrf": "red" })";
  world.restart({TunnelText{}});
  CHECK_FALSE(world.has_vrf());
}

TEST_CASE("vrf: another configuration takes it out when the last tunnel has left it") {
  World world(kMade);
  world.start({TunnelText{}});
  world.up();
  world.group = R"("private": { "netns": "priv", "vrf": "red" })";
  world.reconfigure({TunnelText{}});
  CHECK(world.has_vrf());  // the tunnel still ends
  world.remove_child(kIke, 0xc1);
  world.ike_gone(kIke);
  CHECK_FALSE(world.has_vrf());
  CHECK(world.manager->tunnels().at("a").link_ready);
}

TEST_CASE("between two VRFs: rules stand from start to end, and SAs are marked") {
  World world(kBetween);
  world.pub().vrfs.insert("blue");
  world.start({TunnelText{}});
  CHECK(world.pub().rules.size() == 4);
  world.up();
  CHECK(world.state() == "up");
  for (const auto& [key, sa] : world.pub().sas)
    CHECK(sa.config.output_mark == policy::vrf_mark(sa.config.direction == policy::Direction::kIn ? "blue" : ""));

  world.restart({TunnelText{}});
  CHECK(world.pub().rules.size() == 4);
  CHECK(world.drift() == 0);
  world.end();
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("between two VRFs: a rule that others remove comes back; removals of others' rules cause no read elsewhere") {
  World world(kBetween);
  world.pub().vrfs.insert("blue");
  world.start({TunnelText{}});
  world.look_after();
  world.pass(2s);
  const size_t reads = world.kernel.reads();
  world.kernel.emit(policy::RuleRemoved{"priv"});
  world.run();
  CHECK(world.kernel.reads() == reads);

  world.pub().rules.erase(world.pub().rules.begin());
  world.kernel.emit(policy::RuleRemoved{"pub"});
  world.run();
  world.pass(1s);
  CHECK(world.pub().rules.size() == 4);
}

TEST_CASE("between two VRFs: without the VRF its rules wait, which is told, and come with it") {
  World world(kBetween);
  world.start({TunnelText{}});
  world.look_after();
  CHECK(world.pub().rules.size() == 2);
  CHECK(world.events_of(Reason::kVrfMissing).size() == 2);
  world.pub().vrfs.insert("blue");
  world.kernel.emit(policy::LinkChanged{.netns = "pub", .name = "blue", .up = true});
  for (int i = 0; i < 10; ++i) world.pass(1s);
  CHECK(world.pub().rules.size() == 4);
}

TEST_CASE("underlay in a VRF, private side elsewhere: its policy stands there with the child, rekeys included") {
  Crossing world;
  world.start({TunnelText{}});
  CHECK(world.inside() == 0);
  world.install(kIke, 0xc1);
  world.identity(kIke);
  CHECK(world.state() == "up");
  CHECK(world.inside() == 1);
  CHECK(world.priv().links.begin()->second.config.public_device == "wan");
  CHECK(world.differences().empty());

  world.kernel.forget_texts();
  world.inbound({.ike = kIke, .id = 0xc2, .replaces = 0xc1});
  world.outbound({.ike = kIke, .id = 0xc2, .replaces = 0xc1});
  world.stop_outbound({.ike = kIke, .id = 0xc1});
  world.remove({.ike = kIke, .id = 0xc1}, Reason::kReplaced);
  for (const std::string& text : world.kernel.texts()) CHECK(text.find("policy") == std::string::npos);
  CHECK(world.inside() == 1);

  world.remove({.ike = kIke, .id = 0xc2}, Reason::kDeletedByPeer);
  CHECK(world.inside() == 0);
}

TEST_CASE(
    "underlay in a VRF, private side elsewhere: what is flushed there comes back, and a kill leaves it in place") {
  Crossing world;
  world.start({TunnelText{}});
  world.install(kIke, 0xc1);
  world.identity(kIke);
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  world.kernel.flush_policies("priv");
  world.kernel.emit(policy::PolicyDisturbed{.netns = "priv", .key = {}});
  world.run();
  world.pass(1s);
  CHECK(world.inside() == 1);

  world.kernel.forget_texts();
  world.restart({TunnelText{}});
  CHECK(world.inside() == 1);
  for (const std::string& text : world.kernel.texts()) CHECK_FALSE(text.starts_with("delete-policy"));
  world.install(kIke, 0xc2);
  world.identity(kIke);
  world.pass(3s);
  CHECK(world.inside() == 1);
  CHECK(world.differences().empty());
}

TEST_CASE(
    "underlay in a VRF, private side elsewhere: a policy there that is refused refuses the child, and nothing stays") {
  Crossing world;
  world.start({TunnelText{}});
  const auto plan = policy::plan_trap(*world.manager->tunnels().at("a").tunnel,
                                      world.manager->tunnels().at("a").tunnel->children.front(),
                                      world.manager->tunnels().at("a").children.at("lan").ids);
  policy::PolicyConfig foreign = plan->policies.front();
  foreign.key.direction = policy::Direction::kIn;
  std::swap(foreign.key.source, foreign.key.destination);
  foreign.key.if_id = 0;
  world.kernel.put_foreign("priv", foreign);

  world.install_inbound(kIke, 0xc1);
  CHECK(world.last_answer().find("is there already") != std::string::npos);
  CHECK(world.pub().sas.empty());
  CHECK(world.pub().policies.empty());
}

TEST_CASE("underlay in a VRF: one that goes takes its tunnels down with the reason, and its sockets are closed") {
  Crossing world;
  world.start({TunnelText{}});
  world.install(kIke, 0xc1);
  world.identity(kIke);

  world.kernel.emit(policy::LinkChanged{.netns = "pub", .name = "other", .gone = true});
  world.kernel.emit(policy::LinkChanged{.netns = "priv", .name = "wan", .gone = true});
  world.run();
  CHECK(world.heard.empty());
  CHECK(world.workers.closed_ikes.empty());

  world.kernel.emit(policy::LinkChanged{.netns = "pub", .name = "wan", .gone = true});
  world.run();
  CHECK(world.heard == Texts{"pub/wan gone"});
  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].reason == Reason::kVrfMissing);
}
