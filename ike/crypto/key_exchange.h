#pragma once

#include <array>

#include "ike/crypto/crypto_context.h"
#include "ike/crypto/openssl.h"

namespace ipsec::ike {

/// X25519 and X448 (RFC 7748, 8031) on raw keys, through two kept import contexts; nothing is encoded or decoded.
class MontgomeryCurves {
 public:
  MontgomeryCurves();
  Result<KeyPair> generate(uint16_t group, Random& random);
  Result<Secret> shared_secret(const KeyPair& ours, ByteView peer_public);

 private:
  EVP_PKEY_CTX* context(uint16_t group) const;
  Result<openssl::Key> import(uint16_t group, ByteView private_key, ByteView public_key) const;
  openssl::KeyContext x25519_, x448_;
};

/// The ECP groups 256, 384 and 521 (RFC 5903): scalars and points, with the curves kept.
class EllipticCurves {
 public:
  EllipticCurves();
  Result<KeyPair> generate(uint16_t group, Random& random);
  Result<Secret> shared_secret(const KeyPair& ours, ByteView peer_public);

 private:
  struct Slot {
    uint16_t group;
    int openssl_id;
    size_t field_bytes;  ///< Of one coordinate and of a scalar.
    openssl::Curve curve = {};
  };
  const Slot* slot(uint16_t group) const;
  Result<openssl::BigNumber> random_scalar(const Slot& slot, Random& random);
  openssl::BigNumberContext scratch_;
  std::array<Slot, 3> slots_;
};

/// The MODP groups of 1024 (RFC 2409) and of 1536 to 8192 bits (RFC 3526), with generator 2.
class ModularGroups {
 public:
  ModularGroups();
  Result<KeyPair> generate(uint16_t group, Random& random);
  Result<Secret> shared_secret(const KeyPair& ours, ByteView peer_public);

 private:
  struct Slot {
    uint16_t group;
    BIGNUM* (*make_prime)(BIGNUM*);
    size_t prime_bytes;
    /// Random bytes of an exponent: at least twice the strength of the group (RFC 3526 section 8, first estimate).
    size_t exponent_bytes;
    openssl::BigNumber prime = {};
    openssl::BigNumber largest = {};  ///< p - 2: the largest value that a peer may send.
    openssl::MontgomeryContext montgomery = {};
  };
  const Slot* slot(uint16_t group) const;
  Status power(const Slot& slot, const BIGNUM& base, ByteView exponent, std::span<uint8_t> out);
  openssl::BigNumberContext scratch_;
  openssl::BigNumber generator_;
  std::array<Slot, 7> slots_;
};

}  // namespace ipsec::ike
