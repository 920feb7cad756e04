#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/engine_world.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

struct UpWorld : World {
  explicit UpWorld(const World::Options& options = {}) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
    traffic = true;
  }
};

ChildId only_child(const Host& host) {
  REQUIRE(host.inbound.size() == 1);
  return ChildId(host.inbound.begin()->first);
}

void rekey_child(World& world, Host& host) {
  host.engine().rekey_child(world.now, host.ike(), only_child(host), Reason::kRekeyTime);
}
void rekey_ike(World& world, Host& host) { host.engine().rekey_ike(world.now, host.ike(), Reason::kRekeyTime); }

template <typename Test>
void in_both_modes(Test test) {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    CAPTURE(static_cast<int>(handover));
    test(handover);
  }
}

constexpr auto kLifetime = std::chrono::hours(1);

}  // namespace

TEST_CASE("rekey: a child is replaced by either side, the new one before the old one goes, and no packet is lost") {
  LEDGER("2.8.1-02");
  in_both_modes([](Handover handover) {
    for (bool by_a : {true, false}) {
      CAPTURE(by_a);
      UpWorld world({.handover = handover});
      const auto before = world.a.inbound_spis();
      // HDR, SK {N(REKEY_SA), SA, Ni, TSi, TSr} -->  <-- HDR, SK {SA, Nr, TSi, TSr}
      // HDR, SK {D} -->                              <-- HDR, SK {D}
      rekey_child(world, by_a ? world.a : world.b);
      world.deliver_all();

      CHECK(world.a.inbound.size() == 2);  // the old one lingers for what is on its way
      CHECK(world.a.outbound.size() == 1);
      CHECK(world.b.outbound.size() == 1);
      CHECK(world.settles());
      CHECK(world.a.inbound_spis().size() == 1);
      CHECK(world.a.inbound_spis() != before);
      CHECK(world.packets_lost == 0);
      CHECK((by_a ? world.a : world.b).reported(Reason::kChildRekeyed));
    }
  });
}

TEST_CASE("rekey: the responder uses the new child only when the peer does, or deletes the old one") {
  UpWorld world;
  world.traffic = false;
  rekey_child(world, world.a);
  world.collect();
  world.deliver_one();  // the request

  CHECK(world.b.inbound.size() == 2);
  CHECK(world.b.outbound.size() == 1);
  REQUIRE(world.b.watched.size() == 1);
  const uint32_t old = world.b.sends_on("lan");

  SUBCASE("traffic on the new one") {
    const WatchInbound watched = world.b.watched.front();
    world.b.engine().inbound_used(world.now, watched.ike, watched.child);
    world.b.engine().inbound_used(world.now, watched.ike, watched.child);
  }
  SUBCASE("the Delete of the old one") {
    world.deliver_one();  // the response; a deletes the old child
    world.deliver_one();
  }
  SUBCASE("neither: a guard timer, and then it is b that deletes the old one") {
    world.lose = [](const Flight&) { return true; };
    world.deliver_all();
    for (int i = 0; i < 40 && world.b.sends_on("lan") == old; ++i) world.b.engine().tick(world.now = world.now + 5s);
  }
  world.collect();
  CHECK(world.b.sends_on("lan") != old);
  CHECK(world.b.watched.empty());
}

TEST_CASE("rekey: with PFS every rekey has a key exchange of its own, and the group may be corrected") {
  LEDGER("1.3-01");
  in_both_modes([](Handover handover) {
    for (const char* b : {"aes256gcm16-x25519", "aes256gcm16-ecp256", "aes256gcm16-modp2048"}) {
      CAPTURE(b);
      UpWorld world({.handover = handover,
                     .esp_proposals_a = "aes256gcm16-x25519-ecp256-modp2048",
                     .esp_proposals_b = b,
                     .pfs_a = true,
                     .pfs_b = true});
      rekey_child(world, world.a);
      CHECK(world.settles());
      rekey_child(world, world.b);
      CHECK(world.settles());
      CHECK(world.packets_lost == 0);
    }
  });
}

TEST_CASE("rekey: a peer that wants PFS gets it from one that says nothing about it") {
  UpWorld world({.esp_proposals_a = "aes256gcm16-x25519", .pfs_a = true, .pfs_if_wanted = true});
  const auto before = world.a.inbound_spis();
  rekey_child(world, world.a);
  world.run_for(20s);
  CHECK_FALSE(world.b.reported(Reason::kPfsMismatch));
  CHECK_FALSE(world.a.reported(Reason::kRekeyFailed));
  CHECK(world.a.inbound_spis() != before);
  CHECK(world.is_up_and_equal());
}

TEST_CASE("rekey: where PFS is required, a rekey without it is refused as such") {
  UpWorld world({.esp_proposals_a = "aes256gcm16",
                 .esp_proposals_b = "aes256gcm16-x25519",
                 .pfs_b = true,
                 .pfs_required_b = true});
  const auto before = world.a.inbound_spis();
  rekey_child(world, world.a);
  world.run_for(20s);
  CHECK(world.b.reported(Reason::kPfsRequired));
  CHECK_FALSE(world.b.reported(Reason::kPfsMismatch));
  CHECK(world.a.reported(Reason::kRekeyFailed));
  CHECK(world.a.inbound_spis() == before);
  CHECK(world.is_up_and_equal());
  // One that offers another group differs from it, but has one.
  UpWorld other({.esp_proposals_a = "aes256gcm16-ecp256",
                 .esp_proposals_b = "aes256gcm16-x25519",
                 .pfs_a = true,
                 .pfs_b = true,
                 .pfs_required_b = true});
  rekey_child(other, other.a);
  other.run_for(20s);
  CHECK(other.b.reported(Reason::kPfsMismatch));
  CHECK_FALSE(other.b.reported(Reason::kPfsRequired));
}

TEST_CASE("rekey: a PFS mismatch shows at the first rekey, is named, and the child stays until its lifetime ends") {
  LEDGER("1.3.1-03");
  for (bool a_wants : {true, false}) {
    UpWorld world({.esp_proposals_a = a_wants ? "aes256gcm16-x25519" : "aes256gcm16",
                   .esp_proposals_b = a_wants ? "aes256gcm16" : "aes256gcm16-x25519",
                   .pfs_a = a_wants,
                   .pfs_b = !a_wants});
    const auto before = world.a.inbound_spis();
    rekey_child(world, world.a);
    world.run_for(20s);

    CHECK(world.b.reported(Reason::kPfsMismatch));
    // What the manager settles those who wait by.
    const auto failed = std::ranges::find(world.a.reports, Reason::kRekeyFailed, &Report::reason);
    REQUIRE(failed != world.a.reports.end());
    const auto value = [&](std::string_view name) {
      const auto found = std::ranges::find(failed->fields, name, &Field::name);
      return found != failed->fields.end() ? found->value : std::string("missing");
    };
    CHECK(value("child") == "lan");
    CHECK(reason_from_code(value("because")));
    CHECK(world.a.inbound_spis() == before);
    CHECK(world.is_up_and_equal());
    const auto report = std::ranges::find(world.b.reports, Reason::kPfsMismatch, &Report::reason);
    REQUIRE(report->negotiation);
    CHECK(report->negotiation->about == policy::Negotiation::About::kChildProposal);
    world.run_for(kLifetime);
    CHECK(world.a.reported(Reason::kLifetimeEnded));
  }
}

TEST_CASE("rekey: children are rekeyed by themselves before their lifetime ends, again and again") {
  in_both_modes([](Handover handover) {
    UpWorld world({.handover = handover, .child_lifetime = 120s});
    auto last = world.a.inbound_spis();
    for (int i = 0; i < 5; ++i) {
      world.run_for(120s);
      CHECK(world.a.inbound_spis() != last);
      last = world.a.inbound_spis();
    }
    CHECK(world.settles());
    CHECK(world.packets_lost == 0);
    CHECK_FALSE(world.a.reported(Reason::kLifetimeEnded));
    CHECK_FALSE(world.b.reported(Reason::kLifetimeEnded));
  });
}

TEST_CASE("rekey: the IKE SA is replaced, its children go with it, and the old one is deleted") {
  LEDGER("2.18-01");
  in_both_modes([](Handover handover) {
    for (bool by_a : {true, false}) {
      CAPTURE(by_a);
      UpWorld world({.handover = handover});
      const auto children = world.a.inbound_spis();
      const IkeSaId old = world.a.ike();
      // HDR, SK {SA, Ni, KEi} -->  <-- HDR, SK {SA, Nr, KEr};  HDR, SK {D} -->  <-- HDR, SK {}
      rekey_ike(world, by_a ? world.a : world.b);
      world.deliver_all();

      CHECK(world.settles());
      CHECK(world.a.ike() != old);
      CHECK(world.a.inbound_spis() == children);
      CHECK(world.packets_lost == 0);
      REQUIRE(world.a.rekeyed.size() == 1);
      CHECK(world.a.rekeyed.front().children.size() == 1);
      // And the new one works: in both directions, for both sides.
      rekey_child(world, world.a);
      CHECK(world.settles());
      rekey_child(world, world.b);
      CHECK(world.settles());
      rekey_ike(world, world.b);
      CHECK(world.settles());
      CHECK(world.a.engine().ike_sas().size() == 1);
      CHECK(world.packets_lost == 0);
    }
  });
}

TEST_CASE("rekey: an IKE SA is rekeyed by itself before its lifetime ends") {
  UpWorld world({.ike_lifetime = 600s, .child_lifetime = 100s});
  IkeSaId last = world.a.ike();
  for (int i = 0; i < 4; ++i) {
    world.run_for(600s);
    CHECK(world.a.ike() != last);
    last = world.a.ike();
  }
  CHECK(world.settles());
  CHECK(world.packets_lost == 0);
}

TEST_CASE("rekey: an IKE SA whose group the peer would not guess is rekeyed after one more round trip") {
  UpWorld world({.ike_proposals_a = "aes256gcm16-prfsha384-x25519-ecp256",
                 .ike_proposals_b = "aes256gcm16-prfsha384-ecp256-x25519"});
  rekey_ike(world, world.a);
  CHECK(world.settles());
  rekey_ike(world, world.b);
  CHECK(world.settles());
  CHECK(world.a.engine().ike_sas().size() == 1);
}

TEST_CASE("rekey: an IKE SA keeps its PRF as long as both sides allow it, whatever they prefer") {
  UpWorld world({.ike_proposals_a = "aes256gcm16-aes128-sha256-prfsha512-prfsha256-x25519",
                 .ike_proposals_b = "aes128-aes256gcm16-sha256-prfsha256-prfsha512-x25519"});
  const auto proposal_of = [](const auto& node) {
    return node.engine().view(node.engine().ike_sas().front())->proposal;
  };
  REQUIRE(proposal_of(world.a) == "aes128-sha256-prfsha256-x25519");
  rekey_ike(world, world.b);
  CHECK(world.settles());
  REQUIRE(world.a.engine().ike_sas().size() == 1);
  CHECK(proposal_of(world.a) == "aes128-sha256-prfsha256-x25519");
}

TEST_CASE("rekey: the kernel refuses the new child, so the old one stays, and both sides know") {
  for (bool at_a : {true, false}) {
    UpWorld world;
    const auto before = world.a.inbound_spis();
    (at_a ? world.a : world.b).shell.refuse_install = Reason::kKernelRefused;
    rekey_child(world, world.a);
    world.deliver_all();
    CHECK(world.is_up_and_equal());
    CHECK(world.a.inbound_spis() == before);
    // Later it works, without anybody asking again.
    (at_a ? world.a : world.b).shell.refuse_install.reset();
    CHECK(world.settles());
    CHECK(world.a.inbound_spis() != before);
    CHECK(world.packets_lost == 0);
  }
}

TEST_CASE("rekey: a kernel that never answers does not block the IKE SA") {
  for (bool at_a : {true, false}) {
    UpWorld world;
    (at_a ? world.a : world.b).shell.never_install = true;
    rekey_child(world, world.a);
    world.run_for(25s);
    (at_a ? world.a : world.b).shell.never_install = false;
    world.run_for(60s);
    CHECK(world.settles());
    CHECK(world.packets_lost == 0);
  }
}

TEST_CASE("rekey: an idle child ends instead, where configured so") {
  UpWorld world({.child_lifetime = 100s, .idle = policy::IdleRekey::kEnd});
  world.traffic = false;
  world.run_for(110s);
  CHECK(world.a.inbound.empty());
  CHECK(world.b.inbound.empty());
  CHECK((world.a.reported(Reason::kIdleEnded) || world.b.reported(Reason::kIdleEnded)));
  CHECK(world.a.state() == "established");
}

TEST_CASE("rekey: a used child is rekeyed even where idle ones end") {
  UpWorld world({.child_lifetime = 100s, .idle = policy::IdleRekey::kEnd});
  for (Host* host : {&world.a, &world.b}) host->engine().child_used(world.now, host->ike(), only_child(*host));
  world.run_for(95s);
  CHECK(world.is_up_and_equal());
  CHECK((world.a.reported(Reason::kChildRekeyed) || world.b.reported(Reason::kChildRekeyed)));
}

TEST_CASE("children: a second one is added by either side, and both carry traffic") {
  in_both_modes([](Handover handover) {
    for (bool by_a : {true, false}) {
      UpWorld world({.handover = handover, .second_child = true});
      world.traffic = false;
      Host& adder = by_a ? world.a : world.b;
      // HDR, SK {SA, Ni, TSi, TSr} -->  <-- HDR, SK {SA, Nr, TSi, TSr}
      REQUIRE(adder.engine().create_child(world.now, adder.ike(), "dmz").ok());
      CHECK_FALSE(adder.engine().create_child(world.now, adder.ike(), "dmz").ok());
      world.deliver_all();
      CHECK(world.is_up_and_equal());
      CHECK(world.a.inbound.size() == 2);
      CHECK(world.a.sends_on("dmz") != 0);
      CHECK(world.b.sends_on("dmz") != 0);
    }
  });
}

TEST_CASE("children: one too many is refused, or takes the place of the oldest, as configured") {
  UpWorld refusing({.second_child = true, .children_max = 1});
  refusing.traffic = false;
  REQUIRE(refusing.a.engine().create_child(refusing.now, refusing.a.ike(), "dmz").ok());
  refusing.deliver_all();
  CHECK(refusing.is_up_and_equal());
  REQUIRE(refusing.a.failed.size() == 1);
  CHECK(refusing.a.failed.front().reason == Reason::kNoAdditionalSas);
  CHECK(refusing.b.reported(Reason::kChildLimit));

  UpWorld replacing({.second_child = true, .children_max = 1, .overload = policy::ChildOverload::kReplaceOldest});
  replacing.traffic = false;
  REQUIRE(replacing.a.engine().create_child(replacing.now, replacing.a.ike(), "dmz").ok());
  CHECK(replacing.settles());
  CHECK(replacing.a.inbound.size() == 1);
  CHECK(replacing.a.sends_on("dmz") != 0);
}

TEST_CASE("children: an IKE SA that ends tells of those that were still to be made") {
  UpWorld world({.second_child = true});
  world.traffic = false;
  REQUIRE(world.a.engine().create_child(world.now, world.a.ike(), "dmz").ok());
  world.a.engine().close_ike(world.now, world.a.ike(), Reason::kShutdown);
  world.run_for(60s);
  CHECK(world.a.state() == "none");
  CHECK(world.b.state() == "none");
  CHECK(world.a.failed.size() == 1);
  CHECK(world.a.inbound.empty());
  CHECK(world.b.inbound.empty());
}

TEST_CASE("rekey: an IKE SA that is closed while its rekey is under way ends on both sides, the new one too") {
  in_both_modes([](Handover handover) {
    for (int steps = 0; steps < 3; ++steps) {
      for (bool a_closes : {true, false}) {
        UpWorld world({.handover = handover});
        world.traffic = false;
        rekey_ike(world, world.a);
        world.collect();
        for (int i = 0; i < steps; ++i) world.deliver_one();
        Host& closer = a_closes ? world.a : world.b;
        closer.engine().close_ike(world.now, closer.ike(), Reason::kShutdown);
        world.run_for(300s);
        CAPTURE(steps);
        CAPTURE(a_closes);
        CHECK(world.a.state() == "none");
        CHECK(world.b.state() == "none");
        CHECK(world.a.inbound.empty());
        CHECK(world.b.outbound.empty());
      }
    }
  });
}
