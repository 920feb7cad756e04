#include "ike/exchange/child.h"
#include "ike/exchange/compared.h"
#include "ike/exchange/ike_auth.h"
#include "ike/exchange/ike_sa_init.h"
#include "ike/notify_for_error.h"

namespace ipsec::ike {
namespace {

AuthWork& work_of(IkeSa& sa) { return *std::get<AuthResponding>(sa.state).work; }

/// What the request asks for, out of its payloads.
std::unique_ptr<AuthWork> read_request(const IkeSa& sa, const Message& message) {
  auto work = std::make_unique<AuthWork>();
  const Payloads& request = message.payloads;
  work->init_request = std::get<InitAnswered>(sa.state).request;
  work->init_response = sa.window.answered->response;
  work->message_id = message.header.message_id;
  work->request_hash = datagram_hash(message.datagram);
  work->path = message.path;
  work->peer_id_body = request.id_i->body;
  if (request.id_r) work->wanted_local_id = request.id_r->identity;
  if (request.auth) {
    work->method = request.auth->method;
    work->peer_auth = request.auth->data;
  }
  work->initial_contact = request.notify(NotifyType::kInitialContact) != nullptr;
  work->wants_transport = request.notify(NotifyType::kUseTransportMode) != nullptr;
  work->has_child = request.sa && request.ts_i && request.ts_r;
  if (!work->has_child) return work;
  for (const WireProposal& each : request.sa->proposals) {
    work->offered.push_back(each.offered());
    work->offered_numbers.push_back(each.number);
    work->offered_spis.push_back(each.spi);
  }
  work->ts_i = request.ts_i->selectors;
  work->ts_r = request.ts_r->selectors;
  return work;
}

/// Why nobody could be authenticated by this request, whoever it is; nothing where somebody might be.
std::optional<Error> not_served(const Payloads& request) {
  // RFC 7296 2.16: who leaves AUTH out of its first IKE_AUTH request wants to be authenticated by EAP.
  if (!request.auth) return Error(Reason::kEapNotServed, "no AUTH payload in the request");
  if (request.auth->method == AuthMethod::kNull) return Error(Reason::kNullAuthNotServed, name(AuthMethod::kNull));
  if (!request.id_i->has_known_type()) return Error(Reason::kIdentityType, policy::to_string(request.id_i->identity));
  return std::nullopt;
}

/// Answers with an error and ends the IKE SA: nobody is authenticated (RFC 7296 2.21.2).
void refuse(EngineCore& core, Instant now, IkeSa& sa, Reason reason, std::vector<Field> fields,
            Compared compared = nullptr) {
  const AuthWork& work = work_of(sa);
  PayloadWriter out;
  out.add(notify(reason == Reason::kChildlessRefused ? NotifyType::kInvalidSyntax : NotifyType::kAuthenticationFailed));
  Status sent = core.send_response(now, sa, Exchange::kIkeAuth, work.message_id, work.request_hash, work.path, out);
  if (!sent.ok()) core.count(sent.error().reason());
  core.destroy(sa, reason, std::move(fields), std::move(compared));
}

std::vector<Field> peer_fields(const IkeSa& sa, const Error& error) {
  return {field("peer", to_string(sa.path.remote)), field("identity", policy::to_string(sa.remote_id)),
          field("detail", error.text())};
}

/// The peer shows our own name, or our own proof: somebody holds a mirror up to us.
void refuse_mirror(EngineCore& core, Instant now, IkeSa& sa) {
  refuse(core, now, sa, Reason::kAuthFailed,
         peer_fields(sa, Error(Reason::kAuthFailed, "the peer shows our own name")));
}

/// Of a message of IKE_SA_INIT that is kept: it was parsed when it came or went.
Result<Payloads> payloads_of(ByteView message) {
  TRY_ASSIGN(const Header header, Header::parse(message), "");
  return parse_payloads(header.next_payload, message.subspan(Header::kBytes));
}

Result<Bytes> nonce_of(ByteView message) {
  TRY_ASSIGN(const Payloads payloads, payloads_of(message), "");
  return payloads.nonce->nonce;
}

/// Begins the child, or says why there is none.
std::variant<PendingChild, ChildRefusal> begin_first_child(EngineCore& core, IkeSa& sa, AuthWork& work) {
  auto decided = decide_child(*sa.tunnel, {.offered = work.offered,
                                           .spis = work.offered_spis,
                                           .ts_i = work.ts_i,
                                           .ts_r = work.ts_r,
                                           .wants_transport = work.wants_transport});
  if (auto* refusal = std::get_if<ChildRefusal>(&decided)) return std::move(*refusal);
  const ChildDecision& decision = std::get<ChildDecision>(decided);
  auto ni = nonce_of(work.init_request), nr = nonce_of(work.init_response);
  VERIFY(ni.ok() && nr.ok());  // both messages were parsed before
  work.child_number = work.offered_numbers[decision.offered_index];
  work.left_out = decision.left_out;
  if (decision.left_out) report_left_out(core, sa, decision);
  auto spec = std::make_shared<policy::ChildSpec>(child_spec(sa, *decision.config));
  spec->spi_in = core.spis.next_child_spi();
  spec->spi_out = decision.spi_out;
  spec->suite = decision.suite;
  spec->mode = decision.mode;
  spec->local = decision.local;
  spec->remote = decision.remote;
  spec->local_endpoint = work.path.local;
  spec->remote_endpoint = work.path.remote;
  const ChildSpi spi = spec->spi_in;
  auto pending = make_pending(core, sa, std::move(spec), *ni, *nr);
  if (pending.ok()) return std::move(*pending);
  core.spis.release(spi);
  return ChildRefusal{std::move(pending).error(), nullptr};
}

/// The response with everything that was found; `child_error` stands for a child that could not be had.
void respond(EngineCore& core, Instant now, IkeSa& sa, const std::optional<ChildRefusal>& refusal) {
  auto& responding = std::get<AuthResponding>(sa.state);
  AuthWork& work = *responding.work;
  PayloadWriter out;
  out.add(PayloadType::kIdR, IdPayload::of(sa.tunnel->local_id));
  out.add(AuthPayload{work.own_method, work.own_auth});
  if (work.child) {
    const policy::ChildSpec& spec = *work.child->spec;
    if (spec.mode == policy::EspMode::kTransport) out.add(notify(NotifyType::kUseTransportMode));
    if (work.left_out) out.add(notify(NotifyType::kAdditionalTsPossible));
    ByteWriter spi(4);
    spi.u32(spec.spi_in.value());
    SaPayload sa_payload;
    sa_payload.proposals.push_back(
        {.number = work.child_number, .spi = std::move(spi).take(), .proposal = esp_proposal_of(spec.suite)});
    out.add(sa_payload);
    out.add(PayloadType::kTsI, TsPayload{.selectors = spec.remote});
    out.add(PayloadType::kTsR, TsPayload{.selectors = spec.local});
  } else if (refusal) {
    out.add(notify(notify_for_error(refusal->error.reason()).value_or(NotifyType::kNoAdditionalSas)));
  }
  if (Status sent = core.send_response(now, sa, Exchange::kIkeAuth, work.message_id, work.request_hash, work.path, out);
      !sent.ok())
    return core.destroy(sa, sent.error().reason(), peer_fields(sa, sent.error()));

  std::vector<ChildSa> children;
  if (work.child) {
    children.push_back(make_child(core, now, std::move(*work.child)));
    use_child(core, now, sa, children, children.front().id);
  } else if (refusal) {
    core.report(sa, refusal->error.reason(), peer_fields(sa, refusal->error), refusal->negotiation);
  }
  enter_established(core, now, sa, std::move(responding.keys), std::move(children), {.initial = work.initial_contact});
  core.snapshot_changed(sa);
}

void next_stage(EngineCore& core, Instant now, IkeSa& sa, AuthWork::Stage stage) {
  AuthWork& work = work_of(sa);
  work.stage = stage;
  work.ask = core.next_ask();
  sa.deadline = now + kAskTimeout;
  ask_responding(core, sa);
}

}  // namespace

void on_auth_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  auto& init = std::get<InitAnswered>(sa.state);
  auto work = read_request(sa, message);
  sa.remote_id = message.payloads.id_i->identity;
  sa.window.expected = message.header.message_id + 1;
  sa.path = message.path;
  work->ask = core.next_ask();
  KeySchedule keys = std::move(*init.keys);
  core.enter(sa, AuthResponding{std::move(keys), std::move(work)}, now + kAskTimeout);
  if (const auto error = not_served(message.payloads)) return on_refused_responder(core, now, sa, *error);
  ask_responding(core, sa);
}

void ask_responding(EngineCore& core, IkeSa& sa) {
  auto& responding = std::get<AuthResponding>(sa.state);
  AuthWork& work = *responding.work;
  const uint16_t prf = responding.keys.suite().prf;
  switch (work.stage) {
    case AuthWork::Stage::kPeer:
      core.act(NeedPeer{work.ask, sa.id, sa.path, sa.remote_id, work.wanted_local_id});
      return;
    case AuthWork::Stage::kVerify: {
      // RFC 7296 2.15: the initiator signed its first message, our nonce and its identity.
      auto nonce = nonce_of(work.init_response);
      auto octets = responding.keys.auth_octets(core.crypto, true, work.init_request, *nonce, work.peer_id_body);
      if (octets.ok())
        core.act(NeedVerify{work.ask, sa.id, sa.tunnel, prf, work.method, std::move(*octets), work.peer_auth});
      return;
    }
    case AuthWork::Stage::kProve: {
      auto nonce = nonce_of(work.init_request);
      auto octets = responding.keys.auth_octets(core.crypto, false, work.init_response, *nonce,
                                                IdPayload::of(sa.tunnel->local_id).body);
      if (octets.ok()) core.act(NeedAuth{work.ask, sa.id, sa.tunnel, prf, std::move(*octets)});
      return;
    }
    case AuthWork::Stage::kInstall: return ask_install(core, sa, *work.child, work.ask);
  }
}

namespace {

void refuse_other_tunnels_choice(EngineCore& core, Instant now, IkeSa& sa, const policy::Proposal& chosen) {
  const auto request = payloads_of(work_of(sa).init_request);
  std::vector<policy::Proposal> offered{chosen};
  if (request.ok() && request->sa) offered = usable_proposals(*request->sa);
  std::vector<Field> fields{field("offered", policy::to_string(offered)),
                            field("configured", policy::to_string(sa.tunnel->ike_policy->proposals)),
                            field("chosen", policy::to_string(chosen)),
                            field("detail", std::string("chosen in IKE_SA_INIT for another tunnel of this address"))};
  refuse(core, now, sa, Reason::kNoProposalChosen, std::move(fields),
         compared_other_tunnels(*sa.tunnel, std::move(offered), chosen));
}

}  // namespace

void on_peer_found(EngineCore& core, Instant now, IkeSa& sa, const PeerFound& found) {
  const KeySchedule& keys = std::get<AuthResponding>(sa.state).keys;
  const policy::Proposal negotiated = keys.suite().to_proposal();
  sa.tunnel = found.tunnel;
  work_of(sa).stage = AuthWork::Stage::kVerify;
  // IKE_SA_INIT was answered for an address; only now is it known whether this very peer may use what was chosen.
  if (!policy::choose(found.tunnel->ike_policy->proposals, {&negotiated, 1}, policy::KeyExchangeUse::kRequired))
    return refuse_other_tunnels_choice(core, now, sa, negotiated);
  if (sa.remote_id.matches(found.tunnel->local_id)) return refuse_mirror(core, now, sa);
  if (found.tunnel->ike_policy->role == policy::Role::kInitiate)
    return refuse(core, now, sa, Reason::kRoleRefused,
                  peer_fields(sa, Error(Reason::kRoleRefused, "tunnel " + found.tunnel->name + " only initiates")));
  next_stage(core, now, sa, AuthWork::Stage::kVerify);
}

void on_peer_verified(EngineCore& core, Instant now, IkeSa& sa) {
  // Where RFC 6023 is not in force, a request without a child breaks the rules of RFC 7296 1.2.
  if (!work_of(sa).has_child && sa.tunnel->ike_policy->childless == policy::ChildlessPolicy::kRefuse)
    return refuse(core, now, sa, Reason::kChildlessRefused, {field("configured", std::string("refuse"))});
  next_stage(core, now, sa, AuthWork::Stage::kProve);
}

void on_own_auth_responder(EngineCore& core, Instant now, IkeSa& sa, AuthMade made) {
  AuthWork& work = work_of(sa);
  // The two proofs cover different messages under different keys: equal ones come from ourselves.
  if (made.auth == work.peer_auth) return refuse_mirror(core, now, sa);
  work.own_method = made.method;
  work.own_auth = std::move(made.auth);
  if (!work.has_child) return respond(core, now, sa, std::nullopt);
  auto child = begin_first_child(core, sa, work);
  if (auto* refusal = std::get_if<ChildRefusal>(&child)) return respond(core, now, sa, std::move(*refusal));
  work.child = std::move(std::get<PendingChild>(child));
  next_stage(core, now, sa, AuthWork::Stage::kInstall);
}

void on_installed_responder(EngineCore& core, Instant now, IkeSa& sa) { respond(core, now, sa, std::nullopt); }

void on_refused_responder(EngineCore& core, Instant now, IkeSa& sa, const Error& error) {
  AuthWork& work = work_of(sa);
  if (work.stage != AuthWork::Stage::kInstall) {
    Compared compared = compared_peer(sa, error.reason(), work.method, work.wanted_local_id);
    return refuse(core, now, sa, error.reason(), peer_fields(sa, error), std::move(compared));
  }
  // The kernel may have installed it all the same, or only some of it.
  core.act(RemoveChild{sa.id, ChildId(work.child->spec->spi_in.value()), work.child->spec, error.reason()});
  core.spis.release(work.child->spec->spi_in);
  work.child.reset();
  respond(core, now, sa, ChildRefusal{error, nullptr});
}

}  // namespace ipsec::ike
