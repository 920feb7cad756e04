#pragma once

#include <string>

#include "policy/base/time.h"

namespace ipsec::agent::service {

/// Starts that fail one after the other wait ever longer, 0.1 to 10 s, so that a service manager may try for ever: a
/// limit of its own would give up a gateway whose disk or configuration comes right an hour later. What counts them is
/// a file in the run folder; where that cannot be written each failure waits as long as the second one.
class StartPace {
 public:
  explicit StartPace(std::string run_dir) : path_(std::move(run_dir) + "/failed-starts") {}

  /// Notes a failure; how long to wait before the process ends.
  Duration failed(WallTime now);
  void succeeded();

 private:
  std::string path_;
};

}  // namespace ipsec::agent::service
