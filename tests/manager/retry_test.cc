#include <doctest/doctest.h>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11};

/// How long the manager waits now.
double pause(const ManagerWorld& world) {
  REQUIRE(world.manager->next_deadline().has_value());
  return std::chrono::duration<double>(*world.manager->next_deadline() - world.now).count();
}

}  // namespace

TEST_CASE(
    "retry: pauses double from the policy's first to its most, each within a quarter, and begin anew after success") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  const double expected[] = {2, 4, 8, 16, 32, 64, 120, 120};

  size_t begun = 1;
  for (const double each : expected) {
    world.refuse_initiation(Error(Reason::kTimeout));
    CAPTURE(each);
    CHECK(pause(world) >= each * 0.75);
    CHECK(pause(world) <= each * 1.25);
    CHECK(world.state() == "establishing");
    world.pass(*world.manager->next_deadline() - world.now - 1ns);
    CHECK(world.workers.initiations.size() == begun);
    world.pass(1ns);
    CHECK(world.workers.initiations.size() == ++begun);
  }

  world.initiated(kIke);
  world.install(kIke, 0xc1);
  CHECK(world.state() == "up");
  world.remove(ChildShape{.ike = kIke, .id = 0xc1}, Reason::kPeerUnreachable);
  CHECK(pause(world) <= 2.5);
}

TEST_CASE("retry: pauses vary from run to run and are the same for one seed") {
  auto pauses = [](uint64_t seed) {
    ManagerWorld world;
    world.random = SeededRandom(seed);
    world.start({{.start = "now"}});
    world.refuse_initiation(Error(Reason::kTimeout));
    return pause(world);
  };
  CHECK(pauses(1) == pauses(1));
  CHECK(pauses(1) != pauses(2));
}

TEST_CASE("retry: after the configured tries the tunnel has failed and says so; up starts over") {
  ManagerWorld world;
  world.adjust = [](policy::IkePolicy& ike, policy::ChildPolicy&) { ike.retry.tries = 3; };
  world.start({{.start = "now"}});

  for (int i = 0; i < 3; ++i) {
    world.refuse_initiation(Error(Reason::kTimeout));
    world.pass(600s);
  }

  CHECK(world.workers.initiations.size() == 3);
  CHECK(world.state() == "failed");
  CHECK(world.manager->tunnels().at("a").last_detail.find("given up after 3 tries") != std::string::npos);
  CHECK(world.events_of(Reason::kTimeout).size() == 1);
  world.manager->up(world.now, "a", "", [](Status) {});
  CHECK(world.workers.initiations.size() == 4);
  CHECK(world.state() == "establishing");
  world.refuse_initiation(Error(Reason::kTimeout));
  CHECK(pause(world) <= 2.5);  // it counts from the beginning
}

TEST_CASE("retry: what the peer sets up ends the giving up") {
  ManagerWorld world;
  world.adjust = [](policy::IkePolicy& ike, policy::ChildPolicy&) { ike.retry.tries = 1; };
  world.start({{.start = "now"}});
  world.refuse_initiation(Error(Reason::kTimeout));
  CHECK(world.state() == "failed");

  world.install(kIke, 0xc1);

  CHECK(world.state() == "up");
  CHECK_FALSE(world.manager->tunnels().at("a").children.at("lan").given_up);
}

TEST_CASE("end: each action follows its own cause") {
  using policy::EndAction;
  struct Case {
    const char* start;
    EndAction on_failure, on_close;
    Reason reason;
    const char* state;
    bool begins;
  };
  const Case cases[] = {
      {"now", EndAction::kRestart, EndAction::kClear, Reason::kPeerUnreachable, "establishing", true},
      {"now", EndAction::kClear, EndAction::kRestart, Reason::kPeerUnreachable, "down", false},
      {"now", EndAction::kClear, EndAction::kRestart, Reason::kDeletedByPeer, "establishing", true},
      {"now", EndAction::kRestart, EndAction::kClear, Reason::kDeletedByPeer, "down", false},
      {"now", EndAction::kTraffic, EndAction::kRestart, Reason::kLifetimeEnded, "idle", false},
      {"now", EndAction::kRestart, EndAction::kRestart, Reason::kIdleEnded, "idle", false},
      {"traffic", EndAction::kRestart, EndAction::kRestart, Reason::kDeletedByPeer, "idle", false},
      {"traffic", EndAction::kRestart, EndAction::kClear, Reason::kDeletedByPeer, "down", false},
      {"respond", EndAction::kRestart, EndAction::kTraffic, Reason::kDeletedByPeer, "down", false},
  };
  for (const Case& each : cases) {
    CAPTURE(each.start);
    CAPTURE(code(each.reason));
    ManagerWorld world;
    world.adjust = [&](policy::IkePolicy& ike, policy::ChildPolicy&) {
      ike.on_failure = each.on_failure;
      ike.on_close = each.on_close;
    };
    world.start({{.start = each.start}});
    world.initiated(kIke);
    world.identity(kIke);
    world.install(kIke, 0xc1);
    const size_t begun = world.workers.initiations.size();

    world.remove(ChildShape{.ike = kIke, .id = 0xc1}, each.reason);
    CHECK(world.state() == each.state);
    world.ike_gone(kIke);
    world.pass(60s);

    CHECK((world.workers.initiations.size() > begun) == each.begins);
    CHECK(world.differences().empty());
  }
}

TEST_CASE(
    "end: a trap that was set when a child ended raises it again; one that was cleared comes back with the child") {
  ManagerWorld world;
  world.adjust = [](policy::IkePolicy& ike, policy::ChildPolicy&) {
    ike.on_failure = policy::EndAction::kTraffic;
    ike.on_close = policy::EndAction::kClear;
  };
  world.start({{.name = "a", .start = "now"}, {.name = "b", .selector = "10.3.0.0/16", .start = "traffic"}});
  world.install(kIke, 0xc1, "a");
  world.remove(ChildShape{.ike = kIke, .id = 0xc1, .tunnel = "a"}, Reason::kPeerUnreachable);
  world.install(kIke, 0xc2, "b");
  world.remove(ChildShape{.ike = kIke, .id = 0xc2, .tunnel = "b"}, Reason::kDeletedByPeer);
  CHECK(world.state("a") == "idle");
  CHECK(world.state("b") == "down");
  const size_t begun = world.workers.initiations.size();

  world.kernel.emit(world.acquire_for("a"));
  world.run();
  CHECK(world.workers.initiations.size() == begun + 1);

  world.install(kIke, 0xc3, "b");
  CHECK(world.differences().empty());
  world.remove(ChildShape{.ike = kIke, .id = 0xc3, .tunnel = "b"}, Reason::kPeerUnreachable);
  CHECK(world.state("b") == "idle");
  CHECK(world.differences().empty());
}

TEST_CASE("hold: a child that an operator holds down is refused to a peer that initiates, until up") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.manager->down(world.now, "a", "", [](Status) {});

  world.inbound(ChildShape{.ike = kIke, .id = 0xc1});

  REQUIRE_FALSE(world.workers.answers.empty());
  const auto* refused = std::get_if<ike::Refused>(&world.workers.answers.back().value);
  REQUIRE(refused != nullptr);
  CHECK(refused->error.reason() == Reason::kDeletedByOperator);
  CHECK(world.pub().sas.empty());
  world.identity(kIke, false);  // its IKE SA serves nobody
  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].reason == Reason::kDeletedByOperator);
  CHECK(world.state() == "down");

  world.manager->up(world.now, "a", "", [](Status) {});
  world.inbound(ChildShape{.ike = kIke, .id = 0xc2});
  CHECK(world.last_answer() == "installed");
}

TEST_CASE("hold: taking down one child leaves the others, and ends what is on its way up") {
  ManagerWorld world;
  world.start({{.start = "now", .more = {{"dmz", "10.9.0.0/16"}}}});
  world.identity(kIke);
  world.inbound(ChildShape{.ike = kIke, .id = 0xc1, .child = "lan"});
  world.outbound(ChildShape{.ike = kIke, .id = 0xc1, .child = "lan"});
  world.inbound(ChildShape{.ike = kIke, .id = 0xd1, .child = "dmz"});

  world.manager->down(world.now, "a", "dmz", [](Status) {});
  CHECK(world.workers.closed_ikes.empty());
  REQUIRE(world.workers.closed_children.size() == 1);
  CHECK(world.workers.closed_children[0].child == ike::ChildId(0xd1));
  CHECK(world.workers.closed_children[0].ike == kIke);
  world.outbound(ChildShape{.ike = kIke, .id = 0xd1, .child = "dmz"});  // it had left already
  CHECK(world.workers.closed_children.size() == 2);

  CHECK_FALSE(world.manager->tunnels().at("a").children.at("lan").held_down);
  world.inbound(ChildShape{.ike = kIke, .id = 0xc2, .replaces = 0xc1, .child = "lan"});
  CHECK(world.last_answer() == "installed");
}

TEST_CASE("hold: up that follows at once begins anew instead of waiting for the end of what down has closed") {
  ManagerWorld world;
  world.start({{.start = "respond"}});
  world.manager->up(world.now, "a", "", [](Status) {});
  world.initiated(kIke);
  world.manager->down(world.now, "a", "", [](Status) {});
  std::optional<Status> answer;

  world.manager->up(world.now, "a", "", [&](Status status) { answer = std::move(status); });
  CHECK(world.workers.initiations.size() == 2);
  world.ike_gone(kIke);
  CHECK_FALSE(answer.has_value());

  world.initiated(ike::IkeSaId(0x22));
  world.install(ike::IkeSaId(0x22), 0xc1);
  REQUIRE(answer.has_value());
  CHECK(answer->ok());
}
