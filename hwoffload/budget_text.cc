#include <array>

#include "hwoffload/budget.h"

namespace ipsec::hwoffload {
namespace {

std::string seconds(Duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) + " ms";
}

struct DurationRange {
  std::string_view name;
  Duration value, least, most;
};
struct NumberRange {
  std::string_view name;
  uint64_t value, least, most;
};

Error out_of_range(std::string_view name, const std::string& given, const std::string& least, const std::string& most) {
  return Error(Reason::kConfigBadValue,
               "offload budget: " + std::string(name) + " is " + given + "; " + least + " to " + most + " is possible");
}

}  // namespace

Status check(const BudgetSettings& settings) {
  const std::array times{DurationRange{"half_life", settings.half_life, 1s, 1h},
                         DurationRange{"stay_least", settings.stay_least, 0s, 24h},
                         DurationRange{"device_settle", settings.device_settle, 0s, 1h},
                         DurationRange{"move_patience", settings.move_patience, 1s, 1h},
                         DurationRange{"grow_after", settings.grow_after, 10s, 24h}};
  for (const DurationRange& each : times)
    if (each.value < each.least || each.value > each.most)
      return out_of_range(each.name, seconds(each.value), seconds(each.least), seconds(each.most));
  const std::array numbers{NumberRange{"moves_per_minute", settings.moves_per_minute, 0, kMovesPerMinuteMax},
                           NumberRange{"moves_at_once", settings.moves_at_once, 1, kMovesPerMinuteMax},
                           NumberRange{"hysteresis_percent", settings.hysteresis_percent, 0, 1000},
                           NumberRange{"reserve_percent", settings.reserve_percent, 0, 50}};
  for (const NumberRange& each : numbers)
    if (each.value < each.least || each.value > each.most)
      return out_of_range(each.name, std::to_string(each.value), std::to_string(each.least), std::to_string(each.most));
  if (settings.moves_per_minute == 1)
    return Error(Reason::kConfigBadValue,
                 "offload budget: moves_per_minute is 1; 0 or at least 2 is possible, since an exchange takes two");
  return {};
}

std::string_view to_string(Why why) {
  switch (why) {
    case Why::kNotPlaced: return "not placed yet";
    case Why::kPinned: return "pinned";
    case Why::kRoom: return "there was room";
    case Why::kBusiest: return "among the busiest";
    case Why::kMadeRoom: return "made room for one that can use only the other device";
    case Why::kPreferred: return "preferred device";
    case Why::kBalanced: return "balanced";
    case Why::kPushedOut: return "pushed out by a busier or pinned one";
    case Why::kRoomShrank: return "the room shrank";
    case Why::kDeviceLost: return "device lost";
    case Why::kDeviceSettling: return "device settling";
    case Why::kRefused: return "refused by the device";
    case Why::kNotConfigured: return "none of its devices can take it";
    case Why::kAstray: return "its device cannot take it any more";
    case Why::kTooQuiet: return "too quiet";
    case Why::kRoomTaken: return "the room is taken by busier or pinned ones";
    case Why::kTableFull: return "table full";
    case Why::kWaiting: return "waits for its move";
  }
  return "";
}

Reason reason_of(const SeatView& seat) {
  if (seat.place) return Reason::kOffloadEffective;
  switch (seat.why) {
    case Why::kNotPlaced: return Reason::kNone;
    case Why::kPinned: return Reason::kOffloadPinned;
    case Why::kRoomShrank:
    case Why::kTableFull: return Reason::kOffloadTableFull;
    case Why::kDeviceLost: return Reason::kOffloadDeviceLost;
    case Why::kDeviceSettling: return Reason::kOffloadDeviceSettling;
    case Why::kRefused: return Reason::kOffloadRefused;
    case Why::kAstray:
    case Why::kNotConfigured: return Reason::kOffloadNoDevice;
    case Why::kTooQuiet: return Reason::kOffloadTooQuiet;
    case Why::kPushedOut:
    case Why::kRoomTaken: return Reason::kOffloadBusierFirst;
    case Why::kWaiting: return Reason::kOffloadWaiting;
    case Why::kRoom:
    case Why::kBusiest:
    case Why::kMadeRoom:
    case Why::kPreferred:
    case Why::kBalanced: return Reason::kOffloadEffective;
  }
  return Reason::kNone;
}

std::string_view to_string(RoomSource source) {
  switch (source) {
    case RoomSource::kUnknown: return "unknown";
    case RoomSource::kConfigured: return "configured";
    case RoomSource::kLearnt: return "learnt";
  }
  return "";
}

}  // namespace ipsec::hwoffload
