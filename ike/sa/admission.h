#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "policy/base/ip.h"
#include "policy/base/reasons.h"
#include "policy/base/time.h"
#include "policy/config.h"

namespace ipsec::ike {

/// A token bucket: `rate` per second, bursts of twice that (at least one). Eight bytes, begins full.
class RateBucket {
 public:
  /// Takes a token; false when there is none. A rate of 0 is no limit.
  bool take(Instant now, uint32_t rate);

 private:
  uint32_t milliseconds_ = 0;  ///< Of the last taking, in the clock's milliseconds; may wrap.
  uint32_t spent_ = 0;         ///< Thousandths of tokens that are missing.
};

/// Who may begin an IKE SA (RFC 7296 section 2.6). Bounded memory, nothing allocated for what is refused.
///
/// What a sender can forge does not count against whom it names: as long as an address has not returned a cookie, too
/// much from it (or from its network) only means that it is asked for one; refusals are for those who have.
class Admission {
 public:
  /// `seed`: unpredictable, so that nobody can choose an address that shares a slot with a victim's.
  Admission(const policy::AdmissionLimits& limits, uint64_t seed) : limits_(limits), seed_(seed), buckets_(kSlots) {}

  struct Request {
    IpAddress source;
    bool proved = false;  ///< It has returned a cookie.
    size_t half_open = 0, ike_sas = 0;
  };
  enum class Verdict : uint8_t { kAdmit, kAskCookie, kRefuse };
  struct Decision {
    Verdict verdict = Verdict::kAdmit;
    Reason reason = Reason::kNone;  ///< kRefuse: why.
  };
  Decision judge(Instant now, const Request& request);

  /// Whether everybody is asked for a cookie at present.
  bool under_attack() const { return under_attack_; }
  /// A half-open IKE SA from `source` has come or gone.
  void half_open_added(const IpAddress& source) { ++per_prefix_[prefix_of(source)]; }
  void half_open_removed(const IpAddress& source);
  size_t half_open_from(const IpAddress& source) const;

 private:
  /// 2,048 addresses with a bucket for what is proved and one for what is not. Two addresses that share a slot share
  /// its rate: memory stays bounded, and where many share one, the slot only asks for cookies sooner.
  static constexpr size_t kSlots = 2048;
  struct Slot {
    RateBucket proved, unproved;
  };
  /// The network that a source belongs to: /24 for IPv4, /56 for IPv6.
  static uint64_t prefix_of(const IpAddress& source);
  Slot& slot_of(const IpAddress& source);
  const policy::AdmissionLimits limits_;
  const uint64_t seed_;
  std::vector<Slot> buckets_;
  RateBucket whole_;
  std::unordered_map<uint64_t, uint32_t> per_prefix_;  ///< At most as many as there are half-open IKE SAs.
  bool under_attack_ = false;
};

}  // namespace ipsec::ike
