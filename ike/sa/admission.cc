#include "ike/sa/admission.h"

#include <algorithm>

namespace ipsec::ike {
namespace {

/// What one token is worth.
Duration cost(uint32_t rate) { return std::max(Duration(1), Duration(1s) / rate); }

/// The first eight bytes of an IPv6 address; of an IPv4 address all four, in the low half. Nobody sends from ::/32, the
/// only place where the two could meet.
uint64_t leading_bits(const IpAddress& address) {
  uint64_t bits = 0;
  for (uint8_t byte : address.bytes().first(address.is_v4() ? 4 : 8)) bits = bits << 8 | byte;
  return bits;
}

/// /24 or /56, with the family in the byte that is free above.
uint64_t prefix_of(const IpAddress& address) {
  return leading_bits(address) >> 8 | static_cast<uint64_t>(address.family()) << 56;
}

}  // namespace

bool RateBucket::has_token(Instant now, uint32_t rate, Part part) const {
  if (rate == 0) return true;
  const Duration missing = std::max(full_at_, now) - now;
  const uint64_t tokens = part == Part::kWhole ? 2 * uint64_t{rate} : rate;
  return missing + cost(rate) <= cost(rate) * tokens;
}

bool RateBucket::take(Instant now, uint32_t rate) {
  if (!has_token(now, rate)) return false;
  if (rate != 0) full_at_ = std::max(full_at_, now) + cost(rate);
  return true;
}

size_t KeyedHash::operator()(uint64_t key) const noexcept {
  // The finalizer of SplitMix64: every bit of seed and key reaches every bit of the result.
  uint64_t mixed = key + seed;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

bool SourceRates::has_token(Instant now, const IpAddress& source, uint32_t rate, RateBucket::Part part) const {
  if (rate == 0) return true;
  const uint64_t key = leading_bits(source);
  const auto begin = places_.begin() + static_cast<ptrdiff_t>(first_place(key));
  const auto found = std::find_if(begin, begin + kWays, [&](const Place& each) { return each.source == key; });
  // A full bucket has a token for everybody at any rate, and so has one that is not kept.
  return found == begin + kWays || found->bucket.has_token(now, rate, part);
}

void SourceRates::take(Instant now, const IpAddress& source, uint32_t rate) {
  if (rate == 0) return;
  const uint64_t key = leading_bits(source);
  const auto begin = places_.begin() + static_cast<ptrdiff_t>(first_place(key));
  auto place = std::find_if(begin, begin + kWays, [&](const Place& each) { return each.source == key; });
  if (place == begin + kWays) {
    place = std::min_element(begin, begin + kWays,
                             [](const Place& a, const Place& b) { return a.bucket.full_at() < b.bucket.full_at(); });
    *place = Place{.source = key, .bucket = {}};
  }
  place->bucket.take(now, rate);
}

Admission::Admission(const policy::AdmissionLimits& limits, Random& random)
    : limits_(limits), prefixes_(0, KeyedHash{random.u64()}), sources_(random.u64()) {
  limits_.half_open_cookie_until = std::min(limits_.half_open_cookie_until, limits_.half_open_cookie_from);
  under_load_ = limits_.half_open_cookie_from == 0;
}

bool Admission::wants_cookie(Instant now, const IpAddress& source) const {
  constexpr auto kHalf = RateBucket::Part::kUpperHalf;
  if (under_load(now)) return true;
  if (limits_.half_open_per_prefix != 0 && half_open_of_prefix(source) >= limits_.half_open_per_prefix / 2) return true;
  return !all_.has_token(now, limits_.init_rate, kHalf) ||
         !sources_.has_token(now, source, limits_.init_rate_per_address, kHalf);
}

std::optional<Reason> Admission::admit(Instant now, const IpAddress& source, size_t ike_sas) {
  if (ike_sas >= limits_.ike_sas_max) return Reason::kIkeSaLimit;
  if (half_open_ >= limits_.half_open_max) return Reason::kIkeHalfOpenLimit;
  if (limits_.half_open_per_prefix != 0 && half_open_of_prefix(source) >= limits_.half_open_per_prefix)
    return Reason::kIkePrefixLimit;
  // The whole engine's token last: a source beyond its own rate must not use up everybody's.
  if (!sources_.has_token(now, source, limits_.init_rate_per_address, RateBucket::Part::kWhole) ||
      !all_.take(now, limits_.init_rate))
    return Reason::kIkeInitRate;
  sources_.take(now, source, limits_.init_rate_per_address);
  return std::nullopt;
}

uint32_t Admission::refusals_per_second() const {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limits_.half_open_timeout).count();
  return std::max<uint32_t>(kRefusalsLeast,
                            limits_.half_open_cookie_from / static_cast<uint32_t>(std::max<int64_t>(seconds, 1)));
}

bool Admission::refuses_many(Instant now) const {
  return !refusals_.has_token(now, refusals_per_second(), RateBucket::Part::kUpperHalf);
}

void Admission::note_refused(Instant now) { refusals_.take(now, refusals_per_second()); }

void Admission::half_open_changed(const IpAddress& source, int change) {
  const uint64_t prefix = prefix_of(source);
  if (change > 0) {
    ++half_open_;
    ++prefixes_[prefix];
    if (half_open_ >= limits_.half_open_cookie_from) under_load_ = true;
    return;
  }
  auto it = prefixes_.find(prefix);
  VERIFY(half_open_ > 0 && it != prefixes_.end());
  --half_open_;
  if (--it->second == 0) prefixes_.erase(it);
  if (half_open_ < limits_.half_open_cookie_until) under_load_ = false;
}

size_t Admission::half_open_of_prefix(const IpAddress& source) const {
  auto it = prefixes_.find(prefix_of(source));
  return it == prefixes_.end() ? 0 : it->second;
}

policy::AdmissionLimits share_of_worker(const policy::AdmissionLimits& node, size_t workers) {
  VERIFY(workers > 0);
  const auto share = [&](uint32_t whole) {
    return static_cast<uint32_t>((uint64_t{whole} + workers - 1) / workers);  // 0, no limit or always, stays 0
  };
  policy::AdmissionLimits limits = node;
  limits.half_open_max = share(node.half_open_max);
  limits.half_open_cookie_from = share(node.half_open_cookie_from);
  limits.half_open_cookie_until = share(node.half_open_cookie_until);
  limits.half_open_per_prefix = share(node.half_open_per_prefix);
  limits.init_rate = share(node.init_rate);
  limits.init_rate_per_address = share(node.init_rate_per_address);
  return limits;
}

}  // namespace ipsec::ike
