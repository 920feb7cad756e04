#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/algorithms.h"
#include "policy/base/result.h"

namespace ipsec::policy {

struct Transform {
  TransformType type;
  uint16_t id = 0;
  uint16_t key_bits = 0;  ///< 0: no Key Length attribute.
  friend auto operator<=>(const Transform&, const Transform&) = default;
};

/// A set of alternatives per transform type, in order of preference. As offered, or (one of each type) as chosen.
struct Proposal {
  Protocol protocol = Protocol::kIke;
  std::vector<Transform> transforms;

  /// The first transform of a type; nullptr when there is none.
  const Transform* first(TransformType type) const;
  bool has(TransformType type) const { return first(type) != nullptr; }
  friend bool operator==(const Proposal&, const Proposal&) = default;
};

/// Parses "aes256gcm16-prfsha384-x25519" (IKE) or "aes256gcm16-x25519-esn" (ESP; a key exchange is for PFS).
/// Alternatives of one type stand side by side ("aes256gcm16-aes128gcm16-prfsha384-x25519-ecp256"); where they mix AEAD
/// and other ciphers the result is two proposals, the integrity transforms only beside the latter (RFC 7296
/// section 3.3). For IKE a missing PRF follows from the integrity algorithm where there is one, else it is an error; a
/// missing key exchange is an error; for ESP a missing ESN means "both, ESN first". Weak algorithms are refused unless
/// in `allow_weak` (names), a PRF that follows from its integrity algorithm among them; some are refused in any case
/// (find_refused). The error, kConfigBadValue or kConfigWeak where nothing else is wrong, names every word that is.
Result<std::vector<Proposal>> parse_proposal(Protocol protocol, std::string_view text,
                                             std::span<const std::string> allow_weak = {});

/// "aes256gcm16-prfsha384-x25519": the form that parse_proposal() reads.
std::string to_string(const Proposal& proposal);
std::string to_string(std::span<const Proposal> proposals);

/// The weak algorithms in the text of a proposal or suite, each once, in its order.
std::vector<std::string> weak_words(std::string_view text);

/// What the peer offers: proposals in the peer's order, numbered as on the wire.
struct ProposalChoice {
  size_t offered_index = 0;  ///< Which of the offered proposals.
  Proposal chosen;           ///< Exactly one transform of each type used.
};

/// How key exchange transforms count when proposals are compared.
enum class KeyExchangeUse : uint8_t {
  kRequired,  ///< IKE_SA_INIT, rekeys with PFS: one must match.
  kIgnored,   ///< IKE_AUTH: none is negotiated, configured ones (PFS) are left out (RFC 7296 section 1.2).
};

/// Picks the first configured proposal for which an offered one has a common transform of every type (our order
/// counts). An integrity transform beside an AEAD, which RFC 7296 3.3 does not allow and some send, is left out; an
/// unknown transform type makes an offered proposal unusable (RFC 7296 3.3.6); an ESP offer without ESN transforms is
/// treated as NO_ESN.
std::optional<ProposalChoice> choose(std::span<const Proposal> configured, std::span<const Proposal> offered,
                                     KeyExchangeUse use);

/// The same where it is not known yet whose proposals count: those of several tunnels are `configured`, of which the
/// peer means one. Picks the first offered proposal that any configured one meets, and of those the strongest.
std::optional<ProposalChoice> choose_as_offered(std::span<const Proposal> configured, std::span<const Proposal> offered,
                                                KeyExchangeUse use);

/// What a policy without `proposals` offers and takes: strong algorithms only, those that peers have as shipped among
/// them (PRF-HMAC-SHA2-256 is mandatory by RFC 8247). As text and as parse_proposal() reads it.
inline constexpr std::string_view kDefaultIkeProposal =
    "aes256gcm16-aes128gcm16-aes256-aes128-sha512-sha384-sha256-prfsha512-prfsha384-prfsha256-"
    "x25519-ecp384-ecp256-modp3072-modp2048";
inline constexpr std::string_view kDefaultEspProposal = "aes256gcm16-aes128gcm16-aes256-aes128-sha512-sha384-sha256";

/// The same, each without a key exchange completed by those of the IKE proposals, in their order.
std::vector<Proposal> with_groups_of(std::span<const Proposal> ike, std::vector<Proposal> proposals);

/// Whether an offer has an integrity transform other than NONE beside an AEAD (RFC 7296 section 3.3 rules that out).
bool has_integrity_beside_aead(const Proposal& offered);

/// Whether two proposals of one protocol meet in this type of transform, by the rules of choose().
bool types_meet(const Proposal& ours, const Proposal& theirs, TransformType type, KeyExchangeUse use);

/// Whether `answer` (a peer's single chosen proposal) is one that `offered` allows: same protocol, one transform of
/// each type offered, each among those offered. Returns it completed (a missing ESN or NONE integrity added), or an
/// error that says what is wrong.
Result<Proposal> check_answer(std::span<const Proposal> offered, const Proposal& answer);

}  // namespace ipsec::policy
