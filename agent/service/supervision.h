#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/control/descriptor.h"
#include "agent/service/log_writer.h"
#include "agent/service/watchdog.h"
#include "policy/base/result.h"

namespace ipsec::agent::service {

/// What the process says to its service manager, and what is due from time to time: the watchdog, log lines that wait
/// for their reader, more time while Deletes wait for answers. Main thread; without a manager the messages go nowhere.
class Supervision {
 public:
  struct Hooks {
    Watchdog::Services watchdog;
    /// Lines of the log were dropped.
    std::function<void(uint64_t count)> on_dropped;
    /// One message in the words of sd_notify(3). Empty: to the manager that started us.
    std::function<void(const std::string&)> notify;
  };
  /// `watchdog_limit`: what the manager asks for ($WATCHDOG_USEC); nothing: no watchdog.
  static Result<std::unique_ptr<Supervision>> create(LogWriter& log, std::optional<Duration> watchdog_limit,
                                                     Hooks hooks);
  /// $WATCHDOG_USEC, if it is meant for this process.
  static std::optional<Duration> watchdog_limit();

  /// Readable when `on_timer` is due.
  int fd() const { return timer_.get(); }
  /// A worker that gives no sign any more, once: for the log.
  std::optional<size_t> on_timer();

  void ready(const std::string& status);
  void reloading();
  /// The beginning of the end: from now on each tick asks for more time.
  void stopping();

 private:
  Supervision(LogWriter& log, std::optional<Duration> watchdog_limit, Hooks hooks);
  Status arm();

  LogWriter& log_;
  Hooks hooks_;
  std::optional<Watchdog> watchdog_;
  Duration since_watchdog_{0};
  control::Descriptor timer_;
  Duration interval_;
  bool stopping_ = false;
};

}  // namespace ipsec::agent::service
