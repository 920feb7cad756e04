#include "hwoffload/budget.h"

#include <algorithm>
#include <cmath>

#include "hwoffload/budget_table.h"

namespace ipsec::hwoffload {
namespace {

Instant forward(BudgetTable& table, Instant now) {
  table.now = std::max(table.now, now);
  return table.now;
}

/// A swap whose seat is gone from `device`: its room is for the busier one.
void owe(BudgetTable& table, const Seat& seat) {
  if (seat.going == Going::kSwap) ++table.devices[seat.place].owed;
}

/// The device has refused a seat for want of room: it holds what is on it and on the way to it, and no more. Of those
/// on the way some may have their place already; the others will be refused, and each of them teaches one less.
void learn(BudgetTable& table, const Seat& seat, DeviceIndex at) {
  Device& device = table.devices[at];
  // One on it that is refused is in the middle of a rekey: its next pair of SAs has no room.
  device.learnt = device.used - (seat.placed && seat.place == at ? 1 : 0);
  // Refusals of seats that were sent together are one.
  const bool again = device.refused_at != Instant{} && table.now - device.refused_at < table.settings.move_patience;
  if (!again && device.grown) device.refusals = std::min<uint8_t>(device.refusals + 1, kDoublingsMax);
  device.grown = false;
  device.refused_at = table.now;
  device.grows_at = table.now + table.settings.grow_after * (1 << device.refusals);
}

void lose(BudgetTable& table, Device& device) {
  const bool soon = device.returned && table.now - device.returned_at < table.settings.device_settle * kFlapWithin;
  device.flaps = soon ? std::min<uint8_t>(device.flaps + 1, kDoublingsMax) : 0;
  device.state = DeviceRoom::State::kLost;
  device.owed = 0;
}

void come_back(BudgetTable& table, Device& device, bool first) {
  device.state = DeviceRoom::State::kUsable;
  if (first) return;
  device.settles_at = table.now + table.settings.device_settle * (1 << device.flaps);
  device.returned = true;
  device.returned_at = device.settles_at;
}

/// The seat's new list; refusals of devices that stay on it are kept.
Status name_devices(BudgetTable& table, const std::vector<std::string>& names, const std::vector<Choice>& old,
                    std::vector<Choice>& choices) {
  for (const std::string& name : names) {
    const auto at = name.empty() ? std::nullopt : table.intern(name);
    if (!at) {
      for (const Choice& each : choices) --table.devices[each.device].named;
      for (const Choice& each : choices) table.forget_unused(each.device);
      choices.clear();
      if (name.empty()) return Error(Reason::kConfigBadValue, "a device for offload has no name");
      return Error(Reason::kLimitReached, "device " + name + ": more than " + std::to_string(kBudgetDevicesMax) +
                                              " devices are named for offload");
    }
    if (std::ranges::find(choices, *at, &Choice::device) != choices.end()) continue;
    const auto known = std::ranges::find(old, *at, &Choice::device);
    choices.push_back(known != old.end() ? *known : Choice{.device = *at});
    ++table.devices[*at].named;
  }
  return {};
}

SeatView view_of(const BudgetTable& table, const Seat& seat) {
  SeatView view{.seat = seat.id, .place = {}, .going_to = {}, .pin = seat.pin, .rate = seat.rate};
  if (seat.placed) view.place = table.name_of(seat.place);
  if (seat.going != Going::kNowhere) view.going_to = table.name_of(seat.target);
  if (seat.placed) view.why = seat.place == kInSoftware ? table.why_in_software(seat) : seat.why;
  return view;
}

}  // namespace

Budget::Budget(const BudgetSettings& settings) : table_(std::make_unique<BudgetTable>()) { set_settings(settings); }
Budget::~Budget() = default;

void Budget::set_settings(const BudgetSettings& settings) {
  VERIFY(check(settings).ok());
  table_->settings = settings;
}

Status Budget::set_device(Instant now, const DeviceRoom& given) {
  forward(*table_, now);
  if (given.name.empty()) return Error(Reason::kConfigBadValue, "a device for offload has no name");
  const auto at = table_->intern(given.name);
  if (!at)
    return Error(Reason::kLimitReached, "device " + given.name + ": more than " + std::to_string(kBudgetDevicesMax) +
                                            " devices are named for offload");
  Device& device = table_->devices[*at];
  if (device.configured != given.configured) device.learnt.reset();
  device.configured = given.configured;
  if (given.state == DeviceRoom::State::kLost && device.state != DeviceRoom::State::kLost) lose(*table_, device);
  if (given.state == DeviceRoom::State::kUsable && device.state != DeviceRoom::State::kUsable)
    come_back(*table_, device, !device.known);
  device.known = true;
  return {};
}

void Budget::remove_device(Instant now, const std::string& name) {
  forward(*table_, now);
  const auto it = table_->device_at.find(name);
  if (it == table_->device_at.end()) return;
  const DeviceIndex at = it->second;
  const Device& old = table_->devices[at];
  Device bare{.name = old.name};
  bare.named = old.named;
  bare.on = old.on;
  bare.used = old.used;
  bare.leaving = old.leaving;
  bare.swapping = old.swapping;
  table_->devices[at] = std::move(bare);
  table_->forget_unused(at);
}

Status Budget::add(SeatId id, const std::vector<std::string>& devices, Pin pin) {
  Seat* known = table_->find(id);
  if (known == nullptr && table_->seats.size() >= kSeatsMax)
    return Error(Reason::kLimitReached, "more than " + std::to_string(kSeatsMax) + " children ask for offload");
  if (devices.size() > kDevicesPerSeatMax)
    return Error(Reason::kLimitReached, std::to_string(devices.size()) + " devices for one tunnel; at most " +
                                            std::to_string(kDevicesPerSeatMax) + " are possible");
  std::vector<Choice> choices;
  TRY(name_devices(*table_, devices, known != nullptr ? known->choices : choices, choices), "add a seat");
  if (known == nullptr) {
    table_->seat_at.emplace(id, static_cast<uint32_t>(table_->seats.size()));
    known = &table_->seats.emplace_back(Seat{.id = id});
  }
  for (const Choice& each : known->choices) --table_->devices[each.device].named;
  known->choices.swap(choices);
  for (const Choice& each : choices) table_->forget_unused(each.device);
  known->pin = pin;
  // What it was sent to may be none of its own any more.
  if (known->going != Going::kNowhere && known->target != kInSoftware &&
      (pin == Pin::kSoftware || known->choice(known->target) == nullptr)) {
    const DeviceIndex target = known->target;
    table_->stop(*known);
    table_->forget_unused(target);
  }
  // On its way into software, for it had nowhere else to go.
  if (known->going == Going::kFlee && known->target == kInSoftware && pin != Pin::kSoftware &&
      table_->now >= known->stays_until)
    if (const DeviceIndex to = table_->choose(*known, BudgetTable::Rooms::kForAll); to != kInSoftware)
      table_->send(*known, Going::kFlee, to, known->going_why);
  return {};
}

void Budget::remove(SeatId id) {
  Seat* seat = table_->find(id);
  if (seat == nullptr) return;
  owe(*table_, *seat);
  table_->leave_counts(*seat);
  const DeviceIndex place = seat->place, target = seat->target;
  const std::vector<Choice> choices = std::move(seat->choices);
  const uint32_t slot = table_->seat_at[id];
  table_->seat_at.erase(id);
  if (slot + 1 != table_->seats.size()) {
    table_->seats[slot] = std::move(table_->seats.back());
    table_->seat_at[table_->seats[slot].id] = slot;
  }
  table_->seats.pop_back();
  for (const Choice& each : choices) --table_->devices[each.device].named;
  for (const Choice& each : choices) table_->forget_unused(each.device);
  if (place != kInSoftware) table_->forget_unused(place);
  if (target != kInSoftware) table_->forget_unused(target);
}

void Budget::observe(Instant now, SeatId id, uint64_t total_bytes) {
  Seat* seat = table_->find(id);
  if (seat == nullptr) return;
  if (!seat->counted) {
    seat->counted = true;
  } else {
    const double seconds = std::chrono::duration<double>(now - seat->seen).count();
    if (seconds <= 0) return;  // what came in it is in the next total
    const uint64_t bytes = total_bytes >= seat->total ? total_bytes - seat->total : total_bytes;
    const double lately = std::min(static_cast<double>(bytes) / seconds, kRateMax);
    const double half = std::chrono::duration<double>(table_->settings.half_life).count();
    seat->rate = lately + (seat->rate - lately) * std::exp2(-seconds / half);
    seat->measured = true;
  }
  seat->total = total_bytes;
  seat->seen = now;
}

void Budget::placed(Instant now, SeatId id, const Place& where) {
  forward(*table_, now);
  Seat* seat = table_->find(id);
  if (seat == nullptr) return;
  // A device that cannot be told apart any more (too many) has no room to be watched either.
  const DeviceIndex at = where ? table_->intern(*where).value_or(kInSoftware) : kInSoftware;
  const bool as_sent = seat->going != Going::kNowhere && seat->target == at;
  const bool moved = seat->placed && seat->place != at;
  const DeviceIndex from = seat->place;
  if (moved) owe(*table_, *seat);
  table_->leave_counts(*seat);
  if (moved && seat->going != Going::kFlee) seat->stays_until = table_->now + table_->settings.stay_least;
  if (moved || !seat->placed) seat->why = as_sent ? seat->going_why : Why::kRoom;
  seat->placed = true;
  seat->place = at;
  seat->going = Going::kNowhere;
  if (at != kInSoftware) seat->displaced_until = {};
  if (Choice* choice = seat->choice(at)) *choice = {.device = at};
  table_->enter_counts(*seat);
  if (moved && from != kInSoftware) table_->forget_unused(from);
}

void Budget::refused(Instant now, SeatId id, const std::string& device, Refusal refusal) {
  forward(*table_, now);
  Seat* seat = table_->find(id);
  const auto it = table_->device_at.find(device);
  if (seat == nullptr || it == table_->device_at.end()) return;
  const DeviceIndex at = it->second;
  if (seat->going != Going::kNowhere && seat->target == at) table_->stop(*seat);
  if (refusal == Refusal::kTableFull) return learn(*table_, *seat, at);
  Choice* choice = seat->choice(at);
  if (choice == nullptr) return;
  table_->refuse(*choice);
}

void Budget::forget_refusals(const std::string& device) {
  const auto it = table_->device_at.find(device);
  if (it == table_->device_at.end()) return;
  for (Seat& each : table_->seats)
    if (Choice* choice = each.choice(it->second)) *choice = {.device = it->second};
}

Place Budget::seat_for(Instant now, SeatId id) {
  forward(*table_, now);
  Seat* seat = table_->find(id);
  if (seat == nullptr) return {};
  if (seat->going != Going::kNowhere) {
    const bool possible = seat->target == kInSoftware || !table_->lost(seat->target);
    if (possible) {
      seat->patience = table_->now + table_->settings.move_patience;
      return table_->name_of(seat->target);
    }
    table_->stop(*seat);
  }
  if (seat->pin == Pin::kSoftware) return {};
  const bool on = seat->placed && seat->place != kInSoftware;
  if (on && !table_->lost(seat->place) && seat->choice(seat->place) != nullptr) return table_->name_of(seat->place);
  if (seat->placed && !on && table_->now < seat->stays_until) return {};
  const bool quiet = seat->measured && table_->is_quiet(*seat);
  if (seat->pin == Pin::kNone && quiet) return {};
  const DeviceIndex to = table_->choose(*seat, BudgetTable::Rooms::kForAll);
  if (to != kInSoftware) table_->send(*seat, Going::kClaim, to, seat->pin == Pin::kNic ? Why::kPinned : Why::kRoom);
  return table_->name_of(to);
}

std::vector<Move> Budget::decide(Instant now, const MayTake& may_take) {
  forward(*table_, now);
  return hwoffload::decide(*table_, may_take);
}

std::optional<SeatView> Budget::seat(SeatId id) const {
  const Seat* seat = table_->find(id);
  return seat == nullptr ? std::nullopt : std::optional(view_of(*table_, *seat));
}

std::vector<SeatView> Budget::seats() const {
  std::vector<SeatView> views;
  views.reserve(table_->seats.size());
  for (const Seat& each : table_->seats) views.push_back(view_of(*table_, each));
  std::ranges::sort(views, {}, &SeatView::seat);
  return views;
}

std::vector<DeviceView> Budget::devices() const {
  std::vector<DeviceView> views;
  std::vector<double> loads(table_->devices.size());
  for (const Seat& each : table_->seats) {
    const DeviceIndex at = each.going != Going::kNowhere ? each.target : each.placed ? each.place : kInSoftware;
    if (at != kInSoftware) loads[at] += each.rate;
  }
  for (size_t i = 0; i < loads.size(); ++i) {
    const Device& each = table_->devices[i];
    if (each.name.empty()) continue;
    DeviceView view{.name = each.name, .state = each.state, .settles_at = {}, .room = table_->room(each)};
    if (each.state == DeviceRoom::State::kUsable && table_->now < each.settles_at) view.settles_at = each.settles_at;
    if (view.room)
      view.source = each.learnt && *each.learnt < each.configured.value_or(SIZE_MAX) ? RoomSource::kLearnt
                                                                                     : RoomSource::kConfigured;
    view.used = each.used;
    view.load = loads[i];
    views.push_back(std::move(view));
  }
  std::ranges::sort(views, {}, &DeviceView::name);
  return views;
}

size_t Budget::moves_under_way() const { return table_->under_way; }

}  // namespace ipsec::hwoffload
