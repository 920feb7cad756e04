#pragma once

#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Nonce payload (RFC 7296 section 3.9): 16 to 256 bytes; any other size is kIkeNonceSize.
///      0                   1                   2                   3
///     ~                            Nonce Data                         ~
struct NoncePayload {
  Bytes nonce;
  static Result<NoncePayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
