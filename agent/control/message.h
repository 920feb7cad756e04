#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "policy/base/result.h"

namespace ipsec::agent::control {

/// The interface that net.ipsecd.control.varlink describes, and the one that every Varlink service has.
inline constexpr std::string_view kInterface = "net.ipsecd.control";
inline constexpr std::string_view kServiceInterface = "org.varlink.service";

/// Parses JSON without exceptions and without deep recursion. Error kMalformed, or kLimitReached beyond `depth_max`.
Result<nlohmann::json> parse_json(std::string_view text, size_t depth_max);
/// One line; bytes that are not UTF-8 are replaced, so that it cannot fail.
std::string to_text(const nlohmann::json& value);

/// A member of an object, as what it should be; the fallback when it is absent or something else.
std::string text_at(const nlohmann::json& object, std::string_view key, std::string_view fallback = {});
int64_t number_at(const nlohmann::json& object, std::string_view key, int64_t fallback = 0);
enum class Flag : uint8_t { kOff, kOn };
Flag flag_at(const nlohmann::json& object, std::string_view key);
/// Null when absent.
const nlohmann::json& member_at(const nlohmann::json& object, std::string_view key);

/// A method call of Varlink.
struct Call {
  std::string method;  ///< Qualified: "net.ipsecd.control.Status".
  nlohmann::json parameters = nlohmann::json::object();
  Flag oneway = Flag::kOff;
  Flag more = Flag::kOff;
  Flag upgrade = Flag::kOff;
};

/// Error kMalformed tells what is wrong with the message.
Result<Call> parse_call(std::string_view text);
std::string write_call(const Call& call);

/// A reply of Varlink: parameters of the method, or of the error named.
struct Reply {
  nlohmann::json parameters = nlohmann::json::object();
  std::string error;  ///< Qualified; empty on success.
  Flag continues = Flag::kOff;
};

Result<Reply> parse_reply(std::string_view text);
std::string write_reply(const Reply& reply);

/// Errors of org.varlink.service.
Reply invalid_parameter(std::string_view name);
Reply method_not_found(std::string_view method);
Reply interface_not_found(std::string_view interface);
/// Errors of our interface.
Reply permission_denied(std::string_view method, std::string_view needed);
/// NotFound for Reason::kNotFound, Failed for all others; with code, text and remedy.
Reply failure(const Error& error);

}  // namespace ipsec::agent::control
