#include <algorithm>
#include <array>

#include "ike/crypto/crypto_context.h"
#include "tests/ike/crypto/vectors.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

namespace {

struct Group {
  uint16_t id;
  const char* name;
};
constexpr std::array kGroups = {
    Group{policy::kX25519, "x25519"},     Group{policy::kX448, "x448"},         Group{policy::kEcp256, "ecp256"},
    Group{policy::kEcp384, "ecp384"},     Group{policy::kEcp521, "ecp521"},     Group{policy::kModp2048, "modp2048"},
    Group{policy::kModp3072, "modp3072"}, Group{policy::kModp4096, "modp4096"}, Group{policy::kModp1024, "modp1024"},
    Group{policy::kModp1536, "modp1536"}, Group{policy::kModp6144, "modp6144"}, Group{policy::kModp8192, "modp8192"}};

KeyPair pair_of(const Vectors& vectors, const Group& group, const char* side) {
  const std::string name = group.name;
  return {.group = group.id,
          .private_key = Secret::copy_of(vectors(name + ".private_" + side)),
          .public_value = vectors(name + ".public_" + side)};
}

Error refused(CryptoContext& crypto, const KeyPair& ours, ByteView peer_public) {
  auto shared = crypto.shared_secret(ours, peer_public);
  REQUIRE(!shared.ok());
  return std::move(shared).error();
}

Bytes from_number(const Bytes& number, int add) {
  Bytes value = number;
  for (size_t i = value.size(); add != 0 && i-- > 0;) {
    const int sum = value[i] + add;
    value[i] = static_cast<uint8_t>(sum & 0xff);
    add = sum < 0 ? -1 : sum >> 8;
  }
  return value;
}

}  // namespace

TEST_CASE("key exchange: the published vectors hold for both sides of every group") {
  const Vectors vectors("key_exchange.txt");
  CryptoContext crypto;
  for (const Group& group : kGroups) {
    CAPTURE(group.name);
    const KeyPair initiator = pair_of(vectors, group, "i");
    const KeyPair responder = pair_of(vectors, group, "r");

    const Secret at_initiator = crypto.shared_secret(initiator, responder.public_value).value();
    const Secret at_responder = crypto.shared_secret(responder, initiator.public_value).value();

    CHECK(hex(at_initiator.expose()) == hex(vectors(std::string(group.name) + ".shared")));
    CHECK(at_responder.equals(at_initiator.expose()));
  }
}

TEST_CASE("key exchange: from the private keys of the vectors the public values come out") {
  const Vectors vectors("key_exchange.txt");
  CryptoContext crypto;
  for (const Group& group : kGroups) {
    CAPTURE(group.name);
    for (const char* side : {"i", "r"}) {
      const KeyPair expected = pair_of(vectors, group, side);
      ScriptedRandom random(Bytes(expected.private_key.expose().begin(), expected.private_key.expose().end()));

      const KeyPair made = crypto.generate(group.id, random).value();

      CHECK(made.group == group.id);
      CHECK(made.private_key.equals(expected.private_key.expose()));
      CHECK(hex(made.public_value) == hex(expected.public_value));
    }
  }
}

TEST_CASE("key exchange: the functions X25519 and X448 give the results of RFC 7748 section 5.2") {
  const Vectors vectors("key_exchange.txt");
  CryptoContext crypto;
  for (const Group& group : {kGroups[0], kGroups[1]}) {
    for (const char* number : {"1", "2"}) {
      const std::string section = std::string(group.name) + "-function-" + number + ".";
      CAPTURE(section);
      ScriptedRandom random(vectors(section + "scalar"));
      const KeyPair ours = crypto.generate(group.id, random).value();

      const Secret result = crypto.shared_secret(ours, vectors(section + "u")).value();

      CHECK(hex(result.expose()) == hex(vectors(section + "result")));
    }
  }
}

TEST_CASE("key exchange: fresh pairs agree, differ from each other and depend on nothing but the generator") {
  CryptoContext crypto;
  for (const Group& group : kGroups) {
    CAPTURE(group.name);
    SeededRandom random(7);
    SeededRandom again(7);

    const KeyPair a = crypto.generate(group.id, random).value();
    const KeyPair b = crypto.generate(group.id, random).value();

    CHECK(hex(crypto.generate(group.id, again).value().public_value) == hex(a.public_value));
    CHECK(a.public_value != b.public_value);
    CHECK(a.public_value.size() == policy::find_algorithm(policy::TransformType::kKeyExchange, group.id)->public_bytes);
    CHECK(crypto.shared_secret(a, b.public_value)
              .value()
              .equals(crypto.shared_secret(b, a.public_value).value().expose()));
  }
}

TEST_CASE("key exchange: a public value of another size than the group's is rejected") {
  LEDGER("3.4-01");
  CryptoContext crypto;
  for (const Group& group : kGroups) {
    CAPTURE(group.name);
    SeededRandom random(8);
    const KeyPair ours = crypto.generate(group.id, random).value();
    Bytes longer = ours.public_value;
    longer.push_back(0);
    const ByteView shorter = ByteView(ours.public_value).first(ours.public_value.size() - 1);

    CHECK(refused(crypto, ours, longer).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, shorter).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, {}).reason() == Reason::kKeRejected);
  }
}

TEST_CASE("key exchange: points of small order, whose result is zero, are rejected by X25519 and X448") {
  CryptoContext crypto;
  for (const Group& group : {kGroups[0], kGroups[1]}) {
    CAPTURE(group.name);
    SeededRandom random(9);
    const KeyPair ours = crypto.generate(group.id, random).value();
    const Bytes zero(ours.public_value.size());
    Bytes one = zero;
    one[0] = 1;

    CHECK(refused(crypto, ours, zero).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, one).reason() == Reason::kKeRejected);
  }
}

TEST_CASE("key exchange: what is not a point of the curve is rejected by the ECP groups") {
  CryptoContext crypto;
  for (const Group& group : {kGroups[2], kGroups[3], kGroups[4]}) {
    CAPTURE(group.name);
    SeededRandom random(10);
    const KeyPair ours = crypto.generate(group.id, random).value();
    Bytes moved = crypto.generate(group.id, random).value().public_value;
    moved.back() ^= 1;

    CHECK(refused(crypto, ours, moved).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, Bytes(moved.size())).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, Bytes(moved.size(), 0xff)).reason() == Reason::kKeRejected);
  }
}

TEST_CASE("key exchange: a point of another curve of the same size is rejected") {
  const Vectors vectors("key_exchange.txt");
  CryptoContext crypto;
  const KeyPair ours = pair_of(vectors, kGroups[2], "i");
  // The generator of secp256k1 (SEC 2 section 2.4.1).
  const Bytes foreign = *from_hex(
      "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
      "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8");

  CHECK(refused(crypto, ours, foreign).reason() == Reason::kKeRejected);
}

TEST_CASE("key exchange: 0, 1, p - 1, p and above are rejected by the MODP groups, 2 and p - 2 are not") {
  const Vectors vectors("key_exchange.txt");
  CryptoContext crypto;
  for (const Group& group : kGroups) {
    if (!std::string_view(group.name).starts_with("modp")) continue;
    CAPTURE(group.name);
    const KeyPair ours = pair_of(vectors, group, "i");
    const Bytes& prime = vectors(std::string(group.name) + ".prime");
    const Bytes zero(prime.size());

    CHECK(refused(crypto, ours, zero).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, from_number(zero, 1)).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, from_number(prime, -1)).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, prime).reason() == Reason::kKeRejected);
    CHECK(refused(crypto, ours, Bytes(prime.size(), 0xff)).reason() == Reason::kKeRejected);
    CHECK(crypto.shared_secret(ours, from_number(zero, 2)).ok());
    CHECK(crypto.shared_secret(ours, from_number(prime, -2)).ok());
  }
}

TEST_CASE("key exchange: a shared secret that begins with zeros keeps the size of its group") {
  LEDGER("3.4-01");
  CryptoContext crypto;
  // With exponent 1 the shared secret is the peer's value itself.
  KeyPair ours{.group = policy::kModp2048, .private_key = Secret(32), .public_value = Bytes(256)};
  ours.private_key.writable()[31] = 1;
  Bytes two(256);
  two[255] = 2;

  const Secret shared = crypto.shared_secret(ours, two).value();

  CHECK(hex(shared.expose()) == hex(two));
}

TEST_CASE("key exchange: scalars out of range are drawn again, and a broken generator is an error") {
  const Vectors vectors("key_exchange.txt");
  CryptoContext crypto;
  const Bytes too_large(32, 0xff);
  const Bytes zero(32);
  const KeyPair expected = pair_of(vectors, kGroups[2], "i");
  ScriptedRandom random(joined({too_large, zero, expected.private_key.expose()}));

  CHECK(hex(crypto.generate(policy::kEcp256, random).value().public_value) == hex(expected.public_value));
  // From here on it gives zeros for ever.
  CHECK(crypto.generate(policy::kEcp256, random).error().reason() == Reason::kCryptoFailed);
}

TEST_CASE("key exchange: a group that is not in the table is an error that names it") {
  CryptoContext crypto;
  SeededRandom random(1);
  const KeyPair ours{.group = 22, .private_key = Secret(4), .public_value = Bytes(4)};

  CHECK(crypto.generate(22, random).error().detail() == "key exchange: ke-22");
  CHECK(crypto.generate(22, random).error().reason() == Reason::kUnsupported);
  CHECK(refused(crypto, ours, Bytes(4)).reason() == Reason::kUnsupported);
}
