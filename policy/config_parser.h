#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/config.h"

namespace ipsec::policy {

/// One file of the configuration: the main document or one of conf.d, already read.
struct ConfigFile {
  std::string name;
  std::string text;
};

/// One thing wrong, told so that it can be mended without a search.
struct ConfigError {
  Reason reason = Reason::kConfigBadValue;
  std::string file;
  size_t line = 0;      ///< From 1; 0 when the whole file is meant.
  size_t column = 0;    ///< From 1, in bytes; 0 when it is not known. Of errors of syntax.
  std::string pointer;  ///< JSON pointer (RFC 6901).
  std::string found;
  std::string allowed;  ///< What would be right: a range, words, the nearest known name.

  /// "gw.json:12: /tunnels/a/group: found "cor", allowed: the name of a tunnel group; did you mean "core"?"
  std::string text() const;
};

struct ConfigOutcome {
  std::shared_ptr<const Config> config;  ///< Nothing when there is any error.
  std::vector<ConfigError> errors;       ///< All of them, up to kConfigErrorsMax.
};

/// Checks and resolves a configuration. Pure: no file is opened, no address looked up. Objects of several files are
/// merged by name; one name in two files is an error.
ConfigOutcome parse_config(const std::vector<ConfigFile>& files);

/// "30s", "24h", "1h30m", "500ms".
Result<Duration> parse_duration(std::string_view text);

}  // namespace ipsec::policy
