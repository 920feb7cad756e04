#include "ike/sa/admission.h"

#include <algorithm>

namespace ipsec::ike {

bool RateBucket::take(Instant now, uint32_t rate) {
  constexpr uint32_t kToken = 1000;
  if (rate == 0) return true;
  const auto present = static_cast<uint32_t>(now.since_boot / 1ms);
  // Per millisecond `rate` thousandths of a token come back. After 49 days of silence the difference has wrapped: then
  // the bucket may look less full than it is, for two seconds at most.
  const uint64_t back = uint64_t{present - milliseconds_} * rate;
  spent_ = back >= spent_ ? 0 : spent_ - static_cast<uint32_t>(back);
  milliseconds_ = present;
  const uint64_t burst = std::max<uint64_t>(2 * uint64_t{rate}, 1) * kToken;
  if (spent_ + uint64_t{kToken} > burst) return false;
  spent_ += kToken;
  return true;
}

uint64_t Admission::prefix_of(const IpAddress& source) {
  constexpr size_t kBytes4 = 3, kBytes6 = 7;
  const ByteView bytes = source.bytes();
  uint64_t prefix = source.is_v4() ? 4 : 6;
  for (const uint8_t each : bytes.first(source.is_v4() ? kBytes4 : kBytes6)) prefix = prefix << 8 | each;
  return prefix;
}

void Admission::half_open_removed(const IpAddress& source) {
  const auto it = per_prefix_.find(prefix_of(source));
  if (it != per_prefix_.end() && --it->second == 0) per_prefix_.erase(it);
}

size_t Admission::half_open_from(const IpAddress& source) const {
  const auto it = per_prefix_.find(prefix_of(source));
  return it == per_prefix_.end() ? 0 : it->second;
}

Admission::Slot& Admission::slot_of(const IpAddress& source) {
  // Folded in with the seed at every step: without it nobody can tell which addresses meet.
  uint64_t hash = seed_;
  for (const uint8_t each : source.bytes()) {
    hash = (hash ^ each) * 0xff51afd7ed558ccd;
    hash ^= hash >> 29 ^ seed_ >> 7;
  }
  return buckets_[hash % kSlots];
}

Admission::Decision Admission::judge(Instant now, const Request& request) {
  // Between the two marks the answer stays what it was, so that it does not change with every request.
  if (request.half_open >= limits_.half_open_cookie_from)
    under_attack_ = true;
  else if (request.half_open < std::min(limits_.half_open_cookie_until, limits_.half_open_cookie_from))
    under_attack_ = false;
  const auto doubtful = [&](Reason reason) {
    return request.proved ? Decision{Verdict::kRefuse, reason} : Decision{Verdict::kAskCookie};
  };
  if (under_attack_ && !request.proved) return {Verdict::kAskCookie};
  if (request.half_open >= limits_.half_open_max) return {Verdict::kRefuse, Reason::kIkeHalfOpenLimit};
  if (request.ike_sas >= limits_.ike_sas_max) return {Verdict::kRefuse, Reason::kIkeSaLimit};
  // Half of a network's share is for those who have shown that they are there.
  const size_t share = request.proved ? limits_.half_open_per_prefix : (limits_.half_open_per_prefix + 1) / 2;
  if (half_open_from(request.source) >= share) return doubtful(Reason::kIkePrefixLimit);
  Slot& slot = slot_of(request.source);
  RateBucket& bucket = request.proved ? slot.proved : slot.unproved;
  if (!bucket.take(now, limits_.init_rate_per_address)) return doubtful(Reason::kIkeInitRate);
  if (!whole_.take(now, limits_.init_rate)) return doubtful(Reason::kIkeInitRate);
  return {};
}

}  // namespace ipsec::ike
