#include "agent/worker.h"

#include "ike/crypto/key_schedule.h"

namespace ipsec::agent {

Worker::Worker(size_t index, Parts parts)
    : index_(index),
      view_(std::move(parts.view)),
      outlet_(std::move(parts.outlet)),
      spis_(static_cast<uint8_t>(index), random_, parts.node, parts.own_spis),
      engine_(std::make_unique<ike::IkeEngine>(ike::IkeEngine::Options{parts.admission}, random_, spis_)),
      outbox_(parts.mailbox, [this] { post([](Worker& self) { self.on_room(); }); }) {}

Worker::~Worker() {
  stop();
  join();
}

Result<std::unique_ptr<Worker>> Worker::create(size_t index, Parts parts) {
  std::unique_ptr<Worker> worker(new Worker(index, std::move(parts)));
  TRY_ASSIGN(worker->loop_, EventLoop::create(), "worker");
  return worker;
}

void Worker::add_socket(UdpSocket socket) {
  sockets_.push_back(std::move(socket));
  if (thread_.joinable()) watch(sockets_.back());
}

void Worker::watch(UdpSocket& socket) {
  const auto interest = paused_ == Paused::kYes ? EventLoop::Interest::kNothing : EventLoop::Interest::kRead;
  Status watched = loop_->watch(socket.fd(), interest, [this, &socket] {
    if (paused_ == Paused::kYes) return;
    socket.receive([this](const ike::Path& path, ByteView bytes) {
      numbers_.received.fetch_add(1, std::memory_order_relaxed);
      engine_->receive(monotonic_now(), path, bytes);
    });
    drain();  // before the next socket is read: what follows from one batch is the most that can be under way
  });
  VERIFY(watched.ok());
}

void Worker::set_paused(Paused paused) {
  paused_ = paused;
  const auto interest = paused == Paused::kYes ? EventLoop::Interest::kNothing : EventLoop::Interest::kRead;
  for (const UdpSocket& socket : sockets_) {
    const Status changed = loop_->change(socket.fd(), interest);
    VERIFY(changed.ok());  // it is watched
  }
}

void Worker::on_room() {
  if (outbox_.flush() && paused_ == Paused::kYes) set_paused(Paused::kNo);
}

void Worker::close_sockets(const std::set<std::pair<ike::SocketContext, Endpoint>>& places) {
  for (auto it = sockets_.begin(); it != sockets_.end();) {
    if (!places.contains({it->context(), it->local()})) {
      ++it;
      continue;
    }
    loop_->forget(it->fd());
    it = sockets_.erase(it);
  }
}

void Worker::start() {
  for (UdpSocket& socket : sockets_) watch(socket);
  loop_->set_deadline_source([this] { return engine_->next_deadline(); });
  loop_->set_after_round([this] {
    engine_->tick(monotonic_now());
    drain();
    publish_numbers();
  });
  thread_ = std::thread([this] { loop_->run(); });
}

void Worker::stop() {
  if (loop_) loop_->stop();
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::post(std::function<void(Worker&)> task) {
  loop_->post([this, task = std::move(task)] { task(*this); });
}

void Worker::tell_main(std::function<void()> task) { outbox_.send({.open = std::move(task), .bytes = sizeof(Letter)}); }

void Worker::drain() {
  while (auto action = engine_->poll_action()) carry_out(std::move(*action));
  if (outbox_.is_blocked() && paused_ == Paused::kNo) set_paused(Paused::kYes);
}

void Worker::pass_on(Instant now, ike::Action action) {
  switch (outbox_.judge(now, action)) {
    case Outbox::Verdict::kNotNeeded: return;
    case Outbox::Verdict::kDropped: return engine_->counters().add(Reason::kReportsDropped);
    case Outbox::Verdict::kSend: break;
  }
  const size_t bytes = bytes_of(action);
  outbox_.send({.open = outlet_(index_, std::move(action)), .bytes = bytes});
}

UdpSocket* Worker::socket_of(const ike::Path& path) {
  for (UdpSocket& socket : sockets_)
    if (socket.context() == path.context && socket.local() == path.local) return &socket;
  return nullptr;
}

void Worker::publish_numbers() {
  numbers_.half_open.store(engine_->half_open(), std::memory_order_relaxed);
  numbers_.asks_for_cookies.store(engine_->asks_for_cookies(monotonic_now()), std::memory_order_relaxed);
}

void Worker::note_sent(bool sent) {
  if (sent)
    numbers_.sent.fetch_add(1, std::memory_order_relaxed);
  else
    engine_->counters().add(Reason::kDatagramSendFailed);
}

void Worker::send(const ike::SendDatagram& datagram) {
  UdpSocket* socket = socket_of(datagram.path);
  note_sent(socket != nullptr && socket->send(datagram.path.remote, datagram.bytes).ok());
}

void Worker::send(const ike::SendKeepalive& keepalive) {
  UdpSocket* socket = socket_of(keepalive.path);
  note_sent(socket != nullptr && socket->send_keepalive(keepalive.path.remote).ok());
}

Result<Bytes> Worker::psk_proof(const policy::Tunnel& tunnel, uint16_t prf, ByteView octets) {
  const Secret* key = tunnel.credential ? view_.credentials->psk(tunnel.credential->name) : nullptr;
  if (key == nullptr)
    return Error(Reason::kAuthUnavailable,
                 "tunnel " + tunnel.name + " has no usable pre-shared key" +
                     (tunnel.credential ? " (credential " + tunnel.credential->name + ")" : std::string()));
  return ike::psk_auth(crypto_, prf, key->expose(), octets);
}

ike::Answer Worker::answer_verify(const ike::NeedVerify& need) {
  ike::Answer answer{need.id, need.ike, ike::AuthChecked{}};
  if (need.method != ike::AuthMethod::kSharedKey) {
    answer.value = ike::Refused{
        Error(Reason::kAuthMethod, "the peer used " + ike::name(need.method) + ", configured is a pre-shared key")};
    return answer;
  }
  auto expected = psk_proof(*need.tunnel, need.prf, need.octets);
  if (!expected.ok())
    answer.value = ike::Refused{std::move(expected).error()};
  else if (!equal_in_constant_time(*expected, need.auth))
    answer.value = ike::Refused{Error(Reason::kAuthFailed, "the pre-shared keys of the two sides differ")};
  return answer;
}

void Worker::carry_out(ike::Action action) {
  const Instant now = monotonic_now();
  if (const auto* datagram = std::get_if<ike::SendDatagram>(&action)) return send(*datagram);
  if (const auto* keepalive = std::get_if<ike::SendKeepalive>(&action)) return send(*keepalive);
  if (const auto* need = std::get_if<ike::NeedInitPolicy>(&action))
    return engine_->answer(now, {need->id, need->ike, view_.peers->init_policy(need->path)});
  if (const auto* need = std::get_if<ike::NeedPeer>(&action)) {
    auto tunnel = view_.peers->find(need->path, need->remote_id, need->local_id);
    if (tunnel.ok()) return engine_->answer(now, {need->id, need->ike, ike::PeerFound{std::move(*tunnel)}});
    return engine_->answer(now, {need->id, need->ike, ike::Refused{std::move(tunnel).error()}});
  }
  if (const auto* need = std::get_if<ike::NeedAuth>(&action)) {
    auto proof = psk_proof(*need->tunnel, need->prf, need->octets);
    if (!proof.ok()) return engine_->answer(now, {need->id, need->ike, ike::Refused{std::move(proof).error()}});
    return engine_->answer(now, {need->id, need->ike, ike::AuthMade{ike::AuthMethod::kSharedKey, std::move(*proof)}});
  }
  if (const auto* need = std::get_if<ike::NeedVerify>(&action)) return engine_->answer(now, answer_verify(*need));
  pass_on(now, std::move(action));
}

}  // namespace ipsec::agent
