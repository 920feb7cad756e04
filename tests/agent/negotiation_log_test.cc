#include "agent/negotiation_log.h"

#include "tests/agent/negotiation_support.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

ike::Report named(ike::Report report, const std::string& identity) {
  report.fields.push_back(field("identity", identity));
  return report;
}

ike::Report of_tunnel(ike::Report report, const std::string& tunnel) {
  report.tunnel = tunnel;
  return report;
}

}  // namespace

TEST_CASE("negotiation log: a failure is found by tunnel, address, address with port and identity") {
  NegotiationLog log(negotiation_config());
  log.note(second(1), refused_child());

  for (const char* peer : {"a", "198.51.100.7", "198.51.100.7[500]", "a.example", ""}) {
    CAPTURE(std::string(peer));
    REQUIRE(log.find(peer, 10).size() == 1);
    CHECK(log.find(peer, 10)[0]->reason == Reason::kNoProposalChosen);
  }
  for (const char* peer : {"b", "198.51.100.9", "a.exampl"}) CHECK(log.find(peer, 10).empty());
}

TEST_CASE("negotiation log: the last failure of a peer is kept, and how many there were") {
  NegotiationLog log(negotiation_config());
  log.note(second(1), refused_child());
  log.note(second(2), named(of_tunnel(failure("198.51.100.7", Reason::kAuthFailed), "a"), "a.example"));

  REQUIRE(log.size() == 1);
  const NegotiationLog::Entry& entry = *log.find("a", 10)[0];
  CHECK(entry.count == 2);
  CHECK(entry.reason == Reason::kAuthFailed);
  CHECK(entry.time == second(2));
  CHECK(entry.negotiation == nullptr);
}

TEST_CASE("negotiation log: before the peer has named itself its address tells the tunnel, unless several share it") {
  NegotiationLog log(negotiation_config());
  log.note(second(1), failure("198.51.100.7"));
  log.note(second(2), failure("198.51.100.8"));

  REQUIRE(log.find("a", 10).size() == 1);
  CHECK(log.find("b", 10).empty());
  REQUIRE(log.find("198.51.100.8", 10).size() == 1);
  CHECK(log.find("198.51.100.8", 10)[0]->tunnel.empty());
}

TEST_CASE("negotiation log: what is ordinary during a set-up is no failure") {
  NegotiationLog log(negotiation_config());
  for (const Reason reason : {Reason::kInvalidKe, Reason::kNegotiationRetry, Reason::kNatDetected,
                              Reason::kPeerTemporaryFailure, Reason::kTemporaryFailure, Reason::kChildNotFound,
                              Reason::kIkeEstablished, Reason::kChildRekeyed, Reason::kDeletedByPeer})
    log.note(second(1), failure("198.51.100.7", reason));
  CHECK(log.size() == 0);

  for (const Reason reason : {Reason::kTsUnacceptable, Reason::kIkeVersion, Reason::kMalformed, Reason::kSetupTimeout,
                              Reason::kPeerUnreachable, Reason::kDuplicateRefused})
    log.note(second(1), failure("198.51.100.7", reason));
  CHECK(log.find("a", 10).at(0)->count == 6);
}

TEST_CASE("negotiation log: a child that comes up marks what is kept of its tunnel, a new failure takes that back") {
  NegotiationLog log(negotiation_config());
  log.note(second(1), refused_child());
  log.note(second(2), of_tunnel(failure("198.51.100.8", Reason::kChildEstablished), "b"));
  CHECK_FALSE(log.find("a", 10)[0]->succeeded_at.has_value());

  log.note(second(3), of_tunnel(failure("198.51.100.7", Reason::kChildEstablished), "a"));
  CHECK(log.find("a", 10)[0]->succeeded_at == second(3));

  log.note(second(4), refused_child());
  CHECK_FALSE(log.find("a", 10)[0]->succeeded_at.has_value());
}

TEST_CASE("negotiation log: strangers push out the oldest stranger, never a configured peer") {
  NegotiationLog log(negotiation_config(), {.known = 4, .per_owner = 2, .strangers = 3});
  log.note(second(0), refused_child());
  for (int i = 1; i <= 200; ++i) log.note(second(i), failure("203.0.113." + std::to_string(i)));

  CHECK(log.size() == 4);
  CHECK(log.find("a", 10).size() == 1);
  const auto all = log.find("", 10);
  REQUIRE(all.size() == 4);
  CHECK(to_string(all[0]->remote.address) == "203.0.113.200");
  CHECK(to_string(all[2]->remote.address) == "203.0.113.198");
  CHECK(log.find("203.0.113.197", 10).empty());
}

TEST_CASE("negotiation log: one tunnel's address with made-up identities has its share and takes nobody else's") {
  NegotiationLog log(negotiation_config(), {.known = 4, .per_owner = 2, .strangers = 3});
  log.note(second(0), named(failure("198.51.100.8"), "b.example"));
  for (int i = 1; i <= 50; ++i) log.note(second(i), named(failure("198.51.100.7"), "made-up-" + std::to_string(i)));

  CHECK(log.size() == 3);
  CHECK(log.find("made-up-50", 10).size() == 1);
  CHECK(log.find("made-up-49", 10).size() == 1);
  CHECK(log.find("made-up-48", 10).empty());
  CHECK(log.find("b.example", 10).size() == 1);
}

TEST_CASE("negotiation log: a repeated failure makes an entry the newest, so that it is not the one to go") {
  NegotiationLog log(negotiation_config(), {.known = 4, .per_owner = 2, .strangers = 2});
  log.note(second(1), failure("203.0.113.1"));
  log.note(second(2), failure("203.0.113.2"));
  log.note(second(3), failure("203.0.113.1"));
  log.note(second(4), failure("203.0.113.3"));

  CHECK(log.find("203.0.113.1", 10).size() == 1);
  CHECK(log.find("203.0.113.2", 10).empty());
}

TEST_CASE("negotiation log: however much a peer offers, an entry keeps a bounded part of it") {
  ike::Report report = refused_child();
  auto large = std::make_shared<policy::Negotiation>(*report.negotiation);
  large->offered.resize(500, large->offered[0]);
  large->offered_local.resize(500, policy::parse_selector("10.9.0.0/16").value());
  large->offered_text = std::string(100000, 'x');
  report.negotiation = large;
  report.fields.resize(100, field("detail", std::string(100000, 'y')));
  NegotiationLog log(negotiation_config());

  log.note(second(1), report);

  const NegotiationLog::Entry& entry = *log.find("a", 1)[0];
  CHECK(entry.negotiation->offered.size() == kProposalsKept);
  CHECK(entry.negotiation->offered_local.size() == kSelectorsKept);
  CHECK(entry.negotiation->offered_text.size() == kTextBytesKept);
  CHECK(entry.fields.size() == kFieldsKept);
  for (const Field& each : entry.fields) CHECK(each.value.size() <= kTextBytesKept);
  CHECK(large->offered.size() == 500);  // others share the report
}

TEST_CASE("negotiation log: an identity of control characters is kept printable") {
  NegotiationLog log(negotiation_config());
  log.note(second(1), named(failure("203.0.113.1"), "x\x1b[2J"));
  CHECK(log.find("", 1)[0]->identity == "x\\x1b[2J");
}

TEST_CASE("negotiation log: another configuration changes who is known, and keeps what there is") {
  NegotiationLog log(std::make_shared<policy::Config>(), {.known = 4, .per_owner = 2, .strangers = 1});
  log.note(second(1), failure("198.51.100.7"));
  CHECK(log.find("a", 10).empty());

  log.set_config(negotiation_config());
  log.note(second(2), failure("198.51.100.7"));

  CHECK(log.find("a", 10).size() == 1);
  CHECK(log.find("198.51.100.7", 10).size() == 2);
}
