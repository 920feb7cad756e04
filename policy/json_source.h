#pragma once

#include <string>
#include <variant>
#include <vector>

#include "policy/base/result.h"

namespace ipsec::policy {

struct JsonMember;

/// A JSON value that remembers where it stands: what configuration is read from.
struct JsonNode {
  enum class Kind : uint8_t { kNull, kBoolean, kNumber, kText, kList, kObject };
  Kind kind = Kind::kNull;
  size_t file = 0;  ///< Index of the file.
  size_t line = 0;  ///< From 1.
  bool boolean = false;
  bool integral = false;  ///< A number without fraction that fits `number`.
  int64_t number = 0;
  std::string text;  ///< The text, or a number as it was written.
  std::vector<JsonNode> elements;
  std::vector<JsonMember> members;  ///< In the order of the file.

  const JsonNode* find(std::string_view key) const;
  /// For error messages: the value as it stands, cut when long. ErrorList keeps back what may be a key.
  std::string shown() const;
};

/// A member of an object. Not a pair: a type that holds itself may do so only through a vector of its own kind.
struct JsonMember {
  std::string key;
  JsonNode value;
};

/// Where a document stopped being JSON.
struct JsonProblem {
  size_t line = 0;
  size_t column = 0;  ///< From 1, in bytes; 0 when it is not known.
  std::string text;
};

/// Parses JSON with comments (`//` and `/* */`). Duplicate keys, trailing text, NUL bytes and too deep nesting are
/// problems. The text of a problem holds no value of the document.
std::variant<JsonNode, JsonProblem> parse_json(std::string_view text, size_t file);

}  // namespace ipsec::policy
