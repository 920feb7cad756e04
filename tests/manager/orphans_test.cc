#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11}, kNext{0x22};
constexpr uint32_t kChild = 0xc1, kFresh = 0xd1;

using Texts = std::vector<std::string>;

policy::PolicyConfig foreign_policy() {
  policy::PolicyConfig policy;
  policy.key.source = policy.key.destination = IpPrefix::parse("172.16.0.0/12").value();
  return policy;
}

policy::SaKey foreign_sa() { return {IpAddress::parse("203.0.113.9").value(), policy::ChildSpi(0xbeef)}; }

/// A tunnel that was up when its daemon was killed.
struct Killed : ManagerWorld {
  explicit Killed(const TunnelText& before = {}) {
    ManagerWorld::start({before});
    identity(kIke);
    install(kIke, kChild);
    kernel.put_foreign("pub", foreign_sa());
    kernel.put_foreign("pub", foreign_policy());
    stood = kernel.ours();
    foreign = kernel.foreign();
    if_id = manager->tunnels().at("a").if_id;
    reqid = manager->tunnels().at("a").children.at("lan").ids.reqid;
    kernel.forget_texts();
  }
  agent::Leftovers start_again(const TunnelText& after = {}) {
    agent::Leftovers taken = restart({after});
    manager->look_after(now, {"pub", "priv"});
    for (int i = 0; i < 5; ++i) run();
    return taken;
  }
  size_t orphans() const { return manager->orphans().sas(); }
  bool differs() {
    bool any = !differences().empty();
    for (const agent::NamespaceDrift& each : drift_now(*manager, now)) any = any || policy::has_drift(*each.rows);
    return any;
  }
  void come_up(uint32_t child = kFresh) {
    identity(kNext);
    install(kNext, child);
  }
  std::string last_cause() const {
    for (const Event& each : events_of(Reason::kOrphansGone))
      for (const Field& field : each.fields)
        if (field.name == "because") return field.value;
    return "";
  }
  Texts stood, foreign;
  uint32_t if_id = 0, reqid = 0;
};

}  // namespace

TEST_CASE("orphans: after a kill everything of a tunnel that is still configured stays as it stands") {
  Killed world;

  const agent::Leftovers taken = world.start_again();

  CHECK(taken.removed == 0);
  CHECK(taken.failed.empty());
  CHECK(world.orphans() == 2);
  CHECK(world.kernel.ours() == world.stood);
  CHECK(world.kernel.foreign() == world.foreign);
  CHECK_FALSE(world.differs());
  const auto events = world.events_of(Reason::kOrphansKept);
  REQUIRE(events.size() == 1);
  CHECK(events[0].object == "tunnel/a");
}

TEST_CASE("orphans: a tunnel keeps its numbers, and no other tunnel gets them") {
  Killed world;

  world.restart({{.name = "0", .remote = "198.51.100.8", .selector = "10.3.0.0/16"},
                 {},
                 {.name = "b", .remote = "198.51.100.9", .selector = "10.4.0.0/16"}});

  const auto& tunnels = world.manager->tunnels();
  CHECK(tunnels.at("a").if_id == world.if_id);
  CHECK(tunnels.at("a").children.at("lan").ids.reqid == world.reqid);
  CHECK(tunnels.at("0").if_id > world.if_id);
  CHECK(tunnels.at("b").if_id > tunnels.at("0").if_id);
  CHECK(tunnels.at("0").children.at("lan").ids.reqid > world.reqid);
}

TEST_CASE("orphans: new SAs of the child take their place without a moment in which a policy or route is missing") {
  for (const char* start : {"now", "traffic", "respond"}) {
    CAPTURE(start);
    Killed world({.start = start});
    world.start_again({.start = start});
    world.kernel.forget_texts();

    world.come_up();

    for (const std::string& text : world.kernel.texts()) {
      CAPTURE(text);
      CHECK_FALSE(text.starts_with("delete-policy"));
      CHECK_FALSE(text.starts_with("delete-route"));
      CHECK_FALSE(text.starts_with("update-policy"));
    }
    CHECK(world.orphans() == 1);  // what is on its way is still received
    CHECK_FALSE(world.differs());
    REQUIRE(world.events_of(Reason::kOrphansReplaced).size() == 1);

    world.pass(3s);

    CHECK(world.orphans() == 0);
    CHECK(world.pub().sas.size() == 3);  // two of ours, one foreign
    CHECK_FALSE(world.differs());
    CHECK(world.kernel.foreign() == world.foreign);
    CHECK(world.state() == "up");
  }
}

TEST_CASE("orphans: a tunnel that waits for traffic is initiated at once, and again, for no packet asks for it") {
  Killed world({.start = "traffic"});

  world.start_again({.start = "traffic"});

  REQUIRE(world.workers.initiations.size() == 1);
  CHECK_FALSE(world.workers.initiations[0].trigger);
  world.initiated(kNext);
  world.ike_failed(kNext, Reason::kSetupTimeout);
  world.pass(60s);
  CHECK(world.workers.initiations.size() == 2);
}

TEST_CASE("orphans: one that the peer has to bring up is left to it") {
  Killed world;
  world.start_again();
  CHECK(world.workers.initiations.empty());
}

TEST_CASE("orphans: they go at the end of the grace, told with the reason, and traffic asks again") {
  Killed world({.start = "traffic"});
  world.start_again({.start = "traffic"});

  world.pass(9min);
  CHECK(world.orphans() == 2);
  world.pass(2min);

  CHECK(world.orphans() == 0);
  CHECK(world.pub().sas.size() == 1);
  CHECK(world.events_of(Reason::kOrphansGraceEnded).size() == 1);
  CHECK_FALSE(world.differs());
  CHECK(world.kernel.foreign() == world.foreign);
  CHECK(world.pub().policies.size() == 2);  // the trap, and the foreign one
}

TEST_CASE("orphans: without a grace nothing stays but what is foreign") {
  Killed world;
  world.orphan_grace = Duration{0};

  const agent::Leftovers taken = world.start_again();

  CHECK(taken.removed >= 6);
  CHECK(world.orphans() == 0);
  CHECK(world.pub().sas.size() == 1);
  CHECK(world.pub().policies.size() == 1);
  CHECK(world.kernel.foreign() == world.foreign);
  CHECK_FALSE(world.differs());
}

TEST_CASE("orphans: what fits no tunnel any more goes at once") {
  Killed world;
  TunnelText after;
  SUBCASE("another name") { after.name = "z"; }
  SUBCASE("other selectors") { after.selector = "10.9.0.0/16"; }
  SUBCASE("another peer") { after.remote = "198.51.100.77"; }

  world.restart({after});

  CHECK(world.orphans() == 0);
  CHECK(world.pub().sas.size() == 1);
  CHECK(world.pub().policies.size() == 1);
  CHECK(world.priv().routes.empty());
  CHECK(world.kernel.foreign() == world.foreign);
  CHECK(world.differences().empty());
}

TEST_CASE("orphans: selectors that were narrowed still fit, and so do ones that are allowed by more now") {
  Killed world({.selector = "10.2.0.0/16"});

  world.start_again({.selector = "10.2.0.0/15"});

  CHECK(world.orphans() == 2);
  CHECK_FALSE(world.differs());
  world.come_up();
  world.pass(3s);
  CHECK_FALSE(world.differs());
}

TEST_CASE("orphans: each child of a tunnel has its own") {
  Killed world({.more = {{"net", "10.5.0.0/16"}}});
  world.inbound({.ike = kIke, .id = 0xc2, .child = "net"});
  world.outbound({.ike = kIke, .id = 0xc2, .child = "net"});
  const TunnelText both{.more = {{"net", "10.5.0.0/16"}}};
  world.start_again(both);
  REQUIRE(world.orphans() == 4);

  world.come_up();
  world.pass(3s);

  CHECK(world.orphans() == 2);
  CHECK(world.manager->orphans().children().begin()->second.child.child == "net");
  CHECK_FALSE(world.differs());
}

TEST_CASE("orphans: of two pairs in the middle of a rekey both stay and both go") {
  Killed world;
  world.inbound({.ike = kIke, .id = 0xc2, .replaces = kChild});
  world.outbound({.ike = kIke, .id = 0xc2, .replaces = kChild});
  world.start_again();
  CHECK(world.orphans() == 4);
  CHECK_FALSE(world.differs());

  world.come_up();
  world.pass(3s);

  CHECK(world.orphans() == 0);
  CHECK(world.pub().sas.size() == 3);
  CHECK_FALSE(world.differs());
}

TEST_CASE("orphans: one that the kernel ends or somebody takes out is not made again") {
  Killed world;
  world.start_again();
  const policy::SaKey inbound = world.manager->orphans().children().begin()->second.child.inbound.begin()->first;
  const policy::SaKey outbound = world.manager->orphans().children().begin()->second.child.outbound.begin()->first;

  SUBCASE("the hard lifetime") {
    world.pub().sas.erase(outbound);
    world.kernel.emit(policy::SaExpired{.netns = "pub", .key = outbound, .hard = true});
    world.run();
    CHECK(world.orphans() == 1);
    world.pub().sas.erase(inbound);
    world.kernel.emit(policy::SaExpired{.netns = "pub", .key = inbound, .hard = true});
    world.run();
    CHECK(world.last_cause() == "kernel-expired");
  }
  SUBCASE("a flush") {
    std::erase_if(world.pub().sas, [](const auto& each) { return each.second.maker == Maker::kOurs; });
    world.kernel.emit(policy::SaRemoved{.netns = "pub", .key = {}});
    world.pass(2s);
    CHECK(world.last_cause() == "sa-lost");
  }
  world.pass(2s);
  CHECK(world.orphans() == 0);
  CHECK(world.kernel.count<policy::AddSa>() == 2);
  CHECK(world.workers.rekeys.empty());
  CHECK_FALSE(world.differs());
  CHECK(world.pub().policies.size() == 1);
}

TEST_CASE("orphans: a soft limit and an acquire do them no harm") {
  Killed world({.start = "traffic"});
  world.start_again({.start = "traffic"});
  const policy::SaKey key = world.manager->orphans().children().begin()->second.child.outbound.begin()->first;

  world.kernel.emit(policy::SaExpired{.netns = "pub", .key = key, .hard = false, .bytes = 1, .packets = 1});
  world.kernel.emit(world.acquire_for());
  world.run();

  CHECK(world.orphans() == 2);
  CHECK(world.workers.rekeys.empty());
  CHECK(world.workers.initiations.size() == 1);
}

TEST_CASE("orphans: an operator who takes the tunnel down means them too") {
  Killed world;
  world.start_again();

  world.manager->down(world.now, "a", "", [](const Status&) {});
  world.run();

  CHECK(world.orphans() == 0);
  CHECK(world.last_cause() == "deleted-by-operator");
  CHECK(world.pub().sas.size() == 1);
  CHECK_FALSE(world.differs());
}

TEST_CASE("orphans: a tunnel that leaves the configuration takes them along, and so does an orderly end") {
  Killed world;
  world.start_again();

  SUBCASE("the configuration") {
    world.reconfigure({{.name = "b", .remote = "198.51.100.9", .selector = "10.4.0.0/16"}});
    CHECK(world.last_cause() == "config-applied");
    CHECK(world.differences().empty());
  }
  SUBCASE("the end") {
    world.manager->begin_shutdown();
    world.manager->remove_all();
    CHECK(world.kernel.ours().empty());
  }
  CHECK(world.orphans() == 0);
  CHECK(world.pub().sas.size() == 1);
  CHECK(world.kernel.foreign() == world.foreign);
}

TEST_CASE("orphans: a peer that chooses the SPI of one again gets its new SA") {
  Killed world;
  world.start_again();

  world.come_up(kChild + 0x100);  // for a start: another SPI in both directions
  world.pass(3s);
  REQUIRE(world.state() == "up");
  Killed again;
  again.start_again();
  again.spi_out_offset = 0x1000 + kChild - kFresh;  // the peer's SPI is the old one, ours is fresh
  again.come_up();

  CHECK(again.state() == "up");
  again.pass(3s);
  CHECK(again.pub().sas.size() == 3);
  CHECK_FALSE(again.differs());
}

TEST_CASE("orphans: a second kill before the tunnel is up again changes nothing") {
  Killed world;
  for (int i = 0; i < 3; ++i) {
    world.start_again();
    CHECK(world.orphans() == 2);
    CHECK(world.kernel.ours() == world.stood);
  }
  CHECK(world.manager->tunnels().at("a").if_id == world.if_id);
}

TEST_CASE("orphans: while the VRF is away the SAs wait, and the tunnel begins when it is back") {
  Killed world({.start = "now"});
  world.kernel.remove_vrf("priv", "red");

  world.start_again({.start = "now"});

  CHECK(world.orphans() == 2);
  CHECK(world.workers.initiations.empty());
}

TEST_CASE("orphans: what waits for traffic does not take the policies of SAs on the NIC off it") {
  for (const bool by_policy : {false, true}) {
    CAPTURE(by_policy);
    ManagerWorld world("packet");
    if (by_policy) world.group = R"("attachment": "policy")";
    world.pub().devices["ens1"] = {.capability = FakeKernel::Capability::kPacket};
    world.start({{.start = "traffic"}});
    world.identity(kIke);
    world.install(kIke, kChild);
    const auto before = world.kernel.ours();
    world.kernel.forget_texts();

    world.restart({{.start = "traffic"}});

    CHECK(world.manager->orphans().sas() == 2);
    CHECK(world.kernel.ours() == before);
    for (const std::string& text : world.kernel.texts()) {
      CHECK_FALSE(text.starts_with("update-policy"));
      CHECK_FALSE(text.starts_with("delete-policy"));
    }
    CHECK(world.differences().empty());
    world.pass(11min);  // nobody came for them
    CHECK(world.differences().empty());
  }
}
