#include "tests/hwoffload/budget_sim.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace ipsec::testing {

using namespace hwoffload;

namespace {

constexpr double kKeepalives = 4;  // bytes per second of a silent tunnel

/// The part of those in a state that leave it in one interval.
double leave(Duration interval, Duration average) {
  return 1 - std::exp(-std::chrono::duration<double>(interval) / std::chrono::duration<double>(average));
}

}  // namespace

double BudgetSimFigures::moves_per_minute(Duration interval) const {
  const double minutes = std::chrono::duration<double>(interval).count() * static_cast<double>(intervals) / 60;
  return minutes > 0 ? static_cast<double>(moves) / minutes : 0;
}

BudgetSim::BudgetSim(const BudgetSimSettings& settings)
    : settings_(settings),
      random_(settings.seed),
      budget_(settings.budget),
      share_of_rank_(settings.seats),
      rate_(settings.seats),
      rank_(settings.seats),
      seat_of_rank_(settings.seats),
      busy_(settings.seats),
      on_nic_(settings.seats),
      total_(settings.seats) {
  VERIFY(budget_.set_device(now_, {.name = "nic", .configured = settings.room}).ok());
  std::iota(seat_of_rank_.begin(), seat_of_rank_.end(), 0U);
  for (size_t i = settings.seats - 1; i > 0; --i) std::swap(seat_of_rank_[i], seat_of_rank_[random_.below(i + 1)]);
  pause_ = leave(settings.interval, settings.busy_for);
  begin_ = leave(settings.interval, settings.silent_for);
  for (uint32_t k = 0; k < settings.seats; ++k) {
    share_of_rank_[k] = settings.busiest / std::pow(k + 1, settings.exponent);
    rank_[seat_of_rank_[k]] = k;
    busy_[k] = uniform() < begin_ / (begin_ + pause_) ? 1 : 0;
    VERIFY(budget_.add(k, {"nic"}, Pin::kNone).ok());
    const Place place = budget_.seat_for(now_, k);  // all tunnels come up at once: the first ones have the NIC
    on_nic_[k] = place ? 1 : 0;
    budget_.placed(now_, k, place);
  }
  observe();
}

double BudgetSim::uniform() { return static_cast<double>(random_.u32()) / 4294967296.0; }

void BudgetSim::exchange_ranks(size_t a, size_t b) {
  std::swap(seat_of_rank_[a], seat_of_rank_[b]);
  rank_[seat_of_rank_[a]] = static_cast<uint32_t>(a);
  rank_[seat_of_rank_[b]] = static_cast<uint32_t>(b);
}

void BudgetSim::drift() {
  for (size_t i = 0; i < busy_.size(); ++i) {
    if (uniform() >= (busy_[i] != 0 ? pause_ : begin_)) continue;
    busy_[i] ^= 1;
    if (busy_[i] != 0 && settings_.flow == BudgetSimSettings::Flow::kAnyRank)
      exchange_ranks(rank_[i], random_.below(rank_.size()));
  }
  const double minutes = std::chrono::duration<double>(settings_.interval).count() / 60;
  double jumps = settings_.jumps * static_cast<double>(settings_.seats) * minutes;
  for (; jumps > 0; --jumps)
    if (jumps >= 1 || uniform() < jumps) exchange_ranks(random_.below(rank_.size()), random_.below(rank_.size()));
}

void BudgetSim::carry() {
  drift();
  now_ = now_ + settings_.interval;
  const double seconds = std::chrono::duration<double>(settings_.interval).count();
  size_t there = 0;
  for (size_t i = 0; i < rate_.size(); ++i) {
    const double noise = 1 + settings_.noise * (2 * uniform() - 1);
    rate_[i] = busy_[i] != 0 ? share_of_rank_[rank_[i]] * noise : kKeepalives;
    total_[i] += static_cast<uint64_t>(rate_[i] * seconds);
    figures_.bytes += rate_[i] * seconds;
    if (on_nic_[i] == 0) continue;
    figures_.on_nic += rate_[i] * seconds;
    ++there;
  }
  order_ = rate_;
  const auto last = order_.begin() + static_cast<ptrdiff_t>(std::min(settings_.room, order_.size()));
  std::nth_element(order_.begin(), last, order_.end(), std::greater<>());
  figures_.optimum += std::accumulate(order_.begin(), last, 0.0) * seconds;
  figures_.over_room += there > settings_.room ? 1 : 0;
  ++figures_.intervals;
  for (const Move& each : moving_) {
    on_nic_[each.seat] = each.to ? 1 : 0;
    budget_.placed(now_, each.seat, each.to);
  }
  moving_.clear();
}

void BudgetSim::observe() {
  for (size_t i = 0; i < total_.size(); ++i) budget_.observe(now_, i, total_[i]);
}

void BudgetSim::decide() {
  moving_ = budget_.decide(now_);
  figures_.moves += moving_.size();
  lately_.push_back(moving_.size());
  if (lately_.size() > static_cast<size_t>(60s / settings_.interval)) lately_.erase(lately_.begin());
  figures_.moves_most =
      std::max(figures_.moves_most, std::accumulate(lately_.begin(), lately_.end(), static_cast<size_t>(0)));
}

}  // namespace ipsec::testing
