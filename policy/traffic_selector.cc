#include "policy/traffic_selector.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "policy/limits.h"

namespace ipsec::policy {
namespace {

constexpr std::array<std::pair<std::string_view, uint8_t>, 9> kProtocolNames = {{{"icmp", 1},
                                                                                 {"tcp", 6},
                                                                                 {"udp", 17},
                                                                                 {"gre", 47},
                                                                                 {"esp", 50},
                                                                                 {"icmpv6", 58},
                                                                                 {"ospf", 89},
                                                                                 {"l2tp", 115},
                                                                                 {"sctp", 132}}};

template <typename T>
std::optional<T> number(std::string_view digits) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

Result<IpRange> parse_addresses(std::string_view text) {
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) {
    TRY_ASSIGN(IpPrefix prefix, IpPrefix::parse(text), "");
    return IpRange::of(prefix);
  }
  TRY_ASSIGN(IpAddress first, IpAddress::parse(text.substr(0, dash)), "first address");
  TRY_ASSIGN(IpAddress last, IpAddress::parse(text.substr(dash + 1)), "last address");
  if (first.family() != last.family() || last < first)
    return Error(Reason::kMalformed, "\"" + std::string(text) + "\" is not a range from a lower to a higher address");
  return IpRange{first, last};
}

/// "tcp", "tcp/443", "17/1000-2000", "icmp/8/0" (type and code).
Status parse_protocol(std::string_view text, TrafficSelector& selector) {
  const Error bad(Reason::kMalformed,
                  "\"" + printable(as_bytes(text)) + "\" is not PROTOCOL, PROTOCOL/PORT or PROTOCOL/FIRST-LAST");
  const size_t slash = text.find('/');
  const std::string_view word = text.substr(0, slash);
  const auto* named =
      std::find_if(kProtocolNames.begin(), kProtocolNames.end(), [&](const auto& each) { return each.first == word; });
  if (named != kProtocolNames.end()) {
    selector.protocol = named->second;
  } else if (auto value = number<uint8_t>(word); value && *value != 0) {
    selector.protocol = *value;
  } else {
    return bad;
  }
  if (slash == std::string_view::npos) return {};
  const std::string_view ports = text.substr(slash + 1);
  if (selector.protocol == 1 || selector.protocol == 58) {
    // RFC 7296 3.13.1: the type stands in the high byte of the port, the code in the low one.
    const size_t second = ports.find('/');
    const auto type = number<uint8_t>(ports.substr(0, second));
    const auto icmp_code = second == std::string_view::npos ? std::nullopt : number<uint8_t>(ports.substr(second + 1));
    if (!type || (second != std::string_view::npos && !icmp_code)) return bad;
    selector.port_first = static_cast<uint16_t>(*type << 8 | icmp_code.value_or(0));
    selector.port_last = static_cast<uint16_t>(*type << 8 | icmp_code.value_or(255));
    return {};
  }
  const size_t dash = ports.find('-');
  const auto first = number<uint16_t>(ports.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : number<uint16_t>(ports.substr(dash + 1));
  if (!first || !last || *last < *first) return bad;
  selector.port_first = *first;
  selector.port_last = *last;
  return {};
}

std::string protocol_name(uint8_t protocol) {
  for (const auto& [text, value] : kProtocolNames)
    if (value == protocol) return std::string(text);
  return std::to_string(protocol);
}

}  // namespace

bool TrafficSelector::contains(const TrafficSelector& other) const {
  return addresses.first.family() == other.addresses.first.family() && addresses.contains(other.addresses) &&
         (protocol == kAnyProtocol || protocol == other.protocol) &&
         (any_port() || (port_first <= other.port_first && other.port_last <= port_last));
}

Result<TrafficSelector> parse_selector(std::string_view text) {
  const size_t bracket = text.find('[');
  TrafficSelector selector;
  TRY_ASSIGN(selector.addresses, parse_addresses(text.substr(0, bracket)), "");
  if (bracket == std::string_view::npos) return selector;
  if (text.back() != ']') return Error(Reason::kMalformed, "\"" + printable(as_bytes(text)) + "\": ] is missing");
  TRY(parse_protocol(text.substr(bracket + 1, text.size() - bracket - 2), selector), "");
  return selector;
}

std::string to_string(const TrafficSelector& selector) {
  std::string text = to_string(selector.addresses);
  if (selector.protocol == TrafficSelector::kAnyProtocol && selector.any_port()) return text;
  text.append("[").append(protocol_name(selector.protocol));
  const bool icmp = selector.protocol == 1 || selector.protocol == 58;
  if (!selector.any_port() && icmp && selector.port_first >> 8 == selector.port_last >> 8) {
    text.append("/").append(std::to_string(selector.port_first >> 8));
    if (selector.port_first == selector.port_last) text.append("/").append(std::to_string(selector.port_first & 255));
  } else if (!selector.any_port()) {
    text.append("/").append(std::to_string(selector.port_first));
    if (selector.port_last != selector.port_first) text.append("-").append(std::to_string(selector.port_last));
  }
  return text.append("]");
}

std::string to_string(std::span<const TrafficSelector> selectors) {
  std::string text;
  for (const TrafficSelector& each : selectors) {
    if (!text.empty()) text.push_back(' ');
    text.append(to_string(each));
  }
  return text;
}

std::optional<TrafficSelector> intersect(const TrafficSelector& a, const TrafficSelector& b) {
  if (a.addresses.first.family() != b.addresses.first.family()) return std::nullopt;
  TrafficSelector both;
  both.addresses = {std::max(a.addresses.first, b.addresses.first), std::min(a.addresses.last, b.addresses.last)};
  if (both.addresses.last < both.addresses.first) return std::nullopt;
  if (a.protocol != b.protocol && a.protocol != TrafficSelector::kAnyProtocol &&
      b.protocol != TrafficSelector::kAnyProtocol)
    return std::nullopt;
  both.protocol = a.protocol != TrafficSelector::kAnyProtocol ? a.protocol : b.protocol;
  // OPAQUE (first above last, RFC 7296 3.13.1) only meets itself and "any port".
  if (a.port_first > a.port_last || b.port_first > b.port_last) {
    const bool a_opaque = a.port_first > a.port_last, b_opaque = b.port_first > b.port_last;
    if (!(a_opaque && b_opaque) && !(a_opaque ? b : a).any_port()) return std::nullopt;
    both.port_first = 65535;
    both.port_last = 0;
    return both;
  }
  both.port_first = std::max(a.port_first, b.port_first);
  both.port_last = std::min(a.port_last, b.port_last);
  if (both.port_last < both.port_first) return std::nullopt;
  return both;
}

SelectorList narrow(std::span<const TrafficSelector> configured, std::span<const TrafficSelector> offered) {
  SelectorList result;
  for (const TrafficSelector& theirs : offered) {
    for (const TrafficSelector& ours : configured) {
      auto both = intersect(ours, theirs);
      if (!both) continue;
      const bool covered =
          std::any_of(result.begin(), result.end(), [&](const TrafficSelector& each) { return each.contains(*both); });
      if (covered) continue;
      std::erase_if(result, [&](const TrafficSelector& each) { return both->contains(each); });
      result.push_back(*both);
      if (result.size() == kSelectorsMax) return result;
    }
  }
  return result;
}

bool all_within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer) {
  return std::all_of(inner.begin(), inner.end(), [&](const TrafficSelector& each) {
    return std::any_of(outer.begin(), outer.end(),
                       [&](const TrafficSelector& allowed) { return allowed.contains(each); });
  });
}

}  // namespace ipsec::policy
