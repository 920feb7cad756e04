#include "policy/carrier_choice.h"

#include <doctest/doctest.h>

#include "policy/base/random.h"

// Which of its two remotes a carrier uses.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

constexpr PathState kDown = PathState::kDown, kWaiting = PathState::kWaiting, kUp = PathState::kUp;
constexpr Duration kHold = 10s;

struct World {
  CarrierChoice choice{kHold};
  Instant now{1000s};
  size_t after(Duration pause, PathState preferred, PathState backup) {
    now = now + pause;
    choice.update(now, {preferred, backup});
    return choice.in_use();
  }
};

}  // namespace

TEST_CASE("carrier choice: the backup takes over at once, and hands back when the preferred one has held") {
  World world;
  CHECK(world.after(0s, kUp, kUp) == 0);
  CHECK(world.after(5s, kDown, kUp) == 1);
  CHECK_FALSE(world.choice.next_deadline());
  CHECK(world.after(5s, kUp, kUp) == 1);
  CHECK(world.choice.next_deadline() == world.now + kHold);
  CHECK(world.after(kHold - 1ms, kUp, kUp) == 1);
  CHECK(world.after(1ms, kUp, kUp) == 0);
  CHECK_FALSE(world.choice.next_deadline());
}

TEST_CASE("carrier choice: one that comes and goes is not used again before it has held") {
  World world;
  world.after(0s, kUp, kUp);
  world.after(1s, kDown, kUp);
  for (int i = 0; i < 20; ++i) {
    CHECK(world.after(9s, kUp, kUp) == 1);
    CHECK(world.after(9s, kDown, kUp) == 1);
  }
  world.after(1s, kUp, kUp);
  CHECK(world.after(kHold, kUp, kUp) == 0);
}

TEST_CASE("carrier choice: when the backup is lost the preferred one need not wait") {
  World world;
  world.after(0s, kUp, kUp);
  world.after(1s, kDown, kUp);
  CHECK(world.after(1s, kUp, kUp) == 1);
  CHECK(world.after(1s, kUp, kDown) == 0);
}

TEST_CASE("carrier choice: at the start the preferred one is used as soon as it is up") {
  World world;
  CHECK(world.after(0s, kDown, kDown) == 0);
  CHECK(world.after(1s, kDown, kUp) == 1);
  CHECK(world.after(1s, kUp, kUp) == 0);
  CarrierChoice adopted(kHold, 1);
  adopted.update(world.now, {kUp, kUp});
  CHECK(adopted.in_use() == 1);  // of an earlier run: it has been lost
}

TEST_CASE("carrier choice: a path that waits for traffic is better than one that is down, and not as good as one up") {
  World world;
  CHECK(world.after(0s, kWaiting, kWaiting) == 0);
  CHECK(world.after(1s, kWaiting, kUp) == 1);
  CHECK(world.after(1s, kWaiting, kWaiting) == 0);
  CHECK(world.after(1s, kDown, kWaiting) == 1);
  CHECK(world.after(1s, kDown, kDown) == 1);  // nothing is gained by moving
}

TEST_CASE("carrier choice: whatever happens, it uses no worse path than there is and never goes back sooner") {
  SeededRandom random(7);
  for (int run = 0; run < 200; ++run) {
    World world;
    bool seen_up = false, lost = false;
    std::optional<Instant> good;  // since when the preferred one, not in use, is as good as the other
    for (int step = 0; step < 200; ++step) {
      const uint64_t bits = random.u64();
      const auto preferred = static_cast<PathState>(bits % 3), backup = static_cast<PathState>(bits / 3 % 3);
      const size_t before = world.choice.in_use();
      seen_up = seen_up || preferred == kUp;
      lost = lost || (seen_up && preferred != kUp);
      if (preferred < backup || preferred == kDown) good.reset();
      const size_t now = world.after(std::chrono::milliseconds(bits / 9 % 8000), preferred, backup);
      CAPTURE(run);
      CAPTURE(step);
      const PathState used = now == 0 ? preferred : backup, other = now == 0 ? backup : preferred;
      CHECK(used >= other);
      if (before == 0 && now == 1) CHECK(preferred < backup);
      if (before == 1 && now == 0 && lost && preferred == backup) CHECK(world.now - good.value_or(world.now) >= kHold);
      if (now == 0) good.reset();
      if (now == 1 && preferred == backup && preferred != kDown && !good) good = world.now;
      // The same states again change nothing before the deadline, and then they do.
      const auto deadline = world.choice.next_deadline();
      CHECK(deadline.has_value() == good.has_value());
      if (!deadline) continue;
      CHECK(*deadline > world.now);
      CarrierChoice ahead = world.choice;
      CHECK_FALSE(ahead.update(*deadline - 1ms, {preferred, backup}));
      CHECK(ahead.update(*deadline, {preferred, backup}));
      CHECK(ahead.in_use() == 0);
    }
  }
}
