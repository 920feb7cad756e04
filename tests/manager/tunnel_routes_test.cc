#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

// Routes that no child brings: the tunnel's own ones, and those to the group's addresses.

namespace {

constexpr ike::IkeSaId kIke{0x11};
const std::string kRoutes = R"(, "routes": [{ "prefix": "10.2.1.0/24" }, { "prefix": "10.2.2.0/24", "metric": 20 }])";

struct World : ManagerWorld {
  explicit World(const std::string& routes = R"("selectors": false)") {
    group = R"("private": { "netns": "priv", "vrf": "red" }, "routes": { )" + routes + " }";
  }
  void up(uint32_t child = 0xc1) {
    install(kIke, child);
    identity(kIke);
  }
  static Texts texts(const FakeKernel::Namespace& space) {
    Texts texts;
    for (const auto& [key, each] : space.routes)
      texts.push_back(to_string(key.destination) + " " + std::to_string(key.metric));
    return texts;
  }
  Texts routes() { return texts(priv()); }
  size_t drift() {
    size_t rows = 0;
    for (const auto& each : drift_now(*manager, now)) rows += each.rows->size();
    return rows;
  }
};

const TunnelText kTunnel{.members = kRoutes};
const TunnelText kWaiting{.start = "traffic", .members = kRoutes};

}  // namespace

TEST_CASE("own routes of a tunnel: they come when it is up, go before its SAs, and are no child's") {
  World world;
  world.start({kTunnel});
  CHECK(world.routes().empty());

  world.up();
  CHECK(world.routes() == Texts{"10.2.1.0/24 100", "10.2.2.0/24 20"});
  CHECK(world.differences().empty());

  world.kernel.forget_texts();
  world.remove_child(kIke, 0xc1);
  CHECK(world.routes().empty());
  REQUIRE(world.kernel.texts().size() >= 2);
  CHECK(world.kernel.texts()[0].starts_with("delete-route"));
  CHECK(world.kernel.texts()[1].starts_with("delete-route"));
}

TEST_CASE("own routes of a tunnel: with the idle metric while it waits for traffic") {
  World world;
  world.start({kWaiting});
  CHECK(world.routes() == Texts{"10.2.1.0/24 300", "10.2.2.0/24 300"});

  world.up();
  CHECK(world.routes() == Texts{"10.2.1.0/24 100", "10.2.1.0/24 300", "10.2.2.0/24 20", "10.2.2.0/24 300"});

  world.remove_child(kIke, 0xc1);
  CHECK(world.routes() == Texts{"10.2.1.0/24 300", "10.2.2.0/24 300"});
}

TEST_CASE("own routes of a tunnel: with several children they stand while any of them is up, whatever is rekeyed") {
  World world;
  TunnelText tunnel = kTunnel;
  tunnel.more = {{"dmz", "10.3.0.0/16"}};
  world.start({tunnel});
  world.up();
  world.inbound({.ike = kIke, .id = 0xd1, .child = "dmz"});
  world.outbound({.ike = kIke, .id = 0xd1, .child = "dmz"});
  world.kernel.forget_texts();

  world.inbound({.ike = kIke, .id = 0xc2, .replaces = 0xc1});
  world.outbound({.ike = kIke, .id = 0xc2, .replaces = 0xc1});
  world.stop_outbound({.ike = kIke, .id = 0xc1});
  world.remove({.ike = kIke, .id = 0xc1}, Reason::kReplaced);
  world.remove({.ike = kIke, .id = 0xc2}, Reason::kDeletedByPeer);
  for (const std::string& text : world.kernel.texts()) CHECK(text.find("route") == std::string::npos);

  world.remove({.ike = kIke, .id = 0xd1, .child = "dmz"}, Reason::kDeletedByPeer);
  CHECK(world.routes().empty());
}

TEST_CASE("own routes of a tunnel: one that a child brings as well is one route, and stays until both are gone") {
  World world(R"("selectors": true)");
  TunnelText tunnel;
  tunnel.members = R"(, "routes": [{ "prefix": "10.2.0.0/16" }])";
  world.start({tunnel});
  world.up();
  CHECK(world.routes() == Texts{"10.2.0.0/16 100"});
  CHECK(all_routes(world.manager->shared()).size() == 1);

  world.reconfigure({TunnelText{}});
  CHECK(world.routes() == Texts{"10.2.0.0/16 100"});
  world.remove_child(kIke, 0xc1);
  CHECK(world.routes().empty());
}

TEST_CASE(
    "own routes of a tunnel: another list is taken over in place, and what is new stands before what is old goes") {
  World world;
  world.start({kTunnel});
  world.up();
  world.kernel.forget_texts();

  TunnelText other;
  other.members = R"(, "routes": [{ "prefix": "10.2.1.0/24" }, { "prefix": "10.2.3.0/24" }])";
  world.reconfigure({other});

  CHECK(world.state() == "up");
  CHECK(world.routes() == Texts{"10.2.1.0/24 100", "10.2.3.0/24 100"});
  REQUIRE(world.kernel.texts().size() == 2);
  CHECK(world.kernel.texts()[0].starts_with("add-route 10.2.3.0/24"));
  CHECK(world.kernel.texts()[1].starts_with("delete-route 10.2.2.0/24"));
}

TEST_CASE("own routes of a tunnel: what others remove is put right") {
  World world;
  world.start({kTunnel});
  world.up();
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  world.priv().routes.clear();

  world.kernel.emit(
      policy::RouteRemoved{.netns = "priv", .destination = IpPrefix::parse("10.2.1.0/24").value(), .metric = 100});
  world.run();
  world.pass(1s);

  CHECK(world.routes() == Texts{"10.2.1.0/24 100", "10.2.2.0/24 20"});
  CHECK(world.drift() == 0);
}

TEST_CASE("own routes of a tunnel: after a kill they carry on with the orphans, and never go while SAs come") {
  for (const TunnelText& tunnel : {kTunnel, kWaiting}) {
    CAPTURE(tunnel.start);
    World world;
    world.start({tunnel});
    world.up();
    const Texts before = world.routes();
    world.kernel.forget_texts();

    world.restart({tunnel});
    CHECK(world.routes() == before);
    world.up(0xc2);
    world.pass(3s);

    CHECK(world.routes() == before);
    for (const std::string& text : world.kernel.texts()) CHECK_FALSE(text.starts_with("delete-route"));
    CHECK(world.differences().empty());
  }
}

TEST_CASE(
    "own routes of a tunnel: nothing of them outlives an orderly end, nor a tunnel that is not configured any more") {
  World world;
  world.start({kWaiting});
  world.up();
  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());

  World other;
  other.start({kWaiting});
  other.reconfigure({});
  CHECK(other.routes().empty());
}

TEST_CASE("own routes of a tunnel: through an interface that all tunnels share each names its tunnel") {
  World world;
  world.group += R"(, "interfaces": "external")";
  world.start({kTunnel});
  world.up();
  CHECK(world.routes() == Texts{"10.2.1.0/24 100", "10.2.2.0/24 20"});
  for (const auto& [key, each] : world.priv().routes)
    CHECK(each.config.encap_if_id == world.manager->tunnels().at("a").if_id);
}

TEST_CASE("own routes of a tunnel: with manual keys they stand while its SAs do") {
  World world;
  TunnelText tunnel = kTunnel;
  tunnel.manual = {0x1001, 0x2001};
  world.start({tunnel});
  CHECK(world.routes() == Texts{"10.2.1.0/24 100", "10.2.2.0/24 20"});
  world.manager->down(world.now, "a", "", [](const Status&) {});
  world.run();
  CHECK(world.routes().empty());
}

TEST_CASE("routes to the group's addresses: they stand from start to end, whatever its tunnels do") {
  World world(R"("gateway_addresses": true)");
  world.start({TunnelText{}});
  CHECK(World::texts(world.pub()) == Texts{"192.0.2.1/32 100"});
  world.up();
  CHECK(World::texts(world.pub()) == Texts{"192.0.2.1/32 100"});

  world.restart({TunnelText{}});
  for (const std::string& text : world.kernel.texts()) CHECK_FALSE(text.starts_with("delete-route 192.0.2.1"));
  CHECK(world.drift() == 0);

  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.run();
  CHECK(world.pub().routes.empty());
}

TEST_CASE("routes to the group's addresses: they come and go with the setting, and no tunnel is disturbed") {
  World world(R"("gateway_addresses": false)");
  world.start({TunnelText{}});
  world.up();
  const std::string without = world.group;

  world.group = R"("private": { "netns": "priv", "vrf": "red" }, "routes": { "gateway_addresses": true })";
  world.reconfigure({TunnelText{}});
  CHECK(world.state() == "up");
  CHECK(World::texts(world.pub()) == Texts{"192.0.2.1/32 100"});

  world.group = without;
  world.reconfigure({TunnelText{}});
  CHECK(world.state() == "up");
  CHECK(world.pub().routes.empty());
}
