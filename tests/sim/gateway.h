#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ike/crypto/crypto_context.h"
#include "ike/engine.h"
#include "policy/base/random.h"
#include "tests/sim/faults.h"
#include "tests/sim/ledger.h"

namespace ipsec::sim {

/// What a gateway needs of its world: a wire, a clock, fortune, and somebody who watches.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual Instant now() const = 0;
  virtual void transmit(size_t from, const ike::Path& path, Bytes bytes) = 0;
  virtual void later(Duration delay, std::function<void()> what) = 0;
  virtual bool chance(uint32_t in_thousand) = 0;  ///< Always false once faults have ended.
  virtual uint64_t below(uint64_t bound) = 0;
  virtual const Faults& faults() const = 0;
  virtual Sabotage sabotage() const = 0;
  virtual void saw(Seen kind) = 0;
  /// Whether any gateway has this child of `gateway` as an outbound SA.
  virtual bool is_sent_on(size_t gateway, uint32_t spi) const = 0;
  virtual Ledger& ledger() = 0;
  virtual void trace(size_t gateway, const std::string& what) = 0;
};

/// One gateway: its engines (one per worker), a shell that answers their questions badly, a kernel, an operator.
class Gateway {
 public:
  struct Setup {
    size_t number = 0;
    size_t workers = 1;
    uint64_t seed = 1;
    ike::IkeEngine::Options limits;
    /// By the number of the peer. `starts`: the tunnels that this side brings up again whenever they are down.
    std::map<size_t, std::shared_ptr<const policy::Tunnel>> tunnels;
    std::map<size_t, std::string> psks;
    std::set<size_t> starts;
  };
  Gateway(Setup setup, Surroundings& world);

  const Kernel& kernel() const { return kernel_; }
  void receive(const ike::Path& path, ByteView datagram);
  std::optional<Instant> next_deadline() const;
  void tick();
  /// Starts what is down; what a daemon does when its retry timer fires.
  void supervise();
  void initiate(size_t peer);
  /// The IKE SA of a tunnel that is in use, if there is one.
  std::optional<ike::IkeSaView> established(size_t peer) const;
  bool is_initiating(size_t peer) const;
  bool is_up(size_t peer) const;
  void close_ike(ike::IkeSaId ike);
  void close_child(ike::IkeSaId ike, ike::ChildId child);
  void check_liveness(ike::IkeSaId ike);
  void rekey_ike(ike::IkeSaId ike);
  void rekey_child(ike::IkeSaId ike, ike::ChildId child);
  /// The daemon dies and comes back: with its stored snapshots, or without.
  enum class Memory : uint8_t { kKept, kLost };
  void restart(Memory memory);
  /// What does not match between engines and kernel; nothing at rest.
  std::vector<std::string> restlessness() const;
  /// Inbound SPIs of children that are replaced or deleted.
  std::set<uint32_t> leaving() const;
  const Setup& setup() const { return setup_; }

 private:
  struct Worker {
    std::unique_ptr<SeededRandom> random;
    std::unique_ptr<ike::WorkerSpiSource> spis;
    std::unique_ptr<ike::IkeEngine> engine;
    std::map<uint64_t, Secret> store;  ///< Snapshots, by IKE SA.
  };
  Worker& worker_of(ike::IkeSaId ike) { return workers_[ike.value() % 256 % workers_.size()]; }
  std::vector<ike::IkeSaView> views() const;
  uint64_t counted(const ike::IkeEngine& engine) const;
  void make_engine(Worker& worker, uint8_t number) const;
  std::shared_ptr<const policy::Tunnel> find_tunnel(const std::string& name) const;
  void restore(Worker& worker);
  void reconcile();
  void drain();
  size_t drain(Worker& worker);
  void carry_out(Worker& worker, ike::Action action);
  void reply(Worker& worker, ike::Answer answer);
  void give(size_t worker, const ike::Answer& answer);
  ike::InitPolicy init_policy(const IpAddress& remote) const;
  ike::Answer answer_peer(const ike::NeedPeer& need) const;
  ike::Answer answer_verify(const ike::NeedVerify& need);
  void install_inbound(Worker& worker, const ike::InstallInbound& order);
  void install_outbound(const ike::InstallOutbound& order);
  void remove(const ike::RemoveChild& order);
  void watch(size_t worker, ike::WatchInbound order, int looks);
  void report(ike::Report report);
  Bytes proof(const policy::Tunnel& tunnel, uint16_t prf, ByteView octets);

  Setup setup_;
  Surroundings& world_;
  std::vector<Worker> workers_;
  Kernel kernel_;
  ike::CryptoContext crypto_;
  Bytes last_key_;  ///< For planted leaks.
  Bytes last_sent_;
};

}  // namespace ipsec::sim
