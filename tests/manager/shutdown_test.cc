#include <doctest/doctest.h>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

namespace {

constexpr ike::IkeSaId kIke{0x11};

void shut_down(ManagerWorld& world) {
  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.run();
}

}  // namespace

TEST_CASE("shutdown: peers are told, then nothing of ours is left and foreign objects are untouched") {
  ManagerWorld world;
  world.kernel.put_foreign("pub", {*IpAddress::parse("192.0.2.1"), policy::ChildSpi(0xabcd)});
  world.kernel.put_foreign("priv", policy::LinkConfig{.name = "ipsec7", .if_id = 7});
  world.kernel.put_foreign("priv", policy::RouteConfig{.destination = *IpPrefix::parse("10.9.0.0/16"), .vrf = "red"});
  world.kernel.put_foreign("pub", policy::PolicyConfig{.key = {.source = *IpPrefix::parse("10.1.0.0/16"),
                                                               .destination = *IpPrefix::parse("10.2.0.0/16")}});
  const Texts foreign = world.kernel.foreign();
  world.start({{.name = "a", .start = "traffic"}, {.name = "b", .selector = "10.3.0.0/16", .start = "now"}});
  world.initiated(kIke, "b");
  world.install(kIke, 0xc1, "b");

  world.manager->begin_shutdown();
  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].reason == Reason::kShutdown);
  CHECK(world.workers.closed_ikes[0].mode == ike::CloseMode::kTellPeer);
  world.manager->remove_all();
  world.run();

  CHECK(world.kernel.ours() == Texts{});
  CHECK(world.kernel.foreign() == foreign);
  CHECK(world.manager->kernel_idle());
}

TEST_CASE("shutdown: a link whose making the kernel has not confirmed yet goes too") {
  ManagerWorld world;
  world.kernel.hold_answers();
  world.start({{.start = "traffic"}});

  shut_down(world);
  world.kernel.release_all();
  world.run();

  CHECK(world.kernel.ours() == Texts{});
  CHECK(world.manager->kernel_idle());
}

TEST_CASE("shutdown: traps and children that are still being installed go too") {
  for (size_t answered = 0; answered < 8; ++answered) {
    CAPTURE(answered);
    ManagerWorld world;
    world.start({{.start = "traffic"}});
    world.kernel.hold_answers();
    world.install_inbound(kIke, 0xc1);
    world.install_outbound(kIke, 0xc1);
    for (size_t i = 0; i < answered; ++i) {
      world.kernel.release(1);
      world.run();
    }

    shut_down(world);
    world.kernel.release_all();
    world.run();

    CHECK(world.kernel.ours() == Texts{});
    CHECK(world.manager->kernel_idle());
  }
}

TEST_CASE("shutdown: an IKE SA of which the manager only learns now is closed at once") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.manager->begin_shutdown();

  world.initiated(kIke);

  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].ike == kIke);
}

TEST_CASE("down: an attempt whose IKE SA the manager only learns of afterwards is closed") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.manager->down(world.now, "a", "", [](Status) {});

  world.initiated(kIke);

  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].reason == Reason::kDeletedByOperator);
}

TEST_CASE("shutdown: nothing is tried again") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.refuse_initiation(Error(Reason::kTimeout));

  shut_down(world);
  world.pass(3600s);

  CHECK(world.workers.initiations.size() == 1);
}
