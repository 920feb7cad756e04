#include <algorithm>

#include "tests/policy/config_support.h"

// Policies and limits: every word arrives as its enumerator, and keys that contradict each other are refused.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

std::shared_ptr<const Config> accepted(const Document& document) {
  ConfigOutcome outcome = parse_one(document.text());
  for (const ConfigError& each : outcome.errors) FAIL_CHECK(each.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

IkePolicy ike(const std::string& members) {
  return *accepted(Document{.ike_policy = ", " + members})->ike_policies.at("strong");
}

ChildPolicy child(const std::string& members) {
  return *accepted(Document{.child_policy = ", " + members})->child_policies.at("fast");
}

ConfigError refused(const Document& document, const std::string& pointer) {
  ConfigError error = only_error(document.text());
  CHECK(error.pointer == pointer);
  CHECK(error.reason == Reason::kConfigConflict);
  return error;
}

bool warns(const Document& document, std::string_view words) {
  const auto config = accepted(document);
  return std::any_of(config->warnings.begin(), config->warnings.end(),
                     [&](const std::string& each) { return each.find(words) != std::string::npos; });
}

}  // namespace

TEST_CASE("config policies: rekeying, retransmission and retry are read as written") {
  const IkePolicy policy = ike(R"("rekey": { "enabled": false, "share_percent": 80, "jitter_percent": 5 },
    "retransmit": { "first": "1s", "factor_percent": 150, "most": "20s", "tries": 9 },
    "retry": { "first": "5s", "most": "10m", "tries": 3 }, "dpd": "5m", "dpd_tries": 3, "children_max": 7)");

  CHECK(policy.rekey == RekeyPolicy{false, 80, 5});
  CHECK(policy.retransmit == RetransmitPolicy{1s, 150, 20s, 9});
  CHECK(policy.retry == RetryPolicy{5s, 10min, 3});
  CHECK(policy.dpd_tries == 3);
  CHECK(policy.children_max == 7);
  const ChildPolicy fast = child(R"("rekey": { "share_percent": 70 }, "policies_max": 4096)");
  CHECK(fast.rekey == RekeyPolicy{true, 70, 10});
  CHECK(fast.policies_max == 4096);
}

TEST_CASE("config policies: each word is read as what it says") {
  for (const EndAction each : {EndAction::kRestart, EndAction::kTraffic, EndAction::kClear}) {
    const std::string word(to_string(each));
    CHECK(ike("\"on_failure\": \"" + word + "\"").on_failure == each);
    CHECK(ike("\"on_close\": \"" + word + "\"").on_close == each);
  }
  for (const DuplicatePolicy each : {DuplicatePolicy::kReplace, DuplicatePolicy::kKeep, DuplicatePolicy::kRefuse})
    CHECK(ike("\"duplicates\": \"" + std::string(to_string(each)) + "\"").duplicates == each);
  for (const ChildlessPolicy each : {ChildlessPolicy::kRefuse, ChildlessPolicy::kAllow, ChildlessPolicy::kForce})
    CHECK(ike("\"childless\": \"" + std::string(to_string(each)) + "\"").childless == each);
  for (const ChildOverload each : {ChildOverload::kRefuse, ChildOverload::kReplaceOldest})
    CHECK(ike("\"children_overload\": \"" + std::string(to_string(each)) + "\"").children_overload == each);
  for (const DpdMode each : {DpdMode::kActive, DpdMode::kReplyOnly})
    CHECK(ike("\"dpd_mode\": \"" + std::string(to_string(each)) + "\"").dpd_mode == each);
  for (const IdleRekey each : {IdleRekey::kRekey, IdleRekey::kEnd})
    CHECK(child("\"idle\": \"" + std::string(to_string(each)) + "\"").idle == each);
}

TEST_CASE("config policies: some of a lifetime must remain between share and jitter") {
  CHECK(ike(R"("rekey": { "share_percent": 50, "jitter_percent": 40 })").rekey.jitter_percent == 40);
  const std::string members = R"(, "rekey": { "share_percent": 50, "jitter_percent": 41 })";
  CHECK(
      refused({.ike_policy = members}, "/ike_policies/strong/rekey/jitter_percent").allowed.starts_with("at most 40"));
  refused({.child_policy = members}, "/child_policies/fast/rekey/jitter_percent");
}

TEST_CASE("config policies: a peer that is only answered has no interval of liveness checks") {
  CHECK(ike(R"("dpd_mode": "reply_only")").dpd_mode == DpdMode::kReplyOnly);
  CHECK(ike(R"("dpd_mode": "reply_only", "dpd": "0s")").dpd == 0s);
  refused({.ike_policy = R"(, "dpd_mode": "reply_only", "dpd": "30s")"}, "/ike_policies/strong/dpd");
  refused({.ike_policy = R"(, "dpd_mode": "reply_only", "dpd_tries": 3)"}, "/ike_policies/strong/dpd_tries");
}

TEST_CASE("config policies: who never begins cannot set anything up again") {
  CHECK(ike(R"("role": "respond")").on_failure == EndAction::kRestart);  // the default, which has no effect then
  CHECK(ike(R"("role": "respond", "on_failure": "clear", "on_close": "clear")").on_close == EndAction::kClear);
  refused({.ike_policy = R"(, "role": "respond", "on_failure": "restart")"}, "/ike_policies/strong/on_failure");
  refused({.ike_policy = R"(, "role": "respond", "on_close": "traffic")"}, "/ike_policies/strong/on_close");
}

TEST_CASE("config policies: a packet cannot raise a tunnel to an unknown address") {
  const std::string id = R"(, "remote_id": "b.example")";
  const ConfigError error =
      refused({.ike_policy = R"(, "on_failure": "traffic")", .tunnel = id, .remote = "any"}, "/tunnels/a/remote");
  CHECK(error.allowed.find("on_failure of IKE policy strong is traffic") != std::string::npos);
  refused({.ike_policy = R"(, "on_close": "traffic")", .tunnel = id, .remote = "any"}, "/tunnels/a/remote");
}

TEST_CASE("config policies: more children than one IKE SA may have are refused") {
  const std::string second = R"( }, "b": { "local": ["10.1.0.0/16"], "remote": ["10.3.0.0/16"])";
  const ConfigError error = refused({.ike_policy = R"(, "children_max": 1)", .child = second}, "/tunnels/a/children");
  CHECK(error.found == "2 children");
  CHECK(error.allowed == "at most 1, children_max of IKE policy strong");
}

TEST_CASE("config policies: pauses that shrink are refused") {
  refused({.ike_policy = R"(, "retry": { "first": "3m" })"}, "/ike_policies/strong/retry/most");
}

TEST_CASE("config policies: an IKE SA that hardly outlives its children is told as a warning, once for two policies") {
  CHECK_FALSE(warns({}, "lives less than three times"));
  CHECK_FALSE(warns({.child_policy = R"(, "lifetime": "160m")"}, "lives less than three times"));
  const Document close{.child_policy = R"(, "lifetime": "161m")",
                       .child = R"( }, "b": { "local": ["10.1.0.0/16"], "remote": ["10.3.0.0/16"], "policy": "fast")"};
  CHECK(warns(close, "IKE policy strong lives less than three times as long as child policy fast (tunnel a)"));
  CHECK(accepted(close)->warnings.size() == 1);
}

TEST_CASE("config policies: limits of admission are read, and cookies must begin and end in order") {
  const auto config = accepted({.top = R"(, "node": { "admission": { "half_open_max": 500, "half_open_cookie_from": 300,
    "half_open_cookie_until": 200, "half_open_per_prefix": 9, "half_open_timeout": "1m", "init_rate": 1000,
    "init_rate_per_address": 3, "rekey_rate": 50, "decrypt_failures_max": 1, "ike_sas_max": 5000 } })"});
  CHECK(config->admission == AdmissionLimits{500, 300, 200, 9, 1min, 1000, 3, 50, 1, 5000});

  refused({.top = R"(, "node": { "admission": { "half_open_cookie_until": 1001 } })"},
          "/node/admission/half_open_cookie_until");
  refused({.top = R"(, "node": { "admission": { "half_open_max": 999 } })"}, "/node/admission/half_open_cookie_from");
}

TEST_CASE("config policies: limits of admission stand in one file only") {
  const std::string more = R"({ "version": 1, "node": { "admission": { "rekey_rate": 9 } } })";
  const ConfigOutcome outcome = parse_config({{"a.json", more}, {"b.json", more}});
  REQUIRE(outcome.errors.size() == 1);
  CHECK(outcome.errors[0].pointer == "/node/admission");
}
