#include "ike/sa/cookie.h"

#include "ike/limits.h"

namespace ipsec::ike {

void CookieJar::rotate(Instant now) {
  const bool first = current_.empty();
  if (!first && now - changed_at_ < kCookieSecretLife) return;
  // After a silence of two lives the previous secret is too old to count as well.
  if (first || now - changed_at_ >= 2 * kCookieSecretLife)
    previous_.wipe();
  else
    previous_ = std::move(current_);
  current_ = Secret(kSecretBytes);
  random_.fill(current_.writable());
  ++version_;
  changed_at_ = now;
}

Result<Bytes> CookieJar::cookie_with(const Secret& secret, uint8_t version, CryptoContext& crypto, ByteView nonce,
                                     const Endpoint& remote, IkeSpi spi_i) const {
  ByteWriter bound(32);
  bound.bytes(remote.address.bytes());
  bound.u16(remote.port);
  bound.u64(spi_i.value());
  TRY_ASSIGN(Bytes tag, crypto.hmac_sha256(secret.expose(), {nonce, bound.view()}), "cookie");
  Bytes cookie{version};
  cookie.insert(cookie.end(), tag.begin(), tag.begin() + kTagBytes);
  return cookie;
}

Result<Bytes> CookieJar::make(Instant now, CryptoContext& crypto, ByteView nonce, const Endpoint& remote,
                              IkeSpi spi_i) {
  rotate(now);
  return cookie_with(current_, version_, crypto, nonce, remote, spi_i);
}

bool CookieJar::check(Instant now, CryptoContext& crypto, ByteView cookie, ByteView nonce, const Endpoint& remote,
                      IkeSpi spi_i) {
  rotate(now);
  if (cookie.size() != 1 + kTagBytes) return false;
  const bool is_current = cookie[0] == version_;
  const bool is_previous = cookie[0] == static_cast<uint8_t>(version_ - 1) && !previous_.empty();
  if (!is_current && !is_previous) return false;
  auto expected = cookie_with(is_current ? current_ : previous_, cookie[0], crypto, nonce, remote, spi_i);
  return expected.ok() && equal_in_constant_time(*expected, cookie);
}

}  // namespace ipsec::ike
