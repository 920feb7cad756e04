#include "ike/exchange/ike_sa_init.h"

#include <algorithm>

#include "ike/exchange/compared.h"
#include "ike/exchange/ike_auth.h"
#include "ike/exchange/nat_detection.h"
#include "ike/notify_for_error.h"
#include "ike/wire/init_outline.h"

namespace ipsec::ike {

std::vector<policy::Proposal> usable_proposals(const SaPayload& payload) {
  std::vector<policy::Proposal> proposals;
  for (const WireProposal& each : payload.proposals) proposals.push_back(each.offered());
  return proposals;
}

namespace {

constexpr size_t kOwnNonceBytes = 32;

Bytes fresh_nonce(Random& random) {
  Bytes nonce(kOwnNonceBytes);
  random.fill(nonce);
  return nonce;
}

/// An unprotected answer that leaves no state behind.
void answer_stateless(EngineCore& core, Instant now, const Path& path, const Header& request, NotifyPayload payload) {
  if (!core.admission.may_answer(now)) return core.count(Reason::kIkeAnswerRate);
  PayloadWriter out;
  out.add(payload);
  const Header header{.initiator_spi = request.initiator_spi,
                      .exchange = request.exchange,
                      .flags = Header::kFlagResponse,
                      .message_id = request.message_id};
  core.send_stateless(path, EngineCore::plain_message(header, out));
}

/// The COOKIE notification alone, in one buffer: the only answer that a flood gets (RFC 7296 section 2.6).
Bytes cookie_answer(const Header& request, const CookieJar::Cookie& cookie) {
  constexpr size_t kPayloadBytes = 4 + 4 + std::tuple_size_v<CookieJar::Cookie>;
  ByteWriter out(Header::kBytes + kPayloadBytes);
  Header{.initiator_spi = request.initiator_spi,
         .next_payload = PayloadType::kNotify,
         .exchange = request.exchange,
         .flags = Header::kFlagResponse,
         .message_id = request.message_id,
         .length = Header::kBytes + kPayloadBytes}
      .write(out);
  out.u8(static_cast<uint8_t>(PayloadType::kNone));
  out.u8(0);
  out.u16(kPayloadBytes);
  out.u8(0);  // protocol: none
  out.u8(0);  // SPI bytes
  out.u16(static_cast<uint16_t>(NotifyType::kCookie));
  out.bytes(cookie);
  return std::move(out).take();
}

/// Whether the request may go on to take state here; asks for a cookie or refuses where not. Until it has returned a
/// cookie, where one is wanted, nothing is written down that belongs to its source.
bool admit(EngineCore& core, Instant now, const Path& path, const Header& header, const InitOutline& request) {
  if (core.admission.wants_cookie(now, path.remote.address)) {
    auto wanted = core.cookies.judge(now, request.cookie, {request.nonce, path.remote, header.initiator_spi});
    if (!wanted.ok()) return core.count(wanted.error().reason()), false;
    if (*wanted) {
      if (!request.cookie.empty()) core.count(Reason::kIkeCookieBad);
      if (!core.admission.may_answer(now)) return core.count(Reason::kIkeAnswerRate), false;
      core.count(Reason::kIkeCookieSent);
      core.send_stateless(path, cookie_answer(header, **wanted));
      return false;
    }
  }
  const std::optional<Reason> refusal = core.admission.admit(now, path.remote.address, core.sas.size());
  if (refusal) core.count(*refusal);
  return !refusal;
}

/// The same request again: the response is sent again, at a bounded rate, to where the first copy came from.
void on_repeated_init(EngineCore& core, Instant now, IkeSa& sa, ByteView datagram) {
  if (!sa.window.answered) return core.count(Reason::kIkeRetransmitted);
  Answered& answered = *sa.window.answered;
  if (answered.message_id != 0 || answered.request_hash != datagram_hash(datagram))
    return core.count(Reason::kIkeUnexpected);
  if (now - answered.sent_at < kResponseCacheInterval) return core.count(Reason::kIkeRetransmitLimited);
  core.count(Reason::kIkeRetransmitted);
  answered.sent_at = now;
  core.send(sa, answered.path, answered.response);
}

}  // namespace

void on_init_request(EngineCore& core, Instant now, const Path& path, const Header& header, ByteView datagram) {
  if (header.message_id != 0 || !header.from_initiator()) return core.count(Reason::kIkeInvalidSyntax);
  // Our own request, sent back: with a tunnel whose ends are alike we would talk to ourselves, through whoever does
  // that.
  if (core.find(IkeSaId(header.initiator_spi.value())) != nullptr || core.spis.is_own(header.initiator_spi))
    return core.count(Reason::kIkeOwnSpi);
  if (auto it = core.init_index.find({header.initiator_spi.value(), path.remote}); it != core.init_index.end())
    return on_repeated_init(core, now, *core.find(it->second), datagram);

  if (datagram.size() > kInitBytesMax) return core.count(Reason::kLimitReached);
  const ByteView chain = datagram.subspan(Header::kBytes);
  auto outline = InitOutline::read(header.next_payload, chain);
  if (!outline.ok()) return core.count(outline.error().reason());
  if (!admit(core, now, path, header, *outline)) return;

  auto payloads = parse_payloads(header.next_payload, chain);
  if (!payloads.ok()) {
    core.count(payloads.error().reason());
    core.admission.note_refused(now);
    // RFC 7296 2.5: an unknown critical payload is named to the sender. Anything else malformed gets no answer, so that
    // nobody can use us to reflect.
    if (payloads.error().reason() == Reason::kIkeCriticalPayload)
      answer_stateless(core, now, path, header,
                       notify(NotifyType::kUnsupportedCriticalPayload, critical_payload_of(payloads.error())));
    return;
  }
  VERIFY(payloads->sa && payloads->ke && payloads->nonce);  // the outline saw them
  core.count(*payloads);

  IkeSa& sa = core.create(now, false, header.initiator_spi, path,
                          InitPolicyWait{core.next_ask(), Bytes(datagram.begin(), datagram.end())}, now + kAskTimeout);
  sa.window.expected = 1;
  core.repeat_ask(sa);
  core.arm(sa);
}

namespace {

/// What our response to IKE_SA_INIT is built from.
struct InitDecision {
  policy::ProposalChoice choice;
  IkeSuite suite;
  bool childless = false;
};

Result<InitDecision> decide(const InitPolicy& policy, const Payloads& request) {
  const auto offered = usable_proposals(*request.sa);
  const auto required = policy::KeyExchangeUse::kRequired;
  auto choice = policy.peer_prefers ? policy::choose_as_offered(policy.proposals, offered, required)
                                    : policy::choose(policy.proposals, offered, required);
  if (!choice)
    return Error(Reason::kNoProposalChosen,
                 "offered " + policy::to_string(offered) + "; configured " + policy::to_string(policy.proposals));
  TRY_ASSIGN(IkeSuite suite, IkeSuite::of(choice->chosen), "");
  return InitDecision{std::move(*choice), suite, policy.childless};
}

/// The key pair, nonce and bytes of the response; enters InitAnswered.
Status answer_init(EngineCore& core, Instant now, IkeSa& sa, const Payloads& request, InitDecision decision) {
  auto& waiting = std::get<InitPolicyWait>(sa.state);
  TRY_ASSIGN(KeyPair key_pair, core.crypto.generate(decision.suite.group, core.random), "key pair");
  PayloadWriter out;
  SaPayload chosen;
  chosen.proposals.push_back(
      {.number = request.sa->proposals[decision.choice.offered_index].number, .proposal = decision.choice.chosen});
  out.add(chosen);
  out.add(KePayload{decision.suite.group, key_pair.public_value});
  out.add(NoncePayload{fresh_nonce(core.random)});
  TRY_ASSIGN(const NatVerdict nat, judge_nat(core.crypto, sa.spi_i, IkeSpi(), sa.path, request), "");
  if (nat.supported) TRY(add_nat_detection(core.crypto, sa.spi_i, sa.spi_r, sa.path, out), "");
  if (decision.childless) out.add(notify(NotifyType::kChildlessIkev2Supported));  // RFC 6023 section 3
  sa.nat_local = nat.local;
  sa.nat_remote = nat.remote;
  const Header header{.initiator_spi = sa.spi_i,
                      .responder_spi = sa.spi_r,
                      .exchange = Exchange::kIkeSaInit,
                      .flags = Header::kFlagResponse};
  Bytes response = EngineCore::plain_message(header, out);
  sa.window.answered = Answered{0, datagram_hash(waiting.request), response, sa.path, now};
  Bytes kept_request = std::move(waiting.request);
  core.enter(sa, InitAnswered{std::move(key_pair), decision.suite, std::move(kept_request), std::nullopt},
             now + core.options.admission.half_open_timeout);
  core.snapshot_changed(sa);
  core.send(sa, sa.path, std::move(response));
  return {};
}

}  // namespace

void on_init_policy(EngineCore& core, Instant now, IkeSa& sa, const InitPolicy& policy) {
  const Bytes& datagram = std::get<InitPolicyWait>(sa.state).request;
  auto header = Header::parse(datagram);
  auto request = parse_payloads(header->next_payload, ByteView(datagram).subspan(Header::kBytes));
  VERIFY(header.ok() && request.ok());  // it was parsed before the question was asked

  auto decision = decide(policy, *request);
  if (!decision.ok()) {
    core.admission.note_refused(now);
    answer_stateless(core, now, sa.path, *header, notify(NotifyType::kNoProposalChosen));
    auto offered = usable_proposals(*request->sa);
    std::vector<Field> fields{field("offered", policy::to_string(offered)),
                              field("configured", policy::to_string(policy.proposals))};
    return core.destroy(sa, decision.error().reason(), std::move(fields),
                        compared_ike_proposals(nullptr, std::move(offered), policy.proposals));
  }
  // RFC 7296 1.2: the guessed group is not the chosen one; the initiator must try again with ours.
  if (request->ke->group != decision->suite.group) {
    ByteWriter wanted(2);
    wanted.u16(decision->suite.group);
    core.admission.note_refused(now);
    answer_stateless(core, now, sa.path, *header, notify(NotifyType::kInvalidKePayload, std::move(wanted).take()));
    return core.destroy(
        sa, Reason::kInvalidKe,
        {field("guessed", uint64_t{request->ke->group}), field("chosen", uint64_t{decision->suite.group})});
  }
  const policy::Algorithm* group = policy::find_algorithm(policy::TransformType::kKeyExchange, decision->suite.group);
  if (request->ke->public_value.size() != group->public_bytes) {
    core.admission.note_refused(now);
    return core.destroy(sa, Reason::kKeRejected, {field("group", std::string(group->name))});
  }
  if (Status answered = answer_init(core, now, sa, *request, std::move(*decision)); !answered.ok())
    return core.destroy(sa, answered.error().reason(), {field("detail", answered.error().text())});
  core.arm(sa);
}

namespace {

/// Builds the IKE_SA_INIT request of the present state. The same nonce and SPI are used in every try (RFC 7296 2.6).
Result<Bytes> build_init(EngineCore& core, const IkeSa& sa, const InitSent& state) {
  PayloadWriter out;
  if (!state.cookie.empty()) out.add(notify(NotifyType::kCookie, state.cookie));  // must be first (2.6)
  SaPayload offer;
  for (const policy::Proposal& each : sa.tunnel->ike_policy->proposals)
    offer.proposals.push_back({.number = static_cast<uint8_t>(offer.proposals.size() + 1), .proposal = each});
  out.add(offer);
  out.add(KePayload{state.key_pair.group, state.key_pair.public_value});
  out.add(NoncePayload{state.ni});
  TRY(add_nat_detection(core.crypto, sa.spi_i, IkeSpi(), sa.path, out), "");
  return EngineCore::plain_message(
      {.initiator_spi = sa.spi_i, .exchange = Exchange::kIkeSaInit, .flags = Header::kFlagInitiator}, out);
}

/// Sends the first message again with what the responder asked for: a new exchange with message ID 0.
Status restart_init(EngineCore& core, Instant now, IkeSa& sa) {
  TRY_ASSIGN(Bytes bytes, build_init(core, sa, std::get<InitSent>(sa.state)), "IKE_SA_INIT request");
  sa.window.outstanding.reset();
  sa.window.next_request = 0;
  std::get<InitSent>(sa.state).hint.reset();  // what was said of another request
  core.start_request(now, sa, Exchange::kIkeSaInit, std::move(bytes));
  core.arm(sa);
  return {};
}

void on_cookie(EngineCore& core, Instant now, IkeSa& sa, const NotifyPayload& cookie) {
  auto& state = std::get<InitSent>(sa.state);
  if (cookie.data.empty() || cookie.data.size() > kCookieBytesMax || cookie.data == state.cookie ||
      state.cookie_retries >= kCookieRetriesMax)
    return core.count(Reason::kIkeUnexpected);
  ++state.cookie_retries;
  state.cookie = cookie.data;
  if (Status again = restart_init(core, now, sa); !again.ok())
    core.destroy(sa, again.error().reason(), {field("detail", again.error().text())});
}

std::string hint_text(NotifyType notice) {
  return notice == NotifyType{} ? name(NotifyType::kChildlessIkev2Supported) + " is missing" : name(notice);
}

void on_invalid_ke(EngineCore& core, Instant now, IkeSa& sa, const NotifyPayload& payload) {
  auto& state = std::get<InitSent>(sa.state);
  auto wanted = ByteReader(payload.data).u16();
  if (!wanted.ok() || payload.data.size() != 2) return core.count(Reason::kIkeInvalidSyntax);
  // Only a group that we offer, and no endless game (RFC 7296 1.3 and 2.7: the responder must have chosen from our
  // offer).
  bool offered = false;
  for (const policy::Proposal& each : sa.tunnel->ike_policy->proposals)
    offered = offered || std::count(each.transforms.begin(), each.transforms.end(),
                                    policy::Transform{policy::TransformType::kKeyExchange, *wanted}) != 0;
  if (!offered || *wanted == state.key_pair.group || state.invalid_ke_retries >= kInvalidKeRetriesMax)
    return core.count(Reason::kIkeUnexpected);
  auto fresh = core.crypto.generate(*wanted, core.random);
  if (!fresh.ok()) return core.count(fresh.error().reason());
  ++state.invalid_ke_retries;
  core.report(sa, Reason::kInvalidKe,
              {field("guessed", uint64_t{state.key_pair.group}), field("chosen", uint64_t{*wanted})});
  state.key_pair = std::move(*fresh);
  if (Status again = restart_init(core, now, sa); !again.ok())
    core.destroy(sa, again.error().reason(), {field("detail", again.error().text())});
}

/// RFC 7296 2.21.1: not authenticated, so anybody could have sent it. It is believed only if no better answer comes.
void take_hint(EngineCore& core, IkeSa& sa, Reason reason, NotifyType notice) {
  auto& state = std::get<InitSent>(sa.state);
  const bool first = !state.hint;
  state.hint = UnprotectedHint{reason, notice, sa.window.outstanding->sent};
  if (!first) return core.count(Reason::kIkeUnprotectedError);
  core.report(sa, Reason::kIkeUnprotectedError,
              {field("peer", to_string(sa.path.remote)), field("notify", hint_text(notice))});
}

/// The keys from a usable response, or why it is none.
Result<KeySchedule> accept_init(EngineCore& core, const IkeSa& sa, const Message& message) {
  const auto& state = std::get<InitSent>(sa.state);
  const Payloads& answer = message.payloads;
  if (!answer.sa || !answer.ke || !answer.nonce) return Error(Reason::kIkePayloadMissing, "SA, KE or nonce");
  if (!message.header.responder_spi) return Error(Reason::kIkeInvalidSyntax, "responder's SPI is zero");
  if (answer.sa->proposals.size() != 1 || answer.sa->proposals[0].unusable)
    return Error(Reason::kIkeInvalidSyntax, "not exactly one usable proposal");
  TRY_ASSIGN(const policy::Proposal chosen,
             policy::check_answer(sa.tunnel->ike_policy->proposals, answer.sa->proposals[0].proposal), "");
  TRY_ASSIGN(const IkeSuite suite, IkeSuite::of(chosen), "");
  if (answer.ke->group != suite.group || answer.ke->group != state.key_pair.group)
    return Error(Reason::kIkeInvalidSyntax, "key exchange with another group than the one chosen");
  TRY_ASSIGN(Secret shared, core.crypto.shared_secret(state.key_pair, answer.ke->public_value), "");
  return KeySchedule::derive(
      core.crypto, suite, {state.ni, answer.nonce->nonce, sa.spi_i, message.header.responder_spi}, std::move(shared));
}

}  // namespace

bool end_unanswered_init(EngineCore& core, IkeSa& sa) {
  const auto* state = std::get_if<InitSent>(&sa.state);
  if (state == nullptr || !state->hint) return false;
  const UnprotectedHint hint = *state->hint;
  std::vector<Field> fields{field("notify", hint_text(hint.notice))};
  if (hint.reason == Reason::kChildlessRefused)
    fields.push_back(field("configured", std::string("the peer does not support it")));
  else
    fields.push_back(field("configured", policy::to_string(sa.tunnel->ike_policy->proposals)));
  core.destroy(sa, hint.reason, std::move(fields), refused_ike_proposals(*sa.tunnel, hint.notice));
  return true;
}

bool believes_hint(const IkeSa& sa) {
  const auto* state = std::get_if<InitSent>(&sa.state);
  if (state == nullptr || !state->hint) return false;
  const uint8_t sent = sa.window.outstanding->sent;
  return sent >= kUnprotectedErrorTries && state->hint->sent == sent;
}

Result<IkeSaId> start_init(EngineCore& core, Instant now, std::shared_ptr<const policy::Tunnel> tunnel,
                           std::string_view child, const Path& path,
                           const std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>>& trigger) {
  if (core.sas.size() >= core.options.admission.ike_sas_max) return Error(Reason::kIkeSaLimit, "IKE SAs per worker");
  if (tunnel->ike_policy->role == policy::Role::kRespond)
    return Error(Reason::kConfigConflict, "the IKE policy of tunnel " + tunnel->name + " has role respond");
  const bool childless = child.empty() && tunnel->ike_policy->childless != policy::ChildlessPolicy::kRefuse;
  if (!childless && tunnel->child(child) == nullptr) return Error(Reason::kNotFound, "child " + std::string(child));
  const policy::Transform* group = tunnel->ike_policy->proposals.front().first(policy::TransformType::kKeyExchange);
  TRY_ASSIGN(KeyPair key_pair, core.crypto.generate(group->id, core.random), "key pair");
  InitSent state{.key_pair = std::move(key_pair), .ni = fresh_nonce(core.random), .child = std::string(child)};
  if (trigger) {
    state.trigger_local.push_back(trigger->first);
    state.trigger_remote.push_back(trigger->second);
  }
  IkeSa& sa = core.create(now, true, IkeSpi(), path, std::move(state), now + tunnel->ike_policy->setup_timeout);
  sa.tunnel = std::move(tunnel);
  auto bytes = build_init(core, sa, std::get<InitSent>(sa.state));
  if (!bytes.ok()) {
    core.spis.ended(sa.spi_i);
    core.sas.erase(sa.id);
    return std::move(bytes).error();
  }
  core.report(sa, Reason::kIkeInitiating, {field("peer", to_string(path.remote))});
  core.start_request(now, sa, Exchange::kIkeSaInit, std::move(*bytes));
  core.arm(sa);
  return sa.id;
}

void on_init_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  auto& state = std::get<InitSent>(sa.state);
  if (const NotifyPayload* cookie = message.payloads.notify(NotifyType::kCookie);
      cookie != nullptr && !message.payloads.sa)
    return on_cookie(core, now, sa, *cookie);
  if (const NotifyPayload* error = message.payloads.first_error()) {
    if (error->type == NotifyType::kInvalidKePayload) return on_invalid_ke(core, now, sa, *error);
    return take_hint(core, sa, reason_for_notify(error->type), error->type);
  }
  auto keys = accept_init(core, sa, message);
  if (!keys.ok()) {
    // Forged or broken: the real answer may still come; if not, the set-up timer ends it.
    core.report(sa, keys.error().reason(), {field("detail", keys.error().text())});
    return;
  }
  auto nat = judge_nat(core.crypto, sa.spi_i, message.header.responder_spi, message.path, message.payloads);
  if (!nat.ok()) return core.count(nat.error().reason());

  const bool childless = state.child.empty() || sa.tunnel->ike_policy->childless == policy::ChildlessPolicy::kForce;
  // RFC 6023 section 3: only with a responder that says so.
  if (childless && message.payloads.notify(NotifyType::kChildlessIkev2Supported) == nullptr)
    return take_hint(core, sa, Reason::kChildlessRefused, NotifyType{});
  auto context = std::make_unique<AuthContext>();
  context->init_request = std::move(sa.window.outstanding->bytes);
  context->init_response.assign(message.datagram.begin(), message.datagram.end());
  context->ni = std::move(state.ni);
  context->nr = message.payloads.nonce->nonce;
  context->child = std::move(state.child);
  context->trigger_local = std::move(state.trigger_local);
  context->trigger_remote = std::move(state.trigger_remote);
  context->initial_contact = state.initial_contact;
  context->childless = childless;
  sa.spi_r = message.header.responder_spi;
  sa.window.outstanding.reset();
  sa.last_heard = now;
  sa.nat_local = nat->local;
  sa.nat_remote = nat->remote;
  // RFC 7296 2.23: with a NAT on the way everything moves to port 4500, IKE_AUTH already.
  if (nat->local || nat->remote) {
    sa.path.local.port = 4500;
    sa.path.remote.port = 4500;
    core.report(sa, Reason::kNatDetected, {field("side", std::string(nat->local ? "ours" : "peer's"))});
  }
  core.enter(sa, AuthMaking{std::move(*keys), std::move(context), core.next_ask()}, sa.deadline);
  core.repeat_ask(sa);
  core.arm(sa);
}

}  // namespace ipsec::ike
