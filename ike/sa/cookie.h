#pragma once

#include "ike/actions.h"
#include "ike/crypto/crypto_context.h"
#include "policy/base/time.h"

namespace ipsec::ike {

/// Stateless cookies (RFC 7296 section 2.6): version byte of the secret | HMAC(secret, Ni | remote address and port |
/// SPIi). The secret changes every kCookieSecretLife; cookies of the one before are still good, older ones are not.
class CookieJar {
 public:
  explicit CookieJar(Random& random) : random_(random) {}
  Result<Bytes> make(Instant now, CryptoContext& crypto, ByteView nonce, const Endpoint& remote, IkeSpi spi_i);
  bool check(Instant now, CryptoContext& crypto, ByteView cookie, ByteView nonce, const Endpoint& remote, IkeSpi spi_i);

 private:
  static constexpr size_t kSecretBytes = 32, kTagBytes = 16;
  void rotate(Instant now);
  Result<Bytes> cookie_with(const Secret& secret, uint8_t version, CryptoContext& crypto, ByteView nonce,
                            const Endpoint& remote, IkeSpi spi_i) const;
  Random& random_;
  Secret current_, previous_;
  uint8_t version_ = 0;
  Instant changed_at_;
};

}  // namespace ipsec::ike
