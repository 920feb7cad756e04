#include <doctest/doctest.h>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

// The daemon killed between any two operations of the kernel, and started again.
using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11}, kNext{0x22};
constexpr uint32_t kFirst = 0xc1, kSecond = 0xc2, kFresh = 0xd1;

/// What is special about a group and its first tunnel.
struct Shape {
  const char* name;
  std::string group = R"("private": { "netns": "priv", "vrf": "red" })", underlay = {}, members = {};
};
const Shape kPlain{.name = "plain"};
const Shape kExternal{.name = "one interface for both tunnels",
                      .group = kPlain.group + R"(, "interfaces": "external")"};
const Shape kPlaces{
    .name = "a VRF of our own, an underlay in another one, routes of the group's and of the tunnel's",
    .group = R"("private": { "netns": "priv", "vrf": "green", "vrf_table": 77 },
                      "routes": { "gateway_addresses": true })",
    .underlay = R"(, "vrf": "wan")",
    .members = R"(, "routes": [{ "prefix": "10.2.1.0/24" }, { "prefix": "10.2.2.0/24", "metric": 7 }])"};
const Shape kBetween{.name = "by policy between two VRFs",
                     .group = R"("private": { "netns": "pub", "vrf": "blue" }, "attachment": "policy")"};

struct Life {
  const char* start;
  const Shape& shape = kPlain;
};
const Life kLives[] = {{"respond"},
                       {"now"},
                       {"traffic"},
                       {"respond", kExternal},
                       {"traffic", kExternal},
                       {"respond", kPlaces},
                       {"traffic", kPlaces},
                       {"respond", kBetween},
                       {"traffic", kBetween}};

std::vector<TunnelText> tunnels(const Life& life) {
  return {{.start = life.start, .members = life.shape.members},
          {.name = "b", .remote = "198.51.100.9", .selector = "10.4.0.0/16", .start = life.start}};
}

void settle_in(ManagerWorld& world, const Life& life) {
  world.group = life.shape.group;
  world.public_more = life.shape.underlay;
  world.pub().vrfs = {"wan", "blue"};
  world.put_foreign_objects("ipsf");
}

/// A life with everything in it: two tunnels, one of them set up, rekeyed and ended.
void live(ManagerWorld& world, const Life& life) {
  world.start(tunnels(life));
  world.identity(kIke);
  world.install(kIke, kFirst);
  world.inbound({.ike = kIke, .id = kSecond, .replaces = kFirst});
  world.outbound({.ike = kIke, .id = kSecond, .replaces = kFirst});
  world.stop_outbound({.ike = kIke, .id = kFirst});
  world.remove({.ike = kIke, .id = kFirst}, Reason::kChildRekeyed);
  world.remove({.ike = kIke, .id = kSecond}, Reason::kDeletedByPeer);
}

size_t ours_among(const FakeKernel::Namespace& space) {
  return static_cast<size_t>(std::count_if(space.sas.begin(), space.sas.end(),
                                           [](const auto& each) { return each.second.maker == Maker::kOurs; }));
}

void check_as_desired(ManagerWorld& world) {
  for (const std::string& line : world.differences()) FAIL_CHECK(line);
  for (const agent::NamespaceDrift& each : drift_now(*world.manager, world.now)) {
    CHECK_FALSE(each.obstacle);
    CHECK_FALSE(policy::has_drift(*each.rows));
  }
}

}  // namespace

TEST_CASE("crash: after a kill at any operation the next run ends exactly as desired, and nothing foreign is touched") {
  for (const Life& life : kLives) {
    ManagerWorld whole;
    settle_in(whole, life);
    live(whole, life);
    const size_t operations = whole.kernel.operations();
    REQUIRE(operations >= 17);
    for (size_t survived = 0; survived <= operations; ++survived) {
      CAPTURE(life.start);
      CAPTURE(life.shape.name);
      CAPTURE(survived);
      ManagerWorld world;
      settle_in(world, life);
      const auto foreign = world.kernel.foreign();
      world.kernel.die_after(survived);
      live(world, life);
      const size_t sas = ours_among(world.pub());

      const agent::Leftovers taken = world.restart(tunnels(life));
      world.manager->look_after(world.now, {"pub", "priv"});
      for (int i = 0; i < 5; ++i) world.run();

      CHECK(taken.failed.empty());
      CHECK(world.kernel.foreign() == foreign);
      check_as_desired(world);
      CHECK(world.manager->orphans().sas() == ours_among(world.pub()));
      CHECK(ours_among(world.pub()) <= sas);

      world.identity(kNext);
      world.install(kNext, kFresh);
      world.pass(3s);

      CHECK(world.state() == "up");
      CHECK(world.manager->orphans().sas() == 0);
      CHECK(ours_among(world.pub()) == 2);
      check_as_desired(world);
      CHECK(world.kernel.foreign() == foreign);
    }
  }
}

TEST_CASE("crash: killed again while it takes over, at any operation, the third run ends as desired") {
  for (size_t survived = 0; survived < 20; ++survived) {
    CAPTURE(survived);
    ManagerWorld world;
    world.put_foreign_objects("ipsf");
    const auto foreign = world.kernel.foreign();
    world.kernel.die_after(13);
    live(world, {"traffic"});
    world.kernel.restart();
    world.kernel.die_after(survived);
    // Nothing is configured: everything has to go.
    (void)agent::take_over(world.kernel, {"pub", "priv"}, policy::Config{}, [] { return false; });

    world.restart(tunnels({"traffic"}));
    world.manager->look_after(world.now, {"pub", "priv"});
    for (int i = 0; i < 5; ++i) world.run();

    CHECK(world.kernel.foreign() == foreign);
    check_as_desired(world);
  }
}
