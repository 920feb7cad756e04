#include <openssl/evp.h>

#include <array>
#include <vector>

#include "ike/crypto/crypto_context.h"
#include "tests/ike/crypto/vectors.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

namespace {

struct Prf {
  uint16_t id;
  const char* name;
  size_t bytes;
};
constexpr std::array kPrfs = {Prf{policy::kPrfHmacSha256, "sha256", 32}, Prf{policy::kPrfHmacSha384, "sha384", 48},
                              Prf{policy::kPrfHmacSha512, "sha512", 64}, Prf{policy::kPrfHmacSha1, "sha1", 20}};
constexpr Prf kXcbc{policy::kPrfAesXcbc, "xcbc", 16};

}  // namespace

TEST_CASE("prf: the vectors of RFC 4868 and RFC 2202 hold for every hash, however the data is cut into parts") {
  const Vectors vectors("hmac.txt");
  CryptoContext crypto;
  for (int i = 1; i <= 6; ++i) {
    const std::string section = "prf-" + std::to_string(i) + ".";
    const ByteView key = vectors(section + "key");
    const ByteView data = vectors(section + "data");
    for (const Prf& prf : kPrfs) {
      CAPTURE(section);
      CAPTURE(prf.name);

      const Secret whole = crypto.prf(prf.id, key, {data}).value();
      const Secret parts = crypto.prf(prf.id, key, {data.first(3), {}, data.subspan(3)}).value();

      CHECK(hex(whole.expose()) == hex(vectors(section + prf.name)));
      CHECK(parts.equals(whole.expose()));
    }
  }
}

TEST_CASE("prf: AES-XCBC gives the vectors of RFC 3566 and RFC 4434, however the data is cut into parts") {
  const Vectors vectors("xcbc.txt");
  CryptoContext crypto;
  for (int i : {1, 2, 3, 4, 5, 6, 8, 9}) {
    const std::string section = "mac-" + std::to_string(i) + ".";
    CAPTURE(section);
    const ByteView key = vectors(section + "key");
    const ByteView data = vectors(section + "data");
    for (size_t cut = 0; cut <= data.size(); ++cut) {
      const Secret mac = crypto.prf(kXcbc.id, key, {data.first(cut), {}, data.subspan(cut)}).value();
      CHECK(hex(mac.expose()) == hex(vectors(section + "mac")));
    }
  }
  const Bytes zeros(1000);
  CHECK(hex(crypto.prf(kXcbc.id, vectors("zeros.key"), {zeros}).value().expose()) == hex(vectors("zeros.mac")));
}

TEST_CASE("prf: an empty key is a key, not the key of the computation before") {
  CryptoContext crypto;
  const Bytes other = {1, 2, 3};
  CHECK(crypto.prf(policy::kPrfHmacSha256, other, {other}).ok());

  const Secret empty = crypto.prf(policy::kPrfHmacSha256, {}, {}).value();

  // HMAC_SHA256("", "")
  CHECK(hex(empty.expose()) == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST_CASE("prf: a PRF that is not in the table is an error that names it") {
  CryptoContext crypto;
  CHECK(crypto.prf(3, {}, {}).error().reason() == Reason::kUnsupported);
  CHECK(crypto.prf(3, {}, {}).error().detail() == "PRF: prf-3");
  CHECK(crypto.prf_plus(3, {}, {}, 1).error().reason() == Reason::kUnsupported);
}

TEST_CASE("prf+: 255 blocks come out as computed elsewhere, one byte more is refused") {
  const Vectors vectors("key_schedule.txt");
  CryptoContext crypto;
  std::vector<Prf> prfs(kPrfs.begin(), kPrfs.end());
  prfs.push_back(kXcbc);
  for (const Prf& prf : prfs) {
    CAPTURE(prf.name);

    const Secret all =
        crypto.prf_plus(prf.id, as_bytes("key"), {as_bytes("se"), as_bytes("ed")}, 255 * prf.bytes).value();

    // The vector is the SHA-256 of all blocks.
    std::array<uint8_t, 32> digest{};
    REQUIRE(EVP_Q_digest(nullptr, "SHA256", nullptr, all.expose().data(), all.size(), digest.data(), nullptr) == 1);
    CHECK(hex(digest) == hex(vectors("prf-plus." + std::string(prf.name) + "_of_all_blocks")));
    CHECK(crypto.prf_plus(prf.id, as_bytes("key"), {as_bytes("seed")}, 255 * prf.bytes + 1).error().reason() ==
          Reason::kLimitReached);
  }
}

TEST_CASE("prf+: a shorter output is the beginning of a longer one") {
  CryptoContext crypto;
  const Secret longer = crypto.prf_plus(policy::kPrfHmacSha384, as_bytes("key"), {as_bytes("seed")}, 200).value();
  for (size_t bytes : {0, 1, 47, 48, 49, 96, 199}) {
    const Secret shorter = crypto.prf_plus(policy::kPrfHmacSha384, as_bytes("key"), {as_bytes("seed")}, bytes).value();
    CHECK(shorter.equals(longer.expose().first(bytes)));
  }
}

TEST_CASE("sha1: the digest of the parts is that of the whole") {
  CryptoContext crypto;
  // FIPS 180: SHA-1("abc")
  CHECK(hex(crypto.sha1({as_bytes("a"), {}, as_bytes("bc")}).value()) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(hex(crypto.sha1({as_bytes("abc")}).value()) == "a9993e364706816aba3e25717850c26c9cd0d89d");
}

TEST_CASE("hmac: the HMAC for cookies is HMAC-SHA-256") {
  const Vectors vectors("hmac.txt");
  CryptoContext crypto;
  CHECK(hex(crypto.hmac_sha256(vectors("prf-2.key"), {vectors("prf-2.data")}).value()) == hex(vectors("prf-2.sha256")));
}
