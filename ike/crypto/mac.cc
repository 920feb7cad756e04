#include "ike/crypto/mac.h"

#include <string>

#include "policy/algorithms.h"

namespace ipsec::ike {
namespace {

HashId hash_of(MacId mac) {
  switch (mac) {
    case MacId::kHmacSha1: return HashId::kSha1;
    case MacId::kHmacSha256: return HashId::kSha256;
    case MacId::kHmacSha384: return HashId::kSha384;
    case MacId::kHmacSha512: return HashId::kSha512;
    case MacId::kAesXcbc: break;
  }
  VERIFY(false);  // has no hash function
  return HashId::kSha256;
}

}  // namespace

size_t mac_bytes(MacId mac) { return mac == MacId::kAesXcbc ? Xcbc::kBytes : hash_bytes(hash_of(mac)); }

Result<MacId> mac_of_prf(uint16_t prf) {
  switch (prf) {
    case policy::kPrfHmacSha1: return MacId::kHmacSha1;
    case policy::kPrfHmacSha256: return MacId::kHmacSha256;
    case policy::kPrfHmacSha384: return MacId::kHmacSha384;
    case policy::kPrfHmacSha512: return MacId::kHmacSha512;
    case policy::kPrfAesXcbc: return MacId::kAesXcbc;
    default: break;  // not an enumeration: any number of IANA's
  }
  return Error(Reason::kUnsupported, policy::transform_name(policy::TransformType::kPrf, prf, 0));
}

Result<MacId> mac_of_integrity(uint16_t integrity) {
  switch (integrity) {
    case policy::kAuthHmacSha1_96: return MacId::kHmacSha1;
    case policy::kAuthHmacSha256_128: return MacId::kHmacSha256;
    case policy::kAuthHmacSha384_192: return MacId::kHmacSha384;
    case policy::kAuthHmacSha512_256: return MacId::kHmacSha512;
    case policy::kAuthAesXcbc_96: return MacId::kAesXcbc;
    default: break;  // not an enumeration: any number of IANA's
  }
  return Error(Reason::kUnsupported,
               "integrity " + policy::transform_name(policy::TransformType::kIntegrity, integrity, 0));
}

Status Mac::set_key(MacId mac, ByteView key) {
  return mac == MacId::kAesXcbc ? xcbc_.set_key(key) : hmac_.set_key(hash_of(mac), key);
}

Status Mac::compute(MacId mac, ByteView key, std::initializer_list<ByteView> parts, std::span<uint8_t> out) {
  if (mac != MacId::kAesXcbc) return hmac_.compute(hash_of(mac), key, parts, out);
  TRY(set_key(mac, key), "");
  return compute_again(mac, {parts.begin(), parts.size()}, out);
}

Status Mac::compute_again(MacId mac, std::span<const ByteView> parts, std::span<uint8_t> out) {
  if (mac != MacId::kAesXcbc) return hmac_.compute_again(hash_of(mac), parts, out);
  VERIFY(out.size() == Xcbc::kBytes);
  return xcbc_.compute(parts, out.first<Xcbc::kBytes>());
}

}  // namespace ipsec::ike
