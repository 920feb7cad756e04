#include "agent/offload_book.h"

#include <algorithm>
#include <utility>

namespace ipsec::agent {
namespace {

using hwoffload::BudgetSettings;
using hwoffload::DeviceFacts;
using hwoffload::DeviceRoom;

/// Devices of two namespaces may have one name.
std::string room_name(const std::string& netns, const std::string& device) {
  return netns.empty() ? device : netns + "/" + device;
}

std::string device_of(const std::string& netns, const std::string& room) {
  return netns.empty() ? room : room.substr(netns.size() + 1);
}

BudgetSettings settings_of(const policy::OffloadBudget& budget) {
  BudgetSettings settings;
  settings.half_life = budget.half_life;
  settings.stay_least = budget.stay;
  settings.device_settle = budget.settle;
  settings.moves_per_minute = budget.moves_per_minute;
  settings.hysteresis_percent = budget.hysteresis_percent;
  settings.least_rate = budget.least_rate;
  settings.spread = budget.spread ? hwoffload::Spread::kSpread : hwoffload::Spread::kPriority;
  return settings;
}

hwoffload::Pin pin_of(policy::OffloadPin pin) {
  switch (pin) {
    case policy::OffloadPin::kNone: return hwoffload::Pin::kNone;
    case policy::OffloadPin::kNic: return hwoffload::Pin::kNic;
    case policy::OffloadPin::kSoftware: return hwoffload::Pin::kSoftware;
  }
  return hwoffload::Pin::kNone;
}

}  // namespace

OffloadBook::OffloadBook(Services services) : services_(std::move(services)), budget_(BudgetSettings{}) {}

void OffloadBook::configure(Instant now, const policy::Config& config) {
  budget_.set_settings(settings_of(config.offload));
  known_ = config.offload.devices;
  std::set<Device> wanted;
  for (const auto& [name, group] : config.groups)
    for (const std::string& device : group->offload_devices) wanted.emplace(group->public_place.netns, device);
  for (const Device& each : rooms_)
    if (!wanted.contains(each)) budget_.remove_device(now, room_name(each.first, each.second));
  std::erase_if(facts_, [&](const auto& each) { return !wanted.contains(each.first); });
  rooms_ = std::move(wanted);
  counts_.keep(rooms_);
  (void)read_devices(now);
  for (const Device& each : rooms_) set_room(now, each);
}

const DeviceFacts& OffloadBook::facts(const Device& device) {
  const auto known = facts_.find(device);
  if (known != facts_.end()) return known->second;
  return facts_.emplace(device, look_at(device, {.name = device.second})).first->second;
}

DeviceFacts OffloadBook::look_at(const Device& device, const DeviceFacts& known) {
  auto [facts, device_read, settings_read] = services_.read_device(device.first, device.second);
  if (!device_read) facts = known;
  if (!settings_read && facts.bus == known.bus) {
    facts.devlink = known.devlink;
    facts.eswitch = known.eswitch;
    facts.flow_steering = known.flow_steering;
  }
  const auto found = probed_.find(device);
  facts.probed = found != probed_.end() ? found->second : hwoffload::ProbedDevice();
  return facts;
}

const hwoffload::KernelFacts& OffloadBook::facts_of_kernel(const std::string& netns) {
  const auto known = kernel_facts_.find(netns);
  if (known != kernel_facts_.end()) return known->second;
  return kernel_facts_.emplace(netns, services_.kernel_facts(netns)).first->second;
}

void OffloadBook::set_room(Instant now, const Device& device) {
  const DeviceFacts& known = facts(device);
  DeviceRoom room{.name = room_name(device.first, device.second), .configured = {}};
  if (!known.present || !known.up) room.state = DeviceRoom::State::kLost;
  const auto configured = known_.find(device.second);
  if (configured != known_.end() && configured->second.netns == device.first && configured->second.children_max != 0)
    room.configured = configured->second.children_max;
  // More devices than it takes: those that are not in it are placed by the rules alone.
  (void)budget_.set_device(now, room);
}

void OffloadBook::add(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const std::string& path_device) {
  const policy::TunnelGroup& group = *tunnel.group;
  if (tunnel.offload_mode() == policy::OffloadMode::kNone || group.offload_devices.empty()) return remove(reqid);
  const auto [it, fresh] = seats_.try_emplace(reqid);
  Seat& seat = it->second;
  const bool same = !fresh && seat.netns == group.public_place.netns && seat.devices == group.offload_devices &&
                    seat.path_device == path_device && seat.mode == tunnel.offload_mode() && seat.pin == tunnel.pin;
  if (same) return;
  seat.netns = group.public_place.netns;
  seat.devices = group.offload_devices;
  seat.path_device = path_device;
  seat.mode = tunnel.offload_mode();
  seat.pin = tunnel.pin;
  for (const std::string& device : seat.devices)
    if (rooms_.emplace(seat.netns, device).second) set_room(now, {seat.netns, device});
  seat_again(reqid);
}

void OffloadBook::set_needs(uint32_t reqid, const Needs& needs) {
  const auto seat = seats_.find(reqid);
  if (seat == seats_.end() || seat->second.needs == needs) return;
  seat->second.needs = needs;
  seat_again(reqid);
}

/// By the rules, and by what was refused `lately`, for one of its SAs at least. Whether the device is there is another
/// matter, as is where packets leave.
bool OffloadBook::may_take(const Seat& seat, const std::string& device, std::optional<Instant> lately) {
  if (!seat.needs) return true;
  hwoffload::Situation situation{.devices = {facts({seat.netns, device})}, .kernel = facts_of_kernel(seat.netns)};
  situation.devices.front().present = situation.devices.front().up = true;
  return std::ranges::any_of(*seat.needs, [&](const hwoffload::SaNeeds& needs) {
    if (lately) situation.learnt = learnt_[seat.netns].against(*lately, needs);
    return hwoffload::place(needs, situation, seat.mode).attempts.size() > 1;  // the last one is software
  });
}

/// Only devices that its packets leave by can take its SAs.
void OffloadBook::seat_again(uint32_t reqid) {
  const auto found = seats_.find(reqid);
  if (found == seats_.end()) return;
  const Seat& seat = found->second;
  std::vector<std::string> usable;
  for (const std::string& device : seat.devices) {
    const DeviceFacts& known = facts({seat.netns, device});
    const bool on_the_way = seat.path_device.empty() || seat.path_device == device || seat.path_device == known.worker;
    if (on_the_way && may_take(seat, device, {})) usable.push_back(room_name(seat.netns, device));
  }
  (void)budget_.add(reqid, usable, pin_of(seat.operators.value_or(seat.pin)));  // full: the rules alone place it
}

void OffloadBook::remove(uint32_t reqid) {
  if (seats_.erase(reqid) == 0) return;
  budget_.remove(reqid);
  counts_.child_gone(reqid);
}

void OffloadBook::pin(uint32_t reqid, policy::OffloadPin pin, PinFor how) {
  const auto seat = seats_.find(reqid);
  if (seat == seats_.end()) return;
  seat->second.operators.reset();
  if (pin != policy::OffloadPin::kNone) seat->second.operators = pin;
  seat->second.one_move = how == PinFor::kOneMove;
  seat_again(reqid);
}

hwoffload::Situation OffloadBook::situation_without_seat(Instant now, uint32_t reqid, const policy::Tunnel& tunnel,
                                                         const hwoffload::SaNeeds& needs) {
  const std::string& netns = tunnel.group->public_place.netns;
  const auto seat = seats_.find(reqid);
  hwoffload::Situation situation;
  for (const std::string& device : tunnel.group->offload_devices) {
    situation.devices.push_back(facts({netns, device}));
    if (seat != seats_.end()) situation.devices.back().path_device = seat->second.path_device;
  }
  if (!situation.devices.empty()) situation.kernel = facts_of_kernel(netns);
  situation.learnt = learnt_[netns].against(now, needs);
  return situation;
}

hwoffload::Situation OffloadBook::situation(Instant now, uint32_t reqid, const policy::Tunnel& tunnel,
                                            const hwoffload::SaNeeds& needs) {
  const auto seat = seats_.find(reqid);
  // Both directions have one place: it is asked for with the inbound SA, which comes first.
  if (seat != seats_.end() && needs.direction == policy::Direction::kIn) {
    seat->second.place = budget_.seat_for(now, reqid);
    seat->second.asked = true;
  }
  return look(now, reqid, tunnel, needs);
}

hwoffload::Situation OffloadBook::look(Instant now, uint32_t reqid, const policy::Tunnel& tunnel,
                                       const hwoffload::SaNeeds& needs) {
  hwoffload::Situation situation = situation_without_seat(now, reqid, tunnel, needs);
  const auto seat = seats_.find(reqid);
  auto view = seat != seats_.end() ? budget_.seat(reqid) : std::nullopt;
  if (!view) return situation;
  if (view->place && !seat->second.place) {  // on its way into software
    view->place.reset();
    view->why = seat->second.moved;
  }
  if (const hwoffload::Place& place = seat->second.place) {
    situation.seat.device = device_of(seat->second.netns, *place);
  } else if (seat->second.asked && view->why != hwoffload::Why::kNotConfigured) {
    // It is fresh, and nothing is free.
    if (view->why == hwoffload::Why::kNotPlaced) view->why = hwoffload::Why::kRoomTaken;
    situation.seat = {
        .software = true, .why = hwoffload::reason_of(*view), .detail = std::string(hwoffload::to_string(view->why))};
  }
  return situation;
}

void OffloadBook::refused(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const hwoffload::SaNeeds& needs,
                          const hwoffload::Verdict& verdict, int os_errno) {
  const std::string& netns = tunnel.group->public_place.netns;
  counts_.refused({netns, verdict.device}, verdict.reason);
  learnt_[netns].note(now, needs, verdict, os_errno);
  const bool full = verdict.reason == Reason::kOffloadTableFull;
  if (full || needs.direction == policy::Direction::kOut)
    budget_.refused(now, reqid, room_name(netns, verdict.device),
                    full ? hwoffload::Refusal::kTableFull : hwoffload::Refusal::kOther);
}

void OffloadBook::read_back(Instant now, const policy::Tunnel& tunnel, const hwoffload::SaNeeds& needs,
                            const policy::OffloadRequest& tried, const hwoffload::Effective& effective) {
  if (tried.kind == policy::OffloadKind::kNone) return;
  hwoffload::LearntRefusals& learnt = learnt_[tunnel.group->public_place.netns];
  if (effective.kind == tried.kind) return learnt.taken(needs, tried.kind, tried.device);
  counts_.refused({tunnel.group->public_place.netns, tried.device}, Reason::kOffloadSilentSoftware);
  learnt.note(now, needs, {tried.kind, tried.device, Reason::kOffloadSilentSoftware, effective.detail, "", "read back"},
              0);
}

void OffloadBook::placed(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const hwoffload::Effective& in,
                         const hwoffload::Effective& out) {
  const auto seat = seats_.find(reqid);
  if (seat == seats_.end()) return;
  hwoffload::Place place;
  for (const hwoffload::Effective* each : {&in, &out})
    if (each->kind != policy::OffloadKind::kNone) place = room_name(tunnel.group->public_place.netns, each->device);
  budget_.placed(now, reqid, place);
  counts_.placed(reqid, place);
  const bool wanted_nic = seat->second.operators == policy::OffloadPin::kNic;
  if (!seat->second.one_move || place.has_value() != wanted_nic) return;
  seat->second.operators.reset();
  seat->second.one_move = false;
  seat_again(reqid);
}

void OffloadBook::not_counting(Instant now, uint32_t reqid, const policy::Tunnel& tunnel, const std::string& device) {
  counts_.disproved({tunnel.group->public_place.netns, device});
  if (!seats_.contains(reqid)) return;
  budget_.placed(now, reqid, std::nullopt);  // for the NIC does not serve it
  budget_.refused(now, reqid, room_name(tunnel.group->public_place.netns, device), hwoffload::Refusal::kOther);
}

std::vector<std::pair<std::string, std::string>> OffloadBook::take_probes() {
  std::vector<Device> wanted;
  for (const Device& device : rooms_) {
    const auto known = known_.find(device.second);
    const bool allowed = known != known_.end() && known->second.netns == device.first && known->second.active_probe;
    if (!allowed || !facts(device).present || !facts(device).up) continue;
    if (probed_.try_emplace(device).second) wanted.push_back(device);
  }
  return wanted;
}

void OffloadBook::probed(const std::string& netns, const std::string& device, const hwoffload::ProbedDevice& found) {
  probed_[{netns, device}] = found;
  facts_.erase({netns, device});
  suit_again({netns, device});
}

std::vector<hwoffload::Move> OffloadBook::decide(Instant now) {
  std::vector<hwoffload::Move> moves = budget_.decide(now, [&](hwoffload::SeatId id, const std::string& room) {
    const auto seat = seats_.find(static_cast<uint32_t>(id));
    return seat == seats_.end() || may_take(seat->second, device_of(seat->second.netns, room), now);
  });
  counts_.give_up(now);
  for (const hwoffload::Move& each : moves) {
    const auto seat = seats_.find(static_cast<uint32_t>(each.seat));
    if (seat == seats_.end()) continue;
    seat->second.moved = each.why;
    const std::string& netns = seat->second.netns;
    const hwoffload::Place& nic = each.to ? each.to : each.from;
    if (nic) counts_.decided(now, {netns, device_of(netns, *nic)}, each);
  }
  return moves;
}

bool OffloadBook::on_link(Instant now, const policy::LinkChanged& change) {
  const Device device{change.netns, change.name};
  // A member of a bond is nobody's device, but may be what one of ours works through.
  const bool below = std::ranges::any_of(
      facts_, [&](const auto& each) { return each.first.first == change.netns && each.second.worker == change.name; });
  if (!rooms_.contains(device) && !below) return false;
  for (const Device& each : rooms_) {
    if (each.first != change.netns || (each != device && facts(each).worker != change.name)) continue;
    if (change.gone) probed_.erase(each);  // another one may come by this name
    (void)read_anew(now, each);
  }
  return true;
}

bool OffloadBook::read_anew(Instant now, const Device& device) {
  const auto known = facts_.find(device);
  if (known == facts_.end()) return false;  // nobody has asked yet
  const DeviceFacts before = std::exchange(known->second, look_at(device, known->second));
  const DeviceFacts& after = known->second;
  if (after == before) return false;
  if (before.present && before.up && !(after.present && after.up)) counts_.lost(device);
  learnt_[device.first].forget(device.second);
  set_room(now, device);
  budget_.forget_refusals(room_name(device.first, device.second));
  suit_again(device);
  return true;
}

bool OffloadBook::read_devices(Instant now) {
  bool changed = false;
  for (const Device& each : rooms_) changed = read_anew(now, each) || changed;
  return changed;
}

/// The rules may have another answer.
void OffloadBook::suit_again(const Device& device) {
  for (const auto& [reqid, seat] : seats_)
    if (seat.netns == device.first && std::ranges::find(seat.devices, device.second) != seat.devices.end())
      seat_again(reqid);
}

bool OffloadBook::is_usable(const std::string& netns, const std::string& device) const {
  const auto known = facts_.find({netns, device});
  return known != facts_.end() && known->second.present && known->second.up;
}

std::vector<OffloadBook::DeviceRow> OffloadBook::devices() {
  std::vector<DeviceRow> rows;
  const std::vector<hwoffload::DeviceView> views = budget_.devices();
  for (const Device& device : rooms_) {
    DeviceRow row{.netns = device.first, .name = device.second, .facts = facts(device), .view = {}};
    const auto view = std::ranges::find(views, room_name(device.first, device.second), &hwoffload::DeviceView::name);
    if (view != views.end()) row.view = *view;
    row.refusals = learnt_[device.first].count(device.second);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace ipsec::agent
