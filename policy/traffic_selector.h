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

  bool any_port() const { return port_first == 0 && port_last == 65535; }  ///< OPAQUE is among "any".
  bool opaque() const { return port_first > port_last; }
  bool contains(const TrafficSelector& other) const;
  friend auto operator<=>(const TrafficSelector&, const TrafficSelector&) = default;
};

using SelectorList = std::vector<TrafficSelector>;

/// What one child carries: from `local` to `remote` and back.
struct SelectorPair {
  SelectorList local, remote;
  friend bool operator==(const SelectorPair&, const SelectorPair&) = default;
};

/// "10.1.0.0/16", "10.1.0.1-10.1.0.9", "10.1.0.0/16[tcp/443]", "[udp]", "0.0.0.0/0[icmp]", "[icmp/8]" (a type),
/// "[icmp/8/0]" (with its code), "[icmp/8-13]", "[icmp/3/1-3/4]", "[tcp/opaque]".
Result<TrafficSelector> parse_selector(std::string_view text);
std::string to_string(const TrafficSelector& selector);
std::string to_string(std::span<const TrafficSelector> selectors);

std::optional<TrafficSelector> intersect(const TrafficSelector& a, const TrafficSelector& b);

/// Adds a selector so that none of the list lies within another: not at all where it lies within one, in the place of
/// the first that lies within it.
void add_selector(SelectorList& list, const TrafficSelector& selector);

/// What of a peer's offer the configuration allows: the intersection of the two unions, in the order of the offer, none
/// within another (RFC 7296 section 2.9). Empty: TS_UNACCEPTABLE. At most `limits.h` kSelectorsMax come out; were there
/// more, the first of them, and `left_out` is set. So it is when the lists were made to take long.
SelectorList narrow(std::span<const TrafficSelector> configured, std::span<const TrafficSelector> offered,
                    bool* left_out = nullptr);

/// Pieces that one comparison of unions may look at. A grid of 255 selectors takes a tenth of them; what takes more is
/// made to be slow, and counts as not within.
inline constexpr size_t kCoverPiecesMax = size_t{1} << 15;

/// Whether the union of `inner` lies within that of `outer`: what an initiator checks in a response, where neighbours
/// may have been joined.
bool all_within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer);
/// The same, for several comparisons with one bound on the work: `pieces_left` shrinks, and at 0 all answers are no.
bool all_within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer, size_t& pieces_left);

}  // namespace ipsec::policy
