#include "policy/base/secret.h"

#include <openssl/crypto.h>

#include <algorithm>

namespace ipsec {

void wipe(std::span<uint8_t> bytes) {
  if (!bytes.empty()) OPENSSL_cleanse(bytes.data(), bytes.size());
}

bool equal_in_constant_time(ByteView a, ByteView b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Secret::Secret(size_t size) {
  VERIFY(size <= UINT32_MAX);
  size_ = static_cast<uint32_t>(size);
  if (size > kInlineBytes) heap_ = std::make_unique<uint8_t[]>(size);
}

Secret Secret::copy_of(ByteView bytes) {
  Secret secret(bytes.size());
  std::copy(bytes.begin(), bytes.end(), secret.writable().begin());
  return secret;
}

Secret::Secret(Secret&& other) noexcept { *this = std::move(other); }

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this == &other) return *this;
  wipe();
  size_ = other.size_;
  if (other.heap_) {
    heap_ = std::move(other.heap_);
  } else {
    std::copy_n(other.inline_.begin(), size_, inline_.begin());
  }
  ipsec::wipe({other.inline_.data(), other.size_ <= kInlineBytes ? other.size_ : 0U});
  other.size_ = 0;
  return *this;
}

void Secret::wipe() {
  ipsec::wipe(writable());
  heap_.reset();
  size_ = 0;
}

Secret Secret::part(size_t from, size_t count) const {
  VERIFY(from <= size_ && count <= size_ - from);
  return copy_of(expose().subspan(from, count));
}

bool Secret::equals(ByteView other) const { return equal_in_constant_time(expose(), other); }

}  // namespace ipsec
