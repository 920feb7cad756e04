#include "ike/numbers.h"

#include <algorithm>
#include <array>
#include <utility>

namespace ipsec::ike {
namespace {

template <typename E, size_t N>
std::string find_name(const std::array<std::pair<E, std::string_view>, N>& names, E value, std::string_view kind) {
  for (const auto& [each, text] : names)
    if (each == value) return std::string(text);
  return std::string(kind) + "-" + std::to_string(static_cast<unsigned>(value));
}

using N = NotifyType;
constexpr std::array<std::pair<NotifyType, std::string_view>, 33> kNotifyNames = {{
    {N::kUnsupportedCriticalPayload, "UNSUPPORTED_CRITICAL_PAYLOAD"},
    {N::kInvalidIkeSpi, "INVALID_IKE_SPI"},
    {N::kInvalidMajorVersion, "INVALID_MAJOR_VERSION"},
    {N::kInvalidSyntax, "INVALID_SYNTAX"},
    {N::kInvalidMessageId, "INVALID_MESSAGE_ID"},
    {N::kInvalidSpi, "INVALID_SPI"},
    {N::kNoProposalChosen, "NO_PROPOSAL_CHOSEN"},
    {N::kInvalidKePayload, "INVALID_KE_PAYLOAD"},
    {N::kAuthenticationFailed, "AUTHENTICATION_FAILED"},
    {N::kSinglePairRequired, "SINGLE_PAIR_REQUIRED"},
    {N::kNoAdditionalSas, "NO_ADDITIONAL_SAS"},
    {N::kInternalAddressFailure, "INTERNAL_ADDRESS_FAILURE"},
    {N::kFailedCpRequired, "FAILED_CP_REQUIRED"},
    {N::kTsUnacceptable, "TS_UNACCEPTABLE"},
    {N::kInvalidSelectors, "INVALID_SELECTORS"},
    {N::kTemporaryFailure, "TEMPORARY_FAILURE"},
    {N::kChildSaNotFound, "CHILD_SA_NOT_FOUND"},
    {N::kInitialContact, "INITIAL_CONTACT"},
    {N::kSetWindowSize, "SET_WINDOW_SIZE"},
    {N::kAdditionalTsPossible, "ADDITIONAL_TS_POSSIBLE"},
    {N::kIpcompSupported, "IPCOMP_SUPPORTED"},
    {N::kNatDetectionSourceIp, "NAT_DETECTION_SOURCE_IP"},
    {N::kNatDetectionDestinationIp, "NAT_DETECTION_DESTINATION_IP"},
    {N::kCookie, "COOKIE"},
    {N::kUseTransportMode, "USE_TRANSPORT_MODE"},
    {N::kHttpCertLookupSupported, "HTTP_CERT_LOOKUP_SUPPORTED"},
    {N::kRekeySa, "REKEY_SA"},
    {N::kEspTfcPaddingNotSupported, "ESP_TFC_PADDING_NOT_SUPPORTED"},
    {N::kNonFirstFragmentsAlso, "NON_FIRST_FRAGMENTS_ALSO"},
    {N::kMobikeSupported, "MOBIKE_SUPPORTED"},
    {N::kChildlessIkev2Supported, "CHILDLESS_IKEV2_SUPPORTED"},
    {N::kIkev2FragmentationSupported, "IKEV2_FRAGMENTATION_SUPPORTED"},
    {N::kSignatureHashAlgorithms, "SIGNATURE_HASH_ALGORITHMS"},
}};

constexpr std::array<std::pair<Exchange, std::string_view>, 6> kExchangeNames = {{
    {Exchange::kIkeSaInit, "IKE_SA_INIT"},
    {Exchange::kIkeAuth, "IKE_AUTH"},
    {Exchange::kCreateChildSa, "CREATE_CHILD_SA"},
    {Exchange::kInformational, "INFORMATIONAL"},
    {Exchange::kIkeSessionResume, "IKE_SESSION_RESUME"},
    {Exchange::kIkeIntermediate, "IKE_INTERMEDIATE"},
}};

using P = PayloadType;
constexpr std::array<std::pair<PayloadType, std::string_view>, 18> kPayloadNames = {{
    {P::kNone, "none"},
    {P::kSa, "SA"},
    {P::kKe, "KE"},
    {P::kIdI, "IDi"},
    {P::kIdR, "IDr"},
    {P::kCert, "CERT"},
    {P::kCertReq, "CERTREQ"},
    {P::kAuth, "AUTH"},
    {P::kNonce, "Nonce"},
    {P::kNotify, "N"},
    {P::kDelete, "D"},
    {P::kVendorId, "V"},
    {P::kTsI, "TSi"},
    {P::kTsR, "TSr"},
    {P::kEncrypted, "SK"},
    {P::kConfig, "CP"},
    {P::kEap, "EAP"},
    {P::kFragment, "SKF"},
}};

constexpr std::array<std::pair<AuthMethod, std::string_view>, 5> kAuthNames = {{
    {AuthMethod::kRsa, "RSA signature"},
    {AuthMethod::kSharedKey, "pre-shared key"},
    {AuthMethod::kDss, "DSS signature"},
    {AuthMethod::kNull, "NULL"},
    {AuthMethod::kDigitalSignature, "digital signature"},
}};

}  // namespace

bool is_known(NotifyType type) {
  return std::any_of(kNotifyNames.begin(), kNotifyNames.end(), [&](const auto& each) { return each.first == type; });
}

bool is_known(Exchange exchange) {
  switch (exchange) {
    case Exchange::kIkeSaInit:
    case Exchange::kIkeAuth:
    case Exchange::kCreateChildSa:
    case Exchange::kInformational:
    case Exchange::kIkeSessionResume:
    case Exchange::kIkeIntermediate: return true;
  }
  return false;
}

std::string name(Exchange exchange) { return find_name(kExchangeNames, exchange, "exchange"); }
std::string name(PayloadType type) { return find_name(kPayloadNames, type, "payload"); }
std::string name(NotifyType type) { return find_name(kNotifyNames, type, "notify"); }
std::string name(AuthMethod method) { return find_name(kAuthNames, method, "method"); }

}  // namespace ipsec::ike
