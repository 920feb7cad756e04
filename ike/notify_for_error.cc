#include "ike/notify_for_error.h"

namespace ipsec::ike {

std::optional<NotifyType> notify_for_error(Reason reason) {
  // A switch over some values of a long enumeration: everything else is our own trouble, of which a peer learns only
  // that the child could not be made.
  if (reason == Reason::kNoProposalChosen || reason == Reason::kModeMismatch || reason == Reason::kPfsMismatch ||
      reason == Reason::kPfsRequired || reason == Reason::kKeRejected || reason == Reason::kProtocolNotServed)
    return NotifyType::kNoProposalChosen;
  if (reason == Reason::kTsUnacceptable || reason == Reason::kSelectorCount || reason == Reason::kSelectorType)
    return NotifyType::kTsUnacceptable;
  if (reason == Reason::kSinglePairRequired) return NotifyType::kSinglePairRequired;
  if (reason == Reason::kInvalidKe) return NotifyType::kInvalidKePayload;
  if (reason == Reason::kAuthFailed || reason == Reason::kAuthMethod || reason == Reason::kUnknownPeerIdentity ||
      reason == Reason::kAuthUnavailable || reason == Reason::kIdentityType || reason == Reason::kEapNotServed ||
      reason == Reason::kNullAuthNotServed || reason == Reason::kRoleRefused)
    return NotifyType::kAuthenticationFailed;
  if (reason == Reason::kIkeCriticalPayload) return NotifyType::kUnsupportedCriticalPayload;
  if (reason == Reason::kMalformed || reason == Reason::kTruncated || reason == Reason::kIkeInvalidSyntax ||
      reason == Reason::kIkePayloadMissing || reason == Reason::kIkePayloadDuplicate ||
      reason == Reason::kIkeTooManyPayloads || reason == Reason::kLimitReached || reason == Reason::kIkeNonceSize ||
      reason == Reason::kIkeProtocolId || reason == Reason::kIkeSpiSize || reason == Reason::kIkeNestedEncryption ||
      reason == Reason::kSelectorsEmpty || reason == Reason::kIkeUnexpected || reason == Reason::kIkeExchangeUnknown)
    return NotifyType::kInvalidSyntax;
  // The kernel or a limit of ours refused the child (RFC 7296 1.3, 2.21.2): the IKE SA stays.
  if (reason == Reason::kKernelRefused || reason == Reason::kKernelConflict || reason == Reason::kKernelTimeout ||
      reason == Reason::kKernelMissingFeature || reason == Reason::kPolicyTaken || reason == Reason::kOffloadRefused ||
      reason == Reason::kSpiTaken || reason == Reason::kTimeout || reason == Reason::kPermission ||
      reason == Reason::kDeviceMissing || reason == Reason::kVrfMissing || reason == Reason::kNamespaceMissing ||
      reason == Reason::kSystemCall || reason == Reason::kUnsupported || reason == Reason::kExists ||
      reason == Reason::kKernelReadBack || reason == Reason::kInternal || reason == Reason::kNoAdditionalSas ||
      reason == Reason::kChildLimit || reason == Reason::kDeletedByOperator || reason == Reason::kCryptoFailed ||
      reason == Reason::kConfigNotSupported)
    return NotifyType::kNoAdditionalSas;
  return std::nullopt;
}

Bytes critical_payload_of(const Error& error) {
  // Whoever added context put it in front: the number is the first one in the text.
  const std::string& text = error.detail();
  const size_t digit = text.find_first_of("0123456789");
  unsigned type = 0;
  for (size_t i = digit; i < text.size() && text[i] >= '0' && text[i] <= '9' && type < 256; ++i)
    type = type * 10 + static_cast<unsigned>(text[i] - '0');
  return {static_cast<uint8_t>(type)};
}

Reason reason_for_notify(NotifyType type) {
  if (type == NotifyType::kNoProposalChosen) return Reason::kNoProposalChosen;
  if (type == NotifyType::kTsUnacceptable) return Reason::kTsUnacceptable;
  if (type == NotifyType::kAuthenticationFailed) return Reason::kPeerAuthFailed;
  if (type == NotifyType::kNoAdditionalSas) return Reason::kNoAdditionalSas;
  if (type == NotifyType::kSinglePairRequired) return Reason::kSinglePairRequired;
  if (type == NotifyType::kChildSaNotFound) return Reason::kChildNotFound;
  if (type == NotifyType::kInvalidKePayload) return Reason::kPfsMismatch;
  if (type == NotifyType::kTemporaryFailure) return Reason::kPeerTemporaryFailure;
  return Reason::kPeerError;
}

}  // namespace ipsec::ike
