#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <set>

#include "hwoffload/budget.h"
#include "policy/base/random.h"

using namespace ipsec;
using namespace ipsec::hwoffload;

namespace {

using State = DeviceRoom::State;

struct Tunnel {
  std::vector<std::string> devices;
  Pin pin = Pin::kNone;
  double rate = 0;
  uint64_t total = 0;
  Place place;
  bool placed = false;
  bool fleeing = false;                ///< Sent off a lost device.
  std::optional<Instant> sent, moved;  ///< Last time, lost devices aside.
};

struct Nic {
  State state = State::kUsable;
  std::optional<size_t> configured;
  size_t table = SIZE_MAX;  ///< What it really holds.
};

/// A seeded world in which everything happens, with an agent that is slow, now and then wrong, and always watching.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed), settings_(some_settings()), budget_(settings_) {
    const size_t nics = 1 + below(3);
    for (size_t i = 0; i < nics; ++i) {
      Nic& nic = nics_["ens" + std::to_string(i)];
      if (below(2) == 0) nic.configured = below(12);
      if (below(2) == 0) nic.table = below(12);
    }
    for (const auto& [name, nic] : nics_) tell(name);
  }

  void live() {
    now_ = now_ + Duration(std::chrono::milliseconds(below(5000)));
    something_happens();
    finish_some_moves();
    for (auto& [id, tunnel] : tunnels_) observe(id, tunnel);
    decide();
  }

  /// Constant loads, devices in order, an agent that does what it is told.
  void calm_down() {
    for (auto& [name, nic] : nics_) {
      nic.table = SIZE_MAX;
      nic.state = State::kUsable;
      tell(name);
    }
    for (auto& [id, tunnel] : tunnels_)
      if (!tunnel.placed) place(id, {});
    size_t quiet = 0;
    for (size_t i = 0; i < 700; ++i) {
      now_ = now_ + 10s;
      while (!moving_.empty()) finish(0);
      for (auto& [id, tunnel] : tunnels_) observe(id, tunnel);
      quiet = decide() == 0 ? quiet + 1 : 0;
    }
    CHECK_MESSAGE(quiet > 100, "moves do not end: ", quiet);
    check_nothing_is_left();
  }

  uint64_t fingerprint() const { return fingerprint_; }

 private:
  size_t below(uint64_t bound) { return random_.below(bound); }
  bool one_in(uint64_t many) { return below(many) == 0; }

  BudgetSettings some_settings() {
    BudgetSettings settings;
    settings.stay_least = std::chrono::seconds(below(90));
    settings.device_settle = std::chrono::seconds(below(60));
    settings.move_patience = std::chrono::seconds(5 + below(60));
    settings.grow_after = 24h;
    settings.moves_per_minute = static_cast<uint32_t>(2 + below(30));
    settings.moves_at_once = static_cast<uint32_t>(1 + below(10));
    settings.hysteresis_percent = static_cast<uint32_t>(below(60));
    settings.reserve_percent = static_cast<uint32_t>(below(20));
    settings.spread = one_in(2) ? Spread::kSpread : Spread::kPriority;
    return settings;
  }

  void tell(const std::string& name) {
    const Nic& nic = nics_[name];
    REQUIRE(budget_.set_device(now_, {name, nic.state, nic.configured}).ok());
  }

  SeatId any_tunnel() {
    auto it = tunnels_.begin();
    std::advance(it, static_cast<ptrdiff_t>(below(tunnels_.size())));
    return it->first;
  }
  std::string any_nic() { return "ens" + std::to_string(below(nics_.size())); }

  void configure(SeatId id) {
    Tunnel& tunnel = tunnels_[id];
    tunnel.devices.clear();
    for (const auto& [name, nic] : nics_)
      if (!one_in(3)) tunnel.devices.insert(one_in(2) ? tunnel.devices.begin() : tunnel.devices.end(), name);
    tunnel.pin = one_in(8) ? Pin::kNic : one_in(8) ? Pin::kSoftware : Pin::kNone;
    REQUIRE(budget_.add(id, tunnel.devices, tunnel.pin).ok());
  }

  void something_happens() {
    if (tunnels_.size() < 40 && one_in(2)) {
      configure(next_);
      tunnels_[next_++].rate = static_cast<double>(below(100000));
    }
    if (tunnels_.empty()) return;
    if (one_in(30)) {
      const SeatId gone = any_tunnel();
      budget_.remove(gone);
      tunnels_.erase(gone);
      std::erase_if(moving_, [&](const Move& each) { return each.seat == gone; });
      if (tunnels_.empty()) return;
    }
    if (one_in(30)) configure(any_tunnel());
    if (one_in(3)) tunnels_[any_tunnel()].rate = static_cast<double>(below(100000));
    if (one_in(3)) rekey(any_tunnel());
    if (!one_in(40)) return;
    const std::string name = any_nic();
    Nic& nic = nics_[name];
    if (one_in(2))
      nic.state = nic.state == State::kLost ? State::kUsable : State::kLost;
    else
      nic.configured = one_in(3) ? std::nullopt : std::optional(below(12));
    tell(name);
  }

  size_t there(const std::string& name) const {
    size_t count = 0;
    for (const auto& [id, tunnel] : tunnels_) count += tunnel.placed && tunnel.place == name ? 1 : 0;
    return count;
  }

  void place(SeatId id, const Place& where) {
    Tunnel& tunnel = tunnels_[id];
    const bool from_lost = tunnel.place && nics_[*tunnel.place].state == State::kLost;
    if (tunnel.placed && tunnel.place != where && !from_lost && !tunnel.fleeing) tunnel.moved = now_;
    tunnel.fleeing = false;
    tunnel.placed = true;
    tunnel.place = where;
    budget_.placed(now_, id, where);
  }

  /// What the kernel says to an SA that is to be there.
  void attempt(SeatId id, const Place& where) {
    const Tunnel& tunnel = tunnels_[id];
    if (where && nics_[*where].state == State::kLost) return place(id, {});
    if (where && tunnel.place != where && (there(*where) >= nics_[*where].table || one_in(20))) {
      budget_.refused(now_, id, *where, there(*where) >= nics_[*where].table ? Refusal::kTableFull : Refusal::kOther);
      return place(id, tunnel.placed ? tunnel.place : Place());
    }
    place(id, where);
  }

  void rekey(SeatId id) {
    const auto before = devices();
    const Place to = budget_.seat_for(now_, id);
    for (const auto& [name, device] : devices())
      if (device.room) CHECK(device.used <= std::max(*device.room, before.at(name).used));
    const Tunnel& tunnel = tunnels_[id];
    CHECK((!to || tunnel.pin != Pin::kSoftware || to == tunnel.place));
    if (to && (!tunnel.placed || to != tunnel.place))
      CHECK(std::ranges::find(tunnel.devices, *to) != tunnel.devices.end());
    if (one_in(10)) return;  // it never came about
    std::erase_if(moving_, [&](const Move& each) { return each.seat == id; });
    attempt(id, to);
  }

  void finish(size_t at) {
    const Move move = moving_[at];
    moving_.erase(moving_.begin() + static_cast<ptrdiff_t>(at));
    attempt(move.seat, move.to);
  }
  void finish_some_moves() {
    for (size_t i = moving_.size(); i > 0; --i)
      if (one_in(3)) finish(i - 1);
  }

  void observe(SeatId id, Tunnel& tunnel) {
    const double seconds = std::chrono::duration<double>(now_ - seen_[id]).count();
    seen_[id] = now_;
    budget_.observe(now_, id, tunnel.total += static_cast<uint64_t>(tunnel.rate * seconds));
  }

  std::map<std::string, DeviceView> devices() const {
    std::map<std::string, DeviceView> all;
    for (const DeviceView& each : budget_.devices()) all.emplace(each.name, each);
    return all;
  }
  bool usable(const DeviceView& device) const { return device.state == State::kUsable && !device.settles_at; }

  size_t decide() {
    const auto before = devices();
    const std::vector<Move> moves = budget_.decide(now_);
    const auto after = devices();
    for (const auto& [name, device] : after)
      if (device.room) CHECK(device.used <= std::max(*device.room, before.at(name).used));
    for (const Move& move : moves) check_move(move, after);
    while (!counted_.empty() && now_ - counted_.front() >= 60s) counted_.pop_front();
    CHECK(counted_.size() <= settings_.moves_per_minute);
    CHECK(budget_.moves_under_way() <= settings_.moves_at_once);
    for (const SeatView& seat : budget_.seats()) {
      if (!seat.place || after.at(*seat.place).state != State::kLost) continue;
      CHECK(seat.going_to);
      CHECK(seat.going_to != std::optional(seat.place));
    }
    return moves.size();
  }

  void check_move(const Move& move, const std::map<std::string, DeviceView>& after) {
    Tunnel& tunnel = tunnels_.at(move.seat);
    CHECK(tunnel.placed);
    CHECK(move.from == tunnel.place);
    CHECK(move.to != move.from);
    if (move.to) {
      CHECK(tunnel.pin != Pin::kSoftware);
      CHECK(std::ranges::find(tunnel.devices, *move.to) != tunnel.devices.end());
      CHECK(usable(after.at(*move.to)));
    }
    if (move.why == Why::kPushedOut) CHECK(tunnel.pin == Pin::kNone);
    std::erase_if(moving_, [&](const Move& each) { return each.seat == move.seat; });
    moving_.push_back(move);
    fingerprint_ = (fingerprint_ ^ (move.seat * 31 + static_cast<uint64_t>(move.why))) * 1099511628211ULL;
    if (move.why == Why::kDeviceLost) {
      CHECK(after.at(*move.from).state == State::kLost);
      tunnel.fleeing = true;
      return;
    }
    if (move.why == Why::kAstray) {
      CHECK(std::ranges::find(tunnel.devices, *move.from) == tunnel.devices.end());
      if (tunnel.sent && now_ - *tunnel.sent < settings_.stay_least) CHECK_FALSE(move.to);
      if (tunnel.moved && now_ - *tunnel.moved < settings_.stay_least) CHECK_FALSE(move.to);
      tunnel.sent = now_;
      tunnel.fleeing = true;
      return;
    }
    if (tunnel.sent) CHECK(now_ - *tunnel.sent >= settings_.stay_least);
    if (tunnel.moved) CHECK(now_ - *tunnel.moved >= settings_.stay_least);
    tunnel.sent = now_;
    counted_.push_back(now_);
  }

  /// Nobody waits who may push another one out, or for whom there is room.
  void check_nothing_is_left() {
    const auto all = devices();
    std::map<std::string, double> quietest;
    for (const auto& [name, device] : all) {
      quietest[name] = INFINITY;
      if (device.room) CHECK(device.used <= *device.room);
    }
    for (const SeatView& seat : budget_.seats()) {
      CHECK_FALSE(seat.going_to);
      if (seat.place && seat.pin == Pin::kNone) quietest[*seat.place] = std::min(quietest[*seat.place], seat.rate);
      if (seat.place) CHECK(seat.pin != Pin::kSoftware);
    }
    for (const SeatView& seat : budget_.seats()) {
      const bool wants = seat.pin == Pin::kNic || (seat.pin == Pin::kNone && seat.rate >= 1000);
      if (seat.place || !wants) continue;
      for (const std::string& name : tunnels_.at(seat.seat).devices) {
        REQUIRE(usable(all.at(name)));
        REQUIRE(all.at(name).room);
        CHECK(all.at(name).used >= *all.at(name).room);
        const double least = quietest[name] * (100 + settings_.hysteresis_percent) / 100;
        if (seat.pin == Pin::kNic)
          CHECK(quietest[name] == INFINITY);
        else
          CHECK(seat.rate <= least * 1.0001);
      }
      CHECK((seat.why == Why::kRoomTaken || seat.why == Why::kTableFull || tunnels_.at(seat.seat).devices.empty()));
    }
  }

  SeededRandom random_;
  BudgetSettings settings_;
  Budget budget_;
  Instant now_{10000s};
  std::map<std::string, Nic> nics_;
  std::map<SeatId, Tunnel> tunnels_;
  std::map<SeatId, Instant> seen_;
  SeatId next_ = 1;
  std::vector<Move> moving_;
  std::deque<Instant> counted_;
  uint64_t fingerprint_ = 14695981039346656037ULL;
};

uint64_t run(uint64_t seed, size_t steps) {
  World world(seed);
  for (size_t i = 0; i < steps; ++i) world.live();
  world.calm_down();
  return world.fingerprint();
}

}  // namespace

TEST_CASE("budget in random worlds: rooms, minutes, stays, pins and lost devices hold, and moves come to an end") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed ", seed);
    run(seed, 400);
  }
}

TEST_CASE("budget in random worlds: the same calls give the same moves") {
  for (uint64_t seed = 100; seed < 104; ++seed) CHECK(run(seed, 200) == run(seed, 200));
  CHECK(run(100, 200) != run(101, 200));
}
