#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "ike/limits.h"
#include "policy/base/ip.h"
#include "policy/base/random.h"
#include "policy/base/reasons.h"
#include "policy/base/time.h"
#include "policy/config.h"

namespace ipsec::ike {

/// Tokens that come back at a steady rate, two seconds' worth at most. All of it is one instant (8 bytes): when it will
/// be full again. A new one is full. A rate of 0 is no limit.
class RateBucket {
 public:
  RateBucket() = default;
  /// One that was kept: in a snapshot.
  explicit RateBucket(Instant full_at) : full_at_(full_at) {}
  /// How much of the bucket may be used: the lower half is kept for those who have shown more.
  enum class Part : uint8_t { kUpperHalf, kWhole };

  bool has_token(Instant now, uint32_t rate, Part part = Part::kWhole) const;
  /// Takes one token if there is one. `rate`: tokens per second.
  bool take(Instant now, uint32_t rate);
  /// Nothing is lost when a full bucket is forgotten.
  bool is_full(Instant now) const { return full_at_ <= now; }
  Instant full_at() const { return full_at_; }

 private:
  Instant full_at_;
};
static_assert(sizeof(RateBucket) <= 16);

/// A fast hash that nobody outside can aim at one bucket of a table: `seed` comes from Random.
struct KeyedHash {
  uint64_t seed = 0;
  size_t operator()(uint64_t key) const noexcept;
};

/// A RateBucket per source address, in a table of fixed size. An IPv6 source is its /64, because whoever has one of its
/// addresses has them all. A place is free again as soon as its bucket is full, at most two seconds after its last
/// token; when all places of a source are taken, the fullest bucket is forgotten, which gives that source tokens and
/// takes none from anybody.
class SourceRates {
 public:
  static constexpr size_t kPlaces = 4096;

  explicit SourceRates(uint64_t seed) : hash_{seed}, places_(kPlaces) {}
  bool has_token(Instant now, const IpAddress& source, uint32_t rate, RateBucket::Part part) const;
  /// The source has a token.
  void take(Instant now, const IpAddress& source, uint32_t rate);

 private:
  static constexpr size_t kWays = 8;  ///< Places that a source may have: two cache lines.
  struct Place {
    uint64_t source = 0;
    RateBucket bucket;
  };
  size_t first_place(uint64_t source) const { return hash_(source) % (kPlaces / kWays) * kWays; }
  KeyedHash hash_;
  std::vector<Place> places_;
};

/// What strangers may cost one engine: decides about each IKE_SA_INIT request that would take state. Bounded memory;
/// nothing is allocated for a request that is refused.
///
/// A request passes two questions, in this order:
/// 1. `wants_cookie`: must the source show first that it receives what is sent to it (RFC 7296 section 2.6)? Yes while
///    the engine has many half-open IKE SAs, or refuses many requests, and also for the lower half of each quota below:
///    so spoofed requests, which cost their sender nothing, can use up no prefix's, address's or the whole engine's
///    quota for those who answer.
/// 2. `admit`: IKE SAs in all, half-open ones in all and per prefix, rates per address and in all. Tokens are taken
/// only
///    once everything else has been granted.
class Admission {
 public:
  Admission(const policy::AdmissionLimits& limits, Random& random);

  bool wants_cookie(Instant now, const IpAddress& source) const;
  /// Nothing: admitted, and its tokens taken. Otherwise why not: kIkeSaLimit, kIkeHalfOpenLimit, kIkePrefixLimit,
  /// kIkeInitRate.
  std::optional<Reason> admit(Instant now, const IpAddress& source, size_t ike_sas);
  /// Whether one more message that anybody can have sent may be answered without keeping state: a cookie, an error (RFC
  /// 7296 section 2.4). No: kIkeAnswerRate.
  bool may_answer(Instant now) { return answers_.take(now, kStatelessAnswersRate); }
  /// A request that had been admitted was refused, or could not be read: it cost as much as one that begins an IKE SA
  /// and leaves nothing behind that could be counted. More of them than half-open IKE SAs could come and go before
  /// cookies begin are load, too.
  void note_refused(Instant now);
  /// A half-open IKE SA from `source` began (+1) or ended (-1), in whatever way.
  void half_open_changed(const IpAddress& source, int change);
  size_t half_open() const { return half_open_; }
  /// Whether every stranger is asked for a cookie, because of many half-open IKE SAs or refusals.
  bool under_load(Instant now) const { return under_load_ || refuses_many(now); }
  size_t half_open_of_prefix(const IpAddress& source) const;
  /// Whether the peer of an established IKE SA may have one more CREATE_CHILD_SA request worked on. The bucket belongs
  /// to that IKE SA. No: TEMPORARY_FAILURE, kIkeRekeyRate.
  bool rekey_allowed(Instant now, RateBucket& bucket) const { return bucket.take(now, limits_.rekey_rate); }

 private:
  bool refuses_many(Instant now) const;
  uint32_t refusals_per_second() const;
  policy::AdmissionLimits limits_;
  size_t half_open_ = 0;
  bool under_load_ = false;  ///< From half_open_cookie_from on, until below half_open_cookie_until.
  std::unordered_map<uint64_t, uint32_t, KeyedHash> prefixes_;  ///< Half-open IKE SAs of each; as many as there are.
  SourceRates sources_;
  RateBucket all_;
  RateBucket answers_;
  RateBucket refusals_;
};

/// The part of a node's limits that one of its `workers` keeps to: what counts for the node is divided, rounded up, and
/// what counts for one IKE SA or one worker stays. Peers spread evenly (architecture, decision 8).
policy::AdmissionLimits share_of_worker(const policy::AdmissionLimits& node, size_t workers);

}  // namespace ipsec::ike
