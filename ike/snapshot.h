#pragma once

#include <functional>
#include <memory>

#include "ike/sa/ike_sa.h"

namespace ipsec::ike {

/// The format's version. Raise it whenever a field is added; older ones are refused with kUnsupported (their IKE SAs
/// are set up anew).
inline constexpr uint16_t kSnapshotVersion = 5;

/// Everything that an IKE SA is, in any state: for restart, upgrade and takeover (architecture, decision 7). Points in
/// time are stored as what remains of them, so that a snapshot moves between boots and nodes. Holds keys, hence a
/// Secret.
Secret write_snapshot(const IkeSa& sa, Instant now);

/// The IKE SA of a snapshot. `find_tunnel` resolves the tunnel's name; a tunnel that no longer exists is kNotFound.
/// The bytes are checked as hostile ones are.
Result<std::unique_ptr<IkeSa>> read_snapshot(
    const Secret& snapshot, Instant now,
    const std::function<std::shared_ptr<const policy::Tunnel>(const std::string&)>& find_tunnel);

}  // namespace ipsec::ike
