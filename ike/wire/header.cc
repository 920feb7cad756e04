#include "ike/wire/header.h"

#include <string>

namespace ipsec::ike {

Result<Header> Header::parse(ByteView datagram) {
  if (datagram.size() < kBytes) {
    return Error(Reason::kIkeShort,
                 "IKE header: need " + std::to_string(kBytes) + " bytes, have " + std::to_string(datagram.size()));
  }
  ByteReader reader(datagram.first(kBytes));
  TRY_ASSIGN(const uint64_t initiator_spi, reader.u64(), "initiator's SPI");
  TRY_ASSIGN(const uint64_t responder_spi, reader.u64(), "responder's SPI");
  TRY_ASSIGN(const uint8_t next_payload, reader.u8(), "next payload");
  TRY_ASSIGN(const uint8_t version, reader.u8(), "version");
  TRY_ASSIGN(const uint8_t exchange, reader.u8(), "exchange type");
  TRY_ASSIGN(const uint8_t flags, reader.u8(), "flags");
  TRY_ASSIGN(const uint32_t message_id, reader.u32(), "message ID");
  TRY_ASSIGN(const uint32_t length, reader.u32(), "length");
  return Header{.initiator_spi = IkeSpi(initiator_spi),
                .responder_spi = IkeSpi(responder_spi),
                .next_payload = PayloadType{next_payload},
                .version = version,
                .exchange = Exchange{exchange},
                .flags = flags,
                .message_id = message_id,
                .length = length};
}

void Header::write(ByteWriter& out) const {
  out.u64(initiator_spi.value());
  out.u64(responder_spi.value());
  out.u8(static_cast<uint8_t>(next_payload));
  out.u8(version);
  out.u8(static_cast<uint8_t>(exchange));
  out.u8(flags);
  out.u32(message_id);
  out.u32(length);
}

}  // namespace ipsec::ike
