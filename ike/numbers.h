#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// Numbers that IANA keeps for IKEv2, and their names.
namespace ipsec::ike {

enum class Exchange : uint8_t {
  kIkeSaInit = 34,
  kIkeAuth = 35,
  kCreateChildSa = 36,
  kInformational = 37,
  kIkeSessionResume = 38,
  kIkeIntermediate = 43
};

/// RFC 7296 section 3.2.
enum class PayloadType : uint8_t {
  kNone = 0,
  kSa = 33,
  kKe = 34,
  kIdI = 35,
  kIdR = 36,
  kCert = 37,
  kCertReq = 38,
  kAuth = 39,
  kNonce = 40,
  kNotify = 41,
  kDelete = 42,
  kVendorId = 43,
  kTsI = 44,
  kTsR = 45,
  kEncrypted = 46,
  kConfig = 47,
  kEap = 48,
  kFragment = 53
};

/// RFC 7296 section 3.10.1. Below 16384: errors; from there on: status.
enum class NotifyType : uint16_t {
  kUnsupportedCriticalPayload = 1,
  kInvalidIkeSpi = 4,
  kInvalidMajorVersion = 5,
  kInvalidSyntax = 7,
  kInvalidMessageId = 9,
  kInvalidSpi = 11,
  kNoProposalChosen = 14,
  kInvalidKePayload = 17,
  kAuthenticationFailed = 24,
  kSinglePairRequired = 34,
  kNoAdditionalSas = 35,
  kInternalAddressFailure = 36,
  kFailedCpRequired = 37,
  kTsUnacceptable = 38,
  kInvalidSelectors = 39,
  kTemporaryFailure = 43,
  kChildSaNotFound = 44,
  kInitialContact = 16384,
  kSetWindowSize = 16385,
  kAdditionalTsPossible = 16386,
  kIpcompSupported = 16387,
  kNatDetectionSourceIp = 16388,
  kNatDetectionDestinationIp = 16389,
  kCookie = 16390,
  kUseTransportMode = 16391,
  kHttpCertLookupSupported = 16392,
  kRekeySa = 16393,
  kEspTfcPaddingNotSupported = 16394,
  kNonFirstFragmentsAlso = 16395,
  kMobikeSupported = 16396,
  kSignatureHashAlgorithms = 16431,
  kIkev2FragmentationSupported = 16430,
  kChildlessIkev2Supported = 16418
};
inline constexpr bool is_error(NotifyType type) { return static_cast<uint16_t>(type) < 16384; }
/// Whether this version knows what the notification means.
bool is_known(NotifyType type);

/// RFC 7296 section 3.8.
enum class AuthMethod : uint8_t { kRsa = 1, kSharedKey = 2, kDss = 3, kNull = 13, kDigitalSignature = 14 };

/// Whether there is an exchange of this type, served here or not.
bool is_known(Exchange exchange);

std::string name(Exchange exchange);
std::string name(PayloadType type);
std::string name(NotifyType type);
std::string name(AuthMethod method);

}  // namespace ipsec::ike
