#pragma once

#include "ike/core.h"

/// CREATE_CHILD_SA (RFC 7296 section 1.3), both roles.
///   new child:   HDR, SK {SA, Ni, [KEi,] TSi, TSr}              -->  <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr}
///   rekey child: HDR, SK {N(REKEY_SA), SA, Ni, [KEi,] TSi, TSr} -->  <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr}
///   rekey IKE:   HDR, SK {SA, Ni, KEi}                          -->  <--  HDR, SK {SA, Nr, KEr}
namespace ipsec::ike {

void on_create_child_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
void on_create_child_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
/// In the states in which the IKE SA ends: no new children.
void on_create_child_too_late(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
/// The answer to our rekey of an IKE SA comes when the peer's has already taken its place.
void on_create_child_ignored(EngineCore& core, Instant now, IkeSa& sa, const Message& message);

// ---- our requests
/// Queues a request; nothing when the same is queued or under way.
Status add_task(EngineCore& core, Instant now, IkeSa& sa, Task task);
/// Whether `task` has to wait until the peer's CREATE_CHILD_SA that the kernel is working on is over.
bool waits_for_peer(const Established& established, const Task& task);
/// Whether our Deletes, and with them all that comes after, wait until the peer's rekey of a child is answered.
bool deletes_wait_for_peer(const Established& established);
/// Begins our next request when the window is free: Deletes first, then tasks whose time has come.
void serve(EngineCore& core, Instant now, IkeSa& sa);

/// The kernel's answer to the InstallInbound of our exchange.
void on_own_child_installed(EngineCore& core, Instant now, IkeSa& sa);
void on_own_child_refused(EngineCore& core, Instant now, IkeSa& sa, const Error& error);
/// Whether the peer has answered this child, by its SPI, and our kernel has not confirmed it yet. The peer may name it.
bool is_being_made(const Established& established, ChildSpi spi_out);
/// The peer deletes it again. Returns our inbound SPI, for the answer.
ChildSpi on_own_child_deleted(EngineCore& core, Instant now, IkeSa& sa);
/// And of the peer's.
void on_peer_child_installed(EngineCore& core, Instant now, IkeSa& sa);
void on_peer_child_refused(EngineCore& core, Instant now, IkeSa& sa, const Error& error);

// ---- parts, for the files that share them
/// Answers the peer's CREATE_CHILD_SA request with one notification.
void answer_create_child(EngineCore& core, Instant now, IkeSa& sa, const Message& message, const NotifyPayload& notice);
void begin_child(EngineCore& core, Instant now, IkeSa& sa, Task task);
void begin_rekey_ike(EngineCore& core, Instant now, IkeSa& sa, Task task);
void on_rekey_ike_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
void on_rekey_ike_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
/// Our exchange is over; the next one may begin.
std::unique_ptr<OwnExchange> end_own(EngineCore& core, Established& established);
/// TEMPORARY_FAILURE, once more: whether that is all that our requests have got for so long that the two sides must be
/// taken to disagree about their SAs (RFC 7296 section 2.25).
bool is_out_of_sync(Instant now, Established& established);
/// Puts a task back, for another try after a pause that grows and varies. False when there is no time left for one.
bool try_again(EngineCore& core, Instant now, IkeSa& sa, Task task);
/// The group that an INVALID_KE_PAYLOAD wants, if it is one that we offered and have not tried.
std::optional<uint16_t> wanted_group(const OwnExchange& own, const NotifyPayload& notice);

// ---- the children's ends
/// Ends a child of ours: Delete to the peer; its inbound half stays until the answer when it has a successor.
void retire_child(EngineCore& core, Instant now, IkeSa& sa, ChildSa& child);
/// Ends a child of ours for good: out of the kernel at once, and Delete to the peer.
void close_child(EngineCore& core, Instant now, IkeSa& sa, ChildSa& child, Reason reason);
/// Gone for IKE: at once, or after what is on its way has come in, if it has a successor.
void bury_child(EngineCore& core, Instant now, IkeSa& sa, ChildId id, Reason reason);
/// All children of `from`, and what waits for them, belong to `to` from now on.
void move_children(EngineCore& core, IkeSa& from, IkeSa& to);
/// `standing` takes the place of `old`, too, which waits for its Delete. Of more than a few such the oldest is ended.
void stand_for(EngineCore& core, IkeSa& standing, IkeSaId old);
/// Ends an IKE SA that was replaced and never deleted. Nothing happens when it is gone.
void end_replaced(EngineCore& core, IkeSaId old);
/// While two rekeys of an IKE SA cross, the children stay with the old one; this gives them to the one that the peer
/// made, because it turns out to stand.
void adopt_by_rival(EngineCore& core, IkeSa& old);
/// Takes back whatever exchanges of an ending IKE SA have installed or chosen.
void abandon_exchanges(EngineCore& core, IkeSa& sa, Reason reason);

}  // namespace ipsec::ike
