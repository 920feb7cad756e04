#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "policy/base/time.h"

namespace ipsec::policy {

/// How it is with a path of a carrier, the worst first.
enum class PathState : uint8_t {
  kDown,
  kWaiting,  ///< A packet would raise it.
  kUp
};

/// Which of its paths a carrier uses, the preferred one (0) or the backup (1). Pure; it never goes back and forth
/// faster than `hold_down`:
/// - away from the path in use at once, and only when another is better;
/// - back to the preferred one when that has been as good as the one in use for `hold_down`, without a break. It need
///   not wait before it has been lost once.
class CarrierChoice {
 public:
  static constexpr size_t kPathsMax = 2;
  using States = std::array<PathState, kPathsMax>;  ///< Of a path that is not there: kDown.

  /// `in_use`: as it is now, 0 where nothing is yet.
  explicit CarrierChoice(Duration hold_down = {}, size_t in_use = 0)
      : hold_down_(hold_down), in_use_(in_use), lost_(in_use != 0) {}
  void set_hold_down(Duration hold_down) { hold_down_ = hold_down; }

  /// To be called whenever a state changes, and at next_deadline(). True when another path is in use from now on.
  bool update(Instant now, const States& states);
  size_t in_use() const { return in_use_; }
  /// When the preferred path will be used again, if it stays as it is.
  std::optional<Instant> next_deadline() const;

 private:
  Duration hold_down_{};
  size_t in_use_ = 0;
  bool seen_up_ = false, lost_ = false;  // the preferred path, once at least
  std::optional<Instant> good_since_;    // while the other path is in use: the preferred one is as good
};

}  // namespace ipsec::policy
