#pragma once

#include <optional>

#include "ike/sa/ike_sa.h"

/// What happens when both sides act at once (RFC 7296 sections 2.8 and 2.25): pure decisions.
namespace ipsec::ike {

/// Of two nonces the lower one, octet by octet; a nonce that is the beginning of the other one is lower (2.8.1).
Bytes lowest_nonce(ByteView a, ByteView b);

enum class Standing : uint8_t { kOurs, kTheirs };
/// Two exchanges have rekeyed the same SA: whose new SA stands. Each argument is the lowest nonce of one exchange.
Standing standing_of(ByteView our_lowest, ByteView their_lowest);

enum class RequestVerdict : uint8_t { kProceed, kTemporaryFailure, kChildNotFound };

/// A CREATE_CHILD_SA request of the peer for a child (2.25.1, 2.25.2).
struct ChildSituation {
  bool we_rekey_ike = false;
  bool we_delete_ike = false;
  bool is_rekey = false;
  std::optional<ChildPhase> rekeyed;  ///< Phase of the child that is to be rekeyed; nothing: no such child.
  bool being_made = false;            ///< It is the one that the peer has answered us and our kernel has not yet.
};
RequestVerdict judge_child_request(const ChildSituation& situation);

/// A request of the peer to rekey the IKE SA (2.25.2).
struct IkeSituation {
  bool we_change_children = false;  ///< We create, rekey or close a child in an exchange under way.
  bool we_delete_ike = false;
  bool rekeyed_before = false;  ///< The peer has rekeyed this IKE SA already.
};
RequestVerdict judge_ike_request(const IkeSituation& situation);

}  // namespace ipsec::ike
