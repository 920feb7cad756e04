#include "ike/limits.h"
#include "tests/ike/wire/wire_test_support.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

TEST_CASE("notify: a golden status notification is read and written") {
  // SET_WINDOW_SIZE of RFC 7634 appendix B.
  const NotifyPayload payload = parsed<NotifyPayload>("00 00 4001 0000000a").value();

  CHECK(payload.type == NotifyType::kSetWindowSize);
  CHECK(payload.protocol == policy::Protocol::kNone);
  CHECK(payload.spi.empty());
  CHECK(payload.data == Bytes{0, 0, 0, 10});
  CHECK(written(payload) == "000040010000000a");
  check_truncation<NotifyPayload>("00 00 4001 0000000a", 4);
}

TEST_CASE("notify: the SPI of a REKEY_SA is read and written with its protocol") {
  const NotifyPayload payload = parsed<NotifyPayload>("03 04 4009 c1c2c3c4").value();

  CHECK(payload.type == NotifyType::kRekeySa);
  CHECK(payload.protocol == policy::Protocol::kEsp);
  CHECK(payload.spi == Bytes{0xc1, 0xc2, 0xc3, 0xc4});
  CHECK(written(payload) == "03044009c1c2c3c4");
  check_truncation<NotifyPayload>("03 04 4009 c1c2c3c4", 8);
}

TEST_CASE("notify: without an SPI the protocol is ignored and sent as zero") {
  LEDGER("3.10-02");
  const NotifyPayload payload = parsed<NotifyPayload>("01 00 4004 aa").value();
  CHECK(payload.protocol == policy::Protocol::kNone);
  CHECK(written(NotifyPayload{
            .protocol = policy::Protocol::kIke, .type = NotifyType::kCookie, .spi = {}, .data = {}}) == "00004006");
}

TEST_CASE("notify: types that are not known are kept") {
  CHECK(parsed<NotifyPayload>("00 00 a411").value().type == NotifyType{42001});
}

TEST_CASE("notify: each error names its field") {
  CHECK(refused<NotifyPayload>("") == "truncated | protocol: need 1 bytes, have 0");
  CHECK(refused<NotifyPayload>("00") == "truncated | SPI size: need 1 bytes, have 0");
  CHECK(refused<NotifyPayload>("000040") == "truncated | notify message type: need 2 bytes, have 1");
  CHECK(refused<NotifyPayload>("03044009c1") == "truncated | SPI: need 4 bytes, have 1");
}

TEST_CASE("notify: data beyond the limit is left out, and said so") {
  CHECK(!parsed<NotifyPayload>(Bytes(4 + kNotifyBytesMax)).value().left_out);
  const NotifyPayload cut = parsed<NotifyPayload>(Bytes(5 + kNotifyBytesMax)).value();
  CHECK(cut.left_out);
  CHECK(cut.data.size() == kNotifyBytesMax);
}

TEST_CASE("notify: an SPI that its protocol does not have is kept, and told to whoever counts") {
  CHECK(parsed<NotifyPayload>("03 04 4009 c1c2c3c4").value().oddity() == Reason::kNone);
  CHECK(parsed<NotifyPayload>("02 04 000b c1c2c3c4").value().oddity() == Reason::kNone);
  CHECK(parsed<NotifyPayload>("05 00 4000").value().oddity() == Reason::kNone);  // without an SPI nobody looks
  CHECK(parsed<NotifyPayload>("01 08 0007 0102030405060708").value().oddity() == Reason::kIkeSpiSize);
  CHECK(parsed<NotifyPayload>("03 02 4009 c1c2").value().oddity() == Reason::kIkeSpiSize);
  CHECK(parsed<NotifyPayload>("05 04 4009 c1c2c3c4").value().oddity() == Reason::kIkeProtocolId);
  CHECK(parsed<NotifyPayload>("00 04 4009 c1c2c3c4").value().oddity() == Reason::kIkeProtocolId);
}

TEST_CASE("delete: of child SAs lists their SPIs") {
  LEDGER("3.11-01", "3.11-03");
  const DeletePayload payload = parsed<DeletePayload>("03 04 0002 c1c2c3c4 d1d2d3d4").value();

  CHECK(payload.protocol == policy::Protocol::kEsp);
  CHECK(payload.spis == std::vector<uint32_t>{0xc1c2c3c4, 0xd1d2d3d4});
  CHECK(written(payload) == "03040002c1c2c3c4d1d2d3d4");
  check_truncation<DeletePayload>("03 04 0002 c1c2c3c4 d1d2d3d4", 12);
}

TEST_CASE("delete: a peer may name as many SPIs as a message holds") {
  std::string text = "03 04 012c";
  for (int i = 0; i < 300; ++i) text += " c1c2c3c4";

  CHECK(parsed<DeletePayload>(text).value().spis.size() == 300);
}

TEST_CASE("delete: of the IKE SA has no SPI") {
  LEDGER("3.11-03");
  CHECK(written(parsed<DeletePayload>("01 00 0000").value()) == "01000000");
  CHECK(written(DeletePayload{}) == "01000000");
}

TEST_CASE("delete: each error names its field") {
  LEDGER("3.11-02", "3.11-03");
  CHECK(refused<DeletePayload>("") == "truncated | protocol: need 1 bytes, have 0");
  CHECK(refused<DeletePayload>("03") == "truncated | SPI size: need 1 bytes, have 0");
  CHECK(refused<DeletePayload>("0304 00") == "truncated | number of SPIs: need 2 bytes, have 1");
  CHECK(refused<DeletePayload>("0404 0001 00") == "truncated | SPIs: need 4 bytes, have 1");
  CHECK(refused<DeletePayload>("0408 0001 0000000000000001 00") == "malformed | after the SPIs: 1 bytes too many");
  CHECK(refused<DeletePayload>("0304 ffff") == "truncated | SPI 1: need 4 bytes, have 0");
  CHECK(refused<DeletePayload>("0304 0002 00000001 00") == "truncated | SPI 2: need 4 bytes, have 1");
  CHECK(refused<DeletePayload>("0304 0001 00000001 00") == "malformed | after the SPIs: 1 bytes too many");
}

TEST_CASE("delete: what names nothing is read, names nothing, and says why") {
  const auto oddity = [](std::string_view hex) {
    const DeletePayload payload = parsed<DeletePayload>(hex).value();
    CHECK(payload.spis.empty());
    return payload.oddity;
  };
  CHECK(oddity("0004 0001 00000001") == Reason::kIkeProtocolId);
  CHECK(oddity("0404 0000") == Reason::kIkeProtocolId);
  CHECK(oddity("0308 0001 0000000000000001") == Reason::kIkeSpiSize);
  CHECK(oddity("0300 0001") == Reason::kIkeSpiSize);
  CHECK(oddity("0108 0001 0000000000000001") == Reason::kIkeSpiSize);
  CHECK(oddity("0100 0001") == Reason::kIkeSpiSize);
  CHECK(oddity("0100 0000") == Reason::kNone);
}

TEST_CASE("configuration: a request with an empty attribute is read and written; the reserved bit is ignored") {
  LEDGER("3.15-01", "3.15.1-01");
  const ConfigPayload payload = parsed<ConfigPayload>("01 ffffff 8001 0000 0003 0004 08080808").value();

  CHECK(payload.type == ConfigPayload::Type::kRequest);
  REQUIRE(payload.attributes.size() == 2);
  CHECK(payload.attributes[0].type == 1);
  CHECK(payload.attributes[1].value == Bytes{8, 8, 8, 8});
  CHECK(written(payload) == "01000000000100000003000408080808");
}

TEST_CASE("configuration: cut at any byte it is an error, except between attributes") {
  const Bytes whole = bytes_of("02 000000 0001 0004 0a000001 0003 0004 08080808");
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    CAPTURE(bytes);
    CHECK(parsed<ConfigPayload>(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes))).ok() ==
          (bytes == 4 || bytes == 12));
  }
}

TEST_CASE("configuration: attributes that RFC 7296 does not define are kept and counted") {
  // Address (1), 120, SUPPORTED_ATTRIBUTES (14), 5, subnet (15), 16.
  const auto payload =
      parsed<ConfigPayload>("01000000 0001 0000 0078 0000 000e 0000 0005 0000 000f 0000 8010 0000").value();
  CHECK(payload.attributes.size() == 6);
  CHECK(payload.unknown_attributes() == 3);
}

TEST_CASE("configuration: each error names its field") {
  CHECK(refused<ConfigPayload>("") == "truncated | CFG type: need 1 bytes, have 0");
  CHECK(refused<ConfigPayload>("0100") == "truncated | reserved: need 3 bytes, have 1");
  CHECK(refused<ConfigPayload>("01000000 00") == "truncated | attribute 1: type: need 2 bytes, have 1");
  CHECK(refused<ConfigPayload>("01000000 00010000 000100") == "truncated | attribute 2: length: need 2 bytes, have 1");
  CHECK(refused<ConfigPayload>("01000000 0001000201") == "truncated | attribute 1: value: need 2 bytes, have 1");
}

TEST_CASE("configuration: a type that is not known is kept, so that the payload can be passed over") {
  for (const char* type : {"00000000", "05000000", "ff000000"}) {
    CHECK(!parsed<ConfigPayload>(type).value().has_known_type());
  }
  for (const char* type : {"01000000", "04000000"}) CHECK(parsed<ConfigPayload>(type).value().has_known_type());
}

TEST_CASE("configuration: attributes beyond the limit are left out, and their lengths checked all the same") {
  Bytes many(4 + 4 * kConfigAttributesMax);
  many[0] = 1;
  CHECK(parsed<ConfigPayload>(many).value().left_out == 0);
  many.resize(many.size() + 4);
  CHECK(parsed<ConfigPayload>(many).value().left_out == 1);
  CHECK(parsed<ConfigPayload>(many).value().attributes.size() == kConfigAttributesMax);
  many.resize(many.size() + 3);
  CHECK(refused<ConfigPayload>(many) == "truncated | attribute beyond 64: length: need 2 bytes, have 1");
}
