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
  size_t column = 0;       ///< Of `last`, from 1; 0 behind a line feed.
  size_t line_before = 0;  ///< Columns of the line before.
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
    ++position_->column;
    if (*at_ == '\n') ++position_->line, position_->line_before = position_->column, position_->column = 0;
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
  bool parse_error(std::size_t, const std::string& read, const nlohmann::json::exception& why) override {
    const std::string_view says = why.what();
    if (says.find("- unexpected end of input") != std::string_view::npos)
      return stop("not JSON: the text ends too early" + expectation("", says));
    const std::string token = token_of(read, says);
    return stop("not JSON near " + shown_token(token) + expectation(token, says), token);
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
  /// The token that is wrong: what the library has read ends with it, and begins with it where it is a text or number.
  static std::string token_of(const std::string& read, std::string_view says) {
    const auto is = [says](std::string_view kind) {
      return says.find("- unexpected " + std::string(kind)) != std::string_view::npos;
    };
    if (is("string literal") || is("number literal")) return read;
    const size_t size = is("true literal") || is("null literal") ? 4 : is("false literal") ? 5 : 1;
    return read.size() > size ? read.substr(read.size() - size) : read;
  }
  /// What the library names as expected, in our words: its own text may hold the value that was found.
  static std::string expectation(std::string_view token, std::string_view says) {
    const size_t at = says.rfind("; expected ");
    const std::string_view wanted = at == std::string_view::npos ? std::string_view() : says.substr(at + 11);
    if (token == "'") return ": quotes are double, as in \"text\"";
    if (says.find("missing closing quote") != std::string_view::npos ||
        says.find("control character") != std::string_view::npos)
      return ": a text ends on its line, and a quote is missing";
    const bool closes = token == "}" || token == "]";
    if (wanted == "string literal") return closes ? ": no comma may stand before it" : ": a key in quotes is expected";
    if (wanted == "':'") return ": a colon is expected behind a key";
    if (wanted == "'}'") return ": a comma or } is expected";
    if (wanted == "']'") return ": a comma or ] is expected";
    if (wanted == "end of input") return ": nothing may follow the last }";
    if (says.find("while parsing value") != std::string_view::npos)
      return closes ? ": no comma may stand before it"
                    : ": a value is expected (a text in quotes, a number, true, false)";
    return {};
  }
  static JsonNode integer(int64_t value, std::string text) {
    return {.kind = JsonNode::Kind::kNumber, .integral = true, .number = value, .text = std::move(text)};
  }
  /// `token`: what was read last, and is wrong. Behind a number one character more has been read.
  bool stop(std::string text, std::string_view token = {}) {
    if (problem) return false;
    const bool number = !token.empty() && (token.front() == '-' || (token.front() >= '0' && token.front() <= '9'));
    const bool next_line = number && position_.column == 0 && position_.line > 1;
    const size_t last = (next_line ? position_.line_before : position_.column) - (number ? 1 : 0);
    const size_t column = last + 1 > token.size() ? last + 1 - token.size() : 1;
    problem = JsonProblem{position_.line - (next_line ? 1 : 0), token.empty() ? std::max<size_t>(last, 1) : column,
                          std::move(text)};
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
  if (text.size() > kConfigBytesMax)
    return JsonProblem{1, 0, "larger than " + std::to_string(kConfigBytesMax) + " bytes"};
  // The library takes a NUL for the end of the text and would pass over whatever follows.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    const auto lines = std::ranges::count(text.substr(0, nul), '\n');
    return JsonProblem{static_cast<size_t>(lines) + 1, 0, "a NUL byte: the file is damaged, or no text"};
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
