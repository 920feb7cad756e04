#pragma once

#include "ike/crypto/crypto_context.h"
#include "ike/ports.h"
#include "policy/proposal.h"

namespace ipsec::ike {

/// The algorithms of an IKE SA.
struct IkeSuite {
  uint16_t encryption = 0, key_bits = 0, prf = 0, integrity = policy::kAuthNone, group = 0;
  /// From a chosen proposal (exactly one transform of each type).
  static Result<IkeSuite> of(const policy::Proposal& chosen);
  policy::Proposal to_proposal() const;
  friend bool operator==(const IkeSuite&, const IkeSuite&) = default;
};

/// The keys of one IKE SA (RFC 7296 section 2.14):
///   SKEYSEED = prf(Ni | Nr, g^ir)
///   {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)
/// Life: made by derive() (or restored) -> can make AUTH octets until forget_auth_keys() -> protects messages and
/// derives child keys to the end. One block of memory holds all keys.
class KeySchedule {
 public:
  struct Inputs {
    ByteView ni, nr;
    IkeSpi spi_i, spi_r;
  };
  /// `shared` is given up: it is wiped.
  static Result<KeySchedule> derive(CryptoContext& crypto, const IkeSuite& suite, const Inputs& inputs, Secret shared);

  /// The keys of the IKE SA that replaces this one (RFC 7296 section 2.18): SKEYSEED = prf(SK_d (old), g^ir | Ni | Nr)
  /// with the PRF of the old one, the rest with that of the new one.
  Result<KeySchedule> rekey(CryptoContext& crypto, const IkeSuite& suite, const Inputs& inputs, Secret shared) const;

  const IkeSuite& suite() const { return suite_; }
  /// Keys for what the original initiator (true) or responder (false) of the IKE SA sends.
  CryptoContext::CipherKeys cipher_keys(bool initiator) const;
  bool can_authenticate() const;
  /// The octets that AUTH covers: `first_message` | `peer_nonce` | prf(SK_p, ID payload body) (RFC 7296 section 2.15).
  Result<Bytes> auth_octets(CryptoContext& crypto, bool initiator, ByteView first_message, ByteView peer_nonce,
                            ByteView id_body) const;
  /// SK_pi and SK_pr are wiped: no AUTH will be made or checked any more.
  void forget_auth_keys();
  /// KEYMAT = prf+(SK_d, [g^ir] | Ni | Nr) (RFC 7296 section 2.17), cut into what flows from initiator to responder,
  /// then back.
  struct ChildKeyPair {
    Secret initiator_to_responder, responder_to_initiator;
  };
  Result<ChildKeyPair> child_keys(CryptoContext& crypto, const policy::EspSuite& esp, ByteView ni, ByteView nr,
                                  ByteView shared = {}) const;

  /// For snapshots.
  const Secret& block() const { return keys_; }
  static Result<KeySchedule> restore(const IkeSuite& suite, Secret block);

 private:
  KeySchedule() = default;
  static Result<KeySchedule> expand(CryptoContext& crypto, const IkeSuite& suite, const Inputs& inputs,
                                    const Secret& seed);
  IkeSuite suite_;
  Secret keys_;  ///< SK_d | SK_ai | SK_ar | SK_ei | SK_er [| SK_pi | SK_pr]
};

/// AUTH by pre-shared key: prf(prf(secret, "Key Pad for IKEv2"), octets) (RFC 7296 section 2.15). Lives with whoever
/// holds the secret (the agent), not with the engine.
Result<Bytes> psk_auth(CryptoContext& crypto, uint16_t prf, ByteView secret, ByteView octets);

}  // namespace ipsec::ike
