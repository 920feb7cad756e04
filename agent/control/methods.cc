#include "agent/control/methods.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "agent/control/message.h"

namespace ipsec::agent::control {

using nlohmann::json;

namespace {

using Type = Parameter::Type;
constexpr auto kOptional = Parameter::Presence::kOptional;

constexpr Parameter kInterfaceParameters[] = {{.name = "interface"}};
constexpr Parameter kListParameters[] = {{.name = "kind"},
                                         {.name = "filter", .type = Type::kTextMap, .presence = kOptional}};
constexpr Parameter kShowParameters[] = {{.name = "kind"}, {.name = "name"}};
constexpr Parameter kTunnelParameters[] = {{.name = "tunnel"}, {.name = "child", .presence = kOptional}};
constexpr Parameter kRekeyParameters[] = {{.name = "tunnel"},
                                          {.name = "child", .presence = kOptional},
                                          {.name = "ike", .type = Type::kBoolean, .presence = kOptional}};
constexpr Parameter kMonitorParameters[] = {{.name = "from", .type = Type::kNumber, .presence = kOptional},
                                            {.name = "follow", .type = Type::kBoolean, .presence = kOptional}};
constexpr Parameter kFilesParameters[] = {{.name = "files", .type = Type::kNamedTexts}};
constexpr Parameter kCodeParameters[] = {{.name = "code"}};
constexpr Parameter kNetnsParameters[] = {{.name = "netns", .presence = kOptional}};
constexpr Parameter kOneTunnelParameters[] = {{.name = "tunnel"}};
constexpr Parameter kPinParameters[] = {{.name = "tunnel"},
                                        {.name = "child", .presence = kOptional},
                                        {.name = "to"},
                                        {.name = "once", .type = Type::kBoolean, .presence = kOptional}};
constexpr Parameter kFormatParameters[] = {{.name = "format", .presence = kOptional}};
constexpr Parameter kPeerParameters[] = {{.name = "peer", .presence = kOptional}};

constexpr Method kMethods[] = {
    // Everybody may learn who this is, also to be told afterwards what is missing.
    {MethodId::kGetInfo, kServiceInterface, "GetInfo", Access::kNone, {}},
    {MethodId::kGetInterfaceDescription, kServiceInterface, "GetInterfaceDescription", Access::kNone,
     kInterfaceParameters},
    {MethodId::kStatus, kInterface, "Status", Access::kRead, {}},
    {MethodId::kList, kInterface, "List", Access::kRead, kListParameters},
    {MethodId::kShow, kInterface, "Show", Access::kRead, kShowParameters},
    {MethodId::kUp, kInterface, "Up", Access::kWrite, kTunnelParameters},
    {MethodId::kDown, kInterface, "Down", Access::kWrite, kTunnelParameters},
    {MethodId::kRekey, kInterface, "Rekey", Access::kWrite, kRekeyParameters},
    {MethodId::kMonitor, kInterface, "Monitor", Access::kRead, kMonitorParameters},
    {MethodId::kConfigCheck, kInterface, "ConfigCheck", Access::kRead, kFilesParameters},
    {MethodId::kConfigDiff, kInterface, "ConfigDiff", Access::kRead, {}},
    {MethodId::kConfigApply, kInterface, "ConfigApply", Access::kWrite, {}},
    {MethodId::kConfigEffective, kInterface, "ConfigEffective", Access::kRead, {}},
    {MethodId::kExplain, kInterface, "Explain", Access::kRead, kCodeParameters},
    {MethodId::kExplainNegotiation, kInterface, "ExplainNegotiation", Access::kRead, kPeerParameters},
    {MethodId::kExplainOffload, kInterface, "ExplainOffload", Access::kRead, kOneTunnelParameters},
    {MethodId::kOffloadPin, kInterface, "OffloadPin", Access::kWrite, kPinParameters},
    {MethodId::kDrift, kInterface, "Drift", Access::kRead, kNetnsParameters},
    {MethodId::kDriftAdopt, kInterface, "DriftAdopt", Access::kWrite, kNetnsParameters},
    {MethodId::kMetrics, kInterface, "Metrics", Access::kRead, kFormatParameters},
};

constexpr Kind kKinds[] = {
    {"groups", "group"}, {"tunnels", "tunnel"},  {"sas", "sa"},       {"children", "child"},
    {"peers", "peer"},   {"devices", "device"},  {"routes", "route"}, {"credentials", "credential"},
    {"seats", "seat"},   {"carriers", "carrier"}};

bool has_type(const json& value, Type type) {
  switch (type) {
    case Type::kText: return value.is_string();
    case Type::kNumber: return value.is_number_integer();
    case Type::kBoolean: return value.is_boolean();
    case Type::kTextMap:
      return value.is_object() && std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); });
    case Type::kNamedTexts:
      return value.is_array() && std::all_of(value.begin(), value.end(), [](const json& v) {
               return member_at(v, "name").is_string() && member_at(v, "text").is_string();
             });
  }
  return false;
}

}  // namespace

std::span<const Method> methods() { return kMethods; }
std::span<const Kind> kinds() { return kKinds; }

const Method* find_method(std::string_view qualified) {
  const size_t dot = qualified.rfind('.');
  if (dot == std::string_view::npos) return nullptr;
  for (const Method& method : kMethods)
    if (method.interface == qualified.substr(0, dot) && method.name == qualified.substr(dot + 1)) return &method;
  return nullptr;
}

std::optional<std::string> first_bad_parameter(const Method& method, const json& parameters) {
  for (const Parameter& wanted : method.parameters) {
    const json& value = member_at(parameters, wanted.name);
    const bool missing_allowed = wanted.presence == Parameter::Presence::kOptional;
    if (value.is_null() ? !missing_allowed : !has_type(value, wanted.type)) return std::string(wanted.name);
  }
  for (const auto& [name, value] : parameters.items()) {
    const auto known = [&key = name](const Parameter& wanted) { return wanted.name == key; };
    if (!std::any_of(method.parameters.begin(), method.parameters.end(), known)) return name;
  }
  return std::nullopt;
}

const Kind* find_kind(std::string_view name) {
  for (const Kind& kind : kKinds)
    if (kind.plural == name || kind.singular == name) return &kind;
  return nullptr;
}

namespace {

/// Levenshtein's distance.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
  constexpr size_t kWordMax = 64;  // no name or code is longer
  std::string_view best;
  size_t least = word.size() / 3 + 2;
  for (const std::string_view candidate : candidates) {
    if (word.size() > kWordMax || candidate.size() > kWordMax) continue;
    const size_t here = distance(word, candidate);
    if (here < least) {
      least = here;
      best = candidate;
    }
  }
  return std::string(best);
}

}  // namespace ipsec::agent::control
