#pragma once

#include "ike/numbers.h"
#include "policy/base/bytes.h"

namespace ipsec::ike {

/// What has to be known of an IKE_SA_INIT request before it is worth being parsed: views into it, found by walking the
/// generic headers. Nothing is copied or allocated, so that refusing a request costs next to nothing.
struct InitOutline {
  ByteView nonce;   ///< Between kNonceBytesMin and kNonceBytesMax.
  ByteView cookie;  ///< Data of the first COOKIE notification; empty without one.

  /// `first` and `chain` as for parse_payloads(), whose judgement this does not replace. Errors, without detail:
  /// kIkeFirstPayload, kTruncated, kMalformed, kIkeNonceSize, kIkeTooManyPayloads, kIkePayloadDuplicate, and
  /// kIkePayloadMissing unless there are SA, KE
  /// and nonce payloads (so no answer is larger than what it answers).
  static Result<InitOutline> read(PayloadType first, ByteView chain);
};

}  // namespace ipsec::ike
