#include "agent/metrics/exposition.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "agent/metrics/limits.h"
#include "policy/base/verify.h"

namespace ipsec::agent::metrics {
namespace {

std::vector<std::string_view> split(std::string_view list) {
  std::vector<std::string_view> parts;
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    parts.push_back(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return parts;
}

/// Bytes of the UTF-8 character that `text` begins with; 0: it begins with none (RFC 3629 section 4), or with a control
/// character.
size_t character_at(std::string_view text) {
  const auto byte = [&](size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
  const auto follows = [&](size_t at, unsigned low = 0x80, unsigned high = 0xbf) {
    return byte(at) >= low && byte(at) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool second = follows(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf);
    return second && follows(2) ? 3 : 0;
  }
  if (first < 0xf0 || first > 0xf4) return 0;
  const bool second = follows(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
  return second && follows(2) && follows(3) ? 4 : 0;
}

/// What may stand in a label's value.
std::string cleaned(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    const size_t bytes = character_at(text);
    if (clean.size() + std::max<size_t>(bytes, 1) > kLabelBytesMax) break;
    if (bytes == 0)
      clean += '?';
    else
      clean.append(text.substr(0, bytes));
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return clean;
}

/// Of a label's value, or of a help text. The older format knows no escaped quotation mark in help texts.
enum class Escape : uint8_t { kAll, kNoQuotes };
void append_escaped(std::string& out, std::string_view text, Escape how) {
  for (const char c : text) {
    if (c == '\\' || (c == '"' && how == Escape::kAll)) out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
}

std::string text_of(const Exposition::Value& value) {
  if (const auto* whole = std::get_if<uint64_t>(&value)) return std::to_string(*whole);
  const double number = std::get<double>(value);
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "+Inf" : "-Inf";
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  return std::string(digits.data(), end);
}

/// What the type appends to the names of its series.
std::string_view suffix_of(Type type) {
  switch (type) {
    case Type::kCounter: return "_total";
    case Type::kInfo: return "_info";
    case Type::kGauge:
    case Type::kStateSet: return "";
  }
  return "";
}

void append_head(std::string& out, const FamilyInfo& family, Format format) {
  std::string name(family.name);
  std::string_view type = to_string(family.type);
  if (format == Format::kPrometheus) {
    name += suffix_of(family.type);
    if (family.type != Type::kCounter) type = "gauge";
  }
  out.append("# TYPE ").append(name).append(" ").append(type).append("\n");
  if (format == Format::kOpenMetrics && !family.unit.empty())
    out.append("# UNIT ").append(name).append(" ").append(family.unit).append("\n");
  out.append("# HELP ").append(name).append(" ");
  append_escaped(out, family.help, format == Format::kOpenMetrics ? Escape::kAll : Escape::kNoQuotes);
  out += '\n';
}

std::vector<std::string_view> label_names(const FamilyInfo& family) {
  std::vector<std::string_view> names = split(family.labels);
  if (family.type == Type::kStateSet) names.push_back(family.name);
  return names;
}

}  // namespace

std::string_view to_string(Format format) { return format == Format::kOpenMetrics ? "openmetrics" : "prometheus"; }

void Exposition::put(MetricFamily family, Labels labels, Value value) {
  // The last ones tell how many are missing.
  const bool full = series_ >= kSeriesMax && family < MetricFamily::kCollectTime;
  if (full || !samples_[static_cast<size_t>(family)].emplace(std::move(labels), value).second)
    ++left_out_;
  else
    ++series_;
}

void Exposition::set(MetricFamily family, std::initializer_list<std::string_view> labels, Value value) {
  VERIFY(info(family).type != Type::kStateSet && labels.size() == label_names(info(family)).size());
  Labels all;
  for (const std::string_view each : labels) all.push_back(cleaned(each));
  put(family, std::move(all), value);
}

void Exposition::set_state(MetricFamily family, std::initializer_list<std::string_view> labels,
                           std::string_view state) {
  const FamilyInfo& known = info(family);
  VERIFY(known.type == Type::kStateSet && labels.size() + 1 == label_names(known).size());
  const std::vector<std::string_view> states = split(known.states);
  if (std::ranges::find(states, state) == states.end()) return;
  if (series_ + states.size() > kSeriesMax) {  // whole, or not at all
    left_out_ += states.size();
    return;
  }
  for (const std::string_view each : states) {
    Labels all;
    for (const std::string_view label : labels) all.push_back(cleaned(label));
    all.emplace_back(each);
    put(family, std::move(all), uint64_t{each == state ? 1U : 0U});
  }
}

const Exposition::Value* Exposition::find(MetricFamily family, std::initializer_list<std::string_view> labels) const {
  Labels all;
  for (const std::string_view each : labels) all.push_back(cleaned(each));
  const auto& samples = samples_[static_cast<size_t>(family)];
  const auto it = samples.find(all);
  return it == samples.end() ? nullptr : &it->second;
}

std::string Exposition::text(Format format) const {
  std::string out;
  for (const FamilyInfo& family : families()) {
    append_head(out, family, format);
    const std::string name = std::string(family.name).append(suffix_of(family.type));
    const std::vector<std::string_view> labels = label_names(family);
    for (const auto& [values, value] : samples_[static_cast<size_t>(family.family)]) {
      out += name;
      for (size_t i = 0; i < labels.size(); ++i) {
        out.append(i == 0 ? "{" : ",").append(labels[i]).append("=\"");
        append_escaped(out, values[i], Escape::kAll);
        out += '"';
      }
      out.append(labels.empty() ? " " : "} ").append(text_of(value)).append("\n");
    }
  }
  // In the older format a comment as any other.
  return out.append("# EOF\n");
}

}  // namespace ipsec::agent::metrics
