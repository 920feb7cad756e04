#pragma once

#include <iosfwd>

#include "agent/ctl/command_line.h"
#include "agent/ctl/text.h"

namespace ipsec::agent::ctl {

/// Where the answers go.
struct Terminal {
  std::ostream& out;
  std::ostream& error;
  bool out_is_terminal = false;
  bool error_is_terminal = false;
};

/// Asks the daemon and prints what it answers. Returns the exit code.
int run(const Command& command, Terminal& terminal);

}  // namespace ipsec::agent::ctl
