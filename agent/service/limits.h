#pragma once

#include <cstddef>

#include "policy/base/time.h"

namespace ipsec::agent::service {

inline constexpr size_t kLogBytesKept = 256 << 10;  ///< Of log lines that their reader has not taken yet.
inline constexpr size_t kLogFieldBytesMax = 4096;   ///< Of one field in a record of the journal.
inline constexpr Duration kHousekeeping = 1s;       ///< Between tries to write such lines, and signs that we still end.
inline constexpr Duration kStopExtension = 10s;     ///< What we ask the service manager for while Deletes wait.
inline constexpr Duration kStartPauseFirst = 100ms;  ///< After a start that failed; doubles with each further one ...
inline constexpr Duration kStartPauseMost = 10s;     ///< ... up to this.
inline constexpr Duration kStartsForgotten = 10min;  ///< After which an earlier failure does not count any more.

}  // namespace ipsec::agent::service
