#include "ike/wire/payloads.h"

#include "ike/limits.h"
#include "tests/ike/wire/wire_test_support.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

namespace {

constexpr PayloadType kUnknownType{200};

std::string refused_chain(PayloadType first, std::string_view hex) {
  auto result = parse_payloads(first, bytes_of(hex));
  if (result.ok()) return "accepted";
  return std::string(code(result.error().reason())) + " | " + result.error().detail();
}

Payloads accepted(PayloadType first, std::string_view hex) {
  auto result = parse_payloads(first, bytes_of(hex));
  REQUIRE_MESSAGE(result.ok(), result.error().detail());
  return std::move(result).value();
}

size_t skipped(const Payloads& payloads) {
  for (const PassedOver& each : payloads.passed_over)
    if (each.reason == Reason::kIkeSkipped) return each.times;
  return 0;
}

/// One payload of each kind.
struct Chain {
  PayloadWriter writer;
  Chain() {
    SaPayload sa;
    sa.proposals.push_back(
        {.number = 1,
         .spi = {},
         .proposal = {.protocol = policy::Protocol::kIke,
                      .transforms = {{policy::TransformType::kEncryption, policy::kEncrAesGcm16, 256}}}});
    TsPayload ts;
    ts.selectors.push_back({.addresses = IpRange::of(IpPrefix::all(Family::kIpv4))});
    const IdPayload id = IdPayload::of({.type = policy::IdType::kKeyId, .data = {1}});
    writer.add(sa);
    writer.add(KePayload{.group = 31, .public_value = Bytes(32, 1)});
    writer.add(NoncePayload{.nonce = Bytes(32, 2)});
    writer.add(PayloadType::kIdI, id);
    writer.add(PayloadType::kIdR, id);
    writer.add(CertPayload{.encoding = 4, .data = {0x30}});
    writer.add(CertReqPayload{.encoding = 4, .authorities = Bytes(20, 3)});
    writer.add(AuthPayload{.method = AuthMethod::kSharedKey, .data = Bytes(32, 4)});
    writer.add(PayloadType::kTsI, ts);
    writer.add(PayloadType::kTsR, ts);
    writer.add(NotifyPayload{.type = NotifyType::kInitialContact, .spi = {}, .data = {}});
    writer.add(NotifyPayload{.type = NotifyType::kTsUnacceptable, .spi = {}, .data = {}});
    writer.add(DeletePayload{});
    writer.add(VendorIdPayload{.id = {5}});
    writer.add(ConfigPayload{.attributes = {{.type = 1, .value = {}}}});
    writer.add(EapPayload{.code = 1, .identifier = 1, .data = {1}});
  }
};

}  // namespace

TEST_CASE("payloads: a chain with one payload of each kind is written and read back") {
  LEDGER("3.2-05", "4-02");
  const Chain chain;

  const Payloads payloads = parse_payloads(chain.writer.first(), chain.writer.view()).value();

  CHECK(chain.writer.first() == PayloadType::kSa);
  for (PayloadType type :
       {PayloadType::kSa, PayloadType::kKe, PayloadType::kIdI, PayloadType::kIdR, PayloadType::kCert,
        PayloadType::kCertReq, PayloadType::kAuth, PayloadType::kNonce, PayloadType::kNotify, PayloadType::kDelete,
        PayloadType::kVendorId, PayloadType::kTsI, PayloadType::kTsR, PayloadType::kConfig, PayloadType::kEap}) {
    CAPTURE(name(type));
    CHECK(payloads.has(type));
  }
  CHECK(!payloads.has(PayloadType::kEncrypted));
  CHECK(!payloads.has(PayloadType::kNone));
  CHECK(!payloads.has(PayloadType::kFragment));
  CHECK(payloads.ke->group == 31);
  CHECK(payloads.auth->data == Bytes(32, 4));
  CHECK(payloads.unknown == 0);
  CHECK(payloads.notify(NotifyType::kInitialContact) != nullptr);
  CHECK(payloads.notify(NotifyType::kCookie) == nullptr);
  CHECK(payloads.first_error()->type == NotifyType::kTsUnacceptable);
}

TEST_CASE("payloads: a chain cut at any byte is an error with a detail") {
  const Chain chain;
  for (size_t bytes = 0; bytes < chain.writer.view().size(); ++bytes) {
    CAPTURE(bytes);
    auto result = parse_payloads(chain.writer.first(), chain.writer.view().first(bytes));
    REQUIRE(!result.ok());
    CHECK(result.error().reason() == Reason::kTruncated);
    CHECK(!result.error().detail().empty());
  }
}

TEST_CASE("payloads: any change of a valid chain is accepted or refused with a known reason, and never crashes") {
  const Chain chain;
  SeededRandom random(20);
  size_t accepted_count = 0;
  for (int i = 0; i < 200000; ++i) {
    Bytes changed(chain.writer.view().begin(), chain.writer.view().end());
    const uint64_t changes = 1 + random.below(4);
    for (uint64_t k = 0; k < changes; ++k) changed[random.below(changed.size())] = static_cast<uint8_t>(random.u32());
    if (random.below(4) == 0) changed.resize(random.below(changed.size() + 1));

    auto result = parse_payloads(chain.writer.first(), changed);

    if (result.ok()) {
      ++accepted_count;
      continue;
    }
    const Reason reason = result.error().reason();
    REQUIRE((reason == Reason::kMalformed || reason == Reason::kTruncated || reason == Reason::kIkeCriticalPayload ||
             reason == Reason::kIkePayloadDuplicate || reason == Reason::kLimitReached ||
             reason == Reason::kIkeTooManyPayloads || reason == Reason::kIkeNonceSize ||
             reason == Reason::kSelectorsEmpty));
  }
  CHECK(accepted_count > 1000);
  CHECK(accepted_count < 199000);
}

TEST_CASE("payloads: random bytes never crash the parser") {
  SeededRandom random(21);
  for (int i = 0; i < 20000; ++i) {
    Bytes noise(random.below(300));
    random.fill(noise);
    const auto first = PayloadType{static_cast<uint8_t>(33 + random.below(17))};
    static_cast<void>(parse_payloads(first, noise).ok());
  }
}

TEST_CASE("payloads: no payload at all is a valid chain, bytes without one are not") {
  CHECK(parse_payloads(PayloadType::kNone, {}).ok());
  CHECK(refused_chain(PayloadType::kNone, "00") == "malformed | after the last payload: 1 bytes too many");
  CHECK(refused_chain(PayloadType::kVendorId, "00000004 00") == "malformed | after the last payload: 1 bytes too many");
}

TEST_CASE("payloads: each error of the generic header names its field") {
  CHECK(refused_chain(PayloadType::kSa, "") == "truncated | SA payload: next payload: need 1 bytes, have 0");
  CHECK(refused_chain(PayloadType::kSa, "00") == "truncated | SA payload: flags: need 1 bytes, have 0");
  CHECK(refused_chain(PayloadType::kSa, "000000") == "truncated | SA payload: length: need 2 bytes, have 1");
  CHECK(refused_chain(PayloadType::kSa, "00000003") == "malformed | SA payload: length: 3");
  CHECK(refused_chain(PayloadType::kSa, "00000006 00") == "truncated | SA payload: need 2 bytes, have 1");
}

TEST_CASE("payloads: an error inside a payload carries the whole path") {
  CHECK(refused_chain(PayloadType::kSa, "00000014 00000010 01010001 00000007 0400001f") ==
        "malformed | SA payload: proposal 1: transform 1: length: 7");
  CHECK(refused_chain(PayloadType::kVendorId, "28000004 00000008 01020304") ==
        "ike-nonce-size | Nonce payload: nonce data: 4 bytes, not 16 to 256");
}

TEST_CASE("payloads: an unknown payload that is not critical is skipped and counted") {
  LEDGER("2.5-07", "2.5-09", "4-02");
  const Payloads payloads = accepted(kUnknownType, "2b000006aabb 35000004 00000005cc");
  CHECK(payloads.unknown == 2);
  CHECK(payloads.vendor_ids.size() == 1);
}

TEST_CASE("payloads: an unknown payload that is critical is an error that begins with its type") {
  LEDGER("2.5-08", "4-03");
  CHECK(refused_chain(kUnknownType, "00800004") == "ike-critical-payload | 200: a payload type that is not known here");
  CHECK(refused_chain(PayloadType::kVendorId, "35000004 00800004") ==
        "ike-critical-payload | 53: a payload type that is not known here");
}

TEST_CASE("payloads: the critical flag of a known payload is ignored") {
  LEDGER("3.2-03", "3.2-05");
  CHECK(accepted(PayloadType::kVendorId, "00ff0004").vendor_ids.size() == 1);
}

TEST_CASE("payloads: what may occur once is an error the second time") {
  const std::string_view nonce = "000102030405060708090a0b0c0d0e0f";
  CHECK(refused_chain(PayloadType::kNonce, "28000014" + std::string(nonce) + "00000014" + std::string(nonce)) ==
        "ike-payload-duplicate | Nonce payload: occurs twice");
}

TEST_CASE("payloads: what is only to be ignored is skipped beyond its limit, and what stands behind it is read") {
  const auto with = [](const auto& payload, size_t count) {
    PayloadWriter writer;
    for (size_t i = 0; i < count; ++i) writer.add(payload);
    writer.add(KePayload{.group = 31, .public_value = {1}});
    auto parsed = parse_payloads(writer.first(), writer.view());
    REQUIRE_MESSAGE(parsed.ok(), parsed.error().detail());
    CHECK(parsed->ke);
    return std::move(*parsed);
  };
  const CertPayload cert{.encoding = 4, .data = {1}};
  const CertReqPayload request{.encoding = 4, .authorities = Bytes(20)};
  const NotifyPayload known{.type = NotifyType::kInitialContact}, unknown{.type = NotifyType{42001}};
  CHECK(with(cert, kCertificatesMax + 3).certs.size() == kCertificatesMax);
  CHECK(skipped(with(cert, kCertificatesMax + 3)) == 3);
  CHECK(with(request, 2000).cert_requests.size() == kCertificatesMax);
  CHECK(with(VendorIdPayload{}, 2000).vendor_ids.size() == kPayloadsMax);
  CHECK(skipped(with(VendorIdPayload{}, kPayloadsMax)) == 0);
  CHECK(skipped(with(VendorIdPayload{}, 2000)) == 2000 - kPayloadsMax);
  for (const NotifyPayload& each : {known, unknown}) {
    CHECK(with(each, 2000).notifies.size() == kPayloadsMax);
    CHECK(skipped(with(each, 2000)) == 2000 - kPayloadsMax);
  }
}

TEST_CASE("payloads: a notification that matters is found behind any number of others") {
  for (const NotifyType filling : {NotifyType{42001}, NotifyType::kNatDetectionSourceIp}) {
    PayloadWriter writer;
    for (size_t i = 0; i < 1000; ++i) writer.add(NotifyPayload{.type = filling});
    writer.add(NotifyPayload{.type = NotifyType{8190}});
    writer.add(NotifyPayload{.type = NotifyType{8191}});
    writer.add(NotifyPayload{.type = NotifyType::kUseTransportMode});
    writer.add(NotifyPayload{.type = NotifyType::kTsUnacceptable});

    const Payloads payloads = parse_payloads(writer.first(), writer.view()).value();

    CHECK(payloads.first_error()->type == NotifyType{8190});
    CHECK(payloads.notify(NotifyType::kUseTransportMode) != nullptr);
    CHECK(payloads.notify(NotifyType::kTsUnacceptable) != nullptr);
    CHECK(payloads.notifies.size() == kPayloadsMax + 3);
  }
}

TEST_CASE("payloads: the walk over a message ends after a number of payloads that no peer sends") {
  PayloadWriter writer;
  for (size_t i = 0; i <= kPayloadsWalkedMax; ++i) writer.add(VendorIdPayload{});
  CHECK(parse_payloads(writer.first(), writer.view()).error().reason() == Reason::kIkeTooManyPayloads);
}

TEST_CASE("payloads: of Deletes none that names something is skipped, so there is a limit to them") {
  const auto deletes = [](const DeletePayload& payload, size_t count) {
    PayloadWriter writer;
    for (size_t i = 0; i < count; ++i) writer.add(payload);
    return parse_payloads(writer.first(), writer.view());
  };
  const DeletePayload child{.protocol = policy::Protocol::kEsp, .spis = {1}};
  CHECK(deletes(child, kPayloadsMax).value().deletes.size() == kPayloadsMax);
  CHECK(deletes(child, kPayloadsMax + 1).error().reason() == Reason::kIkeTooManyPayloads);
  CHECK(deletes({.protocol = policy::Protocol{4}}, kPayloadsMax + 1).value().deletes.empty());
}

TEST_CASE("payloads: configuration payloads of unknown types, second ones and second EAP payloads are skipped") {
  const Payloads payloads = accepted(PayloadType::kConfig,
                                     "2f 00 0008 05000000"
                                     "2f 00 0008 02000000"
                                     "30 00 0008 01000000"
                                     "30 00 0009 0107000501"
                                     "00 00 0009 0207000501");
  CHECK(payloads.config->type == ConfigPayload::Type::kReply);
  CHECK(payloads.eap->code == 1);
  CHECK(skipped(payloads) == 3);
}

TEST_CASE("payloads: the encrypted payload is found by its offset, and its next payload is the first one inside") {
  const Payloads payloads = accepted(PayloadType::kVendorId, "2e000005aa 29000008deadbeef");
  REQUIRE(payloads.encrypted.has_value());
  CHECK(payloads.encrypted->offset == 5);
  CHECK(payloads.encrypted->inner == PayloadType::kNotify);
  CHECK(payloads.has(PayloadType::kEncrypted));
}

TEST_CASE("payloads: the encrypted payload ends with the message") {
  LEDGER("3.1-01", "3.14-01");
  CHECK(refused_chain(PayloadType::kEncrypted, "29000008deadbeef00") ==
        "malformed | SK payload: after it: 1 bytes too many");
  CHECK(refused_chain(PayloadType::kEncrypted, "29000009deadbeef") == "truncated | SK payload: need 5 bytes, have 4");
}

TEST_CASE("payloads: an empty writer has no first payload") {
  CHECK(PayloadWriter().first() == PayloadType::kNone);
  CHECK(PayloadWriter().view().empty());
}

TEST_CASE("payloads: what is odd and harmless is passed over, each kind once with how often it came") {
  // V, critical; V, critical; N of protocol 5; N for the IKE SA with an SPI; CERT of encoding 22; CP with two unknown
  // attributes.
  const Payloads payloads = accepted(PayloadType::kVendorId,
                                     "2b 80 0004"
                                     "29 80 0004"
                                     "29 00 000c 05 04 4009 c1c2c3c4"
                                     "25 00 0010 01 08 4009 0102030405060708"
                                     "2f 00 0006 16 30"
                                     "00 00 0010 01000000 0078 0000 0079 0000");
  const auto times = [&](Reason reason) {
    size_t sum = 0;
    for (const PassedOver& each : payloads.passed_over) sum += each.reason == reason ? each.times : 0;
    return sum;
  };
  CHECK(payloads.passed_over.size() == 5);
  CHECK(times(Reason::kIkeCriticalIgnored) == 2);
  CHECK(times(Reason::kIkeProtocolId) == 1);
  CHECK(times(Reason::kIkeSpiSize) == 1);
  CHECK(times(Reason::kCertificateEncoding) == 1);
  CHECK(times(Reason::kIkeAttributeIgnored) == 2);
  CHECK(payloads.notifies.size() == 2);
  CHECK(payloads.certs.size() == 1);
}

TEST_CASE("payloads: nothing is odd in a chain with one of each payload") {
  const Chain chain;
  const auto payloads = parse_payloads(chain.writer.first(), chain.writer.view());
  REQUIRE(payloads.ok());
  CHECK(payloads->passed_over.empty());
}

TEST_CASE("payloads: a critical flag counts as ignored on the encrypted payload too, and never on unknown ones") {
  CHECK(accepted(PayloadType::kEncrypted, "00 80 0008 01020304").passed_over.size() == 1);
  CHECK(accepted(kUnknownType, "00 00 0004").passed_over.empty());
}
