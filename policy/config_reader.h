#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "policy/config_keys.h"
#include "policy/config_parser.h"
#include "policy/json_source.h"
#include "policy/limits.h"
#include "policy/name_hints.h"

/// Reading of single keys, shared by all kinds of objects: type, range, unknown keys, with complete errors.
namespace ipsec::policy {

class ErrorList {
 public:
  explicit ErrorList(const std::vector<ConfigFile>& files) : files_(files) {}
  void add(const JsonNode& at, std::string pointer, Reason reason, std::string found, std::string allowed);
  void add(size_t file, size_t line, std::string pointer, Reason reason, std::string found, std::string allowed);
  void add_syntax(size_t file, const JsonProblem& problem);
  std::vector<ConfigError> take() { return std::move(errors_); }
  bool empty() const { return errors_.empty(); }
  /// "; did you mean "x"?" or nothing. Nothing, too, once no more errors are reported or the document has used up its
  /// budget: the hints of a document with thousands of wrong names must not take longer than the rest of it.
  template <typename Names, typename NameOf = std::identity>
  std::string did_you_mean(std::string_view word, const Names& names, const NameOf& name_of = {}) {
    if (is_full()) return {};
    const std::string best = hints_.nearest(word, names, name_of);
    return best.empty() ? std::string() : "; did you mean \"" + best + "\"?";
  }

 private:
  bool is_full() const { return errors_.size() >= kConfigErrorsMax; }
  const std::vector<ConfigFile>& files_;
  std::vector<ConfigError> errors_;
  NameHints hints_;
};

/// A key as a part of a JSON pointer: '~' and '/' escaped (RFC 6901 section 3), printable.
std::string pointer_part(std::string_view key);

/// The name in an entry of a map by name.
inline constexpr auto kNameOfEntry = [](const auto& entry) -> std::string_view { return entry.first; };

/// One object of the document. The constructor reports unknown, unserved and missing keys; the getters report what does
/// not fit and leave their target as it was.
class ObjectReader {
 public:
  ObjectReader(ErrorList& errors, const JsonNode& node, std::string pointer, std::span<const KeySpec> keys);

  bool is_object() const { return node_.kind == JsonNode::Kind::kObject; }
  const JsonNode* find(std::string_view key) const { return node_.find(key); }
  const std::string& pointer() const { return pointer_; }
  std::string pointer(std::string_view key) const { return pointer_ + "/" + pointer_part(key); }

  void text(std::string_view key, std::string& target);
  /// Index of the word in the table's list.
  std::optional<size_t> word(std::string_view key);
  void flag(std::string_view key, bool& target);
  template <typename T>
  void number(std::string_view key, T& target) {
    if (auto value = integer(key)) target = static_cast<T>(*value);
  }
  void duration(std::string_view key, Duration& target);
  /// The texts of a list with their nodes, for errors of their own.
  std::vector<const JsonNode*> texts(std::string_view key);
  /// A member object; nothing when it is absent or not one.
  std::optional<ObjectReader> object(std::string_view key);
  /// The objects of a list; what is no object is reported and left out.
  std::vector<ObjectReader> objects(std::string_view key);
  void error(const JsonNode& at, std::string_view key, Reason reason, std::string allowed);
  void error(std::string_view key, Reason reason, std::string found, std::string allowed);

 private:
  const KeySpec& spec(std::string_view key) const;
  const JsonNode* typed(std::string_view key, JsonNode::Kind kind, std::string_view wanted);
  std::optional<int64_t> integer(std::string_view key);
  ErrorList& errors_;
  const JsonNode& node_;
  std::string pointer_;
  std::span<const KeySpec> keys_;
};

}  // namespace ipsec::policy
