#pragma once

#include <cstddef>

namespace ipsec::bench {

/// All of `count` tunnels rekeyed at once: microseconds of CPU of each side per rekey, exchange of the Delete included.
struct RekeyResult {
  size_t count = 0, done = 0, failures = 0;
  size_t in_flight_most = 0;  ///< Requests of the initiator without an answer, at most.
  double initiator = 0, responder = 0;
};
RekeyResult run_child_rekeys(size_t count, bool pfs);
RekeyResult run_ike_rekeys(size_t count);

}  // namespace ipsec::bench
