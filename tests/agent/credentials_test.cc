#include "agent/credentials.h"

#include <doctest/doctest.h>

#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

std::string key_of(std::string_view content) {
  auto secret = parse_psk(as_bytes(content));
  REQUIRE(secret.ok());
  return std::string(as_text(secret->expose()));
}

}  // namespace

TEST_CASE("credentials: text is the key as it stands, without its line's end and without a terminator") {
  LEDGER("2.15-01");
  for (size_t size : {size_t{8}, size_t{64}, size_t{200}}) {
    const std::string text(size, 'k');
    CHECK(key_of(text) == text);
    CHECK(key_of(text + "\r\n") == text);
  }
}

TEST_CASE("credentials: after 0x stand hexadecimal digits of any bytes") {
  LEDGER("2.15-02");
  CHECK(key_of("0x00010203fffefd00") == std::string("\0\1\2\3\xff\xfe\xfd\0", 8));
  CHECK_FALSE(parse_psk(as_bytes("0x0001020304050607zz")).ok());
}

TEST_CASE("credentials: a key of less than eight bytes, or of two lines, is refused") {
  CHECK_FALSE(parse_psk(as_bytes("short")).ok());
  CHECK_FALSE(parse_psk(as_bytes("first line\nsecond line")).ok());
}
