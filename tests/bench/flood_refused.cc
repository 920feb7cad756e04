#include "tests/bench/flood_refused.h"

#include <memory>
#include <string>

#include "agent/outbox.h"
#include "agent/peer_directory.h"
#include "ike/engine.h"
#include "tests/bench/handshake.h"
#include "tests/bench/limits.h"

namespace ipsec::bench {

using namespace ike;

namespace {

constexpr Instant kStart{1000s};

std::shared_ptr<const agent::PeerDirectory> directory_of(size_t tunnels) {
  policy::Config config;
  auto group = std::make_shared<policy::TunnelGroup>();
  group->name = "core";
  group->public_addresses = {kFromResponder.local.address};
  auto ike = std::make_shared<policy::IkePolicy>();
  ike->proposals = policy::parse_proposal(policy::Protocol::kIke, "aes128gcm16-prfsha512-ecp521").value();
  for (size_t i = 0; i < tunnels; ++i) {
    auto tunnel = std::make_shared<policy::Tunnel>();
    tunnel->name = "t" + std::to_string(i);
    tunnel->group = group;
    tunnel->ike_policy = ike;
    tunnel->local_id = policy::Identity::parse("gw.example").value();
    tunnel->remote_id = policy::Identity::parse(tunnel->name + ".example").value();
    config.tunnels.emplace(tunnel->name, tunnel);
  }
  return std::make_shared<const agent::PeerDirectory>(
      config, std::unordered_map<std::string, SocketContext>{{"core", kFromResponder.context}});
}

/// A worker without sockets, which offers what nobody wants, and a main thread that opens no letter.
class Responder {
 public:
  Responder(std::shared_ptr<const agent::PeerDirectory> peers, const policy::AdmissionLimits& limits)
      : peers_(std::move(peers)), engine_({limits}, random_, spis_) {}

  void take(Bytes& request) {
    random_.fill(std::span(request).first(8));
    Path path = kFromResponder;
    path.remote = {IpAddress::v4(random_.u32()), 500};
    engine_.receive(kStart, path, request);
    while (auto action = engine_.poll_action()) carry_out(std::move(*action));
  }
  const Counters& counters() const { return engine_.counters(); }
  agent::Mailbox mailbox{[] {}};
  agent::Outbox outbox{mailbox, [] {}};
  size_t dropped = 0;

 private:
  void carry_out(Action action) {
    if (const auto* need = std::get_if<NeedInitPolicy>(&action))
      return engine_.answer(kStart, {need->id, need->ike, peers_->init_policy(need->path)});
    if (std::holds_alternative<SendDatagram>(action)) return;
    const auto verdict = outbox.judge(kStart, action);
    dropped += verdict == agent::Outbox::Verdict::kDropped ? 1 : 0;
    if (verdict != agent::Outbox::Verdict::kSend) return;
    const size_t bytes = agent::bytes_of(action);
    outbox.send({.open = [kept = std::make_shared<Action>(std::move(action))] {}, .bytes = bytes});
  }
  std::shared_ptr<const agent::PeerDirectory> peers_;
  SeededRandom random_{51};
  WorkerSpiSource spis_{1, random_};
  IkeEngine engine_;
};

double measure(Responder& responder, Bytes& request, size_t count) {
  const double start = thread_cpu();
  for (size_t i = 0; i < count; ++i) responder.take(request);
  return (thread_cpu() - start) / static_cast<double>(count);
}

}  // namespace

RefusedFloodResult run_refused_flood(size_t count, size_t tunnels) {
  Bytes request;
  Party party(true, 50);
  party.initiate(kStart, kFromInitiator);
  party.drain(kStart, [&](const Path&, ByteView bytes) { request.assign(bytes.begin(), bytes.end()); });
  const auto peers = directory_of(tunnels);

  policy::AdmissionLimits no_cookies = unlimited();
  no_cookies.half_open_cookie_from = UINT32_MAX;
  Responder plain(peers, no_cookies), flooded(peers, policy::AdmissionLimits());
  RefusedFloodResult result;
  result.refused = measure(plain, request, count);
  result.flood = measure(flooded, request, count);
  result.cookies = static_cast<double>(flooded.counters().get(Reason::kIkeCookieSent)) / static_cast<double>(count);
  result.letters = plain.mailbox.letters() + plain.outbox.waiting();
  result.bytes = plain.mailbox.bytes();
  result.dropped = plain.dropped;
  return result;
}

}  // namespace ipsec::bench
