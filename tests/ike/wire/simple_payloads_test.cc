#include "ike/limits.h"
#include "tests/ike/wire/wire_test_support.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

TEST_CASE("KE: a golden body is read and written; reserved bytes are ignored and sent as zero") {
  LEDGER("2.5-06");
  const KePayload payload = parsed<KePayload>("001f beef 0102030405").value();

  CHECK(payload.group == 31);
  CHECK(payload.public_value == Bytes{1, 2, 3, 4, 5});
  CHECK(written(payload) == "001f00000102030405");
  check_truncation<KePayload>("001f 0000 0102030405", 5);
}

TEST_CASE("KE: each error names its field") {
  CHECK(refused<KePayload>("00") == "truncated | group: need 2 bytes, have 1");
  CHECK(refused<KePayload>("001f00") == "truncated | reserved: need 2 bytes, have 1");
  CHECK(refused<KePayload>("001f0000") == "malformed | key exchange data: none");
}

TEST_CASE("KE: a value that is longer than any of our groups has keeps the number of its group") {
  Bytes long_value(4 + KePayload::kPublicValueMax);
  long_value[1] = 18;
  CHECK(!parsed<KePayload>(long_value).value().left_out);
  long_value.push_back(0);
  const KePayload payload = parsed<KePayload>(long_value).value();
  CHECK(payload.left_out);
  CHECK(payload.group == 18);
  CHECK(payload.public_value.size() == KePayload::kPublicValueMax);
}

TEST_CASE("nonce: 16 to 256 bytes are read and written, other sizes are not") {
  LEDGER("3.9-01");
  for (size_t bytes : {16, 32, 256}) {
    const Bytes nonce(bytes, 0xab);
    CHECK(parsed<NoncePayload>(nonce).value().nonce == nonce);
    CHECK(written(NoncePayload{.nonce = nonce}) == to_hex(nonce));
  }
  CHECK(refused<NoncePayload>(Bytes(15)) == "ike-nonce-size | nonce data: 15 bytes, not 16 to 256");
  CHECK(refused<NoncePayload>(Bytes(257)) == "ike-nonce-size | nonce data: 257 bytes, not 16 to 256");
  check_truncation<NoncePayload>("000102030405060708090a0b0c0d0e0f", 16);
}

TEST_CASE("vendor ID: any bytes are read and written, none at all too") {
  CHECK(written(parsed<VendorIdPayload>("0102ff").value()) == "0102ff");
  CHECK(written(parsed<VendorIdPayload>("").value()).empty());
}

TEST_CASE("AUTH: a golden body is read and written; reserved bytes are ignored and sent as zero") {
  LEDGER("3.8-02");
  const AuthPayload payload = parsed<AuthPayload>("02 ffffff a1a2").value();

  CHECK(payload.method == AuthMethod::kSharedKey);
  CHECK(payload.data == Bytes{0xa1, 0xa2});
  CHECK(written(payload) == "02000000a1a2");
  check_truncation<AuthPayload>("02 000000 a1a2", 5);
}

TEST_CASE("AUTH: each error names its field") {
  CHECK(refused<AuthPayload>("") == "truncated | method: need 1 bytes, have 0");
  CHECK(refused<AuthPayload>("0200") == "truncated | reserved: need 3 bytes, have 1");
  CHECK(refused<AuthPayload>("02000000") == "malformed | authentication data: none");
}

TEST_CASE("CERT: a golden body is read and written") {
  const CertPayload payload = parsed<CertPayload>("04 308201").value();

  CHECK(payload.encoding == 4);
  CHECK(payload.data == Bytes{0x30, 0x82, 0x01});
  CHECK(written(payload) == "04308201");
  check_truncation<CertPayload>("04 308201", 2);
}

TEST_CASE("CERT: any encoding but that of an X.509 certificate is kept, and told to whoever counts") {
  CHECK(parsed<CertPayload>("04 308201").value().oddity() == Reason::kNone);
  CHECK(parsed<CertPayload>("16 308201").value().oddity() == Reason::kCertificateEncoding);
}

TEST_CASE("CERT: each error names its field") {
  CHECK(refused<CertPayload>("") == "truncated | encoding: need 1 bytes, have 0");
  CHECK(refused<CertPayload>("04") == "malformed | certificate data: none");
}

TEST_CASE("CERT and CERTREQ: data that is too long is left out, and told to whoever counts") {
  Bytes large(1 + kCertificateBytesMax, 4);
  CHECK(parsed<CertPayload>(large).value().oddity() == Reason::kNone);
  large.resize(1 + 20 * (kCertificateBytesMax / 20 + 1), 4);
  CHECK(parsed<CertPayload>(large).value().oddity() == Reason::kIkeSkipped);
  CHECK(parsed<CertPayload>(large).value().data.empty());
  CHECK(parsed<CertReqPayload>(large).value().oddity() == Reason::kIkeSkipped);
  CHECK(parsed<CertReqPayload>(large).value().authorities.empty());
}

TEST_CASE("CERTREQ: whole hashes are read and written, no hash at all too") {
  const std::string hash(40, 'a');
  CHECK(written(parsed<CertReqPayload>("04" + hash).value()) == "04" + hash);
  CHECK(parsed<CertReqPayload>("04").value().authorities.empty());
  CHECK(parsed<CertReqPayload>("07 aabb").value().encoding == 7);
}

TEST_CASE("CERTREQ: each error names its field") {
  CHECK(refused<CertReqPayload>("") == "truncated | encoding: need 1 bytes, have 0");
  CHECK(refused<CertReqPayload>("04 aabb") == "malformed | certification authorities: 2 bytes are not whole hashes");
}

TEST_CASE("ID: a golden body is read, and written as it was read, reserved bytes included") {
  LEDGER("3.5-01");
  const IdPayload payload = parsed<IdPayload>("02 0a0b0c 67772e6578").value();

  CHECK(payload.identity.type == policy::IdType::kFqdn);
  CHECK(as_text(payload.identity.data) == "gw.ex");
  // AUTH covers the body, so what was ignored must still be there (RFC 7296 section 2.15).
  CHECK(written(payload) == "020a0b0c67772e6578");
  check_truncation<IdPayload>("02 000000 67772e6578", 5);
}

TEST_CASE("ID: an identity of ours becomes a body that reads back to it") {
  LEDGER("3.5-01");
  const policy::Identity address{.type = policy::IdType::kIpv4, .data = {192, 0, 2, 1}};

  const IdPayload payload = IdPayload::of(address);

  CHECK(to_hex(payload.body) == "01000000c0000201");
  CHECK(parsed<IdPayload>(payload.body).value().identity == address);
}

TEST_CASE("ID: every type that policy knows is accepted") {
  LEDGER("3.5-04", "3.5-05", "3.5-06");
  CHECK(parsed<IdPayload>("01000000 c0000201").ok());
  CHECK(parsed<IdPayload>("03000000 614062").ok());
  CHECK(parsed<IdPayload>("05000000 20010db8000000000000000000000001").ok());
  for (const char* opaque : {"09000000 3000", "0a000000 8100", "0b000000 00"}) CHECK(parsed<IdPayload>(opaque).ok());
}

TEST_CASE("ID: each error names its field") {
  LEDGER("3.5-02", "3.5-03");
  CHECK(refused<IdPayload>("") == "truncated | identification type: need 1 bytes, have 0");
  CHECK(refused<IdPayload>("020000") == "truncated | reserved: need 3 bytes, have 2");
  CHECK(refused<IdPayload>("02000000") == "malformed | identification data: none");
  CHECK(refused<IdPayload>("01000000 c00002") == "malformed | identification data: 3 bytes for an address of 4");
  CHECK(refused<IdPayload>("05000000 c0000201") == "malformed | identification data: 4 bytes for an address of 16");
  for (const char* name : {"02000000 6100", "02000000 610d", "03000000 0a61"})
    CHECK(refused<IdPayload>(name) == "malformed | identification data: a terminator within a name");
}

TEST_CASE("ID: a name that is longer than any that can be configured is cut") {
  Bytes large(4 + kIdentityBytesMax, 'a');
  large[0] = 11;
  CHECK(!parsed<IdPayload>(large).value().left_out);
  large.push_back(0);
  const IdPayload payload = parsed<IdPayload>(large).value();
  CHECK(payload.left_out);
  CHECK(payload.identity.data.size() == kIdentityBytesMax);
  CHECK(payload.body.size() == 4 + kIdentityBytesMax);
}

TEST_CASE("ID: a type that is not known is kept, shown by its number, and matches nobody's name") {
  const IdPayload payload = parsed<IdPayload>("0d000000 6761").value();
  CHECK(!payload.has_known_type());
  CHECK(to_string(payload.identity) == "type-13:6761");
  CHECK(!payload.identity.matches(policy::Identity::parse("ga").value()));
  CHECK(!payload.identity.matches(policy::Identity::parse("keyid:6761").value()));
  for (const char* known : {"01000000 c0000201", "02000000 61", "0b000000 00"})
    CHECK(parsed<IdPayload>(known).value().has_known_type());
}

TEST_CASE("EAP: a request, and a success without data, are read and written") {
  CHECK(written(parsed<EapPayload>("01 07 0006 0161").value()) == "010700060161");
  CHECK(written(parsed<EapPayload>("03 07 0004").value()) == "03070004");
  CHECK(parsed<EapPayload>("02 07 0005 01").value().identifier == 7);
  check_truncation<EapPayload>("01 07 0006 0161", 6);
}

TEST_CASE("EAP: each error names its field") {
  CHECK(refused<EapPayload>("") == "truncated | code: need 1 bytes, have 0");
  CHECK(refused<EapPayload>("01") == "truncated | identifier: need 1 bytes, have 0");
  CHECK(refused<EapPayload>("0107") == "truncated | length: need 2 bytes, have 0");
  CHECK(refused<EapPayload>("00 07 0005 01") == "malformed | code: 0");
  CHECK(refused<EapPayload>("05 07 0005 01") == "malformed | code: 5");
  CHECK(refused<EapPayload>("01 07 0007 0161") == "malformed | length: 7 of 6 bytes");
  CHECK(refused<EapPayload>("01 07 0004") == "malformed | data: 0 bytes with code 1");
  CHECK(refused<EapPayload>("04 07 0005 00") == "malformed | data: 1 bytes with code 4");
}
