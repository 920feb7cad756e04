#include "policy/json_source.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "policy/base/bytes.h"
#include "policy/limits.h"

namespace ipsec::policy {
namespace {

/// Counts lines while the parser consumes characters: the library tells positions only for errors.
struct Position {
  size_t line = 1;
  char last = 0;
};

class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, Position* position) : at_(at), position_(position) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    position_->last = *at_;
    if (*at_ == '\n') ++position_->line;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  Position* position_;
};

/// Builds the tree from the parser's events.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(const Position& position, size_t file) : position_(position), file_(file) {}
  JsonNode root;
  std::optional<JsonProblem> problem;

  bool null() override { return add({.kind = JsonNode::Kind::kNull, .text = "null"}); }
  bool boolean(bool value) override {
    return add({.kind = JsonNode::Kind::kBoolean, .boolean = value, .text = value ? "true" : "false"});
  }
  bool number_integer(number_integer_t value) override { return add(integer(value, std::to_string(value))); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(INT64_MAX))
      return add({.kind = JsonNode::Kind::kNumber, .text = std::to_string(value)});
    return add(integer(static_cast<int64_t>(value), std::to_string(value)));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return add({.kind = JsonNode::Kind::kNumber, .text = text});
  }
  bool string(string_t& value) override { return add({.kind = JsonNode::Kind::kText, .text = value}); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(JsonNode::Kind::kObject); }
  bool start_array(std::size_t) override { return open(JsonNode::Kind::kList); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (!keys_.back().insert(value).second)
      return stop("the key \"" + printable(as_bytes(value)) + "\" stands twice in one object");
    key_ = value;
    return true;
  }
  bool parse_error(std::size_t, const std::string& token, const nlohmann::json::exception&) override {
    return stop("not JSON near " + shown_token(token));
  }

 private:
  /// Punctuation and the words of JSON as they stand. Anything else may be a key that somebody wrote into the
  /// configuration by mistake, so only its kind is named.
  static std::string shown_token(const std::string& token) {
    constexpr size_t kWordMax = 5;  // "false"
    const bool text = token.find_first_of("\"'") != std::string::npos;
    if (text) return "a text";
    return token.size() > kWordMax ? "a value without quotes" : "\"" + printable(as_bytes(token)) + "\"";
  }
  static JsonNode integer(int64_t value, std::string text) {
    return {.kind = JsonNode::Kind::kNumber, .integral = true, .number = value, .text = std::move(text)};
  }
  bool stop(std::string text) {
    if (!problem) problem = JsonProblem{position_.line, std::move(text)};
    return false;
  }
  JsonNode* place(JsonNode node) {
    node.file = file_;
    // The end of a number is only seen one character later, which may be the next line's.
    node.line = position_.line - (node.kind == JsonNode::Kind::kNumber && position_.last == '\n' ? 1 : 0);
    if (stack_.empty()) return &(root = std::move(node));
    JsonNode& parent = *stack_.back();
    if (parent.kind == JsonNode::Kind::kList) return &parent.elements.emplace_back(std::move(node));
    return &parent.members.emplace_back(JsonMember{key_, std::move(node)}).value;
  }
  bool add(JsonNode node) { return place(std::move(node)), true; }
  bool open(JsonNode::Kind kind) {
    if (stack_.size() >= kConfigDepthMax)
      return stop("nested deeper than " + std::to_string(kConfigDepthMax) + " levels");
    stack_.push_back(place({.kind = kind}));
    keys_.emplace_back();
    return true;
  }
  bool close() { return stack_.pop_back(), keys_.pop_back(), true; }

  const Position& position_;
  size_t file_;
  std::vector<JsonNode*> stack_;  // a parent grows only while its own children are finished: the pointers stay good
  std::vector<std::unordered_set<std::string>> keys_;  // of the open objects: a search per key would be quadratic
  std::string key_;
};

}  // namespace

const JsonNode* JsonNode::find(std::string_view key) const {
  for (const auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}

std::string JsonNode::shown() const {
  switch (kind) {
    case Kind::kText: return "\"" + printable(as_bytes(text), 60) + "\"";
    case Kind::kList: return "a list";
    case Kind::kObject: return "an object";
    case Kind::kNull:
    case Kind::kBoolean:
    case Kind::kNumber: return text;
  }
  return {};
}

std::variant<JsonNode, JsonProblem> parse_json(std::string_view text, size_t file) {
  if (text.size() > kConfigBytesMax) return JsonProblem{1, "larger than " + std::to_string(kConfigBytesMax) + " bytes"};
  // The library takes a NUL for the end of the text and would pass over whatever follows.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    const auto lines = std::ranges::count(text.substr(0, nul), '\n');
    return JsonProblem{static_cast<size_t>(lines) + 1, "a NUL byte: the file is damaged, or no text"};
  }
  Position position;
  TreeBuilder builder(position, file);
  const char* begin = text.data();
  nlohmann::json::sax_parse(CountingIterator(begin, &position), CountingIterator(begin + text.size(), &position),
                            &builder, nlohmann::json::input_format_t::json, true, true);
  if (builder.problem) return std::move(*builder.problem);
  return std::move(builder.root);
}

}  // namespace ipsec::policy
