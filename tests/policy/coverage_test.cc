#include "policy/coverage.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "policy/base/random.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

SelectorList list(std::initializer_list<const char*> texts) {
  SelectorList all;
  for (const char* each : texts) all.push_back(parse_selector(each).value());
  return all;
}

std::string left(const SelectorPair& configured, const std::vector<SelectorPair>& carried) {
  return to_string(uncovered(configured, carried), 10);
}

std::optional<TrafficPair> packet(const char* local, const char* remote) {
  return TrafficPair{parse_selector(local).value(), parse_selector(remote).value()};
}

}  // namespace

TEST_CASE("coverage: what carries everything leaves nothing, however it is cut") {
  const SelectorPair two{list({"10.1.0.0/24", "10.1.9.0/24"}), list({"10.2.0.0/24", "10.3.0.0/24"})};
  CHECK(left(two, {two}).empty());
  CHECK(left(two, {{list({"10.1.0.0/16"}), list({"0.0.0.0/0"})}}).empty());
  CHECK(left(two, {{list({"10.1.0.0/25", "10.1.0.128/25", "10.1.9.0/24"}), two.remote}}).empty());
  CHECK(left(two, {{list({"10.1.0.0/24"}), two.remote}, {list({"10.1.9.0/24"}), two.remote}}).empty());
}

TEST_CASE("coverage: of a list of which the peer has taken one pair the other pairs are left") {
  const SelectorPair two{list({"10.1.0.0/24", "10.1.9.0/24"}), list({"10.2.0.0/24", "10.3.0.0/24"})};
  const SelectorPair first{list({"10.1.0.0/24"}), list({"10.2.0.0/24"})};
  CHECK(left(two, {first}) == "10.1.0.0/24 - 10.3.0.0/24, 10.1.9.0/24 - 10.2.0.0/24, 10.1.9.0/24 - 10.3.0.0/24");
  CHECK(left(two, {}).starts_with("10.1.0.0/24 - 10.2.0.0/24, "));
  CHECK(to_string(uncovered(two, {}), 1) == "10.1.0.0/24 - 10.2.0.0/24 and 3 more");
}

TEST_CASE("coverage: of a network of which the peer has taken a part the ranges beside it are left") {
  CHECK(left({list({"10.1.0.0/24"}), list({"10.2.0.0/16"})}, {{list({"10.1.0.0/24"}), list({"10.2.1.0/24"})}}) ==
        "10.1.0.0/24 - 10.2.0.0/24, 10.1.0.0/24 - 10.2.2.0-10.2.255.255");
  CHECK(left({list({"10.1.0.0/24"}), list({"10.2.0.0/24"})}, {{list({"10.1.0.7"}), list({"10.2.0.255"})}}) ==
        "10.1.0.0-10.1.0.6 - 10.2.0.0/24, 10.1.0.8-10.1.0.255 - 10.2.0.0/24, 10.1.0.7/32 - 10.2.0.0-10.2.0.254");
}

TEST_CASE("coverage: families do not mix, and a part of the protocols leaves the whole pair") {
  const SelectorPair both{list({"10.1.0.0/24", "fd00:1::/64"}), list({"10.2.0.0/24", "fd00:2::/64"})};
  CHECK(left(both, {}) == "10.1.0.0/24 - 10.2.0.0/24, fd00:1::/64 - fd00:2::/64");
  CHECK(left(both, {{list({"10.1.0.0/24"}), list({"10.2.0.0/24"})}}) == "fd00:1::/64 - fd00:2::/64");
  const SelectorPair any{list({"10.1.0.0/24"}), list({"10.2.0.0/24"})};
  CHECK(left(any, {{list({"10.1.0.0/24[tcp]"}), list({"10.2.0.0/24[tcp]"})}}) == "10.1.0.0/24 - 10.2.0.0/24");
  CHECK(left({list({"10.1.0.0/24[tcp]"}), list({"10.2.0.0/24[tcp]"})}, {any}).empty());
}

TEST_CASE("coverage: the next request has the packet's pair, else the first local selector with all of its remotes") {
  const SelectorPair two{list({"10.1.0.0/24", "10.1.9.0/24"}), list({"10.2.0.0/24", "10.3.0.0/24"})};
  const auto pairs = uncovered(two, {});
  CHECK(next_request(pairs, {}) == SelectorPair{list({"10.1.0.0/24"}), two.remote});
  CHECK(next_request(pairs, packet("10.1.9.2", "10.3.0.1")) ==
        SelectorPair{list({"10.1.9.0/24"}), list({"10.3.0.0/24"})});
  CHECK_FALSE(next_request(pairs, packet("10.1.9.2", "10.4.0.1")));
  CHECK_FALSE(next_request({}, {}));
}

TEST_CASE("coverage: whatever is carried, each address pair is either carried or left") {
  SeededRandom random(4711);
  const auto range = [&](uint8_t net) {
    uint8_t a = static_cast<uint8_t>(random.below(256)), b = static_cast<uint8_t>(random.below(256));
    if (b < a) std::swap(a, b);
    const std::string prefix = "10." + std::to_string(net) + ".0.";
    return parse_selector(prefix + std::to_string(a) + "-" + prefix + std::to_string(b)).value();
  };
  for (int round = 0; round < 200; ++round) {
    const SelectorPair configured{{range(1), range(1)}, {range(2), range(2)}};
    std::vector<SelectorPair> carried;
    for (size_t i = 0; i < random.below(4); ++i) carried.push_back({{range(1)}, {range(2), range(2)}});
    const auto rest = uncovered(configured, carried);
    for (int i = 0; i < 50; ++i) {
      const TrafficSelector local = parse_selector("10.1.0." + std::to_string(random.below(256))).value();
      const TrafficSelector remote = parse_selector("10.2.0." + std::to_string(random.below(256))).value();
      const auto has = [&](const SelectorPair& pair) {
        return all_within(std::vector{local}, pair.local) && all_within(std::vector{remote}, pair.remote);
      };
      const bool is_carried = std::ranges::any_of(carried, has);
      const bool is_left = std::ranges::any_of(
          rest, [&](const TrafficPair& each) { return each.first.contains(local) && each.second.contains(remote); });
      CHECK(is_left == (has(configured) && !is_carried));
    }
  }
}

TEST_CASE("coverage: the work of one call is bounded, and what is not looked at counts as left") {
  SelectorPair grid;
  std::vector<SelectorPair> carried;
  for (int i = 0; i < 250; ++i) {
    grid.local.push_back(parse_selector("10.1." + std::to_string(i) + ".0/24").value());
    grid.remote.push_back(parse_selector("10.2." + std::to_string(i) + ".0/24").value());
    carried.push_back({{grid.local.back()}, {grid.remote.back()}});
  }
  CHECK(uncovered(grid, carried).size() >= 250 * 250 - 250);
}
