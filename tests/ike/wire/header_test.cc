#include "ike/wire/header.h"

#include "tests/ike/wire/wire_test_support.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

namespace {
constexpr std::string_view kGolden = "c0c1c2c3c4c5c6c7 d0d1d2d3d4d5d6d7 2e 20 25 28 00000009 00000045";
}

TEST_CASE("header: every field of a golden header is read and written") {
  const Bytes datagram = bytes_of(kGolden);

  const Header header = Header::parse(datagram).value();

  CHECK(header.initiator_spi == IkeSpi(0xc0c1c2c3c4c5c6c7));
  CHECK(header.responder_spi == IkeSpi(0xd0d1d2d3d4d5d6d7));
  CHECK(header.next_payload == PayloadType::kEncrypted);
  CHECK(header.major_version() == 2);
  CHECK(header.exchange == Exchange::kInformational);
  CHECK(header.from_initiator());
  CHECK(header.is_response());
  CHECK(header.message_id == 9);
  CHECK(header.length == 69);
  CHECK(written(header) == to_hex(datagram));
}

TEST_CASE("header: what follows the header is not looked at") {
  Bytes datagram = bytes_of(kGolden);
  datagram.resize(1000);
  CHECK(Header::parse(datagram).ok());
}

TEST_CASE("header: a datagram cut at any byte is too short") {
  const Bytes datagram = bytes_of(kGolden);
  for (size_t bytes = 0; bytes < datagram.size(); ++bytes) {
    auto result = Header::parse(ByteView(datagram).first(bytes));
    REQUIRE(!result.ok());
    CHECK(result.error().reason() == Reason::kIkeShort);
    CHECK(result.error().detail() == "IKE header: need 28 bytes, have " + std::to_string(bytes));
  }
}

TEST_CASE("header: versions, exchanges and payload types that are not known are kept for the caller to judge") {
  const Header header =
      Header::parse(bytes_of("0000000000000001 0000000000000000 ff 31 f3 00 ffffffff 00000000")).value();
  CHECK(header.next_payload == PayloadType{255});
  CHECK(header.major_version() == 3);
  CHECK(name(header.exchange) == "exchange-243");
  CHECK(!header.from_initiator());
  CHECK(!header.is_response());
}
