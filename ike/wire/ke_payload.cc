#include "ike/wire/ke_payload.h"

#include <string>

namespace ipsec::ike {

Result<KePayload> KePayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint16_t group, body.u16(), "group");
  TRY(body.u16(), "reserved");  // RFC 7296 section 2.5: ignored
  if (body.done()) return Error(Reason::kMalformed, "key exchange data: none");
  if (body.remaining() > kPublicValueMax)
    return Error(Reason::kLimitReached, "key exchange data: " + std::to_string(body.remaining()) + " bytes");
  const ByteView value = body.rest();
  return KePayload{.group = group, .public_value = {value.begin(), value.end()}};
}

void KePayload::write(ByteWriter& out) const {
  out.u16(group);
  out.u16(0);
  out.bytes(public_value);
}

}  // namespace ipsec::ike
