#pragma once

#include "ike/sa/ike_sa.h"

namespace ipsec::ike {

/// Whether an IKE SA read from a snapshot holds what the code that goes on with it takes for granted: messages that
/// were parsed before, nonces and selectors that can be sent. `sa` is consistent. Error kMalformed.
Status check_contents(const IkeSa& sa);

}  // namespace ipsec::ike
