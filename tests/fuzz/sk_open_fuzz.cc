#include <algorithm>
#include <array>

#include "fuzz_target.h"
#include "ike/crypto/crypto_context.h"

// First byte: the suite. Second byte: what is done with the rest. Even: it is a whole message, to be opened. Odd: it is
// a plaintext, to be sealed, opened, and then opened with one bit changed.

namespace {

using namespace ipsec;
using namespace ipsec::ike;

constexpr size_t kSkOffset = 28;

struct Suite {
  uint16_t encryption, key_bits, integrity;
  size_t sk_e_bytes, sk_a_bytes;
};
constexpr std::array kSuites = {
    Suite{policy::kEncrAesGcm16, 256, policy::kAuthNone, 36, 0},
    Suite{policy::kEncrAesGcm16, 128, policy::kAuthNone, 20, 0},
    Suite{policy::kEncrChaCha20Poly1305, 0, policy::kAuthNone, 36, 0},
    Suite{policy::kEncrAesCbc, 256, policy::kAuthHmacSha256_128, 32, 32},
    Suite{policy::kEncrAesCbc, 128, policy::kAuthHmacSha384_192, 16, 48},
    Suite{policy::kEncrAesCbc, 128, policy::kAuthHmacSha512_256, 16, 64},
};

CryptoContext::CipherKeys keys_of(const Suite& suite) {
  static const Bytes kKeyBytes = [] {
    Bytes bytes(128);
    SeededRandom(1).fill(bytes);
    return bytes;
  }();
  return {.encryption = suite.encryption,
          .key_bits = suite.key_bits,
          .integrity = suite.integrity,
          .sk_e = ByteView(kKeyBytes).first(suite.sk_e_bytes),
          .sk_a = ByteView(kKeyBytes).last(suite.sk_a_bytes)};
}

void check_sealed(CryptoContext& crypto, const CryptoContext::CipherKeys& keys, ByteView plaintext) {
  SeededRandom random(plaintext.size());
  Bytes message(kSkOffset + 4);
  if (!crypto.seal(keys, plaintext, random, message).ok()) return;
  const auto opened = crypto.open(keys, message, kSkOffset);
  VERIFY(opened.ok() && std::ranges::equal(*opened, plaintext));
  message[random.below(message.size())] ^= static_cast<uint8_t>(1 << random.below(8));
  const auto changed = crypto.open(keys, message, kSkOffset);
  VERIFY(!changed.ok() && changed.error().reason() == Reason::kIkeNotAuthentic);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static CryptoContext crypto;
  if (size < 2) return 0;
  const CryptoContext::CipherKeys keys = keys_of(kSuites[data[0] % kSuites.size()]);
  const ByteView rest = ByteView(data, size).subspan(2);
  if (data[1] % 2 != 0) {
    check_sealed(crypto, keys, rest);
    return 0;
  }
  const auto opened = crypto.open(keys, rest, kSkOffset);
  VERIFY(opened.ok() || opened.error().reason() == Reason::kIkeNotAuthentic ||
         opened.error().reason() == Reason::kIkeDecryptPadding);
  return 0;
}
