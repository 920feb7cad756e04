#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ike/actions.h"
#include "ike/crypto/crypto_context.h"
#include "ike/crypto/key_schedule.h"
#include "ike/sa/admission.h"
#include "ike/sa/child_sa.h"
#include "ike/sa/message_window.h"
#include "ike/wire/auth_payload.h"
#include "policy/base/time.h"

namespace ipsec::ike {

// The states, each with the data that exists only then. Initiator: InitSent -> AuthMaking -> AuthSent -> AuthFinishing
// -> Established. Responder: InitPolicyWait -> InitAnswered -> AuthResponding -> Established. Both end in Deleting or
// at once.

/// Responder: IKE_SA_INIT request received; asked which proposals this address may use.
struct InitPolicyWait {
  AskId ask;
  Bytes request;
};

/// Responder: IKE_SA_INIT answered; half-open. The shared secret is only computed when IKE_AUTH comes, and then kept.
/// Our response, which AUTH covers as well as the request, is the one kept for repetitions: `IkeSa::window.answered`.
struct InitAnswered {
  KeyPair key_pair;
  IkeSuite suite;
  Bytes request;
  std::optional<KeySchedule> keys;
};

/// What an IKE_AUTH exchange works on, as responder. On the heap: most IKE SAs are in another state.
struct AuthWork {
  enum class Stage : uint8_t { kPeer, kVerify, kProve, kInstall };
  Stage stage = Stage::kPeer;
  AskId ask;
  Bytes init_request, init_response;
  uint32_t message_id = 0;
  uint64_t request_hash = 0;
  Path path;           ///< Where the request came from.
  Bytes peer_id_body;  ///< IDi as received, after the generic header.
  std::optional<policy::Identity> wanted_local_id;
  AuthMethod method = AuthMethod::kSharedKey;
  Bytes peer_auth;
  std::vector<policy::Proposal> offered;
  std::vector<uint8_t> offered_numbers;
  std::vector<Bytes> offered_spis;
  policy::SelectorList ts_i, ts_r;
  bool has_child = false, wants_transport = false, initial_contact = false;
  AuthMethod own_method = AuthMethod::kSharedKey;
  Bytes own_auth;
  std::optional<PendingChild> child;
  uint8_t child_number = 0;  ///< Of the proposal chosen.
  bool left_out = false;     ///< The peer may ask for more selectors with another child.
};
struct AuthResponding {
  KeySchedule keys;
  std::unique_ptr<AuthWork> work;
};

/// What an answer without protection says against a set-up. Anybody can have sent it (RFC 7296 2.21.1), so the set-up
/// goes on; it ends so if nothing better comes, and this is the cause that people are told.
struct UnprotectedHint {
  Reason reason = Reason::kNone;
  NotifyType notice{};  ///< The notification; 0 where one was missing.
  uint8_t sent = 0;     ///< How often the request had been sent when the last such answer came.
};

/// Initiator: IKE_SA_INIT request sent.
struct InitSent {
  KeyPair key_pair;
  Bytes ni;
  std::string child;                                   ///< The first child to negotiate.
  policy::SelectorList trigger_local, trigger_remote;  ///< The packet's own selectors; empty without a trigger.
  Bytes cookie;
  uint8_t cookie_retries = 0, invalid_ke_retries = 0;
  bool initial_contact = false;         ///< To be said in IKE_AUTH.
  std::optional<UnprotectedHint> hint;  ///< Gone with whatever better answer comes.
};

/// What the initiator keeps from IKE_SA_INIT for IKE_AUTH.
struct AuthContext {
  Bytes init_request, init_response, ni, nr;
  std::string child;
  policy::SelectorList trigger_local, trigger_remote;
  bool initial_contact = false;
  bool childless = false;  ///< The child, if there is to be one, comes later, in an exchange of its own (RFC 6023).
};
/// Initiator: asked for our AUTH.
struct AuthMaking {
  KeySchedule keys;
  std::unique_ptr<AuthContext> context;
  AskId ask;
};
/// Initiator: IKE_AUTH request sent.
struct AuthSent {
  KeySchedule keys;
  std::unique_ptr<AuthContext> context;
  std::vector<policy::Proposal> offered;
  policy::SelectorList offered_local, offered_remote;
  ChildSpi spi_in;
};
/// Initiator: the response is being verified, then its child installed.
struct AuthFinishing {
  enum class Stage : uint8_t { kVerify, kInstall };
  KeySchedule keys;
  std::unique_ptr<AuthContext> context;
  Stage stage = Stage::kVerify;
  AskId ask;
  Bytes id_body;  ///< IDr as received, after the generic header.
  AuthPayload auth;
  std::optional<PendingChild> child;   ///< Nothing: the peer refused the child, or its answer was unacceptable.
  std::optional<ChildSpi> unused_spi;  ///< Inbound SPI to give back.
  bool tell_peer = false;              ///< The peer believes in a child that we do not have: delete it.
};

/// Both: in use.
struct Established {
  KeySchedule keys;
  std::vector<ChildSa> children;
  std::vector<ChildSpi> deletes_waiting;  ///< Children to delete when the window is free again.
  std::vector<ChildSpi> deletes_sent;     ///< In our INFORMATIONAL request under way.
  std::vector<Task> tasks;                ///< In the order in which they are to be begun.
  std::unique_ptr<OwnExchange> own;       ///< Our CREATE_CHILD_SA.
  std::unique_ptr<PeerExchange> peer;     ///< The peer's, while the kernel is asked.
  std::optional<Instant> rekey_at;        ///< When a fresh IKE SA is due.
  Instant until;                          ///< End of the lifetime.
  /// The peer made this IKE SA while ours rekeyed the same one: its children are still with that one, until it is known
  /// which of the two new ones stands.
  std::optional<IkeSaId> predecessor;
  /// Older IKE SAs that this one stands for, oldest first: replaced, and not deleted yet. Some may be gone by now.
  std::vector<IkeSaId> replaced;
  RateBucket requests;                   ///< CREATE_CHILD_SA requests of the peer; handed on by a rekey.
  RateBucket comebacks;                  ///< Those for configured children that are not up; handed on as well.
  std::optional<Reason> closing;         ///< To be closed as soon as its own rekey is decided.
  std::optional<Instant> put_off_since;  ///< The first of the TEMPORARY_FAILUREs that are all our requests got.
  Instant keepalive_at;                  ///< Behind a NAT: when the next keepalive is due (RFC 3948 section 4).
  bool waits_for_pace = false;           ///< Many rekeys are under way; `EngineCore` begins ours when there is room.

  ChildSa* child(ChildId id);
  bool has_exchange() const { return own || peer; }
};

/// Rekeyed: the children are with the successor, the peer is about to delete this one (RFC 7296 section 2.8).
struct Rekeyed {
  KeySchedule keys;
};

/// Both: our Delete of the whole IKE SA is on its way, or waits for the response to an earlier request (window size 1).
struct Deleting {
  KeySchedule keys;
  std::optional<NotifyType> notice;  ///< Goes beside the Delete.
  bool sent = false;
};

/// Both: destroyed in the middle of an input, so that whoever holds a reference still may look; freed at the input's
/// end.
struct Ended {};

using State = std::variant<InitPolicyWait, InitAnswered, AuthResponding, InitSent, AuthMaking, AuthSent, AuthFinishing,
                           Established, Rekeyed, Deleting, Ended>;
/// Mirrors the variant.
enum class StateId : uint8_t {
  kInitPolicyWait,
  kInitAnswered,
  kAuthResponding,
  kInitSent,
  kAuthMaking,
  kAuthSent,
  kAuthFinishing,
  kEstablished,
  kRekeyed,
  kDeleting,
  kEnded
};
std::string_view to_string(StateId state);

/// One IKE SA. Only `EngineCore::enter` changes its state.
struct IkeSa {
  IkeSaId id;
  bool initiator = false;  ///< We sent the first IKE_SA_INIT: fixes our flag and our half of the keys.
  IkeSpi spi_i, spi_r;
  Path path;             ///< Where our next message goes.
  Endpoint init_remote;  ///< Where IKE_SA_INIT came from or went to: what a late repetition of it shows.
  std::shared_ptr<const policy::Tunnel> tunnel;       ///< Responder: known from IKE_AUTH on.
  std::shared_ptr<const policy::Tunnel> next_tunnel;  ///< A newer configuration of it, for when no exchange uses this.
  policy::Identity remote_id;                         ///< As the peer named itself; empty before.
  bool nat_local = false, nat_remote = false;
  uint16_t forged_in_row = 0;  ///< Messages that were not authentic, since the last one that was.
  MessageWindow window;
  Instant created_at, last_heard;
  std::optional<Instant> established_at;
  std::optional<Instant> deadline;   ///< When the present state must have ended.
  std::optional<IkeSaId> successor;  ///< Has the children after a rekey.
  State state;

  StateId state_id() const { return static_cast<StateId>(state.index()); }
  bool half_open() const {
    return !initiator && (state_id() == StateId::kInitPolicyWait || state_id() == StateId::kInitAnswered);
  }
  /// Whether both sides have proved who they are; what is asked under the IKE SA is answered from then on.
  bool authenticated() const {
    return state_id() == StateId::kEstablished || state_id() == StateId::kRekeyed || state_id() == StateId::kDeleting;
  }
  /// The keys, in the states that have them.
  KeySchedule* keys();
  const KeySchedule* keys() const { return const_cast<IkeSa*>(this)->keys(); }
  /// Whether this question is open: its answer is waited for.
  bool waits_for(AskId ask) const;
  /// Our SPIs that this IKE SA has taken: of children, of one being made, of one not yet given back.
  std::vector<ChildSpi> spis_in() const;
  /// What must hold in each state: checked at the end of every public input.
  bool is_consistent() const;
  std::string tunnel_name() const { return tunnel ? tunnel->name : std::string(); }
};

}  // namespace ipsec::ike
