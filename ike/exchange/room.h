#pragma once

#include "ike/core.h"

/// How many children an IKE SA may have (RFC 7296 section 1.3): those in use, and all others that still stand.
namespace ipsec::ike {

enum class NewChild : uint8_t {
  kFurther,     ///< Counts against children_max.
  kReplacement  ///< Takes the place of another one, which stays until its Delete.
};

/// Children in all, whatever their phase, with those that an exchange is making.
size_t children_in_all(const Established& established);

/// Whether the peer may have one more child; makes room where configured so, and by ending old inbound SAs early that
/// only linger. Children that are replaced and not deleted count, so no peer piles them up.
bool make_room_for_peer(EngineCore& core, Instant now, IkeSa& sa, NewChild kind);

/// Whether we may begin to make one more ourselves.
bool make_room_for_own(EngineCore& core, IkeSa& sa);

}  // namespace ipsec::ike
