#include "hwoffload/budget_table.h"

#include <algorithm>

namespace ipsec::hwoffload {

const Choice* Seat::choice(DeviceIndex device) const {
  const auto it = std::ranges::find(choices, device, &Choice::device);
  return it == choices.end() ? nullptr : &*it;
}
Choice* Seat::choice(DeviceIndex device) {
  const auto it = std::ranges::find(choices, device, &Choice::device);
  return it == choices.end() ? nullptr : &*it;
}

Seat* BudgetTable::find(SeatId id) {
  const auto it = seat_at.find(id);
  return it == seat_at.end() ? nullptr : &seats[it->second];
}

std::optional<DeviceIndex> BudgetTable::intern(const std::string& name) {
  if (const auto it = device_at.find(name); it != device_at.end()) return it->second;
  size_t at = 0;
  while (at < devices.size() && !devices[at].name.empty()) ++at;
  if (at == kBudgetDevicesMax) return std::nullopt;
  if (at == devices.size()) devices.emplace_back();
  devices[at].name = name;
  device_at.emplace(name, static_cast<DeviceIndex>(at));
  return static_cast<DeviceIndex>(at);
}

void BudgetTable::forget_unused(DeviceIndex at) {
  const Device& device = devices[at];
  if (device.known || device.named > 0 || device.used > 0 || device.name.empty()) return;
  device_at.erase(device.name);
  devices[at] = {};
}

Place BudgetTable::name_of(DeviceIndex at) const { return at == kInSoftware ? Place() : Place(devices[at].name); }

void BudgetTable::count(const Seat& seat, size_t by) {
  const bool going = seat.going != Going::kNowhere, on = seat.placed && seat.place != kInSoftware;
  if (seat.going == Going::kMove || seat.going == Going::kSwap) under_way += by;
  if (on) {
    Device& device = devices[seat.place];
    device.on += by;
    device.used += by;
    if (going && seat.target != seat.place) device.leaving += by;
    if (seat.going == Going::kSwap) device.swapping += by;
  }
  if (going && seat.target != kInSoftware && (!on || seat.target != seat.place)) devices[seat.target].used += by;
}

void BudgetTable::send(Seat& seat, Going how, DeviceIndex to, Why why) {
  leave_counts(seat);
  const DeviceIndex from = seat.placed ? seat.place : kInSoftware;
  if (from != kInSoftware) devices[from].load -= seat.rate;
  if (to != kInSoftware) devices[to].load += seat.rate;
  seat.going = how;
  seat.target = to;
  seat.going_why = why;
  seat.patience = now + settings.move_patience;
  enter_counts(seat);
}

void BudgetTable::stop(Seat& seat) {
  leave_counts(seat);
  seat.going = Going::kNowhere;
  enter_counts(seat);
}

void BudgetTable::refuse(Choice& choice) const {
  choice.not_before = now + kRefusedFirst * (1 << choice.refusals);
  choice.refusals = std::min<uint8_t>(choice.refusals + 1, kRefusedDoublingsMax);
}

std::optional<size_t> BudgetTable::room(const Device& device) const {
  if (!device.configured && !device.learnt) return std::nullopt;
  const size_t pairs = std::min(device.configured.value_or(SIZE_MAX), device.learnt.value_or(SIZE_MAX));
  // In two steps, since a configured number may be near the largest one.
  return pairs - (pairs / 100 * settings.reserve_percent + pairs % 100 * settings.reserve_percent / 100);
}

size_t BudgetTable::free_room(DeviceIndex at) const {
  const auto pairs = room(devices[at]);
  if (!pairs) return SIZE_MAX;
  return *pairs - std::min(*pairs, devices[at].used);
}

size_t BudgetTable::free_for_all(DeviceIndex at) const {
  const size_t free = free_room(at);
  return free - std::min(free, devices[at].owed);
}

DeviceIndex BudgetTable::choose(const Seat& seat, Rooms rooms) const {
  DeviceIndex best = kInSoftware;
  double least = 0;
  for (const Choice& each : seat.choices) {
    const DeviceIndex at = each.device;
    if (!open_to(each) || (seat.placed && at == seat.place)) continue;
    if ((rooms == Rooms::kForAll ? free_for_all(at) : free_room(at)) == 0) continue;
    if (settings.spread == Spread::kPriority) return at;
    // A fresh seat has no rate yet: many of them would all go to the device that happens to have the least.
    const double load = devices[at].load + static_cast<double>(devices[at].used) * std::max(mean_rate, 1.0);
    if (best != kInSoftware && load >= least) continue;
    best = at;
    least = load;
  }
  return best;
}

Why BudgetTable::why_in_software(const Seat& seat) const {
  if (seat.pin == Pin::kSoftware) return Why::kPinned;
  if (seat.choices.empty()) return Why::kNotConfigured;
  bool settling = false, refused = false, full = false, learnt = false, free = false;
  for (const Choice& each : seat.choices) {
    if (lost(each.device)) continue;
    if (!usable(each.device)) {
      settling = true;
    } else if (now < each.not_before) {
      refused = true;
    } else if (free_room(each.device) == 0) {
      full = true;
      learnt = learnt || devices[each.device].learnt.has_value();
    } else {
      free = true;
    }
  }
  if (!free && !full) return settling ? Why::kDeviceSettling : refused ? Why::kRefused : Why::kDeviceLost;
  if (seat.pin == Pin::kNone && is_quiet(seat)) return Why::kTooQuiet;
  return free ? Why::kWaiting : learnt ? Why::kTableFull : Why::kRoomTaken;
}

size_t BudgetTable::swaps_open() const {
  size_t open = 0;
  for (const Device& each : devices) open += each.swapping + each.owed;
  return open;
}

size_t BudgetTable::allowance() {
  while (!moved.empty() && now - moved.front() >= kMinute) moved.pop_front();
  const size_t taken = moved.size() + swaps_open();
  return settings.moves_per_minute - std::min<size_t>(settings.moves_per_minute, taken);
}

}  // namespace ipsec::hwoffload
