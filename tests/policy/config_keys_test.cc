#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "policy/config_keys.h"
#include "tests/policy/config_support.h"

// The tables of keys, the parser and the published schema must say the same.

using namespace ipsec;
using namespace ipsec::policy;
using nlohmann::json;

namespace {

json base() {
  return json::parse(
      R"({ "version": 1, "node": { "admission": {}, "offload": { "devices": { "ens1": {} } } }, "defaults": {},
    "tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1"] }, "private": {},
      "offload": { "devices": ["ens1"] }, "routes": { "metric": {} } } },
    "ike_policies": { "strong": { "rekey": {}, "retransmit": {}, "retry": {} } },
    "child_policies": { "fast": { "rekey": {} } },
    "credentials": { "key": { "psk": { "file": "key" } } },
    "tunnels": { "a": { "group": "core", "remote": "198.51.100.7", "credential": "key", "offload": {},
      "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"] } } } } })");
}

const std::map<std::string_view, std::string> kInstances = {
    {"tunnel_groups", "core"}, {"ike_policies", "strong"}, {"child_policies", "fast"}, {"credentials", "key"},
    {"tunnels", "a"},          {"children", "lan"},        {"devices", "ens1"}};

using Visit = std::function<void(const KeySpec&, const std::string& pointer, const json& schema)>;

void each_key(std::span<const KeySpec> keys, const std::string& pointer, const json& schema, const Visit& visit) {
  for (const KeySpec& key : keys) {
    if (!key.served) continue;
    const std::string at = pointer + "/" + std::string(key.key);
    CAPTURE(at);
    REQUIRE(schema["properties"].contains(std::string(key.key)));
    const json& here = schema["properties"][std::string(key.key)];
    visit(key, at, here);
    if (key.kind == KeyKind::kObject) each_key(key.members, at, here, visit);
    if (key.kind == KeyKind::kNamedObjects)
      each_key(key.members, at + "/" + kInstances.at(key.key), here["additionalProperties"], visit);
    if (key.kind == KeyKind::kObjectList) each_key(key.members, at + "/0", here["items"], visit);
  }
}

void each_key(const Visit& visit) { each_key(config_keys(), "", json::parse(config_schema()), visit); }

/// A tunnel whose keys are manual.
const std::vector<std::pair<std::string, json>> kManual = {
    {"/node/allow_manual_keys", true},
    {"/child_policies/fast/proposals", json::array({"aes256-sha256"})},
    {"/credentials/static", json::parse(R"({ "manual": { "in": { "file": "in" }, "out": { "file": "out" } } })")},
    {"/tunnels/a", json::parse(R"({ "group": "core", "remote": "198.51.100.7", "children": { "lan": {
       "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"], "policy": "fast",
       "manual": { "spi_in": 300, "spi_out": 301, "credential": "static" } } } })")}};

/// What goes with any value of a key because of a rule between the two.
const std::map<std::string, std::vector<std::pair<std::string, json>>> kCompanions = {
    {"/ike_policies/strong/retransmit/first", {{"/ike_policies/strong/retransmit/most", "10m"}}},
    {"/ike_policies/strong/retransmit/most", {{"/ike_policies/strong/retransmit/first", "50ms"}}},
    {"/ike_policies/strong/retry/first", {{"/ike_policies/strong/retry/most", "1d"}}},
    {"/ike_policies/strong/retry/most", {{"/ike_policies/strong/retry/first", "100ms"}}},
    {"/tunnel_groups/core/exceptions/0/local",
     {{"/tunnel_groups/core/attachment", "policy"}, {"/tunnel_groups/core/exceptions/0/action", "bypass"}}},
    {"/tunnel_groups/core/exceptions/0/remote",
     {{"/tunnel_groups/core/attachment", "policy"}, {"/tunnel_groups/core/exceptions/0/action", "bypass"}}},
    {"/tunnels/a/children/lan/manual/spi_in", kManual},
    {"/tunnels/a/children/lan/manual/spi_out", kManual},
    {"/tunnels/a/children/lan/manual/credential", kManual},
    {"/tunnel_groups/core/private/vrf_table", {{"/tunnel_groups/core/private/vrf", "blue"}}},
    {"/tunnels/a/routes/0/metric", {{"/tunnels/a/routes/0/prefix", "10.2.1.0/24"}}},
    {"/node/admission/half_open_max",
     {{"/node/admission/half_open_cookie_from", 0}, {"/node/admission/half_open_cookie_until", 0}}},
    {"/node/admission/half_open_cookie_from",
     {{"/node/admission/half_open_max", 1000000}, {"/node/admission/half_open_cookie_until", 0}}},
    {"/node/admission/half_open_cookie_until",
     {{"/node/admission/half_open_max", 1000000}, {"/node/admission/half_open_cookie_from", 1000000}}},
};

std::vector<ConfigError> errors_with(const std::string& pointer, const json& value) {
  json document = base();
  if (const auto found = kCompanions.find(pointer); found != kCompanions.end())
    for (const auto& [other, companion] : found->second) document[json::json_pointer(other)] = companion;
  document[json::json_pointer(pointer)] = value;
  return parse_one(document.dump()).errors;
}

json default_of(const KeySpec& key) {
  switch (key.kind) {
    case KeyKind::kNumber: return json(std::stoll(std::string(key.fallback)));
    case KeyKind::kFlag: return json(key.fallback == "true");
    case KeyKind::kTextList: return json::array({key.fallback});
    case KeyKind::kText:
    case KeyKind::kWord:
    case KeyKind::kDuration:
    case KeyKind::kObject:
    case KeyKind::kNamedObjects:
    case KeyKind::kObjectList: return json(key.fallback);
  }
  return {};
}

std::string milliseconds(int64_t count) {
  return std::to_string(count / 1000) + "s" + std::to_string(count % 1000) + "ms";
}

}  // namespace

TEST_CASE("config keys: each key is accepted at its default") {
  REQUIRE(parse_one(base().dump()).errors.empty());
  each_key([](const KeySpec& key, const std::string& pointer, const json&) {
    if (!key.fallback.empty()) CHECK_MESSAGE(errors_with(pointer, default_of(key)).empty(), pointer);
  });
}

TEST_CASE("config keys: each key that is left out has the default that the table promises") {
  const auto bare = parse_one(base().dump()).config;
  REQUIRE(bare != nullptr);
  json document = base();
  each_key([&](const KeySpec& key, const std::string& pointer, const json&) {
    if (!key.fallback.empty()) document[json::json_pointer(pointer)] = default_of(key);
  });
  const auto full = parse_one(document.dump()).config;
  REQUIRE(full != nullptr);

  CHECK(full->node_id == bare->node_id);
  CHECK(full->admission == bare->admission);
  CHECK(full->admission == AdmissionLimits{});
  CHECK(*full->groups.at("core") == *bare->groups.at("core"));
  CHECK(*full->ike_policies.at("strong") == *bare->ike_policies.at("strong"));
  CHECK(*full->child_policies.at("fast") == *bare->child_policies.at("fast"));
  CHECK(full->tunnels.at("a")->remote_port == bare->tunnels.at("a")->remote_port);
  CHECK(full->tunnels.at("a")->children[0].start == bare->tunnels.at("a")->children[0].start);
}

TEST_CASE("config keys: each range holds at its ends and not beyond") {
  each_key([](const KeySpec& key, const std::string& pointer, const json&) {
    CAPTURE(pointer);
    if (key.kind == KeyKind::kNumber) {
      CHECK(errors_with(pointer, key.least).empty());
      CHECK(errors_with(pointer, key.most).empty());
      CHECK(errors_with(pointer, key.least - 1).size() == 1);
      const uint64_t beyond = static_cast<uint64_t>(key.most) + 1;
      REQUIRE(errors_with(pointer, beyond).size() == 1);
      CHECK(errors_with(pointer, beyond)[0].pointer == pointer);
      CHECK(errors_with(pointer, beyond)[0].found == std::to_string(beyond));
    }
    if (key.kind == KeyKind::kDuration) {
      CHECK(errors_with(pointer, milliseconds(key.most)).empty());
      CHECK(errors_with(pointer, milliseconds(key.least)).empty());
      if (key.least > 0) CHECK(errors_with(pointer, milliseconds(key.least - 1)).size() == 1);
      CHECK(errors_with(pointer, milliseconds(key.most + 1)).size() == 1);
    }
    if (key.kind == KeyKind::kTextList) {
      CHECK(!errors_with(pointer, json(std::vector<std::string>(static_cast<size_t>(key.most) + 1, "x"))).empty());
      if (key.least > 0) CHECK(!errors_with(pointer, json::array()).empty());
    }
  });
}

TEST_CASE("config keys: each value of a wrong type is refused at its key") {
  each_key([](const KeySpec& key, const std::string& pointer, const json&) {
    CAPTURE(pointer);
    const json wrong = key.kind == KeyKind::kFlag ? json("x") : json(false);
    const auto errors = errors_with(pointer, wrong);
    REQUIRE_FALSE(errors.empty());
    CHECK(std::any_of(errors.begin(), errors.end(), [&](const ConfigError& each) { return each.pointer == pointer; }));
  });
}

TEST_CASE("config keys: the schema says the type, the range and a default of that type") {
  static const std::map<KeyKind, std::string> kTypes = {
      {KeyKind::kText, "string"},    {KeyKind::kWord, "string"},         {KeyKind::kFlag, "boolean"},
      {KeyKind::kNumber, "integer"}, {KeyKind::kObject, "object"},       {KeyKind::kDuration, "string"},
      {KeyKind::kTextList, "array"}, {KeyKind::kNamedObjects, "object"}, {KeyKind::kObjectList, "array"}};
  each_key([](const KeySpec& key, const std::string& pointer, const json& schema) {
    CAPTURE(pointer);
    CHECK(schema["type"] == kTypes.at(key.kind));
    CHECK(schema["description"] == key.meaning);
    if (key.kind == KeyKind::kNumber) {
      CHECK(schema["minimum"] == key.least);
      CHECK(schema["maximum"] == key.most);
    }
    if (!key.fallback.empty()) CHECK(schema["default"] == default_of(key));
    if (key.kind == KeyKind::kWord) {
      std::string words;
      for (const json& word : schema["enum"]) words += (words.empty() ? "" : " ") + word.get<std::string>();
      CHECK(words == key.words);
    }
  });
}

TEST_CASE("config keys: what is required in the table is required in the schema, and unserved keys are not in it") {
  const json schema = json::parse(config_schema());
  CHECK(schema["required"] == json::array({"version"}));
  CHECK_FALSE(schema["properties"].contains("ha"));
  CHECK(schema["additionalProperties"] == false);
  const json& tunnel = schema["properties"]["tunnels"]["additionalProperties"];
  CHECK(tunnel["required"] == json::array({"group", "remote", "children"}));
}
