#pragma once

#include <string>
#include <vector>

#include "policy/base/result.h"
#include "policy/config_parser.h"

namespace ipsec::agent {

/// The configuration as it stands on disk: the main file, then every *.json of `folder` in the order of their names.
/// Errors: kNotFound with the file that cannot be read.
Result<std::vector<policy::ConfigFile>> read_config_files(const std::string& main_file, const std::string& folder);

}  // namespace ipsec::agent
