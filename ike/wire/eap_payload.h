#pragma once

#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Extensible Authentication Protocol payload (RFC 7296 section 3.16): one EAP message (RFC 3748 section 4).
///      0                   1                   2                   3
///     |     Code      | Identifier    |           Length              |
///     |     Type      | Type_Data...
struct EapPayload {
  uint8_t code = 1;  ///< 1 request, 2 response, 3 success, 4 failure.
  uint8_t identifier = 0;
  Bytes data;  ///< From the type byte on; empty for success and failure.
  static Result<EapPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
