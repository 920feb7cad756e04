#include "tests/bench/handshake.h"

#include <unistd.h>

#include <fstream>

#include "agent/udp_socket.h"
#include "ike/crypto/key_schedule.h"
#include "tests/bench/limits.h"

namespace ipsec::bench {

using namespace ike;

namespace {

constexpr std::string_view kPsk = "a shared secret of some length";
const IpAddress kLoopback = IpAddress::v4(0x7f000001);
const Endpoint kInitiatorAt{kLoopback, 15001}, kResponderAt{kLoopback, 15002};

std::shared_ptr<const policy::Tunnel> make_tunnel(bool initiator, bool pfs) {
  auto group = std::make_shared<policy::TunnelGroup>();
  group->public_addresses = {kLoopback};
  auto ike = std::make_shared<policy::IkePolicy>();
  ike->proposals = policy::parse_proposal(policy::Protocol::kIke, "aes256gcm16-prfsha384-x25519").value();
  auto child_policy = std::make_shared<policy::ChildPolicy>();
  child_policy->proposals =
      policy::parse_proposal(policy::Protocol::kEsp, pfs ? "aes256gcm16-x25519" : "aes256gcm16").value();
  child_policy->pfs = pfs;
  auto tunnel = std::make_shared<policy::Tunnel>();
  tunnel->name = "bench";
  tunnel->group = group;
  tunnel->remote = kLoopback;
  tunnel->local_id = policy::Identity::parse(initiator ? "a.example" : "b.example").value();
  tunnel->remote_id = policy::Identity::parse(initiator ? "b.example" : "a.example").value();
  tunnel->ike_policy = ike;
  const auto near = policy::parse_selector("10.1.0.0/16").value(), far = policy::parse_selector("10.2.0.0/16").value();
  tunnel->children.push_back(
      {.name = "lan", .local = {initiator ? near : far}, .remote = {initiator ? far : near}, .policy = child_policy});
  return tunnel;
}

double resident_bytes() {
  std::ifstream status("/proc/self/statm");
  double size = 0, resident = 0;
  status >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace

const Path kFromInitiator{SocketContext(0), kInitiatorAt, kResponderAt};
const Path kFromResponder{SocketContext(0), kResponderAt, kInitiatorAt};

policy::AdmissionLimits unlimited() {
  policy::AdmissionLimits limits;
  limits.half_open_cookie_from = limits.half_open_max;
  limits.half_open_per_prefix = limits.init_rate_per_address = 0;
  return limits;
}

void responder_turn(Party& responder, Instant now, const Path& path, ByteView datagram, const Sink& sink) {
  responder.receive(now, path, datagram);
  responder.drain(now, sink);
}

void shake_hands(Party& initiator, Party& responder, Instant now, const std::function<void()>& before_each) {
  std::vector<Bytes> to_responder, to_initiator;
  initiator.initiate(now, kFromInitiator);
  initiator.drain(now, [&](const Path&, ByteView bytes) { to_responder.emplace_back(bytes.begin(), bytes.end()); });
  while (!to_responder.empty()) {
    for (const Bytes& each : std::exchange(to_responder, {})) {
      if (before_each) before_each();
      responder_turn(responder, now, kFromResponder, each,
                     [&](const Path&, ByteView bytes) { to_initiator.emplace_back(bytes.begin(), bytes.end()); });
    }
    for (const Bytes& each : std::exchange(to_initiator, {})) {
      initiator.receive(now, kFromInitiator, each);
      initiator.drain(now, [&](const Path&, ByteView bytes) { to_responder.emplace_back(bytes.begin(), bytes.end()); });
    }
  }
}

Party::Party(bool initiator, uint64_t seed, const policy::AdmissionLimits& limits, bool pfs)
    : tunnel_(make_tunnel(initiator, pfs)), random_(seed), spis_(initiator ? 1 : 2, random_) {
  engine_ = std::make_unique<IkeEngine>(IkeEngine::Options{limits}, random_, spis_);
}

template <typename Work>
void Party::account(Phase phase, Work work) {
  if (!timed) return work();
  const double start = thread_cpu();
  work();
  spent[static_cast<size_t>(phase)] += thread_cpu() - start;
  readings[static_cast<size_t>(phase)] += 1;
}

void Party::initiate(Instant now, const Path& path) { VERIFY(engine_->initiate(now, tunnel_, "lan", path).ok()); }

void Party::receive(Instant now, const Path& path, ByteView datagram) {
  const bool first = datagram.size() > 18 && datagram[18] == static_cast<uint8_t>(Exchange::kIkeSaInit);
  account(first ? Phase::kInitRequest : Phase::kAuthRequest, [&] { engine_->receive(now, path, datagram); });
}

void Party::drain(Instant now, const std::function<void(const Path&, ByteView)>& sink) {
  for (;;) {
    std::optional<Action> action;
    account(Phase::kDrain, [&] { action = engine_->poll_action(); });
    if (!action) return;
    carry_out(now, *action, sink);
  }
}

void Party::carry_out(Instant now, Action& action, const std::function<void(const Path&, ByteView)>& sink) {
  if (auto* send = std::get_if<SendDatagram>(&action)) {
    sink(send->path, send->bytes);
  } else if (auto* init = std::get_if<NeedInitPolicy>(&action)) {
    account(Phase::kInitPolicy, [&] {
      engine_->answer(now, {init->id, init->ike, InitPolicy{tunnel_->ike_policy->proposals}});
    });
  } else if (auto* peer = std::get_if<NeedPeer>(&action)) {
    account(Phase::kPeer, [&] { engine_->answer(now, {peer->id, peer->ike, PeerFound{tunnel_}}); });
  } else if (auto* prove = std::get_if<NeedAuth>(&action)) {
    AuthMade made;
    account(Phase::kDrain, [&] { made.auth = psk_auth(crypto_, prove->prf, as_bytes(kPsk), prove->octets).value(); });
    account(Phase::kProve, [&] { engine_->answer(now, {prove->id, prove->ike, std::move(made)}); });
  } else if (auto* verify = std::get_if<NeedVerify>(&action)) {
    account(Phase::kDrain,
            [&] { VERIFY(psk_auth(crypto_, verify->prf, as_bytes(kPsk), verify->octets).value() == verify->auth); });
    account(Phase::kVerify, [&] { engine_->answer(now, {verify->id, verify->ike, AuthChecked{}}); });
  } else if (auto* install = std::get_if<InstallInbound>(&action)) {
    account(Phase::kInstall, [&] { engine_->answer(now, {install->id, install->ike, Installed{}}); });
  } else if (std::holds_alternative<IdentityEstablished>(action)) {
    ++established;
  } else if (const auto* out = std::get_if<InstallOutbound>(&action)) {
    children.emplace_back(out->ike, out->child);
  } else if (const auto* report = std::get_if<Report>(&action)) {
    if (report->reason == Reason::kChildRekeyed) ++children_rekeyed;
    if (report->reason == Reason::kIkeRekeyed) ++ikes_rekeyed;
    if (report->reason == Reason::kRekeyFailed || report->reason == Reason::kPeerUnreachable) ++failures;
  }
}

EngineResult run_engines(size_t count) {
  EngineResult result;
  const Instant now{1000s};
  for (const bool timed : {false, true}) {
    Party initiator(true, 1), responder(false, 2);
    for (size_t i = 0; i < 50; ++i) shake_hands(initiator, responder, now);
    responder.timed = timed;
    if (!timed) continue;  // the first pair only warms up what the process shares
    for (size_t i = 0; i < count; ++i) shake_hands(initiator, responder, now);
    VERIFY(responder.established == count + 50);
    // The clock itself is not the responder's work.
    const double clock_start = thread_cpu();
    for (int i = 0; i < 10000; ++i) thread_cpu();
    const double clock = (thread_cpu() - clock_start) / 10000;
    for (size_t i = 0; i < kPhaseCount; ++i) {
      const double work = responder.spent[i] - clock * responder.readings[i];
      result.phases[i] = std::max(0.0, work / static_cast<double>(count));
      result.microseconds += result.phases[i];
    }
  }
  return result;
}

double run_sockets(size_t count) {
  auto near = agent::UdpSocket::open_group({}, SocketContext(0), kInitiatorAt, 1);
  auto far = agent::UdpSocket::open_group({}, SocketContext(0), kResponderAt, 1);
  if (!near.ok() || !far.ok()) return 0;
  Party initiator(true, 3), responder(false, 4);
  const Instant now{1000s};
  constexpr size_t kInFlight = 40;
  const auto send_from = [](agent::UdpSocket& socket) {
    return [&socket](const Path& path, ByteView bytes) { VERIFY(socket.send(path.remote, bytes).ok()); };
  };
  double spent = 0;
  for (size_t started = 0; responder.established < count;) {
    for (; started < count && started < initiator.established + kInFlight; ++started) {
      initiator.initiate(now, kFromInitiator);
    }
    initiator.drain(now, send_from(near->front()));
    const double start = thread_cpu();
    far->front().receive([&](const Path& path, ByteView datagram) { responder.receive(now, path, datagram); });
    responder.drain(now, send_from(far->front()));
    spent += thread_cpu() - start;
    near->front().receive([&](const Path& path, ByteView datagram) { initiator.receive(now, path, datagram); });
  }
  return spent / static_cast<double>(count);
}

double run_memory(size_t count) {
  // The initiator lives in passing: each forgets its IKE SA before the next begins.
  Party responder(false, 6);
  const Instant now{1000s};
  Party initiator(true, 5);
  const auto one = [&] {
    shake_hands(initiator, responder, now);
    for (IkeSaId id : initiator.engine().ike_sas())
      initiator.engine().close_ike(now, id, Reason::kShutdown, CloseMode::kSilently);
    initiator.drain(now, [](const Path&, ByteView) {});
  };
  for (size_t i = 0; i < 200; ++i) one();
  const double before = resident_bytes();
  for (size_t i = 0; i < count; ++i) one();
  return (resident_bytes() - before) / static_cast<double>(count);
}

}  // namespace ipsec::bench
