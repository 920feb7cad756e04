#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "policy/config_keys.h"
#include "tests/support/source_folder.h"

// No key without behaviour: key_effects.txt names for each key the test that sets it and sees a difference outside of
// the configuration. A key without a row is an error, and so is one more that nobody has looked at.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

constexpr size_t kNotLookedAtMost = 122;

void collect(std::span<const KeySpec> keys, const std::string& at, std::set<std::string>& all) {
  for (const KeySpec& each : keys) {
    if (!each.served) continue;
    const std::string name = at + std::string(each.key);
    if (each.members.empty())
      all.insert(name);
    else
      collect(each.members, name + (each.kind == KeyKind::kNamedObjects ? ".NAME." : "."), all);
  }
}

std::string content(const std::string& file) {
  std::ifstream in(testing::in_source_folder(file));
  REQUIRE_MESSAGE(in.good(), "cannot read " << file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("key effects: each key of the schema has a row, and the test that it names is there") {
  std::set<std::string> keys;
  collect(config_keys(), "", keys);
  std::map<std::string, std::string> rows;
  std::istringstream lines(content("tests/policy/key_effects.txt"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#")) continue;
    const size_t bar = line.find(" | ");
    REQUIRE_MESSAGE(bar != std::string::npos, line);
    CHECK_MESSAGE(rows.emplace(line.substr(0, bar), line.substr(bar + 3)).second, line);
  }
  size_t not_looked_at = 0;
  for (const std::string& key : keys) CHECK_MESSAGE(rows.contains(key), "no row in key_effects.txt: " << key);
  for (const auto& [key, proof] : rows) {
    CHECK_MESSAGE(keys.contains(key), "no such key: " << key);
    if (proof == "-") {
      ++not_looked_at;
      continue;
    }
    const size_t bar = proof.find(" | ");
    REQUIRE_MESSAGE(bar != std::string::npos, key);
    CHECK_MESSAGE(content(proof.substr(0, bar)).find(proof.substr(bar + 3)) != std::string::npos, key << ": " << proof);
  }
  CHECK(not_looked_at <= kNotLookedAtMost);
}
