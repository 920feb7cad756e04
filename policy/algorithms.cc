#include "policy/algorithms.h"

#include <array>
#include <utility>

#include "policy/base/verify.h"

namespace ipsec::policy {
namespace {

/// Of a weakness the sections that are cited: RFC 8247 for IKE, RFC 8221 for ESP.
constexpr std::string_view kShortTag =
                               "its integrity check value is shorter than 16 bytes (RFC 8247 section 2.1 and RFC 8221 "
                               "section 5 name the one of 16)",
                           kTripleDes =
                               "its blocks of 64 bits repeat after some gigabytes (RFC 8247 section 2.1, RFC 8221 "
                               "section 5: SHOULD NOT)",
                           kSha1 = "SHA-1 is on its way out (RFC 8247 section 2.3, RFC 8221 section 6: MUST-)",
                           kPrfSha1 = "SHA-1 is on its way out (RFC 8247 section 2.2: MUST-)",
                           kXcbc =
                               "AES-XCBC is only meant for small devices (RFC 8247 section 2.3, RFC 8221 section 6)",
                           kPrfXcbc = "AES-XCBC is only meant for small devices (RFC 8247 section 2.2)",
                           kSmallGroup = "a group of this size can be broken (RFC 8247 section 2.4: SHOULD NOT)";

/// What sets one cipher apart from the others.
struct CipherRow {
  uint16_t id, key_bits;
  std::string_view name;
  uint16_t strength;
  std::string_view kernel;
  uint8_t icv = 0;  ///< Of an AEAD.
  std::string_view weakness = {};
};

constexpr Algorithm aead(const CipherRow& row) {
  return {.type = TransformType::kEncryption,
          .id = row.id,
          .key_bits = row.id == kEncrChaCha20Poly1305 ? uint16_t{0} : row.key_bits,
          .name = row.name,
          .key_bytes = static_cast<uint16_t>(row.key_bits / 8),
          .salt_bytes = 4,
          .iv_bytes = 8,
          .icv_bytes = row.icv,
          .aead = true,
          .ike = true,
          .esp = true,
          .strength_bits = row.strength,
          .kernel_name = row.kernel,
          .weakness = row.weakness};
}

constexpr Algorithm gcm(uint16_t id, uint16_t key_bits, std::string_view name, uint8_t icv) {
  return aead({id, key_bits, name, key_bits, "rfc4106(gcm(aes))", icv, icv < 16 ? kShortTag : std::string_view()});
}

constexpr Algorithm aes_cbc(uint16_t key_bits, std::string_view name) {
  return {.type = TransformType::kEncryption,
          .id = kEncrAesCbc,
          .key_bits = key_bits,
          .name = name,
          .key_bytes = static_cast<uint16_t>(key_bits / 8),
          .iv_bytes = 16,
          .block_bytes = 16,
          .ike = true,
          .esp = true,
          .strength_bits = key_bits,
          .kernel_name = "cbc(aes)"};
}

// Its key of 24 bytes is of one size, so that no Key Length attribute stands beside it (RFC 7296 section 3.3.5).
constexpr Algorithm kTripleDesCbc = {.type = TransformType::kEncryption,
                                     .id = kEncr3Des,
                                     .name = "3des",
                                     .key_bytes = 24,
                                     .iv_bytes = 8,
                                     .block_bytes = 8,
                                     .ike = true,
                                     .esp = true,
                                     .strength_bits = 112,
                                     .kernel_name = "cbc(des3_ede)",
                                     .weakness = kTripleDes};

// RFC 2410: integrity without confidentiality. For IKE it is forbidden (RFC 8247 section 2.1).
constexpr Algorithm kNoCipher = {.type = TransformType::kEncryption,
                                 .id = kEncrNull,
                                 .name = "null",
                                 .esp = true,
                                 .kernel_name = "ecb(cipher_null)",
                                 .weakness =
                                     "it encrypts nothing: packets can be read on the way (RFC 8221 section 5 "
                                     "has it where only their integrity matters)"};

constexpr Algorithm prf(uint16_t id, std::string_view name, uint16_t bytes, std::string_view weakness = {}) {
  return {.type = TransformType::kPrf,
          .id = id,
          .name = name,
          .key_bytes = bytes,
          .ike = true,
          .strength_bits = static_cast<uint16_t>(bytes * 4),
          .weakness = weakness};
}

struct IntegrityRow {
  uint16_t id;
  std::string_view name;
  uint16_t key;
  uint8_t icv;
  std::string_view kernel;
  std::string_view weakness = {};
};

constexpr Algorithm integrity(const IntegrityRow& row) {
  return {.type = TransformType::kIntegrity,
          .id = row.id,
          .name = row.name,
          .key_bytes = row.key,
          .icv_bytes = row.icv,
          .ike = true,
          .esp = true,
          .strength_bits = static_cast<uint16_t>(row.icv * 8),
          .kernel_name = row.kernel,
          .weakness = row.weakness};
}

constexpr Algorithm group(uint16_t id, std::string_view name, uint16_t public_bytes, uint16_t strength,
                          std::string_view weakness = {}) {
  return {.type = TransformType::kKeyExchange,
          .id = id,
          .name = name,
          .ike = true,
          .esp = true,
          .strength_bits = strength,
          .public_bytes = public_bytes,
          .weakness = weakness};
}

constexpr Algorithm sequence(uint16_t id, std::string_view name) {
  return {.type = TransformType::kEsn, .id = id, .name = name, .esp = true};
}

// Key, salt, IV and ICV sizes: RFC 4106 and 5282 (GCM), 3602 (CBC), 7634 (ChaCha20-Poly1305), 4868 (HMAC-SHA2), 2404
// (HMAC-SHA1-96), 3566 and 4434 (AES-XCBC), 2451 (3DES), 2410 (NULL). Strengths: NIST SP 800-57 part 1 table 2. Public
// value sizes: RFC 2409, 3526, 5903, 8031.
constexpr std::array kAlgorithms = {
    gcm(kEncrAesGcm16, 256, "aes256gcm16", 16),
    gcm(kEncrAesGcm16, 128, "aes128gcm16", 16),
    gcm(kEncrAesGcm16, 192, "aes192gcm16", 16),
    aead({kEncrChaCha20Poly1305, 256, "chacha20poly1305", 256, "rfc7539esp(chacha20,poly1305)", 16}),
    aes_cbc(256, "aes256"),
    aes_cbc(128, "aes128"),
    aes_cbc(192, "aes192"),
    gcm(kEncrAesGcm12, 256, "aes256gcm12", 12),
    gcm(kEncrAesGcm12, 128, "aes128gcm12", 12),
    gcm(kEncrAesGcm12, 192, "aes192gcm12", 12),
    gcm(kEncrAesGcm8, 256, "aes256gcm8", 8),
    gcm(kEncrAesGcm8, 128, "aes128gcm8", 8),
    gcm(kEncrAesGcm8, 192, "aes192gcm8", 8),
    kTripleDesCbc,
    kNoCipher,
    prf(kPrfHmacSha384, "prfsha384", 48),
    prf(kPrfHmacSha512, "prfsha512", 64),
    prf(kPrfHmacSha256, "prfsha256", 32),
    prf(kPrfHmacSha1, "prfsha1", 20, kPrfSha1),
    prf(kPrfAesXcbc, "prfaesxcbc", 16, kPrfXcbc),
    integrity({kAuthHmacSha384_192, "sha384", 48, 24, "hmac(sha384)"}),
    integrity({kAuthHmacSha512_256, "sha512", 64, 32, "hmac(sha512)"}),
    integrity({kAuthHmacSha256_128, "sha256", 32, 16, "hmac(sha256)"}),
    integrity({kAuthHmacSha1_96, "sha1", 20, 12, "hmac(sha1)", kSha1}),
    integrity({kAuthAesXcbc_96, "aesxcbc", 16, 12, "xcbc(aes)", kXcbc}),
    group(kX25519, "x25519", 32, 128),
    group(kEcp384, "ecp384", 96, 192),
    group(kX448, "x448", 56, 224),
    group(kEcp521, "ecp521", 132, 256),
    group(kEcp256, "ecp256", 64, 128),
    group(kModp4096, "modp4096", 512, 152),
    group(kModp3072, "modp3072", 384, 128),
    group(kModp2048, "modp2048", 256, 112),
    group(kModp6144, "modp6144", 768, 176),
    group(kModp8192, "modp8192", 1024, 200),
    group(kModp1536, "modp1536", 192, 96, kSmallGroup),
    group(kModp1024, "modp1024", 128, 80, kSmallGroup),
    sequence(kEsn, "esn"),
    sequence(kNoEsn, "noesn"),
};

constexpr std::array kRefused = {
    RefusedAlgorithm{"des", "aes256",
                     "its key of 56 bits is found in hours (RFC 8247 section 2.1, RFC 8221 section 5: MUST NOT)"},
    RefusedAlgorithm{"md5", "sha256", "MD5 is broken (RFC 8247 section 2.3, RFC 8221 section 6: MUST NOT)"},
    RefusedAlgorithm{"prfmd5", "prfsha256", "MD5 is broken (RFC 8247 section 2.2: MUST NOT)"},
    RefusedAlgorithm{"modp768", "modp2048",
                     "a group of 768 bits can be broken by anybody (RFC 8247 section 2.4: MUST NOT)"},
};

/// Words of strongSwan, libreswan, OpenIKED, Cisco and the RFCs, and ours.
constexpr std::array<std::pair<std::string_view, std::string_view>, 41> kOtherNames = {{
    {"aes", "aes128"},
    {"aes_gcm", "aes256gcm16"},
    {"aes_gcm128", "aes128gcm16"},
    {"aes_gcm256", "aes256gcm16"},
    {"aes_gcm_c", "aes256gcm16"},
    {"aes_gcm_16_128", "aes128gcm16"},
    {"aes_gcm_16_256", "aes256gcm16"},
    {"aes128gcm", "aes128gcm16"},
    {"aes192gcm", "aes192gcm16"},
    {"aes256gcm", "aes256gcm16"},
    {"aes128gcm128", "aes128gcm16"},
    {"aes192gcm128", "aes192gcm16"},
    {"aes256gcm128", "aes256gcm16"},
    {"aes128gcm96", "aes128gcm12"},
    {"aes256gcm96", "aes256gcm12"},
    {"aes128gcm64", "aes128gcm8"},
    {"aes256gcm64", "aes256gcm8"},
    {"aes128cbc", "aes128"},
    {"aes256cbc", "aes256"},
    {"aes_cbc_128", "aes128"},
    {"aes_cbc_256", "aes256"},
    {"chacha20", "chacha20poly1305"},
    {"chacha20_poly1305", "chacha20poly1305"},
    {"sha", "sha1"},
    {"sha2", "sha256"},
    {"sha2_256", "sha256"},
    {"sha2_384", "sha384"},
    {"sha2_512", "sha512"},
    {"curve25519", "x25519"},
    {"curve448", "x448"},
    {"dh2", "modp1024"},
    {"dh5", "modp1536"},
    {"dh14", "modp2048"},
    {"dh15", "modp3072"},
    {"dh16", "modp4096"},
    {"dh19", "ecp256"},
    {"dh20", "ecp384"},
    {"dh21", "ecp521"},
    {"dh31", "x25519"},
    {"tripledes", "3des"},
    {"des3", "3des"},
}};

std::string_view kind_name(TransformType type) {
  switch (type) {
    case TransformType::kEncryption: return "encr";
    case TransformType::kPrf: return "prf";
    case TransformType::kIntegrity: return "integ";
    case TransformType::kKeyExchange: return "ke";
    case TransformType::kEsn: return "esn";
  }
  return "transform";
}

}  // namespace

std::span<const Algorithm> all_algorithms() { return kAlgorithms; }

const Algorithm* find_algorithm(TransformType type, uint16_t id, uint16_t key_bits) {
  for (const Algorithm& each : kAlgorithms)
    if (each.type == type && each.id == id && each.key_bits == key_bits) return &each;
  return nullptr;
}

const Algorithm* find_algorithm(std::string_view name) {
  for (const Algorithm& each : kAlgorithms)
    if (each.name == name) return &each;
  return nullptr;
}

const RefusedAlgorithm* find_refused(std::string_view name) {
  for (const RefusedAlgorithm& each : kRefused)
    if (each.name == name) return &each;
  return nullptr;
}

std::string_view our_name_of(std::string_view name) {
  for (const auto& [other, ours] : kOtherNames)
    if (other == name) return ours;
  return {};
}

std::string_view strong_one_for(const Algorithm& weak) {
  switch (weak.type) {
    case TransformType::kEncryption:
      if (weak.key_bits == 0) return weak.key_bytes == 0 ? "aes256gcm16" : "aes256";
      for (const Algorithm& each : kAlgorithms)
        if (each.type == weak.type && each.aead == weak.aead && each.key_bits == weak.key_bits && !each.weak())
          return each.name;
      return "aes256gcm16";
    case TransformType::kPrf: return "prfsha256";
    case TransformType::kIntegrity: return "sha256";
    case TransformType::kKeyExchange: return "modp2048";
    case TransformType::kEsn: break;
  }
  return "esn";
}

std::string algorithm_names(TransformType type, Protocol protocol, WeakOnes weak) {
  std::string names;
  for (const Algorithm& each : kAlgorithms)
    if (each.type == type && (protocol == Protocol::kEsp ? each.esp : each.ike) &&
        (weak == WeakOnes::kIncluded || !each.weak()))
      names.append(names.empty() ? "" : " ").append(each.name);
  return names;
}

std::string weak_names() {
  std::string names;
  for (const Algorithm& each : kAlgorithms)
    if (each.weak()) names.append(names.empty() ? "" : " ").append(each.name);
  return names;
}

std::string transform_name(TransformType type, uint16_t id, uint16_t key_bits) {
  if (const Algorithm* known = find_algorithm(type, id, key_bits)) return std::string(known->name);
  std::string text(kind_name(type));
  text.append("-").append(std::to_string(id));
  if (key_bits != 0) text.append("/").append(std::to_string(key_bits));
  return text;
}

size_t EspSuite::key_material_bytes() const {
  const Algorithm* encr = find_algorithm(TransformType::kEncryption, encryption, key_bits);
  VERIFY(encr != nullptr);
  size_t bytes = size_t{encr->key_bytes} + encr->salt_bytes;
  if (const Algorithm* integ = find_algorithm(TransformType::kIntegrity, integrity)) bytes += integ->key_bytes;
  return bytes;
}

std::string to_string(const EspSuite& suite) {
  std::string text = transform_name(TransformType::kEncryption, suite.encryption, suite.key_bits);
  if (suite.integrity != kAuthNone)
    text.append("-").append(transform_name(TransformType::kIntegrity, suite.integrity, 0));
  if (suite.esn) text.append("-esn");
  return text;
}

}  // namespace ipsec::policy
