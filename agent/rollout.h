#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "policy/base/time.h"
#include "policy/config.h"
#include "policy/config_changes.h"

namespace ipsec::agent {

/// How far a configuration has come into force: the tunnels follow it one after the other, in the order of their names,
/// some in each turn of the main loop. Data only; TunnelManager carries it out.
struct Rollout {
  std::shared_ptr<const policy::TunnelChanges>
      changes;                  ///< Of a configuration before; null at the start of the daemon.
  std::string last;             ///< The last tunnel that follows it, ...
  std::set<std::string> early;  ///< ... and those that do so before their turn.
  bool active = false;
  /// All tunnels follow it; what they have asked for counts as done then, whatever the kernel still works on.
  std::optional<Instant> settles_by;

  void begin(std::shared_ptr<const policy::TunnelChanges> what) {
    *this = {.changes = std::move(what), .active = true};
  }
  const policy::TunnelChange* change_of(const std::string& tunnel) const {
    if (!changes) return nullptr;
    const auto found = changes->find(tunnel);
    return found != changes->end() ? &found->second : nullptr;
  }
};

}  // namespace ipsec::agent
