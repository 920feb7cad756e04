#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "agent/control/access.h"

namespace ipsec::agent::control {

enum class MethodId : uint8_t {
  kGetInfo,
  kGetInterfaceDescription,
  kStatus,
  kList,
  kShow,
  kUp,
  kDown,
  kRekey,
  kMonitor,
  kConfigCheck,
  kConfigDiff,
  kConfigApply,
  kConfigEffective,
  kExplain,
  kExplainNegotiation,
  kExplainOffload,
  kOffloadPin,
  kDrift,
  kDriftAdopt,
  kMetrics,
};

struct Parameter {
  enum class Type : uint8_t { kText, kNumber, kBoolean, kTextMap, kNamedTexts };
  enum class Presence : uint8_t { kOptional, kRequired };
  std::string_view name;
  Type type = Type::kText;
  Presence presence = Presence::kRequired;
};

/// One row per method that is served; the interface file has the same ones (a test compares).
struct Method {
  MethodId id;
  std::string_view interface;
  std::string_view name;
  Access needed = Access::kRead;
  std::span<const Parameter> parameters;
};

std::span<const Method> methods();
/// By qualified name: "net.ipsecd.control.Status".
const Method* find_method(std::string_view qualified);
/// The name of the first parameter that is missing, of the wrong type, or not known; nothing if all are well. A null
/// counts as absent.
std::optional<std::string> first_bad_parameter(const Method& method, const nlohmann::json& parameters);

/// The kinds of objects.
struct Kind {
  std::string_view plural;
  std::string_view singular;
};
std::span<const Kind> kinds();
/// The kind with this name, plural or singular.
const Kind* find_kind(std::string_view name);

/// The candidate that differs least from `word`; empty when none is near.
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace ipsec::agent::control
