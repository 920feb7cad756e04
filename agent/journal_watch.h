#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "netlink/journal.h"
#include "policy/base/counters.h"
#include "policy/base/events.h"
#include "policy/base/log.h"
#include "policy/base/time.h"

namespace ipsec::agent {

using JournalAnnounce = std::function<void(Reason, std::vector<Field>)>;
/// Counts, logs as a warning, and makes an event. All three must outlive it.
JournalAnnounce announce_by(Log& log, EventRing& events, Counters& counters);

/// Asks now and then whether the journal's file system has space left, and reports when it runs short and when it has
/// space again: before the first tunnel is refused.
class JournalWatch {
 public:
  JournalWatch(std::string path, JournalAnnounce announce) : path_(std::move(path)), announce_(std::move(announce)) {}

  /// The journal of an earlier run is missing or damaged, and so many objects stand that are probably ours.
  void report_loss(size_t objects);
  /// When a look is due, or the journal has grown: `growths` is Journal::growths(), `check` is Journal::check().
  void run(Instant now, uint64_t growths, const std::function<netlink::JournalRoom()>& check);
  /// Nothing before the first run.
  std::optional<Instant> next_deadline() const { return next_; }
  bool is_low() const { return is_low_; }

 private:
  std::string path_;
  JournalAnnounce announce_;
  std::optional<Instant> next_;
  uint64_t growths_ = 0;
  bool is_low_ = false;
};

}  // namespace ipsec::agent
