#include "agent/config_places.h"

#include <charconv>
#include <utility>

#include "agent/limits.h"

namespace ipsec::agent {
namespace {

using policy::JsonNode;

/// The next part of a pointer, unescaped; `pointer` goes on behind it.
std::string take_part(std::string_view& pointer) {
  pointer.remove_prefix(1);
  const std::string_view raw = pointer.substr(0, pointer.find('/'));
  pointer.remove_prefix(raw.size());
  std::string part;
  for (size_t i = 0; i < raw.size(); ++i) {
    const bool escaped = raw[i] == '~' && i + 1 < raw.size();
    part.push_back(!escaped ? raw[i] : raw[i + 1] == '1' ? '/' : '~');
    i += escaped ? 1 : 0;
  }
  return part;
}

const JsonNode* step(const JsonNode& node, const std::string& part) {
  if (node.kind == JsonNode::Kind::kObject) return node.find(part);
  if (node.kind != JsonNode::Kind::kList) return nullptr;
  size_t index = 0;
  const auto [end, failed] = std::from_chars(part.data(), part.data() + part.size(), index);
  const bool is_index = failed == std::errc() && end == part.data() + part.size();
  return is_index && index < node.elements.size() ? &node.elements[index] : nullptr;
}

}  // namespace

void ConfigPlaces::read() {
  if (std::exchange(read_, true)) return;
  for (size_t i = 0; i < files_.size(); ++i) {
    if (files_[i].text.size() > kLocatedBytesMax) continue;
    auto parsed = policy::parse_json(files_[i].text, i);
    if (auto* document = std::get_if<JsonNode>(&parsed)) documents_.push_back(std::move(*document));
  }
}

std::optional<ConfigPlaces::Place> ConfigPlaces::find(std::string_view pointer) {
  read();
  std::optional<Place> best;
  size_t deepest = 0;
  for (const JsonNode& document : documents_) {
    const JsonNode* node = &document;
    std::string_view rest = pointer;
    for (size_t depth = 1; rest.starts_with('/'); ++depth) {
      node = step(*node, take_part(rest));
      if (node == nullptr) break;
      if (depth <= deepest) continue;
      deepest = depth;
      best = Place{files_[node->file].name, node->line};
    }
  }
  return best;
}

}  // namespace ipsec::agent
