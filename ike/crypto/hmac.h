#pragma once

#include <array>
#include <initializer_list>
#include <span>

#include "ike/crypto/openssl.h"

namespace ipsec::ike {

/// Hash functions of the HMACs that IKE uses.
enum class HashId : uint8_t { kSha1, kSha256, kSha384, kSha512 };
inline constexpr size_t hash_bytes(HashId hash) {
  switch (hash) {
    case HashId::kSha1: return 20;
    case HashId::kSha256: return 32;
    case HashId::kSha384: return 48;
    case HashId::kSha512: return 64;
  }
  return 0;
}

/// HMAC with one kept context per hash function, keyed anew for each computation.
class Hmac {
 public:
  static constexpr size_t kBytesMax = 64;

  Hmac();

  /// HMAC(key, parts one after the other) into `out`, which has exactly hash_bytes(hash).
  Status compute(HashId hash, ByteView key, std::initializer_list<ByteView> parts, std::span<uint8_t> out);
  /// For prf+, several computations with one key: set_key() once, then compute_again() with that key.
  Status set_key(HashId hash, ByteView key);
  Status compute_again(HashId hash, std::span<const ByteView> parts, std::span<uint8_t> out);

 private:
  Status update_and_finish(HashId hash, std::span<const ByteView> parts, std::span<uint8_t> out);
  EVP_MAC_CTX* context(HashId hash) const { return contexts_[static_cast<size_t>(hash)].get(); }
  openssl::Mac mac_;
  std::array<openssl::MacContext, 4> contexts_;
};

}  // namespace ipsec::ike
