#include <algorithm>
#include <bit>
#include <cmath>

#include "hwoffload/budget_table.h"

namespace ipsec::hwoffload {
namespace {

using Rooms = BudgetTable::Rooms;

/// A seat in an order. With what orders it, since looking at a hundred thousand seats here and there takes long.
struct Candidate {
  double rate = 0;
  SeatId id = 0;
  uint32_t at = 0;  ///< In the table.
  bool pinned = false;
};
using Candidates = std::vector<Candidate>;

/// Pinned before others, then by rate; of equals the lower number. So no two are equal, and runs repeat.
bool busier(const Candidate& one, const Candidate& other) {
  if (one.pinned != other.pinned) return one.pinned;
  if (one.rate != other.rate) return one.rate > other.rate;
  return one.id < other.id;
}
bool quieter(const Candidate& one, const Candidate& other) { return busier(other, one); }

/// What one pass finds on a device.
struct OnDevice {
  Candidates all;      ///< May be moved: their stay is over.
  Candidates victims;  ///< Of these, not pinned; a heap with the quietest on top when `heaped`.
  Candidates mobile;   ///< Of these, pinned or not, with room on another device of theirs; the same kind of heap.
  double quietest = INFINITY;  ///< Rate of the quietest victim.
  size_t coming = 0;           ///< Room that swaps under way will free.
  bool heaped = false;
};

/// One decide(): a look at all seats, then one kind of move after the other while the minute allows it.
class Pass {
 public:
  Pass(BudgetTable& table, const Budget::MayTake& may_take)
      : table_(table), may_take_(may_take), on_(table.devices.size()) {}
  std::vector<Move> run();

 private:
  /// A swap takes two of the minute's moves and begins with one.
  bool may_move(size_t moves) const { return at_once_ > 0 && allowance_ >= moves; }
  Seat& seat(const Candidate& candidate) { return table_.seats[candidate.at]; }
  bool beats(const Seat& challenger, double rate) const;
  void emit(Seat& seat, Going how, DeviceIndex to, Why why);

  void grow_rooms();
  void collect();
  void look_at(uint32_t at);
  void look_on_device(const Candidate& candidate);
  void flee();
  void flee_astray();
  void leave_as_pinned();
  void shrink();
  void fill();
  bool may_get_in(const Seat& seat) const;
  void ask_devices(Seat& seat);
  void get_in(Seat& seat);
  bool wait_for_swap(const Seat& seat);
  bool shift_for(const Seat& seat);
  void swap_for(const Seat& seat);
  void forget_owed();
  void go_home();
  DeviceIndex lighter(const Seat& seat) const;
  void balance();

  BudgetTable& table_;
  const Budget::MayTake& may_take_;
  std::vector<OnDevice> on_;
  Candidates lost_, astray_, pinned_off_, away_, challengers_;
  std::vector<Move> moves_;
  size_t allowance_ = 0, at_once_ = 0, owed_ = 0;
  double load_ = 0;
  size_t seats_ = 0;
};

bool Pass::beats(const Seat& challenger, double rate) const {
  return challenger.pin == Pin::kNic || challenger.rate * 100 > rate * (100 + table_.settings.hysteresis_percent);
}

void Pass::emit(Seat& seat, Going how, DeviceIndex to, Why why) {
  const Place from = seat.placed ? table_.name_of(seat.place) : Place();
  moves_.push_back({.seat = seat.id, .from = from, .to = table_.name_of(to), .why = why, .rate = seat.rate});
  table_.send(seat, how, to, why);
  if (how == Going::kFlee) return table_.note_displaced(seat);
  seat.stays_until = table_.now + table_.settings.stay_least;
  table_.moved.push_back(table_.now);
  --at_once_;
  allowance_ -= how == Going::kSwap ? 2 : 1;
}

/// A room that was learnt is tried to be one step larger when it is full and nothing was refused for long.
void Pass::grow_rooms() {
  for (Device& device : table_.devices) {
    if (!device.learnt || table_.now < device.grows_at || device.used < table_.room(device).value_or(0)) continue;
    if (device.grown) device.refusals = 0;  // the step before went well
    *device.learnt += std::max<size_t>(1, *device.learnt / kGrowthPart);
    if (device.configured && *device.learnt >= *device.configured) device.learnt.reset();
    device.grown = true;
    device.grows_at = table_.now + table_.settings.grow_after * (1 << device.refusals);
  }
}

void Pass::look_on_device(const Candidate& candidate) {
  const Seat& each = seat(candidate);
  if (table_.lost(each.place)) return lost_.push_back(candidate);
  table_.devices[each.place].load += each.rate;
  load_ += each.rate;
  ++seats_;
  const Choice* own = each.choice(each.place);
  if (own == nullptr && each.pin != Pin::kSoftware) return astray_.push_back(candidate);
  if (table_.now < each.stays_until) return;
  if (each.pin == Pin::kSoftware) return pinned_off_.push_back(candidate);
  OnDevice& on = on_[each.place];
  on.all.push_back(candidate);
  if (each.pin == Pin::kNone) {
    on.victims.push_back(candidate);
    on.quietest = std::min(on.quietest, each.rate);
  }
  if (each.choices.size() == 1) return;
  const DeviceIndex elsewhere = table_.choose(each, Rooms::kForAll);
  if (elsewhere == kInSoftware) return;
  on.mobile.push_back(candidate);
  if (each.choice(elsewhere) < own) away_.push_back(candidate);
}

void Pass::look_at(uint32_t at) {
  Seat& each = table_.seats[at];
  if (each.going != Going::kNowhere) {
    const bool to_lost = each.target != kInSoftware && table_.lost(each.target);
    if (!to_lost && table_.now < each.patience) {
      if (each.target != kInSoftware) table_.devices[each.target].load += each.rate;
      return;
    }
    table_.stop(each);
  }
  if (!each.placed) return;
  const Candidate candidate{.rate = each.rate, .id = each.id, .at = at, .pinned = each.pin == Pin::kNic};
  if (each.place != kInSoftware) return look_on_device(candidate);
  if (each.pin == Pin::kSoftware || table_.now < each.stays_until) return;
  if (each.pin == Pin::kNic || !table_.is_quiet(each)) challengers_.push_back(candidate);
}

void Pass::collect() {
  for (Device& each : table_.devices) each.load = 0;
  for (uint32_t at = 0; at < table_.seats.size(); ++at) look_at(at);
  table_.mean_rate = seats_ == 0 ? 0 : load_ / static_cast<double>(seats_);
  for (size_t i = 0; i < on_.size(); ++i) on_[i].coming = table_.devices[i].swapping;
}

/// Off lost devices, whatever the minute allows: the kernel has dropped their SAs.
void Pass::flee() {
  std::ranges::sort(lost_, busier);
  for (const Candidate& candidate : lost_) {
    Seat& each = seat(candidate);
    const DeviceIndex to = each.pin == Pin::kSoftware ? kInSoftware : table_.choose(each, Rooms::kForAll);
    emit(each, Going::kFlee, to, Why::kDeviceLost);
  }
}

/// Whose packets leave by another device, so that none of them gets out, or whom its own cannot carry any more: as
/// urgent. Software works whichever way they take, so that is where one goes that was moved just before.
void Pass::flee_astray() {
  std::ranges::sort(astray_, busier);
  for (const Candidate& candidate : astray_) {
    Seat& each = seat(candidate);
    const bool again = table_.now < each.stays_until;
    each.stays_until = table_.now + table_.settings.stay_least;
    emit(each, Going::kFlee, again ? kInSoftware : table_.choose(each, Rooms::kForAll), Why::kAstray);
  }
}

void Pass::leave_as_pinned() {
  std::ranges::sort(pinned_off_, busier);
  for (const Candidate& candidate : pinned_off_) {
    if (!may_move(1)) return;
    emit(seat(candidate), Going::kMove, kInSoftware, Why::kPinned);
  }
}

/// Where there is less room than seats, the quietest go.
void Pass::shrink() {
  for (size_t i = 0; i < on_.size(); ++i) {
    const Device& device = table_.devices[i];
    const auto room = table_.room(device);
    if (!room || device.used <= *room + device.leaving) continue;
    Candidates& all = on_[i].all;
    const size_t excess = std::min(device.used - device.leaving - *room, all.size());
    std::ranges::partial_sort(all, all.begin() + static_cast<ptrdiff_t>(excess), quieter);
    for (size_t k = 0; k < excess && may_move(1); ++k)
      emit(seat(all[k]), Going::kMove, table_.choose(seat(all[k]), Rooms::kForAll), Why::kRoomShrank);
    // Some victims are on their way now; those that are left are found in the next pass.
    on_[i].victims.clear();
    on_[i].mobile.clear();
    on_[i].quietest = INFINITY;
  }
}

/// Whether a look at the devices as a whole leaves hope. Keeps the many that have none out of the heap.
bool Pass::may_get_in(const Seat& seat) const {
  return std::ranges::any_of(seat.choices, [&](const Choice& each) {
    const OnDevice& on = on_[each.device];
    if (!table_.open_to(each)) return false;
    return table_.free_room(each.device) > 0 || on.coming > 0 || !on.mobile.empty() ||
           (!on.victims.empty() && beats(seat, on.quietest));
  });
}

void Pass::ask_devices(Seat& seat) {
  if (!may_take_) return;
  for (Choice& each : seat.choices)
    if (table_.open_to(each) && !may_take_(seat.id, table_.devices[each.device].name)) table_.refuse(each);
}

void Pass::get_in(Seat& seat) {
  ask_devices(seat);
  const DeviceIndex to = table_.choose(seat, Rooms::kWithOwed);
  if (to != kInSoftware) {
    const bool owed = table_.devices[to].owed > 0;
    if (!owed && !may_move(1)) return;
    if (owed) {  // its move was kept aside when the swap began
      --table_.devices[to].owed;
      --owed_;
      ++allowance_;
    }
    emit(seat, Going::kMove, to, seat.pin == Pin::kNic ? Why::kPinned : owed ? Why::kBusiest : Why::kRoom);
    return;
  }
  if (wait_for_swap(seat) || !may_move(2) || shift_for(seat)) return;
  swap_for(seat);
}

/// A swap that was begun earlier makes room for the busiest who wait, whoever they are by now.
bool Pass::wait_for_swap(const Seat& seat) {
  for (const Choice& each : seat.choices) {
    if (!table_.open_to(each) || on_[each.device].coming == 0) continue;
    --on_[each.device].coming;
    return true;
  }
  return false;
}

/// One who can use another device as well makes room, and everybody is on a NIC.
bool Pass::shift_for(const Seat& challenger) {
  for (const Choice& each : challenger.choices) {
    if (!table_.open_to(each)) continue;
    Candidates& mobile = on_[each.device].mobile;
    while (!mobile.empty()) {
      const auto at = std::ranges::max_element(mobile, busier);
      Seat& one = seat(*at);
      *at = mobile.back();
      mobile.pop_back();
      if (one.going != Going::kNowhere) continue;
      const DeviceIndex to = table_.choose(one, Rooms::kForAll);
      if (to == kInSoftware) continue;
      emit(one, Going::kSwap, to, Why::kMadeRoom);
      return true;
    }
  }
  return false;
}

/// The quietest of those that the challenger may push out goes into software.
void Pass::swap_for(const Seat& challenger) {
  OnDevice* from = nullptr;
  for (const Choice& each : challenger.choices) {
    OnDevice& on = on_[each.device];
    if (!table_.open_to(each) || on.victims.empty()) continue;
    if (!on.heaped) std::ranges::make_heap(on.victims, busier);
    on.heaped = true;
    while (!on.victims.empty() && seat(on.victims.front()).going != Going::kNowhere) {
      std::ranges::pop_heap(on.victims, busier);
      on.victims.pop_back();
    }
    if (on.victims.empty()) continue;
    if (from == nullptr || busier(from->victims.front(), on.victims.front())) from = &on;
  }
  if (from == nullptr || !beats(challenger, seat(from->victims.front()).rate)) return;
  emit(seat(from->victims.front()), Going::kSwap, kInSoftware, Why::kPushedOut);
  std::ranges::pop_heap(from->victims, busier);
  from->victims.pop_back();
  from->quietest = from->victims.empty() ? INFINITY : seat(from->victims.front()).rate;
}

/// The busiest first. Most of those who wait have no hope once the room that was free is taken: they are sorted out
/// again after the first one that got nothing, the second, the fourth ..., and not asked one by one.
void Pass::fill() {
  const auto sort_out = [&] {
    std::erase_if(challengers_, [&](const Candidate& each) { return !may_get_in(seat(each)); });
    std::ranges::make_heap(challengers_, quieter);
  };
  for (const Device& each : table_.devices) owed_ += each.owed;
  sort_out();
  size_t in_vain = 0;
  while (!challengers_.empty() && at_once_ > 0 && (allowance_ > 0 || owed_ > 0)) {
    std::ranges::pop_heap(challengers_, quieter);
    Seat& busiest = seat(challengers_.back());
    challengers_.pop_back();
    const size_t before = moves_.size();
    get_in(busiest);
    if (moves_.size() == before && std::has_single_bit(++in_vain)) sort_out();
  }
}

/// Room that was made for somebody whom it does not interest any more is free for all.
void Pass::forget_owed() {
  if (at_once_ == 0) return;  // not all who want it could be asked
  for (Device& each : table_.devices) each.owed = 0;
  allowance_ = table_.allowance();
}

void Pass::go_home() {
  std::ranges::sort(away_, busier);
  for (const Candidate& candidate : away_) {
    if (!may_move(table_.settings.moves_per_minute / 2 + 1)) return;
    Seat& each = seat(candidate);
    if (each.going != Going::kNowhere) continue;
    const DeviceIndex to = table_.choose(each, Rooms::kForAll);
    if (to != kInSoftware && each.choice(to) < each.choice(each.place)) emit(each, Going::kMove, to, Why::kPreferred);
  }
}

/// Where the seat would go for balance: to where the load stays clearly less than here.
DeviceIndex Pass::lighter(const Seat& seat) const {
  if (seat.rate < static_cast<double>(table_.settings.least_rate)) return kInSoftware;
  const DeviceIndex to = table_.choose(seat, Rooms::kForAll);
  if (to == kInSoftware) return to;
  const double slack = 1 + table_.settings.hysteresis_percent / 100.0;
  return table_.devices[seat.place].load > (table_.devices[to].load + seat.rate) * slack ? to : kInSoftware;
}

/// From each device to those with less load, the busiest first, while that makes the larger load smaller.
void Pass::balance() {
  for (OnDevice& on : on_) {
    std::erase_if(on.mobile, [&](const Candidate& each) {
      return seat(each).going != Going::kNowhere || lighter(seat(each)) == kInSoftware;
    });
    std::ranges::sort(on.mobile, busier);
    for (const Candidate& each : on.mobile) {
      if (!may_move(table_.settings.moves_per_minute / 2 + 1)) return;
      const DeviceIndex to = lighter(seat(each));
      if (to != kInSoftware) emit(seat(each), Going::kMove, to, Why::kBalanced);
    }
  }
}

std::vector<Move> Pass::run() {
  grow_rooms();
  collect();
  allowance_ = table_.allowance();
  at_once_ = table_.settings.moves_at_once - std::min<size_t>(table_.settings.moves_at_once, table_.under_way);
  flee();
  flee_astray();
  leave_as_pinned();
  shrink();
  fill();
  forget_owed();
  // What only makes things nicer leaves half of the minute's moves to what is worth more.
  if (table_.settings.spread == Spread::kPriority)
    go_home();
  else
    balance();
  return std::move(moves_);
}

}  // namespace

std::vector<Move> decide(BudgetTable& table, const Budget::MayTake& may_take) { return Pass(table, may_take).run(); }

}  // namespace ipsec::hwoffload
