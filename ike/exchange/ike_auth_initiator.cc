#include "ike/exchange/child.h"
#include "ike/exchange/ike_auth.h"
#include "ike/exchange/informational.h"
#include "ike/notify_for_error.h"

namespace ipsec::ike {
namespace {

std::vector<Field> error_fields(const IkeSa& sa, const Error& error) {
  return {field("peer", to_string(sa.path.remote)), field("identity", policy::to_string(sa.remote_id)),
          field("detail", error.text())};
}

policy::SelectorList with_trigger(const policy::SelectorList& trigger, const policy::SelectorList& configured) {
  policy::SelectorList all = trigger;
  all.insert(all.end(), configured.begin(), configured.end());
  return all;
}

/// The payloads of our IKE_AUTH request; fills what AuthSent must remember.
PayloadWriter build_request(const IkeSa& sa, const AuthContext& context, AuthMade made, AuthSent& sent) {
  const policy::ChildConfig& child = *sa.tunnel->child(context.child);
  PayloadWriter out;
  out.add(PayloadType::kIdI, IdPayload::of(sa.tunnel->local_id));
  if (sa.tunnel->remote_id) out.add(PayloadType::kIdR, IdPayload::of(*sa.tunnel->remote_id));
  out.add(AuthPayload{made.method, std::move(made.auth)});
  if (child.policy->mode == policy::EspMode::kTransport) out.add(notify(NotifyType::kUseTransportMode));
  sent.offered = esp_offer(*child.policy);
  sent.offered_local = with_trigger(context.trigger_local, child.local);
  sent.offered_remote = with_trigger(context.trigger_remote, child.remote);
  SaPayload offer;
  for (const policy::Proposal& each : sent.offered) {
    ByteWriter spi(4);
    spi.u32(sent.spi_in.value());
    offer.proposals.push_back(
        {.number = static_cast<uint8_t>(offer.proposals.size() + 1), .spi = std::move(spi).take(), .proposal = each});
  }
  out.add(offer);
  out.add(PayloadType::kTsI, TsPayload{.selectors = sent.offered_local});
  out.add(PayloadType::kTsR, TsPayload{.selectors = sent.offered_remote});
  return out;
}

/// The child in the response, or why there is none.
Result<PendingChild> read_child(const IkeSa& sa, const AuthSent& sent, const Payloads& answer) {
  if (const NotifyPayload* error = answer.first_error())
    return Error(reason_for_notify(error->type), "the peer refused the child: " + name(error->type));
  if (!answer.sa || !answer.ts_i || !answer.ts_r)
    return Error(Reason::kIkePayloadMissing, "no SA or TS in the response");
  if (answer.sa->proposals.size() != 1 || answer.sa->proposals[0].unusable)
    return Error(Reason::kIkeInvalidSyntax, "not exactly one usable proposal");
  TRY_ASSIGN(const policy::Proposal chosen, policy::check_answer(sent.offered, answer.sa->proposals[0].proposal), "");
  TRY_ASSIGN(const policy::EspSuite suite, esp_suite_of(chosen), "");
  TRY_ASSIGN(const ChildSpi spi_out, parse_esp_spi(answer.sa->proposals[0].spi), "");
  // RFC 7296 2.9: the answer may only be a subset of what was offered.
  if (answer.ts_i->selectors.empty() || answer.ts_r->selectors.empty() ||
      !policy::all_within(answer.ts_i->selectors, sent.offered_local) ||
      !policy::all_within(answer.ts_r->selectors, sent.offered_remote))
    return Error(Reason::kTsUnacceptable, "answered local " + policy::to_string(answer.ts_i->selectors) + " remote " +
                                              policy::to_string(answer.ts_r->selectors) + "; offered local " +
                                              policy::to_string(sent.offered_local) + " remote " +
                                              policy::to_string(sent.offered_remote));
  const policy::EspMode wanted = sa.tunnel->child(sent.context->child)->policy->mode;
  const bool transport = answer.notify(NotifyType::kUseTransportMode) != nullptr;
  if (transport != (wanted == policy::EspMode::kTransport))
    return Error(Reason::kModeMismatch, std::string(policy::to_string(wanted)) + " mode was offered");
  auto spec = std::make_shared<policy::ChildSpec>();
  *spec = {.tunnel = sa.tunnel,
           .child = sent.context->child,
           .spi_in = sent.spi_in,
           .spi_out = spi_out,
           .suite = suite,
           .mode = wanted,
           .local = answer.ts_i->selectors,
           .remote = answer.ts_r->selectors,
           .local_endpoint = sa.path.local,
           .remote_endpoint = sa.path.remote,
           .udp_encapsulation = sa.nat_local || sa.nat_remote,
           .initiator = true};
  return PendingChild{std::move(spec), sent.context->ni, sent.context->nr};
}

bool id_acceptable(const policy::Tunnel& tunnel, const policy::Identity& received, const Path& path) {
  if (tunnel.remote_id) return tunnel.remote_id->matches(received);
  const ByteView address = path.remote.address.bytes();
  const policy::IdType type = path.remote.address.is_v4() ? policy::IdType::kIpv4 : policy::IdType::kIpv6;
  return received.matches({type, Bytes(address.begin(), address.end())});
}

/// Ends in Established, with or without a child; tells the peer of a child that it believes in and we do not have.
void finish(EngineCore& core, Instant now, IkeSa& sa) {
  auto& finishing = std::get<AuthFinishing>(sa.state);
  std::vector<ChildSa> children;
  if (finishing.child) {
    if (Status finished = finish_child(core, sa, *finishing.child, children); !finished.ok())
      return core.destroy(sa, finished.error().reason(), error_fields(sa, finished.error()));
  } else {
    core.report(sa, finishing.refusal_reason, {field("detail", std::string(as_text(finishing.refusal)))});
    if (finishing.unused_spi) core.spis.release(*finishing.unused_spi);
  }
  const std::optional<ChildSpi> orphan = finishing.tell_peer ? finishing.unused_spi : std::nullopt;
  enter_established(core, now, sa, std::move(finishing.keys), std::move(children), false);
  core.snapshot_changed(sa);
  if (orphan) delete_child_spi(core, now, sa, *orphan);
}

}  // namespace

void ask_own_auth(EngineCore& core, IkeSa& sa) {
  auto& making = std::get<AuthMaking>(sa.state);
  // RFC 7296 2.15: our first message, the responder's nonce, our identity.
  auto octets = making.keys.auth_octets(core.crypto, true, making.context->init_request, making.context->nr,
                                        IdPayload::of(sa.tunnel->local_id).body);
  if (octets.ok()) core.act(NeedAuth{making.ask, sa.id, sa.tunnel, making.keys.suite().prf, std::move(*octets)});
}

void on_own_auth_initiator(EngineCore& core, Instant now, IkeSa& sa, AuthMade made) {
  auto& making = std::get<AuthMaking>(sa.state);
  AuthSent next{
      .keys = std::move(making.keys), .context = std::move(making.context), .spi_in = core.spis.next_child_spi()};
  const PayloadWriter request = build_request(sa, *next.context, std::move(made), next);
  core.enter(sa, std::move(next), sa.deadline);
  if (Status sent = core.send_request(now, sa, Exchange::kIkeAuth, request); !sent.ok())
    core.destroy(sa, sent.error().reason(), error_fields(sa, sent.error()));
}

void on_auth_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  auto& sent = std::get<AuthSent>(sa.state);
  const Payloads& answer = message.payloads;
  sa.window.outstanding.reset();
  if (!answer.auth || !answer.id_r) {
    // RFC 7296 2.21.2: an error instead of AUTH means that there is no IKE SA.
    const NotifyPayload* error = answer.first_error();
    const Reason reason = error != nullptr ? reason_for_notify(error->type) : Reason::kIkePayloadMissing;
    return core.destroy(sa, reason,
                        {field("notify", error != nullptr ? name(error->type) : "IDr or AUTH missing"),
                         field("identity", policy::to_string(sa.tunnel->local_id))});
  }
  sa.remote_id = answer.id_r->identity;
  auto child = read_child(sa, sent, answer);
  AuthFinishing next{.keys = std::move(sent.keys),
                     .context = std::move(sent.context),
                     .id_body = answer.id_r->body,
                     .auth = *answer.auth};
  if (child.ok()) {
    next.child = std::move(*child);
  } else {
    next.unused_spi = sent.spi_in;
    next.refusal_reason = child.error().reason();
    const ByteView text = as_bytes(child.error().detail());
    next.refusal.assign(text.begin(), text.end());
    next.tell_peer = answer.sa && answer.first_error() == nullptr;
  }
  if (!id_acceptable(*sa.tunnel, sa.remote_id, sa.path)) {
    const std::string expected =
        sa.tunnel->remote_id ? policy::to_string(*sa.tunnel->remote_id) : to_string(sa.path.remote.address);
    core.enter(sa, std::move(next), sa.deadline);
    return on_refused_initiator(core, now, sa,
                                Error(Reason::kUnknownPeerIdentity,
                                      "the peer is " + policy::to_string(sa.remote_id) + ", expected " + expected));
  }
  next.ask = core.next_ask();
  core.enter(sa, std::move(next), now + kAskTimeout);
  ask_finishing(core, sa);
}

void ask_finishing(EngineCore& core, IkeSa& sa) {
  auto& finishing = std::get<AuthFinishing>(sa.state);
  if (finishing.stage == AuthFinishing::Stage::kInstall) {
    if (Status asked = ask_install(core, sa, *finishing.child, finishing.ask); !asked.ok())
      core.count(asked.error().reason());
    return;
  }
  // RFC 7296 2.15: the responder signed its first message, our nonce and its identity.
  auto octets = finishing.keys.auth_octets(core.crypto, false, finishing.context->init_response, finishing.context->ni,
                                           finishing.id_body);
  if (octets.ok())
    core.act(NeedVerify{finishing.ask, sa.id, sa.tunnel, finishing.keys.suite().prf, finishing.auth.method,
                        std::move(*octets), finishing.auth.data});
}

void on_responder_verified(EngineCore& core, Instant now, IkeSa& sa) {
  auto& finishing = std::get<AuthFinishing>(sa.state);
  if (!finishing.child) return finish(core, now, sa);
  finishing.stage = AuthFinishing::Stage::kInstall;
  finishing.ask = core.next_ask();
  sa.deadline = now + kAskTimeout;
  ask_finishing(core, sa);
}

void on_installed_initiator(EngineCore& core, Instant now, IkeSa& sa) { finish(core, now, sa); }

void on_refused_initiator(EngineCore& core, Instant now, IkeSa& sa, const Error& error) {
  auto& finishing = std::get<AuthFinishing>(sa.state);
  if (finishing.stage == AuthFinishing::Stage::kVerify) {
    // RFC 7296 2.21.2: we refuse the peer; an INFORMATIONAL request tells it so, and the IKE SA ends.
    if (finishing.unused_spi) core.spis.release(*finishing.unused_spi);
    if (finishing.child) core.spis.release(finishing.child->spec->spi_in);
    core.report(sa, error.reason(), error_fields(sa, error));
    return start_delete_ike(core, now, sa, error.reason(), NotifyType::kAuthenticationFailed);
  }
  core.act(RemoveChild{sa.id, ChildId(finishing.child->spec->spi_in.value()), finishing.child->spec, error.reason()});
  finishing.unused_spi = finishing.child->spec->spi_in;
  finishing.refusal_reason = error.reason();
  const std::string text = error.text();
  finishing.refusal.assign(text.begin(), text.end());
  finishing.tell_peer = true;
  finishing.child.reset();
  finish(core, now, sa);
}

void enter_established(EngineCore& core, Instant now, IkeSa& sa, KeySchedule keys, std::vector<ChildSa> children,
                       bool initial_contact) {
  keys.forget_auth_keys();
  const policy::Proposal proposal = keys.suite().to_proposal();
  const bool has_child = !children.empty();
  core.enter(sa, Established{.keys = std::move(keys), .children = std::move(children)}, std::nullopt);
  sa.established_at = now;
  sa.last_heard = now;
  core.report(sa, Reason::kIkeEstablished,
              {field("peer", to_string(sa.path.remote)), field("identity", policy::to_string(sa.remote_id)),
               field("proposal", policy::to_string(proposal))});
  core.act(IdentityEstablished{sa.id, sa.tunnel, has_child, initial_contact});
}

}  // namespace ipsec::ike
