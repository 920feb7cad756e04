#include "ike/wire/eap_payload.h"

#include <string>

namespace ipsec::ike {
namespace {

constexpr size_t kBeforeData = 4;  // code, identifier, length
constexpr uint8_t kRequest = 1, kResponse = 2, kFailure = 4;

}  // namespace

Result<EapPayload> EapPayload::parse(ByteReader body) {
  const size_t whole = body.remaining();
  TRY_ASSIGN(const uint8_t code, body.u8(), "code");
  if (code < kRequest || code > kFailure) return Error(Reason::kMalformed, "code: " + std::to_string(code));
  TRY_ASSIGN(const uint8_t identifier, body.u8(), "identifier");
  TRY_ASSIGN(const uint16_t length, body.u16(), "length");
  // RFC 7296 section 3.16: the length of the EAP message is that of the payload without its generic header.
  if (length != whole)
    return Error(Reason::kMalformed, "length: " + std::to_string(length) + " of " + std::to_string(whole) + " bytes");
  // RFC 3748 section 4: requests and responses have a type, success and failure have nothing.
  if (body.done() == (code <= kResponse))
    return Error(Reason::kMalformed,
                 "data: " + std::to_string(body.remaining()) + " bytes with code " + std::to_string(code));
  const ByteView data = body.rest();
  return EapPayload{.code = code, .identifier = identifier, .data = {data.begin(), data.end()}};
}

void EapPayload::write(ByteWriter& out) const {
  VERIFY(data.size() <= UINT16_MAX - kBeforeData);
  out.u8(code);
  out.u8(identifier);
  out.u16(static_cast<uint16_t>(kBeforeData + data.size()));
  out.bytes(data);
}

}  // namespace ipsec::ike
