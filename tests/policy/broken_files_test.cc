#include <algorithm>

#include "tests/policy/config_support.h"

// Files as people write them who see the format for the first time. Each answer must be enough to repair the file: the
// place, what is wrong there, and what would be right. More than one error is told at once.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// What each of the errors must say, in their order.
struct Broken {
  const char* what;
  std::string text;
  std::vector<const char*> says;
};

std::string document(const std::string& tunnel, const std::string& more = "") {
  return R"({ "version": 1,
"tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1"] } } },
"credentials": { "key": { "psk": { "file": "key" } } })" +
         more + R"(,
"tunnels": { "a": )" +
         tunnel + " } }";
}

std::string tunnel(const std::string& group, const std::string& child, const std::string& more = "") {
  return R"({ "group": ")" + group + R"(", "remote": "198.51.100.7", "credential": "key")" + more +
         R"(, "children": { "lan": )" + child + " } }";
}

const std::string kGood = R"({ "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"] })";

std::string ike(const std::string& proposal) {
  return document(tunnel("core", kGood), R"(, "ike_policies": { "p": { "proposals": [")" + proposal + R"("] } })");
}

std::string esp(const std::string& proposal, const std::string& more = "") {
  return document(tunnel("core", kGood),
                  R"(, "child_policies": { "p": { "proposals": [")" + proposal + "\"]" + more + " } }");
}

std::vector<Broken> syntax() {
  return {
      {"a comma is missing", "{ \"version\": 1\n  \"tunnels\": {} }", {"gw.json:2:3: ", "a comma or } is expected"}},
      {"a comma too many", "{ \"version\": 1,\n}", {"gw.json:2:1: ", "no comma may stand before it"}},
      {"a comma too many in a list", "{ \"a\": [1, ] }", {"gw.json:1:12: ", "no comma may stand before it"}},
      {"a key without quotes", "{ version: 1 }", {"gw.json:1:", "a key in quotes is expected"}},
      {"single quotes", "{ 'version': 1 }", {"gw.json:1:3: ", "quotes are double"}},
      {"an equals sign", "{ \"version\" = 1 }", {"gw.json:1:13: ", "a colon is expected behind a key"}},
      {"a bracket is missing at the end", "{ \"version\": 1", {"gw.json:1:", "a comma or } is expected"}},
      {"a word without quotes", "{ \"remote\": any }", {"gw.json:1:13: ", "a value is expected"}},
      {"two documents", "{ \"version\": 1 }\n{ }", {"gw.json:2:1: ", "nothing may follow"}},
      {"an empty file", "", {"gw.json:1:", "ends too early"}},
      {"a key twice", "{ \"version\": 1,\n \"version\": 1 }", {"gw.json:2:", "stands twice in one object"}},
      {"YAML", "version: 1\ntunnels:\n", {"gw.json:1:1: ", "a value is expected"}}};
}

std::vector<Broken> algorithms() {
  return {{"names of strongSwan",
           ike("aes256gcm-sha2_256-curve25519"),
           {"\"aes256gcm\" is called \"aes256gcm16\" here; \"sha2_256\" is called \"sha256\" here; \"curve25519\" is "
            "called "
            "\"x25519\" here"}},
          {"a slip", ike("aes256-sha265-modp2048"), {"\"sha265\" is not a known algorithm, did you mean \"sha256\"?"}},
          {"commas in one text", ike("aes256-sha256-modp2048,aes128"), {"is not a known algorithm"}},
          {"a weak group",
           ike("aes256-sha256-modp1024"),
           {"\"modp1024\" is weak: ", "use modp2048", "\"allow_weak\": [\"modp1024\"]"}},
          {"an algorithm for ever refused",
           esp("des-md5"),
           {"\"des\" is never used", "use aes256; \"md5\" is never used", "use sha256"}},
          {"a PRF for ESP", esp("aes256-prfsha256"), {"\"prfsha256\" cannot be used for ESP"}},
          {"no integrity", esp("aes256"), {"an integrity algorithm, such as sha256"}},
          {"no PRF", ike("aes256gcm16-x25519"), {"a PRF, such as prfsha384"}},
          {"no group", ike("aes256-sha256"), {"a key exchange method, such as x25519"}},
          {"a group and no PFS",
           esp("aes256gcm16-x25519", R"(, "pfs": false)"),
           {"found false beside a proposal with a key exchange method"}},
          {"a text for a list",
           document(tunnel("core", kGood), R"(, "ike_policies": { "p": { "proposals": "aes256-sha256-modp2048" } })"),
           {"a list of texts: [\"...\"]"}}};
}

std::vector<Broken> objects() {
  return {
      {"a wrong group",
       document(tunnel("cor", kGood)),
       {"found \"cor\", allowed: the name of a tunnel group; did you mean \"core\"?"}},
      {"a credential that is missing",
       document(R"({ "group": "core", "remote": "198.51.100.7", "credential": "psk", "children": { "lan": )" + kGood +
                " } }"),
       {"/tunnels/a/credential", "the name of a credential"}},
      {"a key of another level",
       document(tunnel("core", kGood, R"(, "local": "10.1.0.0/16")")),
       {"/tunnels/a/local", "one of the group's public addresses"}},
      {"a selector with host bits",
       document(tunnel("core", R"({ "local": ["10.1.0.1/16"], "remote": ["10.2.0.0/16"] })")),
       {"/tunnels/a/children/lan/local", "10.1.0.0/16"}},
      {"a duration without a unit",
       document(tunnel("core", kGood), R"(, "ike_policies": { "p": { "lifetime": 3600 } })"),
       {"with a unit: \"3600s\""}},
      {"a word that is none",
       document(tunnel("core", R"({ "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"], "start": "yes" })")),
       {"/tunnels/a/children/lan/start", "one of: now traffic respond"}},
      {"all addresses as a word",
       document(tunnel("core", R"({ "local": ["10.1.0.0/16"], "remote": ["any"] })")),
       {"/tunnels/a/children/lan/remote", "all addresses are 0.0.0.0/0"}},
      {"no object at all to refer to",
       R"({ "version": 1, "tunnels": { "a": { "group": "core", "remote": "198.51.100.7", "credential": "k", "children": {} } } })",
       {"/tunnels/a/group: found \"core\", allowed: the name of a tunnel group; this configuration has none"}},
      {"children in a list",
       document(R"({ "group": "core", "remote": "198.51.100.7", "credential": "key", "children": [] })"),
       {"/tunnels/a/children", "an object of named children"}},
      {"no version", R"({ "tunnels": {} })", {"/version"}},
      {"a key that this version lacks",
       R"({ "version": 1, "gateways": { "x": {} } })",
       {"/gateways", "not supported in this version"}},
      {"the metric of a master",
       R"({ "version": 1, "tunnel_groups": { "g": { "public": { "addresses": ["192.0.2.1"] }, "routes": { "metric": { "master": 10, "standby": 20 } } } } })",
       {"/routes/metric/master: ", "not supported in this version"}},
      {"a key written into the file",
       R"({ "version": 1, "credentials": { "c": { "psk": "secret words" } } })",
       {"/credentials/c/psk", "not shown"}}};
}

}  // namespace

TEST_CASE("broken files: each is answered with its place, what is wrong and what would be right") {
  size_t count = 0;
  for (const auto& list : {syntax(), algorithms(), objects()})
    for (const Broken& each : list) {
      CAPTURE(each.what);
      ++count;
      const ConfigOutcome outcome = parse_one(each.text);
      std::string all;
      for (const ConfigError& error : outcome.errors) all += error.text() + "\n";
      INFO(all);
      CHECK_FALSE(outcome.config);
      for (const char* said : each.says) CHECK_MESSAGE(all.find(said) != std::string::npos, said);
      // Nothing is said twice.
      std::vector<std::string> texts;
      for (const ConfigError& error : outcome.errors) texts.push_back(error.text());
      std::ranges::sort(texts);
      CHECK(std::ranges::adjacent_find(texts) == texts.end());
      CHECK(all.find("secret words") == std::string::npos);
    }
  CHECK(count >= 30);
}

TEST_CASE("broken files: a wrong group hides none of the errors below it") {
  const std::string child = R"({ "local": ["10.1.0.1/16"], "remote": [], "start": "yes", "policy": "fats" })";
  const ConfigOutcome outcome =
      parse_one(document(tunnel("cor", child, R"(, "remote_id": "%any", "local": "192.0.2.77", "remote_port": 70000)"),
                         R"(, "child_policies": { "fast": { "replay_window": 1 } })"));
  std::vector<std::string> pointers;
  for (const ConfigError& each : outcome.errors) pointers.push_back(each.pointer);
  for (const char* wanted :
       {"/tunnels/a/group", "/tunnels/a/remote_id", "/tunnels/a/remote_port", "/tunnels/a/children/lan/local",
        "/tunnels/a/children/lan/remote", "/tunnels/a/children/lan/start", "/tunnels/a/children/lan/policy",
        "/child_policies/fast/replay_window"})
    CHECK_MESSAGE(std::ranges::count(pointers, wanted) == 1, wanted);
  CHECK(pointers.size() == 8);
}
