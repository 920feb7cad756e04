#include "ike/engine.h"

#include <algorithm>

#include "ike/core.h"
#include "ike/exchange/child.h"
#include "ike/exchange/compared.h"
#include "ike/exchange/create_child.h"
#include "ike/exchange/ike_auth.h"
#include "ike/exchange/ike_sa_init.h"
#include "ike/exchange/informational.h"
#include "ike/exchange/upkeep.h"
#include "ike/notify_for_error.h"
#include "ike/sa/transitions.h"
#include "ike/snapshot.h"

namespace ipsec::ike {

namespace {

/// A changed configuration comes into force between two exchanges: one under way goes on by what it began with.
void take_over_tunnel(IkeSa& sa) {
  const auto* established = std::get_if<Established>(&sa.state);
  if (established != nullptr && !established->has_exchange()) sa.tunnel = std::exchange(sa.next_tunnel, nullptr);
}

}  // namespace

struct IkeEngine::Impl {
  Impl(Options options, Random& random, SpiSource& spis) : core(options, random, spis) {}

  void on_message(Instant now, IkeSa& sa, const Path& path, const Header& header, ByteView datagram);
  void on_request(Instant now, IkeSa& sa, const Path& path, const Header& header, ByteView datagram);
  void on_response(Instant now, IkeSa& sa, const Path& path, const Header& header, ByteView datagram);
  void dispatch(Instant now, IkeSa& sa, const Message& message, MessageRole role);
  void follow_peer(IkeSa& sa, const Path& path);
  std::optional<Bytes> open(IkeSa& sa, ByteView datagram, const Payloads& outer);
  void on_forged(IkeSa& sa);
  Status make_keys(IkeSa& sa);
  void answer_version(Instant now, const Path& path, const Header& header);
  void on_timer(Instant now, IkeSa& sa);
  bool retransmit(Instant now, IkeSa& sa);
  void on_deadline(Instant now, IkeSa& sa);
  template <typename Value>
  void answer_child(Instant now, IkeSa& sa, AskId ask, const Value& value);
  IkeSa* owner_of(IkeSaId ike, std::optional<ChildId> child = std::nullopt);
  void settle(IkeSaId id);
  void serve_waiting(Instant now);

  EngineCore core;
};

IkeEngine::IkeEngine(Options options, Random& random, SpiSource& spis)
    : impl_(std::make_unique<Impl>(options, random, spis)) {}
IkeEngine::~IkeEngine() = default;

/// Closes every public input that touched an IKE SA: its timer follows its state, and its invariants hold.
void IkeEngine::Impl::settle(IkeSaId id) {
  core.ended.clear();
  IkeSa* sa = core.find(id);
  if (sa == nullptr) return;
  if (sa->next_tunnel) take_over_tunnel(*sa);
  VERIFY(sa->is_consistent());
  core.arm(*sa);
}

void IkeEngine::adopt(const FindTunnel& find) {
  for (auto& [id, sa] : impl_->core.sas) {
    if (!sa->tunnel) continue;  // asks for its peer yet, and gets the new one
    // What has no IKE any more ends by itself: whoever changed it closes its IKE SAs.
    if (auto tunnel = find(sa->tunnel->name); tunnel && tunnel->ike_policy) sa->next_tunnel = std::move(tunnel);
    impl_->settle(id);
  }
}

/// Rekeys that waited for others to end.
void IkeEngine::Impl::serve_waiting(Instant now) {
  while (!core.pace_queue.empty() && core.own_exchanges < core.own_exchanges_max) {
    IkeSa* sa = core.find(core.pace_queue.front());
    core.pace_queue.pop_front();
    auto* established = sa != nullptr ? std::get_if<Established>(&sa->state) : nullptr;
    if (established == nullptr) continue;
    established->waits_for_pace = false;
    const IkeSaId id = sa->id;
    serve(core, now, *sa);
    settle(id);
  }
}

void IkeEngine::Impl::answer_version(Instant now, const Path& path, const Header& header) {
  // RFC 7296 2.5: a request of a higher major version is answered with the highest that we speak. One header and eight
  // bytes: smaller than what it answers.
  if (header.is_response() || header.major_version() < 2) return;
  if (!core.admission.may_answer(now)) return core.count(Reason::kIkeAnswerRate);
  PayloadWriter out;
  out.add(notify(NotifyType::kInvalidMajorVersion));
  core.send_stateless(path, EngineCore::plain_message({.initiator_spi = header.initiator_spi,
                                                       .responder_spi = header.responder_spi,
                                                       .exchange = header.exchange,
                                                       .flags = Header::kFlagResponse,
                                                       .message_id = header.message_id},
                                                      out));
}

void IkeEngine::receive(Instant now, const Path& path, ByteView datagram) {
  EngineCore& core = impl_->core;
  auto header = Header::parse(datagram);
  if (!header.ok()) return core.count(Reason::kIkeShort);
  if (header->major_version() != 2) {
    core.count(Reason::kIkeVersion);
    if (datagram.size() >= Header::kBytes + 8 && header->length == datagram.size())
      impl_->answer_version(now, path, *header);
    return;
  }
  if (header->length != datagram.size()) return core.count(Reason::kIkeLength);
  if (!header->initiator_spi) return core.count(Reason::kIkeZeroSpi);
  const bool known = is_known(header->exchange);
  const bool first = header->exchange == Exchange::kIkeSaInit && !header->is_response() && !header->responder_spi;
  if (first) {
    on_init_request(core, now, path, *header, datagram);
    if (auto it = core.init_index.find({header->initiator_spi.value(), path.remote}); it != core.init_index.end())
      impl_->settle(it->second);
    return;
  }
  // The flag says which of the two SPIs the sender chose; the other one is ours (RFC 7296 3.1).
  const IkeSpi ours = header->from_initiator() ? header->responder_spi : header->initiator_spi;
  IkeSa* sa = core.find(IkeSaId(ours.value()));
  if (!known && (sa == nullptr || header->is_response())) return core.count(Reason::kIkeExchangeUnknown);
  if (sa == nullptr || sa->initiator == header->from_initiator()) return core.count(Reason::kIkeUnknownSpi);
  const IkeSpi theirs = header->from_initiator() ? header->initiator_spi : header->responder_spi;
  const IkeSpi expected = sa->initiator ? sa->spi_r : sa->spi_i;
  if (expected ? theirs != expected : sa->state_id() != StateId::kInitSent) return core.count(Reason::kIkeUnknownSpi);
  const IkeSaId id = sa->id;
  impl_->on_message(now, *sa, path, *header, datagram);
  impl_->settle(id);
  impl_->serve_waiting(now);
}

void IkeEngine::Impl::on_message(Instant now, IkeSa& sa, const Path& path, const Header& header, ByteView datagram) {
  if (header.is_response())
    on_response(now, sa, path, header, datagram);
  else
    on_request(now, sa, path, header, datagram);
}

namespace {

bool deletes_ike(const Payloads& payloads) {
  return std::ranges::any_of(payloads.deletes,
                             [](const DeletePayload& each) { return each.protocol == policy::Protocol::kIke; });
}

/// What was inside the encrypted payload: anything but another one (RFC 7296 3.14).
Result<Payloads> parse_inner(EngineCore& core, const Payloads& outer, ByteView plain) {
  core.count(outer);  // authentic by now
  TRY_ASSIGN(Payloads inner, parse_payloads(outer.encrypted->inner, plain), "");
  if (inner.encrypted) return Error(Reason::kIkeNestedEncryption, "an encrypted payload inside an encrypted payload");
  core.count(inner);
  return inner;
}

}  // namespace

/// RFC 7296 2.23: the address of a peer behind a NAT is that of its last authentic message. Whoever is behind one
/// itself does not follow, lest somebody on the way leads it astray.
void IkeEngine::Impl::follow_peer(IkeSa& sa, const Path& path) {
  if (!sa.nat_remote || sa.nat_local || path.remote == sa.path.remote || sa.state_id() != StateId::kEstablished) return;
  sa.path = path;
  core.report(sa, Reason::kNatDetected, {field("peer", to_string(path.remote))});
}

void IkeEngine::Impl::on_request(Instant now, IkeSa& sa, const Path& path, const Header& header, ByteView datagram) {
  switch (sa.window.judge_request(header.message_id, datagram_hash(datagram))) {
    case MessageWindow::Verdict::kNew: break;
    case MessageWindow::Verdict::kInProgress: return core.count(Reason::kIkeRetransmitted);
    case MessageWindow::Verdict::kBeyond: return core.count(Reason::kIkeWindow);
    case MessageWindow::Verdict::kForeign: return core.count(Reason::kIkeMessageId);
    case MessageWindow::Verdict::kRepeated: {
      Answered& answered = *sa.window.answered;
      if (now - answered.sent_at < kResponseCacheInterval) return core.count(Reason::kIkeRetransmitLimited);
      core.count(Reason::kIkeRetransmitted);
      answered.sent_at = now;
      return core.send(sa, answered.path, answered.response);
    }
  }
  // Every request but the first IKE_SA_INIT is protected.
  auto outer = parse_payloads(header.next_payload, datagram.subspan(Header::kBytes));
  if (!outer.ok()) return core.count(outer.error().reason());
  if (!outer->encrypted) return core.count(header.may_be_plain() ? Reason::kIkeUnexpected : Reason::kIkeFirstPayload);
  const bool belongs = find_transition(sa.state_id(), header.exchange, MessageRole::kRequest) != nullptr;
  const Reason misplaced = is_known(header.exchange) ? Reason::kIkeUnexpected : Reason::kIkeExchangeUnknown;
  // RFC 7296 2.21.3: once the peer is authenticated, each request gets an answer; before that nobody is owed one
  // (2.21.2).
  if (!belongs && !sa.authenticated()) return core.count(misplaced);
  auto plain = open(sa, datagram, *outer);
  if (!plain) return;
  if (header.message_id == UINT32_MAX) return core.destroy(sa, Reason::kIkeMessageIdsUsedUp);  // RFC 7296 2.2
  auto payloads = parse_inner(core, *outer, *plain);
  sa.last_heard = now;
  follow_peer(sa, path);
  static const Payloads kNothing;
  const Message message{path, header, datagram, payloads.ok() ? *payloads : kNothing};
  if (!payloads.ok()) return answer_invalid(core, now, sa, message, payloads.error());
  if (!belongs)
    return answer_invalid(core, now, sa, message, Error(misplaced, "a request of " + name(header.exchange)));
  dispatch(now, sa, message, MessageRole::kRequest);
}

void IkeEngine::Impl::on_response(Instant now, IkeSa& sa, const Path& path, const Header& header, ByteView datagram) {
  if (!sa.window.outstanding || sa.window.outstanding->message_id != header.message_id ||
      sa.window.outstanding->exchange != header.exchange)
    return core.count(Reason::kIkeUnexpected);
  auto outer = parse_payloads(header.next_payload, datagram.subspan(Header::kBytes));
  if (!outer.ok()) return core.count(outer.error().reason());
  if (sa.state_id() == StateId::kInitSent) {
    // Not protected, so at least from where the request went.
    if (path.remote != sa.window.outstanding->path.remote) return core.count(Reason::kIkeForeignPath);
    core.count(*outer);
    return dispatch(now, sa, {path, header, datagram, *outer}, MessageRole::kResponse);
  }
  // An unprotected error in answer to a protected request proves nothing (RFC 7296 2.21.4): retransmission goes on.
  if (!outer->encrypted) return core.count(header.may_be_plain() ? Reason::kIkeUnexpected : Reason::kIkeFirstPayload);
  auto plain = open(sa, datagram, *outer);
  if (!plain) return;
  auto payloads = parse_inner(core, *outer, *plain);
  sa.last_heard = now;
  follow_peer(sa, path);
  if (!payloads.ok())
    // RFC 7296 2.21: a response that is authentic and malformed leaves both sides in doubt about what holds.
    return core.destroy(sa, payloads.error().reason(), {field("detail", payloads.error().text())});
  dispatch(now, sa, {path, header, datagram, *payloads}, MessageRole::kResponse);
}

void IkeEngine::Impl::dispatch(Instant now, IkeSa& sa, const Message& message, MessageRole role) {
  const Transition* row = find_transition(sa.state_id(), message.header.exchange, role);
  if (row == nullptr) return core.count(Reason::kIkeUnexpected);
  for (PayloadType type : row->required)
    if (!message.payloads.has(type))
      return answer_invalid(core, now, sa, message, Error(Reason::kIkePayloadMissing, name(type)));
  // Requests on an IKE SA that the peer made while our rekey crosses its own: it uses it, so it stands (RFC
  // 7296 2.8.2).
  if (const auto* established = std::get_if<Established>(&sa.state);
      established != nullptr && established->predecessor && role == MessageRole::kRequest &&
      !deletes_ike(message.payloads))
    if (IkeSa* old = core.find(*established->predecessor)) adopt_by_rival(core, *old);
  row->handle(core, now, sa, message);
}

std::optional<Bytes> IkeEngine::Impl::open(IkeSa& sa, ByteView datagram, const Payloads& outer) {
  if (sa.keys() == nullptr) {
    Status made = make_keys(sa);
    if (!made.ok()) {
      core.destroy(sa, made.error().reason(), {field("detail", made.error().text())});
      return std::nullopt;
    }
  }
  auto plain =
      core.crypto.open(sa.keys()->cipher_keys(!sa.initiator), datagram, Header::kBytes + outer.encrypted->offset);
  if (!plain.ok()) {
    core.count(plain.error().reason());
    on_forged(sa);
    return std::nullopt;
  }
  sa.forged_in_row = 0;
  return std::move(*plain);
}

/// Whoever has seen a set-up knows its SPIs and can send forged messages into it; whoever has not cannot hit it. So
/// forgeries must not end what the true peer may still complete: each further message is tried all the same, at the
/// price of one decryption, and the first good one goes on as if nothing had been. What many forgeries do cost is the
/// patience: a half-open IKE SA that nobody but a forger talks to (or whose peer computes other keys) makes room
/// sooner. Once a message was good, and where we are the initiator, the IKE SA waits as long as ever.
void IkeEngine::Impl::on_forged(IkeSa& sa) {
  if (sa.forged_in_row < UINT16_MAX) ++sa.forged_in_row;
  if (sa.state_id() != StateId::kInitAnswered || sa.forged_in_row != core.options.admission.decrypt_failures_max)
    return;
  sa.deadline = std::min(*sa.deadline, sa.window.answered->sent_at + kForgedTimeout);
  core.report(sa, Reason::kIkeDecryptLimit,
              {field("peer", to_string(sa.path.remote)), field("limit", uint64_t{sa.forged_in_row})});
}

/// Responder: the first protected message is here, now the shared secret is worth its price. It is computed once,
/// however many forged messages follow.
Status IkeEngine::Impl::make_keys(IkeSa& sa) {
  auto& init = std::get<InitAnswered>(sa.state);
  TRY_ASSIGN(const Header header, Header::parse(init.request), "");
  TRY_ASSIGN(const Payloads request,
             parse_payloads(header.next_payload, ByteView(init.request).subspan(Header::kBytes)), "");
  const ByteView answer = sa.window.answered->response;
  TRY_ASSIGN(const Payloads response,
             parse_payloads(Header::parse(answer)->next_payload, answer.subspan(Header::kBytes)), "");
  TRY_ASSIGN(Secret shared, core.crypto.shared_secret(init.key_pair, request.ke->public_value), "shared secret");
  TRY_ASSIGN(KeySchedule keys,
             KeySchedule::derive(core.crypto, init.suite,
                                 {request.nonce->nonce, response.nonce->nonce, sa.spi_i, sa.spi_r}, std::move(shared)),
             "keys");
  init.keys.emplace(std::move(keys));
  return {};
}

void IkeEngine::tick(Instant now) {
  while (auto id = impl_->core.timers.pop_due(now)) {
    IkeSa* sa = impl_->core.find(*id);
    if (sa == nullptr) continue;
    impl_->on_timer(now, *sa);
    impl_->settle(*id);
  }
  impl_->serve_waiting(now);
}

void IkeEngine::Impl::on_timer(Instant now, IkeSa& sa) {
  if (sa.deadline && *sa.deadline <= now) return on_deadline(now, sa);
  if (sa.window.outstanding && sa.window.outstanding->next_at <= now && !retransmit(now, sa)) return;
  if (sa.state_id() == StateId::kEstablished) run_upkeep(core, now, sa);
}

/// Sends our request again, or gives the peer up; false when the IKE SA is gone.
bool IkeEngine::Impl::retransmit(Instant now, IkeSa& sa) {
  Outstanding& request = *sa.window.outstanding;
  if (believes_hint(sa)) return end_unanswered_init(core, sa), false;
  const policy::RetransmitPolicy& policy = sa.tunnel->ike_policy->retransmit;
  const uint8_t tries = request.tries != 0 ? request.tries : policy.tries;
  if (request.sent >= tries) {
    if (end_unanswered_init(core, sa)) return false;
    return core.destroy(sa, Reason::kPeerUnreachable,
                        {field("peer", to_string(request.path.remote)), field("tries", uint64_t{request.sent})}),
           false;
  }
  ++request.sent;
  constexpr int64_t kPercent = 100;
  request.interval = std::min(request.interval * policy.factor_percent / kPercent, policy.most);
  request.next_at = now + request.interval;
  core.send(sa, request.path, request.bytes);
  return true;
}

void IkeEngine::Impl::on_deadline(Instant now, IkeSa& sa) {
  const Error late(Reason::kTimeout, "no answer in state " + std::string(to_string(sa.state_id())));
  switch (sa.state_id()) {
    case StateId::kAuthResponding: return on_refused_responder(core, now, sa, late);
    case StateId::kAuthFinishing: return on_refused_initiator(core, now, sa, late);
    case StateId::kInitPolicyWait:
    case StateId::kInitAnswered:
    case StateId::kInitSent:
    case StateId::kAuthMaking:
    case StateId::kAuthSent:
      if (end_unanswered_init(core, sa)) return;
      return core.destroy(
          sa, Reason::kSetupTimeout,
          {field("peer", to_string(sa.path.remote)), field("state", std::string(to_string(sa.state_id())))});
    case StateId::kRekeyed: return start_delete_ike(core, now, sa, Reason::kReplaced);
    case StateId::kEnded: return;
    case StateId::kEstablished:
    case StateId::kDeleting:
      return core.destroy(sa, Reason::kPeerUnreachable, {field("peer", to_string(sa.path.remote))});
  }
}

std::optional<Instant> IkeEngine::next_deadline() const { return impl_->core.timers.next(); }

std::optional<Action> IkeEngine::poll_action() {
  auto& actions = impl_->core.actions;
  if (actions.empty()) return std::nullopt;
  Action action = std::move(actions.front());
  actions.pop_front();
  return action;
}

/// The kernel about a child of CREATE_CHILD_SA.
template <typename Value>
void IkeEngine::Impl::answer_child(Instant now, IkeSa& sa, AskId ask, const Value& value) {
  const auto& established = std::get<Established>(sa.state);
  const bool of_peer = established.peer && established.peer->ask == ask;
  if constexpr (std::is_same_v<Value, Installed>)
    return of_peer ? on_peer_child_installed(core, now, sa) : on_own_child_installed(core, now, sa);
  else if constexpr (std::is_same_v<Value, Refused>)
    return of_peer ? on_peer_child_refused(core, now, sa, value.error)
                   : on_own_child_refused(core, now, sa, value.error);
  core.count(Reason::kInternal);  // an answer of another kind than the question
}

void IkeEngine::answer(Instant now, Answer answer) {
  EngineCore& core = impl_->core;
  IkeSa* sa = core.find(answer.ike);
  if (sa == nullptr || !sa->waits_for(answer.id)) return core.count(Reason::kCancelled);
  const StateId state = sa->state_id();
  std::visit(
      [&](auto& value) {
        using V = std::decay_t<decltype(value)>;
        if (state == StateId::kEstablished) return impl_->answer_child(now, *sa, answer.id, value);
        const bool responder = state == StateId::kAuthResponding;
        const auto stage = responder ? std::get<AuthResponding>(sa->state).work->stage : AuthWork::Stage::kPeer;
        const bool installing = state == StateId::kAuthFinishing &&
                                std::get<AuthFinishing>(sa->state).stage == AuthFinishing::Stage::kInstall;
        if constexpr (std::is_same_v<V, InitPolicy>) {
          if (state == StateId::kInitPolicyWait) return on_init_policy(core, now, *sa, value);
        } else if constexpr (std::is_same_v<V, PeerFound>) {
          if (responder && stage == AuthWork::Stage::kPeer) return on_peer_found(core, now, *sa, value);
        } else if constexpr (std::is_same_v<V, AuthChecked>) {
          if (responder && stage == AuthWork::Stage::kVerify) return on_peer_verified(core, now, *sa);
          if (state == StateId::kAuthFinishing && !installing) return on_responder_verified(core, now, *sa);
        } else if constexpr (std::is_same_v<V, AuthMade>) {
          if (responder && stage == AuthWork::Stage::kProve)
            return on_own_auth_responder(core, now, *sa, std::move(value));
          if (state == StateId::kAuthMaking) return on_own_auth_initiator(core, now, *sa, std::move(value));
        } else if constexpr (std::is_same_v<V, Installed>) {
          if (responder && stage == AuthWork::Stage::kInstall) return on_installed_responder(core, now, *sa);
          if (installing) return on_installed_initiator(core, now, *sa);
        } else {
          if (responder) return on_refused_responder(core, now, *sa, value.error);
          if (state == StateId::kAuthFinishing) return on_refused_initiator(core, now, *sa, value.error);
          return core.destroy(*sa, value.error.reason(), {field("detail", value.error.text())});
        }
        core.count(Reason::kInternal);  // an answer of another kind than the question
      },
      answer.value);
  impl_->settle(answer.ike);
  impl_->serve_waiting(now);
}

Result<IkeSaId> IkeEngine::initiate(Instant now, std::shared_ptr<const policy::Tunnel> tunnel, std::string_view child,
                                    const Path& path,
                                    std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>> trigger,
                                    Contact contact) {
  auto id = start_init(impl_->core, now, std::move(tunnel), child, path, trigger);
  if (id.ok()) std::get<InitSent>(impl_->core.find(*id)->state).initial_contact = contact == Contact::kInitial;
  if (id.ok()) impl_->settle(*id);
  return id;
}

void IkeEngine::close_ike(Instant now, IkeSaId ike, Reason reason, CloseMode mode) {
  IkeSa* sa = impl_->core.find(ike);
  if (sa != nullptr && sa->successor) sa = impl_->core.find(*sa->successor);
  if (sa == nullptr || sa->state_id() == StateId::kDeleting) return;
  auto* established = std::get_if<Established>(&sa->state);
  // Made by the peer while our own rekey crosses: which of the two stands is not known yet, so the end waits for that.
  if (established != nullptr && established->predecessor && mode == CloseMode::kTellPeer)
    if (IkeSa* old = impl_->core.find(*established->predecessor)) {
      sa = old;
      established = std::get_if<Established>(&sa->state);
    }
  const IkeSaId id = sa->id;
  if (established == nullptr || mode == CloseMode::kSilently) return impl_->core.destroy(*sa, reason);
  impl_->core.report(*sa, reason);
  // Its rekey is with the peer, who may have made the new one already: that one has to be closed.
  if (established->own && established->own->task.kind == Task::Kind::kRekeyIke)
    established->closing = reason;
  else
    start_delete_ike(impl_->core, now, *sa, reason);
  impl_->settle(id);
  impl_->serve_waiting(now);
}

/// The IKE SA that a child, or with nothing said any, belongs to now: the shell may not know of a rekey yet.
IkeSa* IkeEngine::Impl::owner_of(IkeSaId ike, std::optional<ChildId> child) {
  IkeSa* sa = core.find(ike);
  for (int steps = 0; sa != nullptr && steps < 8; ++steps) {
    auto* established = std::get_if<Established>(&sa->state);
    if (established != nullptr && (!child || established->child(*child) != nullptr)) return sa;
    sa = sa->successor ? core.find(*sa->successor) : nullptr;
  }
  return nullptr;
}

void IkeEngine::close_child(Instant now, IkeSaId ike, ChildId child, Reason reason) {
  IkeSa* sa = impl_->owner_of(ike, child);
  if (sa == nullptr) return;
  ChildSa& closed = *std::get<Established>(sa->state).child(child);
  if (closed.phase == ChildPhase::kDeleting || closed.phase == ChildPhase::kClosed ||
      closed.phase == ChildPhase::kLingering)
    return;
  impl_->core.report(*sa, Reason::kChildDeleted, {field("child", closed.spec->child), field("by", std::string("us"))});
  ike::close_child(impl_->core, now, *sa, closed, reason);
  serve(impl_->core, now, *sa);
  impl_->settle(sa->id);
}

Status IkeEngine::create_child(Instant now, IkeSaId ike, std::string_view child,
                               std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>> trigger,
                               policy::SelectorPair only) {
  IkeSa* sa = impl_->owner_of(ike);
  if (sa == nullptr) return Error(Reason::kNotFound, "an established IKE SA");
  if (sa->tunnel->child(child) == nullptr) return Error(Reason::kNotFound, "child " + std::string(child));
  Task task{.kind = Task::Kind::kCreateChild, .name = std::string(child), .reason = Reason::kTrafficStart};
  task.only = std::move(only);
  if (trigger) {
    task.trigger_local.push_back(trigger->first);
    task.trigger_remote.push_back(trigger->second);
  }
  const IkeSaId id = sa->id;
  Status added = add_task(impl_->core, now, *sa, std::move(task));
  impl_->settle(id);
  return added;
}

void IkeEngine::rekey_child(Instant now, IkeSaId ike, ChildId child, Reason reason) {
  IkeSa* sa = impl_->owner_of(ike, child);
  if (sa == nullptr || std::get<Established>(sa->state).child(child)->phase != ChildPhase::kInUse) return;
  const IkeSaId id = sa->id;
  // Without a reason of its own it is an operator's wish, whose outcome is told.
  if (reason != Reason::kNone) impl_->core.report(*sa, reason, {field("spi_in", hex(ChildSpi(child.value())))});
  (void)add_task(impl_->core, now, *sa, {.kind = Task::Kind::kRekeyChild, .child = child, .reason = reason});
  impl_->settle(id);
}

void IkeEngine::rekey_ike(Instant now, IkeSaId ike, Reason reason) {
  IkeSa* sa = impl_->owner_of(ike);
  if (sa == nullptr) return;
  const IkeSaId id = sa->id;
  if (reason != Reason::kNone) impl_->core.report(*sa, reason);
  (void)add_task(impl_->core, now, *sa, {.kind = Task::Kind::kRekeyIke, .reason = reason});
  impl_->settle(id);
}

void IkeEngine::inbound_used(Instant now, IkeSaId ike, ChildId child) {
  IkeSa* sa = impl_->owner_of(ike, child);
  if (sa == nullptr) return;
  child_seen_in_use(impl_->core, now, *sa, child);
  impl_->settle(sa->id);
}

void IkeEngine::child_used(Instant, IkeSaId ike, ChildId child) {
  if (IkeSa* sa = impl_->owner_of(ike, child)) std::get<Established>(sa->state).child(child)->used = true;
}

void IkeEngine::check_liveness(Instant now, IkeSaId ike) {
  IkeSa* sa = impl_->core.find(ike);
  if (sa == nullptr) return;
  ike::check_liveness(impl_->core, now, *sa);
  impl_->settle(ike);
}

std::optional<Secret> IkeEngine::snapshot(Instant now, IkeSaId ike) const {
  const IkeSa* sa = impl_->core.find(ike);
  if (sa == nullptr) return std::nullopt;
  return write_snapshot(*sa, now);
}

Result<IkeSaId> IkeEngine::restore(Instant now, const Secret& snapshot, const FindTunnel& find_tunnel) {
  EngineCore& core = impl_->core;
  TRY_ASSIGN(auto sa, read_snapshot(snapshot, now, find_tunnel), "snapshot");
  const IkeSaId id = sa->id;
  if (core.sas.contains(id)) return Error(Reason::kExists, "IKE SA of the snapshot");
  if (sa->initiator) core.spis.begun(sa->spi_i);
  if (!sa->initiator) core.init_index.emplace(EngineCore::InitKey{sa->spi_i.value(), sa->init_remote}, id);
  if (sa->half_open()) core.admission.half_open_changed(sa->init_remote.address, +1);
  for (ChildSpi spi : sa->spis_in()) core.spis.claim(spi);
  IkeSa& restored = *core.sas.emplace(id, std::move(sa)).first->second;
  if (auto* established = std::get_if<Established>(&restored.state)) {
    if (established->own) ++core.own_exchanges;
    if (established->waits_for_pace) core.pace_queue.push_back(id);
  }
  core.repeat_ask(restored);
  impl_->settle(id);
  return id;
}

std::vector<IkeSaId> IkeEngine::ike_sas() const {
  std::vector<IkeSaId> ids;
  ids.reserve(impl_->core.sas.size());
  for (const auto& [id, sa] : impl_->core.sas) ids.push_back(id);
  return ids;
}

std::optional<IkeSaView> IkeEngine::view(IkeSaId ike) const {
  const IkeSa* sa = impl_->core.find(ike);
  if (sa == nullptr) return std::nullopt;
  IkeSaView view{
      .id = sa->id,
      .initiator_spi = sa->spi_i,
      .responder_spi = sa->spi_r,
      .initiator = sa->initiator,
      .state = std::string(to_string(sa->state_id())),
      .tunnel = sa->tunnel_name(),
      .path = sa->path,
      .local_id = sa->tunnel ? policy::to_string(sa->tunnel->local_id) : std::string(),
      .remote_id = sa->remote_id.data.empty() ? std::string() : policy::to_string(sa->remote_id),
      .proposal = sa->keys() != nullptr ? policy::to_string(sa->keys()->suite().to_proposal()) : std::string(),
      .established_at = sa->established_at,
      .nat_local = sa->nat_local,
      .nat_remote = sa->nat_remote,
      .children = {}};
  const auto* established = std::get_if<Established>(&sa->state);
  if (established == nullptr) return view;
  view.rekey_at = established->rekey_at;
  view.ends_at = established->until;
  for (const ChildSa& child : established->children) {
    const bool leaves = child.phase == ChildPhase::kDeleting || child.phase == ChildPhase::kClosed ||
                        child.phase == ChildPhase::kLingering || child.phase == ChildPhase::kRedundant;
    (leaves ? view.leaving : view.children).push_back(child.spec);
  }
  return view;
}

size_t IkeEngine::half_open() const { return impl_->core.admission.half_open(); }
bool IkeEngine::asks_for_cookies(Instant now) const { return impl_->core.admission.under_load(now); }
Counters& IkeEngine::counters() { return impl_->core.counters; }
const Counters& IkeEngine::counters() const { return impl_->core.counters; }

}  // namespace ipsec::ike
