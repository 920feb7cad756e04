#include "ike/exchange/child.h"

#include <algorithm>
#include <array>

#include "ike/notify_for_error.h"
#include "policy/selector_fit.h"

namespace ipsec::ike {
namespace {

constexpr uint32_t kReservedSpiMax = 255;
constexpr size_t kNarrowingsMax = 4;  ///< Children whose answer is worked out in full, and does not fit, per request.

policy::SelectorList all_of(const policy::Tunnel& tunnel, policy::SelectorList policy::ChildConfig::*side,
                            std::string_view only) {
  policy::SelectorList all;
  for (const policy::ChildConfig& child : tunnel.children)
    if (only.empty() || child.name == only) all.insert(all.end(), (child.*side).begin(), (child.*side).end());
  return all;
}

policy::Negotiation record(const policy::Tunnel& tunnel, policy::Negotiation::About about) {
  policy::Negotiation negotiation;
  negotiation.about = about;
  negotiation.tunnel = tunnel.name;
  return negotiation;
}

ChildRefusal refusal(Error error, policy::Negotiation negotiation) {
  return {std::move(error), std::make_shared<const policy::Negotiation>(std::move(negotiation))};
}

/// `only`: the name of the one child that is in question, or empty.
policy::Negotiation about_selectors(const policy::Tunnel& tunnel, const ChildRequest& request,
                                    const std::string& only) {
  policy::Negotiation about = record(tunnel, policy::Negotiation::About::kSelectors);
  about.child = only;
  about.offered_local = request.ts_r;
  about.offered_remote = request.ts_i;
  about.configured_local = all_of(tunnel, &policy::ChildConfig::local, only);
  about.configured_remote = all_of(tunnel, &policy::ChildConfig::remote, only);
  return about;
}

ChildRefusal selectors_do_not_fit(const policy::Tunnel& tunnel, const policy::ChildConfig& child,
                                  const ChildRequest& request, Error error) {
  return refusal(std::move(error), about_selectors(tunnel, request, child.name));
}

ChildRefusal selectors_do_not_meet(const policy::Tunnel& tunnel, const ChildRequest& request) {
  policy::Negotiation about =
      about_selectors(tunnel, request, request.replaced != nullptr ? request.replaced->child : std::string());
  Error error(Reason::kTsUnacceptable, "offered local " + policy::to_string(request.ts_r) + " remote " +
                                           policy::to_string(request.ts_i) + "; configured local " +
                                           policy::to_string(about.configured_local) + " remote " +
                                           policy::to_string(about.configured_remote));
  return refusal(std::move(error), std::move(about));
}

/// AH and nothing else: no setting of ours could meet it.
bool offers_only_ah(const ChildRequest& request) {
  return std::ranges::all_of(request.offered, [](const auto& each) { return each.protocol == policy::Protocol::kAh; });
}

/// What of one configured child's ESP settings does not meet the offer.
ChildRefusal proposals_do_not_meet(const policy::Tunnel& tunnel, const policy::ChildConfig& child,
                                   const ChildRequest& request, std::vector<policy::Proposal> configured) {
  policy::Negotiation about = record(tunnel, policy::Negotiation::About::kChildProposal);
  about.child = child.name;
  about.offered = request.offered;
  const bool without_groups = policy::choose(configured, request.offered, policy::KeyExchangeUse::kIgnored).has_value();
  const bool lacks_group =
      child.policy->pfs_required && std::ranges::none_of(request.offered, [](const policy::Proposal& each) {
        return each.has(policy::TransformType::kKeyExchange);
      });
  const Reason reason = offers_only_ah(request)         ? Reason::kProtocolNotServed
                        : without_groups && lacks_group ? Reason::kPfsRequired
                        : without_groups                ? Reason::kPfsMismatch
                                                        : Reason::kNoProposalChosen;
  Error error(reason,
              "offered " + policy::to_string(request.offered) + "; configured " + policy::to_string(configured));
  about.configured = std::move(configured);
  return refusal(std::move(error), std::move(about));
}

ChildRefusal modes_do_not_meet(const policy::Tunnel& tunnel, const policy::ChildConfig& child) {
  policy::Negotiation about = record(tunnel, policy::Negotiation::About::kMode);
  about.child = child.name;
  about.offered_text = "tunnel";
  about.configured_text = "transport";
  return refusal(Error(Reason::kModeMismatch, "transport mode is configured, tunnel mode was requested"),
                 std::move(about));
}

/// Whether all traffic of `narrow` is allowed by these two lists.
bool is_within(const policy::ChildSpec& narrow, const policy::SelectorList& local, const policy::SelectorList& remote) {
  return policy::all_within(narrow.local, local) && policy::all_within(narrow.remote, remote);
}

/// What the answer to a request has of a child's traffic.
Result<policy::SelectedTraffic> select_traffic(const policy::ChildConfig& child, const ChildRequest& request) {
  auto selected = policy::select_traffic(child, {request.ts_r, request.ts_i});
  const policy::ChildSpec* old = request.replaced;
  if (old == nullptr || !is_within(*old, request.ts_r, request.ts_i) || !is_within(*old, child.local, child.remote))
    return selected;
  // RFC 7296 2.9.2: no narrower than before, also where the limit on policies let only some of an offer in.
  if (selected.ok() && is_within(*old, selected->local, selected->remote)) return selected;
  return policy::SelectedTraffic{{old->local, old->remote}, false};
}

/// How well a child fits an offer: exactly, with room to spare, or in part at most.
constexpr size_t kFits = 3;
size_t fit_of(const policy::ChildConfig& child, const ChildRequest& request, size_t& pieces_left) {
  auto within = [&](const policy::SelectorList& inner, const policy::SelectorList& outer) {
    return policy::all_within(inner, outer, pieces_left);
  };
  if (!within(request.ts_r, child.local) || !within(request.ts_i, child.remote)) return 2;
  return within(child.local, request.ts_r) && within(child.remote, request.ts_i) ? 0 : 1;
}

/// The children of a tunnel that may answer a request. Where one lies within the other, as ports of a network beside
/// the network, the peer means the one that it names whole: another one would be narrowed to what is not asked for.
std::vector<const policy::ChildConfig*> candidates(const policy::Tunnel& tunnel, const ChildRequest& request) {
  if (request.replaced != nullptr) {
    const policy::ChildConfig* same = tunnel.child(request.replaced->child);
    return same != nullptr ? std::vector{same} : std::vector<const policy::ChildConfig*>{};
  }
  if (tunnel.children.size() == 1) return {&tunnel.children.front()};
  std::array<std::vector<const policy::ChildConfig*>, kFits> by_fit;
  size_t pieces_left = policy::kCoverPiecesMax;
  for (const policy::ChildConfig& child : tunnel.children)
    by_fit[fit_of(child, request, pieces_left)].push_back(&child);
  std::vector<const policy::ChildConfig*> children;
  for (const auto& each : by_fit) children.insert(children.end(), each.begin(), each.end());
  return children;
}

uint16_t group_of(const policy::Proposal& chosen) {
  const policy::Transform* group = chosen.first(policy::TransformType::kKeyExchange);
  return group != nullptr ? group->id : uint16_t{0};
}

}  // namespace

std::string hex(ChildSpi spi) {
  ByteWriter out(4);
  out.u32(spi.value());
  return to_hex(out.view());
}

std::vector<policy::Proposal> esp_offer(const policy::ChildPolicy& policy, ChildExchange exchange) {
  std::vector<policy::Proposal> offer = policy.proposals;
  if (exchange == ChildExchange::kCreateChild && policy.pfs) return offer;
  for (policy::Proposal& each : offer)
    std::erase_if(each.transforms, [](const policy::Transform& transform) {
      return transform.type == policy::TransformType::kKeyExchange;
    });
  return offer;
}

Result<policy::EspSuite> esp_suite_of(const policy::Proposal& chosen) {
  const policy::Transform* cipher = chosen.first(policy::TransformType::kEncryption);
  if (cipher == nullptr) return Error(Reason::kNoProposalChosen, "an ESP proposal without a cipher");
  const policy::Transform* integrity = chosen.first(policy::TransformType::kIntegrity);
  const policy::Transform* esn = chosen.first(policy::TransformType::kEsn);
  return policy::EspSuite{.encryption = cipher->id,
                          .key_bits = cipher->key_bits,
                          .integrity = integrity != nullptr ? integrity->id : uint16_t{policy::kAuthNone},
                          .esn = esn != nullptr && esn->id == policy::kEsn};
}

policy::Proposal esp_proposal_of(const policy::EspSuite& suite) {
  policy::Proposal proposal{.protocol = policy::Protocol::kEsp};
  proposal.transforms.reserve(3);
  proposal.transforms.push_back({policy::TransformType::kEncryption, suite.encryption, suite.key_bits});
  if (suite.integrity != policy::kAuthNone)
    proposal.transforms.push_back({policy::TransformType::kIntegrity, suite.integrity});
  proposal.transforms.push_back({policy::TransformType::kEsn, uint16_t{suite.esn ? policy::kEsn : policy::kNoEsn}});
  return proposal;
}

Result<ChildSpi> parse_esp_spi(ByteView spi) {
  ByteReader reader(spi);
  TRY_ASSIGN(const uint32_t value, reader.u32(), "ESP SPI");
  TRY(reader.expect_done(), "ESP SPI");
  if (value <= kReservedSpiMax) return Error(Reason::kIkeInvalidSyntax, "ESP SPI in the reserved range");
  return ChildSpi(value);
}

namespace {

/// Why a child whose traffic meets the offer is not the answer.
struct Miss {
  enum class What : uint8_t { kProposals, kMode, kSelectors };
  const policy::ChildConfig* child = nullptr;
  What what = What::kProposals;
  std::optional<Error> error;  ///< kSelectors.
};

/// The proposals of the tunnel's children against the offer: children share policies, so each is compared once.
class Choices {
 public:
  Choices(const policy::Tunnel& tunnel, const ChildRequest& request)
      : tunnel_(tunnel), request_(request), offered_(request.offered) {
    // A proposal whose SPI nobody could send to keeps its place and matches nothing; others may be good.
    for (size_t i = 0; i < offered_.size(); ++i)
      if (!parse_esp_spi(request.spis[i]).ok()) offered_[i] = {.protocol = policy::Protocol::kNone};
  }
  const std::optional<policy::ProposalChoice>& of(const policy::ChildPolicy& policy) {
    for (const auto& [known, choice] : made_)
      if (known == &policy) return choice;
    const auto use = request_.exchange == ChildExchange::kIkeAuth ? policy::KeyExchangeUse::kIgnored
                                                                  : policy::KeyExchangeUse::kRequired;
    auto choice = policy::choose(esp_offer(policy, request_.exchange), offered_, use);
    if (!choice && use == policy::KeyExchangeUse::kRequired && !policy.pfs && policy.pfs_if_wanted)
      choice = policy::choose(policy::with_groups_of(tunnel_.ike_policy->proposals, policy.proposals), offered_, use);
    made_.emplace_back(&policy, std::move(choice));
    return made_.back().second;
  }

 private:
  const policy::Tunnel& tunnel_;
  const ChildRequest& request_;
  std::vector<policy::Proposal> offered_;
  std::vector<std::pair<const policy::ChildPolicy*, std::optional<policy::ProposalChoice>>> made_;
};

ChildRefusal refusal_of(const policy::Tunnel& tunnel, const ChildRequest& request, Miss miss) {
  switch (miss.what) {
    case Miss::What::kProposals:
      return proposals_do_not_meet(tunnel, *miss.child, request, esp_offer(*miss.child->policy, request.exchange));
    case Miss::What::kMode: return modes_do_not_meet(tunnel, *miss.child);
    case Miss::What::kSelectors: break;
  }
  return selectors_do_not_fit(tunnel, *miss.child, request, std::move(*miss.error));
}

std::variant<ChildDecision, ChildRefusal> accept_child(const policy::ChildConfig& child, const ChildRequest& request,
                                                       const policy::ProposalChoice& choice,
                                                       policy::SelectedTraffic selected) {
  ChildDecision decision{.config = &child,
                         .offered_index = choice.offered_index,
                         .chosen = choice.chosen,
                         .group = group_of(choice.chosen),
                         .mode = child.policy->mode,
                         .local = std::move(selected.local),
                         .remote = std::move(selected.remote),
                         .left_out = selected.left_out};
  auto suite = esp_suite_of(choice.chosen);
  if (!suite.ok()) return ChildRefusal{std::move(suite).error(), nullptr};
  auto spi_out = parse_esp_spi(request.spis[choice.offered_index]);
  if (!spi_out.ok()) return ChildRefusal{std::move(spi_out).error(), nullptr};
  decision.suite = *suite;
  decision.spi_out = *spi_out;
  return decision;
}

}  // namespace

std::variant<ChildDecision, ChildRefusal> decide_child(const policy::Tunnel& tunnel, const ChildRequest& request) {
  // A list has at least one selector, so an empty one lost all of them to types that are not known.
  if (request.ts_i.empty() || request.ts_r.empty())
    return refusal(Error(Reason::kSelectorType, "no range of IPv4 or IPv6 addresses"),
                   about_selectors(tunnel, request, {}));
  // What is cheap comes first: the peer decides how much there is to compare, and for how many children.
  const policy::SelectorPair offered{request.ts_r, request.ts_i};
  Choices choices(tunnel, request);
  size_t narrowings_left = kNarrowingsMax;
  std::optional<Miss> miss;
  for (const policy::ChildConfig* child : candidates(tunnel, request)) {
    if (narrowings_left == 0 || !policy::traffic_meets(*child, offered)) continue;
    const auto& choice = choices.of(*child->policy);
    if (!choice) {
      miss = Miss{.child = child, .what = Miss::What::kProposals};
      continue;
    }
    // RFC 7296 1.3.1: the initiator asks for transport mode; a responder may decline it, but cannot demand it.
    if (child->policy->mode == policy::EspMode::kTransport && !request.wants_transport) {
      miss = Miss{.child = child, .what = Miss::What::kMode};
      continue;
    }
    auto selected = select_traffic(*child, request);
    if (selected.ok()) return accept_child(*child, request, *choice, std::move(*selected));
    --narrowings_left;
    if (selected.error().reason() != Reason::kTsUnacceptable)
      miss = Miss{.child = child, .what = Miss::What::kSelectors, .error = std::move(selected).error()};
  }
  if (miss) return refusal_of(tunnel, request, std::move(*miss));
  return selectors_do_not_meet(tunnel, request);
}

void report_left_out(EngineCore& core, const IkeSa& sa, const ChildDecision& decision) {
  core.report(sa, Reason::kSelectorsLeftOut,
              {field("child", decision.config->name), field("kept_local", uint64_t{decision.local.size()}),
               field("kept_remote", uint64_t{decision.remote.size()}), field("per_list", uint64_t{kSelectorsMax}),
               field("policies_max", uint64_t{decision.config->policy->policies_max})});
}

policy::SelectorList offered_selectors(const policy::SelectorList& trigger, const policy::SelectorList& wanted) {
  policy::SelectorList all = trigger;
  all.insert(all.end(), wanted.begin(), wanted.end());
  if (all.size() > kSelectorsMax) all.resize(kSelectorsMax);
  return all;
}

void add_offer(PayloadWriter& out, const std::vector<policy::Proposal>& offered, ChildSpi spi_in) {
  SaPayload offer;
  for (const policy::Proposal& each : offered) {
    ByteWriter spi(4);
    spi.u32(spi_in.value());
    offer.proposals.push_back(
        {.number = static_cast<uint8_t>(offer.proposals.size() + 1), .spi = std::move(spi).take(), .proposal = each});
  }
  out.add(offer);
}

namespace {

/// What the peer was offered when it refused.
ChildRefusal refused_by_peer(const ChildAnswer& answer, Error error) {
  const bool selectors = error.reason() == Reason::kTsUnacceptable || error.reason() == Reason::kSinglePairRequired ||
                         error.reason() == Reason::kSelectorType;
  policy::Negotiation about = record(
      answer.tunnel, selectors ? policy::Negotiation::About::kSelectors : policy::Negotiation::About::kChildProposal);
  about.we_offered = true;
  about.child = answer.config.name;
  about.offered = answer.offered;
  about.offered_local = answer.offered_local;
  about.offered_remote = answer.offered_remote;
  return refusal(std::move(error), std::move(about));
}

Result<ChildAccepted> accept_answer(const ChildAnswer& given) {
  const Payloads& answer = given.answer;
  if (const NotifyPayload* error = answer.first_error())
    return Error(reason_for_notify(error->type), "the peer refused the child: " + name(error->type));
  if (!answer.sa || !answer.ts_i || !answer.ts_r)
    return Error(Reason::kIkePayloadMissing, "no SA or TS in the response");
  if (answer.sa->proposals.size() != 1 || answer.sa->proposals[0].unusable)
    return Error(Reason::kIkeInvalidSyntax, "not exactly one usable proposal");
  ChildAccepted accepted;
  const auto has_group = [](const policy::Proposal& each) { return each.has(policy::TransformType::kKeyExchange); };
  if (given.config.policy->pfs_required && std::ranges::any_of(given.offered, has_group) &&
      !has_group(answer.sa->proposals[0].proposal))
    return Error(Reason::kPfsRequired, "the peer chose " + policy::to_string(answer.sa->proposals[0].proposal));
  TRY_ASSIGN(const policy::Proposal chosen, policy::check_answer(given.offered, answer.sa->proposals[0].proposal), "");
  TRY_ASSIGN(accepted.suite, esp_suite_of(chosen), "");
  TRY_ASSIGN(accepted.spi_out, parse_esp_spi(answer.sa->proposals[0].spi), "");
  accepted.group = group_of(chosen);
  // RFC 7296 2.9: the answer may only be a subset of what was offered.
  if (answer.ts_i->selectors.empty() || answer.ts_r->selectors.empty())
    return Error(Reason::kSelectorType, "no range of IPv4 or IPv6 addresses in the response");
  if (!policy::all_within(answer.ts_i->selectors, given.offered_local) ||
      !policy::all_within(answer.ts_r->selectors, given.offered_remote))
    return Error(Reason::kTsUnacceptable, "answered local " + policy::to_string(answer.ts_i->selectors) + " remote " +
                                              policy::to_string(answer.ts_r->selectors) + "; offered local " +
                                              policy::to_string(given.offered_local) + " remote " +
                                              policy::to_string(given.offered_remote));
  if (given.replaced != nullptr && !is_within(*given.replaced, answer.ts_i->selectors, answer.ts_r->selectors))
    return Error(Reason::kTsUnacceptable,
                 "answered local " + policy::to_string(answer.ts_i->selectors) + " remote " +
                     policy::to_string(answer.ts_r->selectors) + ": narrower than the child that is rekeyed, local " +
                     policy::to_string(given.replaced->local) + " remote " + policy::to_string(given.replaced->remote));
  accepted.mode = given.config.policy->mode;
  const bool transport = answer.notify(NotifyType::kUseTransportMode) != nullptr;
  if (transport != (accepted.mode == policy::EspMode::kTransport))
    return Error(Reason::kModeMismatch, std::string(policy::to_string(accepted.mode)) + " mode was offered");
  return accepted;
}

}  // namespace

std::variant<ChildAccepted, ChildRefusal> read_child_answer(const ChildAnswer& answer) {
  auto accepted = accept_answer(answer);
  if (accepted.ok()) return std::move(*accepted);
  return refused_by_peer(answer, std::move(accepted).error());
}

policy::ChildSpec child_spec(const IkeSa& sa, const policy::ChildConfig& config) {
  policy::ChildSpec spec;
  spec.tunnel = sa.tunnel;
  spec.child = config.name;
  spec.mode = config.policy->mode;
  spec.local_endpoint = sa.path.local;
  spec.remote_endpoint = sa.path.remote;
  spec.udp_encapsulation = sa.nat_local || sa.nat_remote;
  return spec;
}

Result<PendingChild> make_pending(EngineCore& core, const IkeSa& sa, std::shared_ptr<const policy::ChildSpec> spec,
                                  ByteView ni, ByteView nr, ByteView shared) {
  TRY_ASSIGN(auto pair, sa.keys()->child_keys(core.crypto, spec->suite, ni, nr, shared), "child keys");
  PendingChild pending{.spec = std::move(spec)};
  // RFC 7296 2.17: the first part of KEYMAT protects what the initiator of the exchange sends.
  if (pending.spec->initiator) std::swap(pair.initiator_to_responder, pair.responder_to_initiator);
  pending.key_in = std::move(pair.initiator_to_responder);
  pending.key_out = std::move(pair.responder_to_initiator);
  return pending;
}

void ask_install(EngineCore& core, const IkeSa& sa, const PendingChild& child, AskId ask) {
  core.act(InstallInbound{
      ask, sa.id, ChildId(child.spec->spi_in.value()), child.replaces, child.spec, {child.key_in.clone()}});
}

ChildSa make_child(EngineCore& core, Instant now, PendingChild pending) {
  const policy::ChildConfig* config = pending.spec->tunnel->child(pending.spec->child);
  const policy::ChildPolicy& policy = *config->policy;
  ChildSa child{.id = ChildId(pending.spec->spi_in.value()),
                .spec = std::move(pending.spec),
                .phase = ChildPhase::kAwaitingUse,
                .until = now + policy.lifetime,
                .replaces = pending.replaces,
                .outbound_key = std::move(pending.key_out)};
  if (policy.rekey.enabled) child.rekey_at = now + core.soft_lifetime(policy.lifetime, policy.rekey);
  return child;
}

void use_child(EngineCore& core, Instant now, IkeSa& sa, std::vector<ChildSa>& children, ChildId id) {
  auto find = [&](ChildId wanted) {
    return std::find_if(children.begin(), children.end(), [&](const ChildSa& each) { return each.id == wanted; });
  };
  ChildSa& child = *find(id);
  VERIFY(child.phase == ChildPhase::kAwaitingUse);
  auto old = child.replaces ? find(*child.replaces) : children.end();
  const bool moves = old != children.end();
  child.phase = ChildPhase::kInUse;
  child.outbound = true;
  const policy::ChildPolicy& policy = *child.spec->tunnel->child(child.spec->child)->policy;
  child.until = now + policy.lifetime;
  core.act(
      InstallOutbound{sa.id, id, moves ? child.replaces : std::nullopt, child.spec, {std::move(child.outbound_key)}});
  child.outbound_key = Secret();
  std::vector<Field> fields{field("child", child.spec->child),
                            field("local", policy::to_string(child.spec->local)),
                            field("remote", policy::to_string(child.spec->remote)),
                            field("spi_in", hex(child.spec->spi_in)),
                            field("spi_out", hex(child.spec->spi_out)),
                            field("proposal", policy::to_string(child.spec->suite))};
  if (child.replaces) fields.push_back(field("old_spi_in", hex(ChildSpi(child.replaces->value()))));
  core.report(sa, child.replaces ? Reason::kChildRekeyed : Reason::kChildEstablished, std::move(fields));
  if (!moves || !old->outbound) return;
  old->outbound = false;
  if (old->phase == ChildPhase::kInUse) old->phase = ChildPhase::kReplaced;
  core.act(StopOutbound{sa.id, old->id, old->spec});
}

}  // namespace ipsec::ike
