#include <doctest/doctest.h>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

namespace {
constexpr ike::IkeSaId kIke{0x11}, kOther{0x22};
}  // namespace

TEST_CASE("start: each tunnel gets its link; traps and routes stand for traffic, now begins at once, respond waits") {
  ManagerWorld world;

  world.start({{.name = "now", .remote = "198.51.100.1", .selector = "10.3.0.0/16", .start = "now"},
               {.name = "peer", .remote = "198.51.100.2", .selector = "10.4.0.0/16", .start = "respond"},
               {.name = "trap", .remote = "198.51.100.3", .selector = "10.5.0.0/16", .start = "traffic"}});

  CHECK(world.kernel.ours() == Texts{"priv: link ips1000001", "priv: link ips1000002", "priv: link ips1000003",
                                     "priv: route 10.5.0.0/16 dev ips1000003 metric 300",
                                     "pub: policy out 10.1.0.0/16 10.5.0.0/16 reqid 0x01000003"});
  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(world.workers.initiations[0].tunnel->name == "now");
  CHECK_FALSE(world.workers.initiations[0].trigger.has_value());
  CHECK(world.state("now") == "establishing");
  CHECK(world.state("peer") == "down");
  CHECK(world.state("trap") == "idle");
}

TEST_CASE("start: a link that cannot be made leaves the other tunnels alone and says why") {
  ManagerWorld world;
  world.kernel.fail(1, {.os_errno = EPERM});

  world.start({{.name = "a", .remote = "198.51.100.1", .selector = "10.3.0.0/16", .start = "now"},
               {.name = "b", .remote = "198.51.100.2", .selector = "10.4.0.0/16", .start = "now"}});

  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(world.workers.initiations[0].tunnel->name == "b");
  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kKernelRefused);
  CHECK(world.events_of(Reason::kKernelRefused).size() == 1);
  world.install_inbound(kIke, 0xc1, "a");
  CHECK(world.last_answer().find("interface of tunnel a") != std::string::npos);
}

TEST_CASE("start: a VRF or namespace that is missing is named") {
  ManagerWorld world;
  world.priv().vrfs.clear();

  world.start({{.start = "now"}});

  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kVrfMissing);
  CHECK(world.manager->tunnels().at("a").last_detail.find("red") != std::string::npos);
  CHECK(world.workers.initiations.empty());
}

TEST_CASE("acquire: the tunnel of the policy is raised with the packet's own selectors") {
  ManagerWorld world;
  world.start({{.name = "a", .start = "traffic"}, {.name = "b", .selector = "10.3.0.0/16", .start = "traffic"}});

  world.kernel.emit(world.acquire_for("b"));
  world.run();

  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(world.workers.initiations[0].tunnel->name == "b");
  REQUIRE(world.workers.initiations[0].trigger.has_value());
  CHECK(policy::to_string(world.workers.initiations[0].trigger->first) == "10.1.0.5/32[udp/4000]");
  CHECK(world.state("a") == "idle");
  CHECK(world.state("b") == "establishing");
}

TEST_CASE("acquire: a second packet while the first one's attempt is under way starts nothing") {
  ManagerWorld world;
  world.start({{.start = "traffic"}});

  world.kernel.emit(world.acquire_for());
  world.kernel.emit(world.acquire_for());
  world.run();

  CHECK(world.workers.initiations.size() == 1);
}

TEST_CASE("acquire: one of another program is counted and nothing else") {
  ManagerWorld world;
  world.start({{.start = "traffic"}});
  policy::Acquire foreign = world.acquire_for();
  foreign.reqid = 7;
  policy::Acquire other_interface = world.acquire_for();
  other_interface.policy.if_id = 7;

  world.kernel.emit(foreign);
  world.kernel.emit(other_interface);
  world.run();

  CHECK(world.counters.get(Reason::kAcquireForeign) == 2);
  CHECK(world.workers.initiations.empty());
}

TEST_CASE("acquire: an attempt that fails clears the kernel's question, so that the next packet asks again") {
  ManagerWorld world;
  world.start({{.start = "traffic"}});
  world.kernel.emit(world.acquire_for());
  world.run();
  world.initiated(kIke);

  world.ike_failed(kIke, Reason::kTimeout);

  CHECK(world.cleared.size() == 1);
  CHECK(world.state() == "idle");
  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kTimeout);
  world.kernel.emit(world.acquire_for());
  world.run();
  CHECK(world.workers.initiations.size() == 2);
}

TEST_CASE("down: closes the IKE SA, answers when the child is out, holds, and up ends the hold") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.initiated(kIke);
  world.install(kIke, 0xc1);
  std::optional<Status> answered;

  world.manager->down(world.now, "a", "", [&](Status status) { answered = std::move(status); });

  CHECK_FALSE(answered.has_value());  // not before it is down
  REQUIRE(world.workers.closed_ikes.size() == 1);
  CHECK(world.workers.closed_ikes[0].reason == Reason::kDeletedByOperator);
  world.remove_child(kIke, 0xc1);
  CHECK((answered && answered->ok()));
  world.ike_gone(kIke);
  world.pass(3600s);
  CHECK(world.workers.initiations.size() == 1);
  CHECK(world.state() == "down");
  world.manager->up(world.now, "a", "", [](Status) {});
  CHECK(world.workers.initiations.size() == 2);
}

TEST_CASE("down: a trap that is met while the tunnel is held raises nothing") {
  ManagerWorld world;
  world.start({{.start = "traffic"}});
  world.manager->down(world.now, "a", "", [](Status) {});

  world.kernel.emit(world.acquire_for());
  world.run();

  CHECK(world.workers.initiations.empty());
}

TEST_CASE("up: waits and answers success, a refusal with its reason, or that time is over") {
  ManagerWorld world;
  world.start({{}});
  std::optional<Status> answered;
  auto ask = [&] { world.manager->up(world.now, "a", "lan", [&](Status status) { answered = std::move(status); }); };

  ask();
  world.initiated(kIke);
  CHECK_FALSE(answered.has_value());
  world.ike_failed(kIke, Reason::kPeerRestarted);
  REQUIRE(answered.has_value());
  CHECK(answered->error().reason() == Reason::kPeerRestarted);

  answered.reset();
  ask();
  world.pass(30s);
  CHECK_FALSE(answered.has_value());
  world.pass(1s);
  REQUIRE(answered.has_value());
  CHECK(answered->error().reason() == Reason::kTimeout);

  answered.reset();
  ask();
  world.initiated(kOther);
  world.install(kOther, 0xc2);
  REQUIRE(answered.has_value());
  CHECK(answered->ok());

  answered.reset();
  ask();
  CHECK((answered && answered->ok()));  // it is up already
}

TEST_CASE("up: what does not exist is refused by name") {
  ManagerWorld world;
  world.start({{}});
  std::string answer;
  auto note = [&](Status status) { answer = status.ok() ? "ok" : status.error().text(); };

  world.manager->up(world.now, "none", "", note);
  CHECK(answer.find("tunnel none") != std::string::npos);
  world.manager->up(world.now, "a", "none", note);
  CHECK(answer.find("child none") != std::string::npos);
  world.manager->down(world.now, "none", "", note);
  CHECK(answer.find("tunnel none") != std::string::npos);
}

TEST_CASE("up: a tunnel whose link is not there answers with a reason that says so") {
  ManagerWorld world;
  world.kernel.hold_answers();
  world.start({{}});
  std::optional<Status> answered;

  world.manager->up(world.now, "a", "", [&](Status status) { answered = std::move(status); });

  REQUIRE(answered.has_value());
  REQUIRE_FALSE(answered->ok());
  CHECK(answered->error().reason() != Reason::kNone);
  CHECK(answered->error().text().find("interface of tunnel a") != std::string::npos);
}
