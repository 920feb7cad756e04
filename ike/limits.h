#pragma once

#include <cstddef>
#include <cstdint>

#include "policy/base/time.h"

namespace ipsec::ike {

inline constexpr size_t kDatagramBytesMax = 65535;  ///< Bytes of one IKE message.
inline constexpr size_t kInitBytesMax = 8192;       ///< Bytes of an IKE_SA_INIT request: it is kept until IKE_AUTH.
inline constexpr size_t kPayloadsMax = 64;          ///< Payloads of one kind that are kept; ignored ones are skipped.
inline constexpr size_t kPayloadsWalkedMax = 4096;  ///< Payloads per message, kept or not.
inline constexpr size_t kProposalsMax = 64;         ///< Proposals per SA payload.
inline constexpr size_t kTransformsMax = 128;       ///< Transforms per proposal.
inline constexpr size_t kAttributesMax = 8;         ///< Attributes per transform.
inline constexpr size_t kSelectorsMax = 255;        ///< Selectors per TS payload (its counter has 8 bits).
inline constexpr size_t kSpisPerDeleteMax = 255;    ///< SPIs per Delete payload that we build; peers may name more.
inline constexpr size_t kNotifyBytesMax = 2048;     ///< Bytes of notification data.
inline constexpr size_t kCertificateBytesMax = 16384;  ///< Bytes of one certificate payload.
inline constexpr size_t kCertificatesMax = 8;      ///< CERT payloads per message that are kept, and as many CERTREQ.
inline constexpr size_t kIdentityBytesMax = 1024;  ///< Bytes of an identification payload's data.
inline constexpr size_t kNonceBytesMin = 16;       ///< RFC 7296 section 3.9.
inline constexpr size_t kNonceBytesMax = 256;
inline constexpr size_t kCookieBytesMax = 64;       ///< RFC 7296 section 2.6.
inline constexpr size_t kConfigAttributesMax = 64;  ///< Attributes per CP payload.

inline constexpr size_t kChildrenBesideMax = 8;  ///< Child SAs per IKE SA beyond children_max, replaced ones included.
inline constexpr size_t kActionsMax = 1 << 20;   ///< Actions waiting to be polled.
inline constexpr size_t kInvalidKeRetriesMax = 2;     ///< INVALID_KE_PAYLOAD answers followed per negotiation.
inline constexpr uint8_t kUnprotectedErrorTries = 3;  ///< Transmissions before an error without protection is believed.
inline constexpr size_t kCookieRetriesMax = 2;        ///< COOKIE answers followed per negotiation.
inline constexpr Duration kForgedTimeout = 10s;  ///< The same as half_open_timeout, after too many forged messages.
inline constexpr Duration kAskTimeout = 10s;     ///< For the answer to NeedPeer, NeedAuth, Install.
inline constexpr Duration kDeleteTimeout = 30s;  ///< For the response to the Delete of an IKE SA.
inline constexpr Duration kInboundLinger = 5s;   ///< An old inbound SA stays after its outbound half is out.
inline constexpr Duration kRekeyGuard = 120s;    ///< For what a rekeying peer owes: use of the new SA, the Delete.
inline constexpr Duration kRetryFirst = 1s;      ///< Pause after TEMPORARY_FAILURE; doubles, varied at random ...
inline constexpr Duration kRetryMost = 64s;      ///< ... up to this.
inline constexpr Duration kRetryLeast = 200ms;   ///< The shortest such pause, near the end of a lifetime.
inline constexpr uint32_t kStatelessAnswersRate = 100'000;  ///< Per second and worker: cookies, errors to strangers.
inline constexpr uint32_t kRefusalsLeast = 10;  ///< IKE_SA_INIT requests refused per second that are no load.
inline constexpr Duration kPutOffMost = 300s;   ///< TEMPORARY_FAILURE alone for this long closes the IKE SA (2.25).
inline constexpr size_t kTasksMax = 128;        ///< Requests of ours waiting within one IKE SA.
inline constexpr size_t kPredecessorsMax = 2;   ///< Replaced IKE SAs of one peer that wait for their Delete.
inline constexpr size_t kRekeysAtOnce = 256;    ///< Rekeys of ours under way per worker; the others wait.
inline constexpr uint32_t kMessageIdRekey =
    0xf0000000;  ///< From this message ID on the IKE SA is rekeyed (RFC 7296 2.2).
inline constexpr Duration kResponseCacheInterval =
    100ms;  ///< At most one repetition of a cached response per this time.
inline constexpr Duration kCookieSecretLife =
    60s;  ///< After which a new cookie secret is used; the old one counts once more.

}  // namespace ipsec::ike
