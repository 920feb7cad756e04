#pragma once

#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Key Exchange payload (RFC 7296 section 3.4).
///      0                   1                   2                   3
///     |   Diffie-Hellman Group Num    |           RESERVED            |
///     ~                       Key Exchange Data                       ~
struct KePayload {
  static constexpr size_t kPublicValueMax = 2048;  ///< Bytes; above any group we offer, so the rest is left out.
  uint16_t group = 0;                              ///< IANA "Transform Type 4".
  Bytes public_value;                              ///< Size checked against the group by CryptoContext::shared_secret.

  bool left_out = false;  ///< Whether the value was longer than what is kept.

  static Result<KePayload> parse(ByteReader body);  ///< body: after the 4-byte generic header.
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
