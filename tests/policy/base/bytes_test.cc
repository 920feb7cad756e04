#include "policy/base/bytes.h"

#include <doctest/doctest.h>

using namespace ipsec;

TEST_CASE("reader: big-endian numbers come out in order and the rest is what is left") {
  const Bytes input = *from_hex("01 0203 04050607 08090a0b0c0d0e0f ff");
  ByteReader reader{ByteView(input)};

  CHECK(reader.u8().value() == 1);
  CHECK(reader.u16().value() == 0x0203);
  CHECK(reader.u32().value() == 0x04050607);
  CHECK(reader.u64().value() == 0x08090a0b0c0d0e0f);
  CHECK(reader.rest().size() == 1);
  CHECK(reader.done());
}

TEST_CASE("reader: a field that does not fit is an error and takes nothing") {
  const Bytes two = {1, 2};
  ByteReader reader{ByteView(two)};

  auto failed = reader.u32();

  CHECK(failed.error().reason() == Reason::kTruncated);
  CHECK(failed.error().detail() == "need 4 bytes, have 2");
  CHECK(reader.u16().value() == 0x0102);
}

TEST_CASE("reader: trailing bytes are an error") {
  const Bytes two = {1, 2};
  CHECK(ByteReader{ByteView(two)}.expect_done().error().reason() == Reason::kMalformed);
}

TEST_CASE("printable: control characters, quotes and bytes above ASCII are escaped and long text is cut") {
  CHECK(printable(as_bytes("a\nb\"\\\x80")) == "a\\x0ab\\x22\\x5c\\x80");
  CHECK(printable(as_bytes("abcdef"), 3) == "abc...");
}

TEST_CASE("hex: digits of both cases are read, anything else is an error that says where") {
  CHECK(*from_hex("0aFF") == Bytes{0x0a, 0xff});
  CHECK(from_hex("0g").error().detail() == "not hexadecimal at character 0");
  CHECK(!from_hex("abc").ok());
}
