#include <algorithm>
#include <nlohmann/json.hpp>

#include "policy/config_keys.h"

namespace ipsec::policy {
namespace {

using K = KeyKind;

/// A table's default as the value that a document would hold.
nlohmann::json default_of(const KeySpec& spec) {
  switch (spec.kind) {
    case K::kFlag: return spec.fallback == "true";
    case K::kNumber: return nlohmann::json::parse(spec.fallback);
    case K::kTextList: return nlohmann::json::array({spec.fallback});
    case K::kText:
    case K::kWord:
    case K::kDuration:
    case K::kObject:
    case K::kNamedObjects:
    case K::kObjectList: return spec.fallback;
  }
  return {};
}

nlohmann::json schema_of(std::span<const KeySpec> keys);

nlohmann::json list_of_words(std::string_view words) {
  nlohmann::json list = nlohmann::json::array();
  while (!words.empty()) {
    const size_t end = std::min(words.find(' '), words.size());
    list.push_back(words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return list;
}

/// A proposal: words of the table of algorithms with '-' between them.
nlohmann::json proposal_schema(Protocol protocol) {
  std::string pattern, about;
  for (const auto& [what, type] : {std::pair("ciphers", TransformType::kEncryption),
                                   {"integrity", TransformType::kIntegrity},
                                   {"PRFs", TransformType::kPrf},
                                   {"key exchange", TransformType::kKeyExchange},
                                   {"sequence numbers", TransformType::kEsn}}) {
    const std::string strong = algorithm_names(type, protocol, WeakOnes::kLeftOut);
    if (strong.empty()) continue;
    about.append(about.empty() ? "" : "; ").append(what).append(": ").append(strong);
    std::string all = algorithm_names(type, protocol, WeakOnes::kIncluded);
    std::ranges::replace(all, ' ', '|');
    pattern.append(pattern.empty() ? "" : "|").append(all);
  }
  about.append("; only if defaults.allow_weak names them: ").append(weak_names());
  return {{"type", "string"}, {"pattern", "^(" + pattern + ")(-(" + pattern + "))*$"}, {"description", about}};
}

nlohmann::json schema_of(const KeySpec& spec) {
  nlohmann::json schema{{"description", spec.meaning}};
  if (!spec.fallback.empty()) schema["default"] = default_of(spec);
  switch (spec.kind) {
    case K::kText: schema["type"] = "string"; break;
    case K::kDuration:
      schema["type"] = "string";
      schema["pattern"] = "^([0-9]+(ms|s|m|h|d))+$";
      break;
    case K::kWord: {
      schema["type"] = "string";
      schema["enum"] = list_of_words(spec.words);
      break;
    }
    case K::kFlag: schema["type"] = "boolean"; break;
    case K::kNumber:
      schema["type"] = "integer";
      schema["minimum"] = spec.least;
      schema["maximum"] = spec.most;
      break;
    case K::kTextList:
      schema["type"] = "array";
      schema["items"] = {{"type", "string"}};
      if (spec.proposals_of != Protocol::kNone) schema["items"] = proposal_schema(spec.proposals_of);
      if (spec.key == "allow_weak") schema["items"]["enum"] = list_of_words(weak_names());
      schema["minItems"] = spec.least;
      if (spec.most != 0) schema["maxItems"] = spec.most;
      break;
    case K::kObject: schema.update(schema_of(spec.members)); break;
    case K::kObjectList:
      schema["type"] = "array";
      schema["items"] = schema_of(spec.members);
      schema["maxItems"] = spec.most;
      break;
    case K::kNamedObjects:
      schema["type"] = "object";
      schema["propertyNames"] = {{"pattern", "^[A-Za-z0-9._-]{1,64}$"}};
      schema["additionalProperties"] = schema_of(spec.members);
      break;
  }
  return schema;
}

nlohmann::json schema_of(std::span<const KeySpec> keys) {
  nlohmann::json schema{{"type", "object"}, {"additionalProperties", false}, {"properties", nlohmann::json::object()}};
  for (const KeySpec& each : keys) {
    if (!each.served) continue;
    schema["properties"][std::string(each.key)] = schema_of(each);
    if (each.required) schema["required"].push_back(each.key);
  }
  return schema;
}

}  // namespace

std::string config_schema() {
  nlohmann::json schema = schema_of(config_keys());
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = "ipsecd configuration";
  return schema.dump(2);
}

}  // namespace ipsec::policy
