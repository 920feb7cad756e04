#include <doctest/doctest.h>

#include "policy/base/random.h"
#include "policy/identity.h"
#include "policy/proposal.h"
#include "policy/traffic_selector.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {
std::vector<Proposal> ike(std::string_view text) { return parse_proposal(Protocol::kIke, text).value(); }
std::vector<Proposal> esp(std::string_view text) { return parse_proposal(Protocol::kEsp, text).value(); }
std::string text_of(const std::optional<ProposalChoice>& choice) { return choice ? to_string(choice->chosen) : "none"; }
SelectorList selectors(std::initializer_list<std::string_view> texts) {
  SelectorList list;
  for (auto text : texts) list.push_back(parse_selector(text).value());
  return list;
}
}  // namespace

TEST_CASE("proposal: the words users know become transforms, and come back as the same words") {
  LEDGER("3.3.4-04");
  CHECK(to_string(ike("aes256gcm16-prfsha384-x25519")) == "aes256gcm16-prfsha384-x25519");
  CHECK(to_string(esp("aes128gcm16-esn")) == "aes128gcm16-esn");
  CHECK(to_string(esp("aes128gcm16")) == "aes128gcm16-esn-noesn");
}

TEST_CASE("proposal: a list that mixes AEAD and CBC becomes two, with integrity only beside CBC") {
  LEDGER("3.3-05");
  auto parts = ike("aes256gcm16-aes128-sha256-prfsha384-ecp256");
  REQUIRE(parts.size() == 2);
  CHECK(to_string(parts[0]) == "aes256gcm16-prfsha384-ecp256");
  CHECK(to_string(parts[1]) == "aes128-sha256-prfsha384-ecp256");
  CHECK(to_string(ike("aes128-aes256gcm16-sha256-modp2048-prfsha256")[0]) == "aes128-sha256-modp2048-prfsha256");
}

TEST_CASE("proposal: a missing PRF follows from the integrity algorithm") {
  CHECK(to_string(ike("aes256-sha512-x25519")) == "aes256-sha512-x25519-prfsha512");
}

TEST_CASE("proposal: what cannot work is refused with what is missing") {
  auto detail = [](Protocol protocol, std::string_view text) {
    auto parsed = parse_proposal(protocol, text);
    return parsed.ok() ? std::string() : parsed.error().detail();
  };
  CHECK(detail(Protocol::kIke, "aes256gcm16-x25519").find("a PRF, such as") != std::string::npos);
  CHECK(detail(Protocol::kIke, "aes256gcm16-prfsha256").find("key exchange") != std::string::npos);
  CHECK(detail(Protocol::kIke, "aes256-x25519-prfsha256").find("integrity") != std::string::npos);
  CHECK(detail(Protocol::kEsp, "prfsha256").find("cannot be used for ESP") != std::string::npos);
  CHECK(detail(Protocol::kEsp, "esn").find("a cipher, such as") != std::string::npos);
  CHECK(detail(Protocol::kIke, "aes256gcm16--x25519").find("not a known") != std::string::npos);
  CHECK(detail(Protocol::kIke, "3des-sha1-modp1024").find("\"3des\"") != std::string::npos);
  CHECK(detail(Protocol::kIke, "").find("not a known") != std::string::npos);
}

TEST_CASE("choose: our order counts, and each type must meet") {
  LEDGER("2.7-04", "3.3.4-05");
  auto ours = ike("aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp256");
  CHECK(text_of(choose(ours, ike("aes128gcm16-aes256gcm16-prfsha256-ecp256-x25519"), KeyExchangeUse::kRequired)) ==
        "aes256gcm16-prfsha256-x25519");
  CHECK(text_of(choose(ours, ike("aes256gcm16-prfsha512-x25519"), KeyExchangeUse::kRequired)) == "none");
  CHECK(text_of(choose(ours, ike("aes256-sha256-x25519"), KeyExchangeUse::kRequired)) == "none");
}

TEST_CASE("choose: an integrity transform beside an AEAD, NONE or a real one, is left out of what is chosen") {
  LEDGER("3.3-05");
  const auto configured = ike("aes256gcm16-prfsha384-x25519");
  auto offered = configured;
  CHECK(!has_integrity_beside_aead(offered[0]));
  offered[0].transforms.push_back({TransformType::kIntegrity, kAuthNone});
  CHECK(text_of(choose(configured, offered, KeyExchangeUse::kRequired)) == "aes256gcm16-prfsha384-x25519");
  CHECK(!has_integrity_beside_aead(offered[0]));
  offered[0].transforms.back().id = kAuthHmacSha256_128;
  CHECK(text_of(choose(configured, offered, KeyExchangeUse::kRequired)) == "aes256gcm16-prfsha384-x25519");
  CHECK(has_integrity_beside_aead(offered[0]));
  // One offer with both kinds of ciphers: each is chosen with what belongs to it.
  offered[0].transforms.push_back({TransformType::kEncryption, kEncrAesCbc, 256});
  CHECK(text_of(choose(configured, offered, KeyExchangeUse::kRequired)) == "aes256gcm16-prfsha384-x25519");
  CHECK(text_of(choose(ike("aes256-sha256-prfsha384-x25519"), offered, KeyExchangeUse::kRequired)) ==
        "aes256-prfsha384-sha256-x25519");
  CHECK(!has_integrity_beside_aead(ike("aes256-sha256-prfsha384-x25519")[0]));
}

TEST_CASE("answer: an integrity transform beside an AEAD was not offered, so it is not accepted") {
  const auto offered = ike("aes256gcm16-prfsha384-x25519");
  Proposal answer = offered[0];
  answer.transforms.push_back({TransformType::kIntegrity, kAuthNone});
  CHECK(check_answer(offered, answer).ok());
  answer.transforms.back().id = kAuthHmacSha256_128;
  CHECK(check_answer(offered, answer).error().reason() == Reason::kNoProposalChosen);
}

TEST_CASE("choose: an ESP offer without ESN means 32-bit numbers, and PFS groups do not count in IKE_AUTH") {
  auto offered = esp("aes256gcm16-x25519");
  std::erase_if(offered[0].transforms, [](const Transform& each) { return each.type == TransformType::kEsn; });
  CHECK(text_of(choose(esp("aes256gcm16"), offered, KeyExchangeUse::kIgnored)) == "aes256gcm16-noesn");
  CHECK(text_of(choose(esp("aes256gcm16-esn"), offered, KeyExchangeUse::kIgnored)) == "none");
}

TEST_CASE("answer: only one transform of each type out of those offered is accepted") {
  LEDGER("3.3.6-05");
  auto offered = ike("aes256gcm16-aes128gcm16-prfsha384-x25519-ecp256");
  CHECK(check_answer(offered, ike("aes128gcm16-prfsha384-ecp256")[0]).ok());
  CHECK(check_answer(offered, ike("aes128gcm16-prfsha384-ecp384")[0]).error().reason() == Reason::kNoProposalChosen);
  CHECK(check_answer(offered, offered[0]).error().reason() == Reason::kIkeInvalidSyntax);
  Proposal lacking = ike("aes128gcm16-prfsha384-ecp256")[0];
  lacking.transforms.pop_back();
  CHECK(!check_answer(offered, lacking).ok());
}

TEST_CASE("selector: text forms are read and written again") {
  for (auto text : {"10.1.0.0/16", "10.1.0.1-10.1.0.9", "10.1.0.0/16[tcp/443]", "2001:db8::/32[udp/1000-2000]",
                    "0.0.0.0/0[icmp/8]", "0.0.0.0/0[icmp/8/0]", "0.0.0.0/0[103]"}) {
    CHECK(to_string(parse_selector(text).value()) == text);
  }
  CHECK(parse_selector("0.0.0.0/0[icmp/8/0]")->port_first == 0x0800);
  CHECK(parse_selector("0.0.0.0/0[icmp/8]")->port_last == 0x08ff);
  for (auto bad : {"", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.0/8[tcp", "10.0.0.0/8[]", "10.0.0.0/8[tcp/9-1]",
                   "10.0.0.0/8[icmp/256]", "10.0.0.0/8[0]"})
    CHECK(!parse_selector(bad).ok());
}

TEST_CASE("narrowing: what both allow, in the order of the offer, never wider than configured") {
  LEDGER("2.9-02");
  auto configured = selectors({"10.1.0.0/16", "10.2.0.0/16[tcp]"});
  CHECK(to_string(narrow(configured, selectors({"0.0.0.0/0"}))) == "10.1.0.0/16 10.2.0.0/16[tcp]");
  CHECK(to_string(narrow(configured, selectors({"10.2.3.0/24", "10.1.2.0/24"}))) == "10.2.3.0/24[tcp] 10.1.2.0/24");
  CHECK(to_string(narrow(configured, selectors({"10.2.3.0/24[udp]"}))).empty());
  CHECK(to_string(narrow(configured, selectors({"10.1.9.9", "10.1.0.0/16"}))) == "10.1.0.0/16");
  CHECK(narrow(configured, selectors({"::/0"})).empty());
}

TEST_CASE("narrowing: for selectors drawn at random the result lies within both sides") {
  SeededRandom random(3);
  auto draw = [&] {
    auto a = IpAddress::v4(static_cast<uint32_t>(random.below(64))),
         b = IpAddress::v4(static_cast<uint32_t>(random.below(64)));
    TrafficSelector selector{{std::min(a, b), std::max(a, b)}};
    if (random.below(2) == 0) selector.protocol = static_cast<uint8_t>(random.below(2) == 0 ? 6 : 17);
    if (random.below(2) == 0) {
      selector.port_first = static_cast<uint16_t>(random.below(100));
      selector.port_last = static_cast<uint16_t>(selector.port_first + random.below(100));
    }
    return selector;
  };
  for (int round = 0; round < 2000; ++round) {
    SelectorList ours = {draw(), draw()}, theirs = {draw(), draw(), draw()};
    auto both = narrow(ours, theirs);
    CHECK(all_within(both, ours));
    CHECK(all_within(both, theirs));
  }
}

TEST_CASE("identity: kinds follow from the text, names compare without regard to case") {
  LEDGER("3.5-04", "3.5-05", "3.5-06");
  CHECK(Identity::parse("192.0.2.1")->type == IdType::kIpv4);
  CHECK(Identity::parse("2001:db8::1")->type == IdType::kIpv6);
  CHECK(Identity::parse("gw.example.net")->matches(*Identity::parse("GW.Example.net")));
  CHECK(!Identity::parse("Alice@example.net")->matches(*Identity::parse("alice@example.net")));
  CHECK(Identity::parse("alice@EXAMPLE.net")->matches(*Identity::parse("alice@example.net")));
  CHECK(!Identity::parse("gw.example.net")->matches(*Identity::parse("gw.example.com")));
  CHECK(Identity::parse("keyid:00ff")->data == Bytes{0, 0xff});
  CHECK(to_string(Identity{IdType::kFqdn, {'a', '\n'}}) == "a\\x0a");
  CHECK(!Identity::parse("").ok());
  CHECK(!Identity::parse("a b").ok());
}
