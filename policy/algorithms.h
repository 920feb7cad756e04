#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ipsec::policy {

/// Transform types of IKEv2 (RFC 7296 section 3.3.2, IANA "Transform Type Values").
enum class TransformType : uint8_t { kEncryption = 1, kPrf = 2, kIntegrity = 3, kKeyExchange = 4, kEsn = 5 };

/// Protocols that a proposal is for (RFC 7296 section 3.3.1).
enum class Protocol : uint8_t { kNone = 0, kIke = 1, kAh = 2, kEsp = 3 };

/// IANA transform ids that this version implements.
enum EncryptionId : uint16_t {
  kEncr3Des = 3,
  kEncrNull = 11,
  kEncrAesCbc = 12,
  kEncrAesGcm8 = 18,
  kEncrAesGcm12 = 19,
  kEncrAesGcm16 = 20,
  kEncrChaCha20Poly1305 = 28
};
enum PrfId : uint16_t { kPrfHmacSha1 = 2, kPrfAesXcbc = 4, kPrfHmacSha256 = 5, kPrfHmacSha384 = 6, kPrfHmacSha512 = 7 };
enum IntegrityId : uint16_t {
  kAuthNone = 0,
  kAuthHmacSha1_96 = 2,
  kAuthAesXcbc_96 = 5,
  kAuthHmacSha256_128 = 12,
  kAuthHmacSha384_192 = 13,
  kAuthHmacSha512_256 = 14
};
enum KeyExchangeId : uint16_t {
  kKeNone = 0,
  kModp1024 = 2,
  kModp1536 = 5,
  kModp2048 = 14,
  kModp3072 = 15,
  kModp4096 = 16,
  kModp6144 = 17,
  kModp8192 = 18,
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
  uint16_t public_bytes = 0;          ///< Key exchange: size of the public value.
  std::string_view kernel_name = {};  ///< XFRM's name: "rfc4106(gcm(aes))", "hmac(sha256)".
  std::string_view weakness = {};     ///< What is weak about it, and which RFC says so; empty: nothing is.

  /// Refused unless the configuration names it as an exception (`defaults.allow_weak`; RFC 8221, 8247).
  bool weak() const { return !weakness.empty(); }
};

/// A word for what this version never does, whatever the configuration allows.
struct RefusedAlgorithm {
  std::string_view name;
  std::string_view instead;  ///< The word of a strong one.
  std::string_view because;  ///< What is wrong with it, and which RFC says so.
};

/// Every algorithm known, in the order in which `default` proposals prefer them.
std::span<const Algorithm> all_algorithms();
/// The row of a transform; nullptr when this version does not implement it.
const Algorithm* find_algorithm(TransformType type, uint16_t id, uint16_t key_bits = 0);
/// The row for a word of a proposal string; nullptr when unknown.
const Algorithm* find_algorithm(std::string_view name);
/// nullptr when the word is not one that is refused for ever.
const RefusedAlgorithm* find_refused(std::string_view name);
/// What a word of another IKE program is called here ("curve25519": "x25519"); empty when it is not known.
std::string_view our_name_of(std::string_view name);
/// The names of a type's algorithms for IKE or for ESP, separated by blanks, in the order of the table; weak ones only
/// where wanted.
enum class WeakOnes : uint8_t { kLeftOut, kIncluded };
std::string algorithm_names(TransformType type, Protocol protocol, WeakOnes weak);
/// The word of a strong algorithm of the same kind, for hints.
std::string_view strong_one_for(const Algorithm& weak);
/// The names of all weak ones, separated by blanks: what `defaults.allow_weak` may hold.
std::string weak_names();
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
