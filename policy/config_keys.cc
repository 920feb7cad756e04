#include "policy/config_keys.h"

#include <array>
#include <nlohmann/json.hpp>

#include "policy/limits.h"

namespace ipsec::policy {
namespace {

using K = KeyKind;
constexpr int64_t kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;

constexpr std::array kPlaceKeys = {
    KeySpec{
        .key = "netns", .kind = K::kText, .meaning = "network namespace as in `ip netns`; the daemon's own without it"},
    KeySpec{.key = "vrf", .kind = K::kText, .meaning = "VRF in that namespace"},
};
constexpr std::array kPublicKeys = {
    kPlaceKeys[0],
    kPlaceKeys[1],
    KeySpec{.key = "addresses",
            .kind = K::kTextList,
            .meaning = "local gateway addresses, at most one per family is used for new tunnels",
            .least = 1,
            .most = 16,
            .required = true},
};
constexpr std::array kGroupOffloadKeys = {
    KeySpec{.key = "mode",
            .kind = K::kWord,
            .meaning = "what to ask of the NIC; auto: packet, then crypto, then software",
            .fallback = "none",
            .words = "none crypto packet auto"},
    KeySpec{.key = "devices",
            .kind = K::kTextList,
            .meaning = "NICs that may take SAs of this group, in order of preference",
            .most = 16},
};
constexpr std::array kMetricKeys = {
    KeySpec{.key = "master",
            .kind = K::kNumber,
            .meaning = "route metric while this node is master",
            .fallback = "100",
            .least = 1,
            .most = 4294967295},
    KeySpec{.key = "alone",
            .kind = K::kNumber,
            .meaning = "route metric without a partner node",
            .fallback = "100",
            .least = 1,
            .most = 4294967295},
    KeySpec{.key = "standby",
            .kind = K::kNumber,
            .meaning = "route metric while this node is standby",
            .fallback = "200",
            .least = 1,
            .most = 4294967295},
    KeySpec{.key = "idle",
            .kind = K::kNumber,
            .meaning = "route metric of a tunnel that waits for traffic",
            .fallback = "300",
            .least = 1,
            .most = 4294967295},
};
constexpr std::array kRouteKeys = {
    KeySpec{.key = "protocol",
            .kind = K::kNumber,
            .meaning = "routing protocol number of our routes (`ip route ... proto`)",
            .fallback = "50",
            .least = 5,
            .most = 255},
    KeySpec{.key = "metric", .kind = K::kObject, .meaning = "metric by state", .members = kMetricKeys},
};
constexpr std::array kGroupKeys = {
    KeySpec{.key = "public",
            .kind = K::kObject,
            .meaning = "where encrypted packets live",
            .members = kPublicKeys,
            .required = true},
    KeySpec{.key = "private", .kind = K::kObject, .meaning = "where clear packets live", .members = kPlaceKeys},
    KeySpec{.key = "attachment",
            .kind = K::kWord,
            .meaning = "how clear traffic reaches the tunnels",
            .fallback = "auto",
            .words = "interface policy auto"},
    KeySpec{.key = "offload", .kind = K::kObject, .meaning = "NIC offload", .members = kGroupOffloadKeys},
    KeySpec{.key = "routes", .kind = K::kObject, .meaning = "routes to the peers' selectors", .members = kRouteKeys},
    KeySpec{.key = "tunnels_max",
            .kind = K::kNumber,
            .meaning = "tunnels in this group; 0: only the built-in limit",
            .fallback = "0",
            .most = static_cast<int64_t>(kTunnelsMax)},
    KeySpec{.key = "enabled", .kind = K::kFlag, .meaning = "false: the group's tunnels stay down", .fallback = "true"},
};
constexpr std::array kRetransmitKeys = {
    KeySpec{.key = "first",
            .kind = K::kDuration,
            .meaning = "before the first repetition; grows each time (RFC 7296 2.1)",
            .fallback = "500ms",
            .least = 50,
            .most = kMinute},
    KeySpec{.key = "factor_percent",
            .kind = K::kNumber,
            .meaning = "each pause in percent of the one before",
            .fallback = "200",
            .least = 100,
            .most = 400},
    KeySpec{.key = "most",
            .kind = K::kDuration,
            .meaning = "the longest pause",
            .fallback = "16s",
            .least = 100,
            .most = 10 * kMinute},
    KeySpec{
        .key = "tries", .kind = K::kNumber, .meaning = "transmissions in all", .fallback = "6", .least = 1, .most = 30},
};
constexpr std::array kRekeyKeys = {
    KeySpec{.key = "enabled", .kind = K::kFlag, .meaning = "false: the SA ends at its lifetime", .fallback = "true"},
    KeySpec{.key = "share",
            .kind = K::kNumber,
            .meaning = "percent of the lifetime after which an SA is replaced",
            .fallback = "90",
            .least = 10,
            .most = 95},
    KeySpec{.key = "jitter",
            .kind = K::kNumber,
            .meaning = "percent of the lifetime by which it may come earlier, at random; less than share",
            .fallback = "10",
            .least = 0,
            .most = 50},
};
constexpr std::array kRetryKeys = {
    KeySpec{.key = "first",
            .kind = K::kDuration,
            .meaning = "pause after the first failure; doubles each time",
            .fallback = "2s",
            .least = 100,
            .most = kHour},
    KeySpec{.key = "most",
            .kind = K::kDuration,
            .meaning = "the longest pause",
            .fallback = "2m",
            .least = 100,
            .most = kDay},
    KeySpec{.key = "tries",
            .kind = K::kNumber,
            .meaning = "set-ups in all before the tunnel stays down; 0: for ever",
            .fallback = "0",
            .most = 65535},
};
constexpr std::array kIkePolicyKeys = {
    KeySpec{.key = "proposals",
            .kind = K::kTextList,
            .meaning = "in order of preference, as aes256gcm16-prfsha384-x25519",
            .fallback = "aes256gcm16-prfsha384-x25519-ecp384",
            .least = 1,
            .most = static_cast<int64_t>(kProposalsMax)},
    KeySpec{.key = "lifetime",
            .kind = K::kDuration,
            .meaning = "of an IKE SA",
            .fallback = "24h",
            .least = kMinute,
            .most = 365 * kDay},
    KeySpec{.key = "rekey", .kind = K::kObject, .meaning = "replacement of IKE SAs", .members = kRekeyKeys},
    KeySpec{.key = "dpd",
            .kind = K::kDuration,
            .meaning = "silence after which liveness is checked; 0s: never",
            .fallback = "30s",
            .least = 0,
            .most = kDay},
    KeySpec{.key = "dpd_mode",
            .kind = K::kWord,
            .meaning = "whether liveness is checked or only answered",
            .fallback = "active",
            .words = "active reply_only"},
    KeySpec{.key = "dpd_tries",
            .kind = K::kNumber,
            .meaning = "transmissions of a liveness check; 0: as retransmit.tries",
            .fallback = "0",
            .most = 30},
    KeySpec{.key = "retransmit", .kind = K::kObject, .meaning = "repetition of requests", .members = kRetransmitKeys},
    KeySpec{.key = "role",
            .kind = K::kWord,
            .meaning = "which side may begin",
            .fallback = "both",
            .words = "initiate respond both"},
    KeySpec{.key = "setup_timeout",
            .kind = K::kDuration,
            .meaning = "from the first message to established",
            .fallback = "30s",
            .least = kSecond,
            .most = 10 * kMinute},
    KeySpec{.key = "retry", .kind = K::kObject, .meaning = "set-up after a failure", .members = kRetryKeys},
    KeySpec{.key = "on_failure",
            .kind = K::kWord,
            .meaning = "when the peer does not answer any more",
            .fallback = "restart",
            .words = "restart traffic clear"},
    KeySpec{.key = "on_close",
            .kind = K::kWord,
            .meaning = "when the peer deletes the IKE SA or a child",
            .fallback = "restart",
            .words = "restart traffic clear"},
    KeySpec{.key = "duplicates",
            .kind = K::kWord,
            .meaning = "a second IKE SA of one identity: replaces the first, is kept beside it, or is refused",
            .fallback = "replace",
            .words = "replace keep refuse"},
    KeySpec{.key = "childless",
            .kind = K::kWord,
            .meaning = "IKE SAs without a child (RFC 6023); force: the first child comes in an exchange of its own",
            .fallback = "refuse",
            .words = "refuse allow force"},
    KeySpec{.key = "children_max",
            .kind = K::kNumber,
            .meaning = "child SAs per IKE SA, besides those that are being replaced",
            .fallback = "64",
            .least = 1,
            .most = 64},
    KeySpec{.key = "children_overload",
            .kind = K::kWord,
            .meaning = "what one child more meets",
            .fallback = "refuse",
            .words = "refuse replace_oldest"},
};
constexpr std::array kChildPolicyKeys = {
    KeySpec{.key = "proposals",
            .kind = K::kTextList,
            .meaning = "in order of preference, as aes256gcm16 or aes256gcm16-x25519-esn",
            .fallback = "aes256gcm16",
            .least = 1,
            .most = static_cast<int64_t>(kProposalsMax)},
    KeySpec{.key = "pfs", .kind = K::kFlag, .meaning = "a fresh key exchange at each rekey", .fallback = "false"},
    KeySpec{.key = "lifetime",
            .kind = K::kDuration,
            .meaning = "of a child SA",
            .fallback = "1h",
            .least = kMinute,
            .most = 365 * kDay},
    KeySpec{.key = "lifetime_bytes",
            .kind = K::kNumber,
            .meaning = "bytes per child SA; 0: no limit",
            .fallback = "0",
            .most = INT64_MAX},
    KeySpec{.key = "lifetime_packets",
            .kind = K::kNumber,
            .meaning = "packets per child SA; 0: no limit",
            .fallback = "0",
            .most = INT64_MAX},
    KeySpec{.key = "rekey",
            .kind = K::kObject,
            .meaning = "replacement of child SAs by time, bytes, packets and sequence numbers",
            .members = kRekeyKeys},
    KeySpec{.key = "idle",
            .kind = K::kWord,
            .meaning = "a child that carried nothing is rekeyed all the same, or ends",
            .fallback = "rekey",
            .words = "rekey end"},
    KeySpec{.key = "policies_max",
            .kind = K::kNumber,
            .meaning = "kernel policies per child and direction",
            .fallback = "256",
            .least = 1,
            .most = 4096},
    KeySpec{.key = "replay_window",
            .kind = K::kNumber,
            .meaning = "packets that may come late",
            .fallback = "128",
            .least = 32,
            .most = 4096},
    KeySpec{.key = "df",
            .kind = K::kWord,
            .meaning = "don't-fragment bit of the outer header",
            .fallback = "copy",
            .words = "copy clear"},
    KeySpec{.key = "dscp",
            .kind = K::kWord,
            .meaning = "DSCP of the outer header",
            .fallback = "copy",
            .words = "copy zero"},
    KeySpec{.key = "mode", .kind = K::kWord, .meaning = "ESP mode", .fallback = "tunnel", .words = "tunnel transport"},
};
constexpr std::array kPskKeys = {
    KeySpec{.key = "file",
            .kind = K::kText,
            .meaning = "file with the key (mode 0600), in the folder of secrets or absolute",
            .required = true},
};
constexpr std::array kCredentialKeys = {
    KeySpec{.key = "psk", .kind = K::kObject, .meaning = "pre-shared key", .members = kPskKeys, .required = true},
};
constexpr std::array kChildKeys = {
    KeySpec{.key = "local",
            .kind = K::kTextList,
            .meaning = "clear traffic on our side, as 10.1.0.0/16 or 10.1.0.0/16[tcp/443]",
            .least = 1,
            .most = static_cast<int64_t>(kSelectorsMax),
            .required = true},
    KeySpec{.key = "remote",
            .kind = K::kTextList,
            .meaning = "clear traffic on the peer's side",
            .least = 1,
            .most = static_cast<int64_t>(kSelectorsMax),
            .required = true},
    KeySpec{.key = "policy", .kind = K::kText, .meaning = "name of a child policy; defaults.child_policy without it"},
    KeySpec{.key = "start",
            .kind = K::kWord,
            .meaning = "what brings it up",
            .fallback = "respond",
            .words = "now traffic respond"},
};
constexpr std::array kTunnelOffloadKeys = {kGroupOffloadKeys[0]};
constexpr std::array kTunnelKeys = {
    KeySpec{.key = "group", .kind = K::kText, .meaning = "name of the tunnel group", .required = true},
    KeySpec{.key = "local",
            .kind = K::kText,
            .meaning = "our address; the group's first one of the peer's family without it"},
    KeySpec{.key = "remote", .kind = K::kText, .meaning = "the peer's address, or \"any\"", .required = true},
    KeySpec{.key = "remote_port",
            .kind = K::kNumber,
            .meaning = "UDP port of the first message",
            .fallback = "500",
            .least = 1,
            .most = 65535},
    KeySpec{.key = "local_id", .kind = K::kText, .meaning = "who we say we are; our address without it"},
    KeySpec{.key = "remote_id", .kind = K::kText, .meaning = "who the peer must be; its address without it"},
    KeySpec{.key = "credential", .kind = K::kText, .meaning = "name of the credential", .required = true},
    KeySpec{.key = "ike_policy", .kind = K::kText, .meaning = "name of an IKE policy; defaults.ike_policy without it"},
    KeySpec{
        .key = "children", .kind = K::kNamedObjects, .meaning = "child SAs", .members = kChildKeys, .required = true},
    KeySpec{.key = "offload", .kind = K::kObject, .meaning = "instead of the group's", .members = kTunnelOffloadKeys},
};
constexpr std::array kAdmissionKeys = {
    KeySpec{.key = "half_open_max",
            .kind = K::kNumber,
            .meaning = "half-open IKE SAs per worker",
            .fallback = "10000",
            .least = 1,
            .most = 1000000},
    KeySpec{.key = "half_open_cookie_from",
            .kind = K::kNumber,
            .meaning = "from so many half-open IKE SAs on a cookie is asked for (RFC 7296 2.6)",
            .fallback = "1000",
            .most = 1000000},
    KeySpec{.key = "half_open_cookie_until",
            .kind = K::kNumber,
            .meaning = "and until there are fewer than these",
            .fallback = "800",
            .most = 1000000},
    KeySpec{.key = "half_open_per_prefix",
            .kind = K::kNumber,
            .meaning = "half-open IKE SAs from one /24 (IPv4) or /56 (IPv6)",
            .fallback = "64",
            .least = 1,
            .most = 1000000},
    KeySpec{.key = "half_open_timeout",
            .kind = K::kDuration,
            .meaning = "from IKE_SA_INIT answered to IKE_AUTH",
            .fallback = "30s",
            .least = kSecond,
            .most = 30 * kMinute},
    KeySpec{.key = "init_rate",
            .kind = K::kNumber,
            .meaning = "new IKE SAs per second and worker; 0: no limit",
            .fallback = "0",
            .most = 1000000},
    KeySpec{.key = "init_rate_per_address",
            .kind = K::kNumber,
            .meaning = "new IKE SAs per second from one address, bursts of twice that; 0: no limit",
            .fallback = "20",
            .most = 1000000},
    KeySpec{.key = "rekey_rate",
            .kind = K::kNumber,
            .meaning = "CREATE_CHILD_SA requests per second of one IKE SA, bursts of twice that; 0: no limit",
            .fallback = "5",
            .most = 50},
    KeySpec{.key = "decrypt_failures_max",
            .kind = K::kNumber,
            .meaning = "forged messages in a row that an IKE SA in set-up bears",
            .fallback = "30",
            .least = 1,
            .most = 10000},
    KeySpec{.key = "ike_sas_max",
            .kind = K::kNumber,
            .meaning = "IKE SAs per worker",
            .fallback = "200000",
            .least = 1,
            .most = 1000000},
};
constexpr std::array kNodeKeys = {
    KeySpec{.key = "id",
            .kind = K::kNumber,
            .meaning = "goes into IKE SPIs, so that two nodes of a pair never choose the same",
            .fallback = "0",
            .most = 255},
    KeySpec{.key = "admission",
            .kind = K::kObject,
            .meaning = "what strangers and peers may cost",
            .members = kAdmissionKeys},
};
constexpr std::array kDefaultKeys = {
    KeySpec{.key = "ike_policy", .kind = K::kText, .meaning = "IKE policy of tunnels that name none"},
    KeySpec{.key = "child_policy", .kind = K::kText, .meaning = "child policy of children that name none"},
    KeySpec{.key = "allow_weak",
            .kind = K::kTextList,
            .meaning = "weak algorithms that may be used all the same",
            .most = 16},
};
constexpr std::array kTopKeys = {
    KeySpec{.key = "version", .kind = K::kNumber, .meaning = "of this format", .least = 1, .most = 1, .required = true},
    KeySpec{.key = "node", .kind = K::kObject, .meaning = "this machine", .members = kNodeKeys},
    KeySpec{.key = "defaults", .kind = K::kObject, .meaning = "for what objects leave out", .members = kDefaultKeys},
    KeySpec{.key = "tunnel_groups", .kind = K::kNamedObjects, .meaning = "where tunnels live", .members = kGroupKeys},
    KeySpec{.key = "ike_policies",
            .kind = K::kNamedObjects,
            .meaning = "how IKE SAs are negotiated",
            .members = kIkePolicyKeys},
    KeySpec{.key = "child_policies",
            .kind = K::kNamedObjects,
            .meaning = "how child SAs are negotiated",
            .members = kChildPolicyKeys},
    KeySpec{.key = "credentials",
            .kind = K::kNamedObjects,
            .meaning = "what proves identities, by reference",
            .members = kCredentialKeys},
    KeySpec{.key = "tunnels", .kind = K::kNamedObjects, .meaning = "configured peers", .members = kTunnelKeys},
    KeySpec{.key = "trust_profiles", .kind = K::kNamedObjects, .meaning = "certificate authorities", .served = false},
    KeySpec{.key = "gateways", .kind = K::kNamedObjects, .meaning = "templates for unknown peers", .served = false},
    KeySpec{.key = "pools", .kind = K::kNamedObjects, .meaning = "addresses for peers", .served = false},
    KeySpec{.key = "aaa", .kind = K::kObject, .meaning = "authentication servers", .served = false},
    KeySpec{.key = "ha", .kind = K::kObject, .meaning = "partner node", .served = false},
};

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
    case K::kNamedObjects: return spec.fallback;
  }
  return {};
}

nlohmann::json schema_of(std::span<const KeySpec> keys);

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
      schema["enum"] = nlohmann::json::array();
      std::string_view rest = spec.words;
      while (!rest.empty()) {
        const size_t end = std::min(rest.find(' '), rest.size());
        schema["enum"].push_back(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
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
      schema["minItems"] = spec.least;
      if (spec.most != 0) schema["maxItems"] = spec.most;
      break;
    case K::kObject: schema.update(schema_of(spec.members)); break;
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

std::span<const KeySpec> config_keys() { return kTopKeys; }

std::span<const KeySpec> config_keys(std::string_view object) {
  for (const KeySpec& each : kTopKeys)
    if (each.key == object) return each.members;
  return {};
}

std::string config_schema() {
  nlohmann::json schema = schema_of(config_keys());
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = "ipsecd configuration";
  return schema.dump(2);
}

}  // namespace ipsec::policy
