#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/base/reasons.h"
#include "policy/base/result.h"
#include "policy/base/time.h"

/// Which tunnels deserve the NIC. A NIC has room for so many SAs and becomes slow (or refuses) beyond; the busiest
/// get it, a bounded number of moves at a time. Pure: counters, refusals and the time in, moves out.
///
/// A *seat* is what is moved as a whole: the inbound and the outbound SA of one child. It outlives rekeys. Each move
/// costs a rekey, since a key never changes between NIC and software (their nonces may repeat).
namespace ipsec::hwoffload {

using SeatId = uint64_t;                   ///< The caller's number of one child of one tunnel.
using Place = std::optional<std::string>;  ///< The name of a device; nothing: software.

inline constexpr size_t kSeatsMax = 1'000'000;
inline constexpr size_t kBudgetDevicesMax = 256;  ///< Of all groups together, those included that are only named.
inline constexpr size_t kDevicesPerSeatMax = 16;  ///< That one seat may use.
inline constexpr size_t kMovesPerMinuteMax = 60'000;
inline constexpr double kRateMax = 1e13;  ///< Bytes per second; a counter that says more is read as this.

enum class Pin : uint8_t {
  kNone,      ///< By its rate.
  kNic,       ///< On a NIC before all that are not pinned, whatever its rate.
  kSoftware,  ///< Never on a NIC.
};

/// How several devices of one seat share the load.
enum class Spread : uint8_t {
  kPriority,  ///< The first usable one with room, in the seat's order: active and standby, or overflow.
  kSpread,    ///< The one with the least load.
};

struct BudgetSettings {
  Duration half_life = 10s;         ///< After it, a byte counts half in a rate. 1 s to 1 h.
  Duration stay_least = 60s;        ///< A seat that was moved stays so long (not on a lost device; off one that is
                                    ///< not its own any more it goes at once, into software). 0 to 1 d.
  Duration device_settle = 30s;     ///< A device that comes back is used after this; doubles, up to 16 times, when it
                                    ///< is lost again soon. 0 to 1 h.
  Duration move_patience = 60s;     ///< A move of which nothing was heard is given up. 1 s to 1 h.
  Duration grow_after = 300s;       ///< A learnt room is tried to be larger; doubles, up to 16 times, with each refusal
                                    ///< that follows. 10 s to 1 d.
  uint32_t moves_per_minute = 600;  ///< In any 60 s, lost devices aside. 0: none; a swap takes 2, so not 1.
  uint32_t moves_at_once = 64;      ///< Under way, lost devices aside. 1 to kMovesPerMinuteMax.
  uint32_t hysteresis_percent = 25;  ///< So much busier is who pushes another one out. 0 to 1000.
  uint32_t reserve_percent = 2;      ///< Of a device's room, for the second pair of SAs during rekeys. 0 to 50.
  uint64_t least_rate = 1000;        ///< Bytes per second below which no place on a NIC is worth a move.
  Spread spread = Spread::kPriority;
};

/// Nothing wrong, or which value is, its limits and what was given.
Status check(const BudgetSettings& settings);

/// What the caller knows of a device.
struct DeviceRoom {
  std::string name;
  enum class State : uint8_t { kUsable, kLost } state = State::kUsable;  ///< Lost: gone, down, or without offload.
  std::optional<size_t> configured;  ///< Seats (pairs of SAs) worth placing on it; nothing: until it refuses.
};

/// Why a seat is where it is, or goes where it is sent.
enum class Why : uint8_t {
  kNotPlaced,       ///< Nothing was heard of it yet.
  kPinned,          ///< To a NIC or to software, as configured.
  kRoom,            ///< On a NIC: there was room.
  kBusiest,         ///< On a NIC: busier than those that have to do without.
  kMadeRoom,        ///< On another NIC: for one that can use only the first.
  kPreferred,       ///< On a device that is earlier in its list than the one where it was.
  kBalanced,        ///< On another NIC, with less load.
  kPushedOut,       ///< Into software: a busier or a pinned one gets the room.
  kRoomShrank,      ///< Off a NIC: the room became less, and it was among the quietest.
  kDeviceLost,      ///< Off a NIC that was lost; in software, since all its devices are.
  kDeviceSettling,  ///< In software: its device has come back and is not trusted yet.
  kRefused,         ///< In software: the device refused it, for another reason than its room.
  kNotConfigured,   ///< In software: no device is its own.
  kAstray,          ///< Off a NIC that is none of its own any more.
  kTooQuiet,        ///< In software: below least_rate.
  kRoomTaken,       ///< In software: busier or pinned ones have the configured room.
  kTableFull,       ///< In software: the same, where the room was learnt from a refusal.
  kWaiting,         ///< In software: it will be moved when the minute allows it or its stay is over.
};
std::string_view to_string(Why why);

struct Move {
  SeatId seat = 0;
  Place from, to;
  Why why = Why::kNotPlaced;
  double rate = 0;  ///< Bytes per second.
};

enum class Refusal : uint8_t {
  kTableFull,  ///< Teaches the device's room.
  kOther,      ///< This seat leaves this device alone for a while (1 min, doubling, at most 1 h).
};

enum class RoomSource : uint8_t { kUnknown, kConfigured, kLearnt };
std::string_view to_string(RoomSource source);

struct SeatView {
  SeatId seat = 0;
  Place place;
  std::optional<Place> going_to;  ///< A move under way.
  Pin pin = Pin::kNone;
  double rate = 0;  ///< Bytes per second, moving average.
  Why why = Why::kNotPlaced;
};

/// The reason of the catalogue for `show`: kOffloadEffective for all that are on a NIC.
Reason reason_of(const SeatView& seat);

struct DeviceView {
  std::string name;
  DeviceRoom::State state = DeviceRoom::State::kLost;
  std::optional<Instant> settles_at;  ///< Usable again from then on.
  std::optional<size_t> room;         ///< Seats, the reserve taken off; nothing: no limit is known.
  RoomSource source = RoomSource::kUnknown;
  size_t used = 0;  ///< Seats on it, and those on their way to it.
  double load = 0;  ///< Bytes per second of those.
};

struct BudgetTable;  // budget_table.h

/// The whole policy. No clock, no I/O, no randomness: the same calls give the same moves. Instants must not go back
/// (an earlier one counts as the latest). Calls about seats that are not known are ignored, since children go at any
/// time. Every move that is handed out may be made at once: room for it is there.
class Budget {
 public:
  /// `settings` have passed check().
  explicit Budget(const BudgetSettings& settings);
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  /// Other settings, also while moves are under way.
  void set_settings(const BudgetSettings& settings);

  /// A device, or news of it. The first time it is used at once, after a loss when it has settled. Fails when the
  /// name is empty or there are kBudgetDevicesMax.
  Status set_device(Instant now, const DeviceRoom& device);
  /// The device is not configured any more: its seats go elsewhere as from a lost one, what was learnt is forgotten.
  void remove_device(Instant now, const std::string& name);

  /// A seat, or another list or pin for it. `devices`: in order of preference; set_device() may come later. Fails at
  /// kSeatsMax, kDevicesPerSeatMax or kBudgetDevicesMax, and then nothing has changed.
  Status add(SeatId id, const std::vector<std::string>& devices, Pin pin);
  void remove(SeatId id);

  /// All bytes of the seat so far, both directions. Rates are averages over half_life and begin at 0: who is new has
  /// to earn its place. A smaller total than before is a counter that began again at 0. Allocates nothing.
  void observe(Instant now, SeatId id, uint64_t total_bytes);

  /// Where the seat was read back. Ends a move, also when it ended elsewhere.
  void placed(Instant now, SeatId id, const Place& where);
  /// `device` did not take it. The seat counts as being where it was until placed() tells.
  void refused(Instant now, SeatId id, const std::string& device, Refusal refusal);

  /// Where a fresh child goes, or one whose rekey is under way anyway: costs no move, and makes one that is under way
  /// come true. Keeps the room for it until placed(), refused(), remove() or move_patience. Who was never measured
  /// may have room that is free; who is too quiet stays in software; nobody is pushed out. O(devices of the seat).
  Place seat_for(Instant now, SeatId id);

  /// What is to be moved now, the most worthwhile first: off lost devices and those that are not theirs any more
  /// (neither limited), then out of what has become too small, then pinned and busy seats onto NICs and who must make
  /// room for them, then back to preferred devices or for balance. One pass over all seats; meant for each second and
  /// for each loss of a device.
  /// Asked of one that is to go from software onto a NIC: whether that would take it, as far as anybody knows. If not,
  /// that counts as a refusal.
  using MayTake = std::function<bool(SeatId, const std::string& device)>;
  std::vector<Move> decide(Instant now, const MayTake& may_take = {});

  /// The device is not what it was: who was refused by it may ask again.
  void forget_refusals(const std::string& device);

  std::optional<SeatView> seat(SeatId id) const;
  std::vector<SeatView> seats() const;      ///< By id.
  std::vector<DeviceView> devices() const;  ///< By name.
  size_t moves_under_way() const;

 private:
  std::unique_ptr<BudgetTable> table_;
};

}  // namespace ipsec::hwoffload
