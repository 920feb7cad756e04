#include "ike/sa/cookie.h"

#include <doctest/doctest.h>

#include "ike/limits.h"
#include "policy/base/random.h"
#include "tests/ike/sa/allocations.h"

using namespace ipsec;
using namespace ipsec::ike;

namespace {

constexpr Instant kStart{1000s};

struct Asked {
  Bytes nonce = Bytes(32, 7);
  Endpoint remote{IpAddress::v4(0xc0000201), 500};
  IkeSpi spi_i{0x1122334455667788};
  CookieJar::Request request() const { return {nonce, remote, spi_i}; }
};

Bytes ask(CookieJar& jar, Instant now, const Asked& asked) {
  const auto cookie = *jar.judge(now, {}, asked.request());
  REQUIRE(cookie);
  return {cookie->begin(), cookie->end()};
}

bool good(CookieJar& jar, Instant now, ByteView presented, const Asked& asked) {
  return !jar.judge(now, presented, asked.request()).value();
}

}  // namespace

TEST_CASE("cookie: the one that was asked for is good, as often as it comes, and asked for again it is the same") {
  SeededRandom random(1);
  CookieJar jar(random);
  const Asked asked;
  const Bytes cookie = ask(jar, kStart, asked);
  CHECK(cookie.size() <= kCookieBytesMax);
  CHECK(good(jar, kStart, cookie, asked));
  CHECK(good(jar, kStart + 1s, cookie, asked));
  CHECK(ask(jar, kStart + 1s, asked) == cookie);
}

TEST_CASE("cookie: it is bound to nonce, address, port and SPI") {
  SeededRandom random(2);
  CookieJar jar(random);
  const Asked asked;
  const Bytes cookie = ask(jar, kStart, asked);

  Asked nonce, address, family, port, spi;
  nonce.nonce[31] ^= 1;
  address.remote.address = IpAddress::v4(0xc0000202);
  family.remote.address = *IpAddress::parse("c000:201::");
  port.remote.port = 501;
  spi.spi_i = IkeSpi(0x1122334455667789);
  for (const Asked& other : {nonce, address, family, port, spi}) CHECK(!good(jar, kStart, cookie, other));
}

TEST_CASE("cookie: cut anywhere, longer, or with any bit changed it is not good") {
  SeededRandom random(3);
  CookieJar jar(random);
  const Asked asked;
  const Bytes cookie = ask(jar, kStart, asked);
  for (size_t bytes = 0; bytes < cookie.size(); ++bytes)
    CHECK(!good(jar, kStart, ByteView(cookie).first(bytes), asked));
  Bytes longer = cookie;
  longer.push_back(0);
  CHECK(!good(jar, kStart, longer, asked));
  for (size_t bit = 0; bit < cookie.size() * 8; ++bit) {
    Bytes changed = cookie;
    changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    CHECK(!good(jar, kStart, changed, asked));
  }
}

TEST_CASE("cookie: after one change of the secret it is still good, after two no more") {
  SeededRandom random(4);
  CookieJar jar(random);
  const Asked asked;
  const Bytes cookie = ask(jar, kStart, asked);

  CHECK(good(jar, kStart + kCookieSecretLife - 1ns, cookie, asked));
  CHECK(good(jar, kStart + kCookieSecretLife, cookie, asked));
  CHECK(ask(jar, kStart + kCookieSecretLife, asked) != cookie);
  CHECK(good(jar, kStart + 2 * kCookieSecretLife - 1ns, cookie, asked));
  CHECK(!good(jar, kStart + 2 * kCookieSecretLife, cookie, asked));
}

TEST_CASE("cookie: after a silence of two lives nothing old is good") {
  SeededRandom random(5);
  CookieJar jar(random);
  const Asked asked;
  const Bytes first = ask(jar, kStart, asked);
  const Bytes second = ask(jar, kStart + kCookieSecretLife, asked);
  CHECK(!good(jar, kStart + 3 * kCookieSecretLife, second, asked));
  CHECK(!good(jar, kStart + 3 * kCookieSecretLife, first, asked));
  CHECK(good(jar, kStart + 3 * kCookieSecretLife, ask(jar, kStart + 3 * kCookieSecretLife, asked), asked));
}

TEST_CASE("cookie: the version of the secret goes round after 256 changes without mixing anything up") {
  SeededRandom random(6);
  CookieJar jar(random);
  const Asked asked;
  Bytes before = ask(jar, kStart, asked);
  for (int change = 1; change <= 600; ++change) {
    const Instant now = kStart + change * kCookieSecretLife;
    const Bytes cookie = ask(jar, now, asked);
    CHECK(cookie != before);
    CHECK(good(jar, now, before, asked));
    CHECK(good(jar, now, cookie, asked));
    before = cookie;
  }
}

TEST_CASE("cookie: two engines do not take each other's") {
  SeededRandom random(7), other_random(8);
  CookieJar jar(random), other(other_random);
  const Asked asked;
  CHECK(!good(other, kStart, ask(jar, kStart, asked), asked));
}

TEST_CASE("hostile: judging cookies takes no memory") {
  SeededRandom random(9);
  CookieJar jar(random);
  const Asked asked;
  const Bytes cookie = ask(jar, kStart, asked);
  Bytes wrong = cookie;
  wrong[9] ^= 1;
  const size_t before = testing::allocations();
  for (int i = 0; i < 1000; ++i) {
    CHECK_UNARY(jar.judge(kStart, {}, asked.request()).ok());
    CHECK_UNARY(jar.judge(kStart, cookie, asked.request()).ok());
    CHECK_UNARY(jar.judge(kStart, wrong, asked.request()).ok());
  }
  CHECK(testing::allocations() == before);
}
