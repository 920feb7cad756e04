#include <string>

#include "ike/crypto/key_exchange.h"

namespace ipsec::ike {

ModularGroups::ModularGroups()
    : scratch_(BN_CTX_new()),
      generator_(BN_new()),
      slots_{{{policy::kModp1024, &BN_get_rfc2409_prime_1024, 128, 32},
              {policy::kModp1536, &BN_get_rfc3526_prime_1536, 192, 32},
              {policy::kModp2048, &BN_get_rfc3526_prime_2048, 256, 32},
              {policy::kModp3072, &BN_get_rfc3526_prime_3072, 384, 36},
              {policy::kModp4096, &BN_get_rfc3526_prime_4096, 512, 40},
              {policy::kModp6144, &BN_get_rfc3526_prime_6144, 768, 44},
              {policy::kModp8192, &BN_get_rfc3526_prime_8192, 1024, 48}}} {
  if (!generator_ || BN_set_word(generator_.get(), 2) != 1) generator_.reset();
  for (Slot& slot : slots_) {
    slot.prime.reset(slot.make_prime(nullptr));
    slot.largest.reset(slot.prime ? BN_dup(slot.prime.get()) : nullptr);
    openssl::MontgomeryContext montgomery(BN_MONT_CTX_new());
    if (slot.largest && montgomery && BN_sub_word(slot.largest.get(), 2) == 1 &&
        BN_MONT_CTX_set(montgomery.get(), slot.prime.get(), scratch_.get()) == 1)
      slot.montgomery = std::move(montgomery);
  }
}

const ModularGroups::Slot* ModularGroups::slot(uint16_t group) const {
  for (const Slot& each : slots_)
    if (each.group == group && each.montgomery && generator_) return &each;
  return nullptr;
}

/// base ^ exponent mod p, with leading zeros up to the size of p (RFC 7296 section 2.14), in constant time.
Status ModularGroups::power(const Slot& slot, const BIGNUM& base, ByteView exponent, std::span<uint8_t> out) {
  const openssl::BigNumber secret(BN_bin2bn(exponent.data(), static_cast<int>(exponent.size()), nullptr));
  const openssl::BigNumber result(BN_new());
  if (!secret || !result) return openssl::failure("prepare a key exchange");
  BN_set_flags(secret.get(), BN_FLG_CONSTTIME);
  if (BN_mod_exp_mont_consttime(result.get(), &base, secret.get(), slot.prime.get(), scratch_.get(),
                                slot.montgomery.get()) != 1 ||
      BN_bn2binpad(result.get(), out.data(), static_cast<int>(out.size())) != static_cast<int>(out.size()))
    return openssl::failure("raise to a power");
  return {};
}

Result<KeyPair> ModularGroups::generate(uint16_t group, Random& random) {
  const Slot* found = slot(group);
  if (found == nullptr) return openssl::failure("prime of group " + std::to_string(group));
  KeyPair pair{.group = group, .private_key = Secret(found->exponent_bytes), .public_value = Bytes(found->prime_bytes)};
  random.fill(pair.private_key.writable());
  // The top bit keeps the exponent at its full length, whatever the generator gave.
  pair.private_key.writable()[0] |= 0x80;
  TRY(power(*found, *generator_, pair.private_key.expose(), pair.public_value), "key pair");
  return pair;
}

Result<Secret> ModularGroups::shared_secret(const KeyPair& ours, ByteView peer_public) {
  const Slot* found = slot(ours.group);
  if (found == nullptr) return openssl::failure("prime of group " + std::to_string(ours.group));
  // RFC 7296 section 3.4: the public value is as long as the prime, with leading zeros where needed.
  if (peer_public.size() != found->prime_bytes)
    return Error(Reason::kKeRejected, "public value of " + std::to_string(peer_public.size()) + " bytes, not " +
                                          std::to_string(found->prime_bytes));
  const openssl::BigNumber peer(BN_bin2bn(peer_public.data(), static_cast<int>(peer_public.size()), nullptr));
  if (!peer) return openssl::failure("read a public value");
  // RFC 6989 section 2.1: for these safe primes, 1 < y < p - 1 is all that there is to check.
  if (BN_is_zero(peer.get()) || BN_is_one(peer.get()) || BN_cmp(peer.get(), found->largest.get()) > 0)
    return Error(Reason::kKeRejected, "the public value is not between 1 and p - 1");
  Secret shared(found->prime_bytes);
  TRY(power(*found, *peer, ours.private_key.expose(), shared.writable()), "shared secret");
  return shared;
}

}  // namespace ipsec::ike
