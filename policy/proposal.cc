#include "policy/proposal.h"

#include <algorithm>
#include <array>

#include "policy/base/bytes.h"
#include "policy/limits.h"
#include "policy/name_hints.h"

namespace ipsec::policy {
namespace {

const Algorithm* row(const Transform& transform) {
  return find_algorithm(transform.type, transform.id, transform.key_bits);
}

bool is_aead(const Transform& transform) {
  const Algorithm* known = row(transform);
  return known != nullptr && known->aead;
}

constexpr size_t kWrongWordsMax = 8;  // named in one error

std::string quoted(std::string_view word) { return "\"" + printable(as_bytes(word)) + "\""; }

/// What is wrong with the words of a proposal string: all of it, in one error.
class WrongWords {
 public:
  WrongWords(Protocol protocol, std::span<const std::string> allow_weak)
      : protocol_(protocol), allow_weak_(allow_weak) {}

  /// The transform of one word; nothing when it cannot be used, which is noted.
  std::optional<Transform> transform_of(std::string_view word) {
    const Algorithm* known = find_algorithm(word);
    if (known == nullptr) {
      unknown(word);
    } else if (protocol_ == Protocol::kIke ? !known->ike : !known->esp) {
      bad_ = true;
      add(quoted(word) + " cannot be used for " + (protocol_ == Protocol::kIke ? "IKE" : "ESP"));
    } else if (!allows(*known)) {
      weak(*known, quoted(word));
    } else {
      return Transform{known->type, known->id, known->key_bits};
    }
    return std::nullopt;
  }

  /// An algorithm that is used without a word for it, as `because` says.
  bool check(const Transform& transform, std::string_view because) {
    const Algorithm* known = row(transform);
    if (known == nullptr || allows(*known)) return true;
    weak(*known, quoted(known->name) + ", which " + std::string(because) + ",");
    return false;
  }

  bool any() const { return count_ != 0; }

  Error error() const {
    std::string whole = "algorithms that are known and strong, or named as exceptions: " + text_;
    if (count_ > kWrongWordsMax) whole += "; and " + std::to_string(count_ - kWrongWordsMax) + " more";
    if (!named_.empty() && !bad_)
      whole += "; to use " + std::string(names_ == 1 ? "it" : "them") + " all the same write \"allow_weak\": [" +
               named_ + "] into \"defaults\"";
    if (!lists_.empty()) whole += lists_;
    return Error(bad_ ? Reason::kConfigBadValue : Reason::kConfigWeak, whole);
  }

 private:
  bool allows(const Algorithm& known) const {
    return !known.weak() || std::find(allow_weak_.begin(), allow_weak_.end(), known.name) != allow_weak_.end();
  }

  void add(const std::string& text) {
    if (++count_ <= kWrongWordsMax) text_.append(text_.empty() ? "" : "; ").append(text);
  }

  void weak(const Algorithm& known, const std::string& subject) {
    add(subject + " is weak: " + std::string(known.weakness) + "; use " + std::string(strong_one_for(known)));
    named_.append(named_.empty() ? "" : ", ").append(quoted(known.name));
    ++names_;
  }

  void unknown(std::string_view word) {
    bad_ = true;
    if (count_ >= kWrongWordsMax) return add({});
    if (const RefusedAlgorithm* refused = find_refused(word))
      return add(quoted(word) + " is never used: " + std::string(refused->because) + "; use " +
                 std::string(refused->instead));
    if (const std::string_view ours = our_name_of(word); !ours.empty())
      return add(quoted(word) + " is called \"" + std::string(ours) + "\" here");
    const std::string near = hints_.nearest(word, all_algorithms(), [](const Algorithm& each) { return each.name; });
    add(quoted(word) + " is not a known algorithm" + (near.empty() ? "" : ", did you mean \"" + near + "\"?"));
    if (near.empty()) list_all();
  }

  void list_all() {
    if (!lists_.empty()) return;
    const auto list = [&](const char* what, TransformType type) {
      lists_ += std::string("; ") + what + ": " + algorithm_names(type, protocol_, WeakOnes::kLeftOut);
    };
    list("ciphers", TransformType::kEncryption);
    list("integrity", TransformType::kIntegrity);
    if (protocol_ == Protocol::kIke) list("PRFs", TransformType::kPrf);
    list("key exchange", TransformType::kKeyExchange);
    if (protocol_ == Protocol::kEsp) list("sequence numbers", TransformType::kEsn);
  }

  Protocol protocol_;
  std::span<const std::string> allow_weak_;
  NameHints hints_;
  std::string text_, named_, lists_;
  size_t count_ = 0, names_ = 0;
  bool bad_ = false;  ///< Something that no exception makes right.
};

/// The PRF that goes with an integrity algorithm when none is named: the same hash.
std::optional<Transform> prf_for(const Transform& integrity) {
  switch (integrity.id) {
    case kAuthHmacSha256_128: return Transform{TransformType::kPrf, kPrfHmacSha256};
    case kAuthHmacSha384_192: return Transform{TransformType::kPrf, kPrfHmacSha384};
    case kAuthHmacSha512_256: return Transform{TransformType::kPrf, kPrfHmacSha512};
    case kAuthHmacSha1_96: return Transform{TransformType::kPrf, kPrfHmacSha1};
    case kAuthAesXcbc_96: return Transform{TransformType::kPrf, kPrfAesXcbc};
    default: return std::nullopt;
  }
}

Proposal subset(const Proposal& all, bool aead) {
  Proposal part{.protocol = all.protocol};
  for (const Transform& each : all.transforms) {
    if (each.type == TransformType::kEncryption && is_aead(each) != aead) continue;
    // An AEAD carries its own integrity check: no integrity transform is sent beside it (RFC 7296 3.3).
    if (each.type == TransformType::kIntegrity && aead) continue;
    part.transforms.push_back(each);
  }
  return part;
}

/// Adds what a proposal string may leave out, and refuses what cannot be completed.
Status complete(Proposal& proposal, bool aead, WrongWords& wrong) {
  if (!aead && !proposal.has(TransformType::kIntegrity))
    return Error(Reason::kConfigBadValue,
                 "an integrity algorithm, such as sha256, beside a cipher that has none of its own (is not AEAD)");
  if (proposal.protocol == Protocol::kIke) {
    if (!proposal.has(TransformType::kPrf)) {
      std::vector<Transform> derived;
      for (const Transform& each : proposal.transforms)
        if (each.type == TransformType::kIntegrity)
          if (auto prf = prf_for(each);
              prf && wrong.check(*prf, "follows from " + transform_name(each.type, each.id, 0)))
            derived.push_back(*prf);
      if (wrong.any()) return wrong.error();
      if (derived.empty())
        return Error(Reason::kConfigBadValue, "a PRF, such as prfsha384: an IKE proposal with an AEAD needs one");
      proposal.transforms.insert(proposal.transforms.end(), derived.begin(), derived.end());
    }
    if (!proposal.has(TransformType::kKeyExchange))
      return Error(Reason::kConfigBadValue, "a key exchange method, such as x25519: an IKE proposal needs one");
  } else if (!proposal.has(TransformType::kEsn)) {
    proposal.transforms.push_back({TransformType::kEsn, kEsn});
    proposal.transforms.push_back({TransformType::kEsn, kNoEsn});
  }
  return {};
}

constexpr std::array kTypes = {TransformType::kEncryption, TransformType::kPrf, TransformType::kIntegrity,
                               TransformType::kKeyExchange, TransformType::kEsn};

/// Ours (in order of preference) that the other side has as well; nothing when the type is not used on our side.
std::optional<Transform> common(const Proposal& ours, const Proposal& theirs, TransformType type) {
  for (const Transform& each : ours.transforms)
    if (each.type == type &&
        std::find(theirs.transforms.begin(), theirs.transforms.end(), each) != theirs.transforms.end())
      return each;
  return std::nullopt;
}

bool only_none(const Proposal& proposal, TransformType type) {
  return std::all_of(proposal.transforms.begin(), proposal.transforms.end(),
                     [&](const Transform& each) { return each.type != type || each.id == 0; });
}

bool offers_none(const Proposal& proposal, TransformType type) {
  return !proposal.has(type) || std::any_of(proposal.transforms.begin(), proposal.transforms.end(),
                                            [&](const Transform& each) { return each.type == type && each.id == 0; });
}

/// Whether one type of transform meets, and with which transform where one is used.
struct TypeMatch {
  bool meets = false;
  std::optional<Transform> chosen = {};
};

TypeMatch match(const Proposal& ours, const Proposal& theirs, TransformType type, KeyExchangeUse use) {
  if (type == TransformType::kKeyExchange && use == KeyExchangeUse::kIgnored) return {true};
  if (type == TransformType::kEsn && ours.protocol != Protocol::kIke && !theirs.has(type)) {
    // RFC 7296 3.3.2 wants an ESN transform for ESP; a peer that leaves it out means 32-bit numbers.
    const Transform plain{type, kNoEsn};
    if (std::find(ours.transforms.begin(), ours.transforms.end(), plain) == ours.transforms.end()) return {};
    return {true, plain};
  }
  // Without integrity transforms ours is an AEAD: it needs none, whatever the peer offers beside it (RFC 7296 3.3).
  if (!ours.has(type) && type == TransformType::kIntegrity) return {true};
  // Not used on our side: the peer must be content without it.
  if (!ours.has(type)) return {offers_none(theirs, type)};
  const auto both = common(ours, theirs, type);
  return {both.has_value(), both};
}

/// One transform of each type that both have, or nothing.
std::optional<Proposal> match(const Proposal& ours, const Proposal& theirs, KeyExchangeUse use) {
  if (ours.protocol != theirs.protocol) return std::nullopt;
  Proposal chosen{.protocol = ours.protocol};
  for (TransformType type : kTypes) {
    const TypeMatch both = match(ours, theirs, type, use);
    if (!both.meets) return std::nullopt;
    if (both.chosen) chosen.transforms.push_back(*both.chosen);
  }
  return chosen;
}

/// Of a chosen proposal: its weakest part in bits, then its cipher.
std::pair<unsigned, unsigned> strength(const Proposal& chosen) {
  unsigned least = UINT16_MAX, cipher = 0;
  for (const Transform& each : chosen.transforms) {
    const Algorithm* known = row(each);
    if (known == nullptr || known->type == TransformType::kEsn) continue;
    // A weak one is below all others, whatever its size.
    least = std::min<unsigned>(least, known->weak() ? 0U : known->strength_bits);
    if (known->type == TransformType::kEncryption) cipher = known->strength_bits;
  }
  return {least, cipher};
}

}  // namespace

const Transform* Proposal::first(TransformType type) const {
  for (const Transform& each : transforms)
    if (each.type == type) return &each;
  return nullptr;
}

Result<std::vector<Proposal>> parse_proposal(Protocol protocol, std::string_view text,
                                             std::span<const std::string> allow_weak) {
  Proposal all{.protocol = protocol};
  WrongWords wrong(protocol, allow_weak);
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find('-', from), text.size());
    const auto transform = wrong.transform_of(text.substr(from, to - from));
    if (transform && std::find(all.transforms.begin(), all.transforms.end(), *transform) == all.transforms.end())
      all.transforms.push_back(*transform);
    if (all.transforms.size() > kTransformsMax)
      return Error(Reason::kLimitReached, "at most " + std::to_string(kTransformsMax) + " algorithms in a proposal");
    from = to + 1;
  }
  if (wrong.any()) return wrong.error();
  std::vector<Proposal> parts;
  for (bool aead : {true, false}) {
    Proposal part = subset(all, aead);
    if (!part.has(TransformType::kEncryption)) continue;
    TRY(complete(part, aead, wrong), "");
    parts.push_back(std::move(part));
  }
  if (parts.empty()) return Error(Reason::kConfigBadValue, "a cipher, such as aes256gcm16: every proposal needs one");
  // What the user wrote first is preferred.
  const Transform* first = all.first(TransformType::kEncryption);
  if (parts.size() == 2 && !is_aead(*first)) std::swap(parts[0], parts[1]);
  return parts;
}

std::vector<Proposal> with_groups_of(std::span<const Proposal> ike, std::vector<Proposal> proposals) {
  std::vector<Transform> groups;
  for (const Proposal& proposal : ike)
    for (const Transform& each : proposal.transforms)
      if (each.type == TransformType::kKeyExchange && std::find(groups.begin(), groups.end(), each) == groups.end())
        groups.push_back(each);
  for (Proposal& each : proposals)
    if (!each.has(TransformType::kKeyExchange))
      each.transforms.insert(each.transforms.end(), groups.begin(), groups.end());
  return proposals;
}

std::string to_string(const Proposal& proposal) {
  std::string text;
  for (const Transform& each : proposal.transforms) {
    if (!text.empty()) text.push_back('-');
    text.append(transform_name(each.type, each.id, each.key_bits));
  }
  return text;
}

std::string to_string(std::span<const Proposal> proposals) {
  std::string text;
  for (const Proposal& each : proposals) {
    if (!text.empty()) text.append(", ");
    text.append(to_string(each));
  }
  return text;
}

std::vector<std::string> weak_words(std::string_view text) {
  std::vector<std::string> found;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find('-', from), text.size());
    const Algorithm* known = find_algorithm(text.substr(from, to - from));
    if (known != nullptr && known->weak() && std::ranges::find(found, known->name) == found.end())
      found.emplace_back(known->name);
    from = to + 1;
  }
  return found;
}

bool has_integrity_beside_aead(const Proposal& offered) {
  return std::ranges::any_of(
             offered.transforms,
             [](const Transform& each) { return each.type == TransformType::kEncryption && is_aead(each); }) &&
         !only_none(offered, TransformType::kIntegrity);
}

bool types_meet(const Proposal& ours, const Proposal& theirs, TransformType type, KeyExchangeUse use) {
  return match(ours, theirs, type, use).meets;
}

std::optional<ProposalChoice> choose(std::span<const Proposal> configured, std::span<const Proposal> offered,
                                     KeyExchangeUse use) {
  for (const Proposal& ours : configured)
    for (size_t i = 0; i < offered.size(); ++i)
      if (auto chosen = match(ours, offered[i], use)) return ProposalChoice{i, std::move(*chosen)};
  return std::nullopt;
}

std::optional<ProposalChoice> choose_as_offered(std::span<const Proposal> configured, std::span<const Proposal> offered,
                                                KeyExchangeUse use) {
  for (size_t i = 0; i < offered.size(); ++i) {
    std::optional<ProposalChoice> best;
    for (const Proposal& ours : configured)
      if (auto chosen = match(ours, offered[i], use); chosen && (!best || strength(best->chosen) < strength(*chosen)))
        best = ProposalChoice{i, std::move(*chosen)};
    if (best) return best;
  }
  return std::nullopt;
}

Result<Proposal> check_answer(std::span<const Proposal> offered, const Proposal& answer) {
  for (TransformType type : kTypes) {
    const auto count = std::count_if(answer.transforms.begin(), answer.transforms.end(),
                                     [&](const Transform& each) { return each.type == type; });
    if (count > 1) return Error(Reason::kIkeInvalidSyntax, "the answer holds more than one transform of a type");
  }
  for (const Proposal& ours : offered) {
    const KeyExchangeUse use =
        ours.has(TransformType::kKeyExchange) ? KeyExchangeUse::kRequired : KeyExchangeUse::kIgnored;
    if (use == KeyExchangeUse::kIgnored && !only_none(answer, TransformType::kKeyExchange)) continue;
    // An answer holds nothing that was not offered: no integrity transform beside an AEAD but NONE.
    if (!ours.has(TransformType::kIntegrity) && !only_none(answer, TransformType::kIntegrity)) continue;
    if (auto chosen = match(ours, answer, use)) return std::move(*chosen);
  }
  return Error(Reason::kNoProposalChosen,
               "the peer chose " + to_string(answer) + ", which is none of " + to_string(offered));
}

}  // namespace ipsec::policy
