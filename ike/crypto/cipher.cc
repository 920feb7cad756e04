#include "ike/crypto/cipher.h"

#include <algorithm>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

using policy::TransformType;

constexpr size_t kHeaderLengthAt = 24;       // RFC 7296 section 3.1: Length of the IKE header
constexpr size_t kGenericHeaderBytes = 4;    // RFC 7296 section 3.2
constexpr size_t kIkeHeaderBytes = 28;       // RFC 7296 section 3.1
constexpr size_t kPayloadBytesMax = 0xffff;  // what the 16 bits of Payload Length can say
constexpr size_t kNonceBytes = 12;           // RFC 5282 section 4, RFC 7634 section 3: salt, then IV

void put_u16(Bytes& at, size_t offset, size_t value) {
  at[offset] = static_cast<uint8_t>(value >> 8);
  at[offset + 1] = static_cast<uint8_t>(value);
}

int as_int(size_t bytes) { return static_cast<int>(bytes); }  // all sizes here are below kDatagramBytesMax

/// The nonce of an AEAD: the salt at the end of the key material, then the IV of the message.
std::array<uint8_t, kNonceBytes> nonce_of(ByteView sk_e, const policy::Algorithm& cipher, ByteView iv) {
  VERIFY(size_t{cipher.salt_bytes} + iv.size() == kNonceBytes);
  std::array<uint8_t, kNonceBytes> nonce{};
  ByteView salt = sk_e.subspan(cipher.key_bytes);
  std::copy(salt.begin(), salt.end(), nonce.begin());
  std::copy(iv.begin(), iv.end(), nonce.begin() + cipher.salt_bytes);
  return nonce;
}

/// Cuts the padding off (RFC 7296 section 3.14: the last byte counts the bytes of padding before it; their values do
/// not matter).
Result<Bytes> without_padding(Bytes plaintext) {
  if (plaintext.empty()) return Error(Reason::kIkeDecryptPadding, "SK payload: no pad length");
  const size_t padding = size_t{plaintext.back()} + 1;
  if (padding > plaintext.size()) {
    return Error(Reason::kIkeDecryptPadding, "SK payload: pad length " + std::to_string(padding - 1) + " of " +
                                                 std::to_string(plaintext.size()) + " bytes");
  }
  plaintext.resize(plaintext.size() - padding);
  return plaintext;
}

}  // namespace

Cipher::Cipher(Mac& mac)
    : mac_(mac),
      slots_{{{policy::kEncrAesGcm16, 256, "AES-256-GCM"},
              {policy::kEncrAesGcm16, 192, "AES-192-GCM"},
              {policy::kEncrAesGcm16, 128, "AES-128-GCM"},
              {policy::kEncrAesGcm12, 256, "AES-256-GCM"},
              {policy::kEncrAesGcm12, 192, "AES-192-GCM"},
              {policy::kEncrAesGcm12, 128, "AES-128-GCM"},
              {policy::kEncrAesGcm8, 256, "AES-256-GCM"},
              {policy::kEncrAesGcm8, 192, "AES-192-GCM"},
              {policy::kEncrAesGcm8, 128, "AES-128-GCM"},
              {policy::kEncrChaCha20Poly1305, 0, "ChaCha20-Poly1305"},
              {policy::kEncrAesCbc, 256, "AES-256-CBC"},
              {policy::kEncrAesCbc, 192, "AES-192-CBC"},
              {policy::kEncrAesCbc, 128, "AES-128-CBC"},
              {policy::kEncr3Des, 0, "DES-EDE3-CBC"}}} {
  for (Slot& slot : slots_) {
    slot.cipher.reset(EVP_CIPHER_fetch(nullptr, slot.openssl_name, nullptr));
    openssl::CipherContext context(EVP_CIPHER_CTX_new());
    // A slot without a context is one that this OpenSSL cannot serve (FIPS providers lack ChaCha20).
    if (!slot.cipher || !context) continue;
    if (EVP_EncryptInit_ex2(context.get(), slot.cipher.get(), nullptr, nullptr, nullptr) != 1) continue;
    // Padding is ours (RFC 7296 section 3.14), not that of PKCS #7.
    if (EVP_CIPHER_CTX_set_padding(context.get(), 0) != 1) continue;
    slot.context = std::move(context);
  }
}

Result<Cipher::Suite> Cipher::suite_of(const CryptoContext::CipherKeys& keys) const {
  Suite suite;
  suite.encryption = policy::find_algorithm(TransformType::kEncryption, keys.encryption, keys.key_bits);
  if (suite.encryption == nullptr || !suite.encryption->ike) {
    return Error(Reason::kUnsupported,
                 "cipher " + policy::transform_name(TransformType::kEncryption, keys.encryption, keys.key_bits));
  }
  if (!suite.encryption->aead) {
    suite.integrity = policy::find_algorithm(TransformType::kIntegrity, keys.integrity);
    if (suite.integrity == nullptr) {
      return Error(Reason::kUnsupported,
                   "integrity " + policy::transform_name(TransformType::kIntegrity, keys.integrity, 0));
    }
    TRY_ASSIGN(suite.mac, mac_of_integrity(keys.integrity), "");
  }
  VERIFY(keys.sk_e.size() == size_t{suite.encryption->key_bytes} + suite.encryption->salt_bytes);
  VERIFY(suite.integrity == nullptr || keys.sk_a.size() == suite.integrity->key_bytes);
  suite.icv_bytes = suite.integrity != nullptr ? suite.integrity->icv_bytes : suite.encryption->icv_bytes;
  for (const Slot& slot : slots_)
    if (slot.id == keys.encryption && slot.key_bits == keys.key_bits) suite.context = slot.context.get();
  if (suite.context == nullptr) return openssl::failure("cipher " + std::string(suite.encryption->name));
  return suite;
}

Status Cipher::seal(const CryptoContext::CipherKeys& keys, ByteView plaintext, Random& random, Bytes& message) {
  VERIFY(message.size() >= kIkeHeaderBytes + kGenericHeaderBytes);
  TRY_ASSIGN(const Suite suite, suite_of(keys), "seal");
  const policy::Algorithm& cipher = *suite.encryption;
  const size_t before = message.size();
  const size_t unaligned = (plaintext.size() + 1) % cipher.block_bytes;
  const size_t padding = unaligned == 0 ? 0 : cipher.block_bytes - unaligned;
  const Layout at{.iv = before,
                  .ciphertext = before + cipher.iv_bytes,
                  .icv = before + cipher.iv_bytes + plaintext.size() + padding + 1};
  const size_t total = at.icv + suite.icv_bytes;
  const size_t payload = total - before + kGenericHeaderBytes;
  if (total > kDatagramBytesMax || payload > kPayloadBytesMax)
    return Error(Reason::kLimitReached, "seal: a message of " + std::to_string(total) + " bytes");

  // The lengths are authenticated, so they are set before anything is computed.
  message.resize(total);
  put_u16(message, kHeaderLengthAt, 0);
  put_u16(message, kHeaderLengthAt + 2, total);
  put_u16(message, before - 2, payload);
  random.fill(std::span(message).subspan(at.iv, cipher.iv_bytes));
  std::copy(plaintext.begin(), plaintext.end(), message.begin() + static_cast<ptrdiff_t>(at.ciphertext));
  message[at.icv - 1] = static_cast<uint8_t>(padding);
  return cipher.aead ? encrypt_aead(suite, keys.sk_e, at, message) : encrypt_cbc(suite, keys, at, message);
}

Status Cipher::encrypt_aead(const Suite& suite, ByteView sk_e, const Layout& at, std::span<uint8_t> message) {
  const auto nonce = nonce_of(sk_e, *suite.encryption, message.subspan(at.iv, suite.encryption->iv_bytes));
  EVP_CIPHER_CTX* context = suite.context;
  uint8_t* text = message.data() + at.ciphertext;
  int done = 0;
  // RFC 5282 section 5.1: associated data is everything from the IKE header to the payload's generic header.
  const bool good =
      EVP_EncryptInit_ex2(context, nullptr, sk_e.data(), nonce.data(), nullptr) == 1 &&
      EVP_EncryptUpdate(context, nullptr, &done, message.data(), as_int(at.iv)) == 1 &&
      EVP_EncryptUpdate(context, text, &done, text, as_int(at.icv - at.ciphertext)) == 1 &&
      EVP_EncryptFinal_ex(context, text + done, &done) == 1 &&
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, as_int(suite.icv_bytes), message.data() + at.icv) == 1;
  if (!good) return openssl::failure("encrypt");
  return {};
}

Status Cipher::encrypt_cbc(const Suite& suite, const CryptoContext::CipherKeys& keys, const Layout& at,
                           std::span<uint8_t> message) {
  EVP_CIPHER_CTX* context = suite.context;
  uint8_t* text = message.data() + at.ciphertext;
  int done = 0;
  const bool good = EVP_EncryptInit_ex2(context, nullptr, keys.sk_e.data(), message.data() + at.iv, nullptr) == 1 &&
                    EVP_EncryptUpdate(context, text, &done, text, as_int(at.icv - at.ciphertext)) == 1 &&
                    EVP_EncryptFinal_ex(context, text + done, &done) == 1;
  if (!good) return openssl::failure("encrypt");
  // RFC 7296 section 3.14: the checksum covers the encrypted message, from its first byte up to the checksum.
  std::array<uint8_t, Mac::kBytesMax> mac{};
  const std::span<uint8_t> whole = std::span(mac).first(mac_bytes(suite.mac));
  TRY(mac_.compute(suite.mac, keys.sk_a, {message.first(at.icv)}, whole), "seal");
  std::copy_n(whole.begin(), suite.icv_bytes, message.begin() + static_cast<ptrdiff_t>(at.icv));
  return {};
}

Result<Bytes> Cipher::open(const CryptoContext::CipherKeys& keys, ByteView message, size_t sk_offset) {
  TRY_ASSIGN(const Suite suite, suite_of(keys), "open");
  const policy::Algorithm& cipher = *suite.encryption;
  const size_t around = kGenericHeaderBytes + cipher.iv_bytes + suite.icv_bytes;
  if (message.size() > kDatagramBytesMax || sk_offset > message.size() || message.size() - sk_offset < around)
    return Error(Reason::kIkeNotAuthentic, "SK payload: too short for an IV and a checksum");
  const Layout at{.iv = sk_offset + kGenericHeaderBytes,
                  .ciphertext = sk_offset + kGenericHeaderBytes + cipher.iv_bytes,
                  .icv = message.size() - suite.icv_bytes};
  auto plaintext = cipher.aead ? decrypt_aead(suite, keys.sk_e, at, message) : decrypt_cbc(suite, keys, at, message);
  if (!plaintext.ok()) return plaintext;
  return without_padding(std::move(plaintext).value());
}

Result<Bytes> Cipher::decrypt_aead(const Suite& suite, ByteView sk_e, const Layout& at, ByteView message) {
  const auto nonce = nonce_of(sk_e, *suite.encryption, message.subspan(at.iv, suite.encryption->iv_bytes));
  EVP_CIPHER_CTX* context = suite.context;
  std::array<uint8_t, 16> space{};
  VERIFY(suite.icv_bytes <= space.size());
  const std::span<uint8_t> tag = std::span(space).first(suite.icv_bytes);
  std::copy_n(message.begin() + static_cast<ptrdiff_t>(at.icv), tag.size(), tag.begin());
  Bytes plaintext(at.icv - at.ciphertext);
  std::array<uint8_t, 16> nothing{};  // somewhere for OpenSSL to point to when there is no ciphertext
  uint8_t* out = plaintext.empty() ? nothing.data() : plaintext.data();
  int done = 0;
  const bool keyed =
      EVP_DecryptInit_ex2(context, nullptr, sk_e.data(), nonce.data(), nullptr) == 1 &&
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, as_int(tag.size()), tag.data()) == 1 &&
      EVP_DecryptUpdate(context, nullptr, &done, message.data(), as_int(at.iv)) == 1 &&
      EVP_DecryptUpdate(context, out, &done, message.data() + at.ciphertext, as_int(plaintext.size())) == 1;
  if (!keyed) return openssl::failure("decrypt");
  int last = 0;
  if (EVP_DecryptFinal_ex(context, out + done, &last) != 1) {
    wipe(plaintext);
    [[maybe_unused]] const Error cleared = openssl::failure("decrypt");  // for the queue of errors; it says no more
    return Error(Reason::kIkeNotAuthentic, "SK payload: the checksum is wrong");
  }
  return plaintext;
}

Result<Bytes> Cipher::decrypt_cbc(const Suite& suite, const CryptoContext::CipherKeys& keys, const Layout& at,
                                  ByteView message) {
  std::array<uint8_t, Mac::kBytesMax> mac{};
  const std::span<uint8_t> whole = std::span(mac).first(mac_bytes(suite.mac));
  TRY(mac_.compute(suite.mac, keys.sk_a, {message.first(at.icv)}, whole), "open");
  if (!equal_in_constant_time(whole.first(suite.icv_bytes), message.subspan(at.icv)))
    return Error(Reason::kIkeNotAuthentic, "SK payload: the checksum is wrong");

  Bytes plaintext(at.icv - at.ciphertext);
  if (plaintext.empty() || plaintext.size() % suite.encryption->block_bytes != 0) {
    return Error(Reason::kIkeDecryptPadding,
                 "SK payload: " + std::to_string(plaintext.size()) + " encrypted bytes are not whole blocks");
  }
  EVP_CIPHER_CTX* context = suite.context;
  int done = 0;
  int last = 0;
  const bool good = EVP_DecryptInit_ex2(context, nullptr, keys.sk_e.data(), message.data() + at.iv, nullptr) == 1 &&
                    EVP_DecryptUpdate(context, plaintext.data(), &done, message.data() + at.ciphertext,
                                      as_int(plaintext.size())) == 1 &&
                    EVP_DecryptFinal_ex(context, plaintext.data() + done, &last) == 1;
  if (!good) return openssl::failure("decrypt");
  return plaintext;
}

}  // namespace ipsec::ike
