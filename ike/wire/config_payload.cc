#include "ike/wire/config_payload.h"

#include <algorithm>
#include <array>
#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

constexpr uint16_t kTypeMask = 0x7fff;  // RFC 7296 section 3.15.1: the top bit is reserved
// The types of RFC 7296 section 3.15.1.
constexpr std::array<uint16_t, 12> kKnownTypes = {1, 2, 3, 4, 6, 7, 8, 10, 12, 13, 14, 15};

Result<ConfigPayload::Attribute> parse_attribute(ByteReader& body) {
  TRY_ASSIGN(const uint16_t type, body.u16(), "type");
  TRY_ASSIGN(const uint16_t length, body.u16(), "length");
  TRY_ASSIGN(const ByteView value, body.bytes(length), "value");
  return ConfigPayload::Attribute{.type = static_cast<uint16_t>(type & kTypeMask),
                                  .value = {value.begin(), value.end()}};
}

/// Reads over one attribute: only its length has to be right.
Status skip_attribute(ByteReader& body) {
  TRY(body.u16(), "type");
  TRY_ASSIGN(const uint16_t length, body.u16(), "length");
  TRY(body.bytes(length), "value");
  return {};
}

void write_attribute(const ConfigPayload::Attribute& attribute, ByteWriter& out) {
  VERIFY(attribute.value.size() <= UINT16_MAX);
  out.u16(attribute.type & kTypeMask);
  out.u16(static_cast<uint16_t>(attribute.value.size()));
  out.bytes(attribute.value);
}

}  // namespace

Result<ConfigPayload> ConfigPayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t type, body.u8(), "CFG type");
  TRY(body.bytes(3), "reserved");  // RFC 7296 section 2.5: ignored
  ConfigPayload payload{.type = Type{type}, .attributes = {}};
  while (!body.done()) {
    if (payload.attributes.size() == kConfigAttributesMax) {
      TRY(skip_attribute(body), "attribute beyond " + std::to_string(kConfigAttributesMax));
      ++payload.left_out;
      continue;
    }
    TRY_ASSIGN(Attribute attribute, parse_attribute(body),
               "attribute " + std::to_string(payload.attributes.size() + 1));
    payload.attributes.push_back(std::move(attribute));
  }
  return payload;
}

size_t ConfigPayload::unknown_attributes() const {
  return static_cast<size_t>(std::ranges::count_if(attributes, [](const Attribute& each) {
    return std::ranges::find(kKnownTypes, each.type) == kKnownTypes.end();
  }));
}

void ConfigPayload::write(ByteWriter& out) const {
  VERIFY(attributes.size() <= kConfigAttributesMax);
  out.u8(static_cast<uint8_t>(type));
  out.zeros(3);
  for (const Attribute& attribute : attributes) write_attribute(attribute, out);
}

}  // namespace ipsec::ike
