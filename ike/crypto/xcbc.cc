#include "ike/crypto/xcbc.h"

#include <algorithm>

#include "policy/base/secret.h"

namespace ipsec::ike {

Xcbc::Xcbc() : cipher_(EVP_CIPHER_fetch(nullptr, "AES-128-ECB", nullptr)), context_(EVP_CIPHER_CTX_new()) {}

Xcbc::~Xcbc() {
  wipe(whole_key_);
  wipe(part_key_);
}

Status Xcbc::encrypt(const Block& in, std::span<uint8_t, kBytes> out) {
  int done = 0;
  if (EVP_EncryptUpdate(context_.get(), out.data(), &done, in.data(), static_cast<int>(kBytes)) != 1 ||
      done != static_cast<int>(kBytes))
    return openssl::failure("encrypt a block");
  return {};
}

// RFC 3566 section 4: K1, K2 and K3 are blocks of ones, twos and threes, encrypted with the key.
Status Xcbc::begin(ByteView key16) {
  const auto use = [this](ByteView key) {
    return cipher_ && context_ &&
           EVP_EncryptInit_ex2(context_.get(), cipher_.get(), openssl::pointer(key), nullptr, nullptr) == 1 &&
           EVP_CIPHER_CTX_set_padding(context_.get(), 0) == 1;
  };
  if (!use(key16)) return openssl::failure("set an AES-XCBC key");
  Block first{};
  uint8_t filling = 1;
  Status made;
  for (Block* each : {&first, &whole_key_, &part_key_}) {
    Block constant;
    constant.fill(filling++);
    if (made.ok()) made = encrypt(constant, *each);
  }
  if (made.ok() && !use(first)) made = openssl::failure("set an AES-XCBC key");
  wipe(first);
  return made;
}

// RFC 4434 section 2.
Status Xcbc::set_key(ByteView key) {
  Block fitted{};
  Status done;
  if (key.size() > kBytes) {
    done = begin(fitted);
    if (done.ok()) done = compute(std::span(&key, 1), fitted);
  } else {
    std::ranges::copy(key, fitted.begin());
  }
  if (done.ok()) done = begin(fitted);
  wipe(fitted);
  return done;
}

// RFC 3566 section 4: CBC without an IV; into the last block goes K2, or where it is not whole a one, zeros and K3.
Status Xcbc::compute(std::span<const ByteView> parts, std::span<uint8_t, kBytes> out) {
  Block chain{}, block{};
  size_t filled = 0;
  const auto mix = [](Block& into, const Block& other) {
    for (size_t i = 0; i < kBytes; ++i) into[i] ^= other[i];
  };
  for (ByteView part : parts)
    while (!part.empty()) {
      // A whole block waits until more follows: it may be the last one.
      if (filled == kBytes) {
        mix(block, chain);
        TRY(encrypt(block, chain), "AES-XCBC");
        filled = 0;
      }
      const size_t taken = std::min(part.size(), kBytes - filled);
      std::copy_n(part.begin(), taken, block.begin() + static_cast<ptrdiff_t>(filled));
      filled += taken;
      part = part.subspan(taken);
    }
  if (filled < kBytes) {
    std::fill(block.begin() + static_cast<ptrdiff_t>(filled), block.end(), uint8_t{0});
    block[filled] = 0x80;
  }
  mix(block, chain);
  mix(block, filled < kBytes ? part_key_ : whole_key_);
  Status done = encrypt(block, out);
  wipe(block);
  wipe(chain);
  return done;
}

}  // namespace ipsec::ike
