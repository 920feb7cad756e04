#include "agent/sequence_watch.h"

#include <doctest/doctest.h>

using namespace ipsec;
using agent::SequenceWatch;

namespace {

constexpr ike::ChildId kChild{7};
constexpr uint64_t kPoint = SequenceWatch::kNumbers / 10 * 9;

/// Looks as told at a counter that runs as `sequence_at` says; when the rekey was asked for, and how many looks it
/// took.
struct Run {
  Duration asked{0};
  uint64_t sequence = 0;
  size_t looks = 0;
};
template <typename Pace>
Run run(Pace sequence_at, Duration most) {
  SequenceWatch watch;
  const Instant start{1000s};
  watch.add(start, kChild, kPoint);
  Run run;
  while (watch.next_look() && *watch.next_look() - start < most) {
    const Instant now = *watch.next_look();
    REQUIRE(watch.pop_due(now) == kChild);
    ++run.looks;
    run.sequence = sequence_at(now - start);
    if (watch.observe(now, kChild, run.sequence) == SequenceWatch::Verdict::kDue) {
      run.asked = now - start;
      return run;
    }
  }
  return run;
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

TEST_CASE(
    "sequence watch: at any steady pace the rekey comes at its point, and never after half of what is then left") {
  for (const double pace : {1e4, 1e5, 1e6, 5e6, 2e7}) {
    CAPTURE(pace);
    const Run found = run([&](Duration passed) { return static_cast<uint64_t>(pace * seconds(passed)); }, 1000h);
    CHECK(found.sequence >= kPoint);
    CHECK(found.sequence < kPoint + kPoint / 100 * 2);
    CHECK(static_cast<double>(found.looks) < seconds(found.asked) / 30 + 300);
  }
}

TEST_CASE("sequence watch: whenever a quiet child turns to the fastest pace, time is left for the rekey") {
  for (uint64_t before = 0; before < kPoint; before += kPoint / 40) {
    for (int begins = 0; begins < 300; begins += 7) {
      CAPTURE(before);
      CAPTURE(begins);
      const Run found = run(
          [&](Duration passed) {
            const double fast = std::max(0.0, seconds(passed) - begins);
            return before + static_cast<uint64_t>(fast * SequenceWatch::kFastest);
          },
          1h);
      REQUIRE(found.sequence >= kPoint);
      // Ten seconds at this pace.
      CHECK(found.sequence + 5 * SequenceWatch::kFastest < SequenceWatch::kNumbers);
    }
  }
}

TEST_CASE("sequence watch: a quiet child costs a look a minute") {
  const Run found = run([](Duration) { return uint64_t{12}; }, 1h);
  CHECK(found.looks <= 61);
  CHECK(found.asked == Duration{0});
}

TEST_CASE("sequence watch: what is due is said again until the child is gone; what could not be read is read soon") {
  SequenceWatch watch;
  Instant now{1000s};
  watch.add(now, kChild, kPoint);
  now = *watch.next_look();
  watch.pop_due(now);
  CHECK(watch.observe(now, kChild, kPoint) == SequenceWatch::Verdict::kDue);
  now = *watch.next_look();
  watch.pop_due(now);
  CHECK_FALSE(watch.next_look().has_value());
  watch.postpone(now, kChild);
  CHECK(*watch.next_look() - now == SequenceWatch::kLookShortest);
  CHECK(watch.observe(now, kChild, kPoint + 5) == SequenceWatch::Verdict::kDue);
  watch.remove(kChild);
  CHECK_FALSE(watch.next_look().has_value());
  CHECK(watch.observe(now, kChild, kPoint + 5) == SequenceWatch::Verdict::kFine);
  watch.postpone(now, kChild);
  CHECK_FALSE(watch.next_look().has_value());
}

TEST_CASE("sequence watch: the point is the policy's share less a jitter, and leaves room whatever the policy says") {
  policy::RekeyPolicy policy{.enabled = true, .share_percent = 90, .jitter_percent = 10};
  CHECK(SequenceWatch::rekey_point(policy, 0) == SequenceWatch::kNumbers / 10 * 9 + 5);
  CHECK(SequenceWatch::rekey_point(policy, 1000) < SequenceWatch::kNumbers / 100 * 81);
  policy = {.enabled = true, .share_percent = 100, .jitter_percent = 0};
  CHECK(SequenceWatch::rekey_point(policy, 0) == SequenceWatch::kLatest);
}
