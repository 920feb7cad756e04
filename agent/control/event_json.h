#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "policy/base/events.h"
#include "policy/base/result.h"

namespace ipsec::agent::control {

/// "2026-11-21T05:13:50.123Z" (RFC 3339); years from 1970 to 9999.
std::string rfc3339(WallTime time);
/// The interface's type Event.
nlohmann::json event_json(const Event& event);
/// What Explain answers. Error kNotFound names the nearest code.
Result<nlohmann::json> explain_json(std::string_view code);

}  // namespace ipsec::agent::control
