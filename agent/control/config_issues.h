#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "policy/base/reasons.h"

namespace ipsec::agent::control {

/// Errors of a configuration as objects of the interface's type ConfigIssue. `Error` is policy::ConfigError: named by
/// its members, so that this library needs no configuration.
template <typename Error>
nlohmann::json issues_of(const std::vector<Error>& errors) {
  nlohmann::json issues = nlohmann::json::array();
  for (const Error& each : errors)
    issues.push_back({{"file", each.file},
                      {"line", each.line},
                      {"column", each.column},
                      {"pointer", each.pointer},
                      {"found", each.found},
                      {"allowed", each.allowed},
                      {"code", code(each.reason)},
                      {"text", each.text()}});
  return issues;
}
/// The same of warnings, which are sentences.
inline nlohmann::json issues_of(const std::vector<std::string>& warnings) {
  nlohmann::json issues = nlohmann::json::array();
  for (const std::string& each : warnings) issues.push_back({{"text", each}});
  return issues;
}

/// What ConfigCheck answers, of what policy::parse_config() found.
template <typename Outcome>
nlohmann::json checked_of(const Outcome& outcome) {
  return {{"ok", outcome.errors.empty()},
          {"errors", issues_of(outcome.errors)},
          {"warnings", issues_of(outcome.config ? outcome.config->warnings : std::vector<std::string>())}};
}

}  // namespace ipsec::agent::control
