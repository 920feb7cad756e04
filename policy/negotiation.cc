#include "policy/negotiation.h"

#include <algorithm>
#include <array>

#include "policy/base/bytes.h"
#include "policy/config_reader.h"
#include "policy/name_hints.h"
#include "policy/selector_fit.h"

namespace ipsec::policy {
namespace {

using Row = Explanation::Row;
using Verdict = Explanation::Verdict;

constexpr size_t kShownMax = 512;  // characters of one text of a peer

struct NamedType {
  TransformType type;
  const char* name;
};
constexpr std::array<NamedType, 5> kTypes = {{{TransformType::kEncryption, "encryption"},
                                              {TransformType::kPrf, "PRF"},
                                              {TransformType::kIntegrity, "integrity"},
                                              {TransformType::kKeyExchange, "key exchange"},
                                              {TransformType::kEsn, "sequence numbers"}}};

std::string shown(const std::string& text) { return printable(as_bytes(text), kShownMax); }

std::string in_quotes(const std::string& text) { return "\"" + shown(text) + "\""; }

/// A list as it stands in JSON: ["a", "b"].
std::string json_list(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& each : texts) list.append(list.size() > 1 ? ", " : "").append(in_quotes(each));
  return list + "]";
}

std::string names_of(const Proposal& proposal, TransformType type) {
  std::string names;
  for (const Transform& each : proposal.transforms)
    if (each.type == type)
      names.append(names.empty() ? "" : " ").append(transform_name(each.type, each.id, each.key_bits));
  return names.empty() ? "none" : names;
}

// ---- where things stand in the configuration

const Tunnel* tunnel_of(const Negotiation& negotiation, const Config& config) {
  const auto found = config.tunnels.find(negotiation.tunnel);
  return found == config.tunnels.end() ? nullptr : found->second.get();
}

std::string tunnel_pointer(const Negotiation& negotiation) {
  return negotiation.tunnel.empty() ? "/tunnels" : "/tunnels/" + pointer_part(negotiation.tunnel);
}

std::string child_pointer(const Negotiation& negotiation, const ChildConfig& child) {
  return tunnel_pointer(negotiation) + "/children/" +
         pointer_part(child.split_from.empty() ? child.name : child.split_from);
}

/// The place of one of a policy's proposals, by its contents; the place of the policy's name where it is built in.
template <typename Policy>
std::string proposal_pointer(const std::string& section, const Policy& policy,
                             const std::map<std::string, std::shared_ptr<const Policy>>& known,
                             const std::string& built_in, const Proposal& proposal) {
  if (!known.contains(policy.name)) return built_in;
  const auto at = std::find(policy.proposals.begin(), policy.proposals.end(), proposal) - policy.proposals.begin();
  const auto index =
      static_cast<size_t>(at) < policy.written_at.size() ? policy.written_at[static_cast<size_t>(at)] : 0;
  return section + "/" + policy.name + "/proposals/" + std::to_string(index);
}

const ChildConfig* child_of(const Negotiation& negotiation, const Tunnel* tunnel) {
  if (tunnel == nullptr) return nullptr;
  if (const ChildConfig* named = tunnel->child(negotiation.child)) return named;
  for (const ChildConfig& each : tunnel->children)
    if (each.split_from == negotiation.child && !negotiation.child.empty()) return &each;
  for (const ChildConfig& each : tunnel->children)
    if (each.local == negotiation.configured_local && each.remote == negotiation.configured_remote) return &each;
  return tunnel->children.empty() ? nullptr : &tunnel->children.front();
}

/// The IKE policy that holds this proposal: the tunnel's, else the first one that has it.
const IkePolicy* ike_policy_with(const Proposal& proposal, const Tunnel* tunnel, const Config& config) {
  if (tunnel != nullptr) return tunnel->ike_policy.get();
  for (const auto& [name, policy] : config.ike_policies)
    if (std::find(policy->proposals.begin(), policy->proposals.end(), proposal) != policy->proposals.end())
      return policy.get();
  return nullptr;
}

std::string pointer_of_proposal(const Negotiation& negotiation, const Config& config, const Proposal& ours) {
  const Tunnel* tunnel = tunnel_of(negotiation, config);
  if (negotiation.about == Negotiation::About::kIkeProposal) {
    const IkePolicy* policy = ike_policy_with(ours, tunnel, config);
    const std::string built_in = tunnel != nullptr ? tunnel_pointer(negotiation) + "/ike_policy" : "/ike_policies";
    if (policy == nullptr) return built_in;
    return proposal_pointer("/ike_policies", *policy, config.ike_policies, built_in, ours);
  }
  const ChildConfig* child = child_of(negotiation, tunnel);
  if (child == nullptr) return "/child_policies";
  return proposal_pointer("/child_policies", *child->policy, config.child_policies,
                          child_pointer(negotiation, *child) + "/policy", ours);
}

// ---- proposals

/// An offered transform that can be written into the configuration: one that we have already, else the first strong
/// one, else the first one known.
const Algorithm* writable(const Proposal& offered, const Proposal& ours, TransformType type) {
  const Algorithm *strong = nullptr, *any = nullptr;
  for (const Transform& each : offered.transforms) {
    if (each.type != type) continue;
    const Algorithm* row = find_algorithm(each.type, each.id, each.key_bits);
    if (row == nullptr || (type == TransformType::kIntegrity && each.id == kAuthNone)) continue;
    if (std::find(ours.transforms.begin(), ours.transforms.end(), each) != ours.transforms.end()) return row;
    if (any == nullptr) any = row;
    if (strong == nullptr && !row->weak()) strong = row;
  }
  return strong != nullptr ? strong : any;
}

struct Proposed {
  std::string text;               ///< Empty: nothing that the configuration can hold would match.
  std::vector<std::string> weak;  ///< Must be allowed by name.
};

/// The text that would have matched this offer.
Proposed matching_text(const Proposal& offered, const Proposal& ours, KeyExchangeUse use) {
  Proposed proposed;
  std::string text;
  for (const TransformType type :
       {TransformType::kEncryption, TransformType::kIntegrity, TransformType::kPrf, TransformType::kKeyExchange}) {
    if (type == TransformType::kKeyExchange && use == KeyExchangeUse::kIgnored) continue;
    const Algorithm* row = writable(offered, ours, type);
    if (row == nullptr) continue;
    text.append(text.empty() ? "" : "-").append(row->name);
    if (row->weak()) proposed.weak.emplace_back(row->name);
  }
  const auto parsed = parse_proposal(offered.protocol, text, proposed.weak);
  const std::array<Proposal, 1> alone = {offered};
  if (parsed.ok() && choose(*parsed, alone, use)) proposed.text = std::move(text);
  return proposed;
}

/// The pair of proposals that differ least, ours first in order.
struct Nearest {
  const Proposal* ours = nullptr;
  const Proposal* theirs = nullptr;
};

Nearest nearest_pair(const std::vector<Proposal>& configured, const std::vector<Proposal>& offered,
                     KeyExchangeUse use) {
  Nearest nearest;
  size_t most = 0;
  for (const Proposal& ours : configured)
    for (const Proposal& theirs : offered) {
      size_t met = ours.protocol == theirs.protocol ? 1 : 0;
      for (const NamedType& each : kTypes) met += types_meet(ours, theirs, each.type, use) ? 1 : 0;
      if (nearest.ours != nullptr && met <= most) continue;
      nearest = {&ours, &theirs};
      most = met;
    }
  return nearest;
}

KeyExchangeUse use_of(const Negotiation& negotiation, const std::vector<Proposal>& configured) {
  if (negotiation.about == Negotiation::About::kIkeProposal) return KeyExchangeUse::kRequired;
  const bool has_groups = std::any_of(configured.begin(), configured.end(),
                                      [](const Proposal& each) { return each.has(TransformType::kKeyExchange); });
  // What would have met without PFS failed because of it.
  const bool because_of_it = choose(configured, negotiation.offered, KeyExchangeUse::kIgnored).has_value();
  return has_groups || because_of_it ? KeyExchangeUse::kRequired : KeyExchangeUse::kIgnored;
}

std::vector<Proposal> configured_proposals(const Negotiation& negotiation, const Config& config) {
  if (!negotiation.configured.empty()) return negotiation.configured;
  const Tunnel* tunnel = tunnel_of(negotiation, config);
  if (tunnel == nullptr) return {};
  if (negotiation.about == Negotiation::About::kIkeProposal) return tunnel->ike_policy->proposals;
  const ChildConfig* child = child_of(negotiation, tunnel);
  return child == nullptr ? std::vector<Proposal>{} : child->policy->proposals;
}

std::string advice_for(const Nearest& pair, const Negotiation& negotiation, const std::vector<Proposal>& configured,
                       KeyExchangeUse use) {
  const bool ours_wants_pfs = negotiation.about == Negotiation::About::kChildProposal &&
                              pair.ours->has(TransformType::kKeyExchange) &&
                              !pair.theirs->has(TransformType::kKeyExchange);
  std::string pfs = ours_wants_pfs ? ", with \"pfs\": false and no key exchange method in any proposal" : "";
  const Proposed proposed = matching_text(*pair.theirs, *pair.ours, ours_wants_pfs ? KeyExchangeUse::kIgnored : use);
  if (proposed.text.empty())
    return "nothing that can be configured here would match " + shown(to_string(*pair.theirs)) +
           ": let the peer offer one of " + shown(to_string(configured));
  std::string advice = "write " + in_quotes(proposed.text) + " into the list of proposals" + pfs;
  if (!proposed.weak.empty())
    advice += "; it is weak, so that /defaults/allow_weak must have " + json_list(proposed.weak);
  return advice + "; or let the peer offer " + shown(to_string(*pair.ours));
}

/// IKE_SA_INIT was answered before it was known which tunnel the peer means.
Explanation explain_other_tunnels_choice(const Negotiation& negotiation, const Config& config, const Nearest& pair,
                                         const std::vector<Proposal>& configured) {
  Explanation result;
  result.rows.push_back(
      {"proposals", shown(to_string(negotiation.offered)), shown(to_string(configured)),
       choose(configured, negotiation.offered, KeyExchangeUse::kRequired) ? Verdict::kMeets : Verdict::kDiffers});
  result.rows.push_back(
      {"chosen in IKE_SA_INIT", shown(negotiation.offered_text), shown(to_string(configured)), Verdict::kDiffers});
  result.pointer = pointer_of_proposal(negotiation, config, *pair.ours);
  result.advice = "another tunnel of the same addresses has " + shown(negotiation.offered_text) +
                  ", and IKE_SA_INIT does not tell them apart: give them one IKE policy, write the peer's address as "
                  "\"remote\", or let the peer prefer " +
                  shown(to_string(*pair.ours));
  return result;
}

Explanation explain_proposals(const Negotiation& negotiation, const Config& config) {
  Explanation result;
  const std::vector<Proposal> configured = configured_proposals(negotiation, config);
  if (negotiation.we_offered) {
    const auto& offered = negotiation.offered.empty() ? configured : negotiation.offered;
    for (const Proposal& each : offered)
      result.rows.push_back({"proposal", shown(to_string(each)), "", Verdict::kUnknown});
    if (!offered.empty()) result.pointer = pointer_of_proposal(negotiation, config, offered.front());
    result.advice =
        "the peer did not say what it wants: let it accept one of the proposals here, or write one of its own "
        "into this list; its log names them";
    return result;
  }
  const KeyExchangeUse use = use_of(negotiation, configured);
  const Nearest pair = nearest_pair(configured, negotiation.offered, use);
  if (pair.ours != nullptr && negotiation.about == Negotiation::About::kIkeProposal &&
      !negotiation.offered_text.empty())
    return explain_other_tunnels_choice(negotiation, config, pair, configured);
  if (pair.ours == nullptr) {
    result.pointer = negotiation.about == Negotiation::About::kIkeProposal ? "/ike_policies" : "/child_policies";
    result.advice = negotiation.offered.empty()
                        ? "the peer offered no proposal that could be read"
                        : "no proposal is configured for this peer; it offers " + shown(to_string(negotiation.offered));
    return result;
  }
  for (const NamedType& each : kTypes) {
    if (!pair.ours->has(each.type) && !pair.theirs->has(each.type)) continue;
    if (each.type == TransformType::kKeyExchange && use == KeyExchangeUse::kIgnored) continue;
    const bool meets = types_meet(*pair.ours, *pair.theirs, each.type, use);
    result.rows.push_back({each.name, names_of(*pair.theirs, each.type), names_of(*pair.ours, each.type),
                           meets ? Verdict::kMeets : Verdict::kDiffers});
  }
  result.pointer = pointer_of_proposal(negotiation, config, *pair.ours);
  result.advice = advice_for(pair, negotiation, configured, use);
  return result;
}

// ---- selectors

std::vector<std::string> texts_of(const SelectorList& list) {
  std::vector<std::string> texts;
  for (const TrafficSelector& each : list) texts.push_back(to_string(each));
  return texts;
}

/// How many of an offer's lists a child meets: to find the one that was meant.
size_t lists_met(const ChildConfig& child, const Negotiation& negotiation) {
  return (narrow(child.local, negotiation.offered_local).empty() ? 0U : 1U) +
         (narrow(child.remote, negotiation.offered_remote).empty() ? 0U : 1U);
}

const ChildConfig* meant_child(const Negotiation& negotiation, const Tunnel* tunnel) {
  const ChildConfig* meant = child_of(negotiation, tunnel);
  if (meant == nullptr || !negotiation.child.empty()) return meant;
  for (const ChildConfig& each : tunnel->children)
    if (lists_met(each, negotiation) > lists_met(*meant, negotiation)) meant = &each;
  return meant;
}

void add_count_row(const SelectorPair& configured, const SelectorPair& offered, const ChildConfig& child,
                   Explanation& result) {
  const SelectorPair both{narrow(configured.local, offered.local), narrow(configured.remote, offered.remote)};
  const auto needed = policies_needed(both);
  const size_t allowed = child.policy->policies_max;
  const std::string found = needed.ok() ? std::to_string(*needed) : shown(needed.error().detail());
  if (needed.ok() && *needed == 0) {
    result.rows.push_back({"one family and protocol", "none that both lists have", "", Verdict::kDiffers});
    return;
  }
  const bool fits = needed.ok() && *needed <= allowed;
  result.rows.push_back(
      {"kernel policies", found, "at most " + std::to_string(allowed), fits ? Verdict::kMeets : Verdict::kDiffers});
}

void advise_on_selectors(const Negotiation& negotiation, const ChildConfig& child, Explanation& result) {
  const std::string at = child_pointer(negotiation, child);
  const Row* first = nullptr;
  for (const Row& each : result.rows)
    if (first == nullptr && each.verdict == Verdict::kDiffers) first = &each;
  if (first == nullptr) {
    result.pointer = at;
    result.advice = child.policy->single_pair
                        ? "let the peer ask for one pair of addresses, or set \"single_pair\": false in child policy " +
                              child.policy->name
                        : "both lists meet now: the configuration has changed since, or the peer may try again";
  } else if (first->what == "kernel policies") {
    result.pointer = "/child_policies/" + child.policy->name + "/policies_max";
    result.advice = "write a higher number here, or let the peer offer prefixes and fewer ranges of ports";
  } else if (first->what == "remote selectors") {
    result.pointer = at + "/remote";
    result.advice = "write " + json_list(texts_of(negotiation.offered_remote)) +
                    " here, or let the peer offer a part of " + first->configured;
  } else {
    result.pointer = at + "/local";
    result.advice = "write " + json_list(texts_of(negotiation.offered_local)) +
                    " here, or let the peer offer a part of " + first->configured;
  }
}

Explanation explain_selectors(const Negotiation& negotiation, const Config& config) {
  Explanation result;
  const ChildConfig* child = meant_child(negotiation, tunnel_of(negotiation, config));
  const SelectorPair offered{negotiation.offered_local, negotiation.offered_remote};
  if (negotiation.we_offered) {
    result.rows.push_back({"local selectors", to_string(offered.local), "", Verdict::kUnknown});
    result.rows.push_back({"remote selectors", to_string(offered.remote), "", Verdict::kUnknown});
    result.pointer = child == nullptr ? tunnel_pointer(negotiation) : child_pointer(negotiation, *child);
    result.advice = "the peer has no child for these: at its side \"local\" must allow " + to_string(offered.remote) +
                    " and \"remote\" " + to_string(offered.local) + "; or change them here to what it has";
    return result;
  }
  const bool named = !negotiation.child.empty() || child == nullptr;
  const SelectorPair configured{named ? negotiation.configured_local : child->local,
                                named ? negotiation.configured_remote : child->remote};
  auto row = [&](const char* what, const SelectorList& theirs, const SelectorList& ours) {
    const bool meets = !narrow(ours, theirs).empty();
    result.rows.push_back({what, to_string(theirs), to_string(ours), meets ? Verdict::kMeets : Verdict::kDiffers});
    return meets;
  };
  const bool local = row("local selectors", offered.local, configured.local);
  const bool remote = row("remote selectors", offered.remote, configured.remote);
  if (child == nullptr) {
    result.pointer = tunnel_pointer(negotiation);
    result.advice = "no child is configured that could carry this";
    return result;
  }
  if (local && remote) add_count_row(configured, offered, *child, result);
  advise_on_selectors(negotiation, *child, result);
  return result;
}

// ---- mode, identity, authentication

Explanation explain_mode(const Negotiation& negotiation, const Config& config) {
  Explanation result;
  const ChildConfig* child = child_of(negotiation, tunnel_of(negotiation, config));
  result.rows.push_back(
      {"mode", shown(negotiation.offered_text), shown(negotiation.configured_text),
       negotiation.offered_text == negotiation.configured_text ? Verdict::kMeets : Verdict::kDiffers});
  result.pointer = child == nullptr ? "/child_policies" : "/child_policies/" + child->policy->name + "/mode";
  result.advice = "let the peer use " + shown(negotiation.configured_text) + " mode, or write " +
                  in_quotes(negotiation.offered_text) + " here where this version serves it";
  return result;
}

std::string expected_id(const Tunnel& tunnel) {
  if (tunnel.remote_id) return to_string(*tunnel.remote_id);
  return tunnel.remote ? to_string(*tunnel.remote) : "";
}

/// The tunnel whose peer has the name that is most like this one.
const Tunnel* tunnel_like(const std::string& identity, const Config& config) {
  NameHints hints;
  const std::string best =
      hints.nearest(identity, config.tunnels, [](const auto& each) { return expected_id(*each.second); });
  for (const auto& [name, tunnel] : config.tunnels)
    if (!best.empty() && expected_id(*tunnel) == best) return tunnel.get();
  return nullptr;
}

Explanation explain_identity(const Negotiation& negotiation, const Config& config) {
  Explanation result;
  const Tunnel* tunnel = tunnel_of(negotiation, config);
  const bool guessed = tunnel == nullptr;
  if (guessed) tunnel = tunnel_like(negotiation.offered_text, config);
  std::string ours = negotiation.configured_text;
  if (ours.empty() && tunnel != nullptr) ours = expected_id(*tunnel);
  const bool meets = !ours.empty() && ours == negotiation.offered_text;
  result.rows.push_back(
      {"peer's identity", shown(negotiation.offered_text), shown(ours), meets ? Verdict::kMeets : Verdict::kDiffers});
  std::string local = negotiation.configured_local_text;
  if (local.empty() && tunnel != nullptr) local = to_string(tunnel->local_id);
  const bool local_asked = !negotiation.offered_local_text.empty();
  if (local_asked)
    result.rows.push_back({"our identity", shown(negotiation.offered_local_text), shown(local),
                           local == negotiation.offered_local_text ? Verdict::kMeets : Verdict::kDiffers});
  if (tunnel == nullptr) {
    result.pointer = "/tunnels";
    result.advice =
        "add a tunnel with \"remote_id\": " + in_quotes(negotiation.offered_text) + ", if this peer is to be let in";
  } else if (meets && local_asked && local != negotiation.offered_local_text) {
    result.pointer = "/tunnels/" + tunnel->name + "/local_id";
    result.advice =
        "write " + in_quotes(negotiation.offered_local_text) + " here, or let the peer ask for " + in_quotes(local);
  } else {
    result.pointer = "/tunnels/" + tunnel->name + "/remote_id";
    result.advice = (guessed ? "if this is the peer of tunnel " + tunnel->name + ", write " : std::string("write ")) +
                    in_quotes(negotiation.offered_text) + " here, or let the peer call itself " + in_quotes(ours);
  }
  return result;
}

Explanation explain_authentication(const Negotiation& negotiation, const Config& config) {
  Explanation result;
  const Tunnel* tunnel = tunnel_of(negotiation, config);
  const bool same = negotiation.offered_text == negotiation.configured_text;
  const bool known = !negotiation.we_offered && !negotiation.configured_text.empty();
  result.rows.push_back({"authentication", shown(negotiation.offered_text),
                         negotiation.we_offered ? "" : shown(negotiation.configured_text),
                         !known ? Verdict::kUnknown
                         : same ? Verdict::kMeets
                                : Verdict::kDiffers});
  result.pointer = tunnel_pointer(negotiation) + (tunnel == nullptr ? "" : "/credential");
  if (known && !same) {
    result.advice = "let the peer use " + shown(negotiation.configured_text) +
                    ", or name a credential here that goes with " + shown(negotiation.offered_text);
    return result;
  }
  result.rows.push_back({"proof", "was refused", "", negotiation.we_offered ? Verdict::kUnknown : Verdict::kDiffers});
  if (tunnel != nullptr && tunnel->credential) {
    result.pointer = "/credentials/" + tunnel->credential->name + "/psk/file";
    result.advice = "the method is the same and the keys differ: compare the file " +
                    in_quotes(tunnel->credential->psk_file) +
                    " with the key of the peer, also for a line feed at its end";
  } else {
    result.advice = "compare the keys of both sides";
  }
  return result;
}

Explanation compare(const Negotiation& negotiation, const Config& config) {
  switch (negotiation.about) {
    case Negotiation::About::kIkeProposal:
    case Negotiation::About::kChildProposal: return explain_proposals(negotiation, config);
    case Negotiation::About::kSelectors: return explain_selectors(negotiation, config);
    case Negotiation::About::kMode: return explain_mode(negotiation, config);
    case Negotiation::About::kIdentity: return explain_identity(negotiation, config);
    case Negotiation::About::kAuthentication: return explain_authentication(negotiation, config);
  }
  return {};
}

}  // namespace

Explanation explain(const Negotiation& negotiation, const Config& config) {
  Explanation result = compare(negotiation, config);
  for (size_t i = 0; i < result.rows.size() && !result.first_mismatch; ++i)
    if (result.rows[i].verdict == Verdict::kDiffers) result.first_mismatch = i;
  return result;
}

std::string_view to_string(Explanation::Verdict verdict) {
  switch (verdict) {
    case Verdict::kMeets: return "matches";
    case Verdict::kDiffers: return "differs";
    case Verdict::kUnknown: return "unknown";
  }
  return {};
}

}  // namespace ipsec::policy
