#pragma once

#include "ike/core.h"

/// What a refused IKE SA was about, kept for `ipsecctl explain negotiation`: the peer's side beside ours.
namespace ipsec::ike {

using Compared = std::shared_ptr<const policy::Negotiation>;

/// `tunnel`: nullptr while the peer is not known.
Compared compared_ike_proposals(const policy::Tunnel* tunnel, std::vector<policy::Proposal> offered,
                                std::vector<policy::Proposal> configured);

/// IKE_SA_INIT took `chosen` for some tunnel of this address, and the peer turned out to be that of another one.
Compared compared_other_tunnels(const policy::Tunnel& tunnel, std::vector<policy::Proposal> offered,
                                const policy::Proposal& chosen);

/// The peer refused what we offered, without saying why; nothing when the notification is not about proposals.
Compared refused_ike_proposals(const policy::Tunnel& tunnel, NotifyType notice);

/// We refuse the peer: because of its name, or the one that it wants us to have (`wanted_local`), or its proof. Nothing
/// for any other reason.
Compared compared_peer(const IkeSa& sa, Reason reason, AuthMethod method,
                       const std::optional<policy::Identity>& wanted_local = std::nullopt);

/// The peer did not accept our proof, or our name.
Compared refused_proof(const policy::Tunnel& tunnel);

}  // namespace ipsec::ike
