#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace ipsec {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;  // NOLINT: 30s and 500ms are how limits are written in this project

/// A point on the monotonic clock of one boot. Only for timers: never stored, sent or shown.
struct Instant {
  Duration since_boot{0};
  friend constexpr auto operator<=>(const Instant&, const Instant&) = default;
  friend constexpr Instant operator+(Instant at, Duration by) { return {at.since_boot + by}; }
  friend constexpr Instant operator-(Instant at, Duration by) { return {at.since_boot - by}; }
  friend constexpr Duration operator-(Instant a, Instant b) { return a.since_boot - b.since_boot; }
};

/// Seconds and nanoseconds since 1970 (UTC). For records and certificates; may jump.
struct WallTime {
  Duration since_epoch{0};
  friend constexpr auto operator<=>(const WallTime&, const WallTime&) = default;
};

/// At most one deadline per key; earliest first. Setting, moving and cancelling are logarithmic, looking at the next
/// one is constant. Keys with the same deadline come out in the order of their last setting, so that runs are
/// repeatable.
template <typename Key>
class TimerQueue {
 public:
  void set(const Key& key, Instant when) {
    auto [it, fresh] = place_.try_emplace(key, heap_.size());
    if (fresh) {
      heap_.push_back({when, ++order_, key});
      up(heap_.size() - 1);
      return;
    }
    size_t at = it->second;
    heap_[at].when = when;
    heap_[at].order = ++order_;
    down(up(at));
  }

  void cancel(const Key& key) {
    auto it = place_.find(key);
    if (it == place_.end()) return;
    size_t at = it->second;
    place_.erase(it);
    if (at + 1 != heap_.size()) {
      heap_[at] = std::move(heap_.back());
      place_[heap_[at].key] = at;
      heap_.pop_back();
      down(up(at));
    } else {
      heap_.pop_back();
    }
  }

  std::optional<Instant> next() const {
    return heap_.empty() ? std::nullopt : std::optional<Instant>(heap_.front().when);
  }

  /// The earliest key whose deadline is not after `now`, taken out; nothing when none is due.
  std::optional<Key> pop_due(Instant now) {
    if (heap_.empty() || heap_.front().when > now) return std::nullopt;
    Key key = heap_.front().key;
    cancel(key);
    return key;
  }

  std::optional<Instant> deadline(const Key& key) const {
    auto it = place_.find(key);
    return it == place_.end() ? std::nullopt : std::optional<Instant>(heap_[it->second].when);
  }

  size_t size() const { return heap_.size(); }

 private:
  struct Entry {
    Instant when;
    uint64_t order;
    Key key;
    bool before(const Entry& other) const { return when != other.when ? when < other.when : order < other.order; }
  };

  void exchange(size_t a, size_t b) {
    std::swap(heap_[a], heap_[b]);
    place_[heap_[a].key] = a;
    place_[heap_[b].key] = b;
  }
  size_t up(size_t at) {
    while (at > 0 && heap_[at].before(heap_[(at - 1) / 2])) {
      exchange(at, (at - 1) / 2);
      at = (at - 1) / 2;
    }
    return at;
  }
  void down(size_t at) {
    for (;;) {
      size_t least = at;
      for (size_t child : {2 * at + 1, 2 * at + 2})
        if (child < heap_.size() && heap_[child].before(heap_[least])) least = child;
      if (least == at) return;
      exchange(at, least);
      at = least;
    }
  }

  std::vector<Entry> heap_;
  std::unordered_map<Key, size_t> place_;
  uint64_t order_ = 0;
};

}  // namespace ipsec
