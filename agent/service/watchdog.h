#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "policy/base/time.h"

namespace ipsec::agent::service {

/// Says to the service manager that the daemon works only while the main thread and every worker go round: each tick
/// asks the workers for a sign, and the next one feeds the manager's watchdog if all of them gave it. A worker that
/// hangs so ends in a restart by the manager, and not in silence. Main thread, but for what the workers call.
class Watchdog {
 public:
  struct Services {
    size_t workers = 0;
    /// Runs a function on a worker's thread, when it comes round.
    std::function<void(size_t worker, std::function<void()>)> ask;
    std::function<void()> feed;
  };
  /// `limit`: after which the manager acts ($WATCHDOG_USEC).
  Watchdog(Duration limit, Services services);

  /// How often `tick` is due.
  Duration interval() const { return limit_ / 4; }
  /// The first worker that has owed its sign for two ticks or more, once per time that it hangs: for the log.
  std::optional<size_t> tick();

 private:
  Duration limit_;
  Services services_;
  /// By worker: the last round that it has answered. Outlives us in functions that a worker runs later.
  std::shared_ptr<std::vector<std::atomic<uint64_t>>> answered_;
  uint64_t round_ = 0;
  uint64_t missed_ = 0;
};

}  // namespace ipsec::agent::service
