#include "ike/core.h"

#include <algorithm>

#include "ike/exchange/child.h"
#include "ike/exchange/create_child.h"
#include "ike/exchange/ike_auth.h"
#include "ike/exchange/ike_sa_init.h"
#include "ike/exchange/upkeep.h"

namespace ipsec::ike {

EngineCore::EngineCore(IkeEngine::Options engine_options, Random& randomness, SpiSource& spi_source)
    : options(engine_options),
      random(randomness),
      spis(spi_source),
      cookies(randomness),
      init_index(0, InitKeyHash{{randomness.u64()}}),
      admission(options.admission, randomness) {}

NotifyPayload notify(NotifyType type, Bytes data) { return {.type = type, .data = std::move(data)}; }

IkeSa* EngineCore::find(IkeSaId id) {
  auto it = sas.find(id);
  return it == sas.end() ? nullptr : it->second.get();
}

IkeSa& EngineCore::create(Instant now, bool initiator, IkeSpi spi_i, const Path& path, State state, Instant deadline) {
  const IkeSpi own = fresh_ike_spi();
  auto sa = std::make_unique<IkeSa>(IkeSa{.id = IkeSaId(own.value()),
                                          .initiator = initiator,
                                          .spi_i = initiator ? own : spi_i,
                                          .spi_r = initiator ? IkeSpi() : own,
                                          .path = path,
                                          .init_remote = path.remote,
                                          .created_at = now,
                                          .last_heard = now,
                                          .deadline = deadline,
                                          .state = std::move(state)});
  IkeSa& made = *sa;
  sas.emplace(made.id, std::move(sa));
  if (initiator) spis.begun(own);
  if (!initiator) init_index.emplace(InitKey{spi_i.value(), path.remote}, made.id);
  if (made.half_open()) admission.half_open_changed(made.init_remote.address, +1);
  return made;
}

void EngineCore::enter(IkeSa& sa, State next, std::optional<Instant> deadline) {
  const bool was_half_open = sa.half_open();
  sa.state = std::move(next);
  sa.deadline = deadline;
  if (was_half_open != sa.half_open()) admission.half_open_changed(sa.init_remote.address, was_half_open ? -1 : +1);
}

void EngineCore::destroy(IkeSa& sa, Reason reason, std::vector<Field> fields,
                         std::shared_ptr<const policy::Negotiation> negotiation) {
  if (sa.state_id() == StateId::kEnded) return;
  adopt_by_rival(*this, sa);
  abandon_exchanges(*this, sa, reason);
  if (auto* established = std::get_if<Established>(&sa.state))
    for (ChildSa& child : established->children)
      if (child.phase != ChildPhase::kClosed) act(RemoveChild{sa.id, child.id, child.spec, reason});
  // A child whose inbound half was asked for may be in the kernel already, whatever the answer would have been.
  std::optional<PendingChild>* pending = nullptr;
  if (auto* responding = std::get_if<AuthResponding>(&sa.state)) pending = &responding->work->child;
  if (auto* finishing = std::get_if<AuthFinishing>(&sa.state)) pending = &finishing->child;
  if (pending != nullptr && *pending)
    act(RemoveChild{sa.id, ChildId((*pending)->spec->spi_in.value()), (*pending)->spec, reason});
  for (ChildSpi spi : sa.spis_in()) spis.release(spi);
  report(sa, reason, std::move(fields), std::move(negotiation));
  act(SnapshotChanged{sa.id, true});
  if (sa.half_open()) admission.half_open_changed(sa.init_remote.address, -1);
  if (sa.initiator) spis.ended(sa.spi_i);
  if (!sa.initiator) forget_init(sa);
  timers.cancel(sa.id);
  auto node = sas.extract(sa.id);
  ended.push_back(std::move(node.mapped()));
  sa.state = Ended{};  // with its keys
}

void EngineCore::forget_init(const IkeSa& sa) {
  auto it = init_index.find(InitKey{sa.spi_i.value(), sa.init_remote});
  if (it != init_index.end() && it->second == sa.id) init_index.erase(it);
}

void EngineCore::arm(const IkeSa& sa) {
  if (sa.state_id() == StateId::kEnded) return;
  std::optional<Instant> next = sa.deadline;
  auto consider = [&](Instant when) { next = next ? std::min(*next, when) : when; };
  if (sa.window.outstanding) consider(sa.window.outstanding->next_at);
  if (sa.state_id() == StateId::kEstablished)
    if (const auto upkeep = next_upkeep(sa)) consider(*upkeep);
  if (next)
    timers.set(sa.id, *next);
  else
    timers.cancel(sa.id);
}

AskId EngineCore::next_ask() { return AskId(++ask_counter_ << 32 | random.u32()); }

void EngineCore::report(const IkeSa& sa, Reason reason, std::vector<Field> fields,
                        std::shared_ptr<const policy::Negotiation> negotiation) {
  count(reason);
  act(Report{sa.id, sa.tunnel_name(), sa.path, reason, std::move(fields), std::move(negotiation),
             !sa.initiator && !sa.authenticated()});
}

Bytes EngineCore::fresh_nonce() {
  constexpr size_t kOwnNonceBytes = 32;
  Bytes nonce(kOwnNonceBytes);
  random.fill(nonce);
  return nonce;
}

IkeSpi EngineCore::fresh_ike_spi() {
  IkeSpi spi = spis.next_ike_spi();
  while (!spi || sas.contains(IkeSaId(spi.value()))) spi = spis.next_ike_spi();
  return spi;
}

Duration EngineCore::soft_lifetime(Duration lifetime, const policy::RekeyPolicy& rekey) {
  constexpr int64_t kPercent = 100, kFine = 1000;
  const auto jitter = static_cast<int64_t>(random.below(kFine)) * rekey.jitter_percent;
  return lifetime / (kPercent * kFine) * (int64_t{rekey.share_percent} * kFine - jitter);
}

void EngineCore::start_lifetime(Instant now, IkeSa& sa) {
  auto& established = std::get<Established>(sa.state);
  const policy::IkePolicy& policy = *sa.tunnel->ike_policy;
  established.until = now + policy.lifetime;
  if (policy.rekey.enabled) established.rekey_at = now + soft_lifetime(policy.lifetime, policy.rekey);
}

Bytes EngineCore::plain_message(const Header& header, const PayloadWriter& payloads) {
  ByteWriter out(Header::kBytes + payloads.view().size());
  Header whole = header;
  whole.next_payload = payloads.first();
  whole.length = static_cast<uint32_t>(Header::kBytes + payloads.view().size());
  whole.write(out);
  out.bytes(payloads.view());
  return std::move(out).take();
}

Result<Bytes> EngineCore::seal(const IkeSa& sa, Header header, const PayloadWriter& payloads) {
  const KeySchedule* keys = sa.keys();
  VERIFY(keys != nullptr);
  header.initiator_spi = sa.spi_i;
  header.responder_spi = sa.spi_r;
  header.flags |= sa.initiator ? Header::kFlagInitiator : 0;
  header.next_payload = PayloadType::kEncrypted;
  ByteWriter out(Header::kBytes + payloads.view().size() + 96);
  header.write(out);
  // Generic header of the SK payload; its length is set by seal() (RFC 7296 3.14).
  out.u8(static_cast<uint8_t>(payloads.first()));
  out.u8(0);
  out.u16(0);
  TRY(crypto.seal(keys->cipher_keys(sa.initiator), payloads.view(), random, out.buffer()), "protect message");
  return std::move(out).take();
}

void EngineCore::send(const IkeSa& sa, const Path& path, Bytes bytes) {
  act(SendDatagram{sa.id, path, std::move(bytes)});
}

void EngineCore::send_stateless(const Path& path, Bytes bytes) { act(SendDatagram{IkeSaId(), path, std::move(bytes)}); }

void EngineCore::start_request(Instant now, IkeSa& sa, Exchange exchange, Bytes bytes) {
  VERIFY(!sa.window.outstanding);
  const policy::RetransmitPolicy retransmit =
      sa.tunnel ? sa.tunnel->ike_policy->retransmit : policy::RetransmitPolicy();
  sa.window.outstanding = Outstanding{.message_id = sa.window.next_request++,
                                      .exchange = exchange,
                                      .bytes = bytes,
                                      .path = sa.path,
                                      .sent = 1,
                                      .next_at = now + retransmit.first,
                                      .interval = retransmit.first};
  snapshot_changed(sa);
  send(sa, sa.path, std::move(bytes));
}

Status EngineCore::send_request(Instant now, IkeSa& sa, Exchange exchange, const PayloadWriter& payloads) {
  // RFC 7296 2.2: message IDs never start over within one IKE SA; it should have been rekeyed long ago.
  if (sa.window.next_request == UINT32_MAX) return Error(Reason::kIkeMessageIdsUsedUp, "request");
  TRY_ASSIGN(Bytes bytes, seal(sa, {.exchange = exchange, .message_id = sa.window.next_request}, payloads), "request");
  start_request(now, sa, exchange, std::move(bytes));
  return {};
}

Status EngineCore::send_response(Instant now, IkeSa& sa, Exchange exchange, uint32_t message_id, uint64_t request_hash,
                                 const Path& path, const PayloadWriter& payloads) {
  TRY_ASSIGN(Bytes bytes,
             seal(sa, {.exchange = exchange, .flags = Header::kFlagResponse, .message_id = message_id}, payloads),
             "response");
  sa.window.answered = Answered{message_id, request_hash, bytes, path, now};
  snapshot_changed(sa);
  send(sa, path, std::move(bytes));
  return {};
}

void EngineCore::repeat_ask(IkeSa& sa) {
  switch (sa.state_id()) {
    case StateId::kInitPolicyWait: act(NeedInitPolicy{std::get<InitPolicyWait>(sa.state).ask, sa.id, sa.path}); return;
    case StateId::kAuthResponding: ask_responding(*this, sa); return;
    case StateId::kAuthMaking: ask_own_auth(*this, sa); return;
    case StateId::kAuthFinishing: ask_finishing(*this, sa); return;
    case StateId::kInitAnswered:
    case StateId::kInitSent:
    case StateId::kAuthSent:
    case StateId::kRekeyed:
    case StateId::kDeleting:
    case StateId::kEnded: return;
    case StateId::kEstablished: {
      const auto& established = std::get<Established>(sa.state);
      const auto& own = established.own;
      if (own && own->stage == OwnExchange::Stage::kInstalling) ask_install(*this, sa, *own->child, own->ask);
      if (established.peer) ask_install(*this, sa, established.peer->child, established.peer->ask);
      for (const ChildSa& child : established.children)
        if (child.phase == ChildPhase::kAwaitingUse) act(WatchInbound{sa.id, child.id});
      return;
    }
  }
}

}  // namespace ipsec::ike
