#pragma once

#include "policy/base/reasons.h"

namespace ipsec::testing {

/// The reasons for which other gateways log rejected IKEv2 messages, row by row (60 of them), and what they are called
/// here. tests/exchange/reject_test.cc plays each row to an engine and sees the reason counted.
struct Rejected {
  int row;
  const char* what;
  Reason reason;
};

// clang-format off
inline constexpr Rejected kRejected[] = {  // NOLINT(cppcoreguidelines-avoid-c-arrays)
    {1, "authentication: shorter than its fixed part", Reason::kTruncated},
    {2, "authentication: length field beyond the message", Reason::kTruncated},
    {3, "authentication: unknown method", Reason::kAuthMethod},
    {4, "certificate: cut off", Reason::kTruncated},
    {5, "certificate: wrong length", Reason::kMalformed},
    {6, "certificate request: wrong length", Reason::kMalformed},
    {7, "certificate: unknown encoding", Reason::kCertificateEncoding},
    {8, "configuration: cut off", Reason::kTruncated},
    {9, "any payload: cut off", Reason::kTruncated},
    {10, "any payload: impossible length", Reason::kMalformed},
    {11, "delete: length does not fit count and size of SPIs", Reason::kMalformed},
    {12, "delete: unknown protocol", Reason::kIkeProtocolId},  // passed over: it names nothing
    {13, "delete: an SPI for the IKE SA", Reason::kIkeSpiSize},  // deletes it all the same
    {14, "EAP: cut off", Reason::kTruncated},
    {15, "EAP: wrong length", Reason::kMalformed},
    {16, "encrypted: nested", Reason::kIkeNestedEncryption},
    {17, "identification: cut off", Reason::kTruncated},
    {18, "identification: longer than the message", Reason::kTruncated},
    {19, "key exchange: cut off", Reason::kTruncated},
    {20, "key exchange: does not fit its group", Reason::kKeRejected},
    {21, "nonce: cut off", Reason::kTruncated},
    {22, "nonce: too long", Reason::kIkeNonceSize},
    {23, "notify: cut off", Reason::kTruncated},
    {24, "notify: wrong length", Reason::kMalformed},
    {25, "notify: unknown protocol", Reason::kIkeProtocolId},
    {26, "notify: an SPI for the IKE SA", Reason::kIkeSpiSize},
    {27, "proposal: wrong length", Reason::kMalformed},
    {28, "SA: cut off", Reason::kTruncated},
    {29, "SA: wrong length", Reason::kMalformed},
    {30, "traffic selectors: none", Reason::kSelectorsEmpty},
    {31, "unknown payload marked critical", Reason::kIkeCriticalPayload},
    {32, "vendor ID: cut off", Reason::kTruncated},
    {33, "vendor ID marked critical", Reason::kIkeCriticalIgnored},
    {34, "vendor ID: wrong length", Reason::kMalformed},
    {35, "transform: cut off", Reason::kTruncated},
    {36, "transform: wrong length", Reason::kMalformed},
    {37, "transform: wrong format of an attribute", Reason::kTransformUnusable},
    {38, "transform: attribute longer than the transform", Reason::kTruncated},
    {39, "generic header: impossible length", Reason::kMalformed},
    {40, "header: cut off", Reason::kIkeShort},
    {41, "header: no initiator SPI", Reason::kIkeZeroSpi},
    {42, "header: impossible first payload", Reason::kIkeFirstPayload},
    {43, "header: unknown exchange", Reason::kIkeExchangeUnknown},
    {44, "header: length is not that of the datagram", Reason::kIkeLength},
    {45, "header: major version 1", Reason::kIkeVersion},
    {46, "anything: cut off", Reason::kTruncated},
    {47, "identification: kind not accepted", Reason::kIdentityType},  // fails the authentication
    {48, "proposal: unknown protocol", Reason::kProposalUnusable},
    {49, "proposal: wrong size of its SPI", Reason::kIkeSpiSize},  // passed over: others go on
    {50, "traffic selector: unknown type", Reason::kSelectorType},
    {51, "traffic selector: wrong length for its type", Reason::kMalformed},
    {52, "configuration: unknown attribute", Reason::kIkeAttributeIgnored},
    {53, "transform: unknown attribute", Reason::kTransformUnusable},
    {54, "proposal: no transform", Reason::kProposalUnusable},
    {55, "proposals: AH and ESP together", Reason::kProtocolNotServed},
    {56, "proposals: sequence numbers differ", Reason::kNoProposalChosen},
    {57, "proposals: PFS group differs", Reason::kPfsMismatch},
    {58, "proposals: AH algorithm differs", Reason::kProtocolNotServed},
    {59, "proposals: ESP cipher differs", Reason::kNoProposalChosen},
    {60, "traffic selector: cut off", Reason::kTruncated},
};
// clang-format on

}  // namespace ipsec::testing
