#include "policy/config_rules.h"

#include <algorithm>

#include "policy/config_reader.h"
#include "policy/limits.h"
#include "tests/policy/config_support.h"

// What must hold between settings. Single values and keys: config_test.cc, config_keys_test.cc.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// A second child of the document's tunnel.
std::string second_child(const std::string& local, const std::string& remote) {
  return R"( }, "b": { "local": [")" + local + R"("], "remote": [")" + remote + R"("])";
}

/// A second tunnel of the document, its only child leading to `remote_selector`.
std::string second_tunnel(const std::string& members, const std::string& remote_selector) {
  return R"(, "children": { "x": { "local": ["10.1.0.0/16"], "remote": ["10.9.0.0/16"] } } }, "b": { "group": "core",
"credential": "key", "children": { "x": { "local": ["10.1.0.0/16"], "remote": [")" +
         remote_selector + R"("] } })" + members +
         R"( }, "c": { "group": "core", "remote": "198.51.100.99", "credential": "key")";
}

bool warns(const ConfigOutcome& outcome, std::string_view text) {
  REQUIRE(outcome.config != nullptr);
  const auto& all = outcome.config->warnings;
  return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.find(text) != std::string::npos; });
}

}  // namespace

TEST_CASE("config rules: selectors that can never meet are refused, with both lists") {
  for (const auto& [local, remote] :
       {std::pair{"10.1.0.0/16", "2001:db8::/32"}, {"10.1.0.0/16[tcp]", "10.2.0.0/16[udp]"}}) {
    const ConfigError error = only_error(Document{.local_selector = local, .remote_selector = remote}.text());

    CHECK(error.reason == Reason::kConfigConflict);
    CHECK(error.line == 7);
    CHECK(error.pointer == "/tunnels/a/children/lan/remote");
    CHECK(error.found == std::string("local ") + local + ", remote " + remote);
    CHECK(error.allowed.find("no pair of selectors has one family and protocol") != std::string::npos);
  }
}

TEST_CASE("config rules: a child that needs more kernel policies than its policy allows is split, with a warning") {
  const ConfigOutcome outcome =
      parse_one(Document{.local_selector = "10.1.0.1-10.1.255.254", .remote_selector = "10.2.0.1-10.2.255.254"}.text());

  REQUIRE(outcome.errors.empty());
  const auto& children = outcome.config->tunnels.at("a")->children;
  REQUIRE(children.size() == 4);
  CHECK(children[0].name == "lan.1");
  CHECK(children[3].name == "lan.4");
  CHECK(children[3].split_from == "lan");
  CHECK(children[3].policy == children[0].policy);
  CHECK(std::count(outcome.config->warnings.begin(), outcome.config->warnings.end(),
                   "tunnel a: child lan needs more kernel policies than 256 (policies_max of child policy fast): it is "
                   "split into lan.1 to lan.4") == 1);

  CHECK(parse_one(Document{.child_policy = R"(, "policies_max": 1000)",
                           .local_selector = "10.1.0.1-10.1.255.254",
                           .remote_selector = "10.2.0.1-10.2.255.254"}
                      .text())
            .config->tunnels.at("a")
            ->children.size() == 1);
}

TEST_CASE("config rules: parts count as children and take names, both within limits") {
  const Document many{.child_policy = R"(, "policies_max": 1)",
                      .local_selector = "10.1.0.1-10.1.255.254",
                      .remote_selector = "10.2.0.1-10.2.255.254"};
  CHECK(only_error(many.text()).allowed == "more than 256 children of at most 1 kernel policies would be needed");
  Document few = many;
  few.local_selector = "10.1.0.0/16";
  few.ike_policy = R"(, "children_max": 29)";
  CHECK(only_error(few.text()).found == "30 children");
  few.ike_policy = {};
  CHECK(parse_one(few.text()).errors.empty());
  few.child = second_child("10.1.0.0/16", "10.3.0.0/16");
  few.child.replace(few.child.find("\"b\""), 3, "\"lan.7\"");
  CHECK(only_error(few.text()).allowed.find("lan.7 is taken") != std::string::npos);
}

TEST_CASE("config rules: two children of one tunnel do not take each other's traffic") {
  const ConfigError error = only_error(Document{.child = second_child("10.1.0.0/16", "10.2.0.0/16")}.text());
  CHECK(error.reason == Reason::kConfigConflict);
  CHECK(error.pointer == "/tunnels/a/children/b/remote");
  CHECK(error.allowed.find("child lan has 10.1.0.0/16 to 10.2.0.0/16") != std::string::npos);

  CHECK(parse_one(Document{.child = second_child("10.1.0.0/16", "10.2.7.0/24")}.text()).errors.empty());
  CHECK(parse_one(Document{.child = second_child("10.1.0.0/16", "10.2.0.0/16[tcp/443]")}.text()).errors.empty());
}

TEST_CASE("config rules: the peer is one machine, and not ourselves") {
  for (const char* bad : {"0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", ""}) {
    const ConfigError error = only_error(Document{.remote = bad}.text());
    CHECK(error.pointer == "/tunnels/a/remote");
    CHECK(error.reason == Reason::kConfigBadValue);
  }
  const ConfigError own = only_error(Document{.remote = "2001:db8::1"}.text());
  CHECK(own.reason == Reason::kConfigConflict);
  CHECK(own.allowed.find("our own in group core") != std::string::npos);
}

TEST_CASE("config rules: an empty name is a bad reference, never a tunnel that vanishes or has no key") {
  for (const char* key : {"ike_policy", "credential", "group"}) {
    std::string text = Document{}.text();
    const std::string member = "\"" + std::string(key) + "\": \"";
    const size_t at = text.rfind(member) + member.size();
    text.erase(at, text.find('"', at) - at);

    const ConfigError error = only_error(text);

    CHECK(error.reason == Reason::kConfigBadReference);
    CHECK(error.pointer == "/tunnels/a/" + std::string(key));
    CHECK(error.found == "\"\"");
  }
}

TEST_CASE("config rules: offload of a tunnel needs devices in its group") {
  const ConfigError error = only_error(Document{.tunnel = R"(, "offload": { "mode": "packet" })"}.text());

  CHECK(error.reason == Reason::kConfigConflict);
  CHECK(error.pointer == "/tunnels/a/offload");
  CHECK(error.allowed == "none, because group core has no devices");
  CHECK(parse_one(Document{.tunnel = R"(, "offload": { "mode": "none" })"}.text()).errors.empty());
}

TEST_CASE("config rules: devices are named as the kernel can name them") {
  for (const char* good : {"ens1f0np0", "bond0.100", "p1-p2", "a_b@c"}) CHECK(is_device_name(good));
  for (const char* bad : {"", ".", "..", "a b", "a/b", "eth0:1", "sixteen-letters-", "a\x1b"})
    CHECK_FALSE(is_device_name(bad));
  const ConfigError error =
      only_error(Document{.group = R"(, "offload": { "mode": "crypto", "devices": ["a/b"] })"}.text());
  CHECK(error.pointer == "/tunnel_groups/core/offload/devices");
}

TEST_CASE(
    "config rules: a default that two files set is an error in the second, whatever their order would make of it") {
  const std::string other = R"({ "version": 1,
"node": { "id": 2 }, "defaults": { "ike_policy": "strong", "allow_weak": ["modp1536"] } })";
  const std::string first = Document{.top = R"(, "node": { "id": 1 }, "defaults": { "ike_policy": "strong" })"}.text();

  const ConfigOutcome outcome = parse_config({{"gw.json", first}, {"conf.d/b.json", other}});

  REQUIRE(outcome.errors.size() == 2);
  for (const ConfigError& each : outcome.errors) {
    CHECK(each.reason == Reason::kConfigConflict);
    CHECK(each.file == "conf.d/b.json");
    CHECK(each.line == 2);
    CHECK(each.allowed == "the first one is in gw.json:1");
  }
  CHECK(outcome.errors[0].pointer == "/node/id");
  CHECK(outcome.errors[1].pointer == "/defaults/ike_policy");
}

TEST_CASE("config rules: a default that names nothing is an error even while nothing uses it") {
  const ConfigError error = only_error(Document{.top = R"(, "defaults": { "ike_policy": "strnog" })"}.text());

  CHECK(error.reason == Reason::kConfigBadReference);
  CHECK(error.pointer == "/defaults/ike_policy");
  CHECK(error.allowed == "the name of an IKE policy; did you mean \"strong\"?");
}

TEST_CASE("config rules: no file at all is no configuration") {
  const ConfigOutcome outcome = parse_config({});

  CHECK(outcome.config == nullptr);
  CHECK(outcome.errors.size() == 1);
}

TEST_CASE("config rules: a pointer escapes what has a meaning in pointers") {
  CHECK(only_error(Document{.tunnel = R"(, "a/b~c": 1)"}.text()).pointer == "/tunnels/a/a~1b~0c");
  CHECK(pointer_part("\x1b/") == "\\x1b~1");
}

TEST_CASE("config rules: PFS without a group of its own takes those of the IKE policy") {
  const std::string ike =
      R"(, "proposals": ["aes256gcm16-prfsha384-x25519-ecp384", "aes128gcm16-prfsha256-ecp384-ecp256"])";
  const auto with = [&](const std::string& child_policy) {
    return Document{.ike_policy = ike, .child_policy = child_policy}.text();
  };
  const auto proposals = [&](std::string text, std::string_view pfs) {
    text.replace(text.find(R"("pfs": false)"), 12, R"("pfs": )" + std::string(pfs));
    const ConfigOutcome outcome = parse_one(text);
    REQUIRE(outcome.config != nullptr);
    return to_string(outcome.config->tunnels.at("a")->children[0].policy->proposals);
  };

  CHECK(proposals(with(""), "false") ==
        "aes256gcm16-aes128gcm16-esn-noesn, aes256-aes128-sha512-sha384-sha256-esn-noesn");
  CHECK(proposals(with(""), "true") ==
        "aes256gcm16-aes128gcm16-esn-noesn-x25519-ecp384-ecp256, "
        "aes256-aes128-sha512-sha384-sha256-esn-noesn-x25519-ecp384-ecp256");
  CHECK(proposals(with(R"(, "proposals": ["aes128gcm16-x448-esn", "aes256gcm16-esn"])"), "true") ==
        "aes128gcm16-x448-esn, aes256gcm16-esn-x25519-ecp384-ecp256");
}

TEST_CASE("config rules: tunnels that a peer cannot tell apart are told as a warning") {
  const std::string same = R"(, "remote": "198.51.100.7")";
  CHECK(warns(parse_one(Document{.tunnel = second_tunnel(same, "10.8.0.0/16")}.text()),
              "tunnels a and b have the same addresses and identities: when the peer begins, a answers"));
  for (const char* other : {R"(, "remote": "198.51.100.8")", R"(, "remote": "198.51.100.7", "remote_id": "b.example")",
                            R"(, "remote": "198.51.100.7", "local_id": "b.example")"})
    CHECK_FALSE(warns(parse_one(Document{.tunnel = second_tunnel(other, "10.8.0.0/16")}.text()), "same addresses"));
}

TEST_CASE("config rules: overlaps are found whatever the order of the ranges, once per pair of tunnels") {
  for (const char* selector : {"10.9.7.0/24", "10.0.0.0/8", "10.9.255.255-10.10.0.3", "10.9.0.0/16[tcp/443]"}) {
    const ConfigOutcome outcome =
        parse_one(Document{.tunnel = second_tunnel(R"(, "remote": "198.51.100.8")", selector)}.text());
    CHECK_MESSAGE(warns(outcome, "tunnels a and b both lead to"), selector);
  }
  const ConfigOutcome apart =
      parse_one(Document{.tunnel = second_tunnel(R"(, "remote": "198.51.100.8")", "10.8.0.0/16")}.text());
  CHECK_FALSE(warns(apart, "both lead to"));
}

TEST_CASE("config rules: many tunnels are read in one pass, and warnings about them are bounded") {
  constexpr int kCount = 30000;
  std::string text = R"({ "version": 1, "tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1"] } } },
"credentials": { "key": { "psk": { "file": "key" } } }, "tunnels": {)";
  for (int i = 0; i < kCount; ++i)
    text.append(i == 0 ? "" : ",")
        .append("\"branch-")
        .append(std::to_string(i))
        .append(R"(": { "group": "core", "remote": "198.51.100.7", "credential": "key", "children": {
"lan": { "local": ["10.1.0.0/16"], "remote": ["10.0.0.0/8"] } } })");
  const ConfigOutcome outcome = parse_one(text + "} }");

  REQUIRE(outcome.config != nullptr);
  CHECK(outcome.config->tunnels.size() == kCount);
  CHECK(outcome.config->warnings.size() == 2);  // one selector, one appearance
}

TEST_CASE("config rules: a tunnel whose peer has our own name is refused, however the two names are written") {
  struct Case {
    std::string members, remote, pointer;
  };
  const Case cases[] = {// NOLINT(cppcoreguidelines-avoid-c-arrays)
                        {R"(, "local_id": "gw.example", "remote_id": "gw.example")", "198.51.100.7", "local_id"},
                        {R"(, "local_id": "GW.example.", "remote_id": "gw.example")", "198.51.100.7", "local_id"},
                        {R"(, "remote_id": "192.0.2.1")", "198.51.100.7", "remote_id"},
                        {R"(, "local_id": "198.51.100.7")", "198.51.100.7", "local_id"},
                        {R"(, "local_id": "2001:db8::7")", "2001:0db8::0007", "local_id"},
                        {R"(, "local_id": "keyid:0a0b", "remote_id": "keyid:0A0B")", "198.51.100.7", "local_id"}};
  for (const Case& each : cases) {
    CAPTURE(each.members);
    const ConfigError error = only_error(Document{.tunnel = each.members, .remote = each.remote}.text());

    CHECK(error.reason == Reason::kConfigConflict);
    CHECK(error.pointer == "/tunnels/a/" + each.pointer);
    CHECK(error.allowed.find("anybody could send our own messages back") != std::string::npos);
  }
  for (const char* good : {R"(, "local_id": "gw.example", "remote_id": "peer.example")",
                           R"(, "local_id": "a@gw.example", "remote_id": "A@gw.example")",
                           R"(, "local_id": "fqdn:192.0.2.1", "remote_id": "192.0.2.1")"})
    CHECK(parse_one(Document{.tunnel = good}.text()).errors.empty());
}
