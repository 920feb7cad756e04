#include "policy/selector_fit.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "policy/limits.h"
#include "policy/plan.h"
#include "tests/policy/selector_support.h"

// Selectors against the number of kernel policies: narrowed for a peer, split for the configuration.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

ChildConfig child_of(SelectorList local, SelectorList remote) {
  return {
      .name = "lan", .local = std::move(local), .remote = std::move(remote), .policy = std::make_shared<ChildPolicy>()};
}

std::string text(const SelectorPair& pair) { return to_string(pair.local) + " <-> " + to_string(pair.remote); }
template <typename Pair>
std::string text(const Result<Pair>& pair) {
  return pair.ok() ? text(*pair) : pair.error().detail();
}

/// Whether a packet between these two is carried: both ends, and one protocol.
bool carries(const SelectorPair& pair, const Point& local, const Point& remote) {
  if (local.address.family() != remote.address.family() || local.protocol != remote.protocol) return false;
  return has(pair.local, local) && has(pair.remote, remote);
}

}  // namespace

TEST_CASE("policies needed: are as many as the plan makes, and what the plan refuses is refused") {
  size_t counted = 0, refused = 0;
  for (uint64_t seed = 1; seed <= 1500; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const SelectorPair pair{{draw_selector(random, Draw::kAll)}, {draw_selector(random, Draw::kAll)}};
    const auto needed = policies_needed(pair);
    const auto made = policy_keys(pair.local, pair.remote);
    CHECK((needed.ok() && *needed > 0) == made.ok());
    if (needed.ok() && made.ok()) CHECK(*needed == made->size());
    ++(made.ok() ? counted : refused);
  }
  CHECK(counted > 300);
  CHECK(refused > 300);
}

TEST_CASE("narrowing to fit: what fits is the whole intersection, of both families, and only what has a counterpart") {
  const SelectorPair configured{selectors_of({"10.1.0.0/16", "2001:db8:1::/48"}),
                                selectors_of({"10.2.0.0/16", "2001:db8:2::/48"})};
  const SelectorPair all{selectors_of({"0.0.0.0/0", "::/0"}), selectors_of({"0.0.0.0/0", "::/0"})};
  CHECK(narrow_to_fit(configured, all, 2).value() == configured);

  const SelectorPair half{selectors_of({"0.0.0.0/0", "::/0"}), selectors_of({"0.0.0.0/0"})};
  CHECK(text(narrow_to_fit(configured, half, 256)) == "10.1.0.0/16 <-> 10.2.0.0/16");
  const SelectorPair none{selectors_of({"::/0"}), selectors_of({"0.0.0.0/0"})};
  CHECK(narrow_to_fit(configured, none, 256).error().reason() == Reason::kTsUnacceptable);
}

TEST_CASE("narrowing to fit: what one child SA has no room for is left out, and only then that is said") {
  SelectorPair ours{selectors_of({"10.1.0.0/16"}), selectors_of({"10.2.0.0/16"})}, theirs{ours.local, {}};
  for (int i = 0; i < 40; ++i) theirs.remote.push_back(parse_selector("10.2." + std::to_string(i) + ".0/24").value());
  CHECK(narrow_to_fit(ours, theirs, 256)->remote.size() == 40);
  CHECK_FALSE(narrow_to_fit(ours, theirs, 256)->left_out);
  CHECK_FALSE(narrow_to_fit(ours, ours, 256)->left_out);
  CHECK(narrow_to_fit(ours, theirs, 39)->remote.size() == 39);
  CHECK(narrow_to_fit(ours, theirs, 39)->left_out);
  // More than a list takes: 16 ports of each of 40 networks.
  SelectorList ports;
  for (int i = 0; i < 16; ++i) ports.push_back(parse_selector("0.0.0.0/0[tcp/" + std::to_string(2 * i) + "]").value());
  const auto cut = narrow_to_fit({ours.local, ports}, {ours.local, theirs.remote}, SIZE_MAX);
  REQUIRE(cut.ok());
  CHECK(cut->remote.size() == kSelectorsMax);
  CHECK(cut->left_out);
}

TEST_CASE("narrowing to fit: the packet's own selectors stay, then as many as fit in the order of the offer") {
  const SelectorPair configured{selectors_of({"10.1.0.0/16"}), selectors_of({"10.2.0.0/16"})};
  const SelectorPair offered{selectors_of({"10.1.0.9[tcp/80]", "10.1.0.0-10.1.0.2", "10.1.0.0/16"}),
                             selectors_of({"10.2.0.7[tcp/4000]", "10.2.0.0/24", "10.2.1.0/24"})};
  CHECK(text(narrow_to_fit(configured, offered, 256)) == "10.1.0.0/16 <-> 10.2.0.0/24 10.2.1.0/24");
  CHECK(text(narrow_to_fit(configured, offered, 1)) == "10.1.0.0/16 <-> 10.2.0.0/24");
  const SelectorPair ranges{selectors_of({"10.1.0.9", "10.1.1.0-10.1.1.2", "10.1.2.0/24"}),
                            selectors_of({"10.2.0.7", "10.2.1.0/24"})};
  CHECK(text(narrow_to_fit(configured, ranges, 2)) == "10.1.0.9/32 <-> 10.2.0.7/32 10.2.1.0/24");
  CHECK(text(narrow_to_fit(configured, ranges, 4)) == "10.1.0.9/32 10.1.1.0-10.1.1.2 10.1.2.0/24 <-> 10.2.0.7/32");
}

TEST_CASE("narrowing to fit: what the packet needs and cannot have is told with both numbers") {
  const SelectorPair configured{selectors_of({"0.0.0.0/0"}), selectors_of({"0.0.0.0/0"})};
  const SelectorPair offered{selectors_of({"10.1.0.0/16[tcp/1-65534]", "10.9.0.0/16"}),
                             selectors_of({"10.2.0.0/16[tcp/1-65534]"})};
  const auto refused = narrow_to_fit(configured, offered, 256);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().reason() == Reason::kSelectorCount);
  CHECK(refused.error().detail() == "900 kernel policies would be needed, at most 256 are allowed");
  CHECK(narrow_to_fit(configured, offered, 1000).ok());
}

TEST_CASE("narrowing to fit: what the kernel cannot express is left out, unless the packet needs it") {
  const SelectorPair configured{selectors_of({"10.1.0.0/16"}), selectors_of({"10.2.0.0/16"})};
  const SelectorPair beside{selectors_of({"10.1.0.1[tcp/80]", "10.1.0.0/24[tcp/opaque]"}),
                            selectors_of({"10.2.0.1[tcp]"})};
  CHECK(text(narrow_to_fit(configured, beside, 256)) == "10.1.0.1/32[tcp/80] <-> 10.2.0.1/32[tcp]");
  const SelectorPair own{selectors_of({"10.1.0.0/24[tcp/opaque]"}), selectors_of({"10.2.0.1[tcp]"})};
  CHECK(narrow_to_fit(configured, own, 256).error().reason() == Reason::kTsUnacceptable);
}

TEST_CASE("narrowing to fit: whatever is offered, the answer fits, is within both, and has the packet") {
  size_t narrowed = 0, refused = 0;
  for (uint64_t seed = 1; seed <= 600; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const SelectorPair ours{draw_selectors(random, 4), draw_selectors(random, 4)};
    const SelectorPair theirs{draw_selectors(random, 4), draw_selectors(random, 4)};
    const size_t most = 1 + random.below(40);
    const auto answer = narrow_to_fit(ours, theirs, most);
    if (!answer.ok()) {
      ++refused;
      continue;
    }
    const auto needed = policies_needed(*answer);
    REQUIRE(needed.ok());
    CHECK(*needed > 0);
    CHECK(*needed <= most);
    CHECK(policy_keys(answer->local, answer->remote).ok());
    CHECK(all_within(answer->local, ours.local));
    CHECK(all_within(answer->local, theirs.local));
    CHECK(all_within(answer->remote, ours.remote));
    CHECK(all_within(answer->remote, theirs.remote));
    if (answer->local != narrow(ours.local, theirs.local)) ++narrowed;
  }
  CHECK(narrowed > 20);
  CHECK(refused > 20);
}

TEST_CASE("single pair: the packet's pair is taken out of a wider offer, an offer without one is refused") {
  const SelectorPair nets{selectors_of({"10.1.0.0/16"}), selectors_of({"10.2.0.0/16"})};
  const SelectorPair hosts{selectors_of({"10.1.0.5"}), selectors_of({"10.2.0.5"})};

  CHECK(text(single_pair(nets, hosts)) == text(hosts));
  CHECK(text(single_pair(hosts, nets)) == text(hosts));
  CHECK(text(single_pair(nets, {selectors_of({"10.1.0.9[tcp/80]", "10.1.0.0/16"}),
                                selectors_of({"10.2.0.7[tcp/4000]", "10.2.0.0/16"})})) ==
        "10.1.0.9/32[tcp/80] <-> 10.2.0.7/32[tcp/4000]");
  for (const auto& [local, remote] :
       {std::pair("10.1.0.0/24", "10.2.0.7"), {"10.1.0.9", "10.2.0.0/24"}, {"10.1.0.9[tcp/80-81]", "10.2.0.7"}}) {
    const auto refused = single_pair(nets, {selectors_of({local}), selectors_of({remote})});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().reason() == Reason::kSinglePairRequired);
  }
  CHECK(single_pair(nets, {selectors_of({"10.3.0.1"}), selectors_of({"10.2.0.7"})}).error().reason() ==
        Reason::kTsUnacceptable);
}

TEST_CASE("select traffic: follows what the child's policy says") {
  ChildConfig child = child_of(selectors_of({"10.1.0.0/16"}), selectors_of({"10.2.0.0/16"}));
  const SelectorPair nets{child.local, child.remote};
  CHECK(select_traffic(child, nets).value() == nets);
  ChildPolicy strict;
  strict.single_pair = true;
  child.policy = std::make_shared<ChildPolicy>(strict);
  CHECK(select_traffic(child, nets).error().reason() == Reason::kSinglePairRequired);
}

TEST_CASE("split: a child that fits stays itself") {
  const ChildConfig child = child_of(selectors_of({"10.1.0.0/16"}), selectors_of({"10.2.0.0/16"}));
  const auto parts = split_child(child, 1).value();
  REQUIRE(parts.size() == 1);
  CHECK(parts[0].name == "lan");
  CHECK(parts[0].split_from.empty());
}

TEST_CASE("split: a range that is many prefixes becomes parts with names in order") {
  const auto parts =
      split_child(child_of(selectors_of({"10.1.0.0/16"}), selectors_of({"10.2.0.1-10.2.0.30"})), 4).value();
  REQUIRE(parts.size() == 2);
  CHECK(parts[0].name == "lan.1");
  CHECK(parts[1].name == "lan.2");
  CHECK(parts[1].split_from == "lan");
  CHECK(to_string(parts[0].remote) == "10.2.0.1-10.2.0.15");
  CHECK(to_string(parts[1].remote) == "10.2.0.16-10.2.0.30");
}

TEST_CASE("split: more parts than may be are refused with the limit") {
  const auto refused =
      split_child(child_of(selectors_of({"10.1.0.0/16[tcp/1-65534]"}), selectors_of({"10.2.0.0/16[tcp/1-65534]"})), 1);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().reason() == Reason::kSelectorCount);
  CHECK(refused.error().detail() == "more than 256 children of at most 1 kernel policies would be needed");
}

TEST_CASE("split: the parts fit, carry together exactly what the child does, and what does not overlap stays so") {
  size_t split = 0;
  for (uint64_t seed = 1; seed <= 120; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const bool overlapping = seed % 2 == 0;
    const ChildConfig child = child_of(draw_selectors(random, overlapping ? 3 : 1, Draw::kExpressible),
                                       draw_selectors(random, overlapping ? 3 : 1, Draw::kExpressible));
    const size_t most = 1 + random.below(8);
    const auto parts = split_child(child, most);
    if (!parts.ok()) continue;  // more parts than allowed
    if (parts->size() > 1) ++split;
    for (const ChildConfig& part : *parts)
      if (parts->size() > 1) CHECK(policies_needed({part.local, part.remote}).value() <= most);

    const auto locals = edge_points({child.local}), remotes = edge_points({child.remote});
    size_t wrong = 0, twice = 0;
    for (int i = 0; i < 4000; ++i) {
      const Point& local = locals[random.below(locals.size())];
      const Point& remote = remotes[random.below(remotes.size())];
      if (local.opaque || remote.opaque) continue;
      const auto holders = std::count_if(parts->begin(), parts->end(), [&](const ChildConfig& part) {
        return carries({part.local, part.remote}, local, remote);
      });
      if ((holders > 0) != carries({child.local, child.remote}, local, remote)) ++wrong;
      if (holders > 1) ++twice;
    }
    CHECK(wrong == 0);
    if (!overlapping) CHECK(twice == 0);
  }
  CHECK(split > 30);
}

namespace {

/// narrow_to_fit(), written down as its documentation says it, with everything counted anew each time.
Result<SelectorPair> fit_by_the_book(const SelectorPair& configured, const SelectorPair& offered, size_t most) {
  auto fits = [&](const SelectorPair& pair) {
    const auto needed = policies_needed(pair);
    return needed.ok() && *needed != 0 && *needed <= most;
  };
  // What narrow_to_fit() makes of all without a limit is the whole intersection.
  const auto whole = narrow_to_fit(configured, offered, SIZE_MAX);
  if (!whole.ok()) return Error(whole.error().reason());
  if (fits(*whole)) return SelectorPair(*whole);
  const auto packet = narrow_to_fit(configured, {{offered.local.front()}, {offered.remote.front()}}, SIZE_MAX);
  if (!packet.ok()) return Error(Reason::kNone);  // another rule, tested above
  SelectorPair chosen{{packet->local.front()}, {packet->remote.front()}};
  if (!fits(chosen)) return Error(Reason::kSelectorCount);
  for (size_t i = 0; i < std::max(whole->local.size(), whole->remote.size()); ++i) {
    for (SelectorList SelectorPair::*side : {&SelectorPair::local, &SelectorPair::remote}) {
      if (i >= ((*whole).*side).size()) continue;
      SelectorPair more = chosen;
      add_selector(more.*side, ((*whole).*side)[i]);
      if (fits(more)) chosen = std::move(more);
    }
  }
  return chosen;
}

}  // namespace

TEST_CASE("narrowing to fit: what is counted step by step is what is counted anew") {
  size_t narrowed = 0;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const SelectorPair configured{draw_selectors(random, 3, Draw::kExpressible),
                                  draw_selectors(random, 3, Draw::kExpressible)};
    const SelectorPair offered{draw_selectors(random, 12, Draw::kExpressible),
                               draw_selectors(random, 12, Draw::kExpressible)};
    const size_t most = 1 + random.below(40);
    const auto expected = fit_by_the_book(configured, offered, most);
    if (!expected.ok()) continue;
    const auto made = narrow_to_fit(configured, offered, most);
    REQUIRE(made.ok());
    // Of what is chosen nothing is without a counterpart.
    CHECK(std::ranges::includes(std::set(expected->local.begin(), expected->local.end()),
                                std::set(made->local.begin(), made->local.end())));
    CHECK(policies_needed(*made).value() == policies_needed(*expected).value());
    ++narrowed;
  }
  CHECK(narrowed > 300);
}

TEST_CASE("selectors that meet: whenever an answer can be made, the cheap question says so") {
  size_t met = 0;
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const ChildConfig child =
        child_of(draw_selectors(random, 2, Draw::kExpressible), draw_selectors(random, 2, Draw::kExpressible));
    const SelectorPair offered{draw_selectors(random, 2, Draw::kExpressible),
                               draw_selectors(random, 2, Draw::kExpressible)};
    const bool meets = traffic_meets(child, offered);
    CHECK(meets == narrow_to_fit({child.local, child.remote}, offered, SIZE_MAX).ok());
    if (meets) ++met;
  }
  CHECK(met > 200);
  CHECK(met < 1900);
}

TEST_CASE("selectors within: a comparison that is made to be slow ends, and counts as not within") {
  // Each of these overlaps all others, none lies within one, and their union is one range.
  SelectorList staggered;
  for (uint32_t i = 0; i < 255; ++i)
    staggered.push_back({.addresses = {IpAddress::v4(0x0a000000U + i * 7), IpAddress::v4(0x0a002000U + i * 11)},
                         .protocol = 6,
                         .port_first = static_cast<uint16_t>(i + 1),
                         .port_last = static_cast<uint16_t>(40000 + i * 3)});
  size_t pieces_left = kCoverPiecesMax;
  SelectorList inner(200, staggered.front());
  for (size_t i = 0; i < inner.size(); ++i) {
    inner[i].port_last = 65000;
    inner[i].port_first = static_cast<uint16_t>(2 * i + 1);
  }
  CHECK_FALSE(all_within(inner, staggered, pieces_left));
  CHECK(pieces_left < kCoverPiecesMax);

  pieces_left = 0;
  CHECK_FALSE(all_within(selectors_of({"10.0.0.0/24"}), selectors_of({"10.0.0.0/25", "10.0.0.128/25"}), pieces_left));
  CHECK(all_within(selectors_of({"10.0.0.0/24"}), selectors_of({"10.0.0.0/25", "10.0.0.128/25"})));
}

TEST_CASE("selectors within: a grid of 255 fits the bound in any order") {
  SelectorList cells;
  for (uint32_t row = 0; row < 15; ++row)
    for (uint32_t column = 0; column < 17; ++column) {
      const uint32_t ports = column * 4096;
      cells.push_back({.addresses = {IpAddress::v4(0x0a000000U + row * 256), IpAddress::v4(0x0a0000ffU + row * 256)},
                       .protocol = 6,
                       .port_first = static_cast<uint16_t>(std::min(ports, 65535U)),
                       .port_last = static_cast<uint16_t>(std::min(ports + 4095, 65535U))});
    }
  TrafficSelector whole = cells.front();
  whole.addresses.last = cells.back().addresses.last;
  whole.port_last = 65534;
  SeededRandom random(3);
  for (int round = 0; round < 20; ++round) {
    for (size_t i = cells.size(); i > 1; --i) std::swap(cells[i - 1], cells[random.below(i)]);
    CHECK(all_within(std::vector{whole}, cells));
  }
}
