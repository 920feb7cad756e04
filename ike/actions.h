#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ike/numbers.h"
#include "ike/ports.h"
#include "policy/base/events.h"
#include "policy/base/ip.h"
#include "policy/base/secret.h"
#include "policy/child_spec.h"
#include "policy/config.h"
#include "policy/negotiation.h"

/// What the engine wants done, in the order in which it must happen within one IKE SA, and the answers that it waits
/// for. The shell polls actions, carries them out, and feeds completions back. Answers may come late, twice or never.
namespace ipsec::ike {

using IkeSaId = Strong<struct IkeSaIdTag, uint64_t>;  ///< Our SPI of the IKE SA; unique within the node.
using ChildId = Strong<struct ChildIdTag, uint32_t>;  ///< Our SPI of the child SA.
using AskId = Strong<struct AskIdTag, uint64_t>;      ///< One question to the shell.
/// A set of UDP sockets: one public namespace and VRF of the configuration.
using SocketContext = Strong<struct SocketContextTag, uint16_t>;

/// Where a datagram came from or goes to. UDP 4500 on our side means that the non-ESP marker stands in front on the
/// wire (RFC 7296 section 3.1); the shell strips and adds it.
struct Path {
  SocketContext context;
  Endpoint local;
  Endpoint remote;
  friend auto operator<=>(const Path&, const Path&) = default;
};

// ---- questions: answered by an Answer with the same id

/// Who may talk to us from there? Asked for IKE_SA_INIT requests. Answer: InitPolicy.
struct NeedInitPolicy {
  AskId id;
  IkeSaId ike;
  Path path;
};

/// Which tunnel is it? Asked once the peer has named itself in IKE_AUTH. Answer: PeerFound.
struct NeedPeer {
  AskId id;
  IkeSaId ike;
  Path path;
  policy::Identity remote_id;
  std::optional<policy::Identity> local_id;  ///< IDr, when the initiator asked for one.
};

/// Prove that we are who we say: AUTH over `octets` with the tunnel's credential (RFC 7296 section 2.15).
/// Answer: AuthMade.
struct NeedAuth {
  AskId id;
  IkeSaId ike;
  std::shared_ptr<const policy::Tunnel> tunnel;
  uint16_t prf = 0;  ///< policy::PrfId negotiated.
  Bytes octets;      ///< The InitiatorSignedOctets or ResponderSignedOctets.
};

/// Is the peer who it says it is? Answer: AuthChecked.
struct NeedVerify {
  AskId id;
  IkeSaId ike;
  std::shared_ptr<const policy::Tunnel> tunnel;
  uint16_t prf = 0;
  AuthMethod method = AuthMethod::kSharedKey;
  Bytes octets;
  Bytes auth;  ///< What the peer sent.
};

/// Put the inbound SA (and the inbound and forward policies) into the kernel. Answer: Installed.
struct InstallInbound {
  AskId id;
  IkeSaId ike;
  ChildId child;
  std::optional<ChildId> replaces;  ///< The child that this one is to replace (rekey); it goes on working meanwhile.
  std::shared_ptr<const policy::ChildSpec> spec;
  policy::ChildKeys keys;
};

// ---- orders: no answer

/// Put the outbound SA (and policies, routes, whatever makes traffic take it) into the kernel: from now on it is used.
struct InstallOutbound {
  IkeSaId ike;
  ChildId child;
  std::optional<ChildId> replaces;  ///< Rekey: traffic moves over from this one.
  std::shared_ptr<const policy::ChildSpec> spec;
  policy::ChildKeys keys;
};

/// Tell by `IkeEngine::inbound_used` when the inbound SA of this child has received: the peer uses it, so that we may
/// begin to (we are the responder of a rekey). Ends with InstallOutbound or RemoveChild of the same child.
struct WatchInbound {
  IkeSaId ike;
  ChildId child;
};

/// A rekey is over: take out the outbound SA of the old child; its inbound half stays until RemoveChild, for what is on
/// its way.
struct StopOutbound {
  IkeSaId ike;
  ChildId child;
  std::shared_ptr<const policy::ChildSpec> spec;
};

/// The children of one IKE SA belong to another from now on (RFC 7296 section 2.18). `old` ends soon.
struct IkeRekeyed {
  IkeSaId old, fresh;
  std::vector<ChildId> children;
};

/// Take a child SA out of the kernel, whatever is left of it.
struct RemoveChild {
  IkeSaId ike;
  ChildId child;
  std::shared_ptr<const policy::ChildSpec> spec;
  Reason reason = Reason::kNone;
};

struct SendDatagram {
  IkeSaId ike;  ///< 0 for answers that belong to no IKE SA.
  Path path;
  Bytes bytes;  ///< Without the non-ESP marker.
};

/// One byte of 0xff without non-ESP marker: keeps the mapping of a NAT in front of us (RFC 3948 section 2.3).
struct SendKeepalive {
  Path path;
};

/// The durable state of an IKE SA changed; its snapshot must be stored before the datagram that follows leaves.
struct SnapshotChanged {
  IkeSaId ike;
  bool gone = false;
};

/// An IKE SA reached a peer's identity for the first time: the shell may have others of the same tunnel closed.
struct IdentityEstablished {
  IkeSaId ike;
  std::shared_ptr<const policy::Tunnel> tunnel;
  bool has_child = false;        ///< The first child was made too, or is being made (RFC 6023).
  bool initial_contact = false;  ///< The peer says that it has no other IKE SA with us (RFC 7296 section 2.4).
};

/// A child that was asked for by `create_child` (or began an IKE SA) could not be had; the IKE SA stands.
struct ChildFailed {
  IkeSaId ike;
  std::shared_ptr<const policy::Tunnel> tunnel;
  std::string child;
  Reason reason = Reason::kNone;
  std::string detail;
};

/// Something to tell people and automation; counters are kept by the engine itself.
struct Report {
  IkeSaId ike;
  std::string tunnel;  ///< Empty while unknown.
  Path path;
  Reason reason = Reason::kNone;
  std::vector<Field> fields;
  std::shared_ptr<const policy::Negotiation> negotiation;  ///< When offers were compared and did not meet.
  bool unauthenticated = false;  ///< About a peer that came to us and has not proved who it is: anybody.
};

using Action = std::variant<NeedInitPolicy, NeedPeer, NeedAuth, NeedVerify, InstallInbound, InstallOutbound,
                            RemoveChild, SendDatagram, SendKeepalive, SnapshotChanged, IdentityEstablished, Report,
                            WatchInbound, StopOutbound, IkeRekeyed, ChildFailed>;

// ---- answers

/// The IKE proposals that any tunnel allows that this address may be. None: the request is refused.
struct InitPolicy {
  std::vector<policy::Proposal> proposals;
  bool childless = false;     ///< One of those tunnels takes IKE SAs without a child (RFC 6023).
  bool peer_prefers = false;  ///< The tunnels have different proposals: the order of the peer's counts, not of these.
};
struct PeerFound {
  std::shared_ptr<const policy::Tunnel> tunnel;
};
struct AuthMade {
  AuthMethod method = AuthMethod::kSharedKey;
  Bytes auth;
};
struct AuthChecked {};
/// The kernel has the inbound SA.
struct Installed {};

/// What was asked could not be had: the exchange goes on with the matching Notify.
struct Refused {
  Error error;
};

struct Answer {
  AskId id;
  IkeSaId ike;
  std::variant<InitPolicy, PeerFound, AuthMade, AuthChecked, Installed, Refused> value;
};

}  // namespace ipsec::ike
