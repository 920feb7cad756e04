#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/base/events.h"

namespace ipsec {

enum class LogLevel : uint8_t { kError = 3, kWarning = 4, kNotice = 5, kInfo = 6, kDebug = 7 };  ///< Those of syslog.

/// Structured log: a sentence and named fields, handed to one sink. Passed by reference, never global. Libraries do not
/// log errors, they return them.
class Log {
 public:
  using Sink = std::function<void(LogLevel, std::string_view text, const std::vector<Field>&)>;
  Log(LogLevel threshold, Sink sink) : threshold_(threshold), sink_(std::move(sink)) {}

  bool enabled(LogLevel level) const { return level <= threshold_; }
  void write(LogLevel level, std::string_view text, const std::vector<Field>& fields = {}) {
    if (enabled(level)) sink_(level, text, fields);
  }
  void error(std::string_view text, const std::vector<Field>& fields = {}) { write(LogLevel::kError, text, fields); }
  void warning(std::string_view text, const std::vector<Field>& fields = {}) {
    write(LogLevel::kWarning, text, fields);
  }
  void notice(std::string_view text, const std::vector<Field>& fields = {}) { write(LogLevel::kNotice, text, fields); }
  void info(std::string_view text, const std::vector<Field>& fields = {}) { write(LogLevel::kInfo, text, fields); }
  void debug(std::string_view text, const std::vector<Field>& fields = {}) { write(LogLevel::kDebug, text, fields); }

 private:
  LogLevel threshold_;
  Sink sink_;
};

/// "text name=value name=\"two words\"": one line, values quoted where needed.
std::string format_line(std::string_view text, const std::vector<Field>& fields);

}  // namespace ipsec
