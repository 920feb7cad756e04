#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/child_installer.h"
#include "agent/kernel_queue.h"
#include "agent/shared_objects.h"
#include "ike/engine.h"
#include "policy/base/counters.h"
#include "policy/base/events.h"
#include "policy/base/log.h"
#include "policy/config.h"

namespace ipsec::agent {

/// What the manager asks of the workers. The agent posts it to their threads; tests record it.
class WorkerPort {
 public:
  virtual ~WorkerPort() = default;
  struct Initiation {
    std::shared_ptr<const policy::Tunnel> tunnel;
    std::string child;
    std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>> trigger;
  };
  /// Begins an IKE SA on one worker; `on_initiated` of the manager is called with the outcome.
  virtual void initiate(size_t worker, Initiation initiation) = 0;
  virtual void answer(size_t worker, ike::Answer answer) = 0;
  virtual void close_ike(size_t worker, ike::IkeSaId ike, Reason reason, ike::CloseMode mode) = 0;
  virtual void close_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) = 0;
  virtual size_t workers() const = 0;
};

/// One IKE SA as the main thread knows it, from what its worker reported.
struct IkeRow {
  ike::IkeSaId id;
  size_t worker = 0;
  std::string tunnel;        ///< Empty while a responder does not know yet.
  std::string wanted_child;  ///< Initiator: the child that it was started for.
  bool initiator = false;
  std::optional<ike::IkeSaView> view;  ///< Once established.
  Reason last_reason = Reason::kNone;
  std::string last_detail;
};

/// One child of the configuration.
struct ChildRow {
  const policy::ChildConfig* config = nullptr;
  policy::ChildIds ids;
  bool trap = false;  ///< Policies of `start: traffic` stand.
  bool establishing = false;
  std::optional<ike::IkeSaId> attempt;     ///< The IKE SA under way for it.
  std::vector<ike::ChildId> up;            ///< Installed in both directions.
  std::optional<policy::Acquire> acquire;  ///< What the kernel waits for an answer to.
  std::optional<Instant> retry_at;
  Duration pause{0};
};

struct TunnelRow {
  std::shared_ptr<const policy::Tunnel> tunnel;
  uint32_t if_id = 0;
  std::string interface;
  bool link_ready = false;
  std::map<std::string, ChildRow> children;
  Reason last_reason = Reason::kNone;
  std::string last_detail;
  WallTime since;
  bool held_down = false;  ///< By an operator, until `up`.
};

/// The life of all tunnels on the main thread: interfaces and traps at start, IKE SAs when traffic, the configuration
/// or an operator wants them, kernel objects when IKE agrees, retries with growing pauses, everything out at the end.
/// No sockets, no threads, no clock of its own: tests run it on a fake kernel and a recorded worker port.
class TunnelManager {
 public:
  struct Services {
    policy::KernelPort& kernel;
    WorkerPort& workers;
    Log& log;
    EventRing& events;
    Counters& counters;
    std::function<WallTime()> wall_clock;
    ChildInstaller::Devices devices;
    std::function<void(const policy::Acquire&)> clear_acquire;
  };
  explicit TunnelManager(Services services);

  /// Interfaces, traps, then what starts now. Errors of one tunnel are reported and leave the others alone.
  void start(Instant now, std::shared_ptr<const policy::Config> config);
  /// Drains kernel completions and events; runs due retries. After every input.
  void run(Instant now);
  std::optional<Instant> next_deadline() const;

  // From the workers, in order.
  void on_action(Instant now, size_t worker, ike::Action action);
  void on_view(ike::IkeSaView view);
  void on_initiated(Instant now, size_t worker, const std::string& tunnel, const std::string& child,
                    Result<ike::IkeSaId> outcome);

  using Done = std::function<void(Status)>;
  /// Operator: brings up one child (empty name: all). `done` once, with the outcome.
  void up(Instant now, const std::string& tunnel, const std::string& child, Done done);
  void down(Instant now, const std::string& tunnel, const std::string& child, Done done);

  /// An SA that is shown on the NIC does not carry its traffic: reported once.
  void offload_not_counting(ike::ChildId id);

  /// Closes all IKE SAs; when `ike_sas()` is empty or time is over, `remove_all` takes out traps and interfaces.
  void begin_shutdown();
  void remove_all();
  bool kernel_idle() const { return queue_.in_flight() == 0; }

  const std::map<std::string, TunnelRow>& tunnels() const { return tunnels_; }
  const std::unordered_map<ike::IkeSaId, IkeRow>& ike_sas() const { return ikes_; }
  const ChildInstaller& installer() const { return installer_; }
  const SharedObjects& shared() const { return shared_; }
  const policy::Config& config() const { return *config_; }
  /// "up", "establishing", "idle" (waits for traffic), "down", "disabled".
  static std::string_view state_of(const TunnelRow& row);

 private:
  struct Waiter {
    std::string tunnel, child;
    bool for_up = true;
    Instant deadline;
    Done done;
  };
  void start_tunnel(Instant now, const std::shared_ptr<const policy::Tunnel>& tunnel);
  void start_children(Instant now, TunnelRow& row);
  void set_trap(TunnelRow& row, ChildRow& child);
  void begin(Instant now, TunnelRow& row, ChildRow& child, const policy::Acquire* acquire);
  void on_install_inbound(size_t worker, ike::InstallInbound action);
  void on_install_outbound(Instant now, size_t worker, ike::InstallOutbound action);
  void on_child_up(Instant now, ike::ChildId id, const Status& status);
  void on_remove_child(Instant now, const ike::RemoveChild& action);
  bool may_log_stranger(Instant now);
  void on_report(Instant now, size_t worker, const ike::Report& report);
  void on_gone(Instant now, ike::IkeSaId id);
  void on_identity(Instant now, const ike::IdentityEstablished& action);
  void on_kernel_event(Instant now, policy::KernelEvent event);
  void on_acquire(Instant now, const policy::Acquire& acquire);
  void on_expired(const policy::SaExpired& expired);
  void attempt_failed(Instant now, TunnelRow& row, ChildRow& child, Reason reason, const std::string& detail);
  void settle_waiters(const std::string& tunnel, const std::string& child, bool for_up, const Status& outcome);
  /// Counts and announces; what an engine reports it has counted itself.
  void event(const std::string& object, Reason reason, std::vector<Field> fields);
  void announce(const std::string& object, Reason reason, std::vector<Field> fields);
  TunnelRow* find(const std::string& tunnel);
  ChildRow* find(TunnelRow& row, const std::string& child);

  Services services_;
  KernelQueue queue_;
  SharedObjects shared_;
  ChildInstaller installer_;
  std::shared_ptr<const policy::Config> config_;
  std::map<std::string, TunnelRow> tunnels_;
  std::unordered_map<ike::IkeSaId, IkeRow> ikes_;
  std::unordered_map<uint32_t, std::pair<std::string, std::string>> child_by_reqid_;
  std::vector<Waiter> waiters_;
  uint32_t last_if_id_ = 0, last_reqid_ = 0;
  size_t next_worker_ = 0;
  Instant stranger_second_;
  uint32_t stranger_reports_ = 0;
  bool stopping_ = false;
};

}  // namespace ipsec::agent
