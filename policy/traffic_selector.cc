#include "policy/traffic_selector.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <tuple>

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

constexpr std::string_view kOpaque = "opaque";
constexpr size_t kNarrowingWorkMax = size_t{1} << 17;  // comparisons: two full lists that meet once each take half

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

/// One end of a range of ICMP messages: "8" or "8/0". RFC 7296 3.13.1: the type stands in the high byte of the port,
/// the code in the low one.
std::optional<uint16_t> parse_icmp_end(std::string_view text, uint8_t code_of_type_alone) {
  const size_t slash = text.find('/');
  const auto type = number<uint8_t>(text.substr(0, slash));
  const auto icmp_code = slash == std::string_view::npos ? code_of_type_alone : number<uint8_t>(text.substr(slash + 1));
  if (!type || !icmp_code) return std::nullopt;
  return static_cast<uint16_t>(*type << 8 | *icmp_code);
}

/// "8", "8/0", "8-13", "3/1-3/4".
std::optional<std::pair<uint16_t, uint16_t>> parse_icmp(std::string_view text) {
  const size_t dash = text.find('-');
  const std::string_view from = text.substr(0, dash);
  const auto first = parse_icmp_end(from, 0);
  const auto last = parse_icmp_end(dash == std::string_view::npos ? from : text.substr(dash + 1), 255);
  if (!first || !last || *last < *first) return std::nullopt;
  return std::pair(*first, *last);
}

/// "tcp", "tcp/443", "17/1000-2000", "icmp/8/0" (type and code), "tcp/opaque".
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
  if (ports == kOpaque) {
    selector.port_first = 65535;
    selector.port_last = 0;
    return {};
  }
  if (selector.protocol == 1 || selector.protocol == 58) {
    const auto types = parse_icmp(ports);
    if (!types) return bad;
    std::tie(selector.port_first, selector.port_last) = *types;
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
  if (protocol == TrafficSelector::kAnyProtocol) return "any";
  for (const auto& [text, value] : kProtocolNames)
    if (value == protocol) return std::string(text);
  return std::to_string(protocol);
}

std::string icmp_text(uint16_t first, uint16_t last) {
  auto end_text = [](uint16_t value, bool with_code) {
    std::string text = std::to_string(value >> 8);
    return with_code ? text + "/" + std::to_string(value & 255) : text;
  };
  const bool whole_types = (first & 255) == 0 && (last & 255) == 255;
  if (first == last || (whole_types && first >> 8 == last >> 8)) return end_text(first, !whole_types);
  return end_text(first, !whole_types) + "-" + end_text(last, !whole_types);
}

/// Addresses by ports of one protocol. OPAQUE is a port of its own above all others, so that "any port" is one range.
struct Area {
  IpRange addresses;
  uint32_t port_first, port_last;
};

Area area_of(const TrafficSelector& selector) {
  constexpr uint32_t kOpaquePort = 65536;
  if (selector.opaque()) return {selector.addresses, kOpaquePort, kOpaquePort};
  return {selector.addresses, selector.port_first, selector.any_port() ? kOpaquePort : selector.port_last};
}

/// Appends what of `from` does not lie in `cut`: beside it, and above and below it.
void subtract(const Area& from, const Area& cut, std::vector<Area>& rest) {
  const IpAddress first = std::max(from.addresses.first, cut.addresses.first);
  const IpAddress last = std::min(from.addresses.last, cut.addresses.last);
  const uint32_t port_first = std::max(from.port_first, cut.port_first);
  const uint32_t port_last = std::min(from.port_last, cut.port_last);
  if (last < first || port_last < port_first) return rest.push_back(from);
  if (from.addresses.first < first)
    rest.push_back({{from.addresses.first, first.previous()}, from.port_first, from.port_last});
  if (last < from.addresses.last) rest.push_back({{last.next(), from.addresses.last}, from.port_first, from.port_last});
  if (from.port_first < port_first) rest.push_back({{first, last}, from.port_first, port_first - 1});
  if (port_last < from.port_last) rest.push_back({{first, last}, port_last + 1, from.port_last});
}

bool overlap(const Area& a, const Area& b) {
  return a.addresses.first <= b.addresses.last && b.addresses.first <= a.addresses.last &&
         a.port_first <= b.port_last && b.port_first <= a.port_last;
}

bool is_covered(const TrafficSelector& inner, std::span<const TrafficSelector> outer, size_t& pieces_left) {
  const Area whole = area_of(inner);
  std::vector<Area> cuts;
  for (const TrafficSelector& each : outer) {
    if (each.contains(inner)) return true;
    if (each.addresses.first.family() != inner.addresses.first.family()) continue;
    if (each.protocol != TrafficSelector::kAnyProtocol && each.protocol != inner.protocol) continue;
    if (const Area cut = area_of(each); overlap(whole, cut)) cuts.push_back(cut);
  }
  // In ascending order, so that few pieces are left at any time.
  std::sort(cuts.begin(), cuts.end(), [](const Area& a, const Area& b) {
    return std::tie(a.addresses.first, a.port_first) < std::tie(b.addresses.first, b.port_first);
  });
  std::vector<Area> left = {whole}, rest;
  for (const Area& cut : cuts) {
    if (pieces_left < left.size()) return pieces_left = 0, false;
    pieces_left -= left.size();
    rest.clear();
    for (const Area& area : left) subtract(area, cut, rest);
    std::swap(left, rest);
    if (left.empty()) return true;
  }
  return false;
}

}  // namespace

bool TrafficSelector::contains(const TrafficSelector& other) const {
  if (addresses.first.family() != other.addresses.first.family() || !addresses.contains(other.addresses)) return false;
  if (protocol != kAnyProtocol && protocol != other.protocol) return false;
  if (any_port()) return true;
  if (opaque() || other.opaque()) return opaque() && other.opaque();
  return port_first <= other.port_first && other.port_last <= port_last;
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
  if (selector.opaque()) {
    text.append("/").append(kOpaque);
  } else if (!selector.any_port() && icmp) {
    text.append("/").append(icmp_text(selector.port_first, selector.port_last));
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
  if (a.opaque() || b.opaque()) {
    if (!(a.opaque() && b.opaque()) && !(a.opaque() ? b : a).any_port()) return std::nullopt;
    both.port_first = 65535;
    both.port_last = 0;
    return both;
  }
  both.port_first = std::max(a.port_first, b.port_first);
  both.port_last = std::min(a.port_last, b.port_last);
  if (both.port_last < both.port_first) return std::nullopt;
  return both;
}

SelectorList narrow(std::span<const TrafficSelector> configured, std::span<const TrafficSelector> offered,
                    bool* left_out) {
  SelectorList result;
  size_t work = 0;
  bool cut = false;
  for (const TrafficSelector& theirs : offered)
    for (const TrafficSelector& ours : configured) {
      const auto both = cut ? std::nullopt : intersect(ours, theirs);
      if (!both) continue;
      add_selector(result, *both);
      work += result.size();
      cut = result.size() > kSelectorsMax || work > kNarrowingWorkMax;
    }
  // What is left out still leaves a subset, which is all that is asked of a responder.
  if (result.size() > kSelectorsMax) result.resize(kSelectorsMax);
  if (left_out != nullptr) *left_out = *left_out || cut;
  return result;
}

void add_selector(SelectorList& list, const TrafficSelector& selector) {
  if (std::any_of(list.begin(), list.end(), [&](const TrafficSelector& each) { return each.contains(selector); }))
    return;
  auto within = [&](const TrafficSelector& each) { return selector.contains(each); };
  const auto first = std::find_if(list.begin(), list.end(), within);
  if (first == list.end()) return list.push_back(selector);
  *first = selector;
  list.erase(std::remove_if(first + 1, list.end(), within), list.end());
}

bool all_within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer) {
  size_t pieces_left = kCoverPiecesMax;
  return all_within(inner, outer, pieces_left);
}

bool all_within(std::span<const TrafficSelector> inner, std::span<const TrafficSelector> outer, size_t& pieces_left) {
  for (size_t i = 0; i < inner.size(); ++i) {
    if (i < outer.size() && outer[i].contains(inner[i])) continue;  // lists that are alike are common
    if (!is_covered(inner[i], outer, pieces_left)) return false;
  }
  return true;
}

}  // namespace ipsec::policy
