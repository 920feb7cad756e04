#pragma once

#include <vector>

#include "hwoffload/budget.h"
#include "policy/base/random.h"

/// Ten thousand tunnels with the load of real ones and one NIC with room for a tenth of them: what the budget brings,
/// beside an oracle that knows the rates of each interval beforehand and moves for nothing.
namespace ipsec::testing {

struct BudgetSimSettings {
  uint64_t seed = 1;
  size_t seats = 10'000, room = 1000;
  Duration interval = 5s;      ///< Of load, of reading counters and of decisions; a move takes one.
  double exponent = 1.1;       ///< Of Zipf: the tunnel of rank k has the share 1 / k^exponent.
  double busiest = 1e9;        ///< Bytes per second of rank 1.
  double jumps = 0.001;        ///< Part of the tunnels whose rank becomes a random one in a minute: 10 of 10,000.
  Duration busy_for = 900s;    ///< Flows begin and end: so long on average ...
  Duration silent_for = 300s;  ///< ... and so long there is nothing but keepalives.
  enum class Flow : uint8_t {
    kSameRank,  ///< A tunnel that becomes busy again is about as busy as before.
    kAnyRank,   ///< It is as busy as any other: nothing is known of it beforehand.
  } flow = Flow::kSameRank;
  double noise = 0.3;  ///< A rate is off by up to this part of it, anew in each interval.
  hwoffload::BudgetSettings budget;
};

struct BudgetSimFigures {
  double bytes = 0, on_nic = 0, optimum = 0;  ///< Of the intervals counted.
  size_t intervals = 0, moves = 0;
  size_t over_room = 0;   ///< Intervals in which more were on the NIC than it has room for.
  size_t moves_most = 0;  ///< In any minute, by the intervals of which it is made.
  double share() const { return optimum > 0 ? on_nic / optimum : 0; }
  double moves_per_minute(Duration interval) const;
};

/// Step by step, so that a benchmark can look at the watch between the steps.
class BudgetSim {
 public:
  explicit BudgetSim(const BudgetSimSettings& settings);

  /// The next interval's load goes over the NIC and past it.
  void carry();
  void observe();
  void decide();
  void interval() { carry(), observe(), decide(); }
  void run(size_t intervals) {
    for (size_t i = 0; i < intervals; ++i) interval();
  }
  /// What was counted so far is not counted: the beginning is over.
  void forget() { figures_ = {}; }
  const BudgetSimFigures& figures() const { return figures_; }
  hwoffload::Budget& budget() { return budget_; }
  Instant now() const { return now_; }

 private:
  double uniform();  // in [0, 1)
  void exchange_ranks(size_t a, size_t b);
  void drift();

  BudgetSimSettings settings_;
  SeededRandom random_;
  hwoffload::Budget budget_;
  Instant now_{3600s};
  std::vector<double> share_of_rank_, rate_;
  std::vector<uint32_t> rank_, seat_of_rank_;
  std::vector<uint8_t> busy_, on_nic_;
  std::vector<uint64_t> total_;
  std::vector<double> order_;  // for the oracle
  std::vector<hwoffload::Move> moving_;
  std::vector<size_t> lately_;  // moves of each interval of the last minute
  double pause_ = 0, begin_ = 0;
  BudgetSimFigures figures_;
};

}  // namespace ipsec::testing
