#include <algorithm>

#include "policy/json_source.h"
#include "policy/limits.h"
#include "tests/policy/config_support.h"

// What people put into a configuration by mistake: keys themselves, damaged files; and a thousand objects with one
// weakness.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// All that is said of a document that is refused.
std::string said(std::string text) {
  const ConfigOutcome outcome = parse_one(std::move(text));
  CHECK_FALSE(outcome.errors.empty());
  std::string all;
  for (const ConfigError& each : outcome.errors) all += each.text() + "\n";
  return all;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// `count` tunnels; `members` of the one with a number.
template <typename Members>
std::vector<std::string> warnings_of(int count, const std::string& groups, Members&& members) {
  std::string text = R"({ "version": 1, "tunnel_groups": {)" + groups +
                     R"( }, "child_policies": { "host": { "mode": "transport" } },
"credentials": { "key": { "psk": { "file": "key" } } }, "tunnels": {)";
  for (int i = 0; i < count; ++i)
    text += (i == 0 ? "\"t" : ",\"t") + std::to_string(i) + R"(": { "credential": "key", )" + members(i) + "}";
  const ConfigOutcome outcome = parse_one(text + "} }");
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config->warnings;
}

const std::string kCore = R"("core": { "public": { "addresses": ["192.0.2.1"] } })";

std::string lan(const std::string& group, const std::string& remote, const std::string& selector) {
  return R"("group": ")" + group + R"(", "remote": ")" + remote +
         R"(", "children": { "lan": { "local": ["10.1.0.0/16"], "remote": [")" + selector + R"("] } })";
}

}  // namespace

TEST_CASE("config mistakes: a NUL byte is an error at its line, whatever follows it") {
  using namespace std::string_literals;
  for (const auto& [text, line] : {std::pair("{ \"version\": 1 }\n\0 nonsense"s, size_t{2}),
                                   {"{ \"version\": 1 }\0"s, 1},
                                   {"\0"s, 1},
                                   {"{\n\n\"version\": \0 1 }"s, 3}}) {
    const ConfigError error = only_error(text);
    CHECK(error.reason == Reason::kConfigSyntax);
    CHECK(error.line == line);
    CHECK(has(error.text(), "NUL"));
  }
}

TEST_CASE("config mistakes: a key in a place of credentials is not shown, whatever its type") {
  for (const char* credential :
       {R"("swordfish")", R"({ "psk": "swordfish" })", R"({ "psk": { "file": ["swordfish"] } })",
        R"({ "psk": { "file": 4711471147114711 } })", R"({ "psk": 4711471147114711 })",
        R"({ "psk": { "file": "k", "secret": "swordfish" } })",
        R"({ "manual": { "in": "swordfish", "out": { "file": 4711471147114711 } } })"}) {
    const std::string text = said(std::string(R"({ "version": 1, "credentials": { "branch": )") + credential + " } }");
    CHECK_MESSAGE(!has(text, "swordfish"), text);
    CHECK_MESSAGE(!has(text, "4711"), text);
    CHECK(has(text, "/credentials/branch"));
  }
}

TEST_CASE("config mistakes: a key in the place of a credential's name is not shown, and a name nearly right is") {
  const auto with = [](const std::string& credential) {
    return R"({ "version": 1, "tunnel_groups": {)" + kCore +
           R"( }, "credentials": { "branch": { "psk": { "file": "k" } } },
"tunnels": { "a": { "credential": )" +
           credential + ", " + lan("core", "198.51.100.7", "10.2.0.0/16") + "} } }";
  };
  CHECK_FALSE(has(said(with(R"("correct horse battery staple")")), "horse"));
  CHECK_FALSE(has(said(with("\"" + std::string(100, 'k') + "\"")), "kkkk"));
  CHECK_FALSE(has(said(with("4711471147114711")), "4711"));
  CHECK(has(said(with(R"("brunch")")), "\"brunch\""));
}

TEST_CASE("config mistakes: a syntax error shows nothing that may be a key") {
  for (const char* rest : {"\"swordfish\n\" } }", "\"swordfish\" \"x\" } }", "swordfish } }", "'swordfish' } }",
                           "\"swordfish", "47114711x } }"}) {
    const std::string text = said(std::string(R"({ "version": 1, "credentials": { "psk": )") + rest);
    CHECK_MESSAGE(!has(text, "swordf"), text);
    CHECK_MESSAGE(!has(text, "4711"), text);
    CHECK(has(text, "not JSON near"));
  }
}

TEST_CASE("config mistakes: a thousand tunnels to one selector are one warning") {
  const auto warnings = warnings_of(1000, kCore, [](int i) {
    return lan("core", "198.51." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1), "10.2.0.0/16");
  });
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0] == "tunnels t0, t1, t10, t100, t101 and 995 more all lead to 10.2.0.0/16");
}

TEST_CASE("config mistakes: many overlaps, and many twins, are a few warnings and a number") {
  // Each tunnel leads to its own part of what the first one leads to, and is the twin of its neighbour.
  const auto warnings = warnings_of(80, kCore, [](int i) {
    return lan("core", "198.51.100." + std::to_string(i / 2 + 1),
               i == 0 ? "10.0.0.0/8" : "10." + std::to_string(i) + ".0.0/16");
  });
  const auto count = [&](std::string_view part) {
    return std::ranges::count_if(warnings, [&](const std::string& each) { return has(each, part); });
  };
  CHECK(count("both lead to") == kWarningsNamedMax);
  CHECK(count("75 more overlaps") == 1);
  CHECK(count("have the same addresses and identities") == kWarningsNamedMax);
  CHECK(count("36 more sets of tunnels") == 1);
  CHECK(warnings.size() == 2 * kWarningsNamedMax + 2);
}

TEST_CASE("config mistakes: attachment auto is chosen in one pass over many groups and tunnels") {
  constexpr int kMany = 4000;  // of each: a pass per group would be 16 million steps
  std::string groups;
  for (int i = 0; i < kMany; ++i)
    groups += (i == 0 ? "\"g" : ",\"g") + std::to_string(i) + R"(": { "public": { "netns": "n)" + std::to_string(i) +
              R"(", "addresses": ["192.0.2.1"] } })";
  const auto warnings = warnings_of(kMany, groups, [](int i) {
    return R"("group": "g)" + std::to_string(i) + R"(", "remote": "198.51.100.7", "children": { "all": {
"local": ["192.0.2.1"], "remote": ["198.51.100.7"], "policy": "host" } })";
  });
  CHECK(warnings.size() == kWarningsNamedMax + 1);
  CHECK(has(warnings.back(), "3996 more groups for which attachment auto chose policy"));
}
