#include "ike/sa/admission.h"

#include <doctest/doctest.h>

#include "tests/support/engine_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

using Verdict = Admission::Verdict;

const IpAddress kHonest = *IpAddress::parse("198.51.100.7"), kFlooder = *IpAddress::parse("203.0.113.9");
constexpr Instant kNow{1000s};

/// b alone, with a request of a's as a mould for many others.
struct FloodedWorld : World {
  FloodedWorld() { initiate(), mould = wire.front().bytes; }
  /// A request from `source` under an SPI of its own; what b did with it.
  void request(const IpAddress& source) {
    Bytes bytes = mould;
    ByteWriter spi(8);
    spi.u64(++spis);
    std::copy(spi.view().begin(), spi.view().end(), bytes.begin());
    b.engine().receive(now, {SocketContext(0), {*b.tunnel->local_address(), 500}, {source, 500}}, bytes);
    b.drain(now);
    b.outbox.clear();
  }
  uint64_t count(Reason reason) { return b.engine().counters().get(reason); }
  Bytes mould;
  uint64_t spis = 0x1000;
};

}  // namespace

TEST_CASE("rate bucket: lets a burst of twice its rate through, then its rate, and rests to be full again") {
  RateBucket bucket;
  Instant now = kNow;
  int taken = 0;
  while (bucket.take(now, 5)) ++taken;
  CHECK(taken == 10);
  now = now + 199ms;
  CHECK_FALSE(bucket.take(now, 5));
  now = now + 1ms;
  CHECK(bucket.take(now, 5));
  CHECK_FALSE(bucket.take(now, 5));
  now = now + 3600s;
  taken = 0;
  while (bucket.take(now, 5)) ++taken;
  CHECK(taken == 10);
  CHECK(bucket.take(now, 0));  // no limit
}

TEST_CASE("admission: cookies are asked for from one mark on and until there are fewer than the other") {
  Admission admission({.half_open_cookie_from = 10, .half_open_cookie_until = 6}, 1);
  const auto verdict = [&](size_t half_open) {
    return admission.judge(kNow, {.source = kHonest, .half_open = half_open}).verdict;
  };
  CHECK(verdict(9) == Verdict::kAdmit);
  CHECK(verdict(10) == Verdict::kAskCookie);
  CHECK(verdict(6) == Verdict::kAskCookie);
  CHECK(admission.under_attack());
  CHECK(verdict(5) == Verdict::kAdmit);
  CHECK(verdict(9) == Verdict::kAdmit);
}

TEST_CASE("admission: the limits of half-open and of all IKE SAs refuse, whoever asks") {
  Admission admission({.half_open_max = 20, .ike_sas_max = 50}, 1);
  CHECK(admission.judge(kNow, {.source = kHonest, .proved = true, .half_open = 19}).verdict == Verdict::kAdmit);
  CHECK(admission.judge(kNow, {.source = kHonest, .proved = true, .half_open = 20}).reason ==
        Reason::kIkeHalfOpenLimit);
  CHECK(admission.judge(kNow, {.source = kHonest, .ike_sas = 49}).verdict == Verdict::kAdmit);
  CHECK(admission.judge(kNow, {.source = kHonest, .ike_sas = 50}).reason == Reason::kIkeSaLimit);
}

TEST_CASE("admission: a network's share is its own, and half of it is for addresses that are proved") {
  for (const auto& [inside, also_inside, outside] :
       {std::tuple("203.0.113.9", "203.0.113.200", "203.0.114.9"),
        std::tuple("2001:db8:0:1ff::1", "2001:db8:0:101::2", "2001:db8:0:200::1")}) {
    Admission admission({.half_open_per_prefix = 8}, 1);
    const IpAddress a = *IpAddress::parse(inside), b = *IpAddress::parse(also_inside), c = *IpAddress::parse(outside);
    for (int i = 0; i < 4; ++i) admission.half_open_added(a);
    CHECK(admission.judge(kNow, {.source = b}).verdict == Verdict::kAskCookie);
    CHECK(admission.judge(kNow, {.source = b, .proved = true}).verdict == Verdict::kAdmit);
    for (int i = 0; i < 4; ++i) admission.half_open_added(a);
    CHECK(admission.judge(kNow, {.source = b, .proved = true}).reason == Reason::kIkePrefixLimit);
    CHECK(admission.judge(kNow, {.source = c}).verdict == Verdict::kAdmit);
    for (int i = 0; i < 8; ++i) admission.half_open_removed(b);
    CHECK(admission.half_open_from(a) == 0);
    CHECK(admission.judge(kNow, {.source = a}).verdict == Verdict::kAdmit);
  }
}

TEST_CASE("admission: requests forged in an address's name cost that address a cookie, not its access") {
  Admission admission({.init_rate_per_address = 5}, 1);
  for (int i = 0; i < 10; ++i) CHECK(admission.judge(kNow, {.source = kHonest}).verdict == Verdict::kAdmit);
  for (int i = 0; i < 1000; ++i) CHECK(admission.judge(kNow, {.source = kHonest}).verdict == Verdict::kAskCookie);
  CHECK(admission.judge(kNow, {.source = kHonest, .proved = true}).verdict == Verdict::kAdmit);
  for (int i = 0; i < 9; ++i) admission.judge(kNow, {.source = kHonest, .proved = true});
  CHECK(admission.judge(kNow, {.source = kHonest, .proved = true}).reason == Reason::kIkeInitRate);
}

TEST_CASE("admission: call admission bounds new IKE SAs in all") {
  Admission admission({.init_rate = 100, .init_rate_per_address = 0}, 1);
  int admitted = 0;
  for (uint32_t i = 0; i < 10000; ++i)
    if (admission.judge(kNow, {.source = IpAddress::v4(i * 256), .proved = true}).verdict == Verdict::kAdmit)
      ++admitted;
  CHECK(admitted == 200);
}

TEST_CASE("admission: a flood from one address leaves another one its access, and no state where it is refused") {
  FloodedWorld world;
  for (int i = 0; i < 2000; ++i) world.request(kFlooder);
  CHECK(world.b.engine().half_open() <= 40);
  CHECK(world.count(Reason::kIkeCookieSent) == 2000 - world.b.engine().half_open());
  world.deliver_all();
  CHECK(world.a.state() == "established");
}

TEST_CASE("admission: an address that exceeds its rate comes in by returning a cookie") {
  FloodedWorld world;
  for (int i = 0; i < 100; ++i) world.request(*world.b.tunnel->remote);
  CHECK(world.count(Reason::kIkeCookieSent) > 0);
  world.deliver_all();
  CHECK(world.a.state() == "established");
  CHECK(world.a.inbound_spis() == world.b.outbound_spis());
}

TEST_CASE("admission: half-open IKE SAs count for their network until they end, and after a restore") {
  FloodedWorld world;
  for (int i = 0; i < 40; ++i) world.request(IpAddress::v4(0xcb007100 + static_cast<uint32_t>(i)));
  const size_t share = (policy::AdmissionLimits().half_open_per_prefix + 1) / 2;
  CHECK(world.b.engine().half_open() == share);
  world.b.handover(world.now);
  CHECK(world.b.engine().half_open() == share);
  world.request(kFlooder);
  CHECK(world.b.engine().half_open() == share);
  world.now = world.now + 31s;
  world.b.engine().tick(world.now);
  world.b.drain(world.now);
  CHECK(world.b.engine().half_open() == 0);
  world.request(kFlooder);
  CHECK(world.b.engine().half_open() == 1);
}

TEST_CASE("admission: a set-up that only forgeries reach is given up, one in use bears them") {
  World world;
  world.initiate();
  world.deliver_one();
  world.deliver_one();
  REQUIRE(world.wire.size() == 1);
  Flight real = world.wire.front();  // IKE_AUTH
  Bytes forged = real.bytes;
  forged.back() ^= 1;
  const uint32_t most = policy::AdmissionLimits().decrypt_failures_max;
  for (uint32_t i = 0; i + 1 < most; ++i) world.b.engine().receive(world.now, real.path, forged);
  CHECK(world.b.engine().ike_sas().size() == 1);
  SUBCASE("one forgery less than the limit: the real one is still accepted, and then any number") {
    world.deliver_all();
    CHECK(world.is_up_and_equal());
    world.a.engine().check_liveness(world.now, world.a.ike());
    world.a.drain(world.now);
    auto [path, bytes] = world.a.outbox.front();
    bytes.back() ^= 1;
    for (uint32_t i = 0; i < 10 * most; ++i) world.b.engine().receive(world.now, real.path, bytes);
    CHECK(world.b.state() == "established");
  }
  SUBCASE("at the limit it is given up") {
    world.b.engine().receive(world.now, real.path, forged);
    world.b.drain(world.now);
    CHECK(world.b.state() == "none");
    CHECK(world.b.reported(Reason::kIkeDecryptLimit));
  }
}

TEST_CASE("admission: a peer that asks for rekeys too fast is put off, and gets them in the end") {
  World world;
  world.initiate();
  world.deliver_all();
  for (int i = 0; i < 30; ++i) {
    world.a.engine().rekey_ike(world.now, world.a.ike(), Reason::kRekeyTime);
    world.deliver_all();
  }
  CHECK(world.b.engine().counters().get(Reason::kIkeRekeyRate) == 0);  // each new IKE SA begins with a full bucket
  for (int i = 0; i < 30; ++i) {
    world.a.engine().rekey_child(world.now, world.a.ike(), ChildId(world.a.inbound.rbegin()->first),
                                 Reason::kRekeyTime);
    for (const auto& [spi, sa] : world.a.inbound)
      world.a.engine().rekey_child(world.now, world.a.ike(), ChildId(spi), Reason::kRekeyTime);
    world.deliver_all();
  }
  CHECK(world.b.engine().counters().get(Reason::kIkeRekeyRate) > 0);
  CHECK(world.settles());
}
