#include "policy/negotiation.h"
#include "policy/selector_fit.h"
#include "tests/policy/config_support.h"
#include "tests/policy/selector_support.h"

// Explanations: what was compared, the first difference, and the line to change - which must then really match.

using namespace ipsec;
using namespace ipsec::policy;

namespace {

using About = Negotiation::About;
using Verdict = Explanation::Verdict;

std::shared_ptr<const Config> config_of(const Document& document = {}) {
  ConfigOutcome outcome = parse_one(document.text());
  REQUIRE(outcome.config != nullptr);
  return outcome.config;
}

std::vector<Proposal> ike(std::string_view text) { return parse_proposal(Protocol::kIke, text).value(); }
std::vector<Proposal> esp(std::string_view text) { return parse_proposal(Protocol::kEsp, text).value(); }

std::string row_text(const Explanation& explanation, size_t index) {
  const Explanation::Row& row = explanation.rows.at(index);
  return row.what + ": " + row.offered + " | " + row.configured + " " + std::string(to_string(row.verdict));
}

/// The first text in quotes of the advice.
std::string written(const Explanation& explanation) {
  const size_t begin = explanation.advice.find('"') + 1;
  return explanation.advice.substr(begin, explanation.advice.find('"', begin) - begin);
}

bool advises(const Explanation& explanation, std::string_view words) {
  CAPTURE(explanation.advice);
  return explanation.advice.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("explain: proposals stand side by side, with the first difference and the text that would have matched") {
  const auto config = config_of({.ike_policy = R"(, "proposals": ["chacha20poly1305-prfsha512-x448",
    "aes256gcm16-prfsha384-x25519"])"});
  const Negotiation failed{.about = About::kIkeProposal,
                           .tunnel = "a",
                           .offered = ike("aes256gcm16-prfsha256-ecp256-x25519"),
                           .configured = config->ike_policies.at("strong")->proposals};

  const Explanation explained = explain(failed, *config);

  REQUIRE(explained.rows.size() == 3);
  CHECK(row_text(explained, 0) == "encryption: aes256gcm16 | aes256gcm16 matches");
  CHECK(row_text(explained, 1) == "PRF: prfsha256 | prfsha384 differs");
  CHECK(row_text(explained, 2) == "key exchange: ecp256 x25519 | x25519 matches");
  CHECK(explained.first_mismatch == 1);
  CHECK(explained.pointer == "/ike_policies/strong/proposals/1");
  CHECK(written(explained) == "aes256gcm16-prfsha256-x25519");
}

TEST_CASE("explain: before the tunnel is known the policy is found by its proposals") {
  const auto config = config_of({.ike_policy = R"(, "proposals": ["aes256gcm16-prfsha384-x448"])"});
  const Explanation explained = explain({.about = About::kIkeProposal,
                                         .offered = ike("aes256gcm16-prfsha384-x25519"),
                                         .configured = ike("aes256gcm16-prfsha384-x448")},
                                        *config);
  CHECK(explained.pointer == "/ike_policies/strong/proposals/0");
  CHECK(explain({.about = About::kIkeProposal, .offered = ike("aes256gcm16-prfsha384-x25519")}, *config).pointer ==
        "/ike_policies");
}

TEST_CASE("explain: whatever an offer holds, the text that is advised would have matched it") {
  const auto config = config_of();
  std::vector<const Algorithm*> known;
  for (const Algorithm& each : all_algorithms()) known.push_back(&each);
  size_t advised = 0;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const Protocol protocol = seed % 2 == 0 ? Protocol::kIke : Protocol::kEsp;
    Proposal offered{.protocol = protocol};
    for (int i = 0; i < 6; ++i) {
      const Algorithm& row = *known[random.below(known.size())];
      offered.transforms.push_back({row.type, row.id, row.key_bits});
    }
    if (random.below(4) == 0) offered.transforms.push_back({TransformType::kEncryption, 3, 0});  // not known here
    const About about = protocol == Protocol::kIke ? About::kIkeProposal : About::kChildProposal;
    const auto configured = protocol == Protocol::kIke ? ike("aes128gcm16-prfsha512-x448") : esp("chacha20poly1305");
    const KeyExchangeUse use = protocol == Protocol::kIke ? KeyExchangeUse::kRequired : KeyExchangeUse::kIgnored;
    const std::vector<Proposal> offer = {offered};
    if (choose(configured, offer, use)) continue;
    const Explanation explained =
        explain({.about = about, .tunnel = "a", .child = "lan", .offered = offer, .configured = configured}, *config);
    CHECK(explained.first_mismatch.has_value());
    if (!explained.advice.starts_with("write \"")) continue;
    ++advised;
    std::vector<std::string> weak;
    for (const Algorithm* each : known) weak.emplace_back(each->name);
    const auto parsed = parse_proposal(protocol, written(explained), weak);
    REQUIRE(parsed.ok());
    CHECK(choose(*parsed, offer, use).has_value());
  }
  CHECK(advised > 50);
}

TEST_CASE("explain: an offer that cannot be met here is answered with what the peer should offer") {
  const auto config = config_of();
  Proposal old{.protocol = Protocol::kIke, .transforms = {{TransformType::kEncryption, 3, 0}}};
  const Explanation explained = explain({.about = About::kIkeProposal,
                                         .tunnel = "a",
                                         .offered = {old},
                                         .configured = ike("aes256gcm16-prfsha384-x25519")},
                                        *config);
  CHECK(advises(explained, "let the peer offer one of aes256gcm16-prfsha384-x25519"));
  CHECK(explained.first_mismatch == 0);
}

TEST_CASE("explain: a child without PFS against one with it differs in the key exchange") {
  const auto config = config_of();
  const Explanation explained = explain({.about = About::kChildProposal,
                                         .tunnel = "a",
                                         .child = "lan",
                                         .offered = esp("aes256gcm16-x25519"),
                                         .configured = esp("aes256gcm16")},
                                        *config);
  REQUIRE(explained.first_mismatch.has_value());
  CHECK(row_text(explained, *explained.first_mismatch) == "key exchange: x25519 | none differs");
  CHECK(explained.pointer == "/child_policies/fast/proposals/0");
  CHECK(written(explained) == "aes256gcm16-x25519");
  const Explanation other = explain({.about = About::kChildProposal,
                                     .tunnel = "a",
                                     .child = "lan",
                                     .offered = esp("aes256gcm16"),
                                     .configured = esp("aes256gcm16-x25519")},
                                    *config);
  CHECK(advises(other, "\"pfs\": false"));
}

TEST_CASE("explain: an offer of ours that the peer refused says that its side is not known") {
  const auto config = config_of();
  const Explanation explained = explain(
      {.about = About::kIkeProposal, .we_offered = true, .tunnel = "a", .offered = ike("aes256gcm16-prfsha384-x25519")},
      *config);
  REQUIRE(explained.rows.size() == 1);
  CHECK(explained.rows[0].verdict == Verdict::kUnknown);
  CHECK_FALSE(explained.first_mismatch.has_value());
  CHECK(advises(explained, "the peer did not say what it wants"));
}

TEST_CASE("explain: selectors that do not meet name the list and what to write into it") {
  const auto config = config_of();
  const Negotiation failed{.about = About::kSelectors,
                           .tunnel = "a",
                           .offered_local = selectors_of({"10.1.0.0/16"}),
                           .offered_remote = selectors_of({"10.9.0.0/16[tcp/443]", "10.8.0.0/24"})};

  const Explanation explained = explain(failed, *config);

  CHECK(row_text(explained, 0) == "local selectors: 10.1.0.0/16 | 10.1.0.0/16 matches");
  CHECK(row_text(explained, 1) == "remote selectors: 10.9.0.0/16[tcp/443] 10.8.0.0/24 | 10.2.0.0/16 differs");
  CHECK(explained.first_mismatch == 1);
  CHECK(explained.pointer == "/tunnels/a/children/lan/remote");
  CHECK(advises(explained, R"(write ["10.9.0.0/16[tcp/443]", "10.8.0.0/24"] here)"));

  const auto mended = config_of({.remote_selector = R"(10.9.0.0/16[tcp/443]", "10.8.0.0/24)"});
  CHECK(select_traffic(mended->tunnels.at("a")->children[0], {failed.offered_local, failed.offered_remote}).ok());
}

TEST_CASE("explain: without a child's name the child that meets most is meant") {
  const auto config =
      config_of({.child = R"( }, "voice": { "local": ["10.5.0.0/16"], "remote": ["10.6.0.0/16"], "policy": "fast")"});
  const Explanation explained = explain({.about = About::kSelectors,
                                         .tunnel = "a",
                                         .offered_local = selectors_of({"10.5.1.0/24"}),
                                         .offered_remote = selectors_of({"10.7.0.0/16"})},
                                        *config);
  CHECK(explained.pointer == "/tunnels/a/children/voice/remote");
}

TEST_CASE("explain: too many kernel policies and lists that never meet are differences of their own") {
  const auto config = config_of({.local_selector = "0.0.0.0/0", .remote_selector = "0.0.0.0/0"});
  const Explanation many = explain({.about = About::kSelectors,
                                    .tunnel = "a",
                                    .offered_local = selectors_of({"10.1.0.0/16[tcp/1-65534]"}),
                                    .offered_remote = selectors_of({"10.2.0.0/16[tcp/1-65534]"})},
                                   *config);
  REQUIRE(many.first_mismatch == 2);
  CHECK(row_text(many, 2) == "kernel policies: 900 | at most 256 differs");
  CHECK(many.pointer == "/child_policies/fast/policies_max");
  const Explanation apart = explain({.about = About::kSelectors,
                                     .tunnel = "a",
                                     .offered_local = selectors_of({"10.1.0.0/16[tcp]"}),
                                     .offered_remote = selectors_of({"10.2.0.0/16[udp]"})},
                                    *config);
  REQUIRE(apart.first_mismatch == 2);
  CHECK(apart.rows[2].what == "one family and protocol");
}

TEST_CASE("explain: the part of a split child leads to the child as it is configured") {
  const auto config = config_of({.child_policy = R"(, "policies_max": 4)", .remote_selector = "10.2.0.1-10.2.0.30"});
  const Explanation explained = explain({.about = About::kSelectors,
                                         .tunnel = "a",
                                         .child = "lan.2",
                                         .offered_local = selectors_of({"10.1.0.0/16"}),
                                         .offered_remote = selectors_of({"10.3.0.0/16"}),
                                         .configured_local = selectors_of({"10.1.0.0/16"}),
                                         .configured_remote = selectors_of({"10.2.0.16-10.2.0.30"})},
                                        *config);
  CHECK(explained.pointer == "/tunnels/a/children/lan/remote");
}

TEST_CASE("explain: an unknown identity is compared with the most similar one, a known one with its tunnel's") {
  const auto config = config_of({.tunnel = R"(, "local_id": "gw.example", "remote_id": "branch-7.example")"});
  const Explanation like = explain({.about = About::kIdentity, .offered_text = "brnch-7.example"}, *config);
  CHECK(row_text(like, 0) == "peer's identity: brnch-7.example | branch-7.example differs");
  CHECK(like.pointer == "/tunnels/a/remote_id");
  CHECK(advises(like, "if this is the peer of tunnel a, write \"brnch-7.example\" here"));
  const Explanation stranger = explain({.about = About::kIdentity, .offered_text = "somebody@else.net"}, *config);
  CHECK(stranger.pointer == "/tunnels");
  const Explanation ours = explain({.about = About::kIdentity,
                                    .tunnel = "a",
                                    .offered_text = "branch-7.example",
                                    .offered_local_text = "old-gw.example"},
                                   *config);
  CHECK(ours.first_mismatch == 1);
  CHECK(ours.pointer == "/tunnels/a/local_id");
}

TEST_CASE("explain: a wrong proof leads to the key's file, another method to the credential") {
  const auto config = config_of();
  const Explanation proof = explain({.about = About::kAuthentication,
                                     .tunnel = "a",
                                     .offered_text = "pre-shared key",
                                     .configured_text = "pre-shared key"},
                                    *config);
  CHECK(proof.pointer == "/credentials/key/psk/file");
  CHECK(proof.first_mismatch == 1);
  const Explanation method = explain(
      {.about = About::kAuthentication, .tunnel = "a", .offered_text = "RSA", .configured_text = "pre-shared key"},
      *config);
  CHECK(method.pointer == "/tunnels/a/credential");
  CHECK(method.first_mismatch == 0);
}

TEST_CASE("explain: modes lead to the child policy") {
  const auto config = config_of();
  const Explanation mode = explain(
      {.about = About::kMode, .tunnel = "a", .child = "lan", .offered_text = "transport", .configured_text = "tunnel"},
      *config);
  CHECK(mode.pointer == "/child_policies/fast/mode");
  CHECK(row_text(mode, 0) == "mode: transport | tunnel differs");
}

TEST_CASE("explain: nothing of a peer reaches a terminal as it came, and an empty negotiation is no harm") {
  const auto config = config_of();
  for (const About about : {About::kIkeProposal, About::kChildProposal, About::kSelectors, About::kMode,
                            About::kIdentity, About::kAuthentication})
    for (const char* tunnel : {"", "a", "gone"})
      for (const bool we_offered : {false, true}) {
        const Explanation explained = explain({.about = about,
                                               .we_offered = we_offered,
                                               .tunnel = tunnel,
                                               .offered_text = "\x1b[2Jboo\n",
                                               .offered_local_text = "\x07"},
                                              *config);
        std::string all = explained.advice + explained.pointer;
        for (const Explanation::Row& row : explained.rows) all += row.offered + row.configured;
        for (const char each : all) CHECK((each >= ' ' && each <= '~'));
        CHECK_FALSE(explained.advice.empty());
      }
}
