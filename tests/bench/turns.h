#pragma once

#include <cstddef>
#include <string>
#include <vector>

/// How long one turn of the main thread takes at most, with many tunnels on the fake kernel.
namespace ipsec::bench {

struct TurnsOf {
  std::string verb;
  size_t turns = 0;    ///< Until nothing more was to be done at once.
  double longest = 0;  ///< Milliseconds of CPU of the main thread.
  double all = 0;      ///< The same of all turns together.
};

/// Start, children that come up, an audit, `drift`, a flush of all policies, a reload that changes nothing, one that
/// changes all tunnels, one that removes half of them, the end.
std::vector<TurnsOf> run_turns(size_t tunnels);

/// Fails when a turn was longer than this.
inline constexpr double kTurnMost = 20;  // milliseconds

int print_turns(size_t tunnels, bool json);

}  // namespace ipsec::bench
