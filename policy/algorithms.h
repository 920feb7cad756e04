#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ipsec::policy {

/// Transform types of IKEv2 (RFC 7296 section 3.3.2, IANA "Transform Type Values").
enum class TransformType : uint8_t { kEncryption = 1, kPrf = 2, kIntegrity = 3, kKeyExchange = 4, kEsn = 5 };

/// IANA transform ids that this version implements.
enum EncryptionId : uint16_t { kEncrAesCbc = 12, kEncrAesGcm16 = 20, kEncrChaCha20Poly1305 = 28 };
enum PrfId : uint16_t { kPrfHmacSha256 = 5, kPrfHmacSha384 = 6, kPrfHmacSha512 = 7 };
enum IntegrityId : uint16_t {
  kAuthNone = 0,
  kAuthHmacSha256_128 = 12,
  kAuthHmacSha384_192 = 13,
  kAuthHmacSha512_256 = 14
};
enum KeyExchangeId : uint16_t {
  kKeNone = 0,
  kModp2048 = 14,
  kModp3072 = 15,
  kModp4096 = 16,
  kEcp256 = 19,
  kEcp384 = 20,
  kEcp521 = 21,
  kX25519 = 31,
  kX448 = 32
};
enum EsnId : uint16_t { kNoEsn = 0, kEsn = 1 };

/// One row of the one table of algorithms. Sizes in bytes.
struct Algorithm {
  TransformType type;
  uint16_t id;              ///< IANA transform id.
  uint16_t key_bits = 0;    ///< Key Length attribute; 0 where the transform has none.
  std::string_view name;    ///< The word of a proposal string: "aes256gcm16", "prfsha384", "x25519", "esn".
  uint16_t key_bytes = 0;   ///< Encryption, integrity: key without salt. PRF: preferred key size (= output).
  uint8_t salt_bytes = 0;   ///< Taken from the key material behind the key (AEAD).
  uint8_t iv_bytes = 0;     ///< Explicit IV in the packet.
  uint8_t icv_bytes = 0;    ///< Integrity check value in the packet.
  uint8_t block_bytes = 1;  ///< Padding multiple.
  bool aead = false;
  bool ike = false;                   ///< May protect IKE messages.
  bool esp = false;                   ///< May protect ESP packets.
  uint16_t strength_bits = 0;         ///< Classical security level.
  bool weak = false;                  ///< Refused unless the configuration names it as an exception (RFC 8221, 8247).
  uint16_t public_bytes = 0;          ///< Key exchange: size of the public value.
  std::string_view kernel_name = {};  ///< XFRM's name: "rfc4106(gcm(aes))", "hmac(sha256)".
};

/// Every algorithm known, in the order in which `default` proposals prefer them.
std::span<const Algorithm> all_algorithms();
/// The row of a transform; nullptr when this version does not implement it.
const Algorithm* find_algorithm(TransformType type, uint16_t id, uint16_t key_bits = 0);
/// The row for a word of a proposal string; nullptr when unknown.
const Algorithm* find_algorithm(std::string_view name);
/// The name for people: of our table, else "encr-23", with the key length where there is one.
std::string transform_name(TransformType type, uint16_t id, uint16_t key_bits);

/// The algorithms of one ESP SA.
struct EspSuite {
  uint16_t encryption = 0;         ///< EncryptionId.
  uint16_t key_bits = 0;           ///< As negotiated; 0 for ChaCha20-Poly1305.
  uint16_t integrity = kAuthNone;  ///< IntegrityId; none with an AEAD.
  bool esn = false;
  /// Bytes of key material for one direction: encryption key, salt, integrity key, in this order (RFC 7296
  /// section 2.17).
  size_t key_material_bytes() const;
  friend bool operator==(const EspSuite&, const EspSuite&) = default;
};
std::string to_string(const EspSuite& suite);

}  // namespace ipsec::policy
