#pragma once

#include "ike/numbers.h"
#include "policy/base/bytes.h"
#include "policy/proposal.h"

namespace ipsec::ike {

/// Notify payload (RFC 7296 section 3.10). Types and protocols that are not known are kept; without an SPI the protocol
/// is kNone, whatever was sent. Data beyond kNotifyBytesMax, more than any type that is known has, is left out.
///      0                   1                   2                   3
///     |  Protocol ID  |   SPI Size    |      Notify Message Type      |
///     ~                Security Parameter Index (SPI)                 ~
///     ~                       Notification Data                       ~
struct NotifyPayload {
  policy::Protocol protocol = policy::Protocol::kNone;
  NotifyType type = NotifyType::kInvalidSyntax;
  Bytes spi;
  Bytes data;
  bool left_out = false;  ///< Whether the data was longer than what is kept.

  /// What is wrong with the SPI and was passed over: kIkeProtocolId where no SA has that protocol, kIkeSpiSize where
  /// the SPI is none of its protocol (the IKE SA is named without one); kNone for nothing.
  Reason oddity() const;
  static Result<NotifyPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
