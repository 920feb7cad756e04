#include "ike/wire/delete_payload.h"

#include <algorithm>
#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

using policy::Protocol;

constexpr size_t kSpiBytes = 4;  // of a child SA

/// What is wrong with an SPI of this size (RFC 7296 section 3.11): the SPIs of the IKE SA are in the header.
Reason judge(Protocol protocol, uint8_t spi_bytes) {
  switch (protocol) {
    case Protocol::kIke: return spi_bytes == 0 ? Reason::kNone : Reason::kIkeSpiSize;
    case Protocol::kAh:
    case Protocol::kEsp: return spi_bytes == kSpiBytes ? Reason::kNone : Reason::kIkeSpiSize;
    case Protocol::kNone: break;
  }
  return Reason::kIkeProtocolId;
}

}  // namespace

Result<DeletePayload> DeletePayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t protocol, body.u8(), "protocol");
  TRY_ASSIGN(const uint8_t spi_bytes, body.u8(), "SPI size");
  TRY_ASSIGN(const uint16_t count, body.u16(), "number of SPIs");
  DeletePayload payload{.protocol = Protocol{protocol}, .spis = {}, .oddity = judge(Protocol{protocol}, spi_bytes)};
  if (spi_bytes == 0 && count != 0) payload.oddity = Reason::kIkeSpiSize;
  if (payload.oddity != Reason::kNone) {
    TRY(body.bytes(size_t{count} * spi_bytes), "SPIs");
    TRY(body.expect_done(), "after the SPIs");
    return payload;
  }
  payload.spis.reserve(std::min(size_t{count}, body.remaining() / 4));  // the message bounds them, not its claim
  for (uint32_t i = 1; i <= count; ++i) {
    TRY_ASSIGN(const uint32_t spi, body.u32(), "SPI " + std::to_string(i));
    payload.spis.push_back(spi);
  }
  TRY(body.expect_done(), "after the SPIs");
  return payload;
}

void DeletePayload::write(ByteWriter& out) const {
  VERIFY(spis.size() <= kSpisPerDeleteMax && (protocol != Protocol::kIke || spis.empty()));
  out.u8(static_cast<uint8_t>(protocol));
  out.u8(protocol == Protocol::kIke ? 0 : 4);
  out.u16(static_cast<uint16_t>(spis.size()));
  for (uint32_t spi : spis) out.u32(spi);
}

}  // namespace ipsec::ike
