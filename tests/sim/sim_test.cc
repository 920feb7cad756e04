#include <doctest/doctest.h>

#include <cstdlib>

#include "tests/sim/world.h"

using namespace ipsec;
using namespace ipsec::sim;

namespace {

constexpr uint64_t kSeedsByDefault = 800;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::string told(const Outcome& outcome) {
  std::string text =
      "seed " + std::to_string(outcome.seed) + ", replay with: sim_test --seed=" + std::to_string(outcome.seed);
  for (const std::string& each : outcome.violations) text += "\n  " + each;
  return text;
}

/// Whether any of a few seeds trips over the planted bug, and says so in the words of the right invariant.
bool is_caught(Sabotage sabotage, const std::string& invariant) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome outcome = World({.seed = seed, .faults = {}, .sabotage = sabotage}).run();
    for (const std::string& each : outcome.violations)
      if (each.find(invariant) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("simulation: whatever the network, the shells and the operators do, the invariants hold") {
  // SIM_SEED=n runs one seed and prints all that happens; SIM_SEEDS=n runs as many; SIM_FIRST=n begins there.
  if (const uint64_t only = from_environment("SIM_SEED", 0); only != 0) {
    const Outcome outcome = World({.seed = only, .faults = {}, .print_trace = true}).run();
    CHECK_MESSAGE(outcome.violations.empty(), told(outcome));
    return;
  }
  const uint64_t first = from_environment("SIM_FIRST", 1);
  const uint64_t count = from_environment("SIM_SEEDS", kSeedsByDefault);
  Tally tally;
  Duration slowest{0};
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const Outcome outcome = World({.seed = seed, .faults = {}}).run();
    CHECK_MESSAGE(outcome.violations.empty(), told(outcome));
    tally.add(outcome.tally);
    slowest = std::max(slowest, outcome.recovery);
  }

  std::string seen = std::to_string(count) + " seeds";
  for (size_t i = 0; i < kSeenCount; ++i) {
    seen += ", " + std::to_string(tally.counts[i]) + " " + std::string(kSeenNames[i]);
    CHECK_MESSAGE(tally.counts[i] > 0, "no run has seen ", std::string(kSeenNames[i]));
  }
  seen += "; the slowest recovery took " + std::to_string(slowest / 1ms) + " ms";
  std::printf("%s\n", seen.c_str());
}

TEST_CASE("simulation: one seed always gives the same run") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Outcome once = World({.seed = seed, .faults = {}}).run();
    const Outcome again = World({.seed = seed, .faults = {}}).run();
    CHECK(once.tally.counts == again.tally.counts);
    CHECK(once.recovery == again.recovery);
  }
}

TEST_CASE("simulation: a shell that installs another key is caught by invariant 1") {
  CHECK(is_caught(Sabotage::kSpoilKey, "invariant 1"));
}

TEST_CASE("simulation: another message under an old message ID is caught by invariant 2") {
  CHECK(is_caught(Sabotage::kSpoilRetransmission, "invariant 2"));
}

TEST_CASE("simulation: an outbound key installed twice is caught by invariant 2") {
  CHECK(is_caught(Sabotage::kInstallOutboundTwice, "invariant 2"));
}

TEST_CASE("simulation: a child that stays in the kernel is caught by invariant 3") {
  CHECK(is_caught(Sabotage::kForgetRemove, "invariant 3"));
}

TEST_CASE("simulation: a tunnel that nobody brings up again is caught by invariant 5") {
  CHECK(is_caught(Sabotage::kGiveUp, "invariant 5"));
}

TEST_CASE("simulation: key bytes in a report or a datagram are caught by invariant 6") {
  CHECK(is_caught(Sabotage::kLeakIntoReport, "invariant 6: field"));
  CHECK(is_caught(Sabotage::kLeakIntoDatagram, "sent a datagram that shows a key"));
}

TEST_CASE("simulation: a drop without a counter, and a limit passed, are caught by invariant 7") {
  CHECK(is_caught(Sabotage::kDropSilently, "invariant 7"));
  CHECK(is_caught(Sabotage::kIgnoreLimit, "half-open"));
}
