#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "ike/crypto/crypto_context.h"
#include "tests/ike/crypto/vectors.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

namespace {

struct Suite {
  const char* name;
  uint16_t encryption, key_bits, integrity;
};
constexpr std::array kSuites = {
    Suite{"aes256gcm16", policy::kEncrAesGcm16, 256, policy::kAuthNone},
    Suite{"aes128gcm16", policy::kEncrAesGcm16, 128, policy::kAuthNone},
    Suite{"chacha20poly1305", policy::kEncrChaCha20Poly1305, 0, policy::kAuthNone},
    Suite{"aes256-sha256", policy::kEncrAesCbc, 256, policy::kAuthHmacSha256_128},
    Suite{"aes128-sha384", policy::kEncrAesCbc, 128, policy::kAuthHmacSha384_192},
    Suite{"aes128-sha512", policy::kEncrAesCbc, 128, policy::kAuthHmacSha512_256},
    Suite{"aes192gcm16", policy::kEncrAesGcm16, 192, policy::kAuthNone},
    Suite{"aes256gcm12", policy::kEncrAesGcm12, 256, policy::kAuthNone},
    Suite{"aes192gcm12", policy::kEncrAesGcm12, 192, policy::kAuthNone},
    Suite{"aes128gcm8", policy::kEncrAesGcm8, 128, policy::kAuthNone},
    Suite{"aes192-sha1", policy::kEncrAesCbc, 192, policy::kAuthHmacSha1_96},
    Suite{"3des-aesxcbc", policy::kEncr3Des, 0, policy::kAuthAesXcbc_96},
};

/// Keys of a suite, counted up from a start value, with the bytes that they point to.
struct Keys {
  Bytes sk_e, sk_a;
  CryptoContext::CipherKeys views;

  explicit Keys(const Suite& suite, uint8_t start = 1) {
    const auto* cipher = policy::find_algorithm(policy::TransformType::kEncryption, suite.encryption, suite.key_bits);
    const auto* integrity = policy::find_algorithm(policy::TransformType::kIntegrity, suite.integrity);
    sk_e.resize(size_t{cipher->key_bytes} + cipher->salt_bytes);
    if (integrity != nullptr) sk_a.resize(integrity->key_bytes);
    for (uint8_t& byte : sk_e) byte = start++;
    for (uint8_t& byte : sk_a) byte = start++;
    views = {.encryption = suite.encryption,
             .key_bits = suite.key_bits,
             .integrity = suite.integrity,
             .sk_e = sk_e,
             .sk_a = sk_a};
  }
};

constexpr size_t kSkOffset = 28;

/// An INFORMATIONAL request's header and the generic header of its SK payload, lengths still to be set.
Bytes empty_message() { return *from_hex("c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d7 2e202508 00000009 00000000 29000000"); }

Bytes sealed(CryptoContext& crypto, const Keys& keys, ByteView plaintext, uint64_t seed = 3) {
  SeededRandom random(seed);
  Bytes message = empty_message();
  REQUIRE(crypto.seal(keys.views, plaintext, random, message).ok());
  return message;
}

Reason reason_of(const Result<Bytes>& opened) {
  REQUIRE(!opened.ok());
  return opened.error().reason();
}

/// The checksum of a message under a cipher that is no AEAD: HMACs by libcrypto, AES-XCBC by the PRF that prf_test
/// proves.
Bytes checksum(const Keys& keys, ByteView message) {
  const auto* row = policy::find_algorithm(policy::TransformType::kIntegrity, keys.views.integrity);
  Bytes icv(64);
  if (keys.views.integrity == policy::kAuthAesXcbc_96) {
    CryptoContext crypto;
    const Secret mac = crypto.prf(policy::kPrfAesXcbc, keys.sk_a, {message}).value();
    std::ranges::copy(mac.expose(), icv.begin());
  } else {
    const size_t bytes = row->key_bytes;  // as many as the hash has: RFC 4868 section 2.1.1, RFC 2404 section 3
    const char* hash = bytes == 20 ? "SHA1" : bytes == 32 ? "SHA256" : bytes == 48 ? "SHA384" : "SHA512";
    REQUIRE(EVP_Q_mac(nullptr, "HMAC", nullptr, hash, nullptr, keys.sk_a.data(), keys.sk_a.size(), message.data(),
                      message.size(), icv.data(), icv.size(), nullptr) != nullptr);
  }
  icv.resize(row->icv_bytes);
  return icv;
}

/// A message whose plaintext, padding included, is exactly `padded`: made with libcrypto alone, so that plaintexts can
/// be wrong that seal() never makes.
Bytes with_raw_plaintext(const Keys& keys, const Bytes& padded) {
  const bool aead = keys.views.integrity == policy::kAuthNone;
  std::string name = "AES-" + std::to_string(keys.views.key_bits) + (aead ? "-GCM" : "-CBC");
  if (keys.views.key_bits == 0) name = aead ? "ChaCha20-Poly1305" : "DES-EDE3-CBC";
  const Bytes iv(aead || keys.views.key_bits == 0 ? 8 : 16, 0x55);
  Bytes message = empty_message();
  message.insert(message.end(), iv.begin(), iv.end());
  const Bytes nonce = aead ? joined({ByteView(keys.sk_e).last(4), iv}) : iv;

  std::unique_ptr<EVP_CIPHER, decltype(&EVP_CIPHER_free)> cipher(EVP_CIPHER_fetch(nullptr, name.c_str(), nullptr),
                                                                 &EVP_CIPHER_free);
  std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  Bytes text(padded.size() + 32);
  int done = 0;
  int last = 0;
  REQUIRE(EVP_EncryptInit_ex2(context.get(), cipher.get(), keys.sk_e.data(), nonce.data(), nullptr) == 1);
  REQUIRE(EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1);
  if (aead) REQUIRE(EVP_EncryptUpdate(context.get(), nullptr, &done, message.data(), 32) == 1);
  done = 0;
  if (!padded.empty())
    REQUIRE(EVP_EncryptUpdate(context.get(), text.data(), &done, padded.data(), int(padded.size())) == 1);
  REQUIRE(EVP_EncryptFinal_ex(context.get(), text.data() + done, &last) == 1);
  message.insert(message.end(), text.begin(), text.begin() + done + last);

  Bytes icv(64);
  const auto* row =
      policy::find_algorithm(policy::TransformType::kEncryption, keys.views.encryption, keys.views.key_bits);
  if (aead) {
    REQUIRE(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, row->icv_bytes, icv.data()) == 1);
    icv.resize(row->icv_bytes);
  } else {
    icv = checksum(keys, message);
  }
  message.insert(message.end(), icv.begin(), icv.end());
  return message;
}

}  // namespace

TEST_CASE("seal and open: every suite gives back every length, and the length fields are right") {
  LEDGER("3.14-04", "3.14-05");
  CryptoContext crypto;
  for (const Suite& suite : kSuites) {
    CAPTURE(suite.name);
    const Keys keys(suite);
    for (size_t bytes = 0; bytes <= 70; ++bytes) {
      CAPTURE(bytes);
      Bytes plaintext(bytes);
      SeededRandom(bytes + 1).fill(plaintext);

      const Bytes message = sealed(crypto, keys, plaintext);

      CHECK(hex(crypto.open(keys.views, message, kSkOffset).value()) == hex(plaintext));
      CHECK((message[24] << 24 | message[25] << 16 | message[26] << 8 | message[27]) == int(message.size()));
      CHECK((message[30] << 8 | message[31]) == int(message.size() - kSkOffset));
    }
  }
}

TEST_CASE("open: the IKE message of RFC 7634 is opened to its notification, and sealing makes the same bytes") {
  const Vectors vectors("ciphers.txt");
  CryptoContext crypto;
  const Bytes sk_e = joined({vectors("chacha20poly1305.key"), vectors("chacha20poly1305.salt")});
  const CryptoContext::CipherKeys keys{.encryption = policy::kEncrChaCha20Poly1305, .sk_e = sk_e, .sk_a = {}};
  const Bytes& expected = vectors("chacha20poly1305.message");

  const Bytes opened = crypto.open(keys, expected, kSkOffset).value();
  ScriptedRandom iv(vectors("chacha20poly1305.iv"));
  Bytes message(expected.begin(), expected.begin() + 32);
  REQUIRE(crypto.seal(keys, vectors("chacha20poly1305.notify"), iv, message).ok());

  CHECK(hex(opened) == hex(vectors("chacha20poly1305.notify")));
  CHECK(hex(message) == hex(expected));
}

TEST_CASE("open: the vectors of AES-GCM are authentic and decrypt as published") {
  const Vectors vectors("ciphers.txt");
  CryptoContext crypto;
  for (uint16_t key_bits : {uint16_t{128}, uint16_t{256}}) {
    const std::string section = "aes" + std::to_string(key_bits) + "gcm.";
    CAPTURE(section);
    // The vector's 20 bytes of associated data take the place of the headers; the first four bytes of its nonce are the
    // salt, the rest the IV. Its last plaintext byte, 0x39, is read as a pad length of 57: two bytes are left.
    const ByteView nonce = vectors(section + "nonce");
    const Bytes sk_e = joined({vectors(section + "key"), nonce.first(4)});
    const CryptoContext::CipherKeys keys{
        .encryption = policy::kEncrAesGcm16, .key_bits = key_bits, .sk_e = sk_e, .sk_a = {}};
    const Bytes message =
        joined({vectors(section + "aad"), nonce.subspan(4), vectors(section + "ciphertext"), vectors(section + "tag")});

    const Bytes opened = crypto.open(keys, message, vectors(section + "aad").size() - 4).value();

    CHECK(hex(opened) == hex(ByteView(vectors(section + "plaintext")).first(2)));
  }
}

TEST_CASE("seal: AES-CBC encrypts the published vectors as published, and the checksum is HMAC over all before it") {
  LEDGER("3.14-06");
  const Vectors vectors("ciphers.txt");
  const Vectors hmacs("hmac.txt");
  CryptoContext crypto;
  for (uint16_t key_bits : {uint16_t{128}, uint16_t{256}}) {
    const std::string section = "aes" + std::to_string(key_bits) + "cbc.";
    CAPTURE(section);
    const Bytes sk_a(32, 0x0b);
    const CryptoContext::CipherKeys keys{.encryption = policy::kEncrAesCbc,
                                         .key_bits = key_bits,
                                         .integrity = policy::kAuthHmacSha256_128,
                                         .sk_e = vectors(section + "key"),
                                         .sk_a = sk_a};
    const Bytes& ciphertext = vectors(section + "ciphertext");
    ScriptedRandom iv(vectors(section + "iv"));
    Bytes message = empty_message();

    REQUIRE(crypto.seal(keys, vectors(section + "plaintext"), iv, message).ok());

    // Whole blocks of plaintext are followed by one block of padding.
    REQUIRE(message.size() == 32 + 16 + ciphertext.size() + 16 + 16);
    const ByteView view = message;
    CHECK(hex(view.subspan(32, 16)) == hex(vectors(section + "iv")));
    CHECK(hex(view.subspan(48, ciphertext.size())) == hex(ciphertext));
    const Bytes mac = crypto.hmac_sha256(sk_a, {view.first(view.size() - 16)}).value();
    CHECK(hex(view.last(16)) == hex(ByteView(mac).first(16)));
    CHECK(hex(crypto.open(keys, message, kSkOffset).value()) == hex(vectors(section + "plaintext")));
  }
}

TEST_CASE("open: one changed bit anywhere in the message makes it not authentic") {
  LEDGER("1.2-02");
  CryptoContext crypto;
  for (const Suite& suite : kSuites) {
    CAPTURE(suite.name);
    const Keys keys(suite);
    const Bytes message = sealed(crypto, keys, as_bytes("sixteen bytes, + some"));
    for (size_t bit = 0; bit < message.size() * 8; ++bit) {
      CAPTURE(bit);
      Bytes changed = message;
      changed[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
      REQUIRE(reason_of(crypto.open(keys.views, changed, kSkOffset)) == Reason::kIkeNotAuthentic);
    }
  }
}

TEST_CASE("open: a message cut at any byte, or with bytes behind it, is not authentic") {
  CryptoContext crypto;
  for (const Suite& suite : kSuites) {
    CAPTURE(suite.name);
    const Keys keys(suite);
    Bytes message = sealed(crypto, keys, as_bytes("a plaintext"));
    for (size_t bytes = 0; bytes < message.size(); ++bytes) {
      CAPTURE(bytes);
      REQUIRE(reason_of(crypto.open(keys.views, ByteView(message).first(bytes), kSkOffset)) ==
              Reason::kIkeNotAuthentic);
    }
    message.push_back(0);
    CHECK(reason_of(crypto.open(keys.views, message, kSkOffset)) == Reason::kIkeNotAuthentic);
  }
}

TEST_CASE("open: another key, and the key of the other direction, are not authentic") {
  CryptoContext crypto;
  for (const Suite& suite : kSuites) {
    CAPTURE(suite.name);
    const Bytes message = sealed(crypto, Keys(suite), as_bytes("a plaintext"));

    CHECK(reason_of(crypto.open(Keys(suite, 2).views, message, kSkOffset)) == Reason::kIkeNotAuthentic);
  }
}

TEST_CASE("open: an AEAD message without any ciphertext is authentic and lacks its pad length") {
  CryptoContext crypto;
  for (const Suite& suite : {kSuites[0], kSuites[1], kSuites[2]}) {
    CAPTURE(suite.name);
    const Keys keys(suite);

    const Bytes message = with_raw_plaintext(keys, {});

    CHECK(reason_of(crypto.open(keys.views, message, kSkOffset)) == Reason::kIkeDecryptPadding);
  }
}

TEST_CASE("open: a pad length beyond the plaintext is an error, the longest possible one is not") {
  LEDGER("3.14-05");
  CryptoContext crypto;
  for (const Suite& suite : kSuites) {
    CAPTURE(suite.name);
    const Keys keys(suite);
    Bytes padded(16, 0xee);

    padded.back() = 16;
    CHECK(reason_of(crypto.open(keys.views, with_raw_plaintext(keys, padded), kSkOffset)) ==
          Reason::kIkeDecryptPadding);
    padded.back() = 15;
    CHECK(crypto.open(keys.views, with_raw_plaintext(keys, padded), kSkOffset).value().empty());
    padded.back() = 3;
    CHECK(crypto.open(keys.views, with_raw_plaintext(keys, padded), kSkOffset).value() == Bytes(12, 0xee));
  }
}

TEST_CASE("open: an authentic CBC message whose ciphertext is not whole blocks is an error of padding") {
  CryptoContext crypto;
  const Keys keys(kSuites[3]);
  for (size_t bytes : {0, 1, 15, 17}) {
    CAPTURE(bytes);
    Bytes message = empty_message();
    message.resize(message.size() + 16 + bytes);
    const Bytes mac = crypto.hmac_sha256(keys.sk_a, {message}).value();
    message.insert(message.end(), mac.begin(), mac.begin() + 16);

    CHECK(reason_of(crypto.open(keys.views, message, kSkOffset)) == Reason::kIkeDecryptPadding);
  }
}

TEST_CASE("seal: two messages of one plaintext have different IVs and ciphertexts") {
  LEDGER("3.14-03");
  CryptoContext crypto;
  SeededRandom random(5);
  const Keys keys(kSuites[0]);
  Bytes first = empty_message();
  Bytes second = empty_message();

  REQUIRE(crypto.seal(keys.views, as_bytes("same"), random, first).ok());
  REQUIRE(crypto.seal(keys.views, as_bytes("same"), random, second).ok());

  CHECK(hex(ByteView(first).subspan(32, 8)) != hex(ByteView(second).subspan(32, 8)));
  CHECK(hex(ByteView(first).subspan(40)) != hex(ByteView(second).subspan(40)));
}

TEST_CASE("seal: what does not fit into a datagram is refused, the largest that fits is not") {
  CryptoContext crypto;
  SeededRandom random(5);
  const Keys keys(kSuites[0]);
  const size_t around = 32 + 8 + 1 + 16;
  Bytes largest = empty_message();
  Bytes larger = empty_message();

  CHECK(crypto.seal(keys.views, Bytes(65535 - around), random, largest).ok());
  CHECK(crypto.open(keys.views, largest, kSkOffset).value().size() == 65535 - around);
  CHECK(crypto.seal(keys.views, Bytes(65536 - around), random, larger).error().reason() == Reason::kLimitReached);
}

TEST_CASE("seal and open: payloads before the encrypted one are authenticated too") {
  CryptoContext crypto;
  SeededRandom random(6);
  const Keys keys(kSuites[3]);
  Bytes message = *from_hex("c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d7 2b202508 00000009 00000000 2e000005aa 29000000");
  REQUIRE(crypto.seal(keys.views, as_bytes("inside"), random, message).ok());

  CHECK(as_text(crypto.open(keys.views, message, 33).value()) == "inside");
  message[32] ^= 1;
  CHECK(reason_of(crypto.open(keys.views, message, 33)) == Reason::kIkeNotAuthentic);
}

TEST_CASE("seal and open: algorithms that are not in the table are errors that name them") {
  CryptoContext crypto;
  SeededRandom random(1);
  const CryptoContext::CipherKeys unknown{.encryption = 2, .sk_e = {}, .sk_a = {}};
  const Bytes sk_e(16);
  const CryptoContext::CipherKeys without_integrity{
      .encryption = policy::kEncrAesCbc, .key_bits = 128, .sk_e = sk_e, .sk_a = {}};
  Bytes message = empty_message();

  CHECK(crypto.seal(unknown, {}, random, message).error().detail() == "seal: cipher encr-2");
  CHECK(crypto.open(unknown, message, kSkOffset).error().reason() == Reason::kUnsupported);
  CHECK(crypto.seal(without_integrity, {}, random, message).error().detail() == "seal: integrity integ-0");
}
