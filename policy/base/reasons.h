#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ipsec {

/// Every refusal, failure, drop and state change has one of these. The codes (see `info`) are stable: scripts and
/// dashboards depend on them. New ones go to the end of their group; `reasons.cc` holds one row for each, in this
/// order.
enum class Reason : uint16_t {
  // General
  kNone,
  kMalformed,
  kTruncated,
  kUnsupported,
  kLimitReached,
  kNotFound,
  kExists,
  kPermission,
  kSystemCall,
  kTimeout,
  kCancelled,
  kInternal,
  kCryptoFailed,

  // Configuration
  kConfigSyntax,
  kConfigUnknownKey,
  kConfigBadValue,
  kConfigMissing,
  kConfigBadReference,
  kConfigConflict,
  kConfigNotSupported,
  kConfigWeak,
  kConfigSecretFile,
  kConfigManualKeys,
  kConfigFolder,
  kConfigLastApplied,
  kConfigNotInForce,
  kConfigSecretUnusual,

  // Datagrams
  kIkeShort,
  kIkeVersion,
  kIkeLength,
  kIkeUnknownSpi,
  kIkeExchangeUnknown,
  kIkeUnexpected,
  kIkeMessageId,
  kIkeRetransmitted,
  kIkeRetransmitLimited,
  kIkeNotAuthentic,
  kIkeDecryptPadding,
  kIkeCriticalPayload,
  kIkeInvalidSyntax,
  kIkePayloadMissing,
  kIkePayloadDuplicate,
  kIkeTooManyPayloads,
  kIkeHalfOpenLimit,
  kIkeSaLimit,
  kIkeCookieSent,
  kIkeCookieBad,
  kIkeForeignPath,
  kIkeQueueLimit,
  kIkePrefixLimit,
  kIkeInitRate,
  kIkeAnswerRate,
  kIkeRekeyRate,
  kIkeDecryptLimit,
  kIkeMessageIdsUsedUp,
  kIkeZeroSpi,
  kIkeFirstPayload,
  kIkeNestedEncryption,
  kIkeCriticalIgnored,
  kIkeProtocolId,
  kIkeSpiSize,
  kIkeNonceSize,
  kIkeAttributeIgnored,
  kIkeWindow,
  kIkeOwnSpi,
  kIkeSkipped,
  kIkePredecessors,
  kIkeUnprotectedError,
  kReportsDropped,

  // Negotiation
  kNoProposalChosen,
  kInvalidKe,
  kKeRejected,
  kUnknownPeerAddress,
  kUnknownPeerIdentity,
  kAuthFailed,
  kAuthMethod,
  kAuthUnavailable,
  kPeerAuthFailed,
  kTsUnacceptable,
  kSinglePairRequired,
  kNoAdditionalSas,
  kModeMismatch,
  kPeerRefusedChild,
  kPeerError,
  kPeerTemporaryFailure,
  kSetupTimeout,
  kNegotiationRetry,
  kNatDetected,
  kPfsMismatch,
  kChildNotFound,
  kTemporaryFailure,
  kSelectorCount,
  kChildlessRefused,
  kDuplicateRefused,
  kChildLimit,
  kProposalUnusable,
  kTransformUnusable,
  kProtocolNotServed,
  kSelectorsEmpty,
  kSelectorType,
  kIdentityType,
  kCertificateEncoding,
  kEapNotServed,
  kNullAuthNotServed,
  kIntegrityBesideAead,
  kRoleRefused,

  // State changes
  kIkeEstablished,
  kIkeInitiating,
  kIkeDeleted,
  kChildEstablished,
  kChildDeleted,
  kPeerUnreachable,
  kPeerRestarted,
  kDeletedByPeer,
  kDeletedByOperator,
  kShutdown,
  kReplaced,
  kDuplicateKept,
  kChildRekeyed,
  kIkeRekeyed,
  kRekeyTime,
  kRekeyBytes,
  kRekeyPackets,
  kRekeySequence,
  kRekeyFailed,
  kRekeyCollision,
  kLifetimeEnded,
  kIdleEnded,
  kTrafficStart,
  kTunnelUp,
  kTunnelDown,
  kConfigApplied,
  kDaemonStarted,
  kLogLinesDropped,

  // Kernel
  kKernelRefused,
  kKernelConflict,
  kKernelMissingFeature,
  kKernelLost,
  kKernelTimeout,
  kKernelReadBack,
  kKernelExpired,
  kSpiTaken,
  kNamespaceMissing,
  kVrfMissing,
  kDeviceMissing,
  kPortInUse,
  kAddressMissing,
  kMemoryLock,
  kAcquireForeign,
  kAcquireUnknown,
  kDatagramSendFailed,
  kDriftMended,
  kDriftStays,
  kReconcileWaiting,
  kReconciled,
  kSaLost,
  kOrphansKept,
  kOrphansReplaced,
  kOrphansGraceEnded,
  kOrphansGone,
  kOrphansUnfit,
  kPolicyTaken,
  kRouteConflict,
  kPacketRulesRefused,
  kManualSasInstalled,
  kCarrierUp,
  kCarrierDown,
  kCarrierSwitched,
  kJournalRoom,
  kJournalMissing,
  kDriftAdopted,
  kAcquireRecovered,

  // Offload
  kOffloadNotRequested,
  kOffloadEffective,
  kOffloadSilentSoftware,
  kOffloadRefused,
  kOffloadInterfaceInbound,
  kOffloadAlgorithm,
  kOffloadEncapsulation,
  kOffloadNoDevice,
  kOffloadTableFull,
  kOffloadNotCounting,
  kOffloadBusierFirst,
  kOffloadTooQuiet,
  kOffloadPinned,
  kOffloadDeviceLost,
  kOffloadDeviceSettling,
  kOffloadWaiting,
  kOffloadUnsupported,
  kOffloadMoving,
  kOffloadMoved,
  kOffloadProbeFailed,

  // Control
  kControlBadRequest,
  kControlDenied,
  kControlClients,
  kControlLimit,

  kCount_,  ///< How many there are; not a reason.
};

inline constexpr size_t kReasonCount = static_cast<size_t>(Reason::kCount_);

/// What the catalogue says of a reason.
struct ReasonInfo {
  Reason reason;
  std::string_view code;    ///< Stable, lower case with hyphens; what logs, counters and `ipsecctl explain` use.
  std::string_view text;    ///< One sentence without a full stop.
  std::string_view fields;  ///< Names of the fields that come with it, separated by commas.
  std::string_view remedy;  ///< What to do; empty where nothing needs doing.
};

const ReasonInfo& info(Reason reason);
inline std::string_view code(Reason reason) { return info(reason).code; }
std::optional<Reason> reason_from_code(std::string_view code);

}  // namespace ipsec
