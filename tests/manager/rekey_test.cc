#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;
using Target = agent::TunnelManager::RekeyTarget;

// Replacing children: the fresh one beside the old one, and nothing missing in between.

namespace {

constexpr ike::IkeSaId kIke{0x11};
const ChildShape kOld{.ike = kIke, .id = 0xc1}, kNew{.ike = kIke, .id = 0xc2, .replaces = 0xc1};

void up(ManagerWorld& world, const char* start = "traffic") {
  world.start({{.start = start}});
  world.identity(kIke);
  world.install(kIke, 0xc1);
  world.workers.answers.clear();
}

size_t announcements(const ManagerWorld& world) {
  return world.events_of(Reason::kTunnelUp).size() + world.events_of(Reason::kTunnelDown).size();
}

bool sends(ManagerWorld& world, uint32_t child) {
  return world.pub().sas.contains({*IpAddress::parse("198.51.100.7"), policy::ChildSpi(child + world.spi_out_offset)});
}
bool receives(ManagerWorld& world, uint32_t child) {
  return world.pub().sas.contains({*IpAddress::parse("192.0.2.1"), policy::ChildSpi(child)});
}

}  // namespace

TEST_CASE("rekey: the fresh child stands beside the old one; policies and routes are never touched") {
  ManagerWorld world;
  up(world);
  const size_t told = announcements(world);
  world.kernel.forget_texts();

  world.inbound(kNew);
  world.outbound(kNew);
  world.stop_outbound(kOld);
  world.remove(kOld, Reason::kChildRekeyed);

  CHECK(world.kernel.texts() == Texts{"add-sa in 0x000000c2 software", "add-sa out 0x000010c2 software",
                                      "delete-sa 0x000010c1", "delete-sa 0x000000c1"});
  CHECK(announcements(world) == told);
  CHECK(world.state() == "up");
  const auto& row = world.manager->tunnels().at("a").children.at("lan");
  CHECK(row.up == std::vector<ike::ChildId>{ike::ChildId(0xc2)});
  CHECK(world.differences().empty());
  for (const auto& [key, sa] : world.pub().sas) CHECK(sa.state.reqid == row.ids.reqid);
}

TEST_CASE("rekey: between StopOutbound and RemoveChild the old inbound SA still receives") {
  ManagerWorld world;
  up(world);
  world.inbound(kNew);
  world.outbound(kNew);
  CHECK(sends(world, 0xc1));

  world.stop_outbound(kOld);

  CHECK_FALSE(sends(world, 0xc1));
  CHECK(receives(world, 0xc1));
  CHECK(world.state() == "up");
  CHECK(world.differences().empty());
  world.remove(kOld, Reason::kChildRekeyed);
  CHECK_FALSE(receives(world, 0xc1));
}

TEST_CASE(
    "rekey: however late the kernel answers, the old child sends until the fresh one can, and nobody hears of it") {
  for (const char* offload : {"none", "auto"}) {
    for (size_t answered = 0; answered <= 12; ++answered) {
      CAPTURE(offload);
      CAPTURE(answered);
      ManagerWorld world(offload);
      world.pub().devices["ens1"] = {.capability = FakeKernel::Capability::kCrypto};
      up(world, "now");
      world.inbound(kNew);
      REQUIRE(world.last_answer() == "installed");
      const size_t told = announcements(world);
      world.kernel.hold_answers();

      world.outbound(kNew);
      world.stop_outbound(kOld);
      world.remove(kOld, Reason::kChildRekeyed);
      for (size_t i = 0; i < answered; ++i) {
        CHECK((sends(world, 0xc1) || sends(world, 0xc2)));
        CHECK(world.priv().routes.size() == 1);
        CHECK(world.state() == "up");
        world.kernel.release(1);
        world.run();
      }
      world.kernel.release_all();
      world.run();

      CHECK(sends(world, 0xc2));
      CHECK_FALSE(receives(world, 0xc1));
      CHECK(announcements(world) == told);
      CHECK(world.state() == "up");
      CHECK(world.differences().empty());
      CHECK(world.workers.initiations.size() == 1);
    }
  }
}

TEST_CASE("rekey: a fresh inbound half that the kernel refuses is refused to IKE, and the old child is not touched") {
  for (size_t position = 1; position <= 1; ++position) {
    for (int os_errno : {EEXIST, EINVAL, ENOMEM}) {
      ManagerWorld world;
      up(world);
      const Texts before = world.kernel.ours();
      world.kernel.fail(position, {.os_errno = os_errno});

      world.inbound(kNew);

      CHECK(world.last_answer() != "installed");
      CHECK(world.kernel.ours() == before);
      CHECK(world.state() == "up");
      CHECK(world.manager->ike_sas().at(kIke).children.size() == 1);
    }
  }
}

TEST_CASE("rekey: a fresh outbound half that fails closes the fresh child; the old one sends until it is removed") {
  for (const bool lost : {false, true}) {
    CAPTURE(lost);
    ManagerWorld world;
    up(world, "now");
    world.inbound(kNew);
    world.kernel.fail(1, lost ? FakeKernel::Fault{.lost = true} : FakeKernel::Fault{.os_errno = ENOMEM});

    world.outbound(kNew);
    world.stop_outbound(kOld);

    REQUIRE(world.workers.closed_children.size() == 1);
    CHECK(world.workers.closed_children[0].child == ike::ChildId(0xc2));
    CHECK(sends(world, 0xc1));
    CHECK(world.state() == "up");
    world.remove(kNew, Reason::kKernelRefused);
    CHECK(world.state() == "up");
    CHECK(world.events_of(Reason::kTunnelDown).empty());

    world.remove(kOld, Reason::kChildRekeyed);  // the engine had told the peer already
    CHECK(world.pub().sas.empty());
    CHECK(world.state() == "establishing");
    CHECK(world.events_of(Reason::kTunnelDown).size() == 1);
  }
}

TEST_CASE("rekey: an answer that never comes holds the old child only until the fresh one is given up") {
  ManagerWorld world;
  up(world);
  world.inbound(kNew);
  world.kernel.fail(1, {.unanswered = true});
  world.outbound(kNew);
  world.stop_outbound(kOld);
  world.remove(kOld, Reason::kChildRekeyed);
  CHECK(sends(world, 0xc1));
  CHECK(world.state() == "up");

  world.remove(kNew, Reason::kPeerUnreachable);

  CHECK_FALSE(sends(world, 0xc1));
  CHECK_FALSE(receives(world, 0xc1));
  CHECK(world.state() == "idle");
  CHECK(world.events_of(Reason::kTunnelDown).size() == 1);
}

TEST_CASE("rekey: whichever child is removed while the fresh one is being installed, nothing of it stays") {
  for (const bool removes_new : {false, true}) {
    for (size_t answered = 0; answered <= 4; ++answered) {
      CAPTURE(removes_new);
      CAPTURE(answered);
      ManagerWorld world;
      up(world);
      const Texts before = world.kernel.ours();
      world.kernel.hold_answers();
      world.inbound(kNew);
      world.outbound(kNew);
      for (size_t i = 0; i < answered; ++i) {
        world.kernel.release(1);
        world.run();
      }

      world.remove(removes_new ? kNew : kOld, Reason::kChildRekeyed);
      world.kernel.release_all();
      world.run();

      if (removes_new) CHECK(world.kernel.ours() == before);
      CHECK(world.state() == "up");
      CHECK(world.manager->kernel_idle());
      CHECK(world.differences().empty());
      world.remove(removes_new ? kOld : kNew, Reason::kDeletedByPeer);
      CHECK(world.pub().sas.empty());
      CHECK(world.state() == "idle");
      CHECK(world.events_of(Reason::kTunnelDown).size() == 1);
    }
  }
}

TEST_CASE("rekey: at the end everything goes, even what waits for a fresh child") {
  ManagerWorld world;
  up(world);
  world.inbound(kNew);
  world.kernel.hold_answers();
  world.outbound(kNew);
  world.remove(kOld, Reason::kChildRekeyed);

  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.kernel.release_all();
  world.run();

  CHECK(world.kernel.ours() == Texts{});
}

TEST_CASE("rekey: on the NIC, too, the fresh software inbound SA stands before the fresh outbound one") {
  ManagerWorld world("packet");
  world.pub().devices["ens1"] = {.capability = FakeKernel::Capability::kPacket};
  world.kernel.refuse_inbound_offload_with_if_id();
  up(world);
  world.kernel.forget_texts();

  world.inbound(kNew);
  world.outbound(kNew);
  world.stop_outbound(kOld);

  const Texts& texts = world.kernel.texts();
  auto at = [&](const std::string& text) { return std::find(texts.begin(), texts.end(), text) - texts.begin(); };
  CHECK(at("add-sa in 0x000000c2 software") < at("add-sa out 0x000010c2 packet ens1"));
  CHECK(at("add-sa out 0x000010c2 packet ens1") < at("delete-sa 0x000010c1"));
  CHECK(at("delete-sa 0x000010c1") < std::ssize(texts));
  CHECK(world.events_of(Reason::kOffloadEffective).size() == 1);  // placed as before: not told again
}

// ---- the responder's question

TEST_CASE("watch: the first packet on the fresh inbound SA is told once, within the interval") {
  ManagerWorld world;
  up(world);
  world.inbound(kNew);
  world.act(ike::WatchInbound{.ike = kIke, .child = ike::ChildId(0xc2)});
  world.pass(100ms);
  world.pass(100ms);
  CHECK(world.workers.used_inbound.empty());
  auto& sa = world.pub().sas.at({*IpAddress::parse("192.0.2.1"), policy::ChildSpi(0xc2)});
  sa.state.packets = 1;

  world.pass(99ms);
  CHECK(world.workers.used_inbound.empty());
  world.pass(1ms);

  REQUIRE(world.workers.used_inbound.size() == 1);
  CHECK(world.workers.used_inbound[0].child == ike::ChildId(0xc2));
  CHECK(world.workers.used_inbound[0].ike == kIke);
  CHECK(world.workers.used_inbound[0].worker == 1);
  const size_t reads = world.kernel.count<policy::ReadSa>();
  world.pass(5s);
  CHECK(world.kernel.count<policy::ReadSa>() == reads);
}

TEST_CASE("watch: looks are soon at first and seldom later") {
  ManagerWorld world;
  up(world);
  world.inbound(kNew);
  const size_t before = world.kernel.count<policy::ReadSa>();
  world.act(ike::WatchInbound{.ike = kIke, .child = ike::ChildId(0xc2)});

  for (int i = 0; i < 200; ++i) world.pass(10ms);
  CHECK(world.kernel.count<policy::ReadSa>() - before == 20);
  for (int i = 0; i < 200; ++i) world.pass(50ms);
  const size_t all = world.kernel.count<policy::ReadSa>() - before;
  CHECK(all >= 29);
  CHECK(all <= 33);
}

TEST_CASE("watch: InstallOutbound and RemoveChild end it") {
  for (const bool removed : {false, true}) {
    ManagerWorld world;
    up(world);
    world.inbound(kNew);
    world.act(ike::WatchInbound{.ike = kIke, .child = ike::ChildId(0xc2)});
    if (removed)
      world.remove(kNew, Reason::kChildRekeyed);
    else
      world.outbound(kNew);
    const size_t reads = world.kernel.count<policy::ReadSa>();
    world.pass(5s);
    CHECK(world.kernel.count<policy::ReadSa>() == reads);
  }
}

TEST_CASE("watch: of very many only a bounded number is read at a time, and all get their turn") {
  ManagerWorld world;
  up(world);
  for (uint32_t i = 0; i < 200; ++i) {
    world.inbound(ChildShape{.ike = kIke, .id = 0x200 + i, .replaces = 0xc1});
    world.act(ike::WatchInbound{.ike = kIke, .child = ike::ChildId(0x200 + i)});
  }
  for (auto& [key, sa] : world.pub().sas) sa.state.packets = 1;
  world.kernel.hold_answers();
  world.pass(100ms);
  CHECK(world.kernel.held() == 64);
  CHECK_FALSE(world.manager->next_deadline().has_value());
  world.kernel.release_all();
  for (int i = 0; i < 5; ++i) world.run();

  CHECK(world.workers.used_inbound.size() == 200);
}

// ---- what asks for rekeys

TEST_CASE("volume: the soft limits are told to the kernel; reaching one of them rekeys, a hard one closes") {
  for (const bool bytes : {true, false}) {
    CAPTURE(bytes);
    ManagerWorld world;
    world.adjust = [&](policy::IkePolicy&, policy::ChildPolicy& child) {
      child.lifetime_bytes = 1'000'000;
      child.lifetime_packets = 1000;
    };
    up(world);
    for (const auto& [key, sa] : world.pub().sas) {
      CHECK(sa.config.volume.hard_bytes == 1'000'000);
      CHECK(sa.config.volume.soft_bytes >= 800'000);
      CHECK(sa.config.volume.soft_bytes <= 900'000);
      CHECK(sa.config.volume.soft_packets < 1000);
    }
    const policy::SaKey key = world.manager->installer().children().begin()->second->plan.outbound.key;

    world.kernel.emit(policy::SaExpired{.netns = "elsewhere", .key = key, .hard = false});
    world.kernel.emit(
        policy::SaExpired{.netns = "pub", .key = key, .hard = false, .bytes = 950'000, .packets = bytes ? 10U : 950U});
    world.run();

    REQUIRE(world.workers.rekeys.size() == 1);
    CHECK(world.workers.rekeys[0].reason == (bytes ? Reason::kRekeyBytes : Reason::kRekeyPackets));
    CHECK(world.workers.rekeys[0].child == ike::ChildId(0xc1));
    CHECK(world.workers.closed_children.empty());
    world.kernel.emit(policy::SaExpired{.netns = "pub", .key = key, .hard = true});
    world.run();
    CHECK(world.workers.rekeys.back().reason == Reason::kKernelExpired);
    CHECK(world.workers.closed_children.empty());
  }
}

TEST_CASE(
    "volume: when events were lost, the SAs themselves tell what has reached a limit, and what is gone is replaced") {
  for (const bool gone : {false, true}) {
    CAPTURE(gone);
    ManagerWorld world;
    world.adjust = [](policy::IkePolicy&, policy::ChildPolicy& child) { child.lifetime_bytes = 1'000'000; };
    up(world);
    world.kernel.emit(policy::ResyncNeeded{"pub"});
    world.run();
    CHECK(world.workers.rekeys.empty());
    const policy::SaKey in{*IpAddress::parse("192.0.2.1"), policy::ChildSpi(0xc1)};
    if (gone)
      world.pub().sas.erase(in);
    else
      world.pub().sas.at(in).state.bytes = 950'000;

    world.kernel.emit(policy::ResyncNeeded{"pub"});
    world.run();
    world.pass(1s);

    REQUIRE(world.workers.rekeys.size() == 1);
    CHECK(world.workers.rekeys[0].reason == (gone ? Reason::kSaLost : Reason::kRekeyBytes));
    CHECK(world.workers.closed_children.empty());
  }
}

TEST_CASE(
    "sequence: a child whose numbers come to their end is rekeyed in time, by its policy closed, with ESN neither") {
  enum class Kind { kRekeys, kCloses, kEsn };
  for (const Kind kind : {Kind::kRekeys, Kind::kCloses, Kind::kEsn}) {
    ManagerWorld world;
    world.suite.esn = kind == Kind::kEsn;
    world.adjust = [&](policy::IkePolicy&, policy::ChildPolicy& child) { child.rekey.enabled = kind != Kind::kCloses; };
    up(world);
    auto& sa = world.pub().sas.at({*IpAddress::parse("198.51.100.7"), policy::ChildSpi(0x10c1)});
    sa.state.packets = 100;  // says nothing
    sa.state.sequence_sent = 0xf0000000;

    world.pass(10s);

    CHECK(world.workers.rekeys.size() == (kind == Kind::kRekeys ? 1 : 0));
    CHECK(world.workers.closed_children.size() == (kind == Kind::kCloses ? 1 : 0));
    if (kind == Kind::kRekeys) CHECK(world.workers.rekeys[0].reason == Reason::kRekeySequence);
    if (kind == Kind::kCloses) CHECK(world.workers.closed_children[0].reason == Reason::kLifetimeEnded);
    CHECK(world.events_of(Reason::kRekeySequence).size() == (kind == Kind::kEsn ? 0 : 1));
    world.pass(30s);
    if (kind == Kind::kRekeys) CHECK(world.workers.rekeys.size() > 1);  // asked again, told once
    CHECK(world.events_of(Reason::kRekeySequence).size() == (kind == Kind::kEsn ? 0 : 1));
  }
}

TEST_CASE("sequence: what the peer has used up counts as well, and so do the packets of an SA on the NIC") {
  for (const bool on_nic : {false, true}) {
    ManagerWorld world;
    up(world);
    const policy::SaKey in{*IpAddress::parse("192.0.2.1"), policy::ChildSpi(0xc1)};
    auto& state = world.pub().sas.at(in).state;
    if (on_nic) {
      state.offload = policy::OffloadKind::kPacket;
      state.packets = 0xf0000000;
    } else {
      state.sequence_received = 0xf0000000;
    }
    world.pass(10s);
    CHECK(world.workers.rekeys.size() == 1);
  }
}

TEST_CASE("idle: that a child carried something is told only where the policy asks, and only when it did") {
  for (const auto idle : {policy::IdleRekey::kRekey, policy::IdleRekey::kEnd}) {
    ManagerWorld world;
    world.adjust = [&](policy::IkePolicy&, policy::ChildPolicy& child) {
      child.idle = idle;
      child.lifetime = 200s;
    };
    up(world);
    world.pass(10s);
    CHECK(world.workers.used.empty());
    world.pub().sas.at({*IpAddress::parse("192.0.2.1"), policy::ChildSpi(0xc1)}).state.packets = 3;
    world.pass(10s);
    world.pass(10s);
    CHECK(world.workers.used.size() == (idle == policy::IdleRekey::kEnd ? 1 : 0));
  }
}

// ---- operators

TEST_CASE("operator: rekey answers when the fresh child is in use, with its failure, or that nothing is up") {
  ManagerWorld world;
  up(world);
  std::string answer;
  Reason because = Reason::kNone;
  auto note = [&](Status status) {
    answer = status.ok() ? "ok" : status.error().text();
    if (!status.ok()) because = status.error().reason();
  };

  world.manager->rekey(world.now, "a", "", Target::kChildren, note);
  REQUIRE(world.workers.rekeys.size() == 1);
  CHECK(world.workers.rekeys[0].child == ike::ChildId(0xc1));
  world.inbound(kNew);
  CHECK(answer.empty());
  world.outbound(kNew);
  CHECK(answer == "ok");

  answer.clear();
  world.manager->rekey(world.now, "a", "lan", Target::kChildren, note);
  CHECK(world.workers.rekeys.back().child == ike::ChildId(0xc2));
  world.act(ike::Report{
      .ike = kIke,
      .tunnel = "a",
      .path = {},
      .reason = Reason::kRekeyFailed,
      .fields = {field("child", "lan"), field("spi_in", "0x000000c2"),
                 field("because", std::string(code(Reason::kPfsMismatch))), field("detail", "the peer said no")}});
  CHECK(because == Reason::kPfsMismatch);
  CHECK(answer.find("the peer said no") != std::string::npos);

  answer.clear();
  world.manager->rekey(world.now, "a", "lan", Target::kChildren, note);
  world.pass(30s);
  CHECK(answer.find("tunnel a") != std::string::npos);

  world.manager->rekey(world.now, "b", "", Target::kChildren, note);
  CHECK(answer.find("tunnel b") != std::string::npos);
  world.manager->rekey(world.now, "a", "dmz", Target::kChildren, note);
  CHECK(answer.find("child dmz") != std::string::npos);
  world.remove(kOld, Reason::kChildRekeyed);
  world.remove(kNew, Reason::kDeletedByPeer);
  world.manager->rekey(world.now, "a", "lan", Target::kChildren, note);
  CHECK(answer.find("child lan of tunnel a is not up") != std::string::npos);
}

TEST_CASE("operator: rekeying the IKE SA answers when it has been replaced") {
  ManagerWorld world;
  up(world);
  std::string answer;
  auto note = [&](Status status) { answer = status.ok() ? "ok" : status.error().text(); };

  world.manager->rekey(world.now, "a", "", Target::kIke, note);
  REQUIRE(world.workers.rekeys.size() == 1);
  CHECK(world.workers.rekeys[0].child == ike::ChildId{});
  CHECK(answer.empty());
  world.act(ike::IkeRekeyed{.old = kIke, .fresh = ike::IkeSaId(0x22), .children = {ike::ChildId(0xc1)}});
  CHECK(answer == "ok");

  world.act(ike::SnapshotChanged{.ike = kIke, .gone = true});
  world.act(ike::SnapshotChanged{.ike = ike::IkeSaId(0x22), .gone = true});
  world.manager->rekey(world.now, "a", "", Target::kIke, note);
  CHECK(answer.find("no IKE SA") != std::string::npos);
}
