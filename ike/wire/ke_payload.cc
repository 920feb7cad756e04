#include "ike/wire/ke_payload.h"

#include <algorithm>

namespace ipsec::ike {

Result<KePayload> KePayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint16_t group, body.u16(), "group");
  TRY(body.u16(), "reserved");  // RFC 7296 section 2.5: ignored
  if (body.done()) return Error(Reason::kMalformed, "key exchange data: none");
  // A group with values as long as this is none of ours: its number is all that is needed to ask for another one.
  const bool left_out = body.remaining() > kPublicValueMax;
  TRY_ASSIGN(const ByteView value, body.bytes(std::min(body.remaining(), kPublicValueMax)), "key exchange data");
  return KePayload{.group = group, .public_value = {value.begin(), value.end()}, .left_out = left_out};
}

void KePayload::write(ByteWriter& out) const {
  out.u16(group);
  out.u16(0);
  out.bytes(public_value);
}

}  // namespace ipsec::ike
