#include "policy/config_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>

#include "policy/limits.h"

namespace ipsec::policy {
namespace {

std::string duration_text(int64_t milliseconds) {
  struct Unit {
    int64_t size;
    const char* name;
  };
  for (const Unit& unit : {Unit{86400000, "d"}, Unit{3600000, "h"}, Unit{60000, "m"}, Unit{1000, "s"}})
    if (milliseconds >= unit.size && milliseconds % unit.size == 0)
      return std::to_string(milliseconds / unit.size) + unit.name;
  return milliseconds == 0 ? "0s" : std::to_string(milliseconds) + "ms";
}

std::vector<std::string> split(std::string_view words) {
  std::vector<std::string> list;
  while (!words.empty()) {
    const size_t end = std::min(words.find(' '), words.size());
    list.emplace_back(words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return list;
}

/// An empty object, list or null says nothing, so nothing of it can be missed.
bool says_nothing(const JsonNode& node) {
  return node.kind == JsonNode::Kind::kNull ||
         ((node.kind == JsonNode::Kind::kObject || node.kind == JsonNode::Kind::kList) && node.members.empty() &&
          node.elements.empty());
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, int64_t>, 5> kUnits = {
      {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}}};
  const Error bad(Reason::kConfigBadValue, "a duration is written as 30s, 24h, 1h30m or 500ms");
  if (text.empty() || text.size() > 32) return bad;
  int64_t total = 0;
  while (!text.empty()) {
    int64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{} || end == text.data() || count < 0 || count > 1000000000) return bad;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    const size_t unit_length = std::min(text.find_first_of("0123456789"), text.size());
    const auto* unit = std::find_if(kUnits.begin(), kUnits.end(),
                                    [&](const auto& each) { return each.first == text.substr(0, unit_length); });
    if (unit == kUnits.end()) return bad;
    total += count * unit->second;
    if (total > int64_t{1000} * 365 * 86400000) return bad;
    text.remove_prefix(unit_length);
  }
  return Duration(std::chrono::milliseconds(total));
}

std::string pointer_part(std::string_view key) {
  std::string part;
  for (char each : printable(as_bytes(key))) {
    if (each == '~')
      part += "~0";
    else if (each == '/')
      part += "~1";
    else
      part += each;
  }
  return part;
}

std::string ConfigError::text() const {
  std::string whole = file;
  if (line != 0) whole.append(":").append(std::to_string(line));
  if (line != 0 && column != 0) whole.append(":").append(std::to_string(column));
  whole.append(": ");
  if (!pointer.empty()) whole.append(pointer).append(": ");
  whole.append(found.empty() ? std::string(info(reason).text) : "found " + found);
  if (!allowed.empty()) whole.append(found.empty() ? ": " : ", allowed: ").append(allowed);
  return whole;
}

namespace {

/// Where somebody may write a key itself in place of its file or of its credential's name.
bool is_beside_secrets(std::string_view pointer) {
  return pointer.starts_with("/credentials/") || pointer.ends_with("/credential");
}

bool holds_something(const JsonNode& node) {
  return (node.kind == JsonNode::Kind::kText || node.kind == JsonNode::Kind::kNumber) && !node.text.empty();
}

}  // namespace

void ErrorList::add(const JsonNode& at, std::string pointer, Reason reason, std::string found, std::string allowed) {
  const bool of_value =
      reason == Reason::kConfigBadValue || reason == Reason::kConfigBadReference || found == at.shown();
  // A name that is nearly right is no key.
  const bool near = allowed.find("did you mean") != std::string::npos;
  if (holds_something(at) && of_value && !found.empty() && !near && is_beside_secrets(pointer))
    found = "a value (not shown: it may be a key)";
  add(at.file, at.line, std::move(pointer), reason, std::move(found), std::move(allowed));
}

void ErrorList::add(size_t file, size_t line, std::string pointer, Reason reason, std::string found,
                    std::string allowed) {
  if (is_full()) return;
  errors_.push_back({.reason = reason,
                     .file = file < files_.size() ? files_[file].name : std::string(),
                     .line = line,
                     .pointer = std::move(pointer),
                     .found = std::move(found),
                     .allowed = std::move(allowed)});
}

void ErrorList::add_syntax(size_t file, const JsonProblem& problem) {
  add(file, problem.line, {}, Reason::kConfigSyntax, {}, problem.text);
  if (!errors_.empty() && errors_.back().reason == Reason::kConfigSyntax) errors_.back().column = problem.column;
}

ObjectReader::ObjectReader(ErrorList& errors, const JsonNode& node, std::string pointer, std::span<const KeySpec> keys)
    : errors_(errors), node_(node), pointer_(std::move(pointer)), keys_(keys) {
  if (!is_object()) {
    errors_.add(node_, pointer_, Reason::kConfigBadValue, node_.shown(), "an object: { ... }");
    return;
  }
  for (const auto& [key, value] : node_.members) {
    const auto spec =
        std::find_if(keys_.begin(), keys_.end(), [&, &name = key](const KeySpec& each) { return each.key == name; });
    const std::string at = this->pointer(key);
    if (spec == keys_.end())
      errors_.add(value, at, Reason::kConfigUnknownKey, {},
                  "no such key here" + errors_.did_you_mean(key, keys_, std::mem_fn(&KeySpec::key)));
    else if (!spec->served && !says_nothing(value))
      errors_.add(value, at, Reason::kConfigNotSupported, {}, "known, not supported in this version");
  }
  for (const KeySpec& each : keys_)
    if (each.required && node_.find(each.key) == nullptr)
      errors_.add(node_, this->pointer(each.key), Reason::kConfigMissing, {}, std::string(each.meaning));
}

const KeySpec& ObjectReader::spec(std::string_view key) const {
  const auto found = std::find_if(keys_.begin(), keys_.end(), [&](const KeySpec& each) { return each.key == key; });
  VERIFY(found != keys_.end());  // every key that is read stands in the table
  return *found;
}

const JsonNode* ObjectReader::typed(std::string_view key, JsonNode::Kind kind, std::string_view wanted) {
  const JsonNode* node = node_.find(key);
  if (node == nullptr) return nullptr;
  if (node->kind == kind) return node;
  errors_.add(*node, pointer(key), Reason::kConfigBadValue, node->shown(), std::string(wanted));
  return nullptr;
}

void ObjectReader::text(std::string_view key, std::string& target) {
  if (const JsonNode* node = typed(key, JsonNode::Kind::kText, "a text in quotes")) target = node->text;
}

std::optional<size_t> ObjectReader::word(std::string_view key) {
  const std::vector<std::string> words = split(spec(key).words);
  const JsonNode* node = typed(key, JsonNode::Kind::kText, "one of: " + std::string(spec(key).words));
  if (node == nullptr) return std::nullopt;
  const auto found = std::find(words.begin(), words.end(), node->text);
  if (found != words.end()) return static_cast<size_t>(found - words.begin());
  errors_.add(*node, pointer(key), Reason::kConfigBadValue, node->shown(),
              "one of: " + std::string(spec(key).words) + errors_.did_you_mean(node->text, words));
  return std::nullopt;
}

void ObjectReader::flag(std::string_view key, bool& target) {
  if (const JsonNode* node = typed(key, JsonNode::Kind::kBoolean, "true or false")) target = node->boolean;
}

std::optional<int64_t> ObjectReader::integer(std::string_view key) {
  const KeySpec& range = spec(key);
  const std::string allowed =
      "a whole number from " + std::to_string(range.least) + " to " + std::to_string(range.most);
  const JsonNode* node = typed(key, JsonNode::Kind::kNumber, allowed);
  if (node == nullptr) return std::nullopt;
  if (node->integral && node->number >= range.least && node->number <= range.most) return node->number;
  errors_.add(*node, pointer(key), Reason::kConfigBadValue, node->shown(), allowed);
  return std::nullopt;
}

void ObjectReader::duration(std::string_view key, Duration& target) {
  const KeySpec& range = spec(key);
  const std::string allowed =
      "a duration from " + duration_text(range.least) + " to " + duration_text(range.most) + ", as 30s or 1h30m";
  if (const JsonNode* node = node_.find(key); node != nullptr && node->kind == JsonNode::Kind::kNumber) {
    // A bare number would be guessed at: seconds here, milliseconds there.
    errors_.add(*node, pointer(key), Reason::kConfigBadValue, node->shown(),
                "with a unit: \"" + node->text + "s\"; " + allowed);
    return;
  }
  const JsonNode* node = typed(key, JsonNode::Kind::kText, allowed);
  if (node == nullptr) return;
  auto value = parse_duration(node->text);
  const bool fits =
      value.ok() && *value >= std::chrono::milliseconds(range.least) && *value <= std::chrono::milliseconds(range.most);
  if (fits)
    target = *value;
  else
    errors_.add(*node, pointer(key), Reason::kConfigBadValue, node->shown(), allowed);
}

std::vector<const JsonNode*> ObjectReader::texts(std::string_view key) {
  std::vector<const JsonNode*> list;
  const KeySpec& range = spec(key);
  const JsonNode* node = typed(key, JsonNode::Kind::kList, "a list of texts: [\"...\"]");
  if (node == nullptr) return list;
  const auto count = static_cast<int64_t>(node->elements.size());
  if (count < range.least || count > range.most)
    errors_.add(*node, pointer(key), Reason::kConfigBadValue, std::to_string(count) + " elements",
                "a list of " + std::to_string(range.least) + " to " + std::to_string(range.most));
  for (size_t i = 0; i < node->elements.size() && i < static_cast<size_t>(range.most); ++i) {
    const JsonNode& element = node->elements[i];
    if (element.kind == JsonNode::Kind::kText)
      list.push_back(&element);
    else
      errors_.add(element, pointer(key) + "/" + std::to_string(i), Reason::kConfigBadValue, element.shown(),
                  "a text in quotes");
  }
  return list;
}

std::optional<ObjectReader> ObjectReader::object(std::string_view key) {
  const JsonNode* node = node_.find(key);
  if (node == nullptr) return std::nullopt;
  ObjectReader reader(errors_, *node, pointer(key), spec(key).members);
  if (!reader.is_object()) return std::nullopt;
  return reader;
}

std::vector<ObjectReader> ObjectReader::objects(std::string_view key) {
  std::vector<ObjectReader> list;
  const JsonNode* node = typed(key, JsonNode::Kind::kList, "a list of objects: [{ ... }]");
  if (node == nullptr) return list;
  const auto most = static_cast<size_t>(spec(key).most);
  if (node->elements.size() > most)
    errors_.add(*node, pointer(key), Reason::kConfigBadValue, std::to_string(node->elements.size()) + " elements",
                "a list of at most " + std::to_string(most));
  for (size_t i = 0; i < node->elements.size() && i < most; ++i) {
    ObjectReader reader(errors_, node->elements[i], pointer(key) + "/" + std::to_string(i), spec(key).members);
    if (reader.is_object()) list.push_back(reader);
  }
  return list;
}

void ObjectReader::error(const JsonNode& at, std::string_view key, Reason reason, std::string allowed) {
  errors_.add(at, pointer(key), reason, at.shown(), std::move(allowed));
}

void ObjectReader::error(std::string_view key, Reason reason, std::string found, std::string allowed) {
  const JsonNode* node = node_.find(key);
  errors_.add(node != nullptr ? *node : node_, pointer(key), reason, std::move(found), std::move(allowed));
}

}  // namespace ipsec::policy
