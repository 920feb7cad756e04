#include "ike/wire/delete_payload.h"

#include <algorithm>
#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

using policy::Protocol;

/// Bytes of an SPI in this payload (RFC 7296 section 3.11): none for IKE, whose SPIs are in the header.
Result<size_t> spi_bytes_of(Protocol protocol) {
  switch (protocol) {
    case Protocol::kIke: return size_t{0};
    case Protocol::kAh:
    case Protocol::kEsp: return size_t{4};
    case Protocol::kNone: break;
  }
  return Error(Reason::kIkeProtocolId, "protocol: " + std::to_string(static_cast<unsigned>(protocol)));
}

}  // namespace

Result<DeletePayload> DeletePayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t protocol, body.u8(), "protocol");
  TRY_ASSIGN(const size_t spi_bytes, spi_bytes_of(Protocol{protocol}), "");
  TRY_ASSIGN(const uint8_t claimed_bytes, body.u8(), "SPI size");
  if (claimed_bytes != spi_bytes) return Error(Reason::kIkeSpiSize, "SPI size: " + std::to_string(claimed_bytes));
  TRY_ASSIGN(const uint16_t count, body.u16(), "number of SPIs");
  if (spi_bytes == 0 && count != 0) return Error(Reason::kMalformed, "number of SPIs: " + std::to_string(count));
  DeletePayload payload{.protocol = Protocol{protocol}, .spis = {}};
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
