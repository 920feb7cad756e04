#include <algorithm>

#include "ike/exchange/collision.h"
#include "ike/exchange/create_child.h"
#include "ike/exchange/informational.h"
#include "ike/notify_for_error.h"

namespace ipsec::ike {
namespace {

Established& established_of(IkeSa& sa) { return std::get<Established>(sa.state); }

Bytes spi_bytes(IkeSpi spi) {
  ByteWriter out(8);
  out.u64(spi.value());
  return std::move(out).take();
}

/// The SPI of the peer's half of the new IKE SA (RFC 7296 3.3.1: eight bytes).
Result<IkeSpi> parse_ike_spi(ByteView spi) {
  ByteReader reader(spi);
  TRY_ASSIGN(const uint64_t value, reader.u64(), "IKE SPI");
  TRY(reader.expect_done(), "IKE SPI");
  if (value == 0) return Error(Reason::kIkeInvalidSyntax, "IKE SPI of zero");
  return IkeSpi(value);
}

/// What a new IKE SA is made from; nonces and SPIs in the order of this exchange's roles.
struct Fresh {
  bool initiator = false;  ///< Of this exchange: its initiator is the initiator of the new IKE SA (RFC 7296 2.8).
  IkeSuite suite;
  ByteView ni, nr;
  IkeSpi spi_i, spi_r;
  Secret shared;
};

/// The new IKE SA beside the old one, without children.
Result<IkeSa*> make_fresh(EngineCore& core, Instant now, IkeSa& old, Fresh fresh) {
  TRY_ASSIGN(KeySchedule keys,
             old.keys()->rekey(core.crypto, fresh.suite, {fresh.ni, fresh.nr, fresh.spi_i, fresh.spi_r},
                               std::move(fresh.shared)),
             "keys of the new IKE SA");
  keys.forget_auth_keys();
  const IkeSpi own = fresh.initiator ? fresh.spi_i : fresh.spi_r;
  auto sa = std::make_unique<IkeSa>(IkeSa{.id = IkeSaId(own.value()),
                                          .initiator = fresh.initiator,
                                          .spi_i = fresh.spi_i,
                                          .spi_r = fresh.spi_r,
                                          .path = old.path,
                                          .init_remote = old.init_remote,
                                          .tunnel = old.tunnel,
                                          .next_tunnel = old.next_tunnel,
                                          .remote_id = old.remote_id,
                                          .nat_local = old.nat_local,
                                          .nat_remote = old.nat_remote,
                                          .created_at = now,
                                          .last_heard = now,
                                          .established_at = now,
                                          .state = Established{.keys = std::move(keys),
                                                               .requests = established_of(old).requests,
                                                               .comebacks = established_of(old).comebacks}});
  core.start_lifetime(now, *sa);
  IkeSa* made = core.sas.emplace(sa->id, std::move(sa)).first->second.get();
  core.snapshot_changed(*made);
  core.arm(*made);
  return made;
}

/// The request that `own` stands for.
PayloadWriter build_request(const OwnExchange& own) {
  PayloadWriter out;
  SaPayload offer;
  for (const policy::Proposal& each : own.offered)
    offer.proposals.push_back(
        {.number = static_cast<uint8_t>(offer.proposals.size() + 1), .spi = spi_bytes(own.ike_spi), .proposal = each});
  out.add(offer);
  out.add(NoncePayload{own.nonce});
  out.add(KePayload{own.key_pair->group, own.key_pair->public_value});
  return out;
}

void send(EngineCore& core, Instant now, IkeSa& sa) {
  const OwnExchange& own = *established_of(sa).own;
  if (Status sent = core.send_request(now, sa, Exchange::kCreateChildSa, build_request(own)); !sent.ok())
    core.destroy(sa, sent.error().reason(), {field("detail", sent.error().text())});
}

/// Whether one more IKE SA may be made beside this one. A peer's own old ones make room for its new one.
bool has_room(EngineCore& core, IkeSa& sa) {
  auto& replaced = established_of(sa).replaced;
  for (; core.sas.size() >= core.options.admission.ike_sas_max && !replaced.empty(); replaced.erase(replaced.begin()))
    end_replaced(core, replaced.front());
  return core.sas.size() < core.options.admission.ike_sas_max;
}

/// The old IKE SA has given its children away; the peer is to delete it.
void await_delete(EngineCore& core, Instant now, IkeSa& sa) {
  core.enter(sa, Rekeyed{std::move(*sa.keys())}, now + kRekeyGuard);
  core.snapshot_changed(sa);
  core.arm(sa);
}

/// Our rekey came to nothing. If the peer's crossed it and has made a new IKE SA, that one stands.
void fail(EngineCore& core, Instant now, IkeSa& sa, Reason reason, const std::string& detail) {
  adopt_by_rival(core, sa);
  auto own = end_own(core, established_of(sa));
  if (sa.successor) return await_delete(core, now, sa);
  if (const auto closing = established_of(sa).closing) return start_delete_ike(core, now, sa, *closing);
  core.report(sa, reason, {field("peer", to_string(sa.path.remote)), field("detail", detail)});
  if (reason == Reason::kPeerTemporaryFailure && is_out_of_sync(now, established_of(sa)))
    return start_delete_ike(core, now, sa, reason);
  if (reason != Reason::kPeerTemporaryFailure)
    core.report(sa, Reason::kRekeyFailed, {field("because", std::string(code(reason))), field("detail", detail)});
  (void)try_again(core, now, sa, std::move(own->task));
  core.snapshot_changed(sa);
  serve(core, now, sa);
}

void change_group(EngineCore& core, Instant now, IkeSa& sa, const NotifyPayload& notice) {
  OwnExchange& own = *established_of(sa).own;
  const auto group = wanted_group(own, notice);
  if (!group) return fail(core, now, sa, Reason::kInvalidKe, "the peer wants a group that is not offered");
  auto pair = core.crypto.generate(*group, core.random);
  if (!pair.ok()) return fail(core, now, sa, pair.error().reason(), pair.error().text());
  ++own.group_retries;
  own.key_pair = std::move(*pair);
  send(core, now, sa);
}

Result<IkeSa*> accept(EngineCore& core, Instant now, IkeSa& sa, const Payloads& answer) {
  OwnExchange& own = *established_of(sa).own;
  if (!answer.sa || !answer.ke || !answer.nonce) return Error(Reason::kIkePayloadMissing, "SA, KE or nonce");
  if (answer.sa->proposals.size() != 1 || answer.sa->proposals[0].unusable)
    return Error(Reason::kIkeInvalidSyntax, "not exactly one usable proposal");
  TRY_ASSIGN(const policy::Proposal chosen, policy::check_answer(own.offered, answer.sa->proposals[0].proposal), "");
  TRY_ASSIGN(const IkeSuite suite, IkeSuite::of(chosen), "");
  TRY_ASSIGN(const IkeSpi theirs, parse_ike_spi(answer.sa->proposals[0].spi), "");
  if (answer.ke->group != suite.group || own.key_pair->group != suite.group)
    return Error(Reason::kIkeInvalidSyntax, "key exchange with another group than the one chosen");
  TRY_ASSIGN(Secret shared, core.crypto.shared_secret(*own.key_pair, answer.ke->public_value), "");
  own.lowest_nonce = lowest_nonce(own.nonce, answer.nonce->nonce);
  return make_fresh(core, now, sa,
                    {.initiator = true,
                     .suite = suite,
                     .ni = own.nonce,
                     .nr = answer.nonce->nonce,
                     .spi_i = own.ike_spi,
                     .spi_r = theirs,
                     .shared = std::move(shared)});
}

/// Both rekeys have made an IKE SA. Whether the peer's stands: by the nonces (RFC 7296 2.8.2), or because the peer uses
/// it.
bool rival_stands(const OwnExchange& own, const IkeSa* rival) {
  if (rival == nullptr || rival->state_id() != StateId::kEstablished) return false;
  const bool has_children = !std::get<Established>(rival->state).predecessor;
  return has_children || standing_of(own.lowest_nonce, own.rival_nonce) == Standing::kTheirs;
}

/// The IKE SA that stands takes up what waits, or ends, if that was wanted meanwhile.
void go_on(EngineCore& core, Instant now, IkeSaId id, std::optional<Reason> closing) {
  IkeSa* sa = core.find(id);
  if (closing)
    start_delete_ike(core, now, *sa, *closing);
  else
    serve(core, now, *sa);
  if ((sa = core.find(id)) != nullptr) core.arm(*sa);
}

void take_over(EngineCore& core, Instant now, IkeSa& old, IkeSa& fresh) {
  const auto own = end_own(core, established_of(old));
  const auto closing = established_of(old).closing;
  IkeSa* rival = own->rival_ike ? core.find(own->rival_ike) : nullptr;
  const IkeSaId fresh_id = fresh.id, rival_id = own->rival_ike;
  if (rival_stands(*own, rival)) {
    core.report(fresh, Reason::kRekeyCollision, {field("kept", std::string("the peer's"))});
    if (std::get<Established>(rival->state).predecessor) move_children(core, old, *rival);
    stand_for(core, *rival, fresh_id);
    await_delete(core, now, old);
    start_delete_ike(core, now, fresh, Reason::kRekeyCollision);
    if (IkeSa* left = core.find(fresh_id)) core.arm(*left);
    return go_on(core, now, rival_id, closing);
  }
  // One that is being closed already needs nothing.
  if (rival != nullptr && rival->state_id() == StateId::kEstablished) {
    core.report(fresh, Reason::kRekeyCollision, {field("kept", std::string("ours"))});
    // The peer deletes it; nothing can be begun in it any more.
    rival->successor = fresh_id;
    await_delete(core, now, *rival);
  }
  move_children(core, old, fresh);
  if (rival != nullptr) stand_for(core, fresh, rival_id);
  start_delete_ike(core, now, old, Reason::kIkeRekeyed);
  go_on(core, now, fresh_id, closing);
}

}  // namespace

void begin_rekey_ike(EngineCore& core, Instant now, IkeSa& sa, Task task) {
  if (!has_room(core, sa)) {
    core.report(sa, Reason::kIkeSaLimit, {field("limit", uint64_t{core.options.admission.ike_sas_max})});
    return (void)try_again(core, now, sa, std::move(task));
  }
  auto own = std::make_unique<OwnExchange>();
  own->offered = sa.tunnel->ike_policy->proposals;
  // What is in use is likely to be accepted again: its group goes first.
  const uint16_t group = sa.keys()->suite().group;
  auto pair = core.crypto.generate(group, core.random);
  if (!pair.ok()) return core.count(pair.error().reason());
  own->key_pair = std::move(*pair);
  own->nonce = core.fresh_nonce();
  own->ike_spi = core.fresh_ike_spi();
  own->task = std::move(task);
  ++core.own_exchanges;
  established_of(sa).own = std::move(own);
  send(core, now, sa);
}

void on_rekey_ike_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  if (const NotifyPayload* error = message.payloads.first_error()) {
    if (error->type == NotifyType::kInvalidKePayload) return change_group(core, now, sa, *error);
    return fail(core, now, sa, reason_for_notify(error->type), name(error->type));
  }
  auto fresh = accept(core, now, sa, message.payloads);
  if (!fresh.ok()) return fail(core, now, sa, fresh.error().reason(), fresh.error().text());
  take_over(core, now, sa, **fresh);
}

namespace {

/// What the response to a request to rekey the IKE SA is made from.
struct Chosen {
  policy::ProposalChoice choice;
  IkeSuite suite;
  IkeSpi spi_i;
};

Result<Chosen> choose_suite(const IkeSa& sa, const Payloads& request) {
  std::vector<policy::Proposal> offered;
  // A proposal without a usable SPI keeps its place and matches nothing; others may be good (RFC 7296 3.3.1).
  for (const WireProposal& each : request.sa->proposals)
    offered.push_back(parse_ike_spi(each.spi).ok() ? each.offered() : policy::Proposal{policy::Protocol::kNone});
  const auto& configured = sa.tunnel->ike_policy->proposals;
  auto choice = policy::choose(configured, offered, policy::KeyExchangeUse::kRequired);
  // RFC 7296 2.18 derives the new keys by the new PRF; strongSwan does so by the old one. Both sides get the same keys
  // where the PRF stays, so another one is only taken where the present suite is not allowed any more.
  const policy::Proposal present = sa.keys()->suite().to_proposal();
  const policy::Transform* prf = choice ? choice->chosen.first(policy::TransformType::kPrf) : nullptr;
  if (prf != nullptr && prf->id != sa.keys()->suite().prf &&
      policy::choose(configured, {&present, 1}, policy::KeyExchangeUse::kRequired))
    if (auto same = policy::choose({&present, 1}, offered, policy::KeyExchangeUse::kRequired)) choice = std::move(same);
  if (!choice)
    return Error(Reason::kNoProposalChosen,
                 "offered " + policy::to_string(offered) + "; configured " + policy::to_string(configured));
  TRY_ASSIGN(const IkeSuite suite, IkeSuite::of(choice->chosen), "");
  TRY_ASSIGN(const IkeSpi spi_i, parse_ike_spi(request.sa->proposals[choice->offered_index].spi), "");
  return Chosen{std::move(*choice), suite, spi_i};
}

/// Makes the new IKE SA and answers.
Result<IkeSa*> answer_rekey(EngineCore& core, Instant now, IkeSa& sa, const Message& message, const Chosen& chosen) {
  const Payloads& request = message.payloads;
  TRY_ASSIGN(KeyPair pair, core.crypto.generate(chosen.suite.group, core.random), "key pair");
  TRY_ASSIGN(Secret shared, core.crypto.shared_secret(pair, request.ke->public_value), "shared secret");
  const Bytes nonce = core.fresh_nonce();
  const IkeSpi spi_r = core.fresh_ike_spi();
  TRY_ASSIGN(IkeSa * fresh,
             make_fresh(core, now, sa,
                        {.suite = chosen.suite,
                         .ni = request.nonce->nonce,
                         .nr = nonce,
                         .spi_i = chosen.spi_i,
                         .spi_r = spi_r,
                         .shared = std::move(shared)}),
             "");
  if (auto& own = established_of(sa).own) own->rival_nonce = lowest_nonce(request.nonce->nonce, nonce);
  PayloadWriter out;
  SaPayload answer;
  answer.proposals.push_back({.number = request.sa->proposals[chosen.choice.offered_index].number,
                              .spi = spi_bytes(spi_r),
                              .proposal = chosen.choice.chosen});
  out.add(answer);
  out.add(NoncePayload{nonce});
  out.add(KePayload{chosen.suite.group, pair.public_value});
  TRY(core.send_response(now, sa, Exchange::kCreateChildSa, message.header.message_id, datagram_hash(message.datagram),
                         message.path, out),
      "");
  return fresh;
}

}  // namespace

void on_rekey_ike_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  Established& established = established_of(sa);
  const Payloads& request = message.payloads;
  const bool we_rekey = established.own && established.own->task.kind == Task::Kind::kRekeyIke;
  const RequestVerdict verdict = judge_ike_request(
      {.we_change_children = (established.own && !we_rekey) || established.peer || !established.deletes_sent.empty(),
       .rekeyed_before = we_rekey && established.own->rival_ike});
  if (verdict != RequestVerdict::kProceed) {
    core.report(sa, Reason::kTemporaryFailure,
                {field("detail", std::string("the IKE SA is to be rekeyed while its children change"))});
    return answer_create_child(core, now, sa, message, notify(NotifyType::kTemporaryFailure));
  }
  if (!has_room(core, sa)) {
    core.report(sa, Reason::kIkeSaLimit, {field("limit", uint64_t{core.options.admission.ike_sas_max})});
    return answer_create_child(core, now, sa, message, notify(NotifyType::kTemporaryFailure));
  }
  auto chosen = choose_suite(sa, request);
  if (!chosen.ok()) {
    core.report(sa, chosen.error().reason(), {field("detail", chosen.error().text())});
    return answer_create_child(
        core, now, sa, message,
        notify(notify_for_error(chosen.error().reason()).value_or(NotifyType::kNoProposalChosen)));
  }
  if (!request.ke || request.ke->group != chosen->suite.group) {
    ByteWriter wanted(2);
    wanted.u16(chosen->suite.group);
    core.count(Reason::kInvalidKe);
    return answer_create_child(core, now, sa, message, notify(NotifyType::kInvalidKePayload, std::move(wanted).take()));
  }
  auto fresh = answer_rekey(core, now, sa, message, *chosen);
  if (!fresh.ok()) {
    core.report(sa, fresh.error().reason(), {field("detail", fresh.error().text())});
    return answer_create_child(core, now, sa, message, notify(NotifyType::kNoProposalChosen));
  }
  if (we_rekey) {
    established.own->rival_ike = (*fresh)->id;
    std::get<Established>((*fresh)->state).predecessor = sa.id;
    core.snapshot_changed(sa);
    return;
  }
  move_children(core, sa, **fresh);
  serve(core, now, **fresh);
  await_delete(core, now, sa);
}

}  // namespace ipsec::ike
