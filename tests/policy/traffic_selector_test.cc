#include <doctest/doctest.h>

#include "policy/limits.h"
#include "policy/plan.h"
#include "tests/policy/selector_support.h"

// Selectors as sets: what is narrowed, split and written down is exactly what was meant.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

IpRange range_between(IpAddress a, IpAddress b) { return b < a ? IpRange{b, a} : IpRange{a, b}; }

IpAddress draw_address(SeededRandom& random, Family family) {
  Bytes bytes(family == Family::kIpv4 ? 4 : 16);
  random.fill(bytes);
  // Long common beginnings, and edges of long runs of ones or zeros.
  const size_t same = random.below(bytes.size() + 1);
  std::fill(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(same), uint8_t{0x20});
  if (const uint64_t edge = random.below(4); edge < 2)
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(random.below(bytes.size())), bytes.end(),
              static_cast<uint8_t>(edge == 0 ? 0 : 0xff));
  return IpAddress::from_bytes(bytes).value();
}

}  // namespace

TEST_CASE("selector: OPAQUE ports lie within any port and nothing else") {
  const TrafficSelector opaque = parse_selector("10.0.0.0/8[tcp/opaque]").value();
  CHECK(opaque.opaque());
  CHECK(parse_selector("10.0.0.0/8[tcp]")->contains(opaque));
  CHECK(parse_selector("10.0.0.0/8")->contains(opaque));
  CHECK(opaque.contains(opaque));
  CHECK_FALSE(parse_selector("10.0.0.0/8[tcp/1-65535]")->contains(opaque));
  CHECK_FALSE(parse_selector("10.0.0.0/8[tcp/0-65534]")->contains(opaque));
  CHECK_FALSE(opaque.contains(parse_selector("10.0.0.0/8[tcp]").value()));
  CHECK_FALSE(intersect(opaque, parse_selector("10.0.0.0/8[tcp/443]").value()));
  CHECK(*intersect(opaque, parse_selector("10.1.0.0/16").value()) == parse_selector("10.1.0.0/16[tcp/opaque]").value());
}

TEST_CASE("selector: ICMP ranges are types, types with codes, and ranges of both") {
  CHECK(parse_selector("0.0.0.0/0[icmp/8-13]")->port_first == 0x0800);
  CHECK(parse_selector("0.0.0.0/0[icmp/8-13]")->port_last == 0x0dff);
  CHECK(parse_selector("0.0.0.0/0[icmp/3/1-3/4]")->port_first == 0x0301);
  CHECK(parse_selector("0.0.0.0/0[icmp/3/1-3/4]")->port_last == 0x0304);
  for (const char* text : {"0.0.0.0/0[icmp/8-13]", "0.0.0.0/0[icmp/3/1-3/4]", "::/0[icmpv6/128/0]", "::/0[icmpv6/1-4]",
                           "10.0.0.0/8[udp/opaque]", "10.0.0.0/8[icmp/0/0]", "10.0.0.0/8[icmp/0-254]"})
    CHECK(to_string(parse_selector(text).value()) == text);
  for (const char* bad : {"0.0.0.0/0[icmp/13-8]", "0.0.0.0/0[icmp/8/]", "0.0.0.0/0[icmp/8-]", "0.0.0.0/0[icmp/8/0/0]",
                          "0.0.0.0/0[icmp/3/4-3/1]", "10.0.0.0/8[tcp/Opaque]", "10.0.0.0/8[opaque]"})
    CHECK_MESSAGE(!parse_selector(bad).ok(), bad);
}

TEST_CASE("selector: what is written down is read again as the same, whatever it is") {
  SeededRandom random(11);
  for (int round = 0; round < 3000; ++round) {
    TrafficSelector selector = draw_selector(random, Draw::kAll);
    if (selector.protocol == 1 && !selector.opaque() && random.below(2) == 0)
      selector.port_last =
          static_cast<uint16_t>(std::max<int>(selector.port_first, static_cast<int>(random.below(65536))));
    CAPTURE(to_string(selector));
    const auto again = parse_selector(to_string(selector));
    REQUIRE(again.ok());
    CHECK(*again == selector);
  }
}

TEST_CASE("narrowing: its union is exactly what both unions have in common, at every edge") {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const SelectorList ours = draw_selectors(random, 5), theirs = draw_selectors(random, 5);
    const SelectorList both = narrow(ours, theirs);
    REQUIRE(both.size() < kSelectorsMax);
    size_t wrong = 0;
    for (const Point& each : edge_points({ours, theirs}))
      if (has(both, each) != (has(ours, each) && has(theirs, each))) ++wrong;
    CHECK(wrong == 0);
    for (size_t i = 0; i < both.size(); ++i)
      for (size_t j = 0; j < both.size(); ++j) CHECK((i == j || !both[i].contains(both[j])));
  }
}

TEST_CASE("narrowing: two full lists give at most a full list, never wider than either") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    SelectorList ours, theirs;
    for (uint32_t i = 0; i < kSelectorsMax; ++i) {
      TrafficSelector each{{IpAddress::v4(i << 24), IpAddress::v4(i << 24 | 0xffffff)}};
      ours.push_back(each);
      each = {{IpAddress::v4(0), IpAddress::v4(0x1fffffff)}, 6, static_cast<uint16_t>(2 * i), 0};
      each.port_last = each.port_first;
      theirs.push_back(each);
    }
    std::swap(theirs[0], theirs[random.below(kSelectorsMax)]);
    const SelectorList both = narrow(ours, theirs);
    CHECK(both.size() == kSelectorsMax);
    CHECK(all_within(both, ours));
    CHECK(all_within(both, theirs));
    CHECK(both.front() == *intersect(ours.front(), theirs.front()));
  }
}

TEST_CASE("narrowing: the packet's own selector keeps its place when a wider one takes it in") {
  const SelectorList offered = selectors_of({"10.1.9.9[tcp/80]", "10.2.0.0/16", "10.1.0.0/16"});
  CHECK(to_string(narrow(selectors_of({"0.0.0.0/0"}), offered)) == "10.1.0.0/16 10.2.0.0/16");
}

TEST_CASE("within: neighbours that were joined lie within what they were, and nothing more does") {
  const SelectorList halves = selectors_of({"10.0.0.0/24", "10.0.1.0/24"});
  CHECK(all_within(selectors_of({"10.0.0.0/23"}), halves));
  CHECK(all_within(selectors_of({"10.0.0.200-10.0.1.3[tcp/80]"}), halves));
  CHECK_FALSE(all_within(selectors_of({"10.0.0.0-10.0.2.0"}), halves));
  CHECK(all_within(selectors_of({"10.0.0.1[tcp/10-20]"}),
                   selectors_of({"10.0.0.0/8[tcp/0-15]", "10.0.0.0/8[tcp/16-99]"})));
  // All ports together are not yet "any": that has OPAQUE as well.
  CHECK_FALSE(
      all_within(selectors_of({"10.0.0.1[tcp]"}), selectors_of({"10.0.0.1[tcp/0-9]", "10.0.0.1[tcp/10-65535]"})));
  CHECK(all_within({}, {}));
}

TEST_CASE("within: is what comparing at every edge says") {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const SelectorList inner = draw_selectors(random, 2), outer = draw_selectors(random, 8);
    const auto points = edge_points({inner, outer});
    const bool within = std::all_of(points.begin(), points.end(),
                                    [&](const Point& each) { return !has(inner, each) || has(outer, each); });
    CHECK(all_within(inner, outer) == within);
  }
}

TEST_CASE("prefixes: of a range they are disjoint, the fewest, and together the range") {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const Family family = seed % 2 == 0 ? Family::kIpv4 : Family::kIpv6;
    const IpRange range = range_between(draw_address(random, family), draw_address(random, family));
    const auto prefixes = range.prefixes();

    CHECK(prefixes.size() == range.prefix_count());
    CHECK(prefixes.front().address == range.first);
    CHECK(prefixes.back().last() == range.last);
    for (size_t i = 1; i < prefixes.size(); ++i) CHECK(prefixes[i].address == prefixes[i - 1].last().next());
    // Blocks of which none fits into a greater one within the range are the fewest there can be.
    for (const IpPrefix& each : prefixes) {
      if (each.length == 0) continue;
      const auto bit = static_cast<uint8_t>(each.length - 1);
      const IpPrefix wider{each.address.with_bit(bit, 0), bit};
      CHECK_FALSE(range.contains(IpRange::of(wider)));
    }
  }
  CHECK(IpRange{IpAddress::v4(0), IpAddress::v4(0xffffffff)}.prefix_count() == 1);
  CHECK(IpRange{IpAddress::v4(1), IpAddress::v4(0xfffffffe)}.prefix_count() == 62);
  CHECK(IpRange{IpAddress::parse("::1").value(), IpAddress::last(Family::kIpv6).previous()}.prefix_count() == 254);
}

TEST_CASE("port blocks: of a range they are disjoint, the fewest, and together the range") {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    auto first = static_cast<uint16_t>(random.below(65536)), last = static_cast<uint16_t>(random.below(65536));
    if (last < first) std::swap(first, last);
    uint32_t next = first;
    for (const PortBlock& each : port_blocks(first, last)) {
      const uint32_t size = 65536U - each.mask;
      CHECK(each.value == next);
      CHECK(each.value % size == 0);
      next += size;
      const uint32_t wider = each.value / (2 * size) * (2 * size);
      CHECK((size == 65536 || wider < first || wider + 2 * size - 1 > last));
    }
    CHECK(next == uint32_t{last} + 1);
  }
}
