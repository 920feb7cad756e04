#include <doctest/doctest.h>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11};

ike::IdentityEstablished identity(const ManagerWorld& world, ike::IkeSaId ike) {
  return {.ike = ike, .tunnel = world.manager->config().tunnels.at("a"), .has_child = true, .initial_contact = false};
}

}  // namespace

TEST_CASE("ike: one that came up without the child it was made for is closed, and the attempt has failed") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.initiated(kIke);
  ike::IdentityEstablished without_child = identity(world, kIke);
  without_child.has_child = false;

  world.manager->on_action(world.now, 1, without_child);
  world.run();

  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].ike == kIke);
  CHECK(world.manager->next_deadline().has_value());  // it is tried again
}

TEST_CASE(
    "expire: at the kernel's hard limit of either SA the child is rekeyed, or closed where that is off; a soft limit "
    "or a "
    "foreign SA does nothing") {
  for (const bool inbound : {true, false})
    for (const bool rekeys : {true, false}) {
      CAPTURE(inbound);
      CAPTURE(rekeys);
      ManagerWorld world;
      world.adjust = [rekeys](policy::IkePolicy&, policy::ChildPolicy& child) { child.rekey.enabled = rekeys; };
      world.start({{}});
      world.initiated(kIke);
      world.install(kIke, 0xc1);
      world.manager->look_after(world.now, {"pub", "priv"});
      world.run();
      const auto& plan = world.manager->installer().children().begin()->second->plan;
      const policy::SaKey key = inbound ? plan.inbound.key : plan.outbound.key;

      world.kernel.emit(policy::SaExpired{.netns = "pub", .key = key, .hard = false});
      world.kernel.emit(policy::SaExpired{.netns = "pub", .key = {key.destination, policy::ChildSpi(9)}, .hard = true});
      world.run();
      CHECK(world.workers.closed_children.empty());
      CHECK(world.workers.rekeys.empty());

      world.pub().sas.erase(key);
      world.kernel.emit(policy::SaExpired{.netns = "pub", .key = key, .hard = true});
      world.run();
      REQUIRE(world.workers.closed_children.size() == (rekeys ? 0 : 1));
      REQUIRE(world.workers.rekeys.size() == (rekeys ? 1 : 0));
      if (rekeys) {
        CHECK(world.workers.rekeys[0].child == ike::ChildId(0xc1));
        CHECK(world.workers.rekeys[0].reason == Reason::kKernelExpired);
        // A rekey that never ends well is not waited for.
        for (int i = 0; i < 60 && world.workers.closed_children.empty(); ++i) world.pass(1s);
        REQUIRE(world.workers.closed_children.size() == 1);
      }
      CHECK(world.workers.closed_children[0].child == ike::ChildId(0xc1));
      CHECK(world.workers.closed_children[0].reason == Reason::kKernelExpired);
      CHECK(world.events_of(Reason::kSaLost).empty());
    }
}

TEST_CASE("initiate: attempts go round the workers") {
  ManagerWorld world;

  world.start({{.name = "a", .selector = "10.2.0.0/16", .start = "now"},
               {.name = "b", .selector = "10.3.0.0/16", .start = "now"},
               {.name = "c", .selector = "10.4.0.0/16", .start = "now"}});

  CHECK(world.workers.initiation_workers == std::vector<size_t>{0, 1, 0});
}

TEST_CASE("expire: a child whose SA is seen at its hard limit again and again, with no rekey in its place, is closed") {
  ManagerWorld world;
  world.start({{}});
  world.initiated(kIke);
  world.install(kIke, 0xc1);
  const policy::SaKey key = world.manager->installer().children().begin()->second->plan.outbound.key;

  for (size_t seen = 1; seen <= 3; ++seen) {
    world.kernel.emit(policy::SaExpired{.netns = "pub", .key = key, .hard = true});
    world.run();
    CHECK(world.workers.rekeys.size() == seen);
    CHECK(world.workers.closed_children.empty());
    world.pass(5s);
  }
  world.kernel.emit(policy::SaExpired{.netns = "pub", .key = key, .hard = true});
  world.run();
  REQUIRE(world.workers.closed_children.size() == 1);
  CHECK(world.workers.closed_children[0].reason == Reason::kKernelExpired);
}

TEST_CASE("ike: a report about an IKE SA that has ended, or that nobody knows, leaves no record of it") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.initiated(kIke);
  world.ike_failed(kIke, Reason::kTimeout);
  REQUIRE(world.manager->ike_sas().empty());

  for (uint64_t id = 0x11; id < 0x40; ++id)
    for (const std::string tunnel : {"a", ""})
      world.manager->on_action(
          world.now, 1,
          ike::Report{
              .ike = ike::IkeSaId(id), .tunnel = tunnel, .path = {}, .reason = Reason::kAuthFailed, .fields = {}});
  world.run();

  CHECK(world.manager->ike_sas().empty());
  CHECK(world.manager->tunnels().at("a").ikes.empty());
}

TEST_CASE("ike: a report about an IKE SA that is being set up says why its attempt has failed") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.initiated(kIke);

  world.ike_failed(kIke, Reason::kNoProposalChosen);

  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kNoProposalChosen);
}
