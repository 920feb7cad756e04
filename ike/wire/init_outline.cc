#include "ike/wire/init_outline.h"

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

constexpr size_t kGenericHeaderBytes = 4, kNotifyHeaderBytes = 4;

/// The data of a COOKIE notification; empty when it is another one or broken, which parse_payloads() judges.
Result<ByteView> cookie_in(ByteReader body) {
  if (body.remaining() < kNotifyHeaderBytes) return ByteView();
  TRY_ASSIGN([[maybe_unused]] const uint8_t protocol, body.u8(), "");
  TRY_ASSIGN(const uint8_t spi_bytes, body.u8(), "");
  TRY_ASSIGN(const uint16_t type, body.u16(), "");
  if (type != static_cast<uint16_t>(NotifyType::kCookie) || body.remaining() < spi_bytes) return ByteView();
  TRY_ASSIGN([[maybe_unused]] const ByteView spi, body.bytes(spi_bytes), "");
  return body.rest();
}

}  // namespace

Result<InitOutline> InitOutline::read(PayloadType first, ByteView chain) {
  // RFC 7296 section 1.2: there are no keys yet, and a request of nothing asks for nothing.
  if (first == PayloadType::kNone || first == PayloadType::kEncrypted) return Error(Reason::kIkeFirstPayload);
  InitOutline outline;
  bool has_sa = false, has_ke = false;
  ByteReader reader(chain);
  size_t count = 0;
  // What follows the type of an encrypted payload is a type inside it: the walk ends there.
  for (PayloadType type = first; type != PayloadType::kNone && type != PayloadType::kEncrypted;) {
    if (++count > kPayloadsWalkedMax) return Error(Reason::kIkeTooManyPayloads);
    if (reader.remaining() < kGenericHeaderBytes) return Error(Reason::kTruncated);
    TRY_ASSIGN(const uint8_t next, reader.u8(), "");
    TRY_ASSIGN([[maybe_unused]] const uint8_t flags, reader.u8(), "");
    TRY_ASSIGN(const uint16_t length, reader.u16(), "");
    if (length < kGenericHeaderBytes) return Error(Reason::kMalformed);
    if (reader.remaining() < length - kGenericHeaderBytes) return Error(Reason::kTruncated);
    TRY_ASSIGN(ByteReader body, reader.sub(length - kGenericHeaderBytes), "");
    has_sa = has_sa || type == PayloadType::kSa;
    has_ke = has_ke || type == PayloadType::kKe;
    if (type == PayloadType::kNonce) {
      if (!outline.nonce.empty()) return Error(Reason::kIkePayloadDuplicate);
      outline.nonce = body.rest();
      if (outline.nonce.size() < kNonceBytesMin || outline.nonce.size() > kNonceBytesMax)
        return Error(Reason::kIkeNonceSize);
    } else if (type == PayloadType::kNotify && outline.cookie.empty()) {
      TRY_ASSIGN(outline.cookie, cookie_in(body), "");
    }
    type = PayloadType{next};
  }
  if (!has_sa || !has_ke || outline.nonce.empty()) return Error(Reason::kIkePayloadMissing);
  return outline;
}

}  // namespace ipsec::ike
