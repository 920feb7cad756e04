#pragma once

#include "ike/core.h"

/// INFORMATIONAL (RFC 7296 section 1.4): Delete, errors after authentication, and (empty) liveness.
///   HDR, SK {[N+,] [D+]}  -->  <--  HDR, SK {[N+,] [D+]}
namespace ipsec::ike {

void on_informational_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
void on_informational_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message);
/// CREATE_CHILD_SA is answered with NO_ADDITIONAL_SAS, as an endpoint may that keeps to one child (RFC 7296 section 4).
void on_create_child_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message);

/// Takes the children out of the kernel and tells the peer that the IKE SA ends; `notice` goes beside the Delete.
/// Without a free window or keys the IKE SA ends silently.
void start_delete_ike(EngineCore& core, Instant now, IkeSa& sa, Reason reason, std::optional<NotifyType> notice = {});
/// Tells the peer that a child with our inbound SPI is gone; waits its turn if a request is under way.
void delete_child_spi(EngineCore& core, Instant now, IkeSa& sa, ChildSpi spi_in);
void check_liveness(EngineCore& core, Instant now, IkeSa& sa);

}  // namespace ipsec::ike
