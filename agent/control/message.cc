#include "agent/control/message.h"

#include "agent/control/limits.h"

namespace ipsec::agent::control {

using nlohmann::json;

namespace {

constexpr std::string_view kNotAnObject = "the message is not a JSON object";

/// The deepest nesting of brackets outside strings: looked at before parsing, because a parsed tree is walked
/// recursively later.
size_t nesting(std::string_view text) {
  size_t depth = 0;
  size_t deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

Status read_flag(const json& object, const char* key, Flag& flag) {
  const json& value = member_at(object, key);
  if (value.is_null()) return {};
  if (!value.is_boolean()) return Error(Reason::kMalformed, std::string("\"") + key + "\" is not a boolean");
  flag = flag_at(object, key);
  return {};
}

Status read_parameters(const json& object, json& parameters) {
  const json& value = member_at(object, "parameters");
  if (value.is_null()) return {};
  if (!value.is_object()) return Error(Reason::kMalformed, "\"parameters\" is not an object");
  parameters = value;
  return {};
}

}  // namespace

Result<json> parse_json(std::string_view text, size_t depth_max) {
  if (nesting(text) > depth_max)
    return Error(Reason::kLimitReached, "JSON nested deeper than " + std::to_string(depth_max));
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return Error(Reason::kMalformed, "not valid JSON");
  return value;
}

std::string to_text(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

const json& member_at(const json& object, std::string_view key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

std::string text_at(const json& object, std::string_view key, std::string_view fallback) {
  const json& value = member_at(object, key);
  return value.is_string() ? value.get<std::string>() : std::string(fallback);
}

int64_t number_at(const json& object, std::string_view key, int64_t fallback) {
  const json& value = member_at(object, key);
  return value.is_number_integer() ? value.get<int64_t>() : fallback;
}

Flag flag_at(const json& object, std::string_view key) {
  const json& value = member_at(object, key);
  return value.is_boolean() && value.get<bool>() ? Flag::kOn : Flag::kOff;
}

Result<Call> parse_call(std::string_view text) {
  TRY_ASSIGN(const json message, parse_json(text, kJsonDepthMax), "call");
  if (!message.is_object()) return Error(Reason::kMalformed, std::string(kNotAnObject));
  Call call;
  call.method = text_at(message, "method");
  if (call.method.empty()) return Error(Reason::kMalformed, "\"method\" is missing");
  TRY(read_parameters(message, call.parameters), "call");
  TRY(read_flag(message, "oneway", call.oneway), "call");
  TRY(read_flag(message, "more", call.more), "call");
  TRY(read_flag(message, "upgrade", call.upgrade), "call");
  return call;
}

std::string write_call(const Call& call) {
  json message = {{"method", call.method}, {"parameters", call.parameters}};
  if (call.oneway == Flag::kOn) message["oneway"] = true;
  if (call.more == Flag::kOn) message["more"] = true;
  if (call.upgrade == Flag::kOn) message["upgrade"] = true;
  return to_text(message);
}

Result<Reply> parse_reply(std::string_view text) {
  // Replies come from the daemon, whose objects may nest deeper than a request's.
  TRY_ASSIGN(const json message, parse_json(text, 4 * kJsonDepthMax), "reply");
  if (!message.is_object()) return Error(Reason::kMalformed, std::string(kNotAnObject));
  Reply reply;
  TRY(read_parameters(message, reply.parameters), "reply");
  const json& error = member_at(message, "error");
  if (!error.is_null() && !error.is_string()) return Error(Reason::kMalformed, "reply: \"error\" is not a string");
  reply.error = text_at(message, "error");
  TRY(read_flag(message, "continues", reply.continues), "reply");
  return reply;
}

std::string write_reply(const Reply& reply) {
  json message = {{"parameters", reply.parameters}};
  if (!reply.error.empty()) message["error"] = reply.error;
  if (reply.continues == Flag::kOn) message["continues"] = true;
  return to_text(message);
}

namespace {

std::string qualified(std::string_view interface, std::string_view name) {
  return std::string(interface).append(".").append(name);
}

}  // namespace

Reply invalid_parameter(std::string_view name) {
  return {.parameters = {{"parameter", name}}, .error = qualified(kServiceInterface, "InvalidParameter")};
}

Reply method_not_found(std::string_view method) {
  return {.parameters = {{"method", method}}, .error = qualified(kServiceInterface, "MethodNotFound")};
}

Reply interface_not_found(std::string_view interface) {
  return {.parameters = {{"interface", interface}}, .error = qualified(kServiceInterface, "InterfaceNotFound")};
}

Reply permission_denied(std::string_view method, std::string_view needed) {
  return {.parameters = {{"method", method}, {"needed", needed}}, .error = qualified(kInterface, "PermissionDenied")};
}

Reply failure(const Error& error) {
  const ReasonInfo& reason = info(error.reason());
  return {.parameters = {{"code", reason.code}, {"text", error.text()}, {"remedy", reason.remedy}},
          .error = qualified(kInterface, error.reason() == Reason::kNotFound ? "NotFound" : "Failed")};
}

}  // namespace ipsec::agent::control
