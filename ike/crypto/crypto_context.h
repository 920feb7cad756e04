#pragma once

#include <initializer_list>
#include <memory>

#include "policy/algorithms.h"
#include "policy/base/random.h"
#include "policy/base/secret.h"

namespace ipsec::ike {

/// A key pair of one key exchange method, as values, so that it can stand in a snapshot.
struct KeyPair {
  uint16_t group = 0;  ///< policy::KeyExchangeId.
  Secret private_key;  ///< X25519, X448: the raw key. ECP, MODP: the scalar or exponent, big-endian.
  Bytes public_value;  ///< As in a KE payload (RFC 7296 3.4, 5903, 8031).
};

/// All cryptography of one worker: algorithms fetched once, contexts kept and keyed per message (architecture, decision
/// 10). Not for use by two threads.
class CryptoContext {
 public:
  CryptoContext();
  ~CryptoContext();
  CryptoContext(const CryptoContext&) = delete;
  CryptoContext& operator=(const CryptoContext&) = delete;

  /// prf(key, parts[0] | parts[1] | ...) (RFC 7296 section 2.13). `prf`: policy::PrfId of the table.
  Result<Secret> prf(uint16_t prf, ByteView key, std::initializer_list<ByteView> parts);
  /// prf+ (RFC 7296 section 2.13): `bytes` of output, at most 255 blocks.
  Result<Secret> prf_plus(uint16_t prf, ByteView key, std::initializer_list<ByteView> seed, size_t bytes);

  /// A fresh key pair. All randomness comes from `random`.
  Result<KeyPair> generate(uint16_t group, Random& random);
  /// The shared secret (g^ir). Checks the peer's value as RFC 6989 demands; error kKeRejected if it is not acceptable
  /// (wrong size, not on the curve, 0, 1 or p-1, all-zero result of X25519 and X448: RFC 8031 section 2).
  Result<Secret> shared_secret(const KeyPair& ours, ByteView peer_public);

  /// Keys and algorithms of one direction of an IKE SA.
  struct CipherKeys {
    uint16_t encryption = 0, key_bits = 0, integrity = 0;  ///< policy:: ids; integrity 0 with an AEAD.
    ByteView sk_e;                                         ///< With the salt at its end for AEADs.
    ByteView sk_a;
  };
  /// Makes the whole datagram header | SK payload (RFC 7296 section 3.14, 5282): `message` holds the header and the SK
  /// payload's generic header (which are authenticated); appended are IV (from `random`), the encrypted `plaintext`
  /// with padding, and the ICV. The two length fields (header at byte 24, SK generic header at byte 30) are set here.
  Status seal(const CipherKeys& keys, ByteView plaintext, Random& random, Bytes& message);
  /// Checks and decrypts the SK payload that begins with its generic header at `sk_offset` and ends with the message;
  /// returns the plaintext without padding. Errors: kIkeNotAuthentic (before anything else is looked at),
  /// kIkeDecryptPadding.
  Result<Bytes> open(const CipherKeys& keys, ByteView message, size_t sk_offset);

  /// SHA-1 over the parts: only for NAT_DETECTION_*_IP (RFC 7296 section 2.23), where it is the standard's.
  Result<Bytes> sha1(std::initializer_list<ByteView> parts);
  /// SHA-256 HMAC for cookies of our own.
  Result<Bytes> hmac_sha256(ByteView key, std::initializer_list<ByteView> parts);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ipsec::ike
