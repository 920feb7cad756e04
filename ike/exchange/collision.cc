#include "ike/exchange/collision.h"

#include <algorithm>

namespace ipsec::ike {

Bytes lowest_nonce(ByteView a, ByteView b) {
  const ByteView lower = std::lexicographical_compare(b.begin(), b.end(), a.begin(), a.end()) ? b : a;
  return {lower.begin(), lower.end()};
}

Standing standing_of(ByteView our_lowest, ByteView their_lowest) {
  // RFC 7296 2.8.1: the SA of the exchange that used the lowest of the four nonces is the one that goes.
  const bool ours_is_lower =
      std::lexicographical_compare(our_lowest.begin(), our_lowest.end(), their_lowest.begin(), their_lowest.end());
  return ours_is_lower ? Standing::kTheirs : Standing::kOurs;
}

RequestVerdict judge_child_request(const ChildSituation& situation) {
  // RFC 7296 2.25.2: whoever rekeys or closes the IKE SA puts off new and rekeyed children.
  if (situation.we_rekey_ike || situation.we_delete_ike) return RequestVerdict::kTemporaryFailure;
  if (!situation.is_rekey) return RequestVerdict::kProceed;
  // RFC 7296 2.25.1: a child that is not there, that we are closing, or that we rekey as well.
  if (!situation.rekeyed)
    return situation.being_made ? RequestVerdict::kTemporaryFailure : RequestVerdict::kChildNotFound;
  switch (*situation.rekeyed) {
    case ChildPhase::kInUse:
    case ChildPhase::kAwaitingUse: return RequestVerdict::kProceed;
    // The peer has rekeyed it before and owes us its Delete: a second successor would never be deleted.
    case ChildPhase::kReplaced:
    case ChildPhase::kRedundant:
    case ChildPhase::kClosed:
    case ChildPhase::kDeleting: return RequestVerdict::kTemporaryFailure;
    case ChildPhase::kLingering: return RequestVerdict::kChildNotFound;
  }
  return RequestVerdict::kProceed;
}

RequestVerdict judge_ike_request(const IkeSituation& situation) {
  // RFC 7296 2.25.2. When we rekey the IKE SA as well, the request is answered as usual; which of the two stands, the
  // nonces tell later.
  if (situation.we_change_children || situation.we_delete_ike || situation.rekeyed_before)
    return RequestVerdict::kTemporaryFailure;
  return RequestVerdict::kProceed;
}

}  // namespace ipsec::ike
