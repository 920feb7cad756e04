#include "ike/wire/auth_payload.h"

namespace ipsec::ike {

Result<AuthPayload> AuthPayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t method, body.u8(), "method");
  TRY(body.bytes(3), "reserved");  // RFC 7296 section 2.5: ignored
  if (body.done()) return Error(Reason::kMalformed, "authentication data: none");
  const ByteView data = body.rest();
  return AuthPayload{.method = AuthMethod{method}, .data = {data.begin(), data.end()}};
}

void AuthPayload::write(ByteWriter& out) const {
  out.u8(static_cast<uint8_t>(method));
  out.zeros(3);
  out.bytes(data);
}

}  // namespace ipsec::ike
