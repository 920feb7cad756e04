#include "tests/bench/offload.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "hwoffload/placement.h"
#include "policy/algorithms.h"
#include "tests/bench/limits.h"
#include "tests/hwoffload/budget_sim.h"

namespace ipsec::bench {

namespace {

constexpr size_t kBegin = 72;           // intervals of 5 s until the load is where it belongs
constexpr size_t kSteady = 240;         // intervals measured
constexpr double kShareLeast = 0.95;    // of the oracle's bytes
constexpr double kDecideMostUs = 0.25;  // microseconds per seat of one decide(), on average

/// Milliseconds of CPU.
template <typename Work>
double timed(Work work) {
  const double start = thread_cpu();
  work();
  return (thread_cpu() - start) / 1000;
}

}  // namespace

PlacementResult run_placements(size_t count) {
  const hwoffload::Situation situation{
      .devices = {{.name = "ens1f0np0", .present = true, .up = true, .driver = "mlx5_core"},
                  {.name = "ens1f1np1", .present = true, .up = true, .driver = "another"}}};
  hwoffload::SaNeeds needs;
  needs.suite = {policy::kEncrAesGcm16, 256, policy::kAuthNone, false};
  size_t rungs = 0;
  const double took = timed([&] {
    for (size_t i = 0; i < count; ++i) {
      needs.udp_encapsulation = i % 4 == 0;
      rungs += hwoffload::place(needs, situation, policy::OffloadMode::kAuto).attempts.size();
    }
  });
  VERIFY(rungs >= count);
  return {.per_second = static_cast<double>(count) * 1000 / took};
}

BudgetResult run_budget(size_t seats, size_t intervals) {
  testing::BudgetSimSettings settings{.seats = seats, .room = seats / 10};
  // A tenth of the tunnels has the NIC, and as many come and go: the minute has to grow with them.
  settings.budget.moves_per_minute = static_cast<uint32_t>(std::clamp<size_t>(seats * 6 / 100, 20, 60'000));
  settings.budget.moves_at_once = settings.budget.moves_per_minute;
  BudgetResult result{.seats = seats, .room = settings.room};
  testing::BudgetSim sim(settings);
  sim.run(kBegin);
  sim.forget();
  for (size_t i = 0; i < intervals; ++i) {
    sim.carry();
    result.observe_ns += timed([&] { sim.observe(); }) * 1e6;
    const double took = timed([&] { sim.decide(); });
    result.decide_ms += took;
    result.decide_worst_ms = std::max(result.decide_worst_ms, took);
  }
  result.decide_ms /= static_cast<double>(intervals);
  result.observe_ns /= static_cast<double>(intervals * seats);
  const testing::BudgetSimFigures& figures = sim.figures();
  result.share = figures.share();
  result.share_of_all = figures.on_nic / figures.bytes;
  result.moves_per_minute = figures.moves_per_minute(settings.interval);
  result.moves_most = figures.moves_most;
  hwoffload::Budget& budget = sim.budget();
  result.seat_for_ns = timed([&] {
                         for (size_t i = 0; i < seats; ++i) (void)budget.seat_for(sim.now(), i);
                       }) *
                       1e6 / static_cast<double>(seats);
  VERIFY(budget.set_device(sim.now(), {.name = "nic", .state = hwoffload::DeviceRoom::State::kLost, .configured = {}})
             .ok());
  result.lost_ms = timed([&] { result.fled = budget.decide(sim.now()).size(); });
  return result;
}

int print_offload(size_t count, bool json) {
  const PlacementResult placements = run_placements(count * 10);
  std::printf(json ? "{\"what\": \"placement\", \"per_second\": %.0f}\n" : "placement: %.0f decisions per second\n",
              placements.per_second);
  const std::array results{run_budget(count / 10, kSteady), run_budget(count, kSteady / 10)};
  bool all = true;
  if (!json)
    std::printf(
        "budget: room for a tenth, 5 s between decisions, Zipf 1.1 with flows that begin and end\n"
        "  %8s %7s %11s %9s %9s %10s %9s %10s %8s %8s %10s %9s\n",
        "tunnels", "room", "decide ms", "worst ms", "lost ms", "seats off", "observe", "seat_for", "oracle", "of all",
        "moves/min", "at most");
  for (const BudgetResult& r : results) {
    all = all && r.share >= kShareLeast && r.decide_ms * 1000 <= kDecideMostUs * static_cast<double>(r.seats);
    std::printf(json ? "{\"what\": \"budget\", \"tunnels\": %zu, \"room\": %zu, \"decide_ms\": %.3f, "
                       "\"decide_worst_ms\": %.3f, \"lost_ms\": %.3f, \"fled\": %zu, \"observe_ns\": %.0f, "
                       "\"seat_for_ns\": %.0f, \"share_of_oracle\": %.4f, \"share_of_all\": %.4f, "
                       "\"moves_per_minute\": %.0f, \"moves_most\": %zu}\n"
                     : "  %8zu %7zu %11.3f %9.3f %9.3f %10zu %6.0f ns %7.0f ns %7.1f%% %7.1f%% %10.0f %9zu\n",
                r.seats, r.room, r.decide_ms, r.decide_worst_ms, r.lost_ms, r.fled, r.observe_ns, r.seat_for_ns,
                json ? r.share : 100 * r.share, json ? r.share_of_all : 100 * r.share_of_all, r.moves_per_minute,
                r.moves_most);
  }
  return all ? 0 : 1;
}

}  // namespace ipsec::bench
