#include "ike/crypto/crypto_context.h"

#include <algorithm>
#include <vector>

#include "ike/crypto/cipher.h"
#include "ike/crypto/key_exchange.h"
#include "ike/crypto/mac.h"

namespace ipsec::ike {
namespace {

constexpr size_t kPrfPlusBlocksMax = 255;  // RFC 7296 section 2.13: the counter is one byte

enum class Kind : uint8_t { kMontgomery, kElliptic, kModular };

Result<Kind> kind_of(uint16_t group) {
  switch (group) {
    case policy::kX25519:
    case policy::kX448: return Kind::kMontgomery;
    case policy::kEcp256:
    case policy::kEcp384:
    case policy::kEcp521: return Kind::kElliptic;
    case policy::kModp1024:
    case policy::kModp1536:
    case policy::kModp2048:
    case policy::kModp3072:
    case policy::kModp4096:
    case policy::kModp6144:
    case policy::kModp8192: return Kind::kModular;
    default: break;  // not an enumeration: any number of IANA's
  }
  return Error(Reason::kUnsupported, policy::transform_name(policy::TransformType::kKeyExchange, group, 0));
}

}  // namespace

struct CryptoContext::Impl {
  Mac mac;
  Cipher cipher{mac};
  MontgomeryCurves montgomery;
  EllipticCurves elliptic;
  ModularGroups modular;
  openssl::Digest sha1{EVP_MD_fetch(nullptr, "SHA1", nullptr)};
  openssl::DigestContext digest{EVP_MD_CTX_new()};
};

CryptoContext::CryptoContext() : impl_(std::make_unique<Impl>()) {}
CryptoContext::~CryptoContext() = default;

Result<Secret> CryptoContext::prf(uint16_t prf, ByteView key, std::initializer_list<ByteView> parts) {
  TRY_ASSIGN(const MacId mac, mac_of_prf(prf), "PRF");
  Secret out(mac_bytes(mac));
  TRY(impl_->mac.compute(mac, key, parts, out.writable()), "PRF");
  return out;
}

// RFC 7296 section 2.13:
//   T1 = prf(K, S | 0x01), Tn = prf(K, Tn-1 | S | n), prf+ = T1 | T2 | ...
Result<Secret> CryptoContext::prf_plus(uint16_t prf, ByteView key, std::initializer_list<ByteView> seed, size_t bytes) {
  TRY_ASSIGN(const MacId mac, mac_of_prf(prf), "PRF");
  const size_t block = mac_bytes(mac);
  if (bytes > kPrfPlusBlocksMax * block)
    return Error(Reason::kLimitReached, "PRF: " + std::to_string(bytes) + " bytes are more than 255 blocks");
  Secret out(bytes);
  Secret last(block);
  uint8_t counter = 0;
  std::vector<ByteView> parts;
  parts.reserve(seed.size() + 2);
  for (size_t at = 0; at < bytes; at += block) {
    const bool first = counter == 0;
    ++counter;
    parts.clear();
    if (!first) parts.push_back(last.expose());
    parts.insert(parts.end(), seed.begin(), seed.end());
    parts.push_back({&counter, 1});
    if (first) TRY(impl_->mac.set_key(mac, key), "PRF");
    TRY(impl_->mac.compute_again(mac, parts, last.writable()), "PRF");
    const ByteView made = last.expose().first(std::min(block, bytes - at));
    std::copy(made.begin(), made.end(), out.writable().begin() + static_cast<ptrdiff_t>(at));
  }
  return out;
}

Result<KeyPair> CryptoContext::generate(uint16_t group, Random& random) {
  TRY_ASSIGN(const Kind kind, kind_of(group), "key exchange");
  switch (kind) {
    case Kind::kMontgomery: return impl_->montgomery.generate(group, random);
    case Kind::kElliptic: return impl_->elliptic.generate(group, random);
    case Kind::kModular: return impl_->modular.generate(group, random);
  }
  return Error(Reason::kInternal, "key exchange");
}

Result<Secret> CryptoContext::shared_secret(const KeyPair& ours, ByteView peer_public) {
  TRY_ASSIGN(const Kind kind, kind_of(ours.group), "key exchange");
  switch (kind) {
    case Kind::kMontgomery: return impl_->montgomery.shared_secret(ours, peer_public);
    case Kind::kElliptic: return impl_->elliptic.shared_secret(ours, peer_public);
    case Kind::kModular: return impl_->modular.shared_secret(ours, peer_public);
  }
  return Error(Reason::kInternal, "key exchange");
}

Status CryptoContext::seal(const CipherKeys& keys, ByteView plaintext, Random& random, Bytes& message) {
  return impl_->cipher.seal(keys, plaintext, random, message);
}

Result<Bytes> CryptoContext::open(const CipherKeys& keys, ByteView message, size_t sk_offset) {
  return impl_->cipher.open(keys, message, sk_offset);
}

Result<Bytes> CryptoContext::sha1(std::initializer_list<ByteView> parts) {
  EVP_MD_CTX* context = impl_->digest.get();
  bool good = impl_->sha1 && context != nullptr && EVP_DigestInit_ex2(context, impl_->sha1.get(), nullptr) == 1;
  for (ByteView part : parts) good = good && EVP_DigestUpdate(context, openssl::pointer(part), part.size()) == 1;
  Bytes out(20);
  if (!good || EVP_DigestFinal_ex(context, out.data(), nullptr) != 1) return openssl::failure("SHA-1");
  return out;
}

Result<Bytes> CryptoContext::hmac_sha256(ByteView key, std::initializer_list<ByteView> parts) {
  Bytes out(mac_bytes(MacId::kHmacSha256));
  TRY(impl_->mac.compute(MacId::kHmacSha256, key, parts, out), "HMAC");
  return out;
}

}  // namespace ipsec::ike
