#include "ike/sa/admission.h"

#include <doctest/doctest.h>

#include <deque>

#include "tests/ike/sa/allocations.h"

using namespace ipsec;
using namespace ipsec::ike;

namespace {

constexpr Instant kStart{1000s};
const IpAddress kHome = *IpAddress::parse("192.0.2.1"), kSameNet = *IpAddress::parse("192.0.2.254"),
                kOtherNet = *IpAddress::parse("192.0.3.1");

struct World {
  explicit World(const policy::AdmissionLimits& limits, uint64_t seed = 1) : random(seed), admission(limits, random) {}
  std::optional<Reason> admit(const IpAddress& source, size_t ike_sas = 0) {
    return admission.admit(now, source, ike_sas);
  }
  void open(const IpAddress& source, size_t count = 1) {
    for (size_t i = 0; i < count; ++i) admission.half_open_changed(source, +1);
  }
  void close(const IpAddress& source, size_t count = 1) {
    for (size_t i = 0; i < count; ++i) admission.half_open_changed(source, -1);
  }
  bool wants_cookie(const IpAddress& source) const { return admission.wants_cookie(now, source); }
  SeededRandom random;
  Admission admission;
  Instant now = kStart;
};

/// Any address of either family.
IpAddress any_address(Random& random) {
  if (random.below(2) == 0) return IpAddress::v4(random.u32());
  std::array<uint8_t, 16> bytes{};
  random.fill(bytes);
  return IpAddress::from_bytes(bytes).value();
}

}  // namespace

TEST_CASE("bucket: a new one gives two seconds' worth at once and then one token per interval") {
  for (const uint32_t rate : {1U, 3U, 5U, 20U, 60000U}) {
    CAPTURE(rate);
    RateBucket bucket;
    Instant now = kStart;

    for (uint32_t i = 0; i < 2 * rate; ++i) CHECK(bucket.take(now, rate));
    CHECK(!bucket.take(now, rate));

    now = now + Duration(1s) / rate - 1ns;
    CHECK(!bucket.take(now, rate));
    now = now + 1ns;
    CHECK(bucket.take(now, rate));
    CHECK(!bucket.take(now, rate));
    CHECK(!bucket.is_full(now));
    CHECK(bucket.is_full(now + 2s));
  }
}

TEST_CASE("bucket: the lower half is kept for those who have shown more") {
  RateBucket bucket;
  for (int i = 0; i < 5; ++i) {
    CHECK(bucket.has_token(kStart, 5, RateBucket::Part::kUpperHalf));
    CHECK(bucket.take(kStart, 5));
  }
  CHECK(!bucket.has_token(kStart, 5, RateBucket::Part::kUpperHalf));
  CHECK(bucket.has_token(kStart, 5, RateBucket::Part::kWhole));
}

TEST_CASE("bucket: a rate of 0 is no limit") {
  RateBucket bucket;
  for (int i = 0; i < 1000; ++i) CHECK(bucket.take(kStart, 0));
  CHECK(bucket.is_full(kStart));
}

TEST_CASE("bucket: in no stretch of time does it give more than its rate and its burst") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const auto rate = static_cast<uint32_t>(1 + random.below(50));
    RateBucket bucket;
    std::deque<Instant> taken;
    Instant now = kStart;
    for (int i = 0; i < 5000; ++i) {
      now = now + Duration(random.below(40'000'000));
      if (!bucket.take(now, rate)) continue;
      taken.push_back(now);
      // The stretch that began three seconds ago holds at most three seconds' worth and the burst.
      while (now - taken.front() > 3s) taken.pop_front();
      CHECK(taken.size() <= 5 * rate + 1);
    }
  }
}

TEST_CASE("admission: half-open IKE SAs are allowed up to the limit, and again when one has ended") {
  World world({.half_open_max = 3});
  world.open(kHome, 2);
  CHECK(!world.admit(kOtherNet));
  world.open(kHome);
  CHECK(world.admit(kOtherNet) == Reason::kIkeHalfOpenLimit);
  world.close(kHome);
  CHECK(!world.admit(kOtherNet));
}

TEST_CASE("admission: IKE SAs are allowed up to the limit") {
  World world({.ike_sas_max = 10});
  CHECK(!world.admit(kHome, 9));
  CHECK(world.admit(kHome, 10) == Reason::kIkeSaLimit);
}

TEST_CASE("admission: a /24 may have as many half-open IKE SAs as its limit, and the next one is another matter") {
  World world({.half_open_per_prefix = 4});
  world.open(kHome, 3);
  CHECK(!world.admit(kSameNet));
  world.open(kSameNet);
  CHECK(world.admit(kHome) == Reason::kIkePrefixLimit);
  CHECK(world.admit(kSameNet) == Reason::kIkePrefixLimit);
  CHECK(!world.admit(kOtherNet));
  world.close(kHome);
  CHECK(!world.admit(kSameNet));
}

TEST_CASE("admission: of IPv6 it is the /56") {
  World world({.half_open_per_prefix = 2});
  world.open(*IpAddress::parse("2001:db8:1:ff00::1"), 2);
  CHECK(world.admit(*IpAddress::parse("2001:db8:1:ffff:1::")) == Reason::kIkePrefixLimit);
  CHECK(!world.admit(*IpAddress::parse("2001:db8:1:fe00::1")));
  CHECK(!world.admit(*IpAddress::parse("2001:db8:2:ff00::1")));
}

TEST_CASE("admission: no IPv4 network shares its count with an IPv6 one") {
  World world({.half_open_per_prefix = 1});
  world.open(*IpAddress::parse("32.1.13.184"));
  CHECK(!world.admit(*IpAddress::parse("::2001:db8")));
  CHECK(!world.admit(*IpAddress::parse("2001:db8::")));
}

TEST_CASE("admission: a limit of 0 for a prefix or an address is none") {
  World world({.half_open_per_prefix = 0, .init_rate_per_address = 0});
  world.open(kHome, 500);
  for (int i = 0; i < 500; ++i) CHECK(!world.admit(kHome));
  CHECK(!world.wants_cookie(kHome));
}

TEST_CASE("admission: an address begins twice its rate at once, then one per interval, and nobody else is touched") {
  World world({.init_rate_per_address = 10});
  for (int i = 0; i < 20; ++i) CHECK(!world.admit(kHome));
  CHECK(world.admit(kHome) == Reason::kIkeInitRate);
  CHECK(!world.admit(kSameNet));
  world.now = world.now + 100ms - 1ns;
  CHECK(world.admit(kHome) == Reason::kIkeInitRate);
  world.now = world.now + 1ns;
  CHECK(!world.admit(kHome));
  CHECK(world.admit(kHome) == Reason::kIkeInitRate);
}

TEST_CASE("admission: addresses of one IPv6 /64 are one source") {
  World world({.init_rate_per_address = 1});
  CHECK(!world.admit(*IpAddress::parse("2001:db8::1")));
  CHECK(!world.admit(*IpAddress::parse("2001:db8::2")));
  CHECK(world.admit(*IpAddress::parse("2001:db8::3")) == Reason::kIkeInitRate);
  CHECK(!world.admit(*IpAddress::parse("2001:db8:0:1::3")));
}

TEST_CASE("admission: all together begin twice the rate at once, then one per interval") {
  World world({.init_rate = 4});
  for (uint32_t i = 0; i < 8; ++i) CHECK(!world.admit(IpAddress::v4(i << 8)));
  CHECK(world.admit(kHome) == Reason::kIkeInitRate);
  world.now = world.now + 250ms;
  CHECK(!world.admit(kHome));
  CHECK(world.admit(kHome) == Reason::kIkeInitRate);
}

TEST_CASE("admission: what is refused for another reason uses up nobody's tokens") {
  World world({.half_open_max = 100, .half_open_per_prefix = 1, .init_rate = 2, .init_rate_per_address = 2});
  world.open(kHome);
  for (int i = 0; i < 50; ++i) CHECK(world.admit(kSameNet) == Reason::kIkePrefixLimit);
  world.close(kHome);
  for (int i = 0; i < 4; ++i) CHECK(!world.admit(kSameNet));
  CHECK(world.admit(kSameNet) == Reason::kIkeInitRate);
}

TEST_CASE("admission: an address beyond its rate does not use up the rate of all") {
  World world({.init_rate = 10, .init_rate_per_address = 5});
  for (int i = 0; i < 10; ++i) CHECK(!world.admit(kHome));
  for (int i = 0; i < 100; ++i) CHECK(world.admit(kHome) == Reason::kIkeInitRate);
  for (int i = 0; i < 10; ++i) CHECK(!world.admit(kOtherNet));
}

TEST_CASE("cookies: wanted from the upper threshold on, until below the lower one") {
  World world({.half_open_cookie_from = 10, .half_open_cookie_until = 7, .half_open_per_prefix = 0});
  world.open(kHome, 9);
  CHECK(!world.wants_cookie(kOtherNet));
  world.open(kHome);
  CHECK(world.wants_cookie(kOtherNet));
  world.close(kHome, 3);
  CHECK(world.wants_cookie(kOtherNet));
  world.close(kHome);
  CHECK(!world.wants_cookie(kOtherNet));
  world.open(kHome, 3);
  CHECK(!world.wants_cookie(kOtherNet));
  world.open(kHome);
  CHECK(world.wants_cookie(kOtherNet));
}

TEST_CASE("cookies: a threshold of 0 is always, and a lower threshold above the upper one counts as that") {
  World always({.half_open_cookie_from = 0});
  CHECK(always.wants_cookie(kHome));
  always.open(kOtherNet), always.close(kOtherNet);
  CHECK(always.wants_cookie(kHome));

  World crossed({.half_open_cookie_from = 2, .half_open_cookie_until = 50});
  crossed.open(kOtherNet, 2);
  CHECK(crossed.wants_cookie(kHome));
  crossed.close(kOtherNet);
  CHECK(!crossed.wants_cookie(kHome));
}

TEST_CASE("cookies: the second half of each quota is only for sources that answer") {
  World prefix({.half_open_per_prefix = 8});
  prefix.open(kHome, 3);
  CHECK(!prefix.wants_cookie(kSameNet));
  prefix.open(kHome);
  CHECK(prefix.wants_cookie(kSameNet));
  CHECK(!prefix.wants_cookie(kOtherNet));

  World address({.init_rate_per_address = 3});
  for (int i = 0; i < 3; ++i) {
    CHECK(!address.wants_cookie(kHome));
    CHECK(!address.admit(kHome));
  }
  CHECK(address.wants_cookie(kHome));
  CHECK(!address.wants_cookie(kSameNet));

  World all({.init_rate = 3});
  for (uint32_t i = 0; i < 3; ++i) CHECK(!all.admit(IpAddress::v4(i << 8)));
  CHECK(all.wants_cookie(kHome));
}

TEST_CASE("hostile: a source that never answers can use up no quota of one that does") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    World world({.half_open_per_prefix = 32, .init_rate = 200, .init_rate_per_address = 20}, seed);
    // The attacker spoofs the victim's own address, far faster than any rate allows; the victim comes every 100 ms.
    size_t refused = 0;
    for (int i = 0; i < 100'000; ++i) {
      world.now = world.now + 100us;
      if (!world.wants_cookie(kHome)) (void)world.admit(kHome);
      if (i % 1000 == 999 && world.admit(kHome)) ++refused;
    }
    CHECK(refused == 0);
  }
}

TEST_CASE("hostile: a million addresses take no memory, admitted or refused") {
  World world({.half_open_max = 100, .half_open_per_prefix = 64}, 7);
  world.open(kHome, 64);
  const size_t before = testing::allocations();
  for (int i = 0; i < 1'000'000; ++i) {
    if (i % 100 == 0) world.now = world.now + 1ms;
    const IpAddress source = any_address(world.random);
    (void)world.wants_cookie(source);
    CHECK_UNARY(!world.admit(source));
    if (i % 10 == 0) CHECK_UNARY(world.admit(kHome).has_value());
  }
  world.open(kOtherNet, 36);
  const size_t refused_from = testing::allocations();
  for (int i = 0; i < 100'000; ++i) CHECK_UNARY(world.admit(any_address(world.random)).has_value());
  CHECK(testing::allocations() == refused_from);
  CHECK(refused_from - before <= 2);  // the second network's count
}

TEST_CASE("hostile: many half-open networks are as many counts, and all of them are forgotten") {
  World world({}, 8);
  std::vector<IpAddress> sources;
  for (int i = 0; i < 10'000; ++i) sources.push_back(any_address(world.random));
  for (const IpAddress& each : sources) world.open(each);
  CHECK(world.admission.half_open() == sources.size());
  for (const IpAddress& each : sources) world.close(each);
  CHECK(world.admission.half_open() == 0);
  for (const IpAddress& each : sources) CHECK_UNARY(world.admission.half_open_of_prefix(each) == 0);
}

TEST_CASE("hostile: a source at its limit is not forgotten because a million others come") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    World world({}, seed);
    for (int i = 0; i < 40; ++i) CHECK(!world.admit(kHome));
    for (int i = 0; i < 1'000'000; ++i) CHECK_UNARY(!world.admit(any_address(world.random)));
    CHECK(world.admit(kHome) == Reason::kIkeInitRate);
    CHECK(!world.admit(kOtherNet));
  }
}

TEST_CASE("admission: each IKE SA has its own rate of CREATE_CHILD_SA requests") {
  World world({.rekey_rate = 5});
  RateBucket one, other;
  for (int i = 0; i < 10; ++i) CHECK(world.admission.rekey_allowed(world.now, one));
  CHECK(!world.admission.rekey_allowed(world.now, one));
  CHECK(world.admission.rekey_allowed(world.now, other));
  CHECK(world.admission.rekey_allowed(world.now + 200ms, one));
  CHECK(!world.admission.rekey_allowed(world.now + 200ms, one));
}

TEST_CASE("admission: workers share what counts for the node and keep what counts for one IKE SA") {
  const policy::AdmissionLimits node{.half_open_max = 10, .half_open_per_prefix = 3, .rekey_rate = 7};
  const policy::AdmissionLimits share = share_of_worker(node, 4);
  CHECK(share.half_open_max == 3);
  CHECK(share.half_open_per_prefix == 1);
  CHECK(share.half_open_cookie_from == 250);
  CHECK(share.half_open_cookie_until == 200);
  CHECK(share.init_rate == 0);
  CHECK(share.init_rate_per_address == 5);
  CHECK(share.rekey_rate == 7);
  CHECK(share.ike_sas_max == node.ike_sas_max);
  CHECK(share_of_worker(node, 1) == node);
}
