#pragma once

#include <string>
#include <variant>
#include <vector>

#include "policy/config_parser.h"

namespace ipsec::agent {

/// Where a daemon's configuration stands.
struct ConfigPaths {
  std::string main_file;
  std::string folder;  ///< Of further files; it need not exist before the first start.
};

/// Whether the folder of further files exists.
enum class FolderPresence : uint8_t { kAbsent, kPresent };

/// The configuration as it stands on disk.
struct ConfigOnDisk {
  std::vector<policy::ConfigFile> files;  ///< The main file, then those of the folder in the order of their names.
  std::vector<std::string> passed_over;   ///< Names in the folder that are not read (is_config_file_name), sorted.
  FolderPresence folder = FolderPresence::kAbsent;
};

/// Whether a file of this name in the folder is a part of the configuration: "*.json", but not what editors leave
/// beside it (".x.json.swp", ".#x.json", "#x.json#", "x.json~"), and nothing hidden.
bool is_config_file_name(std::string_view name);

/// Reads the main file and every file of the folder that counts. `before`: whether the folder was there when the
/// configuration was applied last; a folder that was there and is gone is an error, and so is everything else that
/// cannot be read in full: what is missing from a configuration would be taken out of the kernel. Only regular files
/// are read (or links to them), so that nothing waits for a pipe. The error (kConfigFolder, kLimitReached) names the
/// file or folder.
std::variant<ConfigOnDisk, policy::ConfigError> read_config_files(const ConfigPaths& paths, FolderPresence before);

/// Reads the files that somebody names, in their order, in the same way.
std::variant<ConfigOnDisk, policy::ConfigError> read_config_files(const std::vector<std::string>& names);

}  // namespace ipsec::agent
