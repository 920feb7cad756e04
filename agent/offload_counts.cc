#include "agent/offload_counts.h"

#include <vector>

namespace ipsec::agent {

using hwoffload::Why;

void OffloadCounts::end(hwoffload::SeatId seat, Result result) {
  const auto move = under_way_.find(seat);
  if (move == under_way_.end()) return;
  ++devices_[move->second.nic]
        .moves[{.onto_nic = move->second.to.has_value(), .why = move->second.why, .result = result}];
  under_way_.erase(move);
}

void OffloadCounts::decided(Instant now, const Device& nic, const hwoffload::Move& move) {
  end(move.seat, Result::kGivenUp);
  under_way_.insert_or_assign(move.seat, UnderWay{.nic = nic, .to = move.to, .why = move.why, .since = now});
}

void OffloadCounts::placed(hwoffload::SeatId seat, const hwoffload::Place& where) {
  const auto move = under_way_.find(seat);
  if (move != under_way_.end()) end(seat, move->second.to == where ? Result::kMade : Result::kElsewhere);
}

void OffloadCounts::child_gone(hwoffload::SeatId seat) { end(seat, Result::kGivenUp); }

void OffloadCounts::give_up(Instant now) {
  const Duration patience = hwoffload::BudgetSettings{}.move_patience;
  std::vector<hwoffload::SeatId> late;
  for (const auto& [seat, move] : under_way_)
    if (now - move.since >= patience) late.push_back(seat);
  for (const hwoffload::SeatId seat : late) end(seat, Result::kGivenUp);
}

void OffloadCounts::keep(const std::set<Device>& devices) {
  std::erase_if(devices_, [&](const auto& each) { return !devices.contains(each.first); });
  std::erase_if(under_way_, [&](const auto& each) { return !devices.contains(each.second.nic); });
}

OffloadCounts::OfDevice OffloadCounts::of(const Device& device) const {
  const auto known = devices_.find(device);
  return known != devices_.end() ? known->second : OfDevice{};
}

std::string_view to_string(OffloadCounts::Result result) {
  switch (result) {
    case OffloadCounts::Result::kMade: return "made";
    case OffloadCounts::Result::kElsewhere: return "elsewhere";
    case OffloadCounts::Result::kGivenUp: return "given-up";
  }
  return "";
}

std::string_view word_of(Why why) {
  switch (why) {
    case Why::kNotPlaced: return "not-placed";
    case Why::kPinned: return "pinned";
    case Why::kRoom: return "room";
    case Why::kBusiest: return "busiest";
    case Why::kMadeRoom: return "made-room";
    case Why::kPreferred: return "preferred";
    case Why::kBalanced: return "balanced";
    case Why::kPushedOut: return "pushed-out";
    case Why::kRoomShrank: return "room-shrank";
    case Why::kDeviceLost: return "device-lost";
    case Why::kDeviceSettling: return "device-settling";
    case Why::kRefused: return "refused";
    case Why::kNotConfigured: return "not-configured";
    case Why::kAstray: return "astray";
    case Why::kTooQuiet: return "too-quiet";
    case Why::kRoomTaken: return "room-taken";
    case Why::kTableFull: return "table-full";
    case Why::kWaiting: return "waiting";
  }
  return "";
}

}  // namespace ipsec::agent
