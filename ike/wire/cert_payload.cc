#include "ike/wire/cert_payload.h"

#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

constexpr size_t kKeyHashBytes = 20;  // RFC 7296 section 3.7: SHA-1 of a public key
constexpr uint8_t kX509Signature = 4;

}  // namespace

Result<CertPayload> CertPayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t encoding, body.u8(), "encoding");
  if (body.done()) return Error(Reason::kMalformed, "certificate data: none");
  if (body.remaining() > kCertificateBytesMax) return CertPayload{.encoding = encoding, .data = {}, .left_out = true};
  const ByteView data = body.rest();
  return CertPayload{.encoding = encoding, .data = {data.begin(), data.end()}};
}

Reason CertPayload::oddity() const {
  if (left_out) return Reason::kIkeSkipped;
  return encoding == kX509Signature ? Reason::kNone : Reason::kCertificateEncoding;
}

void CertPayload::write(ByteWriter& out) const {
  out.u8(encoding);
  out.bytes(data);
}

Result<CertReqPayload> CertReqPayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t encoding, body.u8(), "encoding");
  if (encoding == kX509Signature && body.remaining() % kKeyHashBytes != 0) {
    return Error(Reason::kMalformed,
                 "certification authorities: " + std::to_string(body.remaining()) + " bytes are not whole hashes");
  }
  if (body.remaining() > kCertificateBytesMax)
    return CertReqPayload{.encoding = encoding, .authorities = {}, .left_out = true};
  const ByteView authorities = body.rest();
  return CertReqPayload{.encoding = encoding, .authorities = {authorities.begin(), authorities.end()}};
}

void CertReqPayload::write(ByteWriter& out) const {
  out.u8(encoding);
  out.bytes(authorities);
}

}  // namespace ipsec::ike
