#pragma once

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "policy/base/random.h"
#include "policy/traffic_selector.h"

/// Selectors drawn at random, and sets of packets to compare them by: at the edges of every selector, and one beyond.
namespace ipsec::policy {

inline SelectorList selectors_of(std::initializer_list<std::string_view> texts) {
  SelectorList list;
  for (std::string_view each : texts) list.push_back(parse_selector(each).value());
  return list;
}

/// One end of a packet.
struct Point {
  IpAddress address;
  uint8_t protocol = 0;
  uint16_t port = 0;
  bool opaque = false;  ///< The port cannot be seen.
};

inline bool has(const TrafficSelector& selector, const Point& point) {
  if (point.address.family() != selector.addresses.first.family() || !selector.addresses.contains(point.address))
    return false;
  if (selector.protocol != 0 && selector.protocol != point.protocol) return false;
  if (selector.any_port()) return true;
  if (point.opaque || selector.opaque()) return point.opaque && selector.opaque();
  return selector.port_first <= point.port && point.port <= selector.port_last;
}

inline bool has(const SelectorList& list, const Point& point) {
  return std::any_of(list.begin(), list.end(), [&](const TrafficSelector& each) { return has(each, point); });
}

/// Every combination of the edges of these lists: what two unions of them differ in shows at one of these points.
inline std::vector<Point> edge_points(std::initializer_list<SelectorList> lists) {
  std::vector<IpAddress> addresses;
  std::vector<uint8_t> protocols = {99};  // one that no selector names
  std::vector<uint16_t> ports = {0, 65535};
  for (const SelectorList& list : lists)
    for (const TrafficSelector& each : list) {
      const IpRange& range = each.addresses;
      addresses.insert(addresses.end(), {range.first, range.last, range.first.previous(), range.last.next()});
      if (each.protocol != 0) protocols.push_back(each.protocol);
      for (uint16_t port : {each.port_first, each.port_last})
        ports.insert(ports.end(), {port, static_cast<uint16_t>(port - 1), static_cast<uint16_t>(port + 1)});
    }
  auto unique = [](auto& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  };
  unique(addresses), unique(protocols), unique(ports);
  std::vector<Point> points;
  for (const IpAddress& address : addresses)
    for (uint8_t protocol : protocols) {
      for (uint16_t port : ports) points.push_back({address, protocol, port, false});
      points.push_back({address, protocol, 0, true});
    }
  return points;
}

/// What `draw_selector` may draw.
enum class Draw : uint8_t { kAll, kExpressible };

/// Of few addresses, protocols and ports, so that much overlaps and touches.
inline TrafficSelector draw_selector(SeededRandom& random, Draw draw) {
  auto address = [&](Family family) {
    const auto low = static_cast<uint8_t>(random.below(24));
    if (family == Family::kIpv4) return IpAddress::v4(0x0a000000U + low);
    IpAddress result = IpAddress::parse("2001:db8::").value();
    for (uint8_t i = 0; i < 8; ++i) result = result.with_bit(static_cast<uint8_t>(127 - i), low >> i & 1);
    return result;
  };
  const Family family = random.below(4) == 0 ? Family::kIpv6 : Family::kIpv4;
  const IpAddress a = address(family), b = address(family);
  TrafficSelector selector{{std::min(a, b), std::max(a, b)}};
  constexpr uint8_t kProtocols[] = {0, 0, 6, 17, 1};  // NOLINT(cppcoreguidelines-avoid-c-arrays)
  selector.protocol = kProtocols[random.below(5)];
  if (selector.protocol == 0 || (selector.protocol == 1 && draw == Draw::kExpressible)) return selector;
  switch (random.below(4)) {
    case 0: break;
    case 1:
      if (draw == Draw::kAll) {
        selector.port_first = 65535;
        selector.port_last = 0;
      }
      break;
    default:
      selector.port_first = static_cast<uint16_t>(random.below(12));
      selector.port_last = static_cast<uint16_t>(selector.port_first + random.below(12));
      if (random.below(4) == 0) selector.port_last = 65535;
  }
  return selector;
}

inline SelectorList draw_selectors(SeededRandom& random, size_t most, Draw draw = Draw::kAll) {
  SelectorList list;
  for (size_t count = 1 + random.below(most); count > 0; --count) list.push_back(draw_selector(random, draw));
  return list;
}

}  // namespace ipsec::policy
