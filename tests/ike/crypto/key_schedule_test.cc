#include "ike/crypto/key_schedule.h"

#include <array>

#include "tests/ike/crypto/vectors.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;
using policy::TransformType;

namespace {

struct Case {
  const char* name;
  IkeSuite ike;
  policy::EspSuite esp;
};
constexpr std::array kCases = {
    Case{
        "aes256gcm16-prfsha384",
        {.encryption = policy::kEncrAesGcm16, .key_bits = 256, .prf = policy::kPrfHmacSha384, .group = policy::kX25519},
        {.encryption = policy::kEncrAesGcm16, .key_bits = 256}},
    Case{"aes256-sha256-prfsha256",
         {.encryption = policy::kEncrAesCbc,
          .key_bits = 256,
          .prf = policy::kPrfHmacSha256,
          .integrity = policy::kAuthHmacSha256_128,
          .group = policy::kEcp256},
         {.encryption = policy::kEncrAesCbc, .key_bits = 256, .integrity = policy::kAuthHmacSha256_128}},
    Case{"aes128-sha512-prfsha512",
         {.encryption = policy::kEncrAesCbc,
          .key_bits = 128,
          .prf = policy::kPrfHmacSha512,
          .integrity = policy::kAuthHmacSha512_256,
          .group = policy::kModp2048},
         {.encryption = policy::kEncrAesCbc, .key_bits = 128, .integrity = policy::kAuthHmacSha512_256}},
    Case{"chacha20poly1305-prfsha256",
         {.encryption = policy::kEncrChaCha20Poly1305, .prf = policy::kPrfHmacSha256, .group = policy::kX448},
         {.encryption = policy::kEncrChaCha20Poly1305}},
    Case{"3des-sha1-prfsha1",
         {.encryption = policy::kEncr3Des,
          .prf = policy::kPrfHmacSha1,
          .integrity = policy::kAuthHmacSha1_96,
          .group = policy::kModp1024},
         {.encryption = policy::kEncr3Des, .integrity = policy::kAuthHmacSha1_96}},
    Case{"aes128-aesxcbc-prfaesxcbc",
         {.encryption = policy::kEncrAesCbc,
          .key_bits = 128,
          .prf = policy::kPrfAesXcbc,
          .integrity = policy::kAuthAesXcbc_96,
          .group = policy::kModp1536},
         {.encryption = policy::kEncrAesCbc, .key_bits = 128, .integrity = policy::kAuthAesXcbc_96}},
};

KeySchedule derived(CryptoContext& crypto, const Vectors& vectors, const IkeSuite& suite) {
  const KeySchedule::Inputs inputs{.ni = vectors("inputs.ni"),
                                   .nr = vectors("inputs.nr"),
                                   .spi_i = IkeSpi(0xc0c1c2c3c4c5c6c7),
                                   .spi_r = IkeSpi(0xd0d1d2d3d4d5d6d7)};
  return KeySchedule::derive(crypto, suite, inputs, Secret::copy_of(vectors("inputs.shared"))).value();
}

}  // namespace

TEST_CASE("key schedule: all seven keys are those computed elsewhere, each for its direction") {
  LEDGER("2.13-03", "2.14-01");
  const Vectors vectors("key_schedule.txt");
  CryptoContext crypto;
  for (const Case& each : kCases) {
    CAPTURE(each.name);
    const std::string section = std::string(each.name) + ".";

    const KeySchedule keys = derived(crypto, vectors, each.ike);

    CHECK(hex(keys.block().expose()) == hex(vectors(section + "block")));
    CHECK(keys.suite() == each.ike);
    CHECK(hex(keys.cipher_keys(true).sk_e) == hex(vectors(section + "sk_ei")));
    CHECK(hex(keys.cipher_keys(true).sk_a) == hex(vectors(section + "sk_ai")));
    CHECK(hex(keys.cipher_keys(false).sk_e) == hex(vectors(section + "sk_er")));
    CHECK(hex(keys.cipher_keys(false).sk_a) == hex(vectors(section + "sk_ar")));
  }
}

TEST_CASE("key schedule: the octets of AUTH and the proof of a pre-shared key are those computed elsewhere") {
  const Vectors vectors("key_schedule.txt");
  CryptoContext crypto;
  for (const Case& each : kCases) {
    CAPTURE(each.name);
    const std::string section = std::string(each.name) + ".";
    const KeySchedule keys = derived(crypto, vectors, each.ike);
    const ByteView first = vectors("inputs.first_message");
    const ByteView id = vectors("inputs.id_body");

    const Bytes initiator = keys.auth_octets(crypto, true, first, vectors("inputs.nr"), id).value();
    const Bytes responder = keys.auth_octets(crypto, false, first, vectors("inputs.ni"), id).value();

    CHECK(hex(initiator) == hex(vectors(section + "octets_i")));
    CHECK(hex(responder) == hex(vectors(section + "octets_r")));
    CHECK(hex(psk_auth(crypto, each.ike.prf, vectors("inputs.psk"), initiator).value()) ==
          hex(vectors(section + "auth_i")));
  }
}

TEST_CASE("key schedule: child keys are those computed elsewhere, with and without a fresh key exchange") {
  LEDGER("2.17-01", "2.17-02");
  const Vectors vectors("key_schedule.txt");
  CryptoContext crypto;
  for (const Case& each : kCases) {
    CAPTURE(each.name);
    const std::string section = std::string(each.name) + ".";
    const KeySchedule keys = derived(crypto, vectors, each.ike);
    const ByteView ni = vectors("inputs.child_ni");
    const ByteView nr = vectors("inputs.child_nr");

    const auto plain = keys.child_keys(crypto, each.esp, ni, nr).value();
    const auto fresh = keys.child_keys(crypto, each.esp, ni, nr, vectors("inputs.shared")).value();

    CHECK(hex(plain.initiator_to_responder.expose()) == hex(vectors(section + "child_i_to_r")));
    CHECK(hex(plain.responder_to_initiator.expose()) == hex(vectors(section + "child_r_to_i")));
    CHECK(hex(fresh.initiator_to_responder.expose()) == hex(vectors(section + "child_pfs_i_to_r")));
    CHECK(hex(fresh.responder_to_initiator.expose()) == hex(vectors(section + "child_pfs_r_to_i")));
  }
}

TEST_CASE("key schedule: forgetting the AUTH keys keeps all others, and a second time changes nothing") {
  const Vectors vectors("key_schedule.txt");
  CryptoContext crypto;
  for (const Case& each : kCases) {
    CAPTURE(each.name);
    KeySchedule keys = derived(crypto, vectors, each.ike);
    const std::string whole = hex(keys.block().expose());
    const std::string sk_er = hex(keys.cipher_keys(false).sk_e);
    CHECK(keys.can_authenticate());

    keys.forget_auth_keys();
    const std::string left = hex(keys.block().expose());
    keys.forget_auth_keys();

    CHECK(!keys.can_authenticate());
    CHECK(whole.starts_with(left));
    CHECK(left.size() < whole.size());
    CHECK(hex(keys.block().expose()) == left);
    CHECK(hex(keys.cipher_keys(false).sk_e) == sk_er);
  }
}

TEST_CASE("key schedule: a block restores to the same state, before and after the AUTH keys are forgotten") {
  const Vectors vectors("key_schedule.txt");
  CryptoContext crypto;
  for (const Case& each : kCases) {
    CAPTURE(each.name);
    KeySchedule keys = derived(crypto, vectors, each.ike);

    const KeySchedule before = KeySchedule::restore(each.ike, keys.block().clone()).value();
    keys.forget_auth_keys();
    const KeySchedule after = KeySchedule::restore(each.ike, keys.block().clone()).value();

    CHECK(before.can_authenticate());
    CHECK(!after.can_authenticate());
    CHECK(hex(after.cipher_keys(true).sk_e) == hex(before.cipher_keys(true).sk_e));
  }
}

TEST_CASE("key schedule: a block of any other size, or of an unknown suite, does not restore") {
  const IkeSuite suite = kCases[0].ike;
  for (size_t bytes : {0, 119, 121, 215, 217})  // 48 + 2 * 36 = 120, and 96 more
    CHECK(KeySchedule::restore(suite, Secret(bytes)).error().reason() == Reason::kMalformed);
  IkeSuite unknown = suite;
  unknown.encryption = 3;
  CHECK(KeySchedule::restore(unknown, Secret(120)).error().reason() == Reason::kUnsupported);
  unknown = suite;
  unknown.prf = 1;
  CHECK(KeySchedule::restore(unknown, Secret(120)).error().reason() == Reason::kUnsupported);
}

TEST_CASE("suite: a chosen proposal becomes a suite and comes back, without integrity beside an AEAD") {
  for (const Case& each : kCases) {
    CAPTURE(each.name);
    const policy::Proposal proposal = each.ike.to_proposal();

    CHECK(IkeSuite::of(proposal).value() == each.ike);
    CHECK(proposal.transforms.size() == (each.ike.integrity != policy::kAuthNone ? 4 : 3));
  }
}

TEST_CASE("suite: an integrity transform of NONE beside an AEAD is accepted, a real one is not") {
  LEDGER("3.3-05");
  policy::Proposal proposal = kCases[0].ike.to_proposal();
  proposal.transforms.push_back({.type = TransformType::kIntegrity, .id = policy::kAuthNone});
  CHECK(IkeSuite::of(proposal).value() == kCases[0].ike);

  proposal.transforms.back().id = policy::kAuthHmacSha256_128;
  CHECK(IkeSuite::of(proposal).error().reason() == Reason::kUnsupported);
}

TEST_CASE("suite: a proposal that lacks a transform, has one twice or is not for IKE is an error that says so") {
  const policy::Proposal whole = kCases[1].ike.to_proposal();
  for (size_t i = 0; i < whole.transforms.size(); ++i) {
    CAPTURE(i);
    policy::Proposal twice = whole;
    twice.transforms.push_back(whole.transforms[i]);
    CHECK(IkeSuite::of(twice).error().reason() == Reason::kNoProposalChosen);

    policy::Proposal lacking = whole;
    lacking.transforms.erase(lacking.transforms.begin() + static_cast<ptrdiff_t>(i));
    CHECK(!IkeSuite::of(lacking).ok());
  }
  policy::Proposal esp = whole;
  esp.protocol = policy::Protocol::kEsp;
  CHECK(IkeSuite::of(esp).error().detail() == "chosen proposal: not for an IKE SA");
  policy::Proposal no_group = whole;
  no_group.transforms.pop_back();
  CHECK(IkeSuite::of(no_group).error().detail() == "chosen proposal: no transform of type 4");
  no_group.transforms.push_back({.type = TransformType::kKeyExchange, .id = 22});
  CHECK(IkeSuite::of(no_group).error().reason() == Reason::kUnsupported);
}
