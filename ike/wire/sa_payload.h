#pragma once

#include <vector>

#include "policy/base/bytes.h"
#include "policy/proposal.h"

namespace ipsec::ike {

/// One proposal as on the wire: number and SPI around what policy knows. `unusable` is set when it holds a transform or
/// attribute that this version must not accept (RFC 7296 section 3.3.6); it is kept so that numbers and reports stay
/// right.
struct WireProposal {
  uint8_t number = 1;
  Bytes spi;  ///< 0, 4 (ESP, AH) or 8 (IKE rekey) bytes.
  policy::Proposal proposal;
  bool unusable = false;
};

/// Security Association payload (RFC 7296 section 3.3) with its proposals, transforms and attributes.
struct SaPayload {
  std::vector<WireProposal> proposals;
  static Result<SaPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
