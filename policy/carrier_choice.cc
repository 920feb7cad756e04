#include "policy/carrier_choice.h"

namespace ipsec::policy {

bool CarrierChoice::update(Instant now, const States& states) {
  constexpr size_t kPreferred = 0, kBackup = 1;
  const PathState preferred = states[kPreferred], backup = states[kBackup];
  // One that has not been up yet is not lost: it is used as soon as it is.
  seen_up_ = seen_up_ || preferred == PathState::kUp;
  lost_ = lost_ || (seen_up_ && preferred != PathState::kUp);
  if (in_use_ == kPreferred) {
    if (backup <= preferred) return false;
    in_use_ = kBackup;
    return true;
  }
  if (preferred > backup) {
    in_use_ = kPreferred;
  } else if (preferred < backup || preferred == PathState::kDown) {
    good_since_.reset();
    return false;
  } else {
    if (!good_since_) good_since_ = now;
    if (lost_ && now - *good_since_ < hold_down_) return false;
    in_use_ = kPreferred;
  }
  good_since_.reset();
  return true;
}

std::optional<Instant> CarrierChoice::next_deadline() const {
  if (!good_since_) return std::nullopt;
  return *good_since_ + hold_down_;
}

}  // namespace ipsec::policy
