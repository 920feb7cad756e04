#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "agent/limits.h"
#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

// What is done with all tunnels goes on in turns of the main thread, each of which is bounded by a count: the start,
// another configuration, complete reads and what follows from them.

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr size_t kMany = 3000;

std::vector<TunnelText> many(size_t count = kMany, const std::string& start = "traffic") {
  std::vector<TunnelText> tunnels;
  for (size_t i = 0; i < count; ++i) {
    const std::string number = std::to_string(i / 250) + "." + std::to_string(i % 250 + 1);
    tunnels.push_back({.name = "t" + std::to_string(10000 + i),
                       .remote = "30.1." + number,
                       .selector = "20.1." + number + "/32",
                       .start = start});
  }
  return tunnels;
}

struct Turns : ManagerWorld {
  /// Runs until nothing is to be done at once. The most of what `count` counts that one turn has brought.
  template <typename Count>
  size_t most_per_turn(const Count& count) {
    size_t most = 0;
    for (turns = 0; turns < kTurnsMax && is_busy(); ++turns) {
      const size_t before = count();
      run();
      most = std::max(most, count() - before);
    }
    REQUIRE(turns < kTurnsMax);
    return most;
  }
  void finish() {
    most_per_turn([] { return size_t{0}; });
  }
  bool is_busy() const {
    const auto next = manager->next_deadline();
    return next && *next <= now;
  }
  /// All tunnels are there, looked after, and nothing is to be done.
  void settle(const std::vector<TunnelText>& tunnels) {
    start(tunnels);
    manager->look_after(now, {"pub", "priv"});
    finish();
    REQUIRE(differences().empty());
  }

  static constexpr size_t kTurnsMax = 100000;
  size_t turns = 0;
};

}  // namespace

TEST_CASE("turns: an answer that does not come keeps reconciliation waiting after a roll-out, but not for ever") {
  Turns world;
  world.start({{.start = "traffic"}});
  world.finish();
  CHECK_FALSE(world.manager->reconciliation().is_held());

  world.kernel.hold_answers();
  world.reconfigure({{.start = "traffic"}, {.name = "b", .remote = "198.51.100.9", .selector = "10.4.0.0/16"}});
  world.run();
  CHECK_FALSE(world.manager->is_rolling_out());
  CHECK(world.manager->reconciliation().is_held());
  world.pass(agent::kRolloutSettle);
  CHECK_FALSE(world.manager->reconciliation().is_held());
}

TEST_CASE("turns: at the start some tunnels begin in each turn, and all of them in the end") {
  Turns world;
  world.start(many());
  CHECK(world.manager->is_rolling_out());

  const size_t most = world.most_per_turn([&] { return world.manager->tunnels().size(); });

  CHECK(most <= agent::kTunnelsPerTurn);
  CHECK(world.turns >= kMany / agent::kTunnelsPerTurn - 2);
  CHECK(world.manager->tunnels().size() == kMany);
  CHECK_FALSE(world.manager->is_rolling_out());
  CHECK(world.differences().empty());
}

TEST_CASE("turns: a tunnel that is asked for before its turn begins at once, and only once") {
  Turns world;
  world.start(many());
  const std::string last = "t" + std::to_string(10000 + kMany - 1);
  REQUIRE_FALSE(world.manager->tunnels().contains(last));

  Status outcome = Error(Reason::kInternal, "not told");
  world.manager->up(world.now, last, "", [&](Status status) { outcome = std::move(status); });
  CHECK(world.manager->tunnels().contains(last));
  const uint32_t number = world.manager->tunnels().at(last).number;
  world.finish();

  CHECK(world.manager->tunnels().at(last).number == number);
  CHECK(world.differences().empty());
}

TEST_CASE("turns: the kernel gets operations a part at a time, and the start waits for it") {
  Turns world;
  constexpr size_t kPart = 50;
  world.kernel.set_flush_most(kPart);
  world.start(many());

  const size_t most = world.most_per_turn([&] { return world.kernel.operations(); });

  CHECK(most <= 2 * agent::kCompletionsPerTurn + kPart);
  CHECK(world.manager->tunnels().size() == kMany);
  CHECK(world.differences().empty());
}

TEST_CASE("turns: a complete read takes a bounded number of objects in each turn") {
  Turns world;
  world.settle(many());
  const size_t objects = world.pub().policies.size() + world.priv().links.size() + world.priv().routes.size();
  world.now = world.now + 3600s;  // an audit is due
  const size_t before = world.kernel.objects_read();

  const size_t most = world.most_per_turn([&] { return world.kernel.objects_read(); });

  CHECK(world.kernel.objects_read() - before >= objects);
  CHECK(most <= agent::kObjectsPerTurn + agent::kReadStep);
  CHECK(world.events_of(Reason::kDriftMended).empty());
}

TEST_CASE("turns: drift is answered after some turns, and shows nothing that the daemon changes meanwhile") {
  Turns world;
  world.settle(many());
  std::optional<std::vector<agent::NamespaceDrift>> answer;
  world.manager->drift(world.now, {}, [&](auto found) { answer = std::move(found).value(); });
  REQUIRE_FALSE(answer);

  // One whose interface the read has not come to, and one that it may have passed.
  const auto ike = [](uint64_t number) { return ike::IkeSaId(number); };
  for (const size_t at : {size_t{0}, kMany / 2, kMany - 1}) {
    const std::string tunnel = "t" + std::to_string(10000 + at);
    world.identity(ike(at + 1), true, tunnel);
    world.install(ike(at + 1), static_cast<uint32_t>(0x2000 + at), tunnel);
  }
  world.finish();

  REQUIRE(answer);
  for (const agent::NamespaceDrift& each : *answer) CHECK(each.rows->empty());
  CHECK(world.events_of(Reason::kDriftMended).empty());
}

TEST_CASE("turns: what others remove while a read goes on is put right by the next one") {
  Turns world;
  world.settle(many());
  const auto before = world.kernel.ours();
  world.now = world.now + 3600s;
  world.run();
  world.kernel.flush_policies("pub");  // the read may have passed them
  world.kernel.emit(policy::PolicyDisturbed{.netns = "pub", .key = {}});
  for (int i = 0; i < 20; ++i) {
    world.finish();
    world.now = world.now + 1s;
  }

  CHECK(world.kernel.ours() == before);
}

TEST_CASE("turns: a namespace that goes while it is read is waited for, and drift says so") {
  Turns world;
  world.settle(many());
  std::optional<std::vector<agent::NamespaceDrift>> answer;
  world.manager->drift(world.now, "priv", [&](auto found) { answer = std::move(found).value(); });
  REQUIRE_FALSE(answer);
  world.kernel.remove_namespace("priv");
  world.finish();

  REQUIRE(answer);
  REQUIRE(answer->size() == 1);
  CHECK(answer->front().obstacle->reason() == Reason::kNamespaceMissing);
  CHECK(answer->front().rows->size() >= kMany);
}

TEST_CASE("turns: who waits for drift learns that the daemon ends") {
  Turns world;
  world.settle(many());
  std::optional<Reason> reason;
  world.manager->drift(world.now, {}, [&](const auto& found) { reason = found.error().reason(); });
  world.manager->begin_shutdown();
  CHECK(reason == Reason::kShutdown);
}

TEST_CASE("turns: tunnels follow another configuration in turns, and the next one after that") {
  Turns world;
  world.settle(many());
  world.reconfigure(many(kMany, "respond"));
  CHECK(world.manager->is_rolling_out());
  CHECK(world.pub().policies.size() > 0);
  world.reconfigure(many(kMany / 2, "respond"));
  world.finish();

  CHECK(world.manager->tunnels().size() == kMany / 2);
  CHECK(world.pub().policies.empty());
  CHECK(world.differences().empty());
  CHECK(world.events_of(Reason::kConfigApplied).size() > 0);
}

TEST_CASE("turns: a daemon that ends while its tunnels start leaves nothing behind") {
  Turns world;
  world.start(many());
  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());
}
