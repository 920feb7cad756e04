#include "tests/hwoffload/budget_sim.h"

#include <doctest/doctest.h>

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr size_t kBegin = 72, kSteady = 240;  // intervals of 5 s: 6 and 20 minutes

BudgetSimFigures steady(const BudgetSimSettings& settings, size_t intervals = kSteady) {
  BudgetSim sim(settings);
  sim.run(kBegin);
  sim.forget();
  sim.run(intervals);
  return sim.figures();
}

void check_it_is_worth_it(const BudgetSimSettings& settings, double moves_per_minute) {
  const BudgetSimFigures figures = steady(settings);

  INFO("seed ", settings.seed, ", share ", figures.share(), ", moves per minute ",
       figures.moves_per_minute(settings.interval));
  CHECK(figures.share() >= 0.95);
  CHECK(figures.moves_per_minute(settings.interval) <= moves_per_minute);
  CHECK(figures.moves_most <= settings.budget.moves_per_minute);
  CHECK(figures.over_room == 0);
}

/// A tenth of it, for what is compared.
BudgetSimSettings small() { return {.seats = 1000, .room = 100}; }

}  // namespace

TEST_CASE("budget in the simulation: 10,000 tunnels, room for 1,000: at least 95 % of what an oracle gets") {
  check_it_is_worth_it({}, 200);
}

TEST_CASE("budget in the simulation: the same where nothing is known of a flow that begins") {
  check_it_is_worth_it({.seed = 2, .flow = BudgetSimSettings::Flow::kAnyRank}, 300);
}

TEST_CASE("budget in the simulation: without moves the share is that of the room") {
  BudgetSimSettings settings = small();
  settings.budget.moves_per_minute = 0;
  const BudgetSimFigures figures = steady(settings);
  CHECK(figures.moves == 0);
  CHECK(figures.share() < 0.5);
}

TEST_CASE("budget in the simulation: hysteresis saves most of the moves and costs next to nothing") {
  BudgetSimSettings eager = small();
  eager.budget.hysteresis_percent = 0;
  eager.budget.stay_least = 0s;
  eager.budget.half_life = 1s;
  const BudgetSimFigures calm = steady(small()), hasty = steady(eager);
  CHECK(calm.moves * 3 < hasty.moves);
  CHECK(calm.share() > hasty.share() - 0.03);
}

TEST_CASE("budget in the simulation: few moves are made for the busiest first") {
  BudgetSimSettings settings = small();
  settings.budget.moves_per_minute = 10;
  const BudgetSimFigures figures = steady(settings, 2 * kSteady);
  CHECK(figures.moves_most <= 10);
  CHECK(figures.share() > 0.8);
}
