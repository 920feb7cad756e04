#include "ike/wire/nonce_payload.h"

#include <string>

#include "ike/limits.h"

namespace ipsec::ike {

Result<NoncePayload> NoncePayload::parse(ByteReader body) {
  // RFC 7296 section 3.9: between 16 and 256 bytes.
  if (body.remaining() < kNonceBytesMin || body.remaining() > kNonceBytesMax)
    return Error(Reason::kIkeNonceSize, "nonce data: " + std::to_string(body.remaining()) + " bytes, not 16 to 256");
  const ByteView nonce = body.rest();
  return NoncePayload{.nonce = {nonce.begin(), nonce.end()}};
}

void NoncePayload::write(ByteWriter& out) const {
  VERIFY(nonce.size() >= kNonceBytesMin && nonce.size() <= kNonceBytesMax);
  out.bytes(nonce);
}

}  // namespace ipsec::ike
