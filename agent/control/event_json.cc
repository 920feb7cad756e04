#include "agent/control/event_json.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "agent/control/methods.h"
#include "policy/base/bytes.h"

namespace ipsec::agent::control {

using nlohmann::json;

std::string rfc3339(WallTime time) {
  const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(time.since_epoch).count();
  const std::time_t seconds = milliseconds / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::array<char, 8> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%03dZ", static_cast<int>(milliseconds % 1000));
  return std::string(text.data(), length).append(fraction.data());
}

json event_json(const Event& event) {
  json fields = json::object();
  for (const Field& field : event.fields) fields[field.name] = field.value;
  const ReasonInfo& reason = info(event.reason);
  return {{"sequence", event.sequence}, {"time", rfc3339(event.time)}, {"object", event.object},
          {"code", reason.code},        {"text", reason.text},         {"fields", std::move(fields)}};
}

namespace {

std::string quoted(std::string_view text) { return "\"" + printable(as_bytes(std::string(text)), 64) + "\""; }

}  // namespace

Result<json> explain_json(std::string_view code) {
  const auto reason = reason_from_code(code);
  if (!reason) {
    std::vector<std::string_view> codes;
    for (size_t i = 0; i < kReasonCount; ++i) codes.push_back(ipsec::code(static_cast<Reason>(i)));
    const std::string near = nearest(code, codes);
    return Error(Reason::kNotFound,
                 "there is no code " + quoted(code) + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
  const ReasonInfo& row = info(*reason);
  json fields = json::array();
  for (std::string_view rest = row.fields; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    fields.push_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return json{{"code", row.code}, {"text", row.text}, {"fields", std::move(fields)}, {"remedy", row.remedy}};
}

}  // namespace ipsec::agent::control
