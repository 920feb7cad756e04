#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/engine_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

/// Two gateways on busy machines: datagrams and the kernels' answers wait, each for its own time, while the other side
/// goes on.
struct SlowWorld : World {
  SlowWorld(uint64_t seed, uint64_t at_most_ms)
      : World({.seed = seed, .dpd = 0s, .admission_b = {.rekey_rate = 0}, .answers = Answers::kLate}),
        random(seed),
        step_most_ms(at_most_ms) {
    a.admission.rekey_rate = 0;
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
    for (Host* host : {&a, &b}) {
      host->holding = true;
      host->interfere = nullptr;
    }
  }
  ~SlowWorld() {
    for (Host* host : {&a, &b}) host->holding = false;
  }

  /// One thing happens, somewhere.
  void step() {
    collect();
    Host& host = random.below(2) == 0 ? a : b;
    switch (random.below(3)) {
      case 0:
        if (deliver_one()) return;
        break;
      case 1:
        if (host.late.empty()) break;
        host.give_late_answer(now, random);
        return collect();
      default: break;
    }
    now = now + std::chrono::milliseconds(random.below(step_most_ms));
    for (Host* each : {&a, &b}) each->engine().tick(now);
    collect();
  }
  /// One pair of SAs, and one IKE SA, on either side.
  bool at_rest() const {
    return is_up_and_equal() && a.inbound.size() == 1 && b.inbound.size() == 1 && wire.empty() && a.late.empty() &&
           b.late.empty();
  }
  void rekey_child(Host& host) {
    if (host.inbound.empty()) return;
    host.engine().rekey_child(now, host.ike(), ChildId(newest(host)), Reason::kRekeyTime);
  }
  void rekey_ike(Host& host) { host.engine().rekey_ike(now, host.ike(), Reason::kRekeyTime); }

  SeededRandom random;
  uint64_t step_most_ms;

 private:
  static uint32_t newest(const Host& host) {
    const auto view = host.engine().view(host.ike());
    return view && !view->children.empty() ? view->children.back()->spi_in.value() : 0;
  }
};

}  // namespace

TEST_CASE("slow: after fifty crossing rekeys between busy machines one pair of SAs is left, and no guard had to wait") {
  // The slowest take seconds for a message and pauses of up to a minute: they rest before whoever waits in vain gives
  // up.
  struct Pace {
    uint64_t step_most_ms;
    Duration rest_within;
  };
  for (const Pace& pace : {Pace{5, 15s}, Pace{50, 15s}, Pace{400, kRekeyGuard - 20s}}) {
    CAPTURE(pace.step_most_ms);
    for (uint64_t seed = 1; seed <= 40; ++seed) {
      CAPTURE(seed);
      SlowWorld world(seed, pace.step_most_ms);
      for (int i = 0; i < 50; ++i) {
        if (i % 6 == 0 || i % 6 == 4) world.rekey_child(world.a);
        if (i % 6 == 1 || i % 6 == 4) world.rekey_child(world.b);
        if (i % 6 == 2 || i % 6 == 5) world.rekey_ike(world.a);
        if (i % 6 == 3 || i % 6 == 5) world.rekey_ike(world.b);
        for (uint64_t steps = world.random.below(24); steps > 0; --steps) world.step();
      }
      const Instant end = world.now + pace.rest_within;
      while (!world.at_rest() && world.now < end) world.step();
      CHECK(world.at_rest());
      CHECK(world.a.state() == "established");
    }
  }
}

TEST_CASE(
    "slow: where both have rekeyed a child, the response to the peer's rekey comes before our Delete of the old one") {
  size_t both = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    World world({.seed = seed, .dpd = 0s, .answers = Answers::kAtOnce});
    world.initiate();
    world.deliver_all();
    for (Host* host : {&world.a, &world.b})
      host->engine().rekey_child(world.now, host->ike(), ChildId(host->inbound.begin()->first), Reason::kRekeyTime);
    world.collect();
    world.a.shell.hold_answers = true;
    world.deliver_all();
    REQUIRE(world.a.held.size() == 2);  // for the child of b's exchange, and for that of our own

    world.a.shell.hold_answers = false;
    const Answer theirs = std::move(world.a.held.front());
    world.a.engine().answer(world.now, std::move(world.a.held.back()));
    world.a.held.clear();
    world.a.drain(world.now);
    CHECK(world.a.outbox.empty());
    if (world.a.sends_on("lan") != 0) ++both;
    world.a.engine().answer(world.now, theirs);
    world.a.drain(world.now);
    CHECK_FALSE(world.a.outbox.empty());
    CHECK(world.settles());
    CHECK(world.a.inbound.size() == 1);
  }
  CHECK(both == 20);
}
