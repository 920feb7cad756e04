#pragma once

#include <vector>

#include "policy/base/bytes.h"
#include "policy/proposal.h"

namespace ipsec::ike {

/// Proposal substructure (RFC 7296 section 3.3.1).
///      0                   1                   2                   3
///     | Last Substruc |   RESERVED    |         Proposal Length       |
///     | Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
///     ~                        SPI (variable)                         ~
///     ~                        <Transforms>                           ~
/// One proposal as on the wire: number and SPI around what policy knows. `unusable` is set when it holds a transform or
/// attribute that this version must not accept (RFC 7296 section 3.3.6); it is kept so that numbers and reports stay
/// right. Unusable are: AH and protocols that are not known; a transform type that is not known; no transforms; a type
/// whose transforms all have attributes other than Key Length (such transforms are left out). Transform IDs are kept,
/// known or not.
struct WireProposal {
  uint8_t number = 1;
  Bytes spi;  ///< 0, 4 (ESP, AH) or 8 (IKE rekey) bytes.
  policy::Proposal proposal;
  bool unusable = false;
  size_t transforms_left_out = 0;  ///< Those with an attribute that is not known or not as it should be.

  /// As it is compared with what is configured: one that is unusable matches nothing (AH, which nobody here configures,
  /// stays what it is, for reports).
  policy::Proposal offered() const;
  /// Why it cannot be used: kProtocolNotServed for AH, kProposalUnusable for the rest; kNone where it can.
  Reason oddity() const;
};

/// Security Association payload (RFC 7296 section 3.3) with its proposals, transforms and attributes.
/// Transform substructure (section 3.3.2) and attribute (section 3.3.5):
///      0                   1                   2                   3
///     | Last Substruc |   RESERVED    |        Transform Length       |
///     |Transform Type |   RESERVED    |          Transform ID         |
///     ~                      Transform Attributes                     ~
///
///     |A|       Attribute Type        |  AF=0: Attribute Length       |
///     |F|                             |  AF=1: Attribute Value        |
/// Proposal numbers rise by one; with which one they begin is for the caller to judge. An SPI that is none of its
/// protocol is kIkeSpiSize.
struct SaPayload {
  std::vector<WireProposal> proposals;
  static Result<SaPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
