#include "ike/exchange/informational.h"

#include <algorithm>
#include <span>

#include "ike/exchange/child.h"
#include "ike/exchange/create_child.h"
#include "ike/notify_for_error.h"

namespace ipsec::ike {
namespace {

DeletePayload delete_of_ike() { return {.protocol = policy::Protocol::kIke}; }

/// One child that the peer deletes: if the peer has rekeyed it, its successor is used from now on (RFC 7296 1.3.3).
void drop_child(EngineCore& core, Instant now, IkeSa& sa, ChildId id) {
  auto& established = std::get<Established>(sa.state);
  for (const ChildSa& each : established.children) {
    if (each.replaces != id || each.phase != ChildPhase::kAwaitingUse) continue;
    use_child(core, now, sa, established.children, each.id);
    break;
  }
  const ChildSa& child = *established.child(id);
  if (child.phase == ChildPhase::kInUse)
    core.report(sa, Reason::kChildDeleted,
                {field("child", child.spec->child), field("spi_in", hex(child.spec->spi_in)),
                 field("by", std::string("peer"))});
  bury_child(core, now, sa, id, Reason::kDeletedByPeer);
}

/// The SPIs that the peer may name, sorted; each is taken out when it was named.
class Deletable {
 public:
  explicit Deletable(const Established& established) {
    spis_.reserve(established.children.size() + 1);
    for (const ChildSa& each : established.children)
      if (each.phase != ChildPhase::kLingering) spis_.push_back(each.spec->spi_out.value());
    if (established.own && established.own->child) spis_.push_back(established.own->child->spec->spi_out.value());
    std::ranges::sort(spis_);
  }
  bool take(uint32_t spi) {
    const auto found = std::ranges::lower_bound(spis_, spi);
    if (found == spis_.end() || *found != spi) return false;
    spis_.erase(found);
    return true;
  }

 private:
  std::vector<uint32_t> spis_;
};

IkeSa* owner_of_children(EngineCore& core, IkeSa& sa) {
  IkeSa* owner = sa.successor ? core.find(*sa.successor) : &sa;
  return owner != nullptr && owner->state_id() == StateId::kEstablished ? owner : nullptr;
}

/// Children that the peer deletes, named by the SPIs of its inbound SAs: our outbound ones. Returns our inbound SPIs.
std::vector<uint32_t> drop_children(EngineCore& core, Instant now, IkeSa& sa,
                                    const std::vector<DeletePayload>& payloads) {
  std::vector<uint32_t> answered, named;
  for (const DeletePayload& each : payloads)
    if (each.protocol == policy::Protocol::kEsp) named.insert(named.end(), each.spis.begin(), each.spis.end());
  IkeSa* first_owner = owner_of_children(core, sa);
  if (named.empty() || first_owner == nullptr) return answered;
  Deletable deletable(std::get<Established>(first_owner->state));
  for (uint32_t spi : named) {
    if (!deletable.take(spi)) continue;  // gone already: no SPI in the answer (RFC 7296 1.4.1)
    // Looked up anew each time: ends of children change the list.
    IkeSa* owner = owner_of_children(core, sa);
    if (owner == nullptr) return answered;
    auto* established = &std::get<Established>(owner->state);
    auto child = std::ranges::find_if(established->children, [&](const ChildSa& each) {
      return each.spec->spi_out.value() == spi && each.phase != ChildPhase::kLingering;
    });
    if (child == established->children.end()) {
      if (is_being_made(*established, ChildSpi(spi)))
        answered.push_back(on_own_child_deleted(core, now, *owner).value());
      continue;
    }
    // Both sides delete it: each answers without it (1.4.1, 2.25.1).
    const bool ours_too = child->phase == ChildPhase::kDeleting || child->phase == ChildPhase::kClosed;
    if (!ours_too) answered.push_back(child->spec->spi_in.value());
    const ChildId id = child->id;
    drop_child(core, now, *owner, id);
    if (owner != &sa) core.arm(*owner);
  }
  return answered;
}

/// Deletes of children, as many payloads as they take.
void add_deletes(PayloadWriter& out, std::span<const uint32_t> spis) {
  while (!spis.empty()) {
    const auto part = spis.first(std::min(spis.size(), kSpisPerDeleteMax));
    out.add(DeletePayload{.protocol = policy::Protocol::kEsp, .spis = {part.begin(), part.end()}});
    spis = spis.subspan(part.size());
  }
}

/// Sends the Delete of the IKE SA unless a request is under way: its response will call again.
void send_delete_ike(EngineCore& core, Instant now, IkeSa& sa) {
  auto& deleting = std::get<Deleting>(sa.state);
  if (sa.window.outstanding) return;
  deleting.sent = true;
  PayloadWriter out;
  if (deleting.notice) out.add(notify(*deleting.notice));
  out.add(delete_of_ike());
  if (Status sent = core.send_request(now, sa, Exchange::kInformational, out); !sent.ok())
    core.destroy(sa, sent.error().reason());
}

/// The peer's request that waits for the kernel gets its answer before the IKE SA ends: without one the window would
/// stay shut for the peer's own Delete (RFC 7296 2.3, 2.25.2).
void put_off_pending_request(EngineCore& core, Instant now, IkeSa& sa) {
  const auto* established = std::get_if<Established>(&sa.state);
  if (established == nullptr || !established->peer) return;
  const PeerExchange& peer = *established->peer;
  PayloadWriter out;
  out.add(notify(NotifyType::kTemporaryFailure));
  Status sent =
      core.send_response(now, sa, Exchange::kCreateChildSa, peer.message_id, peer.request_hash, peer.path, out);
  if (!sent.ok()) core.count(sent.error().reason());
}

/// Our Delete of children is answered.
void deletes_answered(EngineCore& core, Instant now, IkeSa& sa) {
  auto* established = std::get_if<Established>(&sa.state);
  if (established == nullptr) return;
  for (ChildSpi spi : std::exchange(established->deletes_sent, {}))
    if (ChildSa* child = established->child(ChildId(spi.value()));
        child != nullptr && (child->phase == ChildPhase::kDeleting || child->phase == ChildPhase::kClosed))
      bury_child(core, now, sa, child->id, Reason::kReplaced);
}

}  // namespace

void send_waiting_deletes(EngineCore& core, Instant now, IkeSa& sa) {
  auto& established = std::get<Established>(sa.state);
  VERIFY(!sa.window.outstanding);
  // What one payload does not hold goes in the next exchange: peers that split nothing must read it, too.
  auto& waiting = established.deletes_waiting;
  const auto end = waiting.begin() + static_cast<ptrdiff_t>(std::min(waiting.size(), kSpisPerDeleteMax));
  established.deletes_sent.assign(waiting.begin(), end);
  waiting.erase(waiting.begin(), end);
  std::vector<uint32_t> spis;
  for (ChildSpi spi : established.deletes_sent) spis.push_back(spi.value());
  PayloadWriter out;
  add_deletes(out, spis);
  if (Status sent = core.send_request(now, sa, Exchange::kInformational, out); !sent.ok())
    core.destroy(sa, sent.error().reason(), {field("detail", sent.error().text())});
}

void answer_invalid(EngineCore& core, Instant now, IkeSa& sa, const Message& message, const Error& error) {
  core.report(sa, error.reason(), {field("peer", to_string(message.path.remote)), field("detail", error.text())});
  const NotifyType type = notify_for_error(error.reason()).value_or(NotifyType::kInvalidSyntax);
  PayloadWriter out;
  out.add(notify(type, type == NotifyType::kUnsupportedCriticalPayload ? critical_payload_of(error) : Bytes()));
  sa.window.expected = message.header.message_id + 1;
  Status sent = core.send_response(now, sa, message.header.exchange, message.header.message_id,
                                   datagram_hash(message.datagram), message.path, out);
  if (!sent.ok()) core.count(sent.error().reason());
  // RFC 7296 2.21.3: INVALID_SYNTAX in an authentic exchange ends the IKE SA; an unknown critical payload only its
  // exchange.
  if (type != NotifyType::kUnsupportedCriticalPayload || message.header.exchange == Exchange::kIkeAuth)
    core.destroy(sa, error.reason());
}

void on_informational_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  const Payloads& request = message.payloads;
  PayloadWriter out;
  const bool ends = std::ranges::any_of(
      request.deletes, [](const DeletePayload& each) { return each.protocol == policy::Protocol::kIke; });
  const std::vector<uint32_t> answered = drop_children(core, now, sa, request.deletes);
  // RFC 7296 2.21.2: the initiator refuses our proof of identity.
  const bool refused = request.notify(NotifyType::kAuthenticationFailed) != nullptr;
  // The Delete of the whole IKE SA is answered with an empty message (1.4.1).
  if (!ends && !refused) add_deletes(out, answered);
  sa.window.expected = message.header.message_id + 1;
  if (Status sent = core.send_response(now, sa, Exchange::kInformational, message.header.message_id,
                                       datagram_hash(message.datagram), message.path, out);
      !sent.ok())
    core.count(sent.error().reason());
  if (ends || refused)
    core.destroy(sa,
                 refused        ? Reason::kPeerAuthFailed
                 : sa.successor ? Reason::kReplaced
                                : Reason::kDeletedByPeer,
                 {field("peer", to_string(message.path.remote))});
}

void on_create_child_ignored(EngineCore& core, Instant now, IkeSa& sa, const Message&) {
  sa.window.outstanding.reset();
  if (const auto* deleting = std::get_if<Deleting>(&sa.state); deleting != nullptr && !deleting->sent)
    send_delete_ike(core, now, sa);
}

void on_informational_response(EngineCore& core, Instant now, IkeSa& sa, const Message&) {
  sa.window.outstanding.reset();
  if (const auto* deleting = std::get_if<Deleting>(&sa.state)) {
    if (!deleting->sent) return send_delete_ike(core, now, sa);
    return core.destroy(sa, sa.successor ? Reason::kReplaced : Reason::kIkeDeleted, {field("by", std::string("us"))});
  }
  deletes_answered(core, now, sa);
  core.snapshot_changed(sa);
  serve(core, now, sa);
}

void start_delete_ike(EngineCore& core, Instant now, IkeSa& sa, Reason reason, std::optional<NotifyType> notice) {
  put_off_pending_request(core, now, sa);
  abandon_exchanges(core, sa, reason);
  if (auto* established = std::get_if<Established>(&sa.state)) {
    for (const ChildSa& child : established->children) {
      if (child.phase != ChildPhase::kClosed) core.act(RemoveChild{sa.id, child.id, child.spec, reason});
      core.spis.release(child.spec->spi_in);
    }
    established->children.clear();
  }
  KeySchedule* keys = sa.keys();
  if (keys == nullptr || !sa.spi_r || !sa.tunnel || sa.half_open()) return core.destroy(sa, reason);
  core.enter(sa, Deleting{std::move(*keys), notice}, now + kDeleteTimeout);
  send_delete_ike(core, now, sa);
}

void delete_child_spi(EngineCore& core, Instant now, IkeSa& sa, ChildSpi spi_in) {
  std::get<Established>(sa.state).deletes_waiting.push_back(spi_in);
  serve(core, now, sa);
}

void check_liveness(EngineCore& core, Instant now, IkeSa& sa) {
  if (sa.state_id() != StateId::kEstablished || sa.window.outstanding) return;
  if (Status sent = core.send_request(now, sa, Exchange::kInformational, PayloadWriter()); !sent.ok())
    return core.count(sent.error().reason());
  sa.window.outstanding->tries = sa.tunnel->ike_policy->dpd_tries;
}

}  // namespace ipsec::ike
