#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/credentials.h"
#include "agent/event_loop.h"
#include "agent/outbox.h"
#include "agent/own_spis.h"
#include "agent/peer_directory.h"
#include "agent/udp_socket.h"
#include "ike/crypto/crypto_context.h"
#include "ike/engine.h"

namespace ipsec::agent {

/// What workers look things up in: one immutable value, replaced as a whole when the configuration changes.
struct WorkerView {
  std::shared_ptr<const PeerDirectory> peers;
  std::shared_ptr<const Credentials> credentials;
};

/// What a worker tells of itself besides its counters: written by its thread, read by any.
struct WorkerNumbers {
  std::atomic<uint64_t> received{0}, sent{0};  ///< Datagrams of IKE, keepalives that were sent included.
  std::atomic<uint64_t> half_open{0};          ///< As admission counts them.
  std::atomic<bool> asks_for_cookies{false};
};

/// The same of several workers.
struct WorkerTotals {
  size_t workers = 0;
  uint64_t received = 0, sent = 0, half_open = 0;
  size_t asking_for_cookies = 0;  ///< Workers that do.
};

/// One thread with one engine and its sockets (architecture, decision 8). Answers the engine's questions about peers
/// and keys itself; whatever concerns the kernel or people goes to the main thread, in order. While the main thread's
/// mailbox is full the worker leaves its datagrams in the kernel's buffers; timers and answers go on.
///
/// Threads: construct, start() and join() on the main thread; `post` from any; everything else on the worker's own.
class Worker {
 public:
  /// What the main thread does about an action: whatever concerns children, IKE SAs as a whole, or people. Called on
  /// the worker's thread; what it returns runs on the main thread.
  using Outlet = std::function<std::function<void()>(size_t worker, ike::Action)>;
  /// What a worker is made of. The references are shared by all workers and outlive them.
  struct Parts {
    uint8_t node = 0;
    policy::AdmissionLimits admission;  ///< This worker's share of the node's limits.
    WorkerView view;
    OwnSpis& own_spis;
    Mailbox& mailbox;  ///< To the main thread.
    Outlet outlet;
  };
  static Result<std::unique_ptr<Worker>> create(size_t index, Parts parts);
  ~Worker();

  /// Before start(), or on the worker's own thread.
  void add_socket(UdpSocket socket);
  /// Closes what listens at these addresses. On the worker's own thread.
  void close_sockets(const std::set<std::pair<ike::SocketContext, Endpoint>>& places);
  /// Another configuration: what peers and keys are looked up in from now on. On the worker's own thread.
  void set_view(WorkerView view) { view_ = std::move(view); }
  void start();
  void join();

  /// An SPI of ours that an SA of an earlier run has. Before start().
  void claim(policy::ChildSpi spi) { spis_.claim(spi); }

  size_t index() const { return index_; }
  /// Runs on the worker's thread, with its engine; what it did to the engine is drained afterwards.
  void post(std::function<void(Worker&)> task);
  /// Has the main thread do something, behind all that this worker has told it before. On the worker's own thread.
  void tell_main(std::function<void()> task);
  /// The same of an IKE SA of this worker that the main thread makes a record of: it will hear of its end.
  void tell_main_of(ike::IkeSaId id, std::function<void()> task) {
    outbox_.note_record(id);
    tell_main(std::move(task));
  }
  void stop();

  ike::IkeEngine& engine() { return *engine_; }
  /// Counters are atomic: readable from any thread.
  const Counters& counters() const { return engine_->counters(); }
  const WorkerNumbers& numbers() const { return numbers_; }

 private:
  Worker(size_t index, Parts parts);
  void drain();
  void watch(UdpSocket& socket);
  enum class Paused : uint8_t { kNo, kYes };
  void set_paused(Paused paused);
  void on_room();
  void pass_on(Instant now, ike::Action action);
  void carry_out(ike::Action action);
  UdpSocket* socket_of(const ike::Path& path);
  void publish_numbers();
  void note_sent(bool sent);
  void send(const ike::SendDatagram& datagram);
  void send(const ike::SendKeepalive& keepalive);
  Result<Bytes> psk_proof(const policy::Tunnel& tunnel, uint16_t prf, ByteView octets);
  ike::Answer answer_verify(const ike::NeedVerify& need);

  size_t index_;
  WorkerView view_;
  Outlet outlet_;
  SystemRandom random_;
  NodeSpiSource spis_;
  ike::CryptoContext crypto_;
  std::unique_ptr<ike::IkeEngine> engine_;
  WorkerNumbers numbers_;
  std::unique_ptr<EventLoop> loop_;
  Outbox outbox_;
  Paused paused_ = Paused::kNo;  ///< Yes: no datagrams are taken, because the main thread has no room for what follows.
  std::list<UdpSocket> sockets_;  ///< Where they are is known to the loop.
  std::thread thread_;
};

}  // namespace ipsec::agent
