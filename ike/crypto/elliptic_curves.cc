#include <openssl/obj_mac.h>

#include <string>

#include "ike/crypto/key_exchange.h"

namespace ipsec::ike {
namespace {

constexpr uint8_t kUncompressed = 0x04;  // SEC 1 section 2.3.3; IKE leaves this byte out (RFC 5903 section 7)
constexpr int kTriesMax = 128;           // each succeeds with a chance of one half or more
constexpr size_t kFieldBytesMax = 66;

}  // namespace

EllipticCurves::EllipticCurves()
    : scratch_(BN_CTX_new()),
      slots_{{{policy::kEcp256, NID_X9_62_prime256v1, 32},
              {policy::kEcp384, NID_secp384r1, 48},
              {policy::kEcp521, NID_secp521r1, kFieldBytesMax}}} {
  for (Slot& slot : slots_) slot.curve.reset(EC_GROUP_new_by_curve_name(slot.openssl_id));
}

const EllipticCurves::Slot* EllipticCurves::slot(uint16_t group) const {
  for (const Slot& each : slots_)
    if (each.group == group && each.curve) return &each;
  return nullptr;
}

/// Uniform in [1, n - 1]: candidates of as many bits as n has, until one is in range.
Result<openssl::BigNumber> EllipticCurves::random_scalar(const Slot& slot, Random& random) {
  const BIGNUM* order = EC_GROUP_get0_order(slot.curve.get());
  Secret candidate(slot.field_bytes);
  const int excess_bits = static_cast<int>(slot.field_bytes * 8) - BN_num_bits(order);
  for (int i = 0; i < kTriesMax; ++i) {
    random.fill(candidate.writable());
    candidate.writable()[0] &= static_cast<uint8_t>(0xff >> excess_bits);
    openssl::BigNumber scalar(BN_bin2bn(candidate.expose().data(), static_cast<int>(candidate.size()), nullptr));
    if (!scalar) return openssl::failure("make a scalar");
    if (BN_is_zero(scalar.get()) || BN_cmp(scalar.get(), order) >= 0) continue;
    BN_set_flags(scalar.get(), BN_FLG_CONSTTIME);
    return scalar;
  }
  return Error(Reason::kCryptoFailed, "the random generator gave no scalar in " + std::to_string(kTriesMax) + " tries");
}

Result<KeyPair> EllipticCurves::generate(uint16_t group, Random& random) {
  const Slot* found = slot(group);
  if (found == nullptr) return openssl::failure("curve of group " + std::to_string(group));
  const EC_GROUP* curve = found->curve.get();
  const size_t bytes = found->field_bytes;
  TRY_ASSIGN(const openssl::BigNumber scalar, random_scalar(*found, random), "key pair");

  const openssl::CurvePoint point(EC_POINT_new(curve));
  std::array<uint8_t, 1 + 2 * kFieldBytesMax> encoded{};
  KeyPair pair{.group = group, .private_key = Secret(bytes), .public_value = {}};
  const bool good = point && EC_POINT_mul(curve, point.get(), scalar.get(), nullptr, nullptr, scratch_.get()) == 1 &&
                    EC_POINT_point2oct(curve, point.get(), POINT_CONVERSION_UNCOMPRESSED, encoded.data(),
                                       encoded.size(), scratch_.get()) == 1 + 2 * bytes &&
                    BN_bn2binpad(scalar.get(), pair.private_key.writable().data(), static_cast<int>(bytes)) ==
                        static_cast<int>(bytes);
  if (!good) return openssl::failure("compute a public value");
  const ByteView coordinates = ByteView(encoded).subspan(1, 2 * bytes);
  pair.public_value.assign(coordinates.begin(), coordinates.end());
  return pair;
}

Result<Secret> EllipticCurves::shared_secret(const KeyPair& ours, ByteView peer_public) {
  const Slot* found = slot(ours.group);
  if (found == nullptr) return openssl::failure("curve of group " + std::to_string(ours.group));
  const EC_GROUP* curve = found->curve.get();
  const size_t bytes = found->field_bytes;
  // RFC 6989 section 2.3: the public value has the right size and is a point of the curve; infinity has no encoding
  // here.
  if (peer_public.size() != 2 * bytes)
    return Error(Reason::kKeRejected,
                 "public value of " + std::to_string(peer_public.size()) + " bytes, not " + std::to_string(2 * bytes));
  Bytes encoded{kUncompressed};
  encoded.insert(encoded.end(), peer_public.begin(), peer_public.end());
  const openssl::CurvePoint peer(EC_POINT_new(curve));
  const openssl::CurvePoint product(EC_POINT_new(curve));
  const openssl::BigNumber scalar(
      BN_bin2bn(ours.private_key.expose().data(), static_cast<int>(ours.private_key.size()), nullptr));
  const openssl::BigNumber x(BN_new());
  if (!peer || !product || !scalar || !x) return openssl::failure("prepare a key exchange");
  if (EC_POINT_oct2point(curve, peer.get(), encoded.data(), encoded.size(), scratch_.get()) != 1 ||
      EC_POINT_is_on_curve(curve, peer.get(), scratch_.get()) != 1) {
    const Error cause = openssl::failure("the public value is not a point of the curve");
    return Error(Reason::kKeRejected, cause.detail());
  }
  BN_set_flags(scalar.get(), BN_FLG_CONSTTIME);
  if (EC_POINT_mul(curve, product.get(), nullptr, peer.get(), scalar.get(), scratch_.get()) != 1)
    return openssl::failure("multiply a point");
  if (EC_POINT_is_at_infinity(curve, product.get()) == 1)
    return Error(Reason::kKeRejected, "the result is the point at infinity");
  // RFC 5903 section 7: the shared secret is the x coordinate alone.
  Secret shared(bytes);
  if (EC_POINT_get_affine_coordinates(curve, product.get(), x.get(), nullptr, scratch_.get()) != 1 ||
      BN_bn2binpad(x.get(), shared.writable().data(), static_cast<int>(bytes)) != static_cast<int>(bytes))
    return openssl::failure("read a coordinate");
  return shared;
}

}  // namespace ipsec::ike
