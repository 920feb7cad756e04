#include "policy/algorithms.h"

#include <array>

#include "policy/base/verify.h"

namespace ipsec::policy {
namespace {

constexpr Algorithm cipher(uint16_t id, uint16_t key_bits, std::string_view name, uint16_t strength,
                           std::string_view kernel, bool aead) {
  return {.type = TransformType::kEncryption,
          .id = id,
          .key_bits = id == kEncrChaCha20Poly1305 ? uint16_t{0} : key_bits,
          .name = name,
          .key_bytes = static_cast<uint16_t>(key_bits / 8),
          .salt_bytes = static_cast<uint8_t>(aead ? 4 : 0),
          .iv_bytes = static_cast<uint8_t>(aead ? 8 : 16),
          .icv_bytes = static_cast<uint8_t>(aead ? 16 : 0),
          .block_bytes = static_cast<uint8_t>(aead ? 1 : 16),
          .aead = aead,
          .ike = true,
          .esp = true,
          .strength_bits = strength,
          .kernel_name = kernel};
}

constexpr Algorithm prf(uint16_t id, std::string_view name, uint16_t bytes) {
  return {.type = TransformType::kPrf,
          .id = id,
          .name = name,
          .key_bytes = bytes,
          .ike = true,
          .strength_bits = static_cast<uint16_t>(bytes * 4)};
}

constexpr Algorithm integrity(uint16_t id, std::string_view name, uint16_t key, uint8_t icv, std::string_view kernel) {
  return {.type = TransformType::kIntegrity,
          .id = id,
          .name = name,
          .key_bytes = key,
          .icv_bytes = icv,
          .ike = true,
          .esp = true,
          .strength_bits = static_cast<uint16_t>(icv * 8),
          .kernel_name = kernel};
}

constexpr Algorithm group(uint16_t id, std::string_view name, uint16_t public_bytes, uint16_t strength) {
  return {.type = TransformType::kKeyExchange,
          .id = id,
          .name = name,
          .ike = true,
          .esp = true,
          .strength_bits = strength,
          .public_bytes = public_bytes};
}

constexpr Algorithm sequence(uint16_t id, std::string_view name) {
  return {.type = TransformType::kEsn, .id = id, .name = name, .esp = true};
}

// Key, salt, IV and ICV sizes: RFC 4106 and 5282 (GCM), 3602 (CBC), 7634 (ChaCha20-Poly1305), 4868 (HMAC-SHA2).
// Strengths: NIST SP 800-57 part 1 table 2. Public value sizes: RFC 3526, 5903, 8031.
constexpr std::array kAlgorithms = {
    cipher(kEncrAesGcm16, 256, "aes256gcm16", 256, "rfc4106(gcm(aes))", true),
    cipher(kEncrAesGcm16, 128, "aes128gcm16", 128, "rfc4106(gcm(aes))", true),
    cipher(kEncrChaCha20Poly1305, 256, "chacha20poly1305", 256, "rfc7539esp(chacha20,poly1305)", true),
    cipher(kEncrAesCbc, 256, "aes256", 256, "cbc(aes)", false),
    cipher(kEncrAesCbc, 128, "aes128", 128, "cbc(aes)", false),
    prf(kPrfHmacSha384, "prfsha384", 48),
    prf(kPrfHmacSha512, "prfsha512", 64),
    prf(kPrfHmacSha256, "prfsha256", 32),
    integrity(kAuthHmacSha384_192, "sha384", 48, 24, "hmac(sha384)"),
    integrity(kAuthHmacSha512_256, "sha512", 64, 32, "hmac(sha512)"),
    integrity(kAuthHmacSha256_128, "sha256", 32, 16, "hmac(sha256)"),
    group(kX25519, "x25519", 32, 128),
    group(kEcp384, "ecp384", 96, 192),
    group(kX448, "x448", 56, 224),
    group(kEcp521, "ecp521", 132, 256),
    group(kEcp256, "ecp256", 64, 128),
    group(kModp4096, "modp4096", 512, 152),
    group(kModp3072, "modp3072", 384, 128),
    group(kModp2048, "modp2048", 256, 112),
    sequence(kEsn, "esn"),
    sequence(kNoEsn, "noesn"),
};

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
