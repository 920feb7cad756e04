#pragma once

#include "policy/base/bytes.h"
#include "policy/identity.h"

namespace ipsec::ike {

/// Identification payload (RFC 7296 section 3.5). Types that policy does not know are malformed.
struct IdPayload {
  policy::Identity identity;
  /// The body as AUTH covers it: type, three reserved bytes as received, data (RFC 7296 section 2.15: RestOfIDPayload).
  Bytes body;

  static IdPayload of(const policy::Identity& identity);
  static Result<IdPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
