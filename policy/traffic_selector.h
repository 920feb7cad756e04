#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/base/ip.h"

namespace ipsec::policy {

/// What traffic: addresses, protocol, ports (RFC 7296 section 3.13.1). For ICMP the ports hold type and code.
struct TrafficSelector {
  static constexpr uint8_t kAnyProtocol = 0;
  IpRange addresses;
  uint8_t protocol = kAnyProtocol;
  uint16_t port_first = 0;
  uint16_t port_last = 65535;  ///< first > last (65535, 0) means OPAQUE: ports not available.

  bool any_port() const { return port_first == 0 && port_last == 65535; }
  bool contains(const TrafficSelector& other) const;
  friend auto operator<=>(const TrafficSelector&, const TrafficSelector&) = default;
};

using SelectorList = std::vector<TrafficSelector>;

/// "10.1.0.0/16", "10.1.0.1-10.1.0.9", "10.1.0.0/16[tcp/443]", "[udp]", "0.0.0.0/0[icmp]".
Result<TrafficSelector> parse_selector(std::string_view text);
std::string to_string(const TrafficSelector& selector);
std::string to_string(std::span<const TrafficSelector> selectors);

std::optional<TrafficSelector> intersect(const TrafficSelector& a, const TrafficSelector& b);

/// The subset of what a peer offers that the configuration allows, in the order of the offer, without duplicates, never
/// wider than `configured` (RFC 7296 section 2.9). Empty: TS_UNACCEPTABLE. At most `limits.h` kSelectorsMax come out.
SelectorList narrow(std::span<const TrafficSelector> configured, std::span<const TrafficSelector> offered);

/// Whether each of `inner` lies within one of `outer`: what an initiator checks in a response.
bool all_within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer);

}  // namespace ipsec::policy
