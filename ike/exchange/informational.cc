#include "ike/exchange/informational.h"

#include <algorithm>

#include "ike/notify_for_error.h"

namespace ipsec::ike {
namespace {

std::string hex(ChildSpi spi) {
  ByteWriter out(4);
  out.u32(spi.value());
  return to_hex(out.view());
}

DeletePayload delete_of_ike() { return {.protocol = policy::Protocol::kIke}; }

/// Children that the peer deletes, named by the SPIs of its inbound SAs: our outbound ones. Returns our inbound SPIs.
std::vector<uint32_t> drop_children(EngineCore& core, IkeSa& sa, const DeletePayload& payload) {
  std::vector<uint32_t> answered;
  auto* established = std::get_if<Established>(&sa.state);
  if (established == nullptr || payload.protocol != policy::Protocol::kEsp) return answered;
  for (uint32_t spi : payload.spis) {
    auto child = std::find_if(established->children.begin(), established->children.end(),
                              [&](const ChildSa& each) { return each.spec->spi_out.value() == spi; });
    if (child == established->children.end()) continue;  // gone already: no SPI in the answer (RFC 7296 1.4.1)
    answered.push_back(child->spec->spi_in.value());
    core.report(sa, Reason::kChildDeleted,
                {field("child", child->spec->child), field("spi_in", hex(child->spec->spi_in)),
                 field("by", std::string("peer"))});
    core.act(RemoveChild{sa.id, child->id, child->spec, Reason::kDeletedByPeer});
    core.spis.release(child->spec->spi_in);
    established->children.erase(child);
  }
  return answered;
}

void send_waiting_deletes(EngineCore& core, Instant now, IkeSa& sa) {
  auto* established = std::get_if<Established>(&sa.state);
  if (established == nullptr || sa.window.outstanding || established->deletes_waiting.empty()) return;
  DeletePayload payload{.protocol = policy::Protocol::kEsp};
  for (ChildSpi spi : established->deletes_waiting) payload.spis.push_back(spi.value());
  established->deletes_waiting.clear();
  PayloadWriter out;
  out.add(payload);
  if (Status sent = core.send_request(now, sa, Exchange::kInformational, out); !sent.ok())
    core.count(sent.error().reason());
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

}  // namespace

void on_informational_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  const Payloads& request = message.payloads;
  bool ends = false;
  PayloadWriter out;
  DeletePayload answered{.protocol = policy::Protocol::kEsp};
  for (const DeletePayload& each : request.deletes) {
    ends = ends || each.protocol == policy::Protocol::kIke;
    const auto spis = drop_children(core, sa, each);
    answered.spis.insert(answered.spis.end(), spis.begin(), spis.end());
  }
  // RFC 7296 2.21.2: the initiator refuses our proof of identity.
  const bool refused = request.notify(NotifyType::kAuthenticationFailed) != nullptr;
  // The Delete of the whole IKE SA is answered with an empty message (1.4.1).
  if (!ends && !refused && !answered.spis.empty()) out.add(answered);
  sa.window.expected = message.header.message_id + 1;
  if (Status sent = core.send_response(now, sa, Exchange::kInformational, message.header.message_id,
                                       datagram_hash(message.datagram), message.path, out);
      !sent.ok())
    core.count(sent.error().reason());
  if (ends || refused)
    core.destroy(sa, refused ? Reason::kPeerAuthFailed : Reason::kDeletedByPeer,
                 {field("peer", to_string(message.path.remote))});
}

void on_create_child_request(EngineCore& core, Instant now, IkeSa& sa, const Message& message) {
  PayloadWriter out;
  out.add(notify(NotifyType::kNoAdditionalSas));
  core.report(sa, Reason::kUnsupported,
              {field("detail", std::string("CREATE_CHILD_SA: further children and rekeying"))});
  sa.window.expected = message.header.message_id + 1;
  if (Status sent = core.send_response(now, sa, Exchange::kCreateChildSa, message.header.message_id,
                                       datagram_hash(message.datagram), message.path, out);
      !sent.ok())
    core.count(sent.error().reason());
}

void on_informational_response(EngineCore& core, Instant now, IkeSa& sa, const Message&) {
  sa.window.outstanding.reset();
  if (const auto* deleting = std::get_if<Deleting>(&sa.state)) {
    if (!deleting->sent) return send_delete_ike(core, now, sa);
    return core.destroy(sa, Reason::kIkeDeleted, {field("by", std::string("us"))});
  }
  core.snapshot_changed(sa);
  send_waiting_deletes(core, now, sa);
}

void start_delete_ike(EngineCore& core, Instant now, IkeSa& sa, Reason reason, std::optional<NotifyType> notice) {
  if (auto* established = std::get_if<Established>(&sa.state)) {
    for (const ChildSa& child : established->children) {
      core.act(RemoveChild{sa.id, child.id, child.spec, reason});
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
  send_waiting_deletes(core, now, sa);
}

void check_liveness(EngineCore& core, Instant now, IkeSa& sa) {
  if (sa.state_id() != StateId::kEstablished || sa.window.outstanding) return;
  if (Status sent = core.send_request(now, sa, Exchange::kInformational, PayloadWriter()); !sent.ok())
    core.count(sent.error().reason());
}

}  // namespace ipsec::ike
