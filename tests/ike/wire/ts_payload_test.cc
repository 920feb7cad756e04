#include "tests/ike/wire/wire_test_support.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

namespace {

constexpr std::string_view kIpv4 = "07 06 0010 01bb 01bb 0a010000 0a0100ff";
constexpr std::string_view kIpv6 =
    "08 00 0028 0000 ffff 20010db8000000000000000000000000 20010db8ffffffffffffffffffffffff";

std::string body(std::string_view count, std::initializer_list<std::string_view> selectors) {
  std::string hex = std::string(count) + "000000";
  for (std::string_view each : selectors) hex.append(each);
  return hex;
}

}  // namespace

TEST_CASE("TS: an IPv4 and an IPv6 range are read and written") {
  const std::string hex = body("02", {kIpv4, kIpv6});

  const TsPayload payload = parsed<TsPayload>(hex).value();

  REQUIRE(payload.selectors.size() == 2);
  CHECK(payload.selectors[0].protocol == 6);
  CHECK(payload.selectors[0].port_first == 443);
  CHECK(to_string(payload.selectors[0].addresses.first) == "10.1.0.0");
  CHECK(to_string(payload.selectors[0].addresses.last) == "10.1.0.255");
  CHECK(payload.selectors[1].any_port());
  CHECK(to_string(payload.selectors[1].addresses.first) == "2001:db8::");
  CHECK(written(payload) == to_hex(bytes_of(hex)));
  check_truncation<TsPayload>(hex, 60);
}

TEST_CASE("TS: OPAQUE ports, from 65535 to 0, are kept as they are") {
  LEDGER("3.13.1-04");
  const std::string hex = body("01", {"07 06 0010 ffff 0000 0a010000 0a0100ff"});
  CHECK(written(parsed<TsPayload>(hex).value()) == to_hex(bytes_of(hex)));
}

TEST_CASE("TS: selectors of types that are not known are skipped and counted") {
  const TsPayload payload = parsed<TsPayload>(body("03", {"0a 00 0006 abcd", kIpv4, "09 00 0004"})).value();
  CHECK(payload.selectors.size() == 1);
  CHECK(payload.skipped == 2);
}

TEST_CASE("TS: reserved bytes are ignored and sent as zero") {
  LEDGER("3.13-01");
  const TsPayload payload = parsed<TsPayload>("01abcdef" + std::string(kIpv4)).value();
  CHECK(written(payload).starts_with("01000000"));
}

TEST_CASE("TS: 255 selectors fit") {
  std::string hex = "ff000000";
  for (int i = 0; i < 255; ++i) hex.append(kIpv4);
  CHECK(parsed<TsPayload>(hex).value().selectors.size() == 255);
}

TEST_CASE("TS: each error names its field") {
  CHECK(refused<TsPayload>("") == "truncated | number of selectors: need 1 bytes, have 0");
  CHECK(refused<TsPayload>("0100") == "truncated | reserved: need 3 bytes, have 1");
  CHECK(refused<TsPayload>("00000000") == "selectors-empty | number of selectors: 0");
  CHECK(refused<TsPayload>(body("02", {kIpv4})) == "truncated | selector 2: type: need 1 bytes, have 0");
  CHECK(refused<TsPayload>(body("01", {"07"})) == "truncated | selector 1: protocol: need 1 bytes, have 0");
  CHECK(refused<TsPayload>(body("01", {"070600"})) == "truncated | selector 1: length: need 2 bytes, have 1");
  CHECK(refused<TsPayload>(body("01", {"07060003"})) == "malformed | selector 1: length: 3");
  CHECK(refused<TsPayload>(body("01", {"07060010 0000"})) == "truncated | selector 1: length: need 12 bytes, have 2");
  CHECK(refused<TsPayload>(body("01", {"07060005 00"})) == "truncated | selector 1: start port: need 2 bytes, have 1");
  CHECK(refused<TsPayload>(body("01", {"07060007 000000"})) ==
        "truncated | selector 1: end port: need 2 bytes, have 1");
  CHECK(refused<TsPayload>(body("01", {"07060009 0000ffff 0a"})) ==
        "truncated | selector 1: starting address: need 4 bytes, have 1");
  CHECK(refused<TsPayload>(body("01", {"0706000d 0000ffff 0a000000 0a"})) ==
        "truncated | selector 1: ending address: need 4 bytes, have 1");
  CHECK(refused<TsPayload>(body("01", {"07060011 0000ffff 0a000000 0a000001 00"})) ==
        "malformed | selector 1: after the addresses: 1 bytes too many");
  CHECK(refused<TsPayload>(body("01", {"07060010 0000ffff 0a000001 0a000000"})) ==
        "malformed | selector 1: ending address: before the starting address");
  CHECK(refused<TsPayload>(body("01", {"07060010 00020001 0a000000 0a000001"})) ==
        "malformed | selector 1: end port: 1 with start port 2");
  CHECK(refused<TsPayload>(body("01", {kIpv4, "00"})) == "malformed | after the selectors: 1 bytes too many");
}
