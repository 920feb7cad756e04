#pragma once

#include "ike/numbers.h"
#include "ike/ports.h"
#include "policy/base/bytes.h"

namespace ipsec::ike {

/// IKE header (RFC 7296 section 3.1).
///      0                   1                   2                   3
///     |                       IKE SA Initiator's SPI                  |
///     |                       IKE SA Responder's SPI                  |
///     |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
///     |                          Message ID                           |
///     |                            Length                             |
struct Header {
  static constexpr size_t kBytes = 28;
  static constexpr uint8_t kVersion = 0x20;  ///< Major 2, minor 0.
  static constexpr uint8_t kFlagInitiator = 0x08, kFlagVersion = 0x10, kFlagResponse = 0x20;

  IkeSpi initiator_spi;
  IkeSpi responder_spi;
  PayloadType next_payload = PayloadType::kNone;
  uint8_t version = kVersion;
  Exchange exchange = Exchange::kIkeSaInit;
  uint8_t flags = 0;
  uint32_t message_id = 0;
  uint32_t length = 0;  ///< Bytes of the whole message, header included.

  bool from_initiator() const { return (flags & kFlagInitiator) != 0; }
  bool is_response() const { return (flags & kFlagResponse) != 0; }
  /// Whether a message with this header could be one that is not encrypted: IKE_SA_INIT, or a notification by somebody
  /// who has no keys (RFC 7296 section 2.21.4).
  bool may_be_plain() const { return exchange == Exchange::kIkeSaInit || next_payload == PayloadType::kNotify; }
  uint8_t major_version() const { return version >> 4; }

  /// Reads the header of a datagram. Errors: kIkeShort. Does not judge version or length.
  static Result<Header> parse(ByteView datagram);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
