#include <algorithm>

#include "policy/config_changes.h"
#include "policy/manual.h"
#include "policy/plan.h"
#include "tests/policy/config_support.h"

// Tunnels whose keys nobody negotiates: what a configuration may say of them, and what it must not.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// A whole configuration with one tunnel "a", with texts in the place of its parts.
struct ManualText {
  std::string node = R"("allow_manual_keys": true)";
  std::string proposals = R"("aes256-sha256")";
  std::string policy;  ///< More of the child policy, with a comma in front.
  std::string credential = R"("manual": { "in": { "file": "a.in" }, "out": { "file": "a.out" } })";
  std::string tunnel;  ///< More of the tunnel, with a comma behind.
  std::string remote = "198.51.100.7";
  std::string child = R"("manual": { "spi_in": 4097, "spi_out": 8193, "credential": "static" })";
  std::string children;  ///< More children, with a comma in front.
  std::string tunnels;   ///< More tunnels, with a comma in front.

  std::string text() const {
    return R"({ "version": 1, "node": { )" + node + R"( },
"tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1", "2001:db8::1"] } } },
"child_policies": { "cbc": { "proposals": [)" +
           proposals + "]" + policy + R"( } },
"credentials": { "key": { "psk": { "file": "key" } }, "static": { )" +
           credential + R"( } },
"tunnels": { "a": { "group": "core", "remote": ")" +
           remote + R"(", )" + tunnel + R"(
"children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"], "policy": "cbc", )" +
           child + " }" + children + " } }" + tunnels + " } }";
  }
};

std::shared_ptr<const Config> accepted(const ManualText& document) {
  ConfigOutcome outcome = parse_one(document.text());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

void refuses(const ManualText& document, Reason reason, const std::string& pointer, const std::string& allowed) {
  const ConfigError error = only_error(document.text());
  CHECK(error.reason == reason);
  CHECK(error.pointer == pointer);
  CHECK_MESSAGE(error.allowed.find(allowed) != std::string::npos, error.text());
}

bool warns(const std::shared_ptr<const Config>& config, std::string_view text) {
  return std::ranges::any_of(config->warnings,
                             [&](const std::string& each) { return each.find(text) != std::string::npos; });
}

/// A second tunnel with manual keys.
std::string second(const std::string& remote, const std::string& spis) {
  return R"(, "b": { "group": "core", "remote": ")" + remote +
         R"(", "children": { "dmz": { "local": ["10.1.0.0/16"], "remote": ["10.9.0.0/16"], "policy": "cbc",
         "manual": { "credential": "static", )" +
         spis + " } } } }";
}

const std::string kChild = "/tunnels/a/children/lan";

}  // namespace

TEST_CASE("manual keys: a child has its SPIs and its credential, starts by itself, and is warned of") {
  const auto config = accepted({});
  const Tunnel& tunnel = *config->tunnels.at("a");
  CHECK(tunnel.is_manual());
  const ChildConfig& child = tunnel.children.front();
  CHECK(child.start == StartMode::kNow);
  CHECK(child.manual->spi_in == 4097);
  CHECK(child.manual->spi_out == 8193);
  CHECK(child.manual->credential == config->credentials.at("static"));
  CHECK(child.manual->credential->in_file == "a.in");
  CHECK(child.manual->credential->out_file == "a.out");
  CHECK(warns(config, "manual keys: nothing renews them, and nothing protects from replayed packets (tunnels: a)"));
  CHECK(manual_spis(*config) == std::vector{ChildSpi(4097)});
}

TEST_CASE("manual keys: without node.allow_manual_keys they are refused") {
  refuses({.node = ""}, Reason::kConfigManualKeys, kChild + "/manual", "node.allow_manual_keys");
  refuses({.node = R"("allow_manual_keys": false)"}, Reason::kConfigManualKeys, kChild + "/manual", "use IKE");
}

TEST_CASE("manual keys: ciphers that count their nonces are refused, and the reason is said") {
  for (const char* each : {R"("aes256gcm16")", R"("aes128gcm16")", R"("chacha20poly1305")"})
    refuses({.proposals = each}, Reason::kConfigConflict, kChild + "/policy", "RFC 8221 section 3");
  for (const char* each : {R"("aes256-sha256")", R"("aes128-sha384")", R"("aes256-sha512-noesn")"})
    accepted({.proposals = each});
}

TEST_CASE("manual keys: the policy has one suite, without ESN and without a key exchange") {
  refuses({.proposals = R"("aes256-sha256", "aes128-sha256")"}, Reason::kConfigConflict, kChild + "/policy",
          "one cipher");
  refuses({.proposals = R"("aes256-aes128-sha256")"}, Reason::kConfigConflict, kChild + "/policy", "one cipher");
  refuses({.proposals = R"("aes256-sha256-sha512")"}, Reason::kConfigConflict, kChild + "/policy", "one integrity");
  refuses({.proposals = R"("aes256-sha256-esn")"}, Reason::kConfigConflict, kChild + "/policy", "without esn");
  refuses({.proposals = R"("aes256-sha256-x25519")"}, Reason::kConfigConflict, kChild + "/policy",
          "without key exchange");
  refuses({.policy = R"(, "pfs": true)"}, Reason::kConfigConflict, kChild + "/policy", "without key exchange");
}

TEST_CASE("manual keys: what only IKE has a use for is refused") {
  for (const auto& [key, value] : {std::pair("credential", R"("key")"),
                                   {"local_id", R"("gw.example")"},
                                   {"remote_id", R"("peer.example")"},
                                   {"remote_port", "500"}})
    refuses({.tunnel = std::string("\"") + key + "\": " + value + ","}, Reason::kConfigConflict,
            std::string("/tunnels/a/") + key, "the tunnel's keys are manual");
  refuses({.remote = "any"}, Reason::kConfigConflict, "/tunnels/a/remote", "the peer's address");
  for (const char* start : {"traffic", "respond"})
    refuses({.child = ManualText().child + R"(, "start": ")" + start + "\""}, Reason::kConfigConflict,
            kChild + "/start", "now, or nothing");
  accepted({.child = ManualText().child + R"(, "start": "now")"});
}

TEST_CASE("manual keys: all children of a tunnel have them, or none") {
  refuses({.children = R"(, "dmz": { "local": ["10.1.0.0/16"], "remote": ["10.9.0.0/16"] })"}, Reason::kConfigConflict,
          "/tunnels/a/children", "all children of the tunnel");
}

TEST_CASE("manual keys: an inbound SPI is one child's on the whole node, an outbound one with its peer") {
  refuses({.tunnels = second("198.51.100.8", R"("spi_in": 4097, "spi_out": 8193)")}, Reason::kConfigConflict,
          "/tunnels/b/children/dmz/manual/spi_in", "child lan of tunnel a");
  refuses({.tunnels = second("198.51.100.7", R"("spi_in": 4098, "spi_out": 8193)")}, Reason::kConfigConflict,
          "/tunnels/b/children/dmz/manual/spi_out", "child lan of tunnel a");
  accepted({.tunnels = second("198.51.100.8", R"("spi_in": 4098, "spi_out": 8193)")});
}

TEST_CASE("manual keys: reserved SPIs are refused") {
  refuses({.child = R"("manual": { "spi_in": 255, "spi_out": 8193, "credential": "static" })"}, Reason::kConfigBadValue,
          kChild + "/manual/spi_in", "256");
}

TEST_CASE("manual keys: a credential is a pre-shared key or manual keys, and is used as what it is") {
  refuses({.credential = R"("psk": { "file": "x" })"}, Reason::kConfigConflict, kChild + "/manual", "manual keys");
  refuses({.credential = ManualText().credential + R"(, "psk": { "file": "x" })"}, Reason::kConfigConflict,
          "/credentials/static/manual", "one of the two");
  const ConfigError none = only_error(R"({ "version": 1, "credentials": { "x": {} } })");
  CHECK(none.pointer == "/credentials/x/psk");
  CHECK(none.reason == Reason::kConfigMissing);
  refuses({.credential = R"("manual": { "in": { "file": "a.in" }, "out": { "file": "" } })"}, Reason::kConfigBadValue,
          "/credentials/static/manual/out/file", "the name of a file");
  const std::string negotiated = R"(, "b": { "group": "core", "remote": "198.51.100.8", "credential": "static",
      "children": { "dmz": { "local": ["10.1.0.0/16"], "remote": ["10.9.0.0/16"] } } })";
  refuses({.tunnels = negotiated}, Reason::kConfigConflict, "/tunnels/b/credential", "a pre-shared key");
  const std::string without = R"(, "b": { "group": "core", "remote": "198.51.100.8",
      "children": { "dmz": { "local": ["10.1.0.0/16"], "remote": ["10.9.0.0/16"] } } })";
  refuses({.tunnels = without}, Reason::kConfigMissing, "/tunnels/b/credential", "name of the credential");
}

TEST_CASE("manual keys: one file for both directions is warned of") {
  CHECK(warns(accepted({.credential = R"("manual": { "in": { "file": "a" }, "out": { "file": "a" } })"}),
              "child lan of tunnel a: one file holds the keys of both directions"));
}

TEST_CASE("manual keys: a child that would need more kernel policies than allowed is not split") {
  refuses(
      {.policy = R"(, "policies_max": 1)",
       .child = ManualText().child,
       .children = R"(, "many": { "local": ["10.1.0.0/16"], "remote": ["10.4.0.0/16", "10.6.0.0/16"], "policy": "cbc",
             "manual": { "spi_in": 5000, "spi_out": 5001, "credential": "static" } })"},
      Reason::kConfigConflict, "/tunnels/a/children/many/remote", "is not split");
}

TEST_CASE("manual keys: their SAs have no end, no replay window, and sequence numbers that go on at 0") {
  const auto config = accepted({.policy = R"(, "lifetime_bytes": 1000000, "replay_window": 64)"});
  const auto tunnel = config->tunnels.at("a");
  const auto spec = manual_spec(tunnel, tunnel->children.front());
  const ChildPlan plan = plan_child(*spec, {.reqid = 7, .if_id = 9, .interface = "ips9", .tunnel = 9}, 3).value();
  for (const SaConfig* sa : {&plan.inbound, &plan.outbound}) {
    CHECK(sa->hard_lifetime == Duration{0});
    CHECK(sa->volume == VolumeLimits{});
    CHECK(sa->replay_window == 0);
    CHECK_FALSE(sa->suite.esn);
    CHECK(sa->encap_source_port == 0);
  }
  CHECK(plan.outbound.sequence_wraps);
  CHECK(plan.inbound.key == SaKey{IpAddress::parse("192.0.2.1").value(), ChildSpi(4097)});
  CHECK(plan.outbound.key == SaKey{IpAddress::parse("198.51.100.7").value(), ChildSpi(8193)});
}

TEST_CASE("manual keys: of another configuration, keys and suite make the SAs anew, SPIs the child, IKE the tunnel") {
  const auto before = accepted({});
  const auto change = [&](const ManualText& after) {
    const TunnelChanges changes = tunnel_changes(*before, *accepted(after));
    return changes.contains("a") ? changes.at("a") : TunnelChange{};
  };
  CHECK(change({}).settings.empty());
  CHECK(change({.policy = R"(, "lifetime": "2h")"}).kind == TunnelChange::Kind::kInPlace);
  CHECK(change({.policy = R"(, "lifetime": "2h")"}).children_rekeyed.empty());
  for (const ManualText& each :
       {ManualText{.proposals = R"("aes128-sha256")"}, ManualText{.policy = R"(, "df": "clear")"},
        ManualText{.credential = R"("manual": { "in": { "file": "b.in" }, "out": { "file": "a.out" } })"}}) {
    CHECK(change(each).children_rekeyed == std::vector<std::string>{"lan"});
    CHECK(change(each).kind == TunnelChange::Kind::kRekey);
    CHECK(change(each).children_removed.empty());
  }
  const TunnelChange spis =
      change({.child = R"("manual": { "spi_in": 4098, "spi_out": 8193, "credential": "static" })"});
  CHECK(spis.kind == TunnelChange::Kind::kInPlace);
  CHECK(spis.children_removed == std::vector<std::string>{"lan"});
  CHECK(spis.children_added == std::vector<std::string>{"lan"});
  CHECK(change({.tunnel = R"("credential": "key",)", .child = R"("start": "now")"}).kind ==
        TunnelChange::Kind::kRestart);
}
