#include <doctest/doctest.h>

#include "tests/manager/manager_world.h"

// One external interface for the tunnels of a group.
using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11};

const TunnelText kA{.start = "traffic"};
const TunnelText kB{.name = "b", .remote = "198.51.100.9", .selector = "10.4.0.0/16", .start = "traffic"};

struct External : ManagerWorld {
  External() { group += R"(, "interfaces": "external")"; }
  std::vector<std::string> links() {
    std::vector<std::string> names;
    for (const auto& [name, link] : priv().links) names.push_back(name);
    return names;
  }
  bool ready(const std::string& tunnel) const { return manager->tunnels().at(tunnel).link_ready; }
};
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("external: all tunnels of a group have one interface, which goes with the last of them") {
  External world;
  world.start({kA, kB});
  CHECK(world.links() == Names{"ipsx-core"});
  CHECK(world.priv().routes.size() == 2);
  world.reconfigure({kB});
  CHECK(world.links() == Names{"ipsx-core"});
  CHECK(world.priv().routes.size() == 1);
  world.reconfigure({kA, kB});
  CHECK(world.links() == Names{"ipsx-core"});
  CHECK(world.state("a") == "idle");
  world.reconfigure({});
  CHECK(world.links().empty());
  world.reconfigure({kA});
  CHECK(world.links() == Names{"ipsx-core"});
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("external: while the kernel has not answered, tunnels come and go, and one interface or none is left") {
  External world;
  world.kernel.hold_answers();
  world.start({kA, kB});
  world.reconfigure({kB});
  world.kernel.release_all();
  world.run();
  CHECK(world.links() == Names{"ipsx-core"});
  CHECK(world.ready("b"));

  External gone;
  gone.kernel.hold_answers();
  gone.start({kA});
  gone.reconfigure({});
  gone.kernel.release_all();
  gone.run();
  CHECK(gone.kernel.ours().empty());
  CHECK(gone.manager->tunnels().empty());
}

TEST_CASE("external: where its VRF is missing each tunnel says so, and all begin when it is back") {
  External world;
  world.priv().vrfs.erase("red");
  world.start({kA, kB});
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kVrfMissing);
  CHECK(world.manager->tunnels().at("b").last_reason == Reason::kVrfMissing);
  CHECK_FALSE(world.ready("a"));
  world.priv().vrfs.insert("red");
  world.kernel.emit(policy::LinkChanged{.netns = "priv", .name = "red", .up = true});
  world.run();
  world.pass(2s);
  CHECK(world.ready("a"));
  CHECK(world.ready("b"));
  CHECK(world.links() == Names{"ipsx-core"});
  CHECK(world.priv().routes.size() == 2);
}

TEST_CASE("external: after a kill each tunnel has the numbers that it had") {
  External world;
  world.start({kA, kB});
  world.identity(kIke);
  world.install(kIke, 0xc1);
  const uint32_t a = world.manager->tunnels().at("a").if_id, b = world.manager->tunnels().at("b").if_id;
  CHECK(a != b);
  world.restart({kB, kA});
  CHECK(world.manager->tunnels().at("a").if_id == a);
  CHECK(world.manager->tunnels().at("b").if_id == b);
  CHECK(world.manager->orphans().sas() == 2);
  CHECK(world.links() == Names{"ipsx-core"});
}
