#include "ike/sa/cookie.h"

#include <algorithm>
#include <utility>

#include "ike/limits.h"
#include "policy/base/secret.h"

namespace ipsec::ike {
namespace {

constexpr size_t kBoundBytesMax = 16 + 2 + 8;  // address, port, SPI

/// What is bound besides the nonce. IPv4 and IPv6 differ in length, so that no two requests look the same.
struct Bound {
  std::array<uint8_t, kBoundBytesMax> bytes{};
  size_t size = 0;
  void add(ByteView more) {
    std::copy(more.begin(), more.end(), bytes.begin() + static_cast<ptrdiff_t>(size));
    size += more.size();
  }
  void add(uint64_t number, size_t its_bytes) {
    for (size_t i = its_bytes; i-- > 0;) bytes[size++] = static_cast<uint8_t>(number >> (8 * i));
  }
};

}  // namespace

Status CookieJar::rotate(Instant now) {
  if (current_.good && now - changed_at_ < kCookieSecretLife) return {};
  // After a silence of two lives the previous secret is too old to count as well.
  const bool keep = current_.good && now - changed_at_ < 2 * kCookieSecretLife;
  std::swap(current_, previous_);
  previous_.good = keep;
  current_.good = false;
  if (!current_.hmac) current_.hmac.emplace();
  Secret secret(kSecretBytes);
  random_.fill(secret.writable());
  TRY(current_.hmac->set_key(HashId::kSha256, secret.expose()), "cookie secret");
  current_.good = true;
  ++version_;
  changed_at_ = now;
  return {};
}

Result<CookieJar::Cookie> CookieJar::cookie_with(Keyed& keyed, uint8_t version, const Request& request) {
  Bound bound;
  bound.add(request.remote.address.bytes());
  bound.add(request.remote.port, 2);
  bound.add(request.spi_i.value(), 8);
  const std::array parts = {request.nonce, ByteView(bound.bytes).first(bound.size)};
  std::array<uint8_t, hash_bytes(HashId::kSha256)> tag{};
  TRY(keyed.hmac->compute_again(HashId::kSha256, parts, tag), "cookie");
  Cookie cookie{version};
  std::copy_n(tag.begin(), kTagBytes, cookie.begin() + 1);
  return cookie;
}

Result<std::optional<CookieJar::Cookie>> CookieJar::judge(Instant now, ByteView presented, const Request& request) {
  TRY(rotate(now), "");
  const bool well_formed = presented.size() == 1 + kTagBytes;
  const auto version_before = static_cast<uint8_t>(version_ - 1);
  if (well_formed && presented[0] == version_before && previous_.good) {
    TRY_ASSIGN(const Cookie expected, cookie_with(previous_, version_before, request), "");
    if (equal_in_constant_time(expected, presented)) return std::optional<Cookie>();
  }
  // What a good cookie would be is also what is asked for.
  TRY_ASSIGN(const Cookie fresh, cookie_with(current_, version_, request), "");
  if (well_formed && equal_in_constant_time(fresh, presented)) return std::optional<Cookie>();
  return std::optional<Cookie>(fresh);
}

}  // namespace ipsec::ike
