#pragma once

#include <array>
#include <optional>

#include "ike/crypto/hmac.h"
#include "ike/ports.h"
#include "policy/base/ip.h"
#include "policy/base/time.h"

namespace ipsec::ike {

/// Stateless cookies (RFC 7296 section 2.6): version byte of the secret | HMAC(secret, Ni | remote address and port |
/// SPIi). The secret changes every kCookieSecretLife; cookies of the one before are still good, older ones are not.
/// Nothing is allocated but with a new secret.
class CookieJar {
 public:
  static constexpr size_t kTagBytes = 16;
  using Cookie = std::array<uint8_t, 1 + kTagBytes>;
  /// What a cookie is bound to: the request that must return it.
  struct Request {
    ByteView nonce;
    const Endpoint& remote;
    IkeSpi spi_i;
  };

  explicit CookieJar(Random& random) : random_(random) {}
  /// The cookie to ask for; nothing when `presented` (empty: none) is a good one. One HMAC, two for a wrong cookie that
  /// claims to be of the secret before. Errors: kCryptoFailed.
  Result<std::optional<Cookie>> judge(Instant now, ByteView presented, const Request& request);

 private:
  static constexpr size_t kSecretBytes = 32;
  /// An HMAC with one of the secrets as its key.
  struct Keyed {
    std::optional<Hmac> hmac;
    bool good = false;
  };
  Status rotate(Instant now);
  Result<Cookie> cookie_with(Keyed& keyed, uint8_t version, const Request& request);
  Random& random_;
  Keyed current_, previous_;
  uint8_t version_ = 0;
  Instant changed_at_;
};

}  // namespace ipsec::ike
