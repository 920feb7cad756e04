#pragma once

#include <set>
#include <string>

#include "agent/files/config_files.h"
#include "policy/base/result.h"

namespace ipsec::agent {

/// The configuration that was applied last, kept in the state folder for a start at which the one on disk is refused.
/// Without comments, and without what stands where the names of unreadable secrets belong: no key that somebody has
/// written into a configuration by mistake is kept. Line numbers stay as they were.
class LastApplied {
 public:
  explicit LastApplied(std::string state_dir) : state_dir_(std::move(state_dir)) {}

  /// Replaces what is kept, in one step; it is on the disk then. `unusable`: the names of the credentials that could
  /// not be loaded. Waits for the disk. Error kConfigFolder: what is kept stays as it was.
  Status save(const ConfigPaths& paths, const ConfigOnDisk& disk, const std::set<std::string>& unusable) const;
  /// Error kNotFound: nothing is kept, or it is of another configuration's files. Error kConfigFolder: it is damaged,
  /// cannot be read, or others may have written it.
  Result<ConfigOnDisk> load(const ConfigPaths& paths) const;
  std::string path() const { return state_dir_ + "/last-applied"; }

 private:
  std::string state_dir_;
};

/// The text of a valid configuration file as it is kept; values of `unusable` credentials are replaced.
std::string without_mistakes(const std::string& text, const std::set<std::string>& unusable);

}  // namespace ipsec::agent
