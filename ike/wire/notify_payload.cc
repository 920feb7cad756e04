#include "ike/wire/notify_payload.h"

#include <algorithm>

#include "ike/limits.h"

namespace ipsec::ike {

Result<NotifyPayload> NotifyPayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t protocol, body.u8(), "protocol");
  TRY_ASSIGN(const uint8_t spi_bytes, body.u8(), "SPI size");
  TRY_ASSIGN(const uint16_t type, body.u16(), "notify message type");
  TRY_ASSIGN(const ByteView spi, body.bytes(spi_bytes), "SPI");
  const bool left_out = body.remaining() > kNotifyBytesMax;
  TRY_ASSIGN(const ByteView data, body.bytes(std::min(body.remaining(), kNotifyBytesMax)), "notification data");
  // RFC 7296 section 3.10: without an SPI the protocol says nothing and is not looked at.
  return NotifyPayload{.protocol = spi.empty() ? policy::Protocol::kNone : policy::Protocol{protocol},
                       .type = NotifyType{type},
                       .spi = {spi.begin(), spi.end()},
                       .data = {data.begin(), data.end()},
                       .left_out = left_out};
}

Reason NotifyPayload::oddity() const {
  if (spi.empty()) return Reason::kNone;
  switch (protocol) {
    case policy::Protocol::kIke: return Reason::kIkeSpiSize;  // RFC 7296 section 3.10: none for the IKE SA
    case policy::Protocol::kAh:
    case policy::Protocol::kEsp: return spi.size() == 4 ? Reason::kNone : Reason::kIkeSpiSize;
    case policy::Protocol::kNone: break;
  }
  return Reason::kIkeProtocolId;
}

void NotifyPayload::write(ByteWriter& out) const {
  VERIFY(spi.size() <= UINT8_MAX);
  out.u8(spi.empty() ? uint8_t{0} : static_cast<uint8_t>(protocol));
  out.u8(static_cast<uint8_t>(spi.size()));
  out.u16(static_cast<uint16_t>(type));
  out.bytes(spi);
  out.bytes(data);
}

}  // namespace ipsec::ike
