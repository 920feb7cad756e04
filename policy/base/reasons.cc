#include "policy/base/reasons.h"

#include <array>

namespace ipsec {
namespace {

// clang-format off
constexpr std::array<ReasonInfo, kReasonCount> kReasons = {{
    // General
    {Reason::kNone, "none", "no particular reason", "", ""},
    {Reason::kMalformed, "malformed", "the input does not have the form that its standard demands", "detail", "Look at the detail: it names the field. If a peer sent it, ask its operator which software it runs."},
    {Reason::kTruncated, "truncated", "the input ends before its fields do", "detail", "As for malformed."},
    {Reason::kUnsupported, "not-supported", "this version does not support it", "detail", "Remove the setting, or use a version that supports it."},
    {Reason::kLimitReached, "limit-reached", "a limit was reached", "limit", "Raise the limit if it is configurable and memory allows; otherwise find out who uses it up."},
    {Reason::kNotFound, "not-found", "there is no such object", "object", "List the objects with `ipsecctl list`."},
    {Reason::kExists, "exists", "an object of this name or key is already there", "object", "Remove it, or use another name."},
    {Reason::kPermission, "permission-denied", "the system did not permit it", "operation", "Run as root or with CAP_NET_ADMIN (and CAP_SYS_ADMIN for other namespaces)."},
    {Reason::kSystemCall, "system-call-failed", "a system call failed", "operation,errno", "The system's words are in the detail."},
    {Reason::kTimeout, "timeout", "no answer came in time", "operation", "See what the other side was doing."},
    {Reason::kCancelled, "cancelled", "it was cancelled before it ended", "", ""},
    {Reason::kInternal, "internal", "a state that should not occur was met and contained", "detail", "Please report it with the log around it."},
    {Reason::kCryptoFailed, "crypto-failed", "the cryptographic library refused an operation", "detail", "Check the installed OpenSSL and its policy (FIPS providers lack some algorithms)."},
    // Configuration
    {Reason::kConfigSyntax, "config-syntax", "the document is not valid JSON", "file,line", "Mend the syntax at the line named."},
    {Reason::kConfigUnknownKey, "config-unknown-key", "a key is not known", "pointer,found,nearest", "Check the spelling; `ipsecctl config schema` lists all keys."},
    {Reason::kConfigBadValue, "config-bad-value", "a value is not allowed", "pointer,found,allowed", "Use one of the values allowed."},
    {Reason::kConfigMissing, "config-missing", "a required key is missing", "pointer", "Add it."},
    {Reason::kConfigBadReference, "config-bad-reference", "a name refers to nothing", "pointer,found,nearest", "Define the object, or correct the name."},
    {Reason::kConfigConflict, "config-conflict", "two settings contradict each other", "pointer", "Change one of them; the detail says why both cannot hold."},
    {Reason::kConfigNotSupported, "config-not-supported", "a known key that this version does not serve", "pointer", "Remove it, or use a version that serves it."},
    {Reason::kConfigWeak, "config-weak-algorithm", "an algorithm is too weak to be used without being named as an exception", "algorithm", "Use a stronger one, or allow it by name in `defaults.allow_weak`."},
    {Reason::kConfigSecretFile, "config-secret-file", "a secret's file cannot be used", "file", "The file must exist, belong to root or the daemon's user and have mode 0600."},
    // Datagrams
    {Reason::kIkeShort, "ike-short", "a datagram is shorter than an IKE header", "peer", "Something else sends to this port; the counter tells how often."},
    {Reason::kIkeVersion, "ike-version", "a message of another major version of IKE", "peer,version", "IKEv1 is not supported: configure the peer for IKEv2."},
    {Reason::kIkeLength, "ike-length", "the length in the header is not the length of the datagram", "peer", "As for malformed."},
    {Reason::kIkeUnknownSpi, "ike-unknown-spi", "a message for an IKE SA that does not exist here", "peer,spi", "Normal after a restart of this node; the peer notices by liveness checks."},
    {Reason::kIkeExchangeUnknown, "ike-exchange-unknown", "an exchange type that this version does not know", "peer,exchange", "The peer tries an extension that was not negotiated."},
    {Reason::kIkeUnexpected, "ike-unexpected-message", "a message that does not fit the state of its IKE SA", "peer,state,exchange", "Harmless if rare; often a late copy."},
    {Reason::kIkeMessageId, "ike-message-id", "a message ID outside the window", "peer,message_id", "Harmless if rare; often a late copy."},
    {Reason::kIkeRetransmitted, "ike-request-repeated", "a request was repeated; the response was sent again", "peer", "Harmless if rare: packets are lost on the way."},
    {Reason::kIkeRetransmitLimited, "ike-repeat-rate-limited", "a repeated request was not answered again because of its rate", "peer", "A peer or somebody in between repeats packets at a high rate."},
    {Reason::kIkeNotAuthentic, "ike-not-authentic", "the integrity check of an encrypted message failed", "peer", "A forged or damaged packet, or a peer with other keys."},
    {Reason::kIkeDecryptPadding, "ike-bad-padding", "the padding of an encrypted message is wrong", "peer", "As for malformed."},
    {Reason::kIkeCriticalPayload, "ike-critical-payload", "an unknown payload is marked critical", "peer,payload", "The peer uses an extension that this version does not know."},
    {Reason::kIkeInvalidSyntax, "ike-invalid-syntax", "a message breaks the rules of RFC 7296", "peer,detail", "As for malformed."},
    {Reason::kIkePayloadMissing, "ike-payload-missing", "a required payload is missing", "peer,payload", "As for malformed."},
    {Reason::kIkePayloadDuplicate, "ike-payload-duplicate", "a payload that may occur once occurs more often", "peer,payload", "As for malformed."},
    {Reason::kIkeTooManyPayloads, "ike-too-many-payloads", "a message has more payloads than the limit", "peer", "As for malformed."},
    {Reason::kIkeHalfOpenLimit, "ike-half-open-limit", "too many half-open IKE SAs", "peer", "A flood of requests, or many peers at once after an outage; they will try again."},
    {Reason::kIkeSaLimit, "ike-sa-limit", "the number of IKE SAs is at its limit", "peer", "Raise the limit of the tunnel group."},
    {Reason::kIkeCookieSent, "ike-cookie-sent", "a cookie was asked for because of many half-open IKE SAs", "peer", "Normal under load."},
    {Reason::kIkeCookieBad, "ike-cookie-bad", "a cookie that this node did not make, or made too long ago", "peer", "Normal under attack."},
    {Reason::kIkeForeignPath, "ike-foreign-path", "an unauthenticated message from an address other than the peer's", "peer", "A spoofed packet, or a NAT that changed its mapping during set-up."},
    {Reason::kIkeQueueLimit, "ike-queue-limit", "too much work is waiting for one IKE SA", "peer", "The peer sends faster than it may."},
    {Reason::kIkePrefixLimit, "ike-prefix-limit", "too many half-open IKE SAs from one network", "peer", "A flood from there; `node.admission.half_open_per_prefix` sets the limit."},
    {Reason::kIkeInitRate, "ike-init-rate", "new IKE SAs are asked for faster than allowed", "peer", "Peers try again by themselves; `node.admission` sets the rates."},
    {Reason::kIkeAnswerRate, "ike-answer-rate", "strangers are answered no faster than this", "", "Peers try again by themselves; somebody floods this machine with requests."},
    {Reason::kIkeRekeyRate, "ike-rekey-rate", "a peer asks for children or rekeys faster than allowed", "peer,limit", "It was answered TEMPORARY_FAILURE; `node.admission.rekey_rate` sets the rate."},
    {Reason::kIkeDecryptLimit, "ike-decrypt-limit", "too many forged messages in a row for an IKE SA being set up", "peer,limit", "Somebody disturbs the set-up, or the peer computes other keys."},
    {Reason::kIkeMessageIdsUsedUp, "ike-message-ids-used-up", "an IKE SA has used all its message IDs", "peer", "It is set up anew; rekeying it earlier avoids this."},
    {Reason::kIkeZeroSpi, "ike-zero-spi", "a message whose initiator SPI is zero", "peer", "Something else sends to this port, or the peer is broken; it was dropped."},
    {Reason::kIkeFirstPayload, "ike-first-payload", "the first payload is none that may begin a message of this exchange", "peer,payload", "As for malformed; a damaged packet if it is rare."},
    {Reason::kIkeNestedEncryption, "ike-nested-encryption", "an encrypted payload inside an encrypted payload", "peer", "The peer is broken or hostile; block it if it goes on."},
    {Reason::kIkeCriticalIgnored, "ike-critical-mark-ignored", "a payload that every version knows is marked critical; the mark was ignored", "peer,payload", "Harmless; tell the maker of the peer."},
    {Reason::kIkeProtocolId, "ike-protocol-id", "a payload names a protocol that does not exist or does not fit", "peer,payload,protocol", "A notification was taken all the same, a Delete refused; ask the operator of the peer which software it runs."},
    {Reason::kIkeSpiSize, "ike-spi-size", "an SPI has a size that its protocol does not have", "peer,payload,size", "A notification was taken all the same, a proposal or Delete refused; ask the operator of the peer which software it runs."},
    {Reason::kIkeNonceSize, "ike-nonce-size", "a nonce is shorter or longer than allowed", "peer,size", "The peer is broken or hostile."},
    {Reason::kIkeAttributeIgnored, "ike-attribute-ignored", "an attribute that this version does not know was ignored", "peer,attribute", "Harmless: the peer uses an extension."},
    // Negotiation
    {Reason::kNoProposalChosen, "no-proposal-chosen", "no proposal of the peer matches the configured ones", "offered,configured", "Add one of the offered proposals to the policy, or change the peer."},
    {Reason::kInvalidKe, "invalid-ke-group", "the peer guessed another key exchange method than the one chosen", "guessed,chosen", "Normal: costs one round trip. Put the preferred group first on both sides to avoid it."},
    {Reason::kKeRejected, "ke-value-rejected", "the peer's public value is not valid for its group", "group", "The peer is broken or hostile."},
    {Reason::kUnknownPeerAddress, "unknown-peer-address", "no tunnel or gateway is configured for this address", "peer", "Add a tunnel whose `remote` is this address."},
    {Reason::kUnknownPeerIdentity, "unknown-peer-identity", "no tunnel is configured for this identity", "identity,wanted_identity", "Compare with `remote_id` and `local_id` of the tunnel."},
    {Reason::kAuthFailed, "authentication-failed", "the peer's proof of identity is wrong", "identity", "With pre-shared keys: the keys differ. Compare the files on both sides."},
    {Reason::kAuthMethod, "authentication-method", "the peer uses an authentication method that is not configured", "method,configured", "Configure the same method on both sides."},
    {Reason::kAuthUnavailable, "authentication-unavailable", "our own credential could not be used", "credential", "Check that the credential's file exists and can be read."},
    {Reason::kPeerAuthFailed, "peer-rejected-our-authentication", "the peer did not accept our proof of identity", "identity", "With pre-shared keys: the keys differ, or the peer does not expect this identity."},
    {Reason::kTsUnacceptable, "ts-unacceptable", "the traffic selectors do not meet", "offered,configured", "Make `local` and `remote` of the child mirror what the peer offers."},
    {Reason::kSinglePairRequired, "single-pair-required", "the peer wants a single pair of addresses", "peer", "The peer sends its request again with one pair."},
    {Reason::kNoAdditionalSas, "no-additional-sas", "the peer does not want more children", "peer", "Fewer children, or raise the peer's limit."},
    {Reason::kModeMismatch, "mode-mismatch", "tunnel mode was wanted and transport mode answered, or the reverse", "wanted", "Configure the same mode on both sides."},
    {Reason::kPeerRefusedChild, "peer-refused-child", "the peer refused the child SA", "notify", "See the peer's log; the notify tells the kind."},
    {Reason::kPeerError, "peer-error-notify", "the peer answered with an error", "notify", "See the peer's log."},
    {Reason::kPeerTemporaryFailure, "peer-temporary-failure", "the peer asked to try again later", "peer", "Normal during collisions."},
    {Reason::kSetupTimeout, "setup-timeout", "the set-up did not finish in time", "peer,state", "Check that UDP 500 and 4500 reach the peer and come back."},
    {Reason::kNegotiationRetry, "negotiation-retry", "the negotiation will be tried again", "after", "Nothing to do."},
    {Reason::kNatDetected, "nat-detected", "a NAT device is on the path", "side", "Normal: UDP encapsulation is used."},
    {Reason::kPfsMismatch, "pfs-mismatch", "one side wants a fresh key exchange for this child and the other side does not", "offered,configured", "Make `pfs` and the groups of the child policy the same on both sides; it shows only at the first rekey."},
    {Reason::kChildNotFound, "child-sa-not-found", "a child was to be rekeyed that the other side does not have", "spi", "It is made anew."},
    {Reason::kTemporaryFailure, "temporary-failure-sent", "a request came at a moment when it could not be served; the peer was told to try again", "detail", "Normal during collisions."},
    {Reason::kSelectorCount, "selector-count", "the selectors need more kernel policies than allowed", "needed,allowed", "Use prefixes instead of odd ranges, fewer port ranges, several children, or raise `policies_max` of the child policy."},
    {Reason::kChildlessRefused, "childless-refused", "one side wants an IKE SA without a child and the other side does not", "configured", "Set `childless` of the IKE policy the same way on both sides."},
    {Reason::kDuplicateRefused, "duplicate-refused", "the peer has an IKE SA already, and `duplicates` is refuse", "peer,identity", "Set `duplicates` to replace, or wait until the old one is noticed to be dead."},
    {Reason::kChildLimit, "child-limit", "the IKE SA has as many children as allowed", "limit", "Raise `children_max` of the IKE policy, or set `children_overload` to replace_oldest."},
    {Reason::kProposalUnusable, "proposal-unusable", "a proposal is empty, or names a protocol or a kind of algorithm that cannot be; it was passed over", "peer,proposal,detail", "Look at the proposals that the peer is configured with."},
    {Reason::kTransformUnusable, "transform-unusable", "an offered algorithm has an attribute that this version does not know; it was passed over", "peer,proposal,detail", "Let the peer offer the algorithm without private attributes."},
    {Reason::kProtocolNotServed, "protocol-not-served", "the peer wants AH, or AH and ESP together", "peer,offered", "Configure the peer for ESP with an integrity algorithm or an AEAD: it does what AH does."},
    {Reason::kSelectorsEmpty, "selectors-empty", "the peer sent a list without traffic selectors", "peer", "Look whether the list of networks (access list) of the peer is empty."},
    {Reason::kSelectorType, "selector-type", "no traffic selector of the peer has a type that this version knows", "peer,type", "Let the peer use ranges of IPv4 or IPv6 addresses."},
    {Reason::kIdentityType, "identity-type", "the peer uses a kind of identity that is not accepted", "peer,type", "Let the peer use an address, a name, a mail address or a key id."},
    {Reason::kCertificateEncoding, "certificate-encoding", "the peer sent a certificate in an encoding that is not supported", "peer,encoding", "Let the peer send X.509 certificates (encoding 4), or none: this version authenticates with pre-shared keys and reads no certificate."},
    // State changes
    {Reason::kIkeEstablished, "ike-established", "an IKE SA was established", "peer,proposal", ""},
    {Reason::kIkeInitiating, "ike-initiating", "an IKE SA is being negotiated", "peer", ""},
    {Reason::kIkeDeleted, "ike-deleted", "an IKE SA was deleted", "peer,by", ""},
    {Reason::kChildEstablished, "child-established", "a child SA was established", "selectors,spi_in,spi_out,proposal", ""},
    {Reason::kChildDeleted, "child-deleted", "a child SA was deleted", "spi_in,by", ""},
    {Reason::kPeerUnreachable, "peer-unreachable", "the peer did not answer a request, however often it was sent", "peer,tries", "Check the path to the peer."},
    {Reason::kPeerRestarted, "peer-restarted", "the peer has set up a new IKE SA and says that it has lost the old ones", "peer", ""},
    {Reason::kDeletedByPeer, "deleted-by-peer", "the peer deleted it", "peer", "See the peer's log."},
    {Reason::kDeletedByOperator, "deleted-by-operator", "an operator asked for it", "who", ""},
    {Reason::kShutdown, "shutdown", "the daemon is stopping", "", ""},
    {Reason::kReplaced, "replaced", "a newer one took its place", "", ""},
    {Reason::kDuplicateKept, "duplicate-kept", "the peer has set up a further IKE SA, and `duplicates` is keep", "peer,ike_sas", "Nothing, if the peer means it; else set `duplicates` of the IKE policy to replace."},
    {Reason::kChildRekeyed, "child-rekeyed", "a child SA was replaced by a fresh one", "child,spi_in,spi_out,old_spi_in", ""},
    {Reason::kIkeRekeyed, "ike-rekeyed", "an IKE SA was replaced by a fresh one", "peer,children", ""},
    {Reason::kRekeyTime, "rekey-by-time", "an SA is due for rekeying because of its age", "", ""},
    {Reason::kRekeyBytes, "rekey-by-bytes", "a child SA is due for rekeying because of its bytes", "", ""},
    {Reason::kRekeyPackets, "rekey-by-packets", "a child SA is due for rekeying because of its packets", "", ""},
    {Reason::kRekeySequence, "rekey-by-sequence", "a child SA is due for rekeying before its sequence numbers end", "sequence", ""},
    {Reason::kRekeyFailed, "rekey-failed", "a rekey failed; the SA stays in use until its lifetime ends", "detail", "See the detail; the next try comes by itself."},
    {Reason::kRekeyCollision, "rekey-collision", "both sides rekeyed at once; one of the two new SAs is closed (RFC 7296 2.8.1)", "kept", ""},
    {Reason::kLifetimeEnded, "lifetime-ended", "an SA reached the end of its lifetime without having been replaced", "", "See the reasons before it: why did rekeying fail?"},
    {Reason::kIdleEnded, "idle-ended", "a child SA that carried nothing ended instead of being rekeyed, as configured", "child", ""},
    {Reason::kTrafficStart, "traffic-start", "traffic asked for the tunnel", "selectors", ""},
    {Reason::kTunnelUp, "tunnel-up", "all children of a tunnel are up", "tunnel", ""},
    {Reason::kTunnelDown, "tunnel-down", "a tunnel is down", "tunnel", ""},
    {Reason::kConfigApplied, "config-applied", "a configuration was applied", "file", ""},
    {Reason::kDaemonStarted, "daemon-started", "the daemon has started", "version", ""},
    // Kernel
    {Reason::kKernelRefused, "kernel-refused", "the kernel refused an operation", "operation,errno,kernel", "The kernel's own words are in the detail."},
    {Reason::kKernelConflict, "kernel-conflict", "an object that this daemon did not make has the same key", "object", "Remove the foreign object, or change the configuration so that the keys differ."},
    {Reason::kKernelMissingFeature, "kernel-missing-feature", "the kernel lacks a feature", "feature,module", "Load the module or use a kernel that has it; `ipsecctl doctor` lists all of them."},
    {Reason::kKernelLost, "kernel-events-lost", "messages of the kernel were lost; its state is read again", "", "Raise net.core.rmem_max if it is frequent."},
    {Reason::kKernelTimeout, "kernel-timeout", "the kernel did not answer", "operation", ""},
    {Reason::kKernelReadBack, "kernel-read-back-differs", "what the kernel shows is not what was installed", "object,field", ""},
    {Reason::kKernelExpired, "kernel-expired", "the kernel ended an SA at its hard limit", "spi", ""},
    {Reason::kSpiTaken, "spi-taken", "the SPI is already in use in the kernel", "spi", "Another one is chosen."},
    {Reason::kNamespaceMissing, "namespace-missing", "a network namespace does not exist", "netns", "Create it: `ip netns add NAME`."},
    {Reason::kVrfMissing, "vrf-missing", "a VRF does not exist", "vrf,netns", "Create it: `ip -n NETNS link add NAME type vrf table N`."},
    {Reason::kDeviceMissing, "device-missing", "a network device does not exist", "device,netns", "Check the name and the namespace."},
    {Reason::kPortInUse, "port-in-use", "another program has bound the UDP port", "address,port", "Stop the other IKE daemon (charon, pluto) or use other addresses."},
    {Reason::kAddressMissing, "address-missing", "a local address is not configured on any interface", "address", "Add it: `ip addr add ADDRESS dev DEVICE`."},
    {Reason::kMemoryLock, "memory-lock-limit", "memory could not be locked, so keys might be swapped out", "limit", "Raise LimitMEMLOCK in the unit, or `ulimit -l unlimited`."},
    {Reason::kAcquireForeign, "acquire-foreign", "an acquire of the kernel for a policy of somebody else", "", ""},
    {Reason::kAcquireUnknown, "acquire-unknown", "an acquire of the kernel for a tunnel that is not there", "if_id", ""},
    {Reason::kDatagramSendFailed, "datagram-send-failed", "a datagram could not be sent", "peer,errno", "Check routes and firewall towards the peer."},
    {Reason::kDriftMended, "drift-mended", "an object of ours that somebody else removed or changed was put right", "kind,name,done", "Find out who does it; `ipsecctl drift` shows what differs now."},
    {Reason::kDriftStays, "drift-stays", "an object of ours is not as it should be, and the kernel or a foreign object is in the way", "kind,name,detail", "Remove what is in its place, if it is not needed: `ipsecctl drift`. It is tried again from time to time."},
    {Reason::kReconcileWaiting, "reconcile-waiting", "a namespace, VRF or device is missing; what belongs into it is made when it is back", "netns,detail", "Create it again."},
    {Reason::kReconciled, "reconciled", "a namespace holds again what it should", "netns,mended,ms", ""},
    {Reason::kSaLost, "sa-lost", "somebody else removed an SA of ours; IKE makes another", "tunnel,child,spi", "Find out who does it: `ip xfrm state flush`, or another daemon."},
    {Reason::kOrphansKept, "orphans-kept", "SAs of an earlier run go on carrying traffic until their tunnel is up again", "sas,children,grace_s", ""},
    {Reason::kOrphansReplaced, "orphans-replaced", "new SAs took the place of those of an earlier run", "child,sas,kept_s", ""},
    {Reason::kOrphansGraceEnded, "orphans-grace-ended", "SAs of an earlier run were removed, for their tunnel did not come up again in time", "child,sas,kept_s", "See why the tunnel does not come up: `ipsecctl show tunnel NAME`; `node.orphan_grace` sets the time."},
    {Reason::kOrphansGone, "orphans-gone", "SAs of an earlier run are not in the kernel any more, or not wanted any more", "child,sas,kept_s,because", ""},
    {Reason::kOrphansUnfit, "orphans-unfit", "objects of an earlier run that fit no tunnel as it is configured now were removed", "objects", ""},
    {Reason::kPolicyTaken, "policy-taken", "another tunnel holds a kernel policy of the same selectors in this namespace", "tunnel,child,detail", "Attached by policy, one namespace holds each pair of selectors once: give the tunnels other selectors, or attach one of them by interface."},
    // Offload
    {Reason::kOffloadNotRequested, "offload-not-requested", "software, as configured", "", ""},
    {Reason::kOffloadEffective, "offload-effective", "on the NIC, as read back", "device,mode", ""},
    {Reason::kOffloadSilentSoftware, "offload-silently-software", "the kernel accepted the request and kept the SA in software", "device", "The device or its driver cannot offload this SA; `ethtool -k DEVICE` shows esp-hw-offload."},
    {Reason::kOffloadRefused, "offload-refused", "the kernel or the driver refused the offload", "device,kernel", "The kernel's own words are in the detail."},
    {Reason::kOffloadInterfaceInbound, "offload-inbound-if-id", "the kernel refuses inbound offload of an SA that belongs to an xfrm interface", "device", "Use `attachment: policy` where both directions must be offloaded."},
    {Reason::kOffloadAlgorithm, "offload-algorithm", "the algorithm cannot be offloaded", "algorithm,device", "Use an AES-GCM proposal."},
    {Reason::kOffloadEncapsulation, "offload-udp-encapsulation", "UDP encapsulation cannot be offloaded in this mode", "device", ""},
    {Reason::kOffloadNoDevice, "offload-no-device", "no device of the group carries this tunnel's packets", "devices", ""},
    {Reason::kOffloadTableFull, "offload-table-full", "the device has no room for another SA", "device", ""},
    {Reason::kOffloadNotCounting, "offload-not-counting", "the SA is shown on the NIC, but its counters do not move under traffic", "device", ""},
    // Control
    {Reason::kControlBadRequest, "control-bad-request", "a request on the control socket was not understood", "detail", ""},
    {Reason::kControlDenied, "control-denied", "the caller may not do this", "method", "Read methods need the group ipsecd, the others root."},
    {Reason::kControlClients, "control-too-many-clients", "too many clients on the control socket", "limit", ""},
}};
// clang-format on

constexpr bool in_order() {
  for (size_t i = 0; i < kReasons.size(); ++i)
    if (static_cast<size_t>(kReasons[i].reason) != i || kReasons[i].code.empty() || kReasons[i].text.empty())
      return false;
  return true;
}
static_assert(in_order(), "each reason has one row, in the order of the enumeration");

}  // namespace

const ReasonInfo& info(Reason reason) { return kReasons[static_cast<size_t>(reason) % kReasonCount]; }

std::optional<Reason> reason_from_code(std::string_view code) {
  for (const ReasonInfo& row : kReasons)
    if (row.code == code) return row.reason;
  return std::nullopt;
}

}  // namespace ipsec
