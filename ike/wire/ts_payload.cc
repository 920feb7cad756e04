#include "ike/wire/ts_payload.h"

#include <optional>
#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

using policy::TrafficSelector;

constexpr uint8_t kIpv4Range = 7, kIpv6Range = 8;  // RFC 7296 section 3.13.1
constexpr size_t kBeforePorts = 4;                 // type, protocol, length

bool ports_are_valid(uint16_t first, uint16_t last) {
  // RFC 7296 section 3.13.1: 65535 to 0 means OPAQUE; otherwise the range is in order.
  return first <= last || (first == 65535 && last == 0);
}

/// Nothing for a selector of a type that is not understood.
Result<std::optional<TrafficSelector>> parse_one(ByteReader& body) {
  TRY_ASSIGN(const uint8_t type, body.u8(), "type");
  TRY_ASSIGN(const uint8_t protocol, body.u8(), "protocol");
  TRY_ASSIGN(const uint16_t length, body.u16(), "length");
  if (length < kBeforePorts) return Error(Reason::kMalformed, "length: " + std::to_string(length));
  TRY_ASSIGN(ByteReader rest, body.sub(length - kBeforePorts), "length");
  if (type != kIpv4Range && type != kIpv6Range) return std::optional<TrafficSelector>();

  const size_t address_bytes = type == kIpv4Range ? 4 : 16;
  TRY_ASSIGN(const uint16_t port_first, rest.u16(), "start port");
  TRY_ASSIGN(const uint16_t port_last, rest.u16(), "end port");
  TRY_ASSIGN(const ByteView first, rest.bytes(address_bytes), "starting address");
  TRY_ASSIGN(const ByteView last, rest.bytes(address_bytes), "ending address");
  TRY(rest.expect_done(), "after the addresses");
  TRY_ASSIGN(const IpAddress address_first, IpAddress::from_bytes(first), "starting address");
  TRY_ASSIGN(const IpAddress address_last, IpAddress::from_bytes(last), "ending address");
  if (address_last < address_first) return Error(Reason::kMalformed, "ending address: before the starting address");
  if (!ports_are_valid(port_first, port_last))
    return Error(Reason::kMalformed,
                 "end port: " + std::to_string(port_last) + " with start port " + std::to_string(port_first));
  return std::optional(TrafficSelector{.addresses = {.first = address_first, .last = address_last},
                                       .protocol = protocol,
                                       .port_first = port_first,
                                       .port_last = port_last});
}

void write_one(const TrafficSelector& selector, ByteWriter& out) {
  const IpRange& addresses = selector.addresses;
  VERIFY(addresses.first.family() == addresses.last.family());
  out.u8(addresses.first.is_v4() ? kIpv4Range : kIpv6Range);
  out.u8(selector.protocol);
  out.u16(static_cast<uint16_t>(kBeforePorts + 4 + 2 * addresses.first.size()));
  out.u16(selector.port_first);
  out.u16(selector.port_last);
  out.bytes(addresses.first.bytes());
  out.bytes(addresses.last.bytes());
}

}  // namespace

Result<TsPayload> TsPayload::parse(ByteReader body) {
  TRY_ASSIGN(const uint8_t count, body.u8(), "number of selectors");
  TRY(body.bytes(3), "reserved");  // RFC 7296 section 2.5: ignored
  // RFC 7296 section 3.13: one or more selectors.
  if (count == 0) return Error(Reason::kSelectorsEmpty, "number of selectors: 0");
  TsPayload payload;
  for (unsigned i = 1; i <= count; ++i) {
    TRY_ASSIGN(const auto selector, parse_one(body), "selector " + std::to_string(i));
    if (selector)
      payload.selectors.push_back(*selector);
    else
      ++payload.skipped;
  }
  TRY(body.expect_done(), "after the selectors");
  return payload;
}

void TsPayload::write(ByteWriter& out) const {
  VERIFY(!selectors.empty() && selectors.size() <= kSelectorsMax);
  out.u8(static_cast<uint8_t>(selectors.size()));
  out.zeros(3);
  for (const TrafficSelector& selector : selectors) write_one(selector, out);
}

}  // namespace ipsec::ike
