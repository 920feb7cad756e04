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

bool is_rekey(const Task& task) { return task.kind == Task::Kind::kRekeyChild; }

/// The configured child that a task is about; nullptr when it is not to be had any more.
const policy::ChildConfig* config_of(IkeSa& sa, const Task& task) {
  if (!is_rekey(task)) return sa.tunnel->child(task.name);
  const ChildSa* old = established_of(sa).child(task.child);
  if (old == nullptr || old->phase != ChildPhase::kInUse) return nullptr;
  return sa.tunnel->child(old->spec->child);
}

/// The payloads of the request that `own` stands for.
PayloadWriter build_request(const OwnExchange& own, policy::EspMode mode) {
  PayloadWriter out;
  if (is_rekey(own.task)) {
    // RFC 7296 1.3.3: the SPI is the one that we receive on.
    ByteWriter spi(4);
    spi.u32(own.task.child.value());
    out.add(
        NotifyPayload{.protocol = policy::Protocol::kEsp, .type = NotifyType::kRekeySa, .spi = std::move(spi).take()});
  }
  if (mode == policy::EspMode::kTransport) out.add(notify(NotifyType::kUseTransportMode));
  add_offer(out, own.offered, own.spi_in);
  out.add(NoncePayload{own.nonce});
  if (own.key_pair) out.add(KePayload{own.key_pair->group, own.key_pair->public_value});
  out.add(PayloadType::kTsI, TsPayload{.selectors = own.offered_local});
  out.add(PayloadType::kTsR, TsPayload{.selectors = own.offered_remote});
  return out;
}

/// The exchange could not be had. A rekey is tried again, a new child is given up.
void fail(EngineCore& core, Instant now, IkeSa& sa, const Error& error,
          std::shared_ptr<const policy::Negotiation> negotiation, bool tell_peer) {
  auto own = end_own(core, established_of(sa));
  const ChildSpi spi = own->spi_in;
  core.spis.release(spi);
  core.report(sa, error.reason(), {field("detail", error.text())}, std::move(negotiation));
  if (is_rekey(own->task)) {
    const ChildSa* old = established_of(sa).child(own->task.child);
    core.report(sa, Reason::kRekeyFailed,
                {field("child", old != nullptr ? old->spec->child : std::string()),
                 field("spi_in", hex(ChildSpi(own->task.child.value()))),
                 field("because", std::string(code(error.reason()))), field("detail", error.text())});
    (void)try_again(core, now, sa, std::move(own->task));
  } else {
    core.act(ChildFailed{sa.id, sa.tunnel, own->task.name, error.reason(), error.text()});
  }
  if (tell_peer) established_of(sa).deletes_waiting.push_back(spi);
  core.snapshot_changed(sa);
  serve(core, now, sa);
}

/// TEMPORARY_FAILURE: later (RFC 7296 2.25).
void put_off(EngineCore& core, Instant now, IkeSa& sa) {
  auto own = end_own(core, established_of(sa));
  core.spis.release(own->spi_in);
  core.report(sa, Reason::kPeerTemporaryFailure, {field("peer", to_string(sa.path.remote))});
  if (is_out_of_sync(now, established_of(sa))) {
    if (!is_rekey(own->task))
      core.act(ChildFailed{sa.id, sa.tunnel, own->task.name, Reason::kPeerTemporaryFailure, {}});
    return start_delete_ike(core, now, sa, Reason::kPeerTemporaryFailure);
  }
  const std::string name = own->task.name;
  const bool rekey = is_rekey(own->task);
  if (!try_again(core, now, sa, std::move(own->task)) && !rekey)
    core.act(ChildFailed{sa.id, sa.tunnel, name, Reason::kPeerTemporaryFailure, {}});
  core.snapshot_changed(sa);
  serve(core, now, sa);
}

/// CHILD_SA_NOT_FOUND: the peer does not have what we rekey. If we still have it, it is made anew (RFC 7296 2.25.1).
void make_anew(EngineCore& core, Instant now, IkeSa& sa) {
  Established& established = established_of(sa);
  auto own = end_own(core, established);
  core.spis.release(own->spi_in);
  ChildSa* old = established.child(own->task.child);
  core.report(sa, Reason::kChildNotFound, {field("spi", hex(ChildSpi(own->task.child.value())))});
  if (old != nullptr && old->phase == ChildPhase::kInUse) {
    const std::string name = old->spec->child;
    bury_child(core, now, sa, old->id, Reason::kChildNotFound);
    (void)add_task(core, now, sa, {.kind = Task::Kind::kCreateChild, .name = name, .reason = Reason::kChildNotFound});
  }
  core.snapshot_changed(sa);
  serve(core, now, sa);
}

/// The same request with another group, or with the triggering packet's selectors alone.
void send_again(EngineCore& core, Instant now, IkeSa& sa) {
  OwnExchange& own = *established_of(sa).own;
  const policy::ChildConfig* config = config_of(sa, own.task);
  if (config == nullptr) return fail(core, now, sa, Error(Reason::kCancelled, "gone meanwhile"), nullptr, false);
  if (Status sent = core.send_request(now, sa, Exchange::kCreateChildSa, build_request(own, config->policy->mode));
      !sent.ok())
    fail(core, now, sa, sent.error(), nullptr, false);
}

/// RFC 7296 2.9: the peer wants one pair of addresses per SA, so it gets the pair of the packet, or, without one, the
/// first pair of what was offered; whoever asked negotiates the rest. False when that was offered already, and for a
/// rekey, which offers what the old child has.
bool offer_single_pair(OwnExchange& own) {
  if (is_rekey(own.task) || (own.offered_local.size() == 1 && own.offered_remote.size() == 1)) return false;
  const auto& first = own.offered_local.front();
  const auto counterpart = std::ranges::find_if(own.offered_remote, [&](const policy::TrafficSelector& each) {
    return each.addresses.first.family() == first.addresses.first.family();
  });
  if (counterpart == own.offered_remote.end()) return false;
  own.offered_remote = {*counterpart};
  own.offered_local = {policy::TrafficSelector(first)};
  return true;
}

void change_group(EngineCore& core, Instant now, IkeSa& sa, const NotifyPayload& notice) {
  OwnExchange& own = *established_of(sa).own;
  const auto group = wanted_group(own, notice);
  if (!group)
    return fail(core, now, sa, Error(Reason::kPfsMismatch, "the peer wants a group that is not offered"), nullptr,
                false);
  auto fresh = core.crypto.generate(*group, core.random);
  if (!fresh.ok()) return fail(core, now, sa, fresh.error(), nullptr, false);
  ++own.group_retries;
  core.report(sa, Reason::kInvalidKe,
              {field("guessed", uint64_t{own.key_pair ? own.key_pair->group : uint16_t{0}}),
               field("chosen", uint64_t{*group})});
  own.key_pair = std::move(*fresh);
  send_again(core, now, sa);
}

/// The keys of the child in a response that was accepted.
Result<PendingChild> take_child(EngineCore& core, const IkeSa& sa, OwnExchange& own, const policy::ChildConfig& config,
                                const ChildAccepted& accepted, const Payloads& answer) {
  if (!answer.nonce) return Error(Reason::kIkePayloadMissing, "no nonce in the response");
  Secret shared;
  if (accepted.group != 0) {
    if (!answer.ke || !own.key_pair || answer.ke->group != accepted.group || own.key_pair->group != accepted.group)
      return Error(Reason::kIkeInvalidSyntax, "key exchange with another group than the one chosen");
    TRY_ASSIGN(shared, core.crypto.shared_secret(*own.key_pair, answer.ke->public_value), "");
  }
  auto spec = std::make_shared<policy::ChildSpec>(child_spec(sa, config));
  spec->spi_in = own.spi_in;
  spec->spi_out = accepted.spi_out;
  spec->suite = accepted.suite;
  spec->mode = accepted.mode;
  spec->local = answer.ts_i->selectors;
  spec->remote = answer.ts_r->selectors;
  spec->initiator = true;
  TRY_ASSIGN(PendingChild child,
             make_pending(core, sa, std::move(spec), own.nonce, answer.nonce->nonce, shared.expose()), "");
  if (is_rekey(own.task)) child.replaces = own.task.child;
  own.lowest_nonce = lowest_nonce(own.nonce, answer.nonce->nonce);
  return child;
}

void on_child_response(EngineCore& core, Instant now, IkeSa& sa, const Payloads& answer) {
  OwnExchange& own = *established_of(sa).own;
  const policy::ChildConfig* config = sa.tunnel->child(own.task.name);
  if (config == nullptr)
    return fail(core, now, sa, Error(Reason::kCancelled, "not configured any more"), nullptr, answer.sa.has_value());
  const ChildSa* old = is_rekey(own.task) ? established_of(sa).child(own.task.child) : nullptr;
  auto read = read_child_answer({*sa.tunnel, *config, own.offered, own.offered_local, own.offered_remote, answer,
                                 old != nullptr ? old->spec.get() : nullptr});
  const bool peer_has_it = answer.sa && answer.first_error() == nullptr;
  if (auto* refused = std::get_if<ChildRefusal>(&read))
    return fail(core, now, sa, refused->error, std::move(refused->negotiation), peer_has_it);
  auto child = take_child(core, sa, own, *config, std::get<ChildAccepted>(read), answer);
  if (!child.ok()) return fail(core, now, sa, child.error(), nullptr, peer_has_it);
  own.child = std::move(*child);
  own.stage = OwnExchange::Stage::kInstalling;
  own.ask = core.next_ask();
  own.deadline = now + kAskTimeout;
  core.snapshot_changed(sa);
  ask_install(core, sa, *own.child, own.ask);
}

/// Our crossing rekey and the peer's have both made a child (RFC 7296 2.8.1): ours goes, by our Delete.
void give_way(EngineCore& core, Instant now, IkeSa& sa, OwnExchange& own) {
  Established& established = established_of(sa);
  ChildSa fresh = make_child(core, now, std::move(*own.child));
  fresh.outbound_key.wipe();
  fresh.phase = ChildPhase::kRedundant;
  core.report(sa, Reason::kRekeyCollision, {field("kept", hex(ChildSpi(own.rival_child.value())))});
  const ChildId id = fresh.id;
  established.children.push_back(std::move(fresh));
  retire_child(core, now, sa, *established.child(id));
}

/// Ours stands: the peer's is never used, and the peer deletes it.
void prevail(EngineCore& core, Instant now, IkeSa& sa, const OwnExchange& own) {
  Established& established = established_of(sa);
  core.report(sa, Reason::kRekeyCollision, {field("kept", hex(own.spi_in))});
  if (established.peer && established.peer->child.replaces == own.task.child) established.peer->redundant = true;
  ChildSa* rival = established.child(own.rival_child);
  if (rival == nullptr || rival->phase != ChildPhase::kAwaitingUse) return;
  rival->phase = ChildPhase::kRedundant;
  rival->outbound_key.wipe();
  rival->until = now + kRekeyGuard;
}

/// Nothing was sent yet, and nothing will be: whoever asked for a new child is told.
void give_up(EngineCore& core, const IkeSa& sa, const Task& task, const Error& error) {
  if (is_rekey(task)) return core.count(error.reason());
  core.act(ChildFailed{sa.id, sa.tunnel, task.name, error.reason(), error.text()});
}

/// A rekey offers what its predecessor has (RFC 7296 2.9.2): a peer that takes the first pair of a list would otherwise
/// answer with another child's. A new child offers what was asked for, else all that is configured.
void set_offered_selectors(Established& established, const Task& task, const policy::ChildConfig& config,
                           OwnExchange& own) {
  const ChildSa* old = is_rekey(task) ? established.child(task.child) : nullptr;
  own.offered_local =
      old != nullptr ? old->spec->local
                     : offered_selectors(task.trigger_local, task.only.local.empty() ? config.local : task.only.local);
  own.offered_remote = old != nullptr ? old->spec->remote
                                      : offered_selectors(task.trigger_remote,
                                                          task.only.remote.empty() ? config.remote : task.only.remote);
}

/// The IKE SA has all the children that it may have: a rekey waits, a new child is given up.
void wait_for_room(EngineCore& core, Instant now, IkeSa& sa, Task task) {
  const uint64_t limit = sa.tunnel->ike_policy->children_max;
  core.report(sa, Reason::kChildLimit, {field("limit", limit)});
  if (!is_rekey(task)) return give_up(core, sa, task, Error(Reason::kChildLimit, "too many children stand"));
  (void)try_again(core, now, sa, std::move(task));
}

}  // namespace

void begin_child(EngineCore& core, Instant now, IkeSa& sa, Task task) {
  Established& established = established_of(sa);
  const policy::ChildConfig* config = config_of(sa, task);
  // A child that is to be rekeyed was deleted, or replaced by the peer, while the task waited: then nothing is left to
  // do. A new one has left the configuration.
  if (config == nullptr) return give_up(core, sa, task, Error(Reason::kCancelled, "not configured any more"));
  if (!make_room_for_own(core, sa)) return wait_for_room(core, now, sa, std::move(task));
  auto own = std::make_unique<OwnExchange>();
  own->offered = esp_offer(*config->policy, ChildExchange::kCreateChild);
  if (own->offered.empty())
    return give_up(core, sa, task, Error(Reason::kNoProposalChosen, "no ESP proposal is configured"));
  if (const policy::Transform* group = own->offered.front().first(policy::TransformType::kKeyExchange)) {
    auto pair = core.crypto.generate(group->id, core.random);
    if (!pair.ok()) return give_up(core, sa, task, pair.error());
    own->key_pair = std::move(*pair);
  }
  own->nonce = core.fresh_nonce();
  own->spi_in = core.spis.next_child_spi();
  set_offered_selectors(established, task, *config, *own);
  task.name = config->name;
  own->task = std::move(task);
  ++core.own_exchanges;
  established.own = std::move(own);
  send_again(core, now, sa);
}

void on_create_child_response(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  Established& established = established_of(sa);
  sa.window.outstanding.reset();
  if (!established.own || established.own->stage != OwnExchange::Stage::kSent)
    return core.count(Reason::kIkeUnexpected);
  const NotifyPayload* error = message.payloads.first_error();
  if (error == nullptr || error->type != NotifyType::kTemporaryFailure) established.put_off_since.reset();
  if (established.own->task.kind == Task::Kind::kRekeyIke) return on_rekey_ike_response(core, now, sa, message);
  if (error != nullptr) {
    OwnExchange& own = *established.own;
    if (error->type == NotifyType::kInvalidKePayload) return change_group(core, now, sa, *error);
    if (error->type == NotifyType::kTemporaryFailure) return put_off(core, now, sa);
    if (error->type == NotifyType::kChildSaNotFound && is_rekey(own.task)) return make_anew(core, now, sa);
    if (error->type == NotifyType::kSinglePairRequired && offer_single_pair(own)) return send_again(core, now, sa);
  }
  on_child_response(core, now, sa, message.payloads);
}

void on_own_child_installed(EngineCore& core, Instant now, IkeSa& sa) {
  Established& established = established_of(sa);
  auto own = end_own(core, established);
  const bool crossed = !own->rival_nonce.empty();
  if (crossed && standing_of(own->lowest_nonce, own->rival_nonce) == Standing::kTheirs) {
    give_way(core, now, sa, *own);
  } else {
    if (crossed) prevail(core, now, sa, *own);
    ChildSa fresh = make_child(core, now, std::move(*own->child));
    const ChildId id = fresh.id;
    established.children.push_back(std::move(fresh));
    ChildSa* old = is_rekey(own->task) ? established.child(own->task.child) : nullptr;
    if (old != nullptr && old->phase == ChildPhase::kClosed) {
      close_child(core, now, sa, *established.child(id), Reason::kDeletedByOperator);  // closed meanwhile
      return serve(core, now, sa);
    }
    // Make before break (RFC 7296 2.8): the new one is used, then the old one deleted.
    use_child(core, now, sa, established.children, id);
    if (old != nullptr && old->phase != ChildPhase::kLingering && old->phase != ChildPhase::kDeleting)
      retire_child(core, now, sa, *old);
  }
  core.snapshot_changed(sa);
  serve(core, now, sa);
}

void on_own_child_refused(EngineCore& core, Instant now, IkeSa& sa, const Error& error) {
  const OwnExchange& own = *established_of(sa).own;
  // The kernel may have installed it all the same, or some of it; the peer believes in it.
  core.act(RemoveChild{sa.id, ChildId(own.spi_in.value()), own.child->spec, error.reason()});
  fail(core, now, sa, error, nullptr, true);
}

bool is_being_made(const Established& established, ChildSpi spi_out) {
  return established.own && established.own->child && established.own->child->spec->spi_out == spi_out;
}

ChildSpi on_own_child_deleted(EngineCore& core, Instant now, IkeSa& sa) {
  const OwnExchange& own = *established_of(sa).own;
  const ChildSpi spi = own.spi_in;
  core.act(RemoveChild{sa.id, ChildId(spi.value()), own.child->spec, Reason::kDeletedByPeer});
  fail(core, now, sa, Error(Reason::kDeletedByPeer, "before our kernel had it"), nullptr, false);
  return spi;
}

}  // namespace ipsec::ike
