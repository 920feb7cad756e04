#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>

#include "hwoffload/budget.h"

/// What Budget remembers: seats, devices and what of their room is taken. Not for others than budget*.cc.
namespace ipsec::hwoffload {

using DeviceIndex = uint16_t;
inline constexpr DeviceIndex kInSoftware = UINT16_MAX;

inline constexpr Duration kMinute = 60s;
inline constexpr Duration kRefusedFirst = 60s;      ///< A seat leaves a device alone that refused it; doubles ...
inline constexpr uint8_t kRefusedDoublingsMax = 6;  ///< ... so often: about an hour.
inline constexpr uint8_t kDoublingsMax = 4;         ///< Of a device's waits: 16 times.
inline constexpr int kFlapWithin = 8;               ///< Lost again within so many times device_settle: it flaps.
inline constexpr size_t kGrowthPart = 64;           ///< A learnt room grows by this part of itself, at least by one.

/// A device that a seat may use.
struct Choice {
  DeviceIndex device = kInSoftware;
  uint8_t refusals = 0;
  Instant not_before{};  ///< It refused the seat; not again before this.
};

/// What is happening to a seat.
enum class Going : uint8_t {
  kNowhere,
  kClaim,  ///< seat_for() has kept room for it.
  kMove,   ///< decide() has sent it.
  kSwap,   ///< The same, and its room is for a busier one that follows.
  kFlee,   ///< Off a lost device: not counted.
};

struct Seat {
  SeatId id = 0;
  double rate = 0;
  uint64_t total = 0;
  Instant seen{};             ///< Of `total`.
  Instant stays_until{};      ///< It was moved.
  Instant displaced_until{};  ///< It lost its place on a NIC, and has another one before that as if it were busy.
  Instant patience{};         ///< While it is going: given up then.
  std::vector<Choice> choices{};
  DeviceIndex place = kInSoftware, target = kInSoftware;
  Pin pin = Pin::kNone;
  Going going = Going::kNowhere;
  Why why = Why::kNotPlaced;        ///< On a NIC: why there.
  Why going_why = Why::kNotPlaced;  ///< Why it is sent to `target`.
  bool placed = false;
  bool counted = false;   ///< `total` holds something.
  bool measured = false;  ///< `rate` does too.

  const Choice* choice(DeviceIndex device) const;
  Choice* choice(DeviceIndex device);
};

struct Device {
  std::string name;
  bool known = false;  ///< set_device() was called; else it was only named by a seat.
  DeviceRoom::State state = DeviceRoom::State::kLost;
  Instant settles_at{}, returned_at{};
  bool returned = false;  ///< It was lost at least once and came back at returned_at.
  uint8_t flaps = 0;
  std::optional<size_t> configured{}, learnt{};
  Instant grows_at{}, refused_at{};
  uint8_t refusals = 0;  ///< Of the room, one after the other.
  bool grown = false;    ///< Since the last refusal.
  size_t named = 0;      ///< Choices of seats.
  size_t on = 0;         ///< Seats that are there.
  size_t used = 0;       ///< And those on their way to it.
  size_t leaving = 0;    ///< Of `on`, on their way elsewhere.
  size_t swapping = 0;   ///< Of `leaving`, in favour of a busier one.
  size_t owed = 0;       ///< Room that swaps have freed and that nobody has taken yet.
  double load = 0;       ///< Bytes per second, as of the last decide() and what was sent since.
};

struct BudgetTable {
  BudgetSettings settings;
  Instant now{};
  std::vector<Seat> seats;
  std::unordered_map<SeatId, uint32_t> seat_at;
  std::vector<Device> devices;
  std::unordered_map<std::string, DeviceIndex> device_at;
  std::deque<Instant> moved;  ///< Moves that count, of the last minute.
  size_t under_way = 0;       ///< Seats with kMove or kSwap.
  double mean_rate = 0;       ///< Of seats on NICs: what a fresh one is taken for in a load.

  Seat* find(SeatId id);
  /// The device of that name, made if need be; nothing when there are too many.
  std::optional<DeviceIndex> intern(const std::string& name);
  /// Gives the slot up when nothing refers to it any more.
  void forget_unused(DeviceIndex at);
  Place name_of(DeviceIndex at) const;

  /// Every change of place, target or going stands between these two, which keep the counts of devices.
  void leave_counts(const Seat& seat) { count(seat, SIZE_MAX); }
  void enter_counts(const Seat& seat) { count(seat, 1); }
  void send(Seat& seat, Going how, DeviceIndex to, Why why);
  void stop(Seat& seat);
  void refuse(Choice& choice) const;
  void note_displaced(Seat& seat) { seat.displaced_until = std::max(now, seat.stays_until) + settings.move_patience; }
  bool is_quiet(const Seat& seat) const {
    return now >= seat.displaced_until && seat.rate < static_cast<double>(settings.least_rate);
  }

  bool lost(DeviceIndex at) const { return devices[at].state == DeviceRoom::State::kLost; }
  bool usable(DeviceIndex at) const { return !lost(at) && now >= devices[at].settles_at; }
  std::optional<size_t> room(const Device& device) const;
  size_t free_room(DeviceIndex at) const;     ///< What nobody is on or on the way to.
  size_t free_for_all(DeviceIndex at) const;  ///< Of that, what no swap was made for.
  bool open_to(const Choice& choice) const { return usable(choice.device) && now >= choice.not_before; }
  /// Of the seat's devices with free_for_all() (or free_room(), for one that swaps are for): by priority or load.
  enum class Rooms : uint8_t { kForAll, kWithOwed };
  DeviceIndex choose(const Seat& seat, Rooms rooms) const;
  /// Why a seat that is in software, is.
  Why why_in_software(const Seat& seat) const;

  size_t swaps_open() const;
  /// Moves that may still begin in this minute, those aside that swaps under way will need.
  size_t allowance();

 private:
  void count(const Seat& seat, size_t by);  // by 1 or -1 modulo 2^64
};

/// decide() of one instant (budget_decide.cc).
std::vector<Move> decide(BudgetTable& table, const Budget::MayTake& may_take);

}  // namespace ipsec::hwoffload
