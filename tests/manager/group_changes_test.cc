#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

// Settings of a group that change while its tunnels are up: what hangs on them follows, and no tunnel is disturbed.

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

namespace {

constexpr ike::IkeSaId kIke{0x11};
const std::string kInside = R"("private": { "netns": "priv", "vrf": "red" })";
const std::string kByPolicy = R"("attachment": "policy")";
const TunnelText kUp{.members = R"(, "routes": [{ "prefix": "10.2.1.0/24" }])"};
const TunnelText kIdle{.name = "b", .remote = "198.51.100.8", .selector = "10.3.0.0/16", .start = "traffic"};

/// Tunnel "a" is up, tunnel "b" waits for traffic.
struct World : ManagerWorld {
  explicit World(const std::string& members) {
    group = members;
    start({as_fits(members), kIdle});
    install(kIke, 0xc1);
    identity(kIke);
    REQUIRE(state("a") == "up");
    manager->look_after(now, {"pub", "priv"});
    kernel.forget_texts();
  }
  static TunnelText as_fits(const std::string& members) { return members.starts_with(kByPolicy) ? TunnelText{} : kUp; }
  void change(const std::string& members) {
    group = members;
    const size_t sas = pub().sas.size();
    kernel.forget_texts();
    reconfigure({as_fits(members), kIdle});
    // Nobody was disturbed by it.
    CHECK(workers.closed_ikes.empty());
    CHECK(workers.closed_children.empty());
    CHECK(workers.rekeys.empty());
    CHECK(workers.initiations.empty());
    CHECK(state("a") == "up");
    CHECK(state("b") == "idle");
    CHECK(pub().sas.size() == sas);
    for (const std::string& each : kernel.texts()) {
      CHECK_MESSAGE(each.find("-sa ") == std::string::npos, each);
      CHECK_MESSAGE(each.find("-link") == std::string::npos, each);
    }
    for (const auto& each : drift_now(*manager, now)) CHECK(each.rows->empty());
  }
  /// "PREFIX METRIC PROTOCOL" of the private side's routes.
  Texts routes() {
    Texts texts;
    for (const auto& [key, each] : priv().routes)
      texts.push_back(to_string(key.destination) + " " + std::to_string(key.metric) + " " +
                      std::to_string(each.config.protocol));
    return texts;
  }
  size_t blocks() {
    return static_cast<size_t>(std::ranges::count_if(
        pub().policies, [](const auto& each) { return each.second.config.action == policy::PolicyAction::kBlock; }));
  }
  void end_all() {
    manager->remove_all();
    run();
    CHECK(kernel.ours().empty());
  }
};

}  // namespace

TEST_CASE("group changes: another metric stands before the one that was goes, of tunnels that are up and that wait") {
  World world(kInside);
  CHECK(world.routes() == Texts{"10.2.0.0/16 100 50", "10.2.1.0/24 100 50", "10.3.0.0/16 300 50"});

  world.change(kInside + R"(, "routes": { "metric": { "alone": 90, "idle": 290 } })");

  CHECK(world.routes() == Texts{"10.2.0.0/16 90 50", "10.2.1.0/24 90 50", "10.3.0.0/16 290 50"});
  for (const char* prefix : {"10.2.0.0/16", "10.2.1.0/24", "10.3.0.0/16"})
    CHECK(world.asked_at(std::string("add-route ") + prefix) < world.asked_at(std::string("delete-route ") + prefix));
  world.end_all();
}

TEST_CASE("group changes: another routing protocol is that of all routes at once") {
  World world(kInside + R"(, "default_block": true)");
  world.change(kInside + R"(, "default_block": true, "routes": { "protocol": 60 })");
  CHECK(world.routes().size() == 5);
  for (const std::string& each : world.routes()) CHECK_MESSAGE(each.ends_with(" 60"), each);
  // What comes and goes later does so with the new one.
  world.remove_child(kIke, 0xc1);
  for (const std::string& each : world.routes()) CHECK_MESSAGE(each.ends_with(" 60"), each);
  world.end_all();
}

TEST_CASE("group changes: routes to selectors go and come, those of the tunnels' own stay") {
  World world(kInside);
  world.change(kInside + R"(, "routes": { "selectors": false })");
  CHECK(world.routes() == Texts{"10.2.1.0/24 100 50"});
  world.change(kInside);
  CHECK(world.routes() == Texts{"10.2.0.0/16 100 50", "10.2.1.0/24 100 50", "10.3.0.0/16 300 50"});
  world.end_all();
}

TEST_CASE("group changes: a child whose outbound half is still to come gets its routes as they are then") {
  ManagerWorld world;
  world.start({{}});
  world.install_inbound(kIke, 0xc1);
  world.group = kInside + R"(, "routes": { "metric": { "alone": 90 } })";
  world.reconfigure({{}});
  CHECK(world.priv().routes.empty());
  world.install_outbound(kIke, 0xc1);
  REQUIRE(world.priv().routes.size() == 1);
  CHECK(world.priv().routes.begin()->first.metric == 90);
  world.remove_child(kIke, 0xc1);
  CHECK(world.priv().routes.empty());
}

TEST_CASE("group changes: during a rekey both children follow") {
  World world(kInside);
  world.install_inbound(kIke, 0xc2);
  world.install_outbound(kIke, 0xc2);
  world.change(kInside + R"(, "routes": { "metric": { "alone": 90 } })");
  world.remove_child(kIke, 0xc1);
  CHECK(world.routes() == Texts{"10.2.0.0/16 90 50", "10.2.1.0/24 90 50", "10.3.0.0/16 300 50"});
  world.remove_child(kIke, 0xc2);
  CHECK(world.routes() == Texts{"10.3.0.0/16 300 50"});
}

TEST_CASE("group changes: default_block comes and goes beside the SAs, attached by interface") {
  World world(kInside);
  world.change(kInside + R"(, "default_block": true)");
  CHECK(std::ranges::count_if(world.routes(), [](const std::string& each) {
          return each.find(" 4294967294 ") != std::string::npos;
        }) == 2);
  world.change(kInside);
  CHECK(world.routes().size() == 3);
  world.end_all();
}

TEST_CASE("group changes: default_block comes and goes beside the SAs, attached by policy") {
  World world(kByPolicy);
  CHECK(world.blocks() == 0);

  world.change(kByPolicy + R"(, "default_block": true)");

  // Of "b" what its trap does not cover; those of "a" are below its own policies ...
  CHECK(world.blocks() == 2);
  world.remove_child(kIke, 0xc1);
  CHECK(world.blocks() == 5);  // ... and count when these have gone.
  world.install(kIke, 0xc2);
  CHECK(world.blocks() == 2);
  world.group = kByPolicy;
  world.reconfigure({{}, kIdle});
  CHECK(world.blocks() == 0);
  world.remove_child(kIke, 0xc2);
  CHECK(world.blocks() == 0);
  world.end_all();
}
