#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "policy/config_changes.h"
#include "policy/config_keys.h"
#include "tests/policy/config_support.h"
#include "tests/support/source_folder.h"

// For every key of the configuration: what is the least that a change of it disturbs, as docs/configuration-changes.md
// promises, and that it disturbs no more.

using namespace ipsec;
using namespace ipsec::policy;
using nlohmann::json;
using Kind = TunnelChange::Kind;

namespace {

/// Tunnels "a" and "b" share nothing but the node; "h" and "h2" are for the carrier.
json base() {
  return json::parse(R"({ "version": 1, "node": { "offload": { "devices": { "ens1": {} } } },
    "defaults": { "ike_policy": "strong", "child_policy": "fast" },
    "tunnel_groups": {
      "core": { "public": { "addresses": ["192.0.2.1"] } },
      "spare": { "public": { "addresses": ["192.0.2.1"] }, "private": { "vrf": "green" } },
      "other": { "public": { "netns": "elsewhere", "addresses": ["192.0.2.2"] } },
      "hosts": { "public": { "netns": "pub", "addresses": ["192.0.2.9"] }, "attachment": "policy" } },
    "ike_policies": { "strong": {}, "swift": { "dpd": "9s" }, "plain": {} },
    "child_policies": { "fast": {}, "slim": { "idle": "end" }, "slow": {}, "host": { "mode": "transport" } },
    "credentials": { "key": { "psk": { "file": "key" } }, "second": { "psk": { "file": "second" } } },
    "tunnels": {
      "a": { "group": "core", "remote": "198.51.100.7", "credential": "key",
             "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"] } } },
      "b": { "group": "other", "remote": "198.51.100.8", "credential": "second", "ike_policy": "plain",
             "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.3.0.0/16"], "policy": "slow" } } },
      "h": { "group": "hosts", "remote": "198.51.100.9", "credential": "second", "ike_policy": "plain",
             "children": { "all": { "local": ["192.0.2.9"], "remote": ["198.51.100.9"], "policy": "host" } } },
      "h2": { "group": "hosts", "remote": "198.51.100.10", "credential": "second", "ike_policy": "plain",
             "children": { "all": { "local": ["192.0.2.9"], "remote": ["198.51.100.10"], "policy": "host" } } } },
    "carriers": { "wire": { "protected_by": ["h"] } } })");
}

using Settings = std::vector<std::pair<std::string, json>>;

/// A key that changes: to which value, and what stands before and after.
struct Sample {
  std::string pointer;
  json value;
  Settings with = {};
};

const Settings kDevices = {{"/tunnel_groups/core/offload/devices", {"ens1"}}};
const Settings kAuto = {{"/tunnel_groups/core/offload", {{"devices", {"ens1"}}, {"mode", "auto"}}}};
const Settings kExceptions = {
    {"/tunnel_groups/core/attachment", "policy"},
    {"/tunnel_groups/core/exceptions",
     json::array({{{"local", {"10.8.0.0/16"}}, {"remote", {"10.9.0.0/16"}}, {"action", "bypass"}}})}};
const Settings kManual = {
    {"/node/allow_manual_keys", true},
    {"/child_policies/fast/proposals", json::array({"aes256-sha256"})},
    {"/credentials/static", json::parse(R"({ "manual": { "in": { "file": "in" }, "out": { "file": "out" } } })")},
    {"/credentials/static2", json::parse(R"({ "manual": { "in": { "file": "in2" }, "out": { "file": "out2" } } })")},
    {"/tunnels/a", json::parse(R"({ "group": "core", "remote": "198.51.100.7", "children": { "lan": {
       "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"], "policy": "fast",
       "manual": { "spi_in": 300, "spi_out": 301, "credential": "static" } } } })")}};
const Settings kBetweenHosts = {{"/tunnel_groups/core/attachment", "policy"},
                                {"/tunnels/a/children/lan/local", {"192.0.2.1"}},
                                {"/tunnels/a/children/lan/remote", {"198.51.100.7"}}};
const Settings kRoute = {{"/tunnels/a/routes", json::array({{{"prefix", "10.2.1.0/24"}, {"metric", 50}}})}};
const Settings kWireRoute = {{"/carriers/wire/routes", json::array({{{"prefix", "10.20.0.0/16"}, {"metric", 50}}})}};

std::vector<Sample> node_samples() {
  return {{"/node/id", 7},
          {"/node/admission/half_open_max", 9000},
          {"/node/admission/half_open_cookie_from", 900},
          {"/node/admission/half_open_cookie_until", 700},
          {"/node/admission/half_open_per_prefix", 32},
          {"/node/admission/half_open_timeout", "20s"},
          {"/node/admission/init_rate", 100},
          {"/node/admission/init_rate_per_address", 10},
          {"/node/admission/rekey_rate", 4},
          {"/node/admission/decrypt_failures_max", 20},
          {"/node/admission/ike_sas_max", 1000},
          {"/node/orphan_grace", "5m"},
          {"/node/allow_manual_keys", true},
          {"/node/adapt_policy_hash", false},
          {"/node/offload/half_life", "5s"},
          {"/node/offload/stay", "30s"},
          {"/node/offload/settle", "20s"},
          {"/node/offload/moves_per_minute", 60},
          {"/node/offload/hysteresis_percent", 50},
          {"/node/offload/least_rate", 2000},
          {"/node/offload/choice", "spread"},
          {"/node/offload/peer_routes", false},
          {"/node/offload/devices/ens1/netns", "elsewhere"},
          {"/node/offload/devices/ens1/children_max", 5},
          {"/node/offload/devices/ens1/active_probe", true},
          {"/defaults/ike_policy", "swift"},
          {"/defaults/child_policy", "slim"},
          {"/defaults/allow_weak", {"modp1536"}},
          {"/defaults/require_pfs",
           true,
           {{"/child_policies/fast/pfs", true},
            {"/child_policies/slim/pfs", true},
            {"/child_policies/slow/pfs", true},
            {"/child_policies/host/pfs", true}}}};
}

std::vector<Sample> group_samples() {
  const std::string group = "/tunnel_groups/core";
  return {{group + "/public/netns", "elsewhere2"},
          {group + "/public/vrf", "red"},
          {group + "/public/addresses", {"192.0.2.1", "192.0.2.77"}},
          {group + "/private/netns", "inside"},
          {group + "/private/vrf", "red"},
          {group + "/private/vrf_table", 77, {{group + "/private", {{"vrf", "red"}, {"vrf_table", 76}}}}},
          {group + "/private/addresses", {"10.255.0.1/24"}, {{group + "/interfaces", "external"}}},
          {group + "/attachment", "policy"},
          {group + "/interfaces", "external"},
          {group + "/exceptions/0/local", {"10.7.0.0/16"}, kExceptions},
          {group + "/exceptions/0/remote", {"10.7.0.0/16"}, kExceptions},
          {group + "/exceptions/0/action", "discard", kExceptions},
          {group + "/default_block", true},
          {group + "/offload/mode", "auto", kDevices},
          {group + "/offload/devices", {"ens1", "ens2"}, kAuto},
          {group + "/routes/protocol", 60},
          {group + "/routes/metric/alone", 90},
          {group + "/routes/metric/idle", 90},
          {group + "/routes/selectors", false},
          {group + "/routes/gateway_addresses", true},
          {group + "/role", "respond"},
          {group + "/mss", "mtu"},
          {group + "/tunnels_max", 10},
          {group + "/enabled", false}};
}

std::vector<Sample> policy_samples() {
  const std::string ike = "/ike_policies/strong", child = "/child_policies/fast";
  return {{ike + "/proposals", {"aes128gcm16-prfsha256-ecp256"}},
          {ike + "/lifetime", "12h"},
          {ike + "/rekey/enabled", false},
          {ike + "/rekey/share_percent", 80},
          {ike + "/rekey/jitter_percent", 5},
          {ike + "/dpd", "7s"},
          {ike + "/dpd_mode", "reply_only"},
          {ike + "/dpd_tries", 3},
          {ike + "/nat_keepalive", "10s"},
          {ike + "/retransmit/first", "1s"},
          {ike + "/retransmit/factor_percent", 150},
          {ike + "/retransmit/most", "10s"},
          {ike + "/retransmit/tries", 5},
          {ike + "/role", "respond"},
          {ike + "/setup_timeout", "20s"},
          {ike + "/retry/first", "3s"},
          {ike + "/retry/most", "5m"},
          {ike + "/retry/tries", 5},
          {ike + "/on_failure", "clear"},
          {ike + "/on_close", "clear"},
          {ike + "/duplicates", "keep"},
          {ike + "/childless", "allow"},
          {ike + "/children_max", 10},
          {ike + "/children_overload", "replace_oldest"},
          {child + "/proposals", {"aes128gcm16"}},
          {child + "/pfs", true},
          {child + "/lifetime", "2h"},
          {child + "/lifetime_bytes", 1000000},
          {child + "/lifetime_packets", 1000000},
          {child + "/rekey/enabled", false},
          {child + "/rekey/share_percent", 80},
          {child + "/rekey/jitter_percent", 5},
          {child + "/idle", "end"},
          {child + "/policies_max", 100},
          {child + "/single_pair", true},
          {child + "/replay_window", 256},
          {child + "/df", "clear"},
          {child + "/dscp", "zero"},
          {child + "/mtu", 1300},
          {child + "/outer_mtu", 1400},
          {child + "/inner_df", "clear"},
          {child + "/mode", "transport", kBetweenHosts},
          {"/credentials/key/psk/file", "new"},
          {"/credentials/static/manual/in/file", "new", kManual},
          {"/credentials/static/manual/out/file", "new", kManual}};
}

std::vector<Sample> tunnel_samples() {
  const std::string tunnel = "/tunnels/a", child = tunnel + "/children/lan", wire = "/carriers/wire";
  const Settings two = {{"/tunnel_groups/core/public/addresses", {"192.0.2.1", "192.0.2.77"}}};
  return {{tunnel + "/group", "spare"},
          {tunnel + "/local", "192.0.2.77", two},
          {tunnel + "/remote", "198.51.100.70"},
          {tunnel + "/remote_port", 4500},
          {tunnel + "/local_id", "x.example"},
          {tunnel + "/remote_id", "y.example"},
          {tunnel + "/credential", "second"},
          {tunnel + "/ike_policy", "swift"},
          {child + "/local", {"10.4.0.0/16"}},
          {child + "/remote", {"10.4.0.0/16"}},
          {child + "/policy", "slim"},
          {child + "/start", "now"},
          {child + "/manual/spi_in", 310, kManual},
          {child + "/manual/spi_out", 311, kManual},
          {child + "/manual/credential", "static2", kManual},
          {tunnel + "/routes/0/prefix", "10.2.2.0/24", kRoute},
          {tunnel + "/routes/0/metric", 60, kRoute},
          {tunnel + "/addresses", {"10.255.0.1/30"}},
          {tunnel + "/offload/mode", "auto", kDevices},
          {tunnel + "/offload/pin", "software"},
          {tunnel + "/mss", "mtu"},
          {wire + "/kind", "ipip"},
          {wire + "/protected_by", {"h", "h2"}},
          {wire + "/private/netns", "elsewhere2"},
          {wire + "/private/vrf", "red"},
          {wire + "/key", 5},
          {wire + "/addresses", {"10.255.0.1/30"}},
          {wire + "/peers", {"10.255.0.2"}, {{wire + "/addresses", {"10.255.0.1/30"}}}},
          {wire + "/routes/0/prefix", "10.21.0.0/16", kWireRoute},
          {wire + "/routes/0/metric", 60, kWireRoute},
          {wire + "/mtu", 1300},
          {wire + "/hold_down", "5s"},
          {wire + "/enabled", false}};
}

std::vector<Sample> samples() {
  std::vector<Sample> all;
  for (auto& part : {node_samples(), group_samples(), policy_samples(), tunnel_samples()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// "/tunnels/a/routes/0/metric" as the documentation has it: "tunnels.NAME.routes.metric".
std::string documented(const std::string& pointer) {
  static const std::set<std::string> kCollections = {"tunnel_groups", "ike_policies", "child_policies", "credentials",
                                                     "tunnels",       "children",     "devices",        "carriers"};
  std::string key, before;
  std::istringstream parts(pointer.substr(1));
  for (std::string part; std::getline(parts, part, '/'); before = part) {
    if (part == "0") continue;
    key += (key.empty() ? "" : ".") + (kCollections.contains(before) ? "NAME" : part);
  }
  return key;
}

void collect_keys(std::span<const KeySpec> keys, const std::string& prefix, std::set<std::string>& all) {
  for (const KeySpec& key : keys) {
    if (!key.served || key.key == "version") continue;  // of which there is only one
    const std::string name = prefix + std::string(key.key);
    if (key.kind == KeyKind::kNamedObjects)
      collect_keys(key.members, name + ".NAME.", all);
    else if (!key.members.empty())
      collect_keys(key.members, name + ".", all);
    else
      all.insert(name);
  }
}

/// The table of the documentation: by key, its second column.
std::map<std::string, std::string> promised() {
  std::ifstream file(testing::in_source_folder("docs/configuration-changes.md"));
  std::map<std::string, std::string> rows;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    const size_t end = line.find("` | "), next = line.find(" |", end + 4);
    REQUIRE(next != std::string::npos);
    const std::string key = line.substr(3, end - 3);
    CHECK_MESSAGE(rows.emplace(key, line.substr(end + 4, next - end - 4)).second, key, " stands twice");
  }
  return rows;
}

std::shared_ptr<const Config> config_of(const json& document) {
  ConfigOutcome outcome = parse_one(document.dump());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

std::string word_of(const TunnelChange& change) {
  const bool anew = !change.children_removed.empty();
  if (change.kind == Kind::kRekey) {
    CHECK(change.rekey_ike != !change.children_rekeyed.empty());  // one of the two
    CHECK_FALSE(anew);
    return change.rekey_ike ? "IKE rekey" : "rekey";
  }
  CHECK_FALSE(change.rekey_ike);
  CHECK(change.children_rekeyed.empty());
  CHECK(change.children_removed == change.children_added);
  if (change.kind == Kind::kInPlace) return anew ? "child anew" : "in place";
  CHECK(change.kind == Kind::kRestart);
  return "restart";
}

/// What the change of one key disturbs.
std::string disturbance(const Sample& sample) {
  json document = base();
  for (const auto& [pointer, value] : sample.with) document[json::json_pointer(pointer)] = value;
  const auto before = config_of(document);
  document[json::json_pointer(sample.pointer)] = sample.value;
  const auto after = config_of(document);

  const TunnelChanges tunnels = tunnel_changes(*before, *after);
  const CarrierChanges carriers = carrier_changes(*before, *after);
  const bool start_only = !start_only_changes(*before, *after).empty();
  const bool of_all = sample.pointer == "/defaults/require_pfs";  // every child policy has it
  for (const auto& each : tunnels)
    CHECK_MESSAGE((of_all || each.first == "a"), "tunnel ", each.first, " has nothing to do with it");
  for (const auto& each : tunnels) CHECK(word_of(each.second) == word_of(tunnels.begin()->second));
  CHECK((of_all || tunnels.size() + carriers.size() + (start_only ? 1 : 0) <= 1));
  if (!tunnels.empty()) return word_of(tunnels.begin()->second);
  if (!carriers.empty()) return std::string(to_string(carriers.begin()->second.kind));
  return start_only ? "daemon restart" : "none";
}

}  // namespace

TEST_CASE("config disturbance: every key is in the documentation, and changed by a test, once") {
  std::set<std::string> keys, tried, told;
  collect_keys(config_keys(), {}, keys);
  for (const Sample& each : samples()) CHECK_MESSAGE(tried.insert(documented(each.pointer)).second, each.pointer);
  for (const auto& [key, word] : promised()) told.insert(key);
  for (const std::string& key : keys) {
    CHECK_MESSAGE(told.contains(key), key, " has no row in docs/configuration-changes.md");
    CHECK_MESSAGE(tried.contains(key), key, " has no sample here");
  }
  for (const std::string& key : told) CHECK_MESSAGE(keys.contains(key), key, " is no key");
  for (const std::string& key : tried) CHECK_MESSAGE(keys.contains(key), key, " is no key");
}

TEST_CASE("config disturbance: a change of a key disturbs what the documentation says, and no more") {
  const auto rows = promised();
  for (const Sample& each : samples()) {
    CAPTURE(each.pointer);
    const auto row = rows.find(documented(each.pointer));
    REQUIRE(row != rows.end());
    CHECK(disturbance(each) == row->second);
  }
}

TEST_CASE(
    "config disturbance: an address that a tunnel or its peer may use takes the tunnel with it, another does not") {
  json document = base();
  const json::json_pointer addresses("/tunnel_groups/core/public/addresses"), local("/tunnels/a/local");
  document[addresses] = {"192.0.2.1", "192.0.2.77", "2001:db8::1"};
  const auto both = config_of(document);
  document[local] = "192.0.2.1";
  const auto named = config_of(document);
  CHECK(tunnel_changes(*both, *named).empty());  // the same address, said in words

  const auto change = [&](const std::shared_ptr<const Config>& from, const json& left) {
    json to = base();
    to[addresses] = left;
    if (from == named) to[local] = "192.0.2.1";
    return tunnel_changes(*from, *config_of(to)).at("a").kind;
  };
  CHECK(change(named, {"192.0.2.1"}) == Kind::kInPlace);
  CHECK(change(both, {"192.0.2.1", "2001:db8::1"}) == Kind::kRestart);  // its peer may have come there
  CHECK(change(both, {"192.0.2.1", "192.0.2.77"}) == Kind::kInPlace);   // but not over IPv6
  CHECK(change(both, {"192.0.2.77", "192.0.2.1", "2001:db8::1"}) == Kind::kRestart);
}

TEST_CASE("config disturbance: the NICs of a group matter while something is wanted of them") {
  json document = base();
  document["tunnel_groups"]["core"]["offload"] = {{"devices", {"ens1"}}};
  const auto before = config_of(document);
  document["tunnel_groups"]["core"]["offload"]["devices"] = {"ens2"};
  CHECK(tunnel_changes(*before, *config_of(document)).at("a").kind == Kind::kInPlace);
}
