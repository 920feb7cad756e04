#include <unistd.h>

#include <iostream>

#include "agent/ctl/command_line.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/exit_codes.h"

int main(int argc, char** argv) {
  using namespace ipsec::agent::ctl;
  const CommandLine line = parse_command_line({argv + 1, argv + argc});
  if (!line.command) {
    (line.exit_code == kExitOk ? std::cout : std::cerr) << line.text;
    return line.exit_code;
  }
  std::ios::sync_with_stdio(false);
  Terminal terminal{.out = std::cout,
                    .error = std::cerr,
                    .out_is_terminal = isatty(STDOUT_FILENO) == 1,
                    .error_is_terminal = isatty(STDERR_FILENO) == 1};
  const int code = run(*line.command, terminal);
  std::cout.flush();
  return code;
}
