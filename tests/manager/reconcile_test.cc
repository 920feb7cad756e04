#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11};
constexpr uint32_t kChild = 0xc1;

/// A tunnel that is up, both its namespaces looked after, and nothing to be done.
struct Settled : ManagerWorld {
  explicit Settled(const std::string& start = "respond") {
    ManagerWorld::start({{.start = start}});
    identity(kIke);
    install(kIke, kChild);
    settle();
  }
  void settle() {
    manager->look_after(now, {"pub", "priv"});
    for (int i = 0; i < 5; ++i) run();
    before = kernel.ours();
    pass(2s);
    REQUIRE(differences().empty());
  }
  policy::SaKey in_key() const { return manager->installer().children().at(ike::ChildId(kChild))->plan.inbound.key; }
  policy::SaKey out_key() const { return manager->installer().children().at(ike::ChildId(kChild))->plan.outbound.key; }
  void tell(policy::KernelEvent event) {
    kernel.emit(std::move(event));
    run();
  }
  std::vector<std::string> rows() {
    std::vector<std::string> lines;
    for (const agent::NamespaceDrift& each : drift_now(*manager, now))
      for (const policy::DriftRow& row : *each.rows)
        lines.push_back(row.netns + " " + row.kind + " " + std::string(policy::to_string(row.verdict)));
    return lines;
  }
  std::vector<std::string> before;
};

policy::PolicyConfig foreign_policy() {
  policy::PolicyConfig policy;
  policy.key.source = policy.key.destination = IpPrefix::parse("172.16.0.0/12").value();
  return policy;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("reconcile: policies that were flushed are back as soon as it is told, counted and reported") {
  Settled world;
  const uint64_t counted = world.counters.get(Reason::kDriftMended);
  world.kernel.flush_policies("pub");
  REQUIRE(world.kernel.ours() != world.before);

  world.tell(policy::PolicyDisturbed{.netns = "pub", .key = {}});

  CHECK(world.kernel.ours() == world.before);
  CHECK(world.counters.get(Reason::kDriftMended) - counted == 3);
  const auto events = world.events_of(Reason::kReconciled);
  REQUIRE(events.size() == 1);
  CHECK(events[0].object == "netns/pub");
  CHECK(world.state() == "up");
}

TEST_CASE("reconcile: a link that was deleted is made anew with its routes, and the tunnel stays up") {
  Settled world;
  const std::string link = world.manager->tunnels().at("a").interface;
  world.priv().links.clear();
  world.priv().routes.clear();

  world.tell(policy::LinkChanged{.netns = "priv", .name = link, .gone = true});

  CHECK(world.kernel.ours() == world.before);
  CHECK(world.workers.closed_children.empty());
  CHECK(world.state() == "up");
}

TEST_CASE("reconcile: a route that was removed is back; removals of others' routes cause no read") {
  Settled world;
  const auto route = world.priv().routes.begin()->second.config;
  world.priv().routes.clear();
  world.tell(policy::RouteRemoved{.netns = "priv", .destination = route.destination, .metric = route.metric});
  CHECK(world.kernel.ours() == world.before);

  world.pass(5s);
  const size_t reads = world.kernel.reads();
  world.tell(policy::RouteRemoved{.netns = "priv", .destination = foreign_policy().key.source, .metric = 0});
  world.tell(policy::LinkChanged{.netns = "priv", .name = "eth7", .gone = true});
  world.pass(5s);
  CHECK(world.kernel.reads() == reads);
}

TEST_CASE("reconcile: one object that somebody removed is put back by its key, at once and without a complete read") {
  Settled world;
  world.pass(5s);
  const auto policy = world.pub().policies.begin()->first;
  const auto route = world.priv().routes.begin()->second.config;
  const size_t reads = world.kernel.reads();

  world.pub().policies.erase(policy);
  world.tell(policy::PolicyDisturbed{.netns = "pub", .key = policy});
  CHECK(world.kernel.ours() == world.before);
  world.priv().routes.clear();
  world.tell(policy::RouteRemoved{.netns = "priv", .destination = route.destination, .metric = route.metric});
  CHECK(world.kernel.ours() == world.before);
  CHECK(world.kernel.reads() == reads);

  world.pass(5s);
  CHECK(world.kernel.reads() > reads);  // which confirms it
  CHECK(world.events_of(Reason::kReconciled).size() == 2);
}

TEST_CASE(
    "reconcile: an SA that somebody removed is replaced by its key; who removes policies one by one gains no reads") {
  Settled world;
  world.pass(5s);
  const size_t reads = world.kernel.reads();

  world.pub().sas.erase(world.out_key());
  world.tell(policy::SaRemoved{.netns = "pub", .key = world.out_key()});
  CHECK(world.workers.rekeys.size() == 1);
  CHECK(world.kernel.reads() == reads);

  const auto policy = world.pub().policies.begin()->first;
  for (int i = 0; i < 50; ++i) {
    world.pub().policies.erase(policy);
    world.tell(policy::PolicyDisturbed{.netns = "pub", .key = policy});
    CHECK(world.pub().policies.contains(policy));
  }
  CHECK(world.kernel.reads() == reads);
}

TEST_CASE("reconcile: our own operations cause no read, however many there are") {
  Settled world;
  const size_t reads = world.kernel.reads();
  for (uint32_t i = 1; i <= 20; ++i) {
    const uint32_t old = kChild + i - 1, fresh = kChild + i;
    world.inbound({.ike = kIke, .id = fresh, .replaces = old});
    world.outbound({.ike = kIke, .id = fresh, .replaces = old});
    world.stop_outbound({.ike = kIke, .id = old});
    world.remove({.ike = kIke, .id = old}, Reason::kChildRekeyed);
    world.pass(1s);
  }
  CHECK(world.kernel.reads() == reads);
}

TEST_CASE("reconcile: what nobody told of is found by the audit") {
  Settled world;
  world.kernel.flush_policies("pub");
  world.pass(30s);
  REQUIRE(world.kernel.ours() != world.before);
  for (int i = 0; i < 60; ++i) world.pass(1s);
  CHECK(world.kernel.ours() == world.before);
}

TEST_CASE("reconcile: a VRF that goes is waited for, said once, and refilled when it is back") {
  Settled world;
  world.kernel.remove_vrf("priv", "red");
  world.tell(policy::LinkChanged{.netns = "priv", .name = "red", .gone = true});
  for (int i = 0; i < 60; ++i) world.pass(500ms);
  const auto waiting = world.events_of(Reason::kReconcileWaiting);
  CHECK(waiting.size() == 1);
  CHECK(!world.priv().links.begin()->second.config.up);  // nothing gets out of it into another table
  CHECK(world.state() == "up");

  world.priv().vrfs.insert("red");
  world.tell(policy::LinkChanged{.netns = "priv", .name = "red", .up = true});

  world.pass(50ms);
  CHECK(world.kernel.ours() == world.before);
}

TEST_CASE("reconcile: a private namespace that goes and comes back empty is refilled, and the SAs live on") {
  Settled world;
  world.kernel.remove_namespace("priv");
  world.tell(policy::NamespaceGone{"priv"});
  for (int i = 0; i < 10; ++i) world.pass(1s);
  CHECK(world.events_of(Reason::kReconcileWaiting).size() == 1);
  CHECK(world.state() == "up");
  const auto drift = drift_now(*world.manager, world.now, "priv");
  REQUIRE(drift.size() == 1);
  CHECK(drift[0].state == policy::Reconciler::State::kAwaiting);
  CHECK(drift[0].obstacle->reason() == Reason::kNamespaceMissing);
  CHECK(drift[0].rows->size() == 2);

  world.kernel.add_namespace("priv").vrfs.insert("red");
  world.tell(policy::ResyncNeeded{"priv"});
  world.pass(50ms);

  CHECK(world.kernel.ours() == world.before);
  CHECK(world.workers.closed_children.empty());
}

TEST_CASE("reconcile: a tunnel whose VRF is missing at the start begins when the VRF is there") {
  ManagerWorld world;
  world.priv().vrfs.clear();
  world.start({{.start = "now"}});
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  CHECK(world.workers.initiations.empty());

  world.priv().vrfs.insert("red");
  world.kernel.emit(policy::LinkChanged{.netns = "priv", .name = "red", .up = true});
  world.run();
  world.pass(50ms);

  CHECK(world.manager->tunnels().at("a").link_ready);
  CHECK(world.workers.initiations.size() == 1);
}

TEST_CASE("reconcile: an SA that is gone is replaced by a rekey, asked for once per child, and again after a while") {
  Settled world;
  world.kernel.flush_sas("pub");
  world.tell(policy::SaRemoved{.netns = "pub", .key = {}});
  REQUIRE(world.workers.rekeys.size() == 1);
  CHECK(world.workers.rekeys[0].child == ike::ChildId(kChild));
  CHECK(world.workers.rekeys[0].ike == kIke);
  CHECK(world.workers.rekeys[0].reason == Reason::kSaLost);
  CHECK(world.counters.get(Reason::kSaLost) >= 1);
  world.pass(1s);
  CHECK(world.workers.rekeys.size() == 1);

  // IKE answers: another child takes its place, and all is well again.
  world.inbound({.ike = kIke, .id = 0xc2, .replaces = kChild});
  world.outbound({.ike = kIke, .id = 0xc2, .replaces = kChild});
  world.stop_outbound({.ike = kIke, .id = kChild});
  world.remove({.ike = kIke, .id = kChild}, Reason::kChildRekeyed);
  for (int i = 0; i < 120; ++i) world.pass(1s);
  CHECK(world.workers.rekeys.size() == 1);
  CHECK(world.workers.closed_children.empty());
  CHECK(world.state() == "up");
  CHECK(world.differences().empty());
}

TEST_CASE("reconcile: a child whose lost SAs no rekey replaces is ended, so that it is set up anew") {
  Settled world;
  world.pub().sas.erase(world.out_key());
  world.tell(policy::SaRemoved{.netns = "pub", .key = world.out_key()});
  for (int i = 0; i < 40 && world.workers.closed_children.empty(); ++i) world.pass(1s);
  CHECK(world.workers.rekeys.size() == 3);
  REQUIRE(world.workers.closed_children.size() == 1);
  CHECK(world.workers.closed_children[0].reason == Reason::kSaLost);
}

TEST_CASE("reconcile: where rekeying is off, a child with a lost SA is ended at once") {
  ManagerWorld other;
  other.adjust = [](policy::IkePolicy&, policy::ChildPolicy& child) { child.rekey.enabled = false; };
  other.start({{.start = "respond"}});
  other.identity(kIke);
  other.install(kIke, kChild);
  other.manager->look_after(other.now, {"pub"});
  other.run();
  other.kernel.flush_sas("pub");
  other.kernel.emit(policy::SaRemoved{.netns = "pub", .key = {}});
  other.run();
  other.pass(50ms);
  CHECK(other.workers.rekeys.empty());
  CHECK(other.workers.closed_children.size() == 1);
}

TEST_CASE("reconcile: a packet that asks for an SA that is up shows that the SA is gone") {
  Settled world("traffic");
  world.pub().sas.erase(world.out_key());
  world.tell(world.acquire_for());
  CHECK(world.workers.rekeys.size() == 1);
}

TEST_CASE("reconcile: an acquire whose event was lost is found in the kernel, and raises its tunnel") {
  ManagerWorld world;
  world.start({{.start = "traffic"}});
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  world.pass(2s);
  REQUIRE(world.workers.initiations.empty());
  const agent::TunnelRow& row = world.manager->tunnels().at("a");
  FakeKernel::Sa pending{.state = {}, .config = {}, .maker = ipsec::testing::Maker::kForeign};
  pending.state.key = {.destination = *row.tunnel->remote, .spi = {}};
  pending.state.reqid = row.children.at("lan").ids.reqid;
  pending.state.if_id = row.if_id;
  pending.state.larval = true;
  world.kernel.in("pub").sas.emplace(policy::SaKey(pending.state.key), std::move(pending));

  world.kernel.emit(policy::ResyncNeeded{"pub"});
  world.run();
  world.pass(2s);

  CHECK(world.workers.initiations.size() == 1);
  CHECK(world.counters.get(Reason::kAcquireRecovered) == 1);
}

TEST_CASE("reconcile: a NIC that goes down drops its SAs without a word; they are replaced at once") {
  ManagerWorld world("packet");
  world.pub().devices["ens1"].capability = FakeKernel::Capability::kPacket;
  world.start({{.start = "respond"}});
  world.identity(kIke);
  world.install(kIke, kChild);
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  world.pass(2s);
  REQUIRE(world.workers.rekeys.empty());
  REQUIRE(world.manager->installer().children().begin()->second->outbound.kind == policy::OffloadKind::kPacket);
  std::erase_if(world.pub().sas, [](const auto& each) { return !each.second.state.offload_device.empty(); });

  world.kernel.emit(policy::LinkChanged{.netns = "pub", .name = "ens1", .up = false});
  world.run();

  CHECK(world.workers.rekeys.size() == 1);
}

TEST_CASE("reconcile: what is under way is neither extra nor missing") {
  Settled world;
  world.kernel.hold_answers();
  world.inbound({.ike = kIke, .id = 0xc2});
  REQUIRE(world.kernel.held() > 0);
  world.tell(policy::SaRemoved{.netns = "pub", .key = world.in_key()});
  world.pass(1s);
  CHECK(world.pub().sas.size() == 3);
  CHECK(world.workers.rekeys.empty());
  CHECK(std::ranges::count(world.rows(), "pub sa extra") == 0);
}

TEST_CASE("reconcile: a trap that a foreign policy keeps out is set when that is gone; meanwhile it is untouched") {
  ManagerWorld world;
  ManagerWorld model;
  model.start({{.start = "traffic"}});
  policy::PolicyConfig taken = model.pub().policies.begin()->second.config;
  taken.reqid = 99;
  world.kernel.put_foreign("pub", taken);
  world.start({{.start = "traffic"}});
  world.manager->look_after(world.now, {"pub", "priv"});
  for (int i = 0; i < 30; ++i) world.pass(1s);
  CHECK(world.pub().policies.begin()->second.config.reqid == 99);
  CHECK(world.events_of(Reason::kDriftStays).size() == 1);

  world.kernel.flush_policies("pub");
  for (int i = 0; i < 120; ++i) world.pass(1s);

  CHECK(world.kernel.ours() == model.kernel.ours());
}

TEST_CASE("drift: shows what is missing, changed, extra and foreign, and is empty of ours again after the next round") {
  Settled world;
  CHECK(world.rows().empty());
  world.kernel.put_foreign("pub", foreign_policy());
  world.pub().policies.erase(world.pub().policies.begin());
  world.priv().links.begin()->second.config.mtu = 1280;
  policy::RouteConfig extra = world.priv().routes.begin()->second.config;
  extra.metric = 7;
  world.priv().routes[{extra.vrf, extra.destination, extra.metric}] = {extra};

  CHECK(world.rows() == Lines{"priv link changed", "priv route extra", "pub policy missing", "pub policy foreign"});
  CHECK(drift_now(*world.manager, world.now, "elsewhere").empty());
  world.pass(50ms);
  world.pass(1s);

  CHECK(world.rows() == Lines{"pub policy foreign"});
  CHECK(world.kernel.ours() == world.before);
}

TEST_CASE("reconcile: after a flush of thousands the sum is reported, and not each object") {
  ManagerWorld world;
  std::vector<TunnelText> tunnels;
  for (int i = 0; i < 100; ++i)
    tunnels.push_back({.name = "t" + std::to_string(i),
                       .remote = "198.51.100." + std::to_string(i + 1),
                       .selector = "10." + std::to_string(i + 100) + ".0.0/16",
                       .start = "traffic"});
  world.start(tunnels);
  world.manager->look_after(world.now, {"pub", "priv"});
  world.run();
  const auto before = world.kernel.ours();
  world.kernel.flush_policies("pub");
  world.kernel.emit(policy::PolicyDisturbed{.netns = "pub", .key = {}});
  world.pass(1s);

  CHECK(world.kernel.ours() == before);
  CHECK(world.counters.get(Reason::kDriftMended) == 100);
  CHECK(world.events_of(Reason::kDriftMended).size() == 32);
  REQUIRE(world.events_of(Reason::kReconciled).size() == 1);
}

TEST_CASE("reconcile: the daemon that ends puts nothing back") {
  Settled world;
  world.manager->begin_shutdown();
  world.kernel.flush_policies("pub");
  world.tell(policy::PolicyDisturbed{.netns = "pub", .key = {}});
  world.tell(policy::ResyncNeeded{.netns = "pub"});
  world.pass(100s);
  CHECK(world.pub().policies.empty());
  world.manager->remove_all();
  world.tell(policy::ResyncNeeded{.netns = "priv"});  // the end of thousands of interfaces overruns the events
  world.pass(100s);
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("reconcile: with its public namespace a tunnel is down, and whoever has sockets there is told") {
  Settled world;
  world.tell(policy::NamespaceGone{.netns = "priv"});
  CHECK(world.workers.closed_ikes.empty());

  world.tell(policy::NamespaceGone{.netns = "pub"});

  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].reason == Reason::kNamespaceMissing);
  CHECK(world.workers.closed_ikes[0].mode == ike::CloseMode::kSilently);
  world.tell(policy::ResyncNeeded{.netns = "pub"});
  CHECK(world.heard == Lines{"priv gone", "pub gone", "pub present"});
}

TEST_CASE("reconcile: an address or a link that comes is told to whoever waits for it with a socket") {
  Settled world;
  world.heard.clear();
  world.tell(policy::AddressAdded{.netns = "pub", .address = *IpAddress::parse("192.0.2.9")});
  world.tell(policy::LinkChanged{.netns = "pub", .name = "wan", .up = true});
  world.tell(policy::LinkChanged{.netns = "pub", .name = "wan", .up = false});
  CHECK(world.heard == Lines{"pub present", "pub present"});
}
