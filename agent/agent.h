#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/config_loader.h"
#include "agent/event_loop.h"
#include "agent/journal_watch.h"
#include "agent/negotiation_log.h"
#include "agent/tunnel_manager.h"
#include "agent/worker.h"
#include "netlink/xfrm_kernel.h"
#include "policy/base/log.h"
#include "policy/config.h"
#include "policy/config_parser.h"

namespace ipsec::agent {

/// The whole daemon, put together: main thread (kernel, tunnels, control socket) and workers (engines and UDP sockets).
class Agent final : private WorkerPort {
 public:
  struct Options {
    size_t workers = 2;
    std::string run_dir = "/run/ipsecd";
    std::string secrets_dir = "/etc/ipsecd/secrets";
    std::string state_dir = "/var/lib/ipsecd";
    ConfigPaths config;
  };
  /// What the daemon starts with.
  struct Start {
    LoadedConfig config;
    /// Why it is the configuration that was applied last, and not the one on disk.
    std::optional<std::string> last_applied_because;
  };
  /// Opens everything that the configuration needs. What cannot be had for one group (a missing namespace, a taken
  /// port) is a warning and that group stays down; only what nobody can do without is an error.
  static Result<std::unique_ptr<Agent>> create(Options options, Start start, Log& log);
  ~Agent() override;

  /// Starts workers and tunnels; then the loop runs until `stop()`.
  void start();
  void run() { loop_->run(); }
  enum class Extent : uint8_t { kApply, kLook };
  struct Reloaded {
    std::vector<policy::ConfigError> errors;
    std::shared_ptr<const policy::TunnelChanges> changes;
    policy::CarrierChanges carriers;
    std::vector<std::string> warnings;  ///< Also what cannot be changed while we run.
  };
  using ReloadDone = std::function<void(Result<Reloaded>)>;
  /// Reads the configuration files and the secrets again, on a thread of their own. What a valid configuration changes
  /// comes into force and the rest is left alone; one that is not valid changes nothing. With Extent::kLook nothing
  /// comes into force. `done` once, on the main thread; reloads wait for one another. Errors: kShutdown while the
  /// daemon ends, kControlLimit when too many wait.
  void reload(Extent extent, ReloadDone done);
  /// Begins the orderly end: Deletes to the peers, then everything of ours out of the kernel. `run` returns when it is
  /// done.
  void stop();

  EventLoop& loop() { return *loop_; }
  TunnelManager& manager() { return *manager_; }
  const TunnelManager& manager() const { return *manager_; }
  netlink::XfrmKernel& kernel() { return *kernel_; }
  EventRing& events() { return events_; }
  const NegotiationLog& negotiations() const { return negotiations_; }
  const Credentials& credentials() const { return *credentials_; }
  const policy::Config& config() const { return *config_; }
  const std::vector<policy::ConfigFile>& config_files() const { return config_on_disk_->files; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  WallTime started_at() const { return started_at_; }
  size_t worker_count() const { return workers_.size(); }
  /// Summed over the workers.
  WorkerTotals worker_totals() const;
  /// A counter summed over main thread and workers.
  uint64_t count(Reason reason) const;
  /// Runs a function on a worker's thread, when it comes round.
  void ask_worker(size_t worker, std::function<void()> task);
  /// Log lines that nobody took in time.
  void note_dropped_lines(uint64_t count);
  /// Called on the main thread after each round in which something may have changed.
  void set_after_round(std::function<void()> action) { after_round_ = std::move(action); }

 private:
  using SocketPlaces = std::set<std::pair<ike::SocketContext, Endpoint>>;
  Agent(Options options, Start start, Log& log);
  Status open();
  void take_over_leftovers();
  void claim_spis();
  void assign_contexts();
  void drop_unused_contexts();
  void open_group_sockets(const policy::TunnelGroup& group);
  void open_socket(const policy::TunnelGroup& group, const Endpoint& local);
  struct Reload {
    Extent extent;
    ReloadDone done;
  };
  void begin_reload();
  void end_reload(ReloadOutcome found);
  void report_refused(const std::vector<policy::ConfigError>& errors);
  void report_files() const;
  void report_secrets();
  void report_last_applied();
  void finish_reload();
  void apply(LoadedConfig loaded, const std::shared_ptr<const policy::TunnelChanges>& changes);
  void keep_config();
  void open_sockets();
  void note_unused_sockets();
  void close_unused_sockets();
  void close_sockets(SocketPlaces places);
  void on_closed(const SocketPlaces& places);
  void on_namespace_changed(const std::string& netns, bool present);
  void on_underlay_gone(const policy::RoutingPlace& underlay);
  WorkerView make_view();
  void watch_namespaces();
  void adapt_policy_hash();
  void restore_policy_hash();
  void follow_kernel_descriptors();
  void after_round();
  void finish_shutdown_when_quiet();
  void warn(std::string text);
  OffloadBook::DeviceLook read_device(const std::string& netns, const std::string& name);
  bool read_settings(const std::string& netns, hwoffload::DeviceFacts& facts);
  hwoffload::KernelFacts kernel_facts(const std::string& netns);
  std::function<void()> on_worker_action(size_t worker, ike::Action action);
  void open_letters();

  // WorkerPort
  void initiate(size_t worker, Initiation initiation) override;
  void create_child(size_t worker, Creation creation) override;
  void rekey_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) override;
  void rekey_ike(size_t worker, ike::IkeSaId ike, Reason reason) override;
  void inbound_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) override;
  void child_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) override;
  void answer(size_t worker, ike::Answer answer) override;
  void close_ike(size_t worker, ike::IkeSaId ike, Reason reason, ike::CloseMode mode) override;
  void close_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) override;
  void check_liveness(size_t worker, ike::IkeSaId ike) override;
  size_t workers() const override { return workers_.size(); }

  Options options_;
  std::shared_ptr<const policy::Config> config_;
  std::shared_ptr<const ConfigOnDisk> config_on_disk_;  // what config_ was made of, to name lines of it
  std::optional<std::string> last_applied_because_;
  Log& log_;
  EventRing events_;
  NegotiationLog negotiations_;
  Counters counters_;
  SystemRandom random_;
  WallTime started_at_;
  std::vector<std::string> warnings_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<netlink::XfrmKernel> kernel_;
  std::shared_ptr<const Credentials> credentials_;
  std::map<policy::RoutingPlace, ike::SocketContext> contexts_by_place_;  // that something uses
  std::unordered_map<std::string, ike::SocketContext> contexts_;          // by group
  SocketPlaces opened_;                                                   // sockets stand for
  SocketPlaces unused_;   // of these, not in the configuration any more: they go when what used them has ended
  SocketPlaces closing_;  // of these, told to the workers, of which not all have closed them
  JournalWatch journal_watch_;
  Adoption adoption_;  // until the start
  std::unique_ptr<TunnelManager> manager_;
  OwnSpis own_spis_;
  std::unique_ptr<Mailbox> mailbox_;  // from the workers
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<int> kernel_fds_;
  std::set<std::string> namespaces_;                    // of the groups that are enabled
  std::map<std::string, std::string> gone_namespaces_;  // of these, which are missing; what was warned of it
  std::function<void()> after_round_;
  std::optional<Instant> shutdown_deadline_;
  /// Sockets that could not be opened, with what was said of it.
  struct Unopened {
    std::string netns, warning;
  };
  std::map<std::pair<ike::SocketContext, Endpoint>, Unopened> unopened_;
  std::deque<Reload> reloads_;
  bool reloading_ = false;                   // the first one is under way
  std::optional<Reloaded> reloaded_;         // by that one; its tunnels have still to follow
  std::string keeping_failed_;               // what was warned of it
  std::unique_ptr<DiskThread> disk_;         // its results go to the loop
  std::unique_ptr<DiskThread> comparisons_;  // of what is wanted with what stands; the same
  bool running_ = false;                     // the workers' threads are
  bool removed_ = false;
};

}  // namespace ipsec::agent
