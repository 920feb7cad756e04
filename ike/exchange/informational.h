#pragma once

#include "ike/core.h"

/// INFORMATIONAL (RFC 7296 section 1.4): Delete, errors after authentication, and (empty) liveness.
///   HDR, SK {[N+,] [D+]}  -->  <--  HDR, SK {[N+,] [D+]}
namespace ipsec::ike {

void on_informational_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
void on_informational_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
/// Answers an authentic request that breaks the rules; INVALID_SYNTAX ends the IKE SA (RFC 7296 section 2.21.3).
void answer_invalid(EngineCore& core, Instant now, IkeSa& sa, const Message& message, const Error& error);

/// Takes the children out of the kernel and tells the peer that the IKE SA ends; `notice` goes beside the Delete.
/// Without a free window or keys the IKE SA ends silently.
void start_delete_ike(EngineCore& core, Instant now, IkeSa& sa, Reason reason, std::optional<NotifyType> notice = {});
/// Tells the peer that a child with our inbound SPI is gone; waits its turn if a request is under way.
void delete_child_spi(EngineCore& core, Instant now, IkeSa& sa, ChildSpi spi_in);
/// Sends the Deletes that wait, in one request; the window must be free.
void send_waiting_deletes(EngineCore& core, Instant now, IkeSa& sa);
void check_liveness(EngineCore& core, Instant now, IkeSa& sa);

}  // namespace ipsec::ike
