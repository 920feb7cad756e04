#pragma once

#include "ike/numbers.h"
#include "policy/base/bytes.h"
#include "policy/proposal.h"

namespace ipsec::ike {

/// Notify payload (RFC 7296 section 3.10).
struct NotifyPayload {
  policy::Protocol protocol = policy::Protocol::kNone;
  NotifyType type = NotifyType::kInvalidSyntax;
  Bytes spi;
  Bytes data;
  static Result<NotifyPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
