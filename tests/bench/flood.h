#pragma once

#include <cstddef>

/// What strangers cost the engine, and what they cost peers.
namespace ipsec::bench {

struct FloodResult {
  /// Microseconds of CPU per bogus IKE_SA_INIT request, all inputs and actions of the engine.
  double asked_for_cookie = 0;  ///< Cookies on, none in the request: answered by one.
  double wrong_cookie = 0;      ///< Cookies on, a wrong one in the request.
  double old_wrong_cookie = 0;  ///< The same, claiming to be of the secret before.
  double malformed = 0;         ///< No nonce.
  double refused = 0;           ///< Cookies off, half-open IKE SAs at their limit.
  double answered = 0;          ///< Cookies off, no limit: a half-open IKE SA for each.
  double allocations = 0;       ///< Of our own, per request that is asked for a cookie.
  double refused_allocations = 0;
  double half_open_bytes = 0;  ///< Heap per half-open IKE SA, beside the two messages that it keeps.
  /// Handshakes of real peers that were completed, of those begun: alone, and with bogus requests before each datagram.
  double completed_alone = 0, completed_flooded = 0, completed_flooded_no_cookies = 0;
  double handshake_alone = 0, handshake_flooded = 0;  ///< Microseconds of both sides, the bogus requests left out.
};

/// `count` bogus requests for each figure.
FloodResult run_flood(size_t count);

}  // namespace ipsec::bench
