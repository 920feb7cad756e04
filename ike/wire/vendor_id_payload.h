#pragma once

#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Vendor ID payload (RFC 7296 section 3.12). Never changes what the protocol does.
///      0                   1                   2                   3
///     ~                        Vendor ID (VID)                        ~
struct VendorIdPayload {
  Bytes id;
  static Result<VendorIdPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
