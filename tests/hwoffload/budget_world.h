#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hwoffload/budget.h"

namespace ipsec::hwoffload::testing {

using Texts = std::vector<std::string>;
inline const Place kNowhere;  // software

/// A budget, a clock and an obedient agent.
struct World {
  explicit World(BudgetSettings settings = {}) : budget(settings) {}

  Budget budget;
  Instant now{1000s};
  std::map<SeatId, double> rates;
  std::map<SeatId, uint64_t> totals;

  void nic(const std::string& name, std::optional<size_t> room = {},
           DeviceRoom::State state = DeviceRoom::State::kUsable) {
    REQUIRE(budget.set_device(now, {name, state, room}).ok());
  }
  void lose(const std::string& name, std::optional<size_t> room = {}) { nic(name, room, DeviceRoom::State::kLost); }
  /// A seat that was read back somewhere.
  void seat(SeatId id, double rate, const std::vector<std::string>& devices, const Place& where = {},
            Pin pin = Pin::kNone) {
    REQUIRE(budget.add(id, devices, pin).ok());
    budget.placed(now, id, where);
    rates[id] = rate;
  }
  /// Counters run for so long, observed each second.
  void run(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      now = now + 1s;
      for (const auto& [id, rate] : rates) budget.observe(now, id, totals[id] += static_cast<uint64_t>(rate));
    }
  }
  /// "3 ens1>software pushed out ...".
  Texts decide() {
    Texts texts;
    for (const Move& each : budget.decide(now)) {
      sent.push_back(each);
      texts.push_back(std::to_string(each.seat) + " " + each.from.value_or("software") + ">" +
                      each.to.value_or("software") + " " + std::string(to_string(each.why)));
    }
    return texts;
  }
  void obey() {
    for (const Move& each : std::exchange(sent, {})) budget.placed(now, each.seat, each.to);
  }
  /// Decides and obeys until there is nothing more to do; how many moves that took.
  size_t converge() {
    size_t moves = 0;
    for (int round = 0; round < 100; ++round) {
      const size_t more = decide().size();
      if (more == 0 && budget.moves_under_way() == 0) return moves;
      moves += more;
      obey();
    }
    FAIL("no end of moves");
    return moves;
  }
  std::set<SeatId> on(const Place& place) const {
    std::set<SeatId> ids;
    for (const SeatView& each : budget.seats())
      if (each.place == place) ids.insert(each.seat);
    return ids;
  }
  Why why(SeatId id) const { return budget.seat(id)->why; }
  DeviceView device(const std::string& name) const {
    const auto all = budget.devices();
    const auto it = std::ranges::find(all, name, &DeviceView::name);
    REQUIRE(it != all.end());
    return *it;
  }

  std::vector<Move> sent;  // and not made yet
};

using Ids = std::set<SeatId>;
inline const Place kNic = "ens1";

}  // namespace ipsec::hwoffload::testing
