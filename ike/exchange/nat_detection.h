#pragma once

#include "ike/core.h"

namespace ipsec::ike {

/// Adds NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP for a message on `path` (RFC 7296 section 2.23).
Status add_nat_detection(CryptoContext& crypto, IkeSpi spi_i, IkeSpi spi_r, const Path& path, PayloadWriter& out);

/// What the peer's notifications say of the path of the message that they came in.
struct NatVerdict {
  bool supported = false;  ///< Both notifications were there.
  bool local = false;      ///< A NAT stands in front of us.
  bool remote = false;     ///< A NAT stands in front of the peer.
};
Result<NatVerdict> judge_nat(CryptoContext& crypto, IkeSpi spi_i, IkeSpi spi_r, const Path& path,
                             const Payloads& payloads);

}  // namespace ipsec::ike
