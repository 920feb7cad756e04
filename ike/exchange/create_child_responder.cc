#include <algorithm>

#include "ike/exchange/child.h"
#include "ike/exchange/collision.h"
#include "ike/exchange/create_child.h"
#include "ike/exchange/informational.h"
#include "ike/exchange/room.h"
#include "ike/notify_for_error.h"

namespace ipsec::ike {
namespace {

Established& established_of(IkeSa& sa) { return std::get<Established>(sa.state); }

/// The child that the peer wants to rekey, by the SPI that the peer receives on: our outbound one.
ChildSpi spi_of(const NotifyPayload& rekey) {
  auto spi = ByteReader(rekey.spi).u32();
  return ChildSpi(spi.ok() && rekey.spi.size() == 4 ? *spi : 0);
}

ChildSa* rekeyed_child(Established& established, const NotifyPayload& rekey) {
  const ChildSpi spi = spi_of(rekey);
  ChildSa* found = nullptr;
  for (ChildSa& child : established.children)
    if (child.spec->spi_out == spi && (found == nullptr || found->phase == ChildPhase::kLingering)) found = &child;
  return found;
}

/// Whether an offer is for an IKE SA: so says its first usable proposal, and where there is none, the first one.
bool is_for_ike(const SaPayload& payload) {
  auto decides = std::ranges::find(payload.proposals, false, &WireProposal::unusable);
  if (decides == payload.proposals.end()) decides = payload.proposals.begin();
  return decides != payload.proposals.end() && decides->proposal.protocol == policy::Protocol::kIke;
}

/// The request as values.
struct Asked {
  std::vector<policy::Proposal> offered;
  std::vector<Bytes> spis;
};
Asked read_offer(const SaPayload& payload) {
  Asked asked;
  for (const WireProposal& each : payload.proposals) {
    asked.offered.push_back(each.offered());
    asked.spis.push_back(each.spi);
  }
  return asked;
}

void refuse(EngineCore& core, Instant now, IkeSa& sa, const Message& message, const ChildRefusal& refusal) {
  core.report(sa, refusal.error.reason(),
              {field("peer", to_string(message.path.remote)), field("detail", refusal.error.text())},
              refusal.negotiation);
  answer_create_child(core, now, sa, message,
                      notify(notify_for_error(refusal.error.reason()).value_or(NotifyType::kNoAdditionalSas)));
}

void want_group(EngineCore& core, Instant now, IkeSa& sa, const Message& message, uint16_t group) {
  ByteWriter wanted(2);
  wanted.u16(group);
  core.report(sa, Reason::kInvalidKe,
              {field("guessed", uint64_t{message.payloads.ke ? message.payloads.ke->group : uint16_t{0}}),
               field("chosen", uint64_t{group})});
  answer_create_child(core, now, sa, message, notify(NotifyType::kInvalidKePayload, std::move(wanted).take()));
}

/// The child that the request leads to, with its keys and our half of a key exchange.
Result<std::unique_ptr<PeerExchange>> prepare(EngineCore& core, const IkeSa& sa, const Message& message,
                                              const ChildDecision& decision) {
  const Payloads& request = message.payloads;
  auto peer = std::make_unique<PeerExchange>();
  peer->nonce = core.fresh_nonce();
  Secret shared;
  if (decision.group != 0) {
    TRY_ASSIGN(KeyPair pair, core.crypto.generate(decision.group, core.random), "key pair");
    TRY_ASSIGN(shared, core.crypto.shared_secret(pair, request.ke->public_value), "shared secret");
    peer->group = decision.group;
    peer->public_value = std::move(pair.public_value);
  }
  auto spec = std::make_shared<policy::ChildSpec>(child_spec(sa, *decision.config));
  spec->spi_in = core.spis.next_child_spi();
  spec->spi_out = decision.spi_out;
  spec->suite = decision.suite;
  spec->mode = decision.mode;
  spec->local = decision.local;
  spec->remote = decision.remote;
  const ChildSpi spi = spec->spi_in;
  auto pending = make_pending(core, sa, std::move(spec), request.nonce->nonce, peer->nonce, shared.expose());
  if (!pending.ok()) {
    core.spis.release(spi);
    return std::move(pending).error();
  }
  peer->child = std::move(*pending);
  peer->message_id = message.header.message_id;
  peer->request_hash = datagram_hash(message.datagram);
  peer->path = message.path;
  peer->number = request.sa->proposals[decision.offered_index].number;
  peer->left_out = decision.left_out;
  return peer;
}

using Decided = std::variant<ChildDecision, ChildRefusal>;

/// What the configuration makes of the request; `old` is to be replaced (rekey), or nullptr.
Decided decide(const IkeSa& sa, const Payloads& request, const ChildSa* old) {
  const Asked asked = read_offer(*request.sa);
  return decide_child(*sa.tunnel, {.offered = asked.offered,
                                   .spis = asked.spis,
                                   .ts_i = request.ts_i->selectors,
                                   .ts_r = request.ts_r->selectors,
                                   .wants_transport = request.notify(NotifyType::kUseTransportMode) != nullptr,
                                   .exchange = ChildExchange::kCreateChild,
                                   .replaced = old != nullptr ? old->spec.get() : nullptr});
}

/// Whether a child of this name carries all of this traffic.
bool is_up(const Established& established, const ChildDecision& decision) {
  return std::ranges::any_of(established.children, [&](const ChildSa& each) {
    return each.spec->child == decision.config->name &&
           (each.phase == ChildPhase::kInUse || each.phase == ChildPhase::kAwaitingUse) &&
           policy::all_within(decision.local, each.spec->local) &&
           policy::all_within(decision.remote, each.spec->remote);
  });
}

/// As many children as a peer may have that wants one pair of selectors in each.
uint32_t configured_pairs(const policy::Tunnel& tunnel) {
  size_t pairs = 0;
  for (const policy::ChildConfig& each : tunnel.children) pairs += each.local.size() * each.remote.size();
  return static_cast<uint32_t>(std::min<size_t>(pairs, tunnel.ike_policy->children_max));
}

/// Whether a further child is asked for that is configured and not up. A peer may set up all that it is configured for
/// at once: that has a rate of its own, one of each per second, so that children which come and go are not free.
/// `decided`: what was found out on the way.
bool comes_up(Instant now, IkeSa& sa, const Payloads& request, std::optional<Decided>& decided) {
  Established& established = established_of(sa);
  if (request.notify(NotifyType::kRekeySa) != nullptr || !request.ts_i || !request.ts_r) return false;
  if (!established.comebacks.take(now, configured_pairs(*sa.tunnel))) return false;
  decided = decide(sa, request, nullptr);
  const auto* decision = std::get_if<ChildDecision>(&*decided);
  return decision != nullptr && !is_up(established, *decision);
}

/// Makes the child that was decided on; `old` is replaced by it (rekey), or nullptr.
void negotiate(EngineCore& core, Instant now, IkeSa& sa, const Message& message, ChildSa* old, Decided decided) {
  Established& established = established_of(sa);
  const Payloads& request = message.payloads;
  if (const auto* refusal = std::get_if<ChildRefusal>(&decided)) return refuse(core, now, sa, message, *refusal);
  const ChildDecision& decision = std::get<ChildDecision>(decided);
  if (decision.group != 0 && (!request.ke || request.ke->group != decision.group))
    return want_group(core, now, sa, message, decision.group);
  auto peer = prepare(core, sa, message, decision);
  if (!peer.ok()) return refuse(core, now, sa, message, {std::move(peer).error(), nullptr});
  established.peer = std::move(*peer);
  if (decision.left_out) report_left_out(core, sa, decision);
  PeerExchange& exchange = *established.peer;
  if (old != nullptr) {
    exchange.child.replaces = old->id;
    // RFC 7296 2.8.1: we rekey it as well. Which of the two new ones stands is known when both exchanges are over.
    if (established.own && established.own->task.kind == Task::Kind::kRekeyChild &&
        established.own->task.child == old->id) {
      established.own->rival_nonce = lowest_nonce(request.nonce->nonce, exchange.nonce);
      established.own->rival_child = ChildId(exchange.child.spec->spi_in.value());
    }
  }
  exchange.ask = core.next_ask();
  exchange.deadline = now + kAskTimeout;
  core.snapshot_changed(sa);
  ask_install(core, sa, exchange.child, exchange.ask);
}

/// The response that announces the child of `peer`.
PayloadWriter build_response(const PeerExchange& peer) {
  const policy::ChildSpec& spec = *peer.child.spec;
  PayloadWriter out;
  if (spec.mode == policy::EspMode::kTransport) out.add(notify(NotifyType::kUseTransportMode));
  if (peer.left_out) out.add(notify(NotifyType::kAdditionalTsPossible));
  policy::Proposal chosen = esp_proposal_of(spec.suite);
  if (peer.group != 0) chosen.transforms.push_back({policy::TransformType::kKeyExchange, peer.group});
  ByteWriter spi(4);
  spi.u32(spec.spi_in.value());
  SaPayload answer;
  answer.proposals.push_back({.number = peer.number, .spi = std::move(spi).take(), .proposal = std::move(chosen)});
  out.add(answer);
  out.add(NoncePayload{peer.nonce});
  if (peer.group != 0) out.add(KePayload{peer.group, peer.public_value});
  out.add(PayloadType::kTsI, TsPayload{.selectors = spec.remote});
  out.add(PayloadType::kTsR, TsPayload{.selectors = spec.local});
  return out;
}

/// The peer's rekey is answered: the old child waits for its Delete, the new one for use.
void after_rekey(EngineCore& core, Instant now, IkeSa& sa, ChildId fresh_id, bool redundant) {
  Established& established = established_of(sa);
  ChildSa& fresh = *established.child(fresh_id);
  fresh.until = now + kRekeyGuard;
  if (redundant) {
    fresh.phase = ChildPhase::kRedundant;
    fresh.outbound_key.wipe();
    return;
  }
  ChildSa* old = established.child(*fresh.replaces);
  if (old != nullptr && old->phase == ChildPhase::kClosed)  // closed by us meanwhile
    return close_child(core, now, sa, fresh, Reason::kDeletedByOperator);
  if (old == nullptr || old->phase == ChildPhase::kLingering)
    return use_child(core, now, sa, established.children, fresh_id);
  if (old->phase == ChildPhase::kInUse) {
    old->phase = ChildPhase::kReplaced;
    old->until = now + kRekeyGuard;
  }
  core.act(WatchInbound{sa.id, fresh_id});
}

}  // namespace

void answer_create_child(EngineCore& core, Instant now, IkeSa& sa, const Message& message,
                         const NotifyPayload& notice) {
  PayloadWriter out;
  out.add(notice);
  if (Status sent = core.send_response(now, sa, Exchange::kCreateChildSa, message.header.message_id,
                                       datagram_hash(message.datagram), message.path, out);
      !sent.ok())
    core.count(sent.error().reason());
}

void on_create_child_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  Established& established = established_of(sa);
  const Payloads& request = message.payloads;
  sa.window.expected = message.header.message_id + 1;
  const bool about_ike = is_for_ike(*request.sa);
  std::optional<Decided> decided;
  const bool free = !about_ike && comes_up(now, sa, request, decided);
  if (!free && !core.admission.rekey_allowed(now, established.requests)) {
    core.report(
        sa, Reason::kIkeRekeyRate,
        {field("peer", to_string(message.path.remote)), field("limit", uint64_t{core.options.admission.rekey_rate})});
    return answer_create_child(core, now, sa, message, notify(NotifyType::kTemporaryFailure));
  }
  if (about_ike) return on_rekey_ike_request(core, now, sa, message);
  if (!request.ts_i || !request.ts_r)
    return answer_invalid(core, now, sa, message, Error(Reason::kIkePayloadMissing, "TSi or TSr"));
  const NotifyPayload* rekey = request.notify(NotifyType::kRekeySa);
  ChildSa* old = rekey != nullptr ? rekeyed_child(established, *rekey) : nullptr;
  const RequestVerdict verdict =
      judge_child_request({.we_rekey_ike = established.own && established.own->task.kind == Task::Kind::kRekeyIke,
                           .is_rekey = rekey != nullptr,
                           .rekeyed = old != nullptr ? std::optional(old->phase) : std::nullopt,
                           .being_made = rekey != nullptr && is_being_made(established, spi_of(*rekey))});
  switch (verdict) {
    case RequestVerdict::kProceed: break;
    case RequestVerdict::kTemporaryFailure:
      core.report(sa, Reason::kTemporaryFailure,
                  {field("detail", "a child is asked for while it, or the IKE SA, changes")});
      return answer_create_child(core, now, sa, message, notify(NotifyType::kTemporaryFailure));
    case RequestVerdict::kChildNotFound: {
      // RFC 7296 2.25: the notification names the child as the request did.
      NotifyPayload unknown{.protocol = rekey->protocol, .type = NotifyType::kChildSaNotFound, .spi = rekey->spi};
      core.report(sa, Reason::kChildNotFound, {field("spi", to_hex(rekey->spi))});
      return answer_create_child(core, now, sa, message, unknown);
    }
  }
  if (!make_room_for_peer(core, now, sa, rekey != nullptr ? NewChild::kReplacement : NewChild::kFurther)) {
    core.report(sa, Reason::kChildLimit, {field("limit", uint64_t{sa.tunnel->ike_policy->children_max})});
    return answer_create_child(core, now, sa, message, notify(NotifyType::kNoAdditionalSas));
  }
  if (rekey != nullptr) old = rekeyed_child(established, *rekey);  // making room changes the list
  // A peer that rekeys what it made itself uses it.
  if (old != nullptr && old->phase == ChildPhase::kAwaitingUse) {
    use_child(core, now, sa, established.children, old->id);
    old = rekeyed_child(established, *rekey);
  }
  if (!decided) decided = decide(sa, request, old);
  negotiate(core, now, sa, message, old, std::move(*decided));
}

void on_create_child_too_late(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  // RFC 7296 2.25.2: nothing new in an IKE SA that ends.
  sa.window.expected = message.header.message_id + 1;
  core.report(sa, Reason::kTemporaryFailure, {field("detail", "the IKE SA is being closed or replaced")});
  answer_create_child(core, now, sa, message, notify(NotifyType::kTemporaryFailure));
}

void on_peer_child_installed(EngineCore& core, Instant now, IkeSa& sa) {
  Established& established = established_of(sa);
  const std::unique_ptr<PeerExchange> peer = std::move(established.peer);
  Status sent = core.send_response(now, sa, Exchange::kCreateChildSa, peer->message_id, peer->request_hash, peer->path,
                                   build_response(*peer));
  if (!sent.ok()) return core.destroy(sa, sent.error().reason(), {field("detail", sent.error().text())});
  ChildSa fresh = make_child(core, now, std::move(peer->child));
  const ChildId id = fresh.id;
  const bool rekey = fresh.replaces.has_value();
  established.children.push_back(std::move(fresh));
  if (rekey)
    after_rekey(core, now, sa, id, peer->redundant);
  else
    use_child(core, now, sa, established.children, id);
  core.snapshot_changed(sa);
  serve(core, now, sa);
}

void on_peer_child_refused(EngineCore& core, Instant now, IkeSa& sa, const Error& error) {
  Established& established = established_of(sa);
  const std::unique_ptr<PeerExchange> peer = std::move(established.peer);
  const policy::ChildSpec& spec = *peer->child.spec;
  core.act(RemoveChild{sa.id, ChildId(spec.spi_in.value()), peer->child.spec, error.reason()});
  core.spis.release(spec.spi_in);
  if (established.own && established.own->rival_child.value() == spec.spi_in.value()) {
    established.own->rival_nonce.clear();
    established.own->rival_child = ChildId();
  }
  core.report(sa, error.reason(), {field("child", spec.child), field("detail", error.text())});
  PayloadWriter out;
  out.add(notify(notify_for_error(error.reason()).value_or(NotifyType::kNoAdditionalSas)));
  Status sent =
      core.send_response(now, sa, Exchange::kCreateChildSa, peer->message_id, peer->request_hash, peer->path, out);
  if (!sent.ok()) core.count(sent.error().reason());
  serve(core, now, sa);
}

}  // namespace ipsec::ike
