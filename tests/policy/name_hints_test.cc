#include "policy/name_hints.h"

#include <vector>

#include "policy/config_reader.h"
#include "tests/policy/config_support.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

constexpr size_t kMany = 20'000;

std::vector<std::string> many_names() {
  std::vector<std::string> names;
  for (size_t i = 0; i < kMany; ++i) names.push_back("branch-" + std::to_string(i));
  return names;
}

/// A document of many credentials and as many tunnels, of which each names one; `suffix` makes the name a wrong one.
std::string document_of_many(const std::string& suffix) {
  std::string credentials, tunnels;
  for (const std::string& name : many_names()) {
    credentials.append(credentials.empty() ? "\"" : ",\"").append(name).append(R"(": { "psk": { "file": "key" } })");
    tunnels.append(tunnels.empty() ? "\"" : ",\"").append(name);
    tunnels.append(R"(": { "group": "core", "remote": "198.51.100.7", "credential": ")").append(name).append(suffix);
    tunnels.append(R"(", "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"] } } })");
  }
  return R"({ "version": 1, "tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1"] } } },
    "credentials": {)" +
         credentials + R"( }, "tunnels": {)" + tunnels + "} }";
}

}  // namespace

TEST_CASE("name hints: the nearest name is found, and a name that is too far away is none") {
  NameHints hints;
  const std::vector<std::string> names = {"strong", "strange", "fast"};
  CHECK(hints.nearest("stronk", names) == "strong");
  CHECK(hints.nearest("fst", names) == "fast");
  CHECK(hints.nearest("certificate", names).empty());
  CHECK(hints.nearest(std::string(500, 'x'), names).empty());
}

TEST_CASE("name hints: a search that the budget does not suffice for finds nothing, and those after it cost nothing") {
  const std::vector<std::string> names = {"strong", "strange"};
  // Each look costs one; "strange" cannot be nearer than "strong", so that its characters are not compared.
  NameHints hints(1 + 6 * 6 + 1);
  CHECK(hints.nearest("stronk", names) == "strong");
  CHECK(hints.left() == 0);
  CHECK(hints.nearest("stronk", names).empty());
  NameHints less(1 + 6 * 6);
  CHECK(less.nearest("stronk", names).empty());
}

TEST_CASE("name hints: thousands of wrong names cost a document no more than its budget") {
  const std::vector<ConfigFile> files;
  ErrorList errors(files);
  const std::vector<std::string> names = many_names();
  size_t looked_at = 0;
  const auto counted = [&](const std::string& each) -> std::string_view { return ++looked_at, each; };
  for (const std::string& each : names) static_cast<void>(errors.did_you_mean(each + "x", names, counted));
  CHECK(looked_at <= kHintCharactersMax + kMany);
}

TEST_CASE("name hints: no name is looked at for an error that is not reported any more") {
  const std::vector<ConfigFile> files;
  ErrorList errors(files);
  const std::vector<std::string> names = {"strong"};
  CHECK_FALSE(errors.did_you_mean("stronk", names).empty());
  for (size_t i = 0; i < kConfigErrorsMax; ++i) errors.add(0, 0, {}, Reason::kConfigBadValue, {}, {});
  CHECK(errors.did_you_mean("stronk", names).empty());
}

TEST_CASE(
    "name hints: a document whose 20,000 tunnels all name a wrong credential is refused, its first errors in full") {
  CHECK(parse_one(document_of_many("")).errors.empty());
  const ConfigOutcome outcome = parse_one(document_of_many("x"));
  REQUIRE(outcome.errors.size() == kConfigErrorsMax);
  CHECK(outcome.errors.front().allowed.find("did you mean \"branch-0\"?") != std::string::npos);
  CHECK(outcome.errors.back().allowed.find("did you mean") == std::string::npos);
}
