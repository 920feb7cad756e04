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
/// right. Unusable are: AH and protocols that are not known; a transform type that is not known; no transforms, or more
/// than kTransformsMax; a type whose transforms all have attributes other than one Key Length (such transforms are left
/// out); an SPI of a size that its protocol does not have; a number that is not one more than that of the proposal
/// before. Transform IDs are kept, known or not.
struct WireProposal {
  uint8_t number = 1;
  Bytes spi;  ///< 0, 4 (ESP, AH) or 8 (IKE rekey) bytes, where the proposal can be used.
  policy::Proposal proposal;
  bool unusable = false;
  bool odd_spi = false;            ///< Unusable because of the size of its SPI.
  size_t transforms_left_out = 0;  ///< Those with an attribute that is not known or not as it should be.

  /// As it is compared with what is configured: one that is unusable matches nothing (AH, which nobody here configures,
  /// stays what it is, for reports).
  policy::Proposal offered() const;
  /// Why it cannot be used: kIkeSpiSize, kProtocolNotServed for AH, kProposalUnusable for the rest; kNone where it can.
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
/// What is odd about a proposal makes that one unusable and leaves the others; an error is only what leaves in doubt
/// where a structure ends. Proposals beyond kProposalsMax are not read.
struct SaPayload {
  std::vector<WireProposal> proposals;
  bool left_out = false;  ///< Whether there were more proposals than are kept.

  static Result<SaPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
