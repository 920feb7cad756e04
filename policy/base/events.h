#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "policy/base/reasons.h"
#include "policy/base/time.h"

namespace ipsec {

/// One named value of an event or a log line. Never a key: a Secret has no way to become a string.
struct Field {
  std::string name;
  std::string value;
  friend bool operator==(const Field&, const Field&) = default;
};

inline Field field(std::string_view name, std::string value) { return {std::string(name), std::move(value)}; }
inline Field field(std::string_view name, uint64_t value) { return {std::string(name), std::to_string(value)}; }

/// Something that happened to an object, for operators and automation.
struct Event {
  uint64_t sequence = 0;  ///< Gapless, from 1; given by the ring.
  WallTime time;
  std::string object;  ///< "tunnel/branch-7", "group/core", "sa/0xc1234567"; empty: the node itself.
  Reason reason = Reason::kNone;
  std::vector<Field> fields;
};

/// The last events, bounded: readers poll with the next sequence they want and learn how many they missed.
class EventRing {
 public:
  explicit EventRing(size_t capacity) : capacity_(capacity) {}

  struct Page {
    std::vector<Event> events;
    uint64_t next = 1;  ///< What to ask for next.
    uint64_t lost = 0;  ///< Events between what was asked for and the oldest that is still here.
  };

  /// Stores the event and returns its sequence number; drops the oldest one when full.
  uint64_t append(Event event);
  /// Up to `most` events from sequence `from` on (0 and 1 both mean the oldest that exist without counting as lost).
  Page read(uint64_t from, size_t most) const;
  uint64_t last_sequence() const { return next_ - 1; }

 private:
  size_t capacity_;
  uint64_t next_ = 1;
  std::deque<Event> events_;
};

}  // namespace ipsec
