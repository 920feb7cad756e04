#include "ike/crypto/key_schedule.h"

#include <algorithm>

namespace ipsec::ike {
namespace {

using policy::Algorithm;
using policy::TransformType;

/// Sizes in bytes of the keys of a suite.
struct Sizes {
  size_t prf = 0, integrity = 0, encryption = 0;
  size_t without_auth() const { return prf + 2 * integrity + 2 * encryption; }
  size_t whole() const { return without_auth() + 2 * prf; }
};

/// Error kUnsupported when the table of algorithms lacks one of the suite's.
Result<Sizes> sizes_of(const IkeSuite& suite) {
  const Algorithm* prf = policy::find_algorithm(TransformType::kPrf, suite.prf);
  const Algorithm* cipher = policy::find_algorithm(TransformType::kEncryption, suite.encryption, suite.key_bits);
  const Algorithm* integrity = policy::find_algorithm(TransformType::kIntegrity, suite.integrity);
  if (prf == nullptr) return Error(Reason::kUnsupported, "suite: PRF " + std::to_string(suite.prf));
  if (cipher == nullptr || !cipher->ike) {
    return Error(Reason::kUnsupported, "suite: cipher " + policy::transform_name(TransformType::kEncryption,
                                                                                 suite.encryption, suite.key_bits));
  }
  // RFC 5282 section 8: an AEAD has no integrity algorithm beside it; every other cipher needs one.
  if (cipher->aead ? suite.integrity != policy::kAuthNone : integrity == nullptr) {
    return Error(Reason::kUnsupported,
                 "suite: integrity " + std::to_string(suite.integrity) + " beside " + std::string(cipher->name));
  }
  return Sizes{.prf = prf->key_bytes,
               .integrity = integrity != nullptr ? size_t{integrity->key_bytes} : 0,
               .encryption = size_t{cipher->key_bytes} + cipher->salt_bytes};
}

Sizes known_sizes_of(const IkeSuite& suite) {
  auto sizes = sizes_of(suite);
  VERIFY(sizes.ok());  // no KeySchedule is made without this check
  return sizes.value();
}

/// The only transform of a type; error when there are several.
Result<const policy::Transform*> only(const policy::Proposal& chosen, TransformType type) {
  const policy::Transform* found = nullptr;
  for (const policy::Transform& each : chosen.transforms) {
    if (each.type != type) continue;
    if (found != nullptr)
      return Error(Reason::kNoProposalChosen,
                   "more than one transform of type " + std::to_string(static_cast<unsigned>(type)));
    found = &each;
  }
  return found;
}

Result<const policy::Transform*> required(const policy::Proposal& chosen, TransformType type) {
  auto found = only(chosen, type);
  if (found.ok() && found.value() == nullptr)
    return Error(Reason::kNoProposalChosen, "no transform of type " + std::to_string(static_cast<unsigned>(type)));
  return found;
}

}  // namespace

Result<IkeSuite> IkeSuite::of(const policy::Proposal& chosen) {
  if (chosen.protocol != policy::Protocol::kIke)
    return Error(Reason::kNoProposalChosen, "chosen proposal: not for an IKE SA");
  TRY_ASSIGN(const auto* encryption, required(chosen, TransformType::kEncryption), "chosen proposal");
  TRY_ASSIGN(const auto* prf, required(chosen, TransformType::kPrf), "chosen proposal");
  TRY_ASSIGN(const auto* group, required(chosen, TransformType::kKeyExchange), "chosen proposal");
  TRY_ASSIGN(const auto* integrity, only(chosen, TransformType::kIntegrity), "chosen proposal");
  const IkeSuite suite{.encryption = encryption->id,
                       .key_bits = encryption->key_bits,
                       .prf = prf->id,
                       .integrity = integrity != nullptr ? integrity->id : uint16_t{policy::kAuthNone},
                       .group = group->id};
  TRY(sizes_of(suite), "chosen proposal");
  if (policy::find_algorithm(TransformType::kKeyExchange, suite.group) == nullptr)
    return Error(Reason::kUnsupported, "chosen proposal: suite: group " + std::to_string(suite.group));
  return suite;
}

policy::Proposal IkeSuite::to_proposal() const {
  policy::Proposal proposal{.protocol = policy::Protocol::kIke, .transforms = {}};
  proposal.transforms.reserve(4);
  proposal.transforms.push_back({.type = TransformType::kEncryption, .id = encryption, .key_bits = key_bits});
  // RFC 7296 section 3.3: beside an AEAD no integrity transform is recommended over one of NONE.
  if (integrity != policy::kAuthNone)
    proposal.transforms.push_back({.type = TransformType::kIntegrity, .id = integrity});
  proposal.transforms.push_back({.type = TransformType::kPrf, .id = prf});
  proposal.transforms.push_back({.type = TransformType::kKeyExchange, .id = group});
  return proposal;
}

// RFC 7296 section 2.14:
//   SKEYSEED = prf(Ni | Nr, g^ir)
//   {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)
Result<KeySchedule> KeySchedule::derive(CryptoContext& crypto, const IkeSuite& suite, const Inputs& inputs,
                                        Secret shared) {
  // RFC 7296 section 2.14: AES-XCBC-PRF-128 has a key of fixed size, of which each nonce gives its first 64 bits.
  const auto key_part = [&suite](ByteView nonce) {
    return suite.prf == policy::kPrfAesXcbc ? nonce.first(std::min<size_t>(nonce.size(), 8)) : nonce;
  };
  const ByteView ni = key_part(inputs.ni), nr = key_part(inputs.nr);
  Bytes nonces(ni.begin(), ni.end());
  nonces.insert(nonces.end(), nr.begin(), nr.end());
  TRY(sizes_of(suite), "key schedule");
  TRY_ASSIGN(const Secret seed, crypto.prf(suite.prf, nonces, {shared.expose()}), "SKEYSEED");
  shared.wipe();
  return expand(crypto, suite, inputs, seed);
}

// RFC 7296 section 2.18: the rekeying exchange belongs to the old IKE SA, and so does the PRF that makes SKEYSEED.
Result<KeySchedule> KeySchedule::rekey(CryptoContext& crypto, const IkeSuite& suite, const Inputs& inputs,
                                       Secret shared) const {
  const ByteView sk_d = keys_.expose().first(known_sizes_of(suite_).prf);
  TRY_ASSIGN(const Secret seed, crypto.prf(suite_.prf, sk_d, {shared.expose(), inputs.ni, inputs.nr}), "SKEYSEED");
  shared.wipe();
  return expand(crypto, suite, inputs, seed);
}

Result<KeySchedule> KeySchedule::expand(CryptoContext& crypto, const IkeSuite& suite, const Inputs& inputs,
                                        const Secret& seed) {
  TRY_ASSIGN(const Sizes sizes, sizes_of(suite), "key schedule");
  ByteWriter spis(16);
  spis.u64(inputs.spi_i.value());
  spis.u64(inputs.spi_r.value());
  KeySchedule schedule;
  schedule.suite_ = suite;
  TRY_ASSIGN(schedule.keys_,
             crypto.prf_plus(suite.prf, seed.expose(), {inputs.ni, inputs.nr, spis.view()}, sizes.whole()), "keys");
  return schedule;
}

CryptoContext::CipherKeys KeySchedule::cipher_keys(bool initiator) const {
  const Sizes sizes = known_sizes_of(suite_);
  const ByteView block = keys_.expose();
  const size_t sk_a = sizes.prf + (initiator ? 0 : sizes.integrity);
  const size_t sk_e = sizes.prf + 2 * sizes.integrity + (initiator ? 0 : sizes.encryption);
  return {.encryption = suite_.encryption,
          .key_bits = suite_.key_bits,
          .integrity = suite_.integrity,
          .sk_e = block.subspan(sk_e, sizes.encryption),
          .sk_a = block.subspan(sk_a, sizes.integrity)};
}

bool KeySchedule::can_authenticate() const { return keys_.size() == known_sizes_of(suite_).whole(); }

Result<Bytes> KeySchedule::auth_octets(CryptoContext& crypto, bool initiator, ByteView first_message,
                                       ByteView peer_nonce, ByteView id_body) const {
  VERIFY(can_authenticate());
  const Sizes sizes = known_sizes_of(suite_);
  const ByteView sk_p = keys_.expose().subspan(sizes.without_auth() + (initiator ? 0 : sizes.prf), sizes.prf);
  TRY_ASSIGN(const Secret maced_id, crypto.prf(suite_.prf, sk_p, {id_body}), "AUTH octets");
  ByteWriter octets(first_message.size() + peer_nonce.size() + maced_id.size());
  octets.bytes(first_message);
  octets.bytes(peer_nonce);
  octets.bytes(maced_id.expose());
  return std::move(octets).take();
}

void KeySchedule::forget_auth_keys() {
  if (can_authenticate()) keys_ = keys_.part(0, known_sizes_of(suite_).without_auth());
}

// RFC 7296 section 2.17: KEYMAT = prf+(SK_d, [g^ir (new)] | Ni | Nr); the keys of the direction from the initiator of
// the exchange to its responder come first.
Result<KeySchedule::ChildKeyPair> KeySchedule::child_keys(CryptoContext& crypto, const policy::EspSuite& esp,
                                                          ByteView ni, ByteView nr, ByteView shared) const {
  const size_t each = esp.key_material_bytes();
  const ByteView sk_d = keys_.expose().first(known_sizes_of(suite_).prf);
  TRY_ASSIGN(const Secret keymat, crypto.prf_plus(suite_.prf, sk_d, {shared, ni, nr}, 2 * each), "child keys");
  return ChildKeyPair{.initiator_to_responder = keymat.part(0, each),
                      .responder_to_initiator = keymat.part(each, each)};
}

Result<KeySchedule> KeySchedule::restore(const IkeSuite& suite, Secret block) {
  TRY_ASSIGN(const Sizes sizes, sizes_of(suite), "key schedule");
  // The size alone tells whether AUTH keys are still there.
  if (block.size() != sizes.whole() && block.size() != sizes.without_auth())
    return Error(Reason::kMalformed, "key schedule: a block of " + std::to_string(block.size()) + " bytes");
  KeySchedule schedule;
  schedule.suite_ = suite;
  schedule.keys_ = std::move(block);
  return schedule;
}

// RFC 7296 section 2.15.
Result<Bytes> psk_auth(CryptoContext& crypto, uint16_t prf, ByteView secret, ByteView octets) {
  TRY_ASSIGN(const Secret padded, crypto.prf(prf, secret, {as_bytes("Key Pad for IKEv2")}), "AUTH");
  TRY_ASSIGN(const Secret auth, crypto.prf(prf, padded.expose(), {octets}), "AUTH");
  return Bytes(auth.expose().begin(), auth.expose().end());
}

}  // namespace ipsec::ike
