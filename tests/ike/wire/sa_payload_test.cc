#include "ike/limits.h"
#include "tests/ike/wire/wire_test_support.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;
using policy::Protocol;
using policy::Transform;
using policy::TransformType;

namespace {

/// IKE, AES-GCM-16 with 256 bits, PRF HMAC-SHA-384, X25519.
constexpr std::string_view kIkeProposal =
    "00 00 0024 01 01 00 03"
    "03 00 000c 01 00 0014 800e 0100"
    "03 00 0008 02 00 0006"
    "00 00 0008 04 00 001f";

/// ESP, AES-CBC with 128 bits, HMAC-SHA-256, ESN, then ChaCha20-Poly1305, no ESN.
constexpr std::string_view kTwoEspProposals =
    "02 00 0028 01 03 04 03 c1c2c3c4"
    "03 00 000c 01 00 000c 800e 0080"
    "03 00 0008 03 00 000c"
    "00 00 0008 05 00 0001"
    "00 00 001c 02 03 04 02 c1c2c3c4"
    "03 00 0008 01 00 001c"
    "00 00 0008 05 00 0000";

std::string number(size_t value, size_t digits) {
  ByteWriter out;
  out.u16(static_cast<uint16_t>(value));
  return to_hex(out.view()).substr(4 - digits);
}

/// One IKE proposal, the last one, around transforms given as hexadecimal digits.
std::string proposal_of(std::string_view transforms, size_t count, std::string_view protocol = "01") {
  return "0000" + number(8 + bytes_of(transforms).size(), 4) + "01" + std::string(protocol) + "00" + number(count, 2) +
         std::string(transforms);
}

/// The transforms that remain of one proposal, and whether it can be used.
WireProposal only(const std::string& hex) {
  auto payload = parsed<SaPayload>(hex);
  REQUIRE_MESSAGE(payload.ok(), payload.error().detail());
  REQUIRE(payload->proposals.size() == 1);
  return payload->proposals[0];
}

}  // namespace

TEST_CASE("SA: an IKE proposal is read and written") {
  LEDGER("3.3.1-04", "3.3.5-01", "3.3.5-03");
  const SaPayload payload = parsed<SaPayload>(kIkeProposal).value();

  REQUIRE(payload.proposals.size() == 1);
  const WireProposal& first = payload.proposals[0];
  CHECK(first.number == 1);
  CHECK(first.spi.empty());
  CHECK(!first.unusable);
  CHECK(first.proposal == policy::Proposal{.protocol = Protocol::kIke,
                                           .transforms = {{TransformType::kEncryption, policy::kEncrAesGcm16, 256},
                                                          {TransformType::kPrf, policy::kPrfHmacSha384, 0},
                                                          {TransformType::kKeyExchange, policy::kX25519, 0}}});
  CHECK(written(payload) == to_hex(bytes_of(kIkeProposal)));
  check_truncation<SaPayload>(kIkeProposal, 36);
}

TEST_CASE("SA: two ESP proposals are read and written, with a key length only where there is one") {
  LEDGER("3.3.5-04");
  const SaPayload payload = parsed<SaPayload>(kTwoEspProposals).value();

  REQUIRE(payload.proposals.size() == 2);
  CHECK(payload.proposals[0].spi == Bytes{0xc1, 0xc2, 0xc3, 0xc4});
  CHECK(payload.proposals[0].proposal.transforms[0] == Transform{TransformType::kEncryption, policy::kEncrAesCbc, 128});
  CHECK(payload.proposals[1].number == 2);
  CHECK(payload.proposals[1].proposal.transforms[0] ==
        Transform{TransformType::kEncryption, policy::kEncrChaCha20Poly1305, 0});
  CHECK(written(payload) == to_hex(bytes_of(kTwoEspProposals)));
  check_truncation<SaPayload>(kTwoEspProposals, 68);
}

TEST_CASE("SA: a rekey of an IKE SA has an SPI of eight bytes") {
  const WireProposal proposal = only("00000018 01 01 08 01 c0c1c2c3c4c5c6c7 00000008 04 00 001f");
  CHECK(to_hex(proposal.spi) == "c0c1c2c3c4c5c6c7");
  CHECK(!proposal.unusable);
}

TEST_CASE("SA: an answer may begin with any number; one that does not rise by one makes its proposal unusable") {
  LEDGER("3.3-03", "3.3.1-02");
  const std::string transform = "00000008 04 00 001f";
  CHECK(only("00000010 07 01 00 01" + transform).number == 7);
  // Numbers as they come, and which of the proposals can be used.
  const std::vector<std::pair<std::string, std::vector<bool>>> cases = {{"010203", {true, true, true}},
                                                                        {"010101", {true, false, false}},
                                                                        {"010102", {true, false, true}},
                                                                        {"010304", {true, false, true}},
                                                                        {"020100", {true, false, false}}};
  for (const auto& each : cases) {
    const std::string& numbers = each.first;
    const std::vector<bool>& usable = each.second;
    CAPTURE(numbers);
    std::string all;
    for (size_t i = 0; i < 3; ++i)
      all += std::string(i < 2 ? "02" : "00") + "000010" + numbers.substr(2 * i, 2) + "010001" + transform;
    const SaPayload payload = parsed<SaPayload>(all).value();
    REQUIRE(payload.proposals.size() == 3);
    for (size_t i = 0; i < 3; ++i) CHECK(payload.proposals[i].unusable == !usable[i]);
  }
}

TEST_CASE("SA: an SPI of a size that its protocol does not have makes its proposal unusable, and only that one") {
  const std::string transform = "00000008 04 00 001f";
  const SaPayload payload = parsed<SaPayload>("02000013 01 01 03 01 010203" + transform +            //
                                              "02000010 02 03 00 01" + transform +                   //
                                              "02000018 03 02 08 01 0102030405060708" + transform +  //
                                              "00000014 04 03 04 01 c1c2c3c4" + transform)
                                .value();
  REQUIRE(payload.proposals.size() == 4);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(payload.proposals[i].oddity() == Reason::kIkeSpiSize);
    CHECK(payload.proposals[i].unusable);
  }
  CHECK(payload.proposals[3].oddity() == Reason::kNone);
}

TEST_CASE("SA: transform IDs that are not known are kept, so that they can be reported") {
  const WireProposal proposal = only(proposal_of("00000008 01 00 ffff", 1));
  CHECK(!proposal.unusable);
  CHECK(proposal.proposal.transforms == std::vector{Transform{TransformType::kEncryption, 0xffff, 0}});
}

TEST_CASE("SA: a transform type that is not known makes its proposal unusable, and only that one") {
  LEDGER("3.3.6-06");
  const WireProposal proposal = only(proposal_of("03000008 06 00 0001 00000008 04 00 001f", 2));
  CHECK(proposal.unusable);
  CHECK(proposal.proposal.transforms.size() == 1);

  const auto payload = parsed<SaPayload>(
      "02000010 01 01 00 01 00000008 f1 00 0001"
      "00000010 02 01 00 01 00000008 04 00 001f");
  REQUIRE(payload.ok());
  CHECK(payload->proposals[0].unusable);
  CHECK(!payload->proposals[1].unusable);
}

TEST_CASE("SA: a transform with an attribute that is not known is dropped; another of its type keeps the proposal") {
  LEDGER("3.3.6-07");
  const std::string_view good = "0300000c 01 00 0014 800e 0100";
  // Type 15 with a fixed length; type 14 and type 18 with a length of their own; a key length of zero.
  for (std::string_view bad : {"0000000c 01 00 000c 800f 0001", "0000000e 01 00 000c 000e 0002 0080",
                               "0000000c 01 00 000c 0012 0000", "0000000c 01 00 000c 800e 0000"}) {
    CAPTURE(bad);
    const WireProposal proposal = only(proposal_of(std::string(good) + std::string(bad), 2));
    CHECK(!proposal.unusable);
    CHECK(proposal.proposal.transforms.size() == 1);
  }
}

TEST_CASE("SA: when all transforms of a type are dropped the proposal is unusable, not one without that type") {
  LEDGER("3.3.6-07");
  // Without this rule an offer "GCM with integrity X" would be taken for plain GCM, one with PFS for one without.
  const WireProposal proposal = only(proposal_of("0300000c 01 00 0014 800e 0100 0000000c 04 00 001f 800f 0001", 2));
  CHECK(proposal.unusable);
  CHECK(proposal.proposal.transforms.size() == 1);
}

TEST_CASE("SA: AH, protocols that are not known and proposals without transforms are kept but unusable") {
  const WireProposal ah = only("00000014 01 02 04 01 00000001 00000008 03 00 000c");
  CHECK(ah.unusable);
  CHECK(ah.proposal.protocol == Protocol::kAh);
  CHECK(only(proposal_of("00000008 03 00 000c", 1, "09")).unusable);
  CHECK(only(proposal_of("", 0)).unusable);
}

TEST_CASE("SA: why a proposal cannot be used, and what it is compared as") {
  const WireProposal good = only(std::string(kIkeProposal));
  CHECK(good.oddity() == Reason::kNone);
  CHECK(good.offered() == good.proposal);
  const WireProposal ah = only("00000014 01 02 04 01 00000001 00000008 03 00 000c");
  CHECK(ah.oddity() == Reason::kProtocolNotServed);
  CHECK(ah.offered() == ah.proposal);
  // Protocol 9, no transforms, a type of transform that is not known.
  for (const WireProposal& each : {only(proposal_of("00000008 03 00 000c", 1, "09")), only(proposal_of("", 0)),
                                   only(proposal_of("00000008 06 00 0001", 1))}) {
    CHECK(each.oddity() == Reason::kProposalUnusable);
    CHECK(each.offered() == policy::Proposal{.protocol = Protocol::kNone});
  }
}

TEST_CASE("SA: transforms that are left out are counted") {
  const std::string good = "0300000c 01 00 0014 800e 0100", private_one = "0300000c 01 00 000c 800f 0001";
  const WireProposal proposal = only(proposal_of(private_one + good + private_one + "00000008 02 00 0005", 4));
  CHECK(proposal.transforms_left_out == 2);
  CHECK(proposal.proposal.transforms.size() == 2);
  CHECK(only(std::string(kIkeProposal)).transforms_left_out == 0);
}

TEST_CASE("SA: reserved bytes are ignored and sent as zero") {
  LEDGER("3.3.1-01", "3.3.2-01");
  const auto payload = parsed<SaPayload>("00ff0010 01 01 00 01 00ff0008 04 ff 001f");
  CHECK(written(payload.value()) == "0000001001010001000000080400001f");
}

TEST_CASE("SA: each error of a proposal names its field") {
  LEDGER("3.3-02");
  const std::string transform = "00000008 04 00 001f";
  CHECK(refused<SaPayload>("") == "malformed | no proposal");
  CHECK(refused<SaPayload>("00") == "truncated | proposal 1: reserved: need 1 bytes, have 0");
  CHECK(refused<SaPayload>("0000 00") == "truncated | proposal 1: length: need 2 bytes, have 1");
  CHECK(refused<SaPayload>("00000007 010100") == "malformed | proposal 1: length: 7");
  CHECK(refused<SaPayload>("00000010 01") == "truncated | proposal 1: length: need 12 bytes, have 1");
  CHECK(refused<SaPayload>("01000010 01010001" + transform) == "malformed | proposal 1: last substructure: 1");
  CHECK(refused<SaPayload>("02000010 01010001" + transform) ==
        "malformed | proposal 1: last substructure: none follows");
  CHECK(refused<SaPayload>("00000010 01010001" + transform + "00") ==
        "malformed | proposal 1: last substructure: more follow");
  CHECK(refused<SaPayload>("0000000a 01030401 0102") == "truncated | proposal 1: SPI: need 4 bytes, have 2");
}

TEST_CASE("SA: each error of a transform names its field") {
  LEDGER("3.3-02");
  auto transform = [](std::string_view hex, size_t count = 1) { return refused<SaPayload>(proposal_of(hex, count)); };
  CHECK(transform("") == "truncated | proposal 1: transform 1: last substructure: need 1 bytes, have 0");
  CHECK(transform("00") == "truncated | proposal 1: transform 1: reserved: need 1 bytes, have 0");
  CHECK(transform("000000") == "truncated | proposal 1: transform 1: length: need 2 bytes, have 1");
  CHECK(transform("00000007 040000") == "malformed | proposal 1: transform 1: length: 7");
  CHECK(transform("00000009 0400001f") == "truncated | proposal 1: transform 1: length: need 5 bytes, have 4");
  CHECK(transform("02000008 0400001f") == "malformed | proposal 1: transform 1: last substructure: 2");
  CHECK(transform("03000008 0400001f") == "malformed | proposal 1: transform 1: last substructure: none follows");
  CHECK(transform("00000008 0400001f 00000008 0400001f", 2) ==
        "malformed | proposal 1: transform 1: last substructure: more follow");
  CHECK(transform("00000008 0400001f", 2) ==
        "malformed | proposal 1: transform 1: the last one, but the proposal counts 2");
  CHECK(transform("03000008 0400001f 00000008 0400001f", 1) ==
        "malformed | proposal 1: after the transforms: 8 bytes too many");
}

TEST_CASE("SA: each error of an attribute names its field") {
  auto transform = [](std::string_view hex) { return refused<SaPayload>(proposal_of(hex, 1)); };
  CHECK(transform("00000009 0100000c 80") ==
        "truncated | proposal 1: transform 1: attribute 1: type: need 2 bytes, have 1");
  CHECK(transform("0000000a 0100000c 800e") ==
        "truncated | proposal 1: transform 1: attribute 1: value or length: need 2 bytes, have 0");
  CHECK(transform("0000000d 0100000c 0012 0002 aa") ==
        "truncated | proposal 1: transform 1: attribute 1: value: need 2 bytes, have 1");
}

TEST_CASE("SA: two key lengths, or more attributes than the limit, leave out their transform and no other") {
  LEDGER("3.3-06");
  const std::string_view good = "0300000c 01 00 0014 800e 0100";
  std::string many;
  for (size_t i = 0; i <= kAttributesMax; ++i) many += "800f0001";
  for (const std::string& bad : {std::string("00000010 0100000c 800e 0080 800e 0100"), "0000002c 0100000c" + many}) {
    const WireProposal proposal = only(proposal_of(std::string(good) + bad, 2));
    CHECK(!proposal.unusable);
    CHECK(proposal.transforms_left_out == 1);
    CHECK(proposal.proposal.transforms ==
          std::vector{Transform{TransformType::kEncryption, policy::kEncrAesGcm16, 256}});
  }
}

TEST_CASE(
    "SA: 64 proposals and 128 transforms are read; a proposal with more transforms is unusable, more proposals "
    "are left out") {
  SaPayload payload;
  for (size_t i = 0; i < kProposalsMax; ++i) {
    WireProposal each{.number = static_cast<uint8_t>(i + 1), .spi = {}, .proposal = {}};
    each.proposal.transforms.assign(kTransformsMax, {TransformType::kKeyExchange, policy::kX448, 0});
    payload.proposals.push_back(each);
  }
  ByteWriter out;
  payload.write(out);
  CHECK(parsed<SaPayload>(Bytes(out.view().begin(), out.view().end())).value().proposals.size() == kProposalsMax);

  std::string more;
  for (size_t i = 1; i <= kProposalsMax + 1; ++i)
    more += (i <= kProposalsMax ? "02" : "00") + std::string("000010") + number(i, 2) + "010001 00000008 0400001f";
  const SaPayload cut = parsed<SaPayload>(more).value();
  CHECK(cut.proposals.size() == kProposalsMax);
  CHECK(cut.left_out);

  std::string transforms;
  for (size_t i = 0; i <= kTransformsMax; ++i)
    transforms += (i < kTransformsMax ? "03" : "00") + std::string("000008 0400001f");
  CHECK(only(proposal_of(transforms, kTransformsMax + 1)).unusable);
}
