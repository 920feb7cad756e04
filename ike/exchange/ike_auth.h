#pragma once

#include "ike/core.h"

/// IKE_AUTH (RFC 7296 section 1.2), both roles.
///   I: HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr}  -->
///   R:                                         <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
/// A child that cannot be had is answered with its Notify in place of SA and TS; the IKE SA stands all the same
/// (2.21.2).
namespace ipsec::ike {

// ---- responder: peer -> verify -> prove -> install -> response
void on_auth_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
void on_peer_found(EngineCore& core, Instant now, IkeSa& sa, const PeerFound& found);
void on_peer_verified(EngineCore& core, Instant now, IkeSa& sa);
void on_own_auth_responder(EngineCore& core, Instant now, IkeSa& sa, AuthMade made);
void on_installed_responder(EngineCore& core, Instant now, IkeSa& sa);
/// A question of this exchange was answered with a refusal, or not in time.
void on_refused_responder(EngineCore& core, Instant now, IkeSa& sa, const Error& error);

// ---- initiator: prove -> request -> response -> verify -> install
void on_own_auth_initiator(EngineCore& core, Instant now, IkeSa& sa, AuthMade made);
void on_auth_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
void on_responder_verified(EngineCore& core, Instant now, IkeSa& sa);
void on_installed_initiator(EngineCore& core, Instant now, IkeSa& sa);
void on_refused_initiator(EngineCore& core, Instant now, IkeSa& sa, const Error& error);

// ---- the question of a state, asked when it is entered and again after a restore
void ask_responding(EngineCore& core, IkeSa& sa);
void ask_own_auth(EngineCore& core, IkeSa& sa);
void ask_finishing(EngineCore& core, IkeSa& sa);

struct FirstContact {
  bool initial = false;        ///< The peer said INITIAL_CONTACT.
  bool child_follows = false;  ///< We ask for the first child in an exchange of its own.
};
/// Both roles: authentication is over. Reports, drops the AUTH keys.
void enter_established(EngineCore& core, Instant now, IkeSa& sa, KeySchedule keys, std::vector<ChildSa> children,
                       const FirstContact& contact);

}  // namespace ipsec::ike
