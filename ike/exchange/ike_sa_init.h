#pragma once

#include "ike/core.h"

/// IKE_SA_INIT (RFC 7296 section 1.2), both roles.
///   I: HDR, SAi1, KEi, Ni, N(NAT...)  -->
///   R:                           <--  HDR, SAr1, KEr, Nr, N(NAT...)
/// or <-- HDR, N(COOKIE) or HDR, N(INVALID_KE_PAYLOAD): the initiator sends its request again, changed.
namespace ipsec::ike {

/// What a request offers. An unusable proposal keeps its place (indexes are numbers on the wire) but matches nothing.
std::vector<policy::Proposal> usable_proposals(const SaPayload& payload);

/// Responder: a request without a responder's SPI. Admission, then the question who may talk to us.
void on_init_request(EngineCore& core, Instant now, const Path& path, const Header& header, ByteView datagram);
/// Responder: the answer to that question. May destroy `sa`.
void on_init_policy(EngineCore& core, Instant now, IkeSa& sa, const InitPolicy& policy);

/// Initiator: begins.
Result<IkeSaId> start_init(EngineCore& core, Instant now, std::shared_ptr<const policy::Tunnel> tunnel,
                           std::string_view child, const Path& path,
                           const std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>>& trigger);
/// Initiator: whether an error without protection is to be believed, because several transmissions of the request got
/// nothing better.
bool believes_hint(const IkeSa& sa);
/// Initiator: ends a set-up that got no usable answer, if such an error is the likely cause; false where none came.
bool end_unanswered_init(EngineCore& core, IkeSa& sa);
/// Initiator: what came back; not authenticated yet. May destroy `sa`.
void on_init_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message);

}  // namespace ipsec::ike
