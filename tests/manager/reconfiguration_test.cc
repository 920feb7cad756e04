#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

// Another configuration while tunnels are up: what it changes comes and goes, and nothing else is touched.

namespace {

constexpr ike::IkeSaId kIke{0x11}, kOther{0x22}, kNext{0x33};

const TunnelText kA{.start = "traffic"};
const TunnelText kB{.name = "b", .remote = "198.51.100.8", .selector = "10.3.0.0/16", .start = "traffic"};

void bring_up(ManagerWorld& world, ike::IkeSaId ike, uint32_t child, const std::string& tunnel) {
  world.install(ike, child, tunnel);
  world.identity(ike, true, tunnel);
  REQUIRE(world.state(tunnel) == "up");
}

struct TwoTunnels : ManagerWorld {
  TwoTunnels() {
    start({kA, kB});
    bring_up(*this, kIke, 0xa1, "a");
    bring_up(*this, kOther, 0xb1, "b");
  }
};

bool has(const ManagerWorld& world, const std::string& tunnel) { return world.manager->tunnels().contains(tunnel); }

/// What the fake kernel holds of ours, by kind.
std::vector<size_t> sizes(ManagerWorld& world) {
  return {world.pub().sas.size(), world.pub().policies.size(), world.priv().links.size(), world.priv().routes.size()};
}

}  // namespace

TEST_CASE("reconfiguration: the same configuration again disturbs nothing") {
  TwoTunnels world;
  const auto before = sizes(world);
  const auto interface = world.manager->tunnels().at("a").interface;
  const size_t operations = world.kernel.operations();

  world.reconfigure({kA, kB});

  CHECK(world.kernel.operations() == operations);

  CHECK(sizes(world) == before);
  CHECK(world.manager->tunnels().at("a").interface == interface);
  CHECK(world.workers.closed_ikes.empty());
  CHECK(world.workers.closed_children.empty());
  CHECK(world.workers.rekeys.empty());
  CHECK(world.workers.initiations.empty());
  CHECK(world.events_of(Reason::kConfigApplied).empty());
  CHECK(world.differences().empty());
}

TEST_CASE("reconfiguration: a tunnel that is not configured any more ends, with all that it had in the kernel") {
  TwoTunnels world;
  world.reconfigure({kB});

  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].ike == kIke);
  CHECK(world.workers.closed_ikes[0].mode == ike::CloseMode::kTellPeer);
  CHECK(has(world, "a"));  // the peer has not answered yet
  world.remove_child(kIke, 0xa1, "a");
  CHECK(has(world, "a"));
  world.ike_gone(kIke);

  CHECK_FALSE(has(world, "a"));
  CHECK(world.state("b") == "up");
  CHECK(world.priv().links.size() == 1);
  CHECK(world.pub().sas.size() == 2);
  CHECK(world.differences().empty());
}

TEST_CASE("reconfiguration: a new tunnel begins beside those that are up") {
  ManagerWorld world;
  world.start({kB});
  bring_up(world, kOther, 0xb1, "b");
  world.reconfigure({{.start = "now"}, kB});

  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(world.workers.initiations[0].tunnel->name == "a");
  CHECK(world.priv().links.size() == 2);
  CHECK(world.state("b") == "up");
  CHECK(world.events_of(Reason::kConfigApplied).size() == 1);
  CHECK(world.differences().empty());
}

TEST_CASE("reconfiguration: a tunnel to another end is set up anew, once the old one is gone") {
  TwoTunnels world;
  const auto before = world.manager->tunnels().at("a").interface;
  world.reconfigure({{.remote = "198.51.100.9", .start = "now"}, kB});
  CHECK(world.workers.initiations.empty());
  world.remove_child(kIke, 0xa1, "a");
  world.ike_gone(kIke);

  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(to_string(*world.workers.initiations[0].tunnel->remote) == "198.51.100.9");
  CHECK(world.manager->tunnels().at("a").interface != before);
  CHECK(world.priv().links.size() == 2);
  CHECK(world.differences().empty());
  bring_up(world, kNext, 0xa2, "a");
  CHECK(world.differences().empty());
}

TEST_CASE("reconfiguration: what changes again before it has ended follows the newest document") {
  TwoTunnels world;
  world.reconfigure({kB});
  world.reconfigure({{.remote = "198.51.100.9", .start = "now"}, kB});
  world.reconfigure({{.remote = "198.51.100.10", .start = "now"}, kB});
  world.remove_child(kIke, 0xa1, "a");
  world.ike_gone(kIke);
  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(to_string(*world.workers.initiations[0].tunnel->remote) == "198.51.100.10");

  world.reconfigure({kB});
  world.initiated(kNext);  // it was under way
  REQUIRE(world.workers.closed_ikes.size() == 2);
  CHECK(world.workers.closed_ikes[1].ike == kNext);
  CHECK(has(world, "a"));
  world.ike_gone(kNext);
  CHECK_FALSE(has(world, "a"));
  CHECK(world.differences().empty());
}

TEST_CASE("reconfiguration: a child with other traffic ends and comes again, the others stay") {
  ManagerWorld world;
  world.start({{.start = "traffic", .more = {{"dmz", "10.102.0.0/16"}}}});
  bring_up(world, kIke, 0xa1, "a");
  world.inbound({.ike = kIke, .id = 0xa2, .child = "dmz"});
  world.outbound({.ike = kIke, .id = 0xa2, .child = "dmz"});
  const auto reqid = world.manager->tunnels().at("a").children.at("lan").ids.reqid;

  world.reconfigure({{.start = "traffic", .more = {{"dmz", "10.110.0.0/16"}}}});

  CHECK(world.workers.closed_ikes.empty());
  REQUIRE(world.workers.closed_children.size() == 1);
  CHECK(world.workers.closed_children[0].child == ike::ChildId(0xa2));
  world.remove({.ike = kIke, .id = 0xa2, .child = "dmz"}, Reason::kConfigApplied);
  const auto& children = world.manager->tunnels().at("a").children;
  REQUIRE(children.contains("dmz"));
  CHECK_FALSE(children.at("dmz").leaving);
  CHECK(children.at("dmz").trap);
  CHECK(policy::to_string(children.at("dmz").config->remote) == "10.110.0.0/16");
  CHECK(children.at("lan").ids.reqid == reqid);
  CHECK(children.at("lan").up.size() == 1);
  CHECK(world.differences().empty());

  world.reconfigure({{.start = "traffic"}});
  CHECK_FALSE(world.manager->tunnels().at("a").children.contains("dmz"));
  CHECK(world.state() == "up");
  CHECK(world.differences().empty());
}

TEST_CASE("reconfiguration: what is negotiated comes by a rekey") {
  TwoTunnels world;
  world.adjust = [](policy::IkePolicy& ike_policy, policy::ChildPolicy& child_policy) {
    child_policy.replay_window = 1024;
    ike_policy.lifetime = 2h;
  };
  world.reconfigure({kA, kB});

  CHECK(world.workers.closed_ikes.empty());
  REQUIRE(world.workers.rekeys.size() == 4);
  CHECK(std::ranges::count_if(world.workers.rekeys, [](const auto& each) { return each.child == ike::ChildId(); }) ==
        2);
  CHECK(std::ranges::all_of(world.workers.rekeys,
                            [](const auto& each) { return each.reason == Reason::kConfigApplied; }));
  CHECK(world.manager->tunnels().at("a").tunnel->ike_policy->lifetime == 2h);
}

TEST_CASE("reconfiguration: how a child begins changes at once") {
  ManagerWorld world;
  world.start({{.start = "respond"}});
  CHECK(world.pub().policies.empty());
  world.reconfigure({{.start = "traffic"}});
  CHECK(world.state() == "idle");
  CHECK(world.pub().policies.size() == 1);
  CHECK(world.differences().empty());
  world.reconfigure({{.start = "respond"}});
  CHECK(world.pub().policies.empty());
  CHECK(world.priv().routes.empty());
  world.reconfigure({{.start = "now"}});
  CHECK(world.workers.initiations.size() == 1);
}

TEST_CASE("reconfiguration: whoever waits for a tunnel that leaves is told") {
  ManagerWorld world;
  world.start({{.start = "respond"}});
  std::optional<Status> outcome;
  world.manager->up(world.now, "a", "", [&](Status status) { outcome = std::move(status); });
  world.initiated(kIke);
  world.reconfigure({});
  REQUIRE(outcome.has_value());
  CHECK(outcome->error().reason() == Reason::kConfigApplied);
  world.ike_failed(kIke, Reason::kPeerUnreachable);
  CHECK_FALSE(has(world, "a"));
  CHECK(world.priv().links.empty());
}

TEST_CASE("reconfiguration: a thousand tunnels that leave at once end each in its own time") {
  ManagerWorld world;
  std::vector<TunnelText> many;
  constexpr uint32_t kMany = 1000;
  for (uint32_t i = 0; i < kMany; ++i) {
    const std::string low = std::to_string(i % 250), high = std::to_string(i / 250);
    many.push_back({.name = "t" + std::to_string(i),
                    .remote = "198.51." + high + "." + low,
                    .selector = "10." + std::to_string(100 + i / 250) + "." + low + ".0/24"});
  }
  world.start(many);
  world.roll_out();
  for (uint32_t i = 0; i < kMany; ++i) bring_up(world, ike::IkeSaId(i + 1), 0x1000 + i, many[i].name);
  world.reconfigure({});
  world.roll_out();
  CHECK(world.workers.closed_ikes.size() == kMany);
  for (uint32_t i = 0; i < kMany; ++i) {
    world.remove_child(ike::IkeSaId(i + 1), 0x1000 + i, many[i].name);
    world.ike_gone(ike::IkeSaId(i + 1));
  }
  CHECK(world.manager->tunnels().empty());
  CHECK(world.pub().sas.empty());
  CHECK(world.pub().policies.empty());
  CHECK(world.priv().links.empty());
}
