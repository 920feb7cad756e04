#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/config_loader.h"
#include "agent/last_applied.h"

namespace ipsec::agent {

/// What a daemon starts with.
struct StartConfig {
  std::optional<LoadedConfig> loaded;       ///< Nothing: there is no configuration to start with.
  std::vector<policy::ConfigError> errors;  ///< Of the configuration on disk.
  /// With errors: why the one applied last takes its place, or why it cannot.
  std::string last_applied;
};

/// The configuration on disk; where it is refused, the one that was applied last. A secret that cannot be loaded
/// concerns its tunnels only. Waits for the disk.
StartConfig load_at_start(const ConfigPaths& paths, const std::string& secrets_dir, const LastApplied& kept);

}  // namespace ipsec::agent
