#pragma once

#include <string>
#include <vector>

/// What the worst message of each exchange costs, beside the ordinary one.
namespace ipsec::bench {

struct HostileRow {
  std::string exchange;
  double ordinary = 0;  ///< Microseconds of CPU of engine and shell for the message that peers send.
  /// Messages made to be slow, authentic where the exchange is protected.
  struct Case {
    std::string name;
    double microseconds = 0;
  };
  std::vector<Case> cases;
  const Case& worst() const;
};

/// Each message `count` times, every time by an engine in the same state, for a tunnel of 64 children.
std::vector<HostileRow> run_hostile(size_t count);

/// Prints the rows. 0 when no worst message costs more than ten times the ordinary one.
int print_hostile(size_t count, bool json);

}  // namespace ipsec::bench
