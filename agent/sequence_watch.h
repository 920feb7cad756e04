#pragma once

#include <optional>
#include <unordered_map>

#include "ike/actions.h"
#include "policy/base/time.h"
#include "policy/config.h"

namespace ipsec::agent {

/// When to look at the sequence numbers of which child, so that each is rekeyed before its 32 bits are used up (RFC
/// 4303 section 3.3.3): the kernel tells nobody, and drops what comes after the last number. Pure: the caller reads and
/// tells.
///
/// Two rules set the next look. At the pace measured last, half of the way to the rekey point must still lie ahead. And
/// whatever the pace becomes, even the fastest link, the look must come before half of what is left up to the very end
/// is used up: what remains after it is the time that a rekey may take.
class SequenceWatch {
 public:
  static constexpr uint64_t kNumbers = uint64_t{1} << 32;   ///< Without ESN.
  static constexpr uint64_t kFastest = 20'000'000;          ///< Packets per second: small ones at 10 Gbit/s and more.
  static constexpr uint64_t kLatest = kNumbers / 100 * 95;  ///< No rekey point is behind this, whatever the policy.
  static constexpr Duration kLookFirst = 10s;               ///< After a child was installed.
  static constexpr Duration kLookShortest = 500ms;
  static constexpr Duration kLookLongest = 60s;
  static constexpr Duration kLookAgain = 5s;  ///< While the rekey that was asked for has not come.

  /// Where the rekey is due, by the policy and a random number.
  static uint64_t rekey_point(const policy::RekeyPolicy& policy, uint64_t spread);

  void add(Instant now, ike::ChildId child, uint64_t rekey_at);
  void remove(ike::ChildId child);
  /// When the next look is due. A child that `pop_due` gave out is looked at: it has no deadline until `observe`
  /// or `postpone`.
  std::optional<Instant> next_look() const { return looks_.next(); }
  std::optional<ike::ChildId> pop_due(Instant now) { return looks_.pop_due(now); }

  enum class Verdict : uint8_t { kFine, kDue };
  /// The highest sequence number of the child, as read at `now`. kDue again at each look until the child is removed.
  Verdict observe(Instant now, ike::ChildId child, uint64_t sequence);
  /// It could not be read.
  void postpone(Instant now, ike::ChildId child);
  size_t size() const { return children_.size(); }

 private:
  struct Child {
    uint64_t rekey_at = 0;
    uint64_t sequence = 0;
    Instant seen;
  };
  std::unordered_map<ike::ChildId, Child> children_;
  TimerQueue<ike::ChildId> looks_;
};

}  // namespace ipsec::agent
