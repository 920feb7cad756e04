#pragma once

#include <compare>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "hwoffload/budget.h"
#include "policy/base/reasons.h"
#include "policy/base/time.h"

namespace ipsec::agent {

/// What NICs have done and refused since the daemon's start, one by one: for `status` and metrics. Main thread only; as
/// large as there are devices, reasons and moves under way.
class OffloadCounts {
 public:
  using Device = std::pair<std::string, std::string>;  ///< Namespace, name.

  /// How a move that was decided has ended.
  enum class Result : uint8_t {
    kMade,
    kElsewhere,  ///< The child was placed, and not where it was to go.
    kGivenUp     ///< Nothing came of it in time, another one was decided, or the child is gone.
  };
  struct Move {
    bool onto_nic = false;  ///< Else off it, into software.
    hwoffload::Why why = hwoffload::Why::kNotPlaced;
    Result result = Result::kMade;
    friend auto operator<=>(const Move&, const Move&) = default;
  };
  struct OfDevice {
    std::map<Reason, uint64_t> refusals;  ///< Installs that were refused, or kept in software without a word.
    std::map<Move, uint64_t> moves;       ///< Onto it, or from it into software.
    uint64_t losses = 0;                  ///< It went away or down.
    uint64_t disproved = 0;               ///< SAs that were shown on it and carried nothing.
  };

  void refused(const Device& device, Reason reason) { ++devices_[device].refusals[reason]; }
  void lost(const Device& device) { ++devices_[device].losses; }
  void disproved(const Device& device) { ++devices_[device].disproved; }

  /// `nic`: where it goes, or what it leaves for software.
  void decided(Instant now, const Device& nic, const hwoffload::Move& move);
  /// Where a child is now.
  void placed(hwoffload::SeatId seat, const hwoffload::Place& where);
  void child_gone(hwoffload::SeatId seat);
  /// Moves of which nothing was heard for as long as the budget waits for them.
  void give_up(Instant now);

  /// All others are not configured any more.
  void keep(const std::set<Device>& devices);
  OfDevice of(const Device& device) const;
  /// Those of which anything was counted.
  const std::map<Device, OfDevice>& devices() const { return devices_; }

 private:
  struct UnderWay {
    Device nic;
    hwoffload::Place to;
    hwoffload::Why why = hwoffload::Why::kNotPlaced;
    Instant since;
  };
  void end(hwoffload::SeatId seat, Result result);

  std::map<Device, OfDevice> devices_;
  std::map<hwoffload::SeatId, UnderWay> under_way_;
};

std::string_view to_string(OffloadCounts::Result result);
/// One word for dashboards, which stays; hwoffload::to_string() is for people.
std::string_view word_of(hwoffload::Why why);

}  // namespace ipsec::agent
