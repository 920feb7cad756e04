#pragma once

#include "policy/base/bytes.h"
#include "policy/traffic_selector.h"

namespace ipsec::ike {

/// Traffic Selector payload (RFC 7296 section 3.13). Selectors of types that are not IPv4 or IPv6 ranges are skipped
/// and counted, so that a list in which nothing else stands comes out empty; a list of none at all is kSelectorsEmpty.
/// Addresses in the wrong order are malformed; so are ports, except 65535 to 0, which means OPAQUE.
///      0                   1                   2                   3
///     | Number of TSs |                 RESERVED                      |
///     ~                       <Traffic Selectors>                     ~
/// and one selector (section 3.13.1):
///     |   TS Type     |IP Protocol ID*|       Selector Length         |
///     |           Start Port*         |           End Port*           |
///     ~                         Starting Address*                     ~
///     ~                         Ending Address*                       ~
struct TsPayload {
  policy::SelectorList selectors;
  size_t skipped = 0;
  static Result<TsPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
