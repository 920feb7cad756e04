#pragma once

#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Certificate payload (RFC 7296 section 3.6).
///      0                   1                   2                   3
///     | Cert Encoding |                                               |
///     ~                       Certificate Data                        ~
/// Nobody reads certificates in this version: data beyond kCertificateBytesMax is left out. Empty data is malformed.
struct CertPayload {
  uint8_t encoding = 4;  ///< 4: X.509 certificate - signature.
  Bytes data;
  bool left_out = false;  ///< Whether the data was too long to be kept.

  /// kIkeSkipped for data that was left out, kCertificateEncoding for anything but an X.509 certificate, which nobody
  /// here could read; otherwise kNone.
  Reason oddity() const;
  static Result<CertPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

/// Certificate Request payload (RFC 7296 section 3.7): for encoding 4 a list of SHA-1 hashes of the CAs' public keys.
///      0                   1                   2                   3
///     | Cert Encoding |                                               |
///     ~                    Certification Authority                    ~
struct CertReqPayload {
  uint8_t encoding = 4;
  Bytes authorities;
  bool left_out = false;  ///< Whether there were too many to be kept.

  /// kIkeSkipped for authorities that were left out; otherwise kNone.
  Reason oddity() const { return left_out ? Reason::kIkeSkipped : Reason::kNone; }
  static Result<CertReqPayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
