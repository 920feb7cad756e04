#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ipsec::agent::ctl {

enum class Verb : uint8_t {
  kStatus,
  kList,
  kShow,
  kUp,
  kDown,
  kRekey,
  kMonitor,
  kExplain,
  kExplainNegotiation,
  kExplainOffload,
  kOffloadPin,
  kOffloadMove,
  kDrift,
  kDriftAdopt,
  kMetrics,
  kConfigCheck,
  kConfigDiff,
  kConfigApply,
  kConfigShow,
  kVersion,
};
enum class Output : uint8_t { kText, kJson };
enum class ColorChoice : uint8_t { kAuto, kAlways, kNever };

/// What was asked for on the command line.
struct Command {
  Verb verb = Verb::kStatus;
  std::string kind;  ///< Plural.
  std::string name;  ///< Of the object or tunnel, a code, or a peer (may be empty).
  std::string child;
  std::string to;                    ///< offload pin, move: nic, software, none.
  bool ike = false;                  ///< rekey: the IKE SA.
  std::optional<std::string> netns;  ///< drift, drift --adopt: only this one.
  std::string format;                ///< metrics; empty: OpenMetrics.
  std::vector<std::string> files;
  std::map<std::string, std::string> filter;
  std::string sort;
  std::optional<int64_t> from;
  bool follow = true;
  Output output = Output::kText;
  ColorChoice color = ColorChoice::kAuto;
  std::string socket;
  /// Without: as long as the command usually needs at most.
  std::optional<std::chrono::seconds> timeout;
};

/// A command, or the text to print instead (help, or what was wrong) and the exit code.
struct CommandLine {
  std::optional<Command> command;
  int exit_code = 0;
  std::string text;
};

/// `arguments` without the program's name.
CommandLine parse_command_line(std::vector<std::string> arguments);

}  // namespace ipsec::agent::ctl
