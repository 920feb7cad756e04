#pragma once

#include "ike/core.h"

/// What an established IKE SA does by itself as time goes on: rekeys, ends of lifetimes, liveness, what peers owe.
namespace ipsec::ike {

/// When `run_upkeep` has something to do next; nothing when only a message can change that.
std::optional<Instant> next_upkeep(const IkeSa& sa);
/// Does what is due. May destroy `sa`.
void run_upkeep(EngineCore& core, Instant now, IkeSa& sa);
/// The peer is seen to use the child that it made in a rekey: so do we.
void child_seen_in_use(EngineCore& core, Instant now, IkeSa& sa, ChildId id);

}  // namespace ipsec::ike
