#pragma once

#include "ike/numbers.h"
#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Authentication payload (RFC 7296 section 3.8).
///      0                   1                   2                   3
///     | Auth Method   |                RESERVED                       |
///     ~                      Authentication Data                      ~
/// Methods that are not known are kept. Empty data is malformed.
struct AuthPayload {
  AuthMethod method = AuthMethod::kSharedKey;
  Bytes data;
  static Result<AuthPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
