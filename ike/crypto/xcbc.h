#pragma once

#include <array>
#include <span>

#include "ike/crypto/openssl.h"

namespace ipsec::ike {

/// AES-XCBC-MAC with a key of 128 bits (RFC 3566), and with keys of any size as AES-XCBC-PRF-128 takes them (RFC 4434):
/// a shorter one is filled up with zeros, a longer one is first reduced by the function itself. OpenSSL has none, so
/// that it is made of single blocks of AES.
class Xcbc {
 public:
  static constexpr size_t kBytes = 16;

  Xcbc();
  ~Xcbc();
  Xcbc(const Xcbc&) = delete;
  Xcbc& operator=(const Xcbc&) = delete;

  Status set_key(ByteView key);
  /// The MAC of the parts one after the other, whole: RFC 3566 section 4.5 has integrity checks cut to 12 bytes.
  Status compute(std::span<const ByteView> parts, std::span<uint8_t, kBytes> out);

 private:
  using Block = std::array<uint8_t, kBytes>;
  Status begin(ByteView key16);
  Status encrypt(const Block& in, std::span<uint8_t, kBytes> out);
  openssl::Cipher cipher_;
  openssl::CipherContext context_;  ///< Keyed with K1.
  Block whole_key_{};               ///< K2, for a last block that is whole.
  Block part_key_{};                ///< K3, for one that is padded.
};

}  // namespace ipsec::ike
