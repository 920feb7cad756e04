#pragma once

#include "policy/base/bytes.h"
#include "policy/traffic_selector.h"

namespace ipsec::ike {

/// Traffic Selector payload (RFC 7296 section 3.13). Selectors of types that are not IPv4 or IPv6 ranges are skipped
/// and counted.
struct TsPayload {
  policy::SelectorList selectors;
  size_t skipped = 0;
  static Result<TsPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
