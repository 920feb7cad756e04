#include "agent/service/supervision.h"

#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/service/limits.h"

namespace ipsec::agent::service {
namespace {

std::string microseconds(Duration time) { return std::to_string(time / 1us); }

}  // namespace

Supervision::Supervision(LogWriter& log, std::optional<Duration> watchdog_limit, Hooks hooks)
    : log_(log), hooks_(std::move(hooks)), interval_(kHousekeeping) {
  if (!hooks_.notify) hooks_.notify = [](const std::string& message) { sd_notify(0, message.c_str()); };
  if (!watchdog_limit) return;
  hooks_.watchdog.feed = [this] { hooks_.notify("WATCHDOG=1"); };
  watchdog_.emplace(*watchdog_limit, hooks_.watchdog);
  interval_ = std::min(interval_, watchdog_->interval());
}

std::optional<Duration> Supervision::watchdog_limit() {
  uint64_t limit = 0;
  if (sd_watchdog_enabled(0, &limit) <= 0 || limit == 0) return std::nullopt;
  return std::chrono::microseconds(limit);
}

Result<std::unique_ptr<Supervision>> Supervision::create(LogWriter& log, std::optional<Duration> watchdog_limit,
                                                         Hooks hooks) {
  std::unique_ptr<Supervision> made(new Supervision(log, watchdog_limit, std::move(hooks)));
  TRY(made->arm(), "");
  return made;
}

Status Supervision::arm() {
  timer_ = control::Descriptor(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(interval_);
  itimerspec times{};
  times.it_interval.tv_sec = whole.count();
  times.it_interval.tv_nsec = (interval_ - whole).count();
  times.it_value = times.it_interval;
  if (!timer_ || timerfd_settime(timer_.get(), 0, &times, nullptr) != 0)
    return Error(Reason::kSystemCall, "timer of the service manager's messages", errno);
  return {};
}

std::optional<size_t> Supervision::on_timer() {
  uint64_t ticks = 0;
  [[maybe_unused]] const ssize_t got = read(timer_.get(), &ticks, sizeof ticks);
  log_.flush();
  if (const uint64_t dropped = log_.take_dropped(); dropped != 0 && hooks_.on_dropped) hooks_.on_dropped(dropped);
  if (stopping_) hooks_.notify("EXTEND_TIMEOUT_USEC=" + microseconds(kStopExtension));
  since_watchdog_ += interval_;
  if (!watchdog_ || since_watchdog_ < watchdog_->interval()) return std::nullopt;
  since_watchdog_ = Duration{0};
  return watchdog_->tick();
}

void Supervision::ready(const std::string& status) { hooks_.notify("READY=1\nSTATUS=" + status); }

void Supervision::reloading() {
  const auto since_boot = std::chrono::steady_clock::now().time_since_epoch();
  hooks_.notify("RELOADING=1\nMONOTONIC_USEC=" + microseconds(since_boot));
}

void Supervision::stopping() {
  stopping_ = true;
  hooks_.notify("STOPPING=1\nSTATUS=closing IKE SAs\nEXTEND_TIMEOUT_USEC=" + microseconds(kStopExtension));
}

}  // namespace ipsec::agent::service
