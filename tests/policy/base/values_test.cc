#include <doctest/doctest.h>

#include <set>

#include "policy/base/events.h"
#include "policy/base/ip.h"
#include "policy/base/log.h"
#include "policy/base/random.h"
#include "policy/base/secret.h"
#include "policy/base/time.h"

using namespace ipsec;

TEST_CASE("prefix: host bits that are set are refused with the mended form") {
  CHECK(to_string(*IpPrefix::parse("10.1.0.0/16")) == "10.1.0.0/16");
  CHECK(IpPrefix::parse("10.1.2.0/16").error().detail().find("10.1.0.0/16") != std::string::npos);
  CHECK(!IpPrefix::parse("10.1.0.0/33").ok());
  CHECK(!IpPrefix::parse("10.1.0.0/").ok());
  CHECK(IpPrefix::parse("2001:db8::1")->length == 128);
}

TEST_CASE("range: its prefixes cover it exactly, for ranges drawn at random") {
  SeededRandom random(11);
  for (int round = 0; round < 200; ++round) {
    auto a = IpAddress::v4(random.u32()), b = IpAddress::v4(random.u32());
    const IpRange range{std::min(a, b), std::max(a, b)};
    const auto blocks = range.prefixes();
    CHECK(blocks.size() <= 62);
    CHECK(blocks.front().address == range.first);
    CHECK(blocks.back().last() == range.last);
    for (size_t i = 1; i < blocks.size(); ++i) CHECK(blocks[i].address == blocks[i - 1].last().next());
  }
  CHECK(IpRange::of(IpPrefix::all(Family::kIpv6)).prefixes().size() == 1);
  CHECK(IpRange::of(IpPrefix::all(Family::kIpv4)).prefixes().size() == 1);
}

TEST_CASE("timers: come out by deadline, then by the order of setting; a moved or cancelled one does not come twice") {
  TimerQueue<int> timers;
  timers.set(1, {30ms});
  timers.set(2, {10ms});
  timers.set(3, {10ms});
  timers.set(4, {5ms});
  timers.set(1, {8ms});
  timers.cancel(4);

  CHECK(timers.next() == Instant{8ms});
  CHECK(timers.pop_due({9ms}) == 1);
  CHECK(!timers.pop_due({9ms}));
  CHECK(timers.pop_due({10ms}) == 2);
  CHECK(timers.pop_due({10ms}) == 3);
  CHECK(timers.size() == 0);
}

TEST_CASE("timers: agree with an ordered set over thousands of random operations") {
  SeededRandom random(5);
  TimerQueue<int> timers;
  std::set<std::pair<Duration, int>> model;
  std::vector<std::optional<Duration>> at(50);
  for (int step = 0; step < 20000; ++step) {
    const int key = static_cast<int>(random.below(50));
    if (at[key]) model.erase({*at[key], key});
    if (random.below(3) == 0) {
      timers.cancel(key);
      at[key].reset();
    } else {
      // Distinct deadlines, so that the model's order is the only one.
      at[key] = Duration(random.below(1000) * 100 + static_cast<uint64_t>(key));
      model.insert({*at[key], key});
      timers.set(key, {*at[key]});
    }
    CHECK(timers.size() == model.size());
    if (!model.empty()) CHECK(timers.next()->since_boot == model.begin()->first);
  }
}

TEST_CASE("secret: moving empties the source, small and large ones compare equal to their copies") {
  for (size_t size : {0, 1, 64, 65, 512}) {
    Bytes bytes(size, 0x5a);
    Secret first = Secret::copy_of(bytes);
    Secret second = std::move(first);
    CHECK(first.empty());  // NOLINT(bugprone-use-after-move): that is what is tested
    CHECK(second.equals(bytes));
    CHECK(second.clone().equals(bytes));
    second.wipe();
    CHECK(second.empty());
  }
}

TEST_CASE("events: the ring is bounded and a reader learns how many it missed") {
  EventRing ring(3);
  for (int i = 0; i < 5; ++i) ring.append({.reason = Reason::kTunnelUp});

  auto page = ring.read(1, 10);
  CHECK(page.events.size() == 3);
  CHECK(page.events.front().sequence == 3);
  CHECK(page.lost == 0);
  CHECK(ring.read(2, 10).lost == 1);
  CHECK(ring.read(5, 10).events.size() == 1);
  CHECK(ring.read(6, 10).events.empty());
  CHECK(ring.read(6, 10).next == 6);
  CHECK(ring.read(99, 10).events.empty());
}

TEST_CASE("random: the same seed gives the same bytes, and below() stays below") {
  SeededRandom a(1), b(1), c(2);
  CHECK(a.u64() == b.u64());
  CHECK(a.u64() != c.u64());
  for (int i = 0; i < 1000; ++i) CHECK(a.below(7) < 7);
}

TEST_CASE("reasons: every code is found again by its name, and no two are alike") {
  std::set<std::string_view> codes;
  for (size_t i = 0; i < kReasonCount; ++i) {
    const auto& row = info(static_cast<Reason>(i));
    CHECK(codes.insert(row.code).second);
    CHECK(reason_from_code(row.code) == row.reason);
  }
  CHECK(!reason_from_code("no-such-reason"));
}

TEST_CASE("log: values with blanks or control characters are quoted and escaped") {
  CHECK(format_line("up", {field("a", std::string("1")), field("b", std::string("x y\n"))}) == "up a=1 b=\"x y\\x0a\"");
}
