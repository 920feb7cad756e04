#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

// Two tunnels of one VRF whose peers have the same network: the kernel has one route per table, destination and metric.

namespace {

constexpr ike::IkeSaId kIke{0x11}, kOther{0x22};
const TunnelText kA{}, kB{.name = "b", .remote = "198.51.100.8"};

struct World : ManagerWorld {
  /// The routes of the private namespace as "TO via TUNNEL METRIC".
  Texts routes() {
    Texts texts;
    for (const auto& [key, each] : priv().routes) {
      const auto& all = manager->tunnels();
      const auto owner =
          std::ranges::find_if(all, [&](const auto& row) { return row.second.interface == each.config.device; });
      texts.push_back(to_string(key.destination) + " via " + (owner == all.end() ? "nobody" : owner->first) + " " +
                      std::to_string(key.metric));
    }
    return texts;
  }
  Texts conflicts() const {
    Texts texts;
    for (const Event& each : events_of(Reason::kRouteConflict)) {
      std::string text = each.object;
      for (const Field& part : each.fields)
        if (part.name != "destination") text += " " + part.value;
      texts.push_back(text);
    }
    return texts;
  }
  /// Names of the tunnels whose route waits, and for whom.
  Texts waiting() const {
    Texts texts;
    for (const auto& each : all_routes(manager->shared()))
      if (each.waits_for)
        texts.push_back(manager->tunnel_of(each.tunnel) + " for " + manager->tunnel_of(*each.waits_for));
    return texts;
  }
};

void both_up(World& world) {
  world.start({kA, kB});
  world.install(kIke, 0xc1, "a");
  world.identity(kIke, true, "a");
  world.install(kOther, 0xd1, "b");
  world.identity(kOther, true, "b");
}

}  // namespace

TEST_CASE(
    "route conflict: the tunnel that came first has the route, the other one is up without, and it is told once") {
  World world;
  both_up(world);

  CHECK(world.state("a") == "up");
  CHECK(world.state("b") == "up");
  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 100"});
  CHECK(world.waiting() == Texts{"b for a"});
  CHECK(world.conflicts() == Texts{"tunnel/b a waiting"});
  CHECK(world.differences().empty());
  for (const std::string& text : world.kernel.texts()) CHECK_FALSE(text.ends_with("REFUSED"));
}

TEST_CASE("route conflict: when the holder lets go the other one gets the route, and that is told") {
  World world;
  both_up(world);
  world.kernel.forget_texts();

  world.remove_child(kIke, 0xc1, "a");

  CHECK(world.routes() == Texts{"10.2.0.0/16 via b 100"});
  CHECK(world.waiting().empty());
  CHECK(world.conflicts() == Texts{"tunnel/b a waiting", "tunnel/b b settled"});
  CHECK(world.kernel.texts().front().starts_with("delete-route"));
  CHECK(world.kernel.texts()[1].starts_with("add-route"));
  CHECK(world.differences().empty());
}

TEST_CASE("route conflict: the one that waits may go, and nothing changes for the holder") {
  World world;
  both_up(world);

  world.remove_child(kOther, 0xd1, "b");

  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 100"});
  CHECK(world.waiting().empty());
  CHECK(world.conflicts().size() == 1);
}

TEST_CASE("route conflict: a rekey of either tunnel neither moves the route nor tells of it again") {
  World world;
  both_up(world);
  world.kernel.forget_texts();
  for (const bool first : {true, false}) {
    const ChildShape old{.ike = first ? kIke : kOther, .id = first ? 0xc1U : 0xd1U, .tunnel = first ? "a" : "b"};
    const ChildShape fresh{.ike = old.ike, .id = old.id + 1, .replaces = old.id, .tunnel = old.tunnel};

    world.inbound(fresh);
    world.outbound(fresh);
    world.stop_outbound(old);
    world.remove(old, Reason::kReplaced);
  }

  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 100"});
  CHECK(world.waiting() == Texts{"b for a"});
  CHECK(world.conflicts().size() == 1);
  for (const std::string& text : world.kernel.texts()) CHECK(text.find("route") == std::string::npos);
  CHECK(world.differences().empty());
}

TEST_CASE("route conflict: tunnels that wait for traffic share no idle route either, and each raises its own") {
  World world;
  TunnelText a = kA, b = kB;
  a.start = b.start = "traffic";
  world.start({a, b});
  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 300"});

  world.install(kOther, 0xd1, "b");
  world.identity(kOther, true, "b");
  CHECK(world.routes() == Texts{"10.2.0.0/16 via b 100", "10.2.0.0/16 via a 300"});
  CHECK(world.waiting() == Texts{"b for a"});

  world.reconfigure({b});
  CHECK(world.routes() == Texts{"10.2.0.0/16 via b 100", "10.2.0.0/16 via b 300"});
  CHECK(world.waiting().empty());
}

TEST_CASE("route conflict: what others remove comes back as the holder's, and the one that waits stays out") {
  World world;
  both_up(world);
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  world.priv().routes.clear();

  world.kernel.emit(
      policy::RouteRemoved{.netns = "priv", .destination = IpPrefix::parse("10.2.0.0/16").value(), .metric = 100});
  world.run();
  world.pass(1s);

  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 100"});
  for (const auto& each : drift_now(*world.manager, world.now)) CHECK(each.rows->empty());
}

TEST_CASE("route conflict: after a kill the holder's route goes on, and both tunnels come back as they were") {
  World world;
  both_up(world);

  world.restart({kA, kB});
  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 100"});
  world.install(kOther, 0xd2, "b");
  world.identity(kOther, true, "b");
  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 100"});
  CHECK(world.waiting() == Texts{"b for a"});

  world.install(kIke, 0xc2, "a");
  world.identity(kIke, true, "a");
  world.pass(3s);
  CHECK(world.routes() == Texts{"10.2.0.0/16 via a 100"});
  CHECK(world.differences().empty());
}
