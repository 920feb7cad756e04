#pragma once

#include <cstddef>

/// What a flood of IKE_SA_INIT requests costs that each has to be refused, beside a main thread that stands still.
namespace ipsec::bench {

struct RefusedFloodResult {
  double refused = 0;  ///< Microseconds per request that is refused, with many tunnels of any address, cookies off.
  double flood = 0;    ///< The same as the limits are by default: soon all are asked for cookies.
  double cookies = 0;  ///< Of those, the part that was.
  size_t letters = 0;  ///< Under way to the main thread in the end ...
  size_t bytes = 0;    ///< ... and what they hold.
  size_t dropped = 0;  ///< Reports that were only counted.
};

/// `count` requests for each figure, `tunnels` tunnels whose peers may have any address.
RefusedFloodResult run_refused_flood(size_t count, size_t tunnels);

}  // namespace ipsec::bench
