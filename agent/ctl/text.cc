#include "agent/ctl/text.h"

#include <algorithm>
#include <array>
#include <utility>

#include "agent/control/message.h"

namespace ipsec::agent::ctl {

using nlohmann::json;

std::string paint(std::string_view text, Paint paint, Color color) {
  if (color == Color::kOff || text.empty()) return std::string(text);
  const char* code = "";
  switch (paint) {
    case Paint::kPlain: return std::string(text);
    case Paint::kBold: code = "\x1b[1m"; break;
    case Paint::kDim: code = "\x1b[2m"; break;
    case Paint::kGood: code = "\x1b[32m"; break;
    case Paint::kWarning: code = "\x1b[33m"; break;
    case Paint::kBad: code = "\x1b[31m"; break;
  }
  return std::string(code).append(text).append("\x1b[0m");
}

Paint paint_of(std::string_view word) {
  constexpr std::array<std::pair<std::string_view, Paint>, 14> kWords = {{{"ok", Paint::kGood},
                                                                          {"up", Paint::kGood},
                                                                          {"established", Paint::kGood},
                                                                          {"installed", Paint::kGood},
                                                                          {"packet", Paint::kGood},
                                                                          {"crypto", Paint::kGood},
                                                                          {"degraded", Paint::kWarning},
                                                                          {"establishing", Paint::kWarning},
                                                                          {"software", Paint::kWarning},
                                                                          {"orphaned", Paint::kWarning},
                                                                          {"down", Paint::kBad},
                                                                          {"failed", Paint::kBad},
                                                                          {"idle", Paint::kDim},
                                                                          {"disabled", Paint::kDim}}};
  for (const auto& [known, paint] : kWords)
    if (known == word) return paint;
  return Paint::kPlain;
}

std::string clean(std::string_view text) {
  std::string safe(text);
  for (char& c : safe)
    if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7f) c = '?';
  return safe;
}

std::string clean_lines(std::string_view text) {
  std::string safe = clean(text);
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\n') safe[i] = '\n';
  return safe;
}

size_t width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes a run of digits, or one other character, from the front.
std::string_view take(std::string_view& text) {
  size_t length = 1;
  if (is_digit(text[0]))
    while (length < text.size() && is_digit(text[length])) ++length;
  const std::string_view token = text.substr(0, length);
  text.remove_prefix(length);
  return token;
}

std::string_view without_zeros(std::string_view digits) {
  return digits.substr(std::min(digits.find_first_not_of('0'), digits.size() - 1));
}

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  std::string_view left = a;
  std::string_view right = b;
  while (!left.empty() && !right.empty()) {
    std::string_view x = take(left);
    std::string_view y = take(right);
    if (is_digit(x[0]) && is_digit(y[0])) {
      x = without_zeros(x);
      y = without_zeros(y);
      if (x.size() != y.size()) return x.size() < y.size();
    }
    if (x != y) return x < y;
  }
  if (left.empty() != right.empty()) return left.empty();
  return a < b;
}

std::string cell(const json& value) {
  if (value.is_null()) return "unknown";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return clean(value.get<std::string>());
  if (!value.is_array()) return control::to_text(value);
  std::string joined;
  for (const json& item : value) joined.append(joined.empty() ? "" : ", ").append(cell(item));
  return joined.empty() ? "-" : joined;
}

std::string duration(const json& seconds) {
  if (!seconds.is_number_integer()) return "unknown";
  struct Unit {
    int64_t seconds;
    std::string_view name;
  };
  constexpr std::array<Unit, 4> kUnits = {{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}}};
  auto rest = seconds.get<int64_t>();
  std::string text;
  int parts = 0;
  for (const Unit& unit : kUnits) {
    const int64_t count = rest / unit.seconds;
    rest %= unit.seconds;
    if (count > 0 && parts < 2) text.append(text.empty() ? "" : " ").append(std::to_string(count)).append(unit.name);
    if (!text.empty()) ++parts;
  }
  return text.empty() ? "0s" : text;
}

std::string count(int64_t number, std::string_view noun) {
  return std::to_string(number).append(" ").append(noun).append(number == 1 ? "" : "s");
}

std::string Table::render(Color color) const {
  std::vector<size_t> widths;
  for (const auto& text : header_) widths.push_back(width(text));
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  std::string out;
  const auto line = [&](const std::vector<std::string>& texts, bool is_header) {
    for (size_t i = 0; i < texts.size(); ++i) {
      out.append(paint(texts[i], is_header ? Paint::kBold : paint_of(texts[i]), color));
      if (i + 1 < texts.size()) out.append(widths[i] - width(texts[i]) + 2, ' ');
    }
    out.push_back('\n');
  };
  line(header_, true);
  for (const auto& row : rows_) line(row, false);
  return out;
}

}  // namespace ipsec::agent::ctl
