#include "ike/exchange/child.h"
#include "ike/exchange/compared.h"
#include "ike/exchange/create_child.h"
#include "ike/exchange/ike_auth.h"
#include "ike/exchange/informational.h"
#include "ike/notify_for_error.h"

namespace ipsec::ike {
namespace {

std::vector<Field> error_fields(const IkeSa& sa, const Error& error) {
  return {field("peer", to_string(sa.path.remote)), field("identity", policy::to_string(sa.remote_id)),
          field("detail", error.text())};
}

/// The payloads of our IKE_AUTH request; fills what AuthSent must remember.
PayloadWriter build_request(const IkeSa& sa, const AuthContext& context, AuthMade made, AuthSent& sent) {
  PayloadWriter out;
  out.add(PayloadType::kIdI, IdPayload::of(sa.tunnel->local_id));
  if (sa.tunnel->remote_id) out.add(PayloadType::kIdR, IdPayload::of(*sa.tunnel->remote_id));
  out.add(AuthPayload{made.method, std::move(made.auth)});
  if (context.initial_contact) out.add(notify(NotifyType::kInitialContact));
  if (context.childless) return out;
  const policy::ChildConfig& child = *sa.tunnel->child(context.child);
  if (child.policy->mode == policy::EspMode::kTransport) out.add(notify(NotifyType::kUseTransportMode));
  sent.offered = esp_offer(*child.policy, ChildExchange::kIkeAuth);
  sent.offered_local = offered_selectors(context.trigger_local, child.local);
  sent.offered_remote = offered_selectors(context.trigger_remote, child.remote);
  add_offer(out, sent.offered, sent.spi_in);
  out.add(PayloadType::kTsI, TsPayload{.selectors = sent.offered_local});
  out.add(PayloadType::kTsR, TsPayload{.selectors = sent.offered_remote});
  return out;
}

/// The child in the response, or why there is none.
std::variant<PendingChild, ChildRefusal> read_child(EngineCore& core, const IkeSa& sa, const AuthSent& sent,
                                                    const Payloads& answer) {
  const policy::ChildConfig& config = *sa.tunnel->child(sent.context->child);
  auto read = read_child_answer({*sa.tunnel, config, sent.offered, sent.offered_local, sent.offered_remote, answer});
  if (auto* refusal = std::get_if<ChildRefusal>(&read)) return std::move(*refusal);
  const ChildAccepted& accepted = std::get<ChildAccepted>(read);
  auto spec = std::make_shared<policy::ChildSpec>(child_spec(sa, config));
  spec->spi_in = sent.spi_in;
  spec->spi_out = accepted.spi_out;
  spec->suite = accepted.suite;
  spec->mode = accepted.mode;
  spec->local = answer.ts_i->selectors;
  spec->remote = answer.ts_r->selectors;
  spec->initiator = true;
  auto pending = make_pending(core, sa, std::move(spec), sent.context->ni, sent.context->nr);
  if (pending.ok()) return std::move(*pending);
  return ChildRefusal{std::move(pending).error(), nullptr};
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
    children.push_back(make_child(core, now, std::move(*finishing.child)));
    use_child(core, now, sa, children, children.front().id);
  } else if (finishing.unused_spi) {
    core.spis.release(*finishing.unused_spi);
  }
  const std::optional<ChildSpi> orphan = finishing.tell_peer ? finishing.unused_spi : std::nullopt;
  const std::unique_ptr<AuthContext> context = std::move(finishing.context);
  const bool child_follows = context->childless && !context->child.empty();
  enter_established(core, now, sa, std::move(finishing.keys), std::move(children), {.child_follows = child_follows});
  if (child_follows)
    (void)add_task(core, now, sa,
                   {.kind = Task::Kind::kCreateChild,
                    .name = context->child,
                    .trigger_local = context->trigger_local,
                    .trigger_remote = context->trigger_remote});
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
  AuthSent next{.keys = std::move(making.keys), .context = std::move(making.context)};
  if (!next.context->childless) next.spi_in = core.spis.next_child_spi();
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
    const Reason reason = error != nullptr ? reason_for_notify(error->type)
                          : answer.eap     ? Reason::kEapNotServed
                                           : Reason::kIkePayloadMissing;
    return core.destroy(sa, reason,
                        {field("notify", error != nullptr ? name(error->type) : "IDr or AUTH missing"),
                         field("identity", policy::to_string(sa.tunnel->local_id))},
                        reason == Reason::kPeerAuthFailed ? refused_proof(*sa.tunnel) : nullptr);
  }
  sa.remote_id = answer.id_r->identity;
  const bool childless = sent.context->childless;
  std::variant<PendingChild, ChildRefusal> child;
  if (!childless) child = read_child(core, sa, sent, answer);
  AuthFinishing next{.keys = std::move(sent.keys),
                     .context = std::move(sent.context),
                     .id_body = answer.id_r->body,
                     .auth = *answer.auth};
  if (childless) {
    // Nothing of a child was asked for, so nothing of one is looked at.
  } else if (auto* pending = std::get_if<PendingChild>(&child)) {
    next.child = std::move(*pending);
  } else {
    const ChildRefusal& refusal = std::get<ChildRefusal>(child);
    next.unused_spi = sent.spi_in;
    next.tell_peer = answer.sa && answer.first_error() == nullptr;
    core.report(sa, refusal.error.reason(), {field("detail", refusal.error.text())}, refusal.negotiation);
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
  const bool proves_nothing = next.auth.method == AuthMethod::kNull;
  const bool is_mirror = sa.remote_id.matches(sa.tunnel->local_id);
  core.enter(sa, std::move(next), now + kAskTimeout);
  if (proves_nothing)
    return on_refused_initiator(core, now, sa, Error(Reason::kNullAuthNotServed, name(AuthMethod::kNull)));
  if (is_mirror) return on_refused_initiator(core, now, sa, Error(Reason::kAuthFailed, "the peer shows our own name"));
  ask_finishing(core, sa);
}

void ask_finishing(EngineCore& core, IkeSa& sa) {
  auto& finishing = std::get<AuthFinishing>(sa.state);
  if (finishing.stage == AuthFinishing::Stage::kInstall) {
    return ask_install(core, sa, *finishing.child, finishing.ask);
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
    core.report(sa, error.reason(), error_fields(sa, error), compared_peer(sa, error.reason(), finishing.auth.method));
    return start_delete_ike(core, now, sa, error.reason(), NotifyType::kAuthenticationFailed);
  }
  core.act(RemoveChild{sa.id, ChildId(finishing.child->spec->spi_in.value()), finishing.child->spec, error.reason()});
  finishing.unused_spi = finishing.child->spec->spi_in;
  core.report(sa, error.reason(), {field("detail", error.text())});
  finishing.tell_peer = true;
  finishing.child.reset();
  finish(core, now, sa);
}

void enter_established(EngineCore& core, Instant now, IkeSa& sa, KeySchedule keys, std::vector<ChildSa> children,
                       const FirstContact& contact) {
  keys.forget_auth_keys();
  const policy::Proposal proposal = keys.suite().to_proposal();
  const bool has_child = !children.empty() || contact.child_follows;
  core.enter(sa, Established{.keys = std::move(keys), .children = std::move(children)}, std::nullopt);
  core.start_lifetime(now, sa);
  std::get<Established>(sa.state).keepalive_at = now + sa.tunnel->ike_policy->nat_keepalive;
  sa.established_at = now;
  sa.last_heard = now;
  core.report(sa, Reason::kIkeEstablished,
              {field("peer", to_string(sa.path.remote)), field("identity", policy::to_string(sa.remote_id)),
               field("proposal", policy::to_string(proposal))});
  core.act(IdentityEstablished{sa.id, sa.tunnel, has_child, contact.initial});
}

}  // namespace ipsec::ike
