#include "agent/show/negotiation_json.h"

#include "tests/agent/negotiation_support.h"

using namespace ipsec;
using namespace ipsec::agent;
using nlohmann::json;

namespace {

Result<json> ask(const NegotiationLog& log, const std::string& peer) {
  return negotiation_failures(log, *negotiation_config(), negotiation_files(), peer);
}

}  // namespace

TEST_CASE("negotiation json: both sides, the first difference, and file and line of what to change") {
  NegotiationLog log(negotiation_config());
  log.note(second(1), refused_child());

  const json failure = ask(log, "a").value().at(0);

  CHECK(failure["time"] == "1970-01-01T00:00:01.000Z");
  CHECK(failure["tunnel"] == "a");
  CHECK(failure["child"] == "lan");
  CHECK(failure["local"] == "192.0.2.1[500]");
  CHECK(failure["remote"] == "198.51.100.7[500]");
  CHECK(failure["identity"] == "a.example");
  CHECK(failure["code"] == "no-proposal-chosen");
  CHECK(failure["fields"]["detail"] == "no common proposal");
  CHECK(failure["count"] == 1);
  CHECK(failure["resolved_at"].is_null());
  CHECK(failure["offered_by"] == "peer");
  CHECK(failure["rows"] == json::parse(R"([
    {"what": "encryption", "offered": "aes128gcm16", "configured": "chacha20poly1305", "verdict": "differs"},
    {"what": "sequence numbers", "offered": "noesn", "configured": "noesn", "verdict": "matches"}])"));
  CHECK(failure["first_mismatch"] == 0);
  CHECK(failure["pointer"] == "/child_policies/strong/proposals/0");
  CHECK(failure["file"] == "gw.json");
  CHECK(failure["line"] == 5);
  CHECK(failure["advice"].get<std::string>().starts_with("write \"aes128gcm16\" into the list of proposals"));
}

TEST_CASE("negotiation json: what we offered and the peer refused has no other side, and says so by null") {
  ike::Report report = refused_child();
  auto ours = std::make_shared<policy::Negotiation>(*report.negotiation);
  ours->we_offered = true;
  report.negotiation = ours;
  NegotiationLog log(negotiation_config());
  log.note(second(1), report);

  const json failure = ask(log, "a").value().at(0);

  CHECK(failure["offered_by"] == "us");
  REQUIRE(failure["rows"].size() == 1);
  CHECK(failure["rows"][0]["configured"].is_null());
  CHECK(failure["rows"][0]["verdict"] == "unknown");
  CHECK(failure["first_mismatch"].is_null());
}

TEST_CASE("negotiation json: the list of all has no comparisons, and nothing is an empty list") {
  NegotiationLog log(negotiation_config());
  CHECK(ask(log, "").value() == json::array());
  log.note(second(1), refused_child());
  log.note(second(2), failure("203.0.113.9"));

  const json all = ask(log, "").value();

  REQUIRE(all.size() == 2);
  CHECK(all[0]["remote"] == "203.0.113.9[500]");
  CHECK(all[0]["tunnel"].is_null());
  CHECK(all[1]["tunnel"] == "a");
  for (const json& each : all) {
    CHECK(each["rows"].empty());
    CHECK(each["pointer"].is_null());
    CHECK(each["line"].is_null());
  }
}

TEST_CASE("negotiation json: a failure without a comparison has its reason and remedy") {
  NegotiationLog log(negotiation_config());
  log.note(second(1), failure("198.51.100.7", Reason::kSetupTimeout));

  const json failure = ask(log, "a").value().at(0);

  CHECK(failure["code"] == "setup-timeout");
  CHECK(failure["remedy"].get<std::string>().find("UDP 500") != std::string::npos);
  CHECK(failure["rows"].empty());
  CHECK(failure["offered_by"].is_null());
}

TEST_CASE("negotiation json: of an unknown peer it is said how peers are listed, of a known tunnel that none failed") {
  const NegotiationLog log(negotiation_config());

  const Error unknown = ask(log, "nobody\n").error();
  CHECK(unknown.reason() == Reason::kNotFound);
  CHECK(unknown.text().find("nobody\\x0a") != std::string::npos);
  CHECK(unknown.text().find("`ipsecctl explain negotiation` lists") != std::string::npos);
  CHECK(unknown.text().find("`ipsecctl list tunnels`") != std::string::npos);

  const Error fine = ask(log, "b").error();
  CHECK(fine.reason() == Reason::kNotFound);
  CHECK(fine.text().find("none of this tunnel has failed") != std::string::npos);
}

TEST_CASE("negotiation json: a reply holds a bounded number of failures") {
  NegotiationLog log(negotiation_config());
  const size_t many = kFailuresKeptOfStrangers;
  for (size_t i = 0; i < many; ++i) {
    ike::Report report = failure("203.0.113.9");
    report.fields.push_back(field("identity", "x" + std::to_string(i)));
    log.note(second(1), report);
  }
  CHECK(ask(log, "203.0.113.9").value().size() == kExplainedMax);
  CHECK(ask(log, "").value().size() == kFailuresListedMax);
}
