#pragma once

#include <array>

#include "ike/crypto/crypto_context.h"
#include "ike/crypto/mac.h"

namespace ipsec::ike {

/// Protects and opens the Encrypted payload, with one kept cipher context per algorithm, keyed anew for each message.
///
/// Encrypted payload (RFC 7296 section 3.14); with an AEAD the IV is the explicit part of the nonce (RFC 5282
/// section 3).
///      0                   1                   2                   3
///     | Next Payload  |C|  RESERVED   |         Payload Length        |
///     |                     Initialization Vector                     |
///     ~                    Encrypted IKE Payloads                     ~
///     |               |             Padding (0-255 octets)            |
///     |                                               |  Pad Length   |
///     ~                    Integrity Checksum Data                    ~
class Cipher {
 public:
  explicit Cipher(Mac& mac);

  Status seal(const CryptoContext::CipherKeys& keys, ByteView plaintext, Random& random, Bytes& message);
  Result<Bytes> open(const CryptoContext::CipherKeys& keys, ByteView message, size_t sk_offset);

 private:
  /// The rows of the table of algorithms behind a set of keys, and OpenSSL's part of it.
  struct Suite {
    const policy::Algorithm* encryption = nullptr;
    const policy::Algorithm* integrity = nullptr;  ///< Null with an AEAD.
    EVP_CIPHER_CTX* context = nullptr;
    MacId mac = MacId::kHmacSha256;
    size_t icv_bytes = 0;
  };
  /// Where the parts of one message lie, in bytes from its start.
  struct Layout {
    size_t iv = 0, ciphertext = 0, icv = 0;
  };

  Result<Suite> suite_of(const CryptoContext::CipherKeys& keys) const;
  Status encrypt_aead(const Suite& suite, ByteView sk_e, const Layout& at, std::span<uint8_t> message);
  Status encrypt_cbc(const Suite& suite, const CryptoContext::CipherKeys& keys, const Layout& at,
                     std::span<uint8_t> message);
  Result<Bytes> decrypt_aead(const Suite& suite, ByteView sk_e, const Layout& at, ByteView message);
  Result<Bytes> decrypt_cbc(const Suite& suite, const CryptoContext::CipherKeys& keys, const Layout& at,
                            ByteView message);

  /// One cipher as fetched and its context.
  struct Slot {
    uint16_t id, key_bits;
    const char* openssl_name;  ///< GCM counts the bytes of its tag when asked for one: all sizes have one cipher.
    openssl::Cipher cipher = {};
    openssl::CipherContext context = {};
  };
  Mac& mac_;
  std::array<Slot, 14> slots_;
};

}  // namespace ipsec::ike
