// The part of a gateway that carries out what its engines ask for.
#include "ike/crypto/key_schedule.h"
#include "ike/wire/header.h"
#include "tests/sim/gateway.h"

namespace ipsec::sim {

using namespace ike;

void Gateway::drain() {
  for (Worker& worker : workers_) drain(worker);
}

size_t Gateway::drain(Worker& worker) {
  size_t actions = 0;
  for (; auto action = worker.engine->poll_action(); ++actions) carry_out(worker, std::move(*action));
  world_.ledger().within_limits(setup_.number, *worker.engine, setup_.limits);
  return actions;
}

void Gateway::carry_out(Worker& worker, Action action) {
  if (auto* send = std::get_if<SendDatagram>(&action)) {
    if (world_.sabotage() == Sabotage::kSpoilRetransmission && send->bytes == last_sent_) send->bytes.back() ^= 1;
    if (world_.sabotage() == Sabotage::kLeakIntoDatagram && !last_key_.empty())
      send->bytes.insert(send->bytes.end(), last_key_.begin(), last_key_.begin() + 8);
    last_sent_ = send->bytes;
    world_.ledger().sent(setup_.number, send->bytes);
    world_.transmit(setup_.number, send->path, std::move(send->bytes));
  } else if (auto* init = std::get_if<NeedInitPolicy>(&action)) {
    reply(worker, {init->id, init->ike, init_policy(init->path.remote.address)});
  } else if (auto* peer = std::get_if<NeedPeer>(&action)) {
    reply(worker, answer_peer(*peer));
  } else if (auto* prove = std::get_if<NeedAuth>(&action)) {
    reply(worker,
          {prove->id, prove->ike, AuthMade{AuthMethod::kSharedKey, proof(*prove->tunnel, prove->prf, prove->octets)}});
  } else if (auto* verify = std::get_if<NeedVerify>(&action)) {
    reply(worker, answer_verify(*verify));
  } else if (auto* inbound = std::get_if<InstallInbound>(&action)) {
    install_inbound(worker, *inbound);
  } else if (auto* outbound = std::get_if<InstallOutbound>(&action)) {
    install_outbound(*outbound);
  } else if (auto* gone = std::get_if<RemoveChild>(&action)) {
    remove(*gone);
  } else if (const auto* stopped = std::get_if<StopOutbound>(&action)) {
    kernel_.outbound.erase({peer_of(*stopped->spec), stopped->spec->spi_out.value()});
  } else if (const auto* watched = std::get_if<WatchInbound>(&action)) {
    watch(static_cast<size_t>(&worker - workers_.data()), *watched, 0);
  } else if (auto* changed = std::get_if<SnapshotChanged>(&action)) {
    worker.store.erase(changed->ike.value());
    auto snapshot = worker.engine->snapshot(world_.now(), changed->ike);
    if (!changed->gone && snapshot) worker.store.emplace(changed->ike.value(), std::move(*snapshot));
  } else if (auto* told = std::get_if<Report>(&action)) {
    report(std::move(*told));
  }
}

void Gateway::give(size_t worker, const Answer& answer) {
  workers_[worker].engine->answer(world_.now(), answer);
  drain(workers_[worker]);
}

void Gateway::reply(Worker& worker, Answer answer) {
  const auto index = static_cast<size_t>(&worker - workers_.data());
  const Faults& faults = world_.faults();
  if (world_.chance(faults.answer_never)) return world_.saw(Seen::kNeverAnswered);
  if (world_.chance(faults.answer_twice)) {
    world_.saw(Seen::kAnsweredTwice);
    world_.later(std::chrono::milliseconds(world_.below(2000)), [this, index, answer] { give(index, answer); });
  }
  if (world_.chance(faults.answer_late)) {
    world_.saw(Seen::kAnsweredLate);
    return world_.later(std::chrono::milliseconds(world_.below(15000)), [this, index, answer] { give(index, answer); });
  }
  worker.engine->answer(world_.now(), std::move(answer));
}

/// What the tunnels to this address allow; who calls from an unknown one can only be behind the NAT.
InitPolicy Gateway::init_policy(const IpAddress& remote) const {
  InitPolicy known, unknown;
  for (const auto& [peer, tunnel] : setup_.tunnels) {
    const auto& proposals = tunnel->ike_policy->proposals;
    if (tunnel->remote == remote) known.proposals = proposals;
    if (!tunnel->remote) unknown.proposals = proposals;
  }
  return known.proposals.empty() ? unknown : known;
}

Answer Gateway::answer_peer(const NeedPeer& need) const {
  for (const auto& [peer, tunnel] : setup_.tunnels)
    if (tunnel->remote_id->matches(need.remote_id)) return {need.id, need.ike, PeerFound{tunnel}};
  return {need.id, need.ike, Refused{Error(Reason::kUnknownPeerIdentity, policy::to_string(need.remote_id))}};
}

Bytes Gateway::proof(const policy::Tunnel& tunnel, uint16_t prf, ByteView octets) {
  const std::string& psk = setup_.psks.at(std::stoul(tunnel.name.substr(3)));
  return psk_auth(crypto_, prf, as_bytes(psk), octets).value();
}

Answer Gateway::answer_verify(const NeedVerify& need) {
  if (need.method == AuthMethod::kSharedKey &&
      equal_in_constant_time(proof(*need.tunnel, need.prf, need.octets), need.auth))
    return {need.id, need.ike, AuthChecked{}};
  return {need.id, need.ike, Refused{Error(Reason::kAuthFailed, "AUTH differs")}};
}

void Gateway::install_inbound(Worker& worker, const InstallInbound& order) {
  const ByteView material = order.keys.material.expose();
  world_.ledger().learn_secret(material);
  last_key_.assign(material.begin(), material.end());
  const bool refused = world_.chance(world_.faults().refuse_install);
  // A kernel that says no may have done half of it all the same.
  if (!refused || world_.below(2) == 0) {
    Bytes key = last_key_;
    if (world_.sabotage() == Sabotage::kSpoilKey) key.front() ^= 1;
    const auto [it, fresh] = kernel_.inbound.try_emplace(order.spec->spi_in.value(), KernelSa{key, order.spec});
    if (!fresh && it->second.key != key)
      world_.ledger().violate("invariant 2: an inbound SPI is installed again with another key");
  }
  if (!refused) return reply(worker, {order.id, order.ike, Installed{}});
  world_.saw(Seen::kInstallRefused);
  reply(worker, {order.id, order.ike, Refused{Error(Reason::kKernelRefused, "as the simulation wants it", 22)}});
}

void Gateway::install_outbound(const InstallOutbound& order) {
  const ByteView material = order.keys.material.expose();
  world_.ledger().learn_secret(material);
  world_.ledger().outbound_installed(setup_.number, material);
  if (world_.sabotage() == Sabotage::kInstallOutboundTwice) world_.ledger().outbound_installed(setup_.number, material);
  world_.trace(setup_.number, "has a child up with " + order.spec->tunnel->name);
  world_.saw(Seen::kHandshake);
  kernel_.outbound.insert_or_assign({peer_of(*order.spec), order.spec->spi_out.value()},
                                    KernelSa{Bytes(material.begin(), material.end()), order.spec});
}

/// Looks now and then whether the peer uses the child; not every look sees it at once.
void Gateway::watch(size_t worker, WatchInbound order, int looks) {
  constexpr int kLooksMost = 400;
  if (looks == kLooksMost || !kernel_.inbound.contains(order.child.value())) return;
  if (looks > 0 && world_.is_sent_on(setup_.number, order.child.value()) && world_.below(3) != 0) {
    workers_[worker].engine->inbound_used(world_.now(), order.ike, order.child);
    drain(workers_[worker]);
    return;
  }
  world_.later(std::chrono::milliseconds(100 + world_.below(900)),
               [this, worker, order, looks] { watch(worker, order, looks + 1); });
}

void Gateway::remove(const RemoveChild& order) {
  if (world_.sabotage() == Sabotage::kForgetRemove) return;
  kernel_.inbound.erase(order.spec->spi_in.value());
  kernel_.outbound.erase({peer_of(*order.spec), order.spec->spi_out.value()});
}

void Gateway::report(Report report) {
  if (world_.sabotage() == Sabotage::kLeakIntoReport && !last_key_.empty())
    report.fields.push_back(field("oops", "x" + to_hex(ByteView(last_key_).first(8))));
  std::string line = std::string(code(report.reason)) + " " + report.tunnel;
  for (const Field& each : report.fields) line += " " + each.name + "=" + each.value;
  world_.trace(setup_.number, line);
  if (report.reason == Reason::kChildRekeyed) world_.saw(Seen::kChildRekeyed);
  if (report.reason == Reason::kIkeRekeyed) world_.saw(Seen::kIkeRekeyed);
  if (report.reason == Reason::kRekeyCollision) world_.saw(Seen::kCollisionDecided);
  if (report.reason == Reason::kTemporaryFailure) world_.saw(Seen::kTemporaryFailure);
  if (report.reason == Reason::kChildNotFound) world_.saw(Seen::kChildNotFound);
  world_.ledger().reported(report);
}

}  // namespace ipsec::sim
