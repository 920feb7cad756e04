#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace ipsec::agent::ctl {

enum class Color : uint8_t { kOff, kOn };
enum class Paint : uint8_t { kPlain, kBold, kDim, kGood, kWarning, kBad };

std::string paint(std::string_view text, Paint paint, Color color);
/// Good, warning or bad for the words that states are made of; plain for all others.
Paint paint_of(std::string_view word);
/// Control characters replaced, so that nothing that a peer named can move the cursor.
std::string clean(std::string_view text);
/// The same, line by line.
std::string clean_lines(std::string_view text);
/// Columns on a terminal, counting a code point as one.
size_t width(std::string_view text);
/// "tunnel-9" before "tunnel-10".
bool natural_less(std::string_view a, std::string_view b);
/// The value for people: null is "unknown", lists are joined, booleans are yes and no.
std::string cell(const nlohmann::json& value);
/// "2d 3h", "4m 5s"; "unknown" for null.
std::string duration(const nlohmann::json& seconds);
/// One word, or two: `count(1, "row")` is "1 row".
std::string count(int64_t number, std::string_view noun);

/// Aligned columns; the last one is not padded.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string render(Color color) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ipsec::agent::ctl
