#pragma once

#include "policy/base/bytes.h"
#include "policy/identity.h"

namespace ipsec::ike {

/// Identification payload (RFC 7296 section 3.5). Types that policy does not know are kept: whoever has such a name is
/// known to nobody; nor is anybody with a name of more than kIdentityBytesMax bytes, which is cut there. Addresses of a
/// wrong size and names with a terminator (NUL, CR, LF) in them are malformed.
///      0                   1                   2                   3
///     |   ID Type     |                 RESERVED                      |
///     ~                   Identification Data                         ~
struct IdPayload {
  policy::Identity identity;
  /// The body as AUTH covers it: type, three reserved bytes as received, data (RFC 7296 section 2.15: RestOfIDPayload).
  Bytes body;
  bool left_out = false;  ///< Whether the name was longer than what is kept.

  /// Whether policy knows the type of this identity, so that a tunnel may be configured for it.
  bool has_known_type() const;

  static IdPayload of(const policy::Identity& identity);
  static Result<IdPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
