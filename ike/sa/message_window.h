#pragma once

#include <optional>

#include "ike/actions.h"
#include "policy/base/time.h"

namespace ipsec::ike {

/// Our request that has no response yet.
struct Outstanding {
  uint32_t message_id = 0;
  Exchange exchange = Exchange::kInformational;
  Bytes bytes;
  Path path;
  uint8_t sent = 0;      ///< Times.
  uint8_t tries = 0;     ///< Times at most; 0: as configured for requests.
  Instant next_at;       ///< When it is sent again, or given up.
  Duration interval{0};  ///< Between the last sending and next_at.
};

/// Our last response, kept for repetitions of its request (RFC 7296 section 2.1).
struct Answered {
  uint32_t message_id = 0;
  uint64_t request_hash = 0;  ///< Of the whole datagram: only an exact repetition is answered.
  Bytes response;
  Path path;  ///< To the address of the first copy.
  Instant sent_at;
};

/// Message IDs of one IKE SA, window size 1 (RFC 7296 sections 2.2 and 2.3).
///
///                     next_request  outstanding   expected   answered
///   idle              n             -             m          m-1 or -
///   requesting        n+1           n             m          m-1
///   responding        n             -             m+1        m-1, then m once the response is built
///
/// While we are responding, request m+1 is beyond the window (2.3): it is dropped, and comes again.
struct MessageWindow {
  uint32_t next_request = 0;  ///< ID of our next request.
  uint32_t expected = 0;      ///< ID of the peer's next request.
  std::optional<Outstanding> outstanding;
  std::optional<Answered> answered;

  enum class Verdict : uint8_t { kNew, kRepeated, kInProgress, kBeyond, kForeign };
  /// Whether the peer's last request waits for its response.
  bool is_responding() const { return expected != 0 && (!answered || answered->message_id != expected - 1); }
  /// What a request with this ID and these bytes is.
  Verdict judge_request(uint32_t message_id, uint64_t request_hash) const;
};

/// A fast hash of a datagram, the same on every machine: tells an exact repetition from another message, no more.
uint64_t datagram_hash(ByteView datagram);

}  // namespace ipsec::ike
