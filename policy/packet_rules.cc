#include "policy/packet_rules.h"

#include <algorithm>
#include <charconv>

namespace ipsec::policy {
namespace {

constexpr uint8_t kDscpMax = 63, kExpedited = 46;

std::optional<uint32_t> number(std::string_view text, int base = 10) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Class selectors (RFC 2474) and assured forwarding (RFC 2597).
std::optional<uint8_t> dscp_of_name(std::string_view name) {
  if (name == "ef") return kExpedited;
  const auto digit = [&](size_t at, char least, char most) { return name[at] >= least && name[at] <= most; };
  if (name.size() == 3 && name.starts_with("cs") && digit(2, '0', '7'))
    return static_cast<uint8_t>((name[2] - '0') * 8);
  if (name.size() == 4 && name.starts_with("af") && digit(2, '1', '4') && digit(3, '1', '3'))
    return static_cast<uint8_t>((name[2] - '0') * 8 + (name[3] - '0') * 2);
  return std::nullopt;
}

template <typename Map, typename Changes>
void merge_into(const Changes& changes, Map& map) {
  for (const auto& [key, value] : changes) {
    if (value)
      map.insert_or_assign(key, *value);
    else
      map.erase(key);
  }
}

template <typename Key>
void merge_into(const std::map<Key, bool>& changes, std::set<Key>& keys) {
  for (const auto& [key, wanted] : changes) {
    if (wanted)
      keys.insert(key);
    else
      keys.erase(key);
  }
}

void count(std::string& text, size_t number, std::string_view what) {
  if (number == 0) return;
  if (!text.empty()) text.append(", ");
  text.append(std::to_string(number)).append(" ").append(what);
}

}  // namespace

std::string to_string(const PacketRules& rules) {
  std::string text;
  count(text, rules.interfaces.size(), "interfaces with MSS");
  count(text, rules.reqids.size(), "reqids with MSS");
  count(text, rules.inner_df.size(), "destinations without DF");
  count(text, rules.outer.size(), "SAs with outer headers");
  count(text, rules.sealed.size(), "sealed pairs of gateways");
  if (text.empty()) text = "nothing";
  return rules.intact ? text : text + ", changed by others";
}

void PacketRuleChange::apply_to(PacketRules& rules) const {
  merge_into(interfaces, rules.interfaces);
  merge_into(reqids, rules.reqids);
  merge_into(outer, rules.outer);
  merge_into(inner_df, rules.inner_df);
  merge_into(sealed, rules.sealed);
}

bool has_df(const PacketRules& rules) { return !rules.inner_df.empty() || !only_df(rules).outer.empty(); }

bool has_df(const PacketRuleChange& change) {
  return !change.inner_df.empty() || std::ranges::any_of(change.outer, [](const auto& each) {
    return each.first.destination.is_v4() && each.second && each.second->df_set;
  });
}

PacketRules only_df(const PacketRules& rules) {
  PacketRules df{.inner_df = rules.inner_df, .intact = rules.intact};
  for (const auto& [key, header] : rules.outer)
    if (header.df_set && key.destination.is_v4())
      df.outer.emplace(key, OuterHeader{.df_set = true, .dscp = {}, .udp_encapsulation = header.udp_encapsulation});
  return df;
}

PacketRules without_df(const PacketRules& rules) {
  PacketRules rest = rules;
  rest.inner_df.clear();
  for (auto& [key, header] : rest.outer)
    if (key.destination.is_v4()) header.df_set = false;
  std::erase_if(rest.outer, [](const auto& each) { return each.second.empty(); });
  return rest;
}

PacketRuleChange without_df(const PacketRuleChange& change) {
  PacketRuleChange rest = change;
  rest.inner_df.clear();
  for (auto& [key, header] : rest.outer) {
    if (header && key.destination.is_v4()) header->df_set = false;
    if (header && header->empty()) header.reset();
  }
  return rest;
}

PacketRules with_df(PacketRules rest, const PacketRules& df) {
  rest.inner_df.insert(df.inner_df.begin(), df.inner_df.end());
  for (const auto& [key, header] : df.outer) {
    OuterHeader& whole = rest.outer.emplace(key, header).first->second;
    whole.df_set = true;
    // The two parts are of one SA, so that they cannot differ in this unless somebody has changed one of them.
    if (whole.udp_encapsulation != header.udp_encapsulation) rest.intact = false;
  }
  rest.intact = rest.intact && df.intact;
  return rest;
}

OuterHeader outer_header(const ChildPolicy& policy, bool udp_encapsulation) {
  OuterHeader header{.df_set = policy.df == DfMode::kSet, .dscp = {}, .udp_encapsulation = udp_encapsulation};
  if (policy.dscp == DscpMode::kFixed) header.dscp = policy.dscp_value;
  // XFRM zeroes it in a header that it makes; in transport mode it makes none.
  if (policy.dscp == DscpMode::kZero && policy.mode == EspMode::kTransport) header.dscp = uint8_t{0};
  return header;
}

bool goes_by_rules(const ChildPolicy& policy) { return !outer_header(policy, false).empty(); }

std::optional<DscpSetting> parse_dscp(std::string_view text) {
  if (text == "copy") return DscpSetting{};
  if (text == "zero") return DscpSetting{.mode = DscpMode::kZero};
  auto value = dscp_of_name(text);
  if (!value) {
    const auto parsed = text.starts_with("0x") ? number(text.substr(2), 16) : number(text);
    if (!parsed || *parsed > kDscpMax) return std::nullopt;
    value = static_cast<uint8_t>(*parsed);
  }
  return DscpSetting{.mode = DscpMode::kFixed, .value = *value};
}

std::optional<MssClamp> parse_mss(std::string_view text) {
  if (text == "none") return MssClamp{};
  if (text == "mtu") return MssClamp{.mode = MssClamp::Mode::kMtu};
  const auto bytes = number(text);
  if (!bytes || *bytes < kMssMin || *bytes > kMssMax) return std::nullopt;
  return MssClamp{.mode = MssClamp::Mode::kFixed, .bytes = static_cast<uint16_t>(*bytes)};
}

std::string to_string(const MssClamp& clamp) {
  switch (clamp.mode) {
    case MssClamp::Mode::kNone: return "none";
    case MssClamp::Mode::kMtu: return "mtu";
    case MssClamp::Mode::kFixed: return std::to_string(clamp.bytes);
  }
  return {};
}

}  // namespace ipsec::policy
