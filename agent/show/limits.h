#pragma once

#include <cstddef>

namespace ipsec::agent {

inline constexpr size_t kCountedPerStep = 1000;         ///< Objects that a census counts before others have their turn.
inline constexpr size_t kLookedAtPerStep = 1000;        ///< Objects that a search looks at before that.
inline constexpr size_t kUsersNamed = 100;              ///< Tunnels that are named as the users of one credential.
inline constexpr size_t kChildrenOnDeviceNamed = 1000;  ///< Children that are named as those on one device.

inline constexpr size_t kWeakTunnelsNamed =
    20;                                   ///< Tunnels with weak algorithms that `status` names; SAs of others count.
inline constexpr size_t kPairsNamed = 8;  ///< Pairs of selectors in one column.

}  // namespace ipsec::agent
