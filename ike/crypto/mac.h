#pragma once

#include "ike/crypto/hmac.h"
#include "ike/crypto/xcbc.h"

namespace ipsec::ike {

/// The keyed functions that IKE protects messages and derives keys with.
enum class MacId : uint8_t { kHmacSha1, kHmacSha256, kHmacSha384, kHmacSha512, kAesXcbc };

/// Bytes of the whole result.
size_t mac_bytes(MacId mac);
/// Of a PRF or an integrity algorithm (policy::PrfId, policy::IntegrityId). Error kUnsupported.
Result<MacId> mac_of_prf(uint16_t prf);
Result<MacId> mac_of_integrity(uint16_t integrity);

/// All of them, with kept contexts, keyed anew for each computation.
class Mac {
 public:
  static constexpr size_t kBytesMax = Hmac::kBytesMax;

  /// MAC(key, parts one after the other) into `out`, which has exactly mac_bytes(mac).
  Status compute(MacId mac, ByteView key, std::initializer_list<ByteView> parts, std::span<uint8_t> out);
  /// For prf+, several computations with one key: set_key() once, then compute_again() with that key.
  Status set_key(MacId mac, ByteView key);
  Status compute_again(MacId mac, std::span<const ByteView> parts, std::span<uint8_t> out);

 private:
  Hmac hmac_;
  Xcbc xcbc_;
};

}  // namespace ipsec::ike
