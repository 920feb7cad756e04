#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ike/actions.h"
#include "ike/crypto/crypto_context.h"
#include "policy/base/time.h"

namespace ipsec::ike {

/// Where a child SA stands between its birth and its end. A rekey by us takes the old child through kDeleting and
/// kLingering; a rekey by the peer takes the new one through kAwaitingUse and the old one through kReplaced.
enum class ChildPhase : uint8_t {
  kInUse,        ///< Both directions carry traffic.
  kAwaitingUse,  ///< The peer rekeyed: inbound stands, outbound waits until the peer is seen to use it.
  kReplaced,     ///< The peer rekeyed it and will delete it; both directions still stand.
  kRedundant,    ///< The peer made it in a rekey that crossed ours and lost; the peer will delete it. Never used.
  kDeleting,     ///< Rekeyed: our Delete is to be sent, or on its way; outbound is out already.
  kClosed,       ///< Ended by us: out of the kernel, our Delete is to be sent, or on its way.
  kLingering     ///< Gone for IKE; inbound stays for what is still on its way.
};

/// A child SA that IKE has agreed on.
struct ChildSa {
  ChildId id;
  std::shared_ptr<const policy::ChildSpec> spec;
  ChildPhase phase = ChildPhase::kInUse;
  bool outbound = false;            ///< The outbound SA is (being) installed.
  bool used = false;                ///< Carried traffic since it was made, as far as the shell says.
  std::optional<Instant> rekey_at;  ///< kInUse: when its replacement is due.
  Instant until;                    ///< kInUse: end of its lifetime; other phases: when waiting is over.
  std::optional<ChildId> replaces;  ///< The child that it was made to replace, however that ended.
  Secret outbound_key;              ///< kAwaitingUse: for InstallOutbound.
};

/// A child SA whose inbound half is being installed.
struct PendingChild {
  std::shared_ptr<const policy::ChildSpec> spec;
  Secret key_in, key_out;
  std::optional<ChildId> replaces;
};

/// A request of ours that waits for its turn (window size 1).
struct Task {
  enum class Kind : uint8_t { kCreateChild, kRekeyChild, kRekeyIke };
  Kind kind = Kind::kCreateChild;
  ChildId child;     ///< kRekeyChild: which.
  std::string name;  ///< kCreateChild: its name in the tunnel.
  Reason reason = Reason::kNone;
  policy::SelectorList trigger_local, trigger_remote;
  policy::SelectorPair only;  ///< kCreateChild: what is asked for, a part of what is configured; empty: all of it.
  Instant not_before;
  uint8_t failures = 0;  ///< In a row: sets the pause before the next try.
  bool is_last = false;  ///< The lifetime is over: whatever comes of this try is the end.
};

/// Our CREATE_CHILD_SA exchange: sent, or answered and waiting for the kernel.
struct OwnExchange {
  enum class Stage : uint8_t { kSent, kInstalling };
  Task task;
  Stage stage = Stage::kSent;
  Bytes nonce;
  std::optional<KeyPair> key_pair;  ///< Always for an IKE SA; for a child with PFS.
  std::vector<policy::Proposal> offered;
  uint8_t group_retries = 0;  ///< INVALID_KE_PAYLOAD answers followed.
  // A child:
  ChildSpi spi_in;
  policy::SelectorList offered_local, offered_remote;
  Bytes lowest_nonce;  ///< Of our exchange, once it is answered.
  AskId ask;
  Instant deadline;
  std::optional<PendingChild> child;
  // The IKE SA:
  IkeSpi ike_spi;
  /// The peer rekeys the same SA at the same time (RFC 7296 section 2.8.1): the lowest nonce of its exchange, and what
  /// it made.
  Bytes rival_nonce;
  ChildId rival_child;
  IkeSaId rival_ike;
};

/// The peer's CREATE_CHILD_SA request about a child that waits for the kernel.
struct PeerExchange {
  uint32_t message_id = 0;
  uint64_t request_hash = 0;
  Path path;
  AskId ask;
  Instant deadline;
  PendingChild child;
  uint8_t number = 0;      ///< Of the proposal chosen.
  uint16_t group = 0;      ///< Key exchange method; 0: no PFS.
  Bytes public_value;      ///< Ours.
  Bytes nonce;             ///< Ours.
  bool redundant = false;  ///< Our crossing rekey has won already.
  bool left_out = false;   ///< The peer may ask for more selectors with another child.
};

}  // namespace ipsec::ike
