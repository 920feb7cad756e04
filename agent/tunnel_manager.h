#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/carriers.h"
#include "agent/child_installer.h"
#include "agent/kernel_queue.h"
#include "agent/offload_book.h"
#include "agent/orphans.h"
#include "agent/packet_rules.h"
#include "agent/reconciliation.h"
#include "agent/rollout.h"
#include "agent/sa_watch.h"
#include "agent/shared_objects.h"
#include "agent/traffic_book.h"
#include "agent/tunnel_rows.h"
#include "agent/worker_port.h"
#include "hwoffload/verify.h"
#include "policy/base/counters.h"
#include "policy/base/events.h"
#include "policy/base/log.h"
#include "policy/base/random.h"
#include "policy/config_changes.h"
#include "policy/manual.h"

namespace ipsec::agent {

/// The life of all tunnels on the main thread: interfaces and traps at start, IKE SAs when traffic, the configuration
/// or an operator wants them, kernel objects when IKE agrees, rekeys when SAs have carried enough, retries with growing
/// pauses, everything out at the end. One IKE SA serves all children of a tunnel.
/// No sockets, no threads, no clock of its own: tests run it on a fake kernel and a recorded worker port.
/// Sources: tunnel_manager.cc (start, events, end), tunnel_attempts.cc (how children come up, or do not), child_life.cc
/// (from InstallInbound to RemoveChild), tunnel_links.cc (their interfaces), tunnel_routes.cc (routes beside those of
/// children), group_objects.cc (what groups share), tunnel_operations.cc (what operators ask for), duplicates.cc (a
/// peer's second IKE SA), desired.cc (what should be in the kernel), reconfiguration.cc (another configuration),
/// tunnel_blocks.cc (what passes, and what never does), manual.cc (children whose keys nobody negotiates),
/// packet_handling.cc (MTU, MSS, DF, DSCP), offload_moves.cc (who has a place on a NIC), carrier_paths.cc (what
/// carriers ask of tunnels).
class TunnelManager {
 public:
  struct Services {
    policy::KernelPort& kernel;
    WorkerPort& workers;
    Random& random;
    Log& log;
    EventRing& events;
    Counters& counters;
    std::function<WallTime()> wall_clock;
    std::function<Instant()> monotonic_clock = {};  ///< To see how long reads of the kernel take.
    OffloadBook::Services offload;
    /// Runs `work` on another thread, then `then` on this one (Reconciliation::Hooks::aside).
    std::function<void(std::function<void()> work, std::function<void()> then)> aside = {};
    /// Packets of a namespace that a policy wanted protected and no SA took (XfrmOutNoStates, XfrmOutPolError).
    std::function<Result<uint64_t>(const std::string& netns)> out_drops;
    /// Packets that an interface has sent.
    std::function<Result<uint64_t>(const std::string& netns, const std::string& interface)> sent_packets;
    std::function<void(const policy::Acquire&)> clear_acquire;
    /// A namespace is gone (false); or it was met anew, an address or a link came, or its events were lost (true): for
    /// whoever has sockets there.
    std::function<void(const std::string& netns, bool present)> namespace_changed;
    /// The VRF that is a group's underlay is gone: what is bound to it hears nothing, even if another one comes.
    std::function<void(const policy::RoutingPlace& underlay)> underlay_gone;
    /// The keys of a child whose keys are manual, as the newest configuration has them.
    std::function<Result<policy::ManualKeys>(const policy::ChildConfig&)> manual_keys = {};
  };
  explicit TunnelManager(Services services);

  /// Interfaces, traps, then what starts now. Errors of one tunnel are reported and leave the others alone.
  /// `adoption`: what of an earlier run goes on; it stands in the kernel, and nothing else of that run does.
  void start(Instant now, std::shared_ptr<const policy::Config> config, Adoption adoption = {});
  /// A changed configuration: what is not in it any more ends, what is new begins, what is still right goes on
  /// undisturbed; what is to be negotiated otherwise is rekeyed. The workers have it already. `changes`: what
  /// policy::tunnel_changes() says of the configuration in force and this one.
  void reconfigure(Instant now, std::shared_ptr<const policy::Config> config,
                   std::shared_ptr<const policy::TunnelChanges> changes);
  /// Whether tunnels have still to follow the configuration of the last start() or reconfigure(): they do so in the
  /// turns that follow.
  bool is_rolling_out() const { return rollout_.active; }
  /// Tunnels of an earlier configuration that still end.
  bool has_leaving() const;
  /// Drains kernel completions and events; runs due retries and looks. After every input.
  void run(Instant now);
  std::optional<Instant> next_deadline() const;

  // From the workers, in order.
  void on_action(Instant now, size_t worker, ike::Action action);
  void on_view(ike::IkeSaView view);
  void on_initiated(Instant now, size_t worker, const std::string& tunnel, const std::string& child,
                    Result<ike::IkeSaId> outcome);
  void on_creating(Instant now, ike::IkeSaId ike, const std::string& tunnel, const std::string& child,
                   const Status& status);

  using Done = std::function<void(Status)>;
  /// Operator: brings up one child (empty name: all), also after retries were given up. `done` once, with the outcome.
  void up(Instant now, const std::string& tunnel, const std::string& child, Done done);
  /// Takes down one child, or all, and holds it down against traffic, retries and the peer until `up`.
  void down(Instant now, const std::string& tunnel, const std::string& child, Done done);
  /// Replaces what is up of one child, or of all, by fresh SAs; or the IKE SA. `done` when the fresh one is in use.
  enum class RekeyTarget : uint8_t { kChildren, kIke };
  void rekey(Instant now, const std::string& tunnel, const std::string& child, RekeyTarget target, Done done);

  /// From now on what is wanted in these namespaces is kept true, whatever others do there. Those of which a
  /// ResyncNeeded is told need not be named.
  void look_after(Instant now, const std::set<std::string>& namespaces);
  /// What differs between wanted and standing: of one namespace, or of all (Reconciliation::drift()).
  void drift(Instant now, const std::optional<std::string>& netns, Reconciliation::DriftDone done);

  /// Looks at the NICs themselves, if the last such look was longer ago than `pause`: not every setting of a device
  /// tells of its change.
  void read_offload_devices(Instant now, Duration pause);
  /// Where a tunnel's children (or one of them; "" is all) are to be, instead of the choice by what they carry.
  Status pin_offload(Instant now, const std::string& tunnel, const std::string& child, policy::OffloadPin pin,
                     OffloadBook::PinFor how);
  OffloadBook& offload() { return offload_; }
  const OffloadBook& offload() const { return offload_; }

  /// Closes all IKE SAs; when `ike_sas()` is empty or time is over, `remove_all` takes out traps and interfaces.
  void begin_shutdown();
  void remove_all();
  bool kernel_idle() const { return queue_.in_flight() == 0; }

  const std::map<std::string, TunnelRow>& tunnels() const { return tunnels_; }
  const std::map<ike::IkeSaId, IkeRow>& ike_sas() const { return ikes_; }
  const ChildInstaller& installer() const { return installer_; }
  /// The child whose place this one takes or took, while it is still there.
  const InstalledChild* predecessor_of(ike::ChildId id) const;
  const SharedObjects& shared() const { return shared_; }
  const Reconciliation& reconciliation() const { return reconciliation_; }
  Reconciliation& reconciliation() { return reconciliation_; }
  const TrafficBook& traffic() const { return traffic_; }
  const Orphans& orphans() const { return orphans_; }
  const Carriers& carriers() const { return carriers_; }
  /// What no SA of the child carries, when some are up.
  std::vector<policy::TrafficPair> uncovered_of(const ChildRow& child) const;
  const policy::Config& config() const { return *config_; }
  /// By its number, ChildIds::tunnel; empty: none has it.
  std::string tunnel_of(uint32_t number) const;
  /// "tunnel/NAME" or "carrier/NAME"; empty: none has it.
  std::string object_of(uint32_t number) const;
  /// "up", "establishing", "idle" (waits for traffic), "failed" (no more tries), "down", "disabled".
  static std::string_view state_of(const TunnelRow& row);
  /// Of its interface as it is wanted: "running", "dormant" (nothing gets through, so that routing daemons leave it),
  /// or "missing" while it could not be made.
  std::string_view interface_state_of(const TunnelRow& row) const;

 private:
  enum class WaitFor : uint8_t { kUp, kDown, kChildRekey, kIkeRekey };
  struct Waiter {
    std::string tunnel, child;
    WaitFor what = WaitFor::kUp;
    Instant deadline;
    Done done;
  };
  /// Where a child SA belongs.
  struct Home {
    ike::IkeSaId ike;
    size_t worker = 0;
    uint32_t reqid = 0;       ///< Of its child.
    uint32_t part_reqid = 0;  ///< ChildIds::part_reqid
    std::optional<ike::ChildId> replaces;
    bool sequence_told = false;
    uint32_t expired = 0;         ///< How often one of its SAs was seen at the hard limit, ...
    Instant expired_counts_at{};  ///< ... and when it counts again.
  };
  /// A child whose successor's outbound half is on its way into the kernel: what ends the old one waits for that.
  struct Renewal {
    ike::ChildId fresh;
    bool stop = false;
    std::optional<ike::RemoveChild> removal;
  };

  // tunnel_manager.cc
  /// `number`: of a former tunnel of this name, whose policies the new one takes over; 0: none.
  void start_tunnel(Instant now, const std::shared_ptr<const policy::Tunnel>& tunnel, uint32_t number = 0);
  void add_child(TunnelRow& row, const policy::ChildConfig& child);
  // Interfaces: one per tunnel, or one that the tunnels of a group share.
  struct SharedLink {
    policy::LinkConfig config;
    bool ready = false, asked = false;
    size_t users = 0;  // tunnels of which it is the interface that is ready
  };
  using SharedPlace = std::pair<std::string, policy::RoutingPlace>;  // public namespace, private side
  SharedLink* shared_link(const TunnelRow& row);
  void name_link(TunnelRow& row);
  policy::LinkConfig link_of(const TunnelRow& row) const;
  void settle_link(const TunnelRow& row);
  void settle_links();
  void make_link(Instant now, TunnelRow& row);
  void on_link_answer(Instant now, TunnelRow& row, const Status& made);
  void on_shared_answer(Instant now, const SharedPlace& place, const Status& made);
  void use_link(Instant now, TunnelRow& row);
  void remove_link(TunnelRow& row);
  void plan_shared_links();
  uint32_t number_for(const std::string& tunnel);
  uint32_t if_id_for(const std::string& tunnel);
  uint32_t reqid_for(const std::string& tunnel, const std::string& child);
  /// Whether a packet into the tunnel gets through, or brings it up.
  bool takes_traffic(const TunnelRow& row) const;
  /// Whether it is to come up without being asked.
  bool comes_up_by_itself(const ChildRow& child) const;
  void start_children(Instant now, TunnelRow& row);
  void start_child(Instant now, TunnelRow& row, ChildRow& child);
  void set_trap(TunnelRow& row, ChildRow& child);
  void drop_trap(TunnelRow& row, ChildRow& child);
  bool may_log_stranger(Instant now);
  bool is_of(const TunnelRow& row, const policy::Acquire& acquire) const;
  void on_report(Instant now, const ike::Report& report);
  void take_kernel_events(Instant now);
  void on_kernel_event(Instant now, policy::KernelEvent event);
  void on_acquire(Instant now, const policy::Acquire& acquire);
  void on_namespace_gone(const std::string& netns);
  void on_link_changed(const policy::LinkChanged& change);
  /// Counts and announces; what an engine reports it has counted itself.
  void event(const std::string& object, Reason reason, std::vector<Field> fields);
  void announce(const std::string& object, Reason reason, std::vector<Field> fields);
  std::string name_of(uint32_t number) const;
  TunnelRow* find(const std::string& tunnel);
  static ChildRow* find(TunnelRow& row, const std::string& child);

  // tunnel_routes.cc
  void on_route_conflict(const SharedObjects::RouteConflict& conflict);
  void set_routes(TunnelRow& row);
  void hold_routes(TunnelRow& row, std::vector<policy::RouteConfig> wanted);
  void follow_group(TunnelRow& row, ChildRow& child, const policy::Tunnel& before);
  enum class PeerLook : uint8_t { kAsKnown, kAnew };
  std::optional<IpAddress> peer_by_nic(const TunnelRow& row) const;
  void settle_peer_route(TunnelRow& row, PeerLook look);

  // group_objects.cc
  using GatewayRoutes = std::map<std::pair<std::string, policy::RouteKey>, policy::RouteConfig>;  // by namespace
  using Vrfs = std::map<std::pair<std::string, std::string>, policy::LinkConfig>;                 // by namespace, name
  using Rules = std::set<std::pair<std::string, policy::RuleConfig>>;                             // by namespace
  void set_group_objects();
  void drop_unused_group_objects();
  void drop_group_objects(const Vrfs& vrfs, const Rules& rules);
  void hold_gateway_routes(GatewayRoutes wanted);
  Vrfs wanted_vrfs() const;
  Rules wanted_rules() const;

  // tunnel_blocks.cc
  void set_block(TunnelRow& row, ChildRow& child);
  void drop_block(const ChildRow& child);
  using Exceptions = std::map<std::pair<std::string, policy::PolicyKey>, policy::PolicyConfig>;  // by namespace
  Exceptions wanted_exceptions();
  void set_exceptions();
  void drop_exceptions();

  // packet_handling.cc
  policy::PathFacts look_at_path(const TunnelRow& row);
  void settle_packets(TunnelRow& row);
  void settle_headers(const TunnelRow& row);
  void drop_packets(const TunnelRow& row);
  void on_shape(TunnelRow& row, ChildRow& child, const InstalledChild& installed);
  void adopt_headers(const std::vector<OrphanedChild>& children);
  void on_device(const policy::LinkChanged& change);
  void look_at_paths(const std::string& netns);
  void run_paths(Instant now);

  // carrier_paths.cc
  Carriers::Hooks carrier_hooks();
  Carriers::Path look_at(const policy::Carrier& carrier, const policy::CarrierPath& path) const;
  policy::PathState state_for(const policy::Carrier& carrier, const ChildRow& child) const;

  // offload_moves.cc
  void seat_children(const TunnelRow& row);
  void announce_move(const TunnelRow& row, const InstalledChild& from, const InstalledChild& to);
  void move_child(const hwoffload::Move& move);
  void run_offload(Instant now);
  std::optional<Instant> offload_deadline() const;
  void look_at_offload(Instant now);
  bool takes_nothing(const InstalledChild& child, const hwoffload::CounterWatch::Sample& sample);
  void offload_not_counting(Instant now, ike::ChildId id, const std::string& why);
  void probe_devices();
  void on_offload_link(Instant now, const policy::LinkChanged& change);

  // reconfiguration.cc
  void roll_out(Instant now);
  void finish_rollout(Instant now);
  void settle_rollout(Instant now);
  void follow(Instant now, const std::string& name);
  void leave(TunnelRow& row);
  void leave(TunnelRow& row, ChildRow& child);
  void update(Instant now, TunnelRow& row, const std::shared_ptr<const policy::Tunnel>& tunnel,
              const policy::TunnelChange* change);
  void close_children(const TunnelRow& row, const std::string& child, Reason reason);
  void rekey_changed(const TunnelRow& row, const policy::TunnelChange& change);
  void sweep_soon(const TunnelRow& row);
  void sweep(Instant now);
  void sweep_tunnel(Instant now, std::map<std::string, TunnelRow>::iterator it);
  void sweep_children(Instant now, TunnelRow& row);
  void forget_child(const ChildRow& child);

  // tunnel_operations.cc
  void settle_waiters(const std::string& tunnel, const std::string& child, WaitFor what, const Status& outcome);
  void expire_waiters(Instant now);
  void fail_rekeys(const ike::Report& report);

  // child_rest.cc
  void ask_for_rest(TunnelRow& row, ChildRow& child, const policy::Acquire* acquire);
  void rest_failed(Instant now, TunnelRow& row, ChildRow& child, Reason reason, const std::string& detail);
  void report_rest(const TunnelRow& row, ChildRow& child, const std::vector<policy::TrafficPair>& left);
  void on_part_up(Instant now, TunnelRow& row, ChildRow& child, const InstalledChild& installed);

  // tunnel_attempts.cc
  void begin(Instant now, TunnelRow& row, ChildRow& child, const policy::Acquire* acquire);
  void choose_way(TunnelRow& row, ChildRow& child);
  void move_waiting(TunnelRow& row);
  void attempt_failed(Instant now, TunnelRow& row, ChildRow& child, Reason reason, const std::string& detail);
  void give_up(TunnelRow& row, ChildRow& child, const std::string& detail);
  void plan_retry(Instant now, TunnelRow& row, ChildRow& child, const std::string& detail);
  void set_retry(ChildRow& child, std::optional<Instant> when);
  void run_retries(Instant now);
  void on_identity(Instant now, size_t worker, const ike::IdentityEstablished& action);
  void on_child_failed(Instant now, const ike::ChildFailed& action);
  void on_ike_rekeyed(Instant now, size_t worker, const ike::IkeRekeyed& action);
  void on_gone(Instant now, ike::IkeSaId id);
  /// The row of an IKE SA, made if it is new, and listed with its tunnel.
  IkeRow& ike_row(ike::IkeSaId id, size_t worker, const std::string& tunnel);
  IkeRow* ike_in_use(const TunnelRow& row);
  void close(IkeRow& ike, Reason reason, ike::CloseMode mode);
  bool is_wanted(const TunnelRow& row, const IkeRow& ike, bool retries_count) const;
  void close_if_childless(ike::IkeSaId id, Reason reason, bool retries_count);
  Duration vary(Duration pause);

  // duplicates.cc
  void list_peer(const policy::Tunnel& tunnel);
  void unlist_peer(const policy::Tunnel& tunnel);
  ike::Contact contact_for(const TunnelRow& row);
  std::vector<IkeRow*> others_in_use(const IkeRow& fresh);
  void settle_duplicates(Instant now, TunnelRow& row, IkeRow& fresh, bool initial_contact);
  void end_older(Instant now, IkeRow& fresh);
  void settle_crossing(ike::IkeSaId id);
  void run_crossings(Instant now);

  // manual.cc
  /// A child whose keys are manual, in the kernel or on its way there.
  struct ManualChild {
    uint32_t reqid = 0;
    std::shared_ptr<const policy::ManualKeys> keys;  ///< Of its SAs.
    size_t busy = 0;             ///< Of its SAs, those that the kernel works on: it cannot end meanwhile, ...
    std::optional<Reason> ends;  ///< ... but does so then; ...
    bool stale = false;          ///< ... or is renewed, because the configuration has changed.
    size_t made = 0;             ///< SAs, since `busy` was 0.
    std::optional<Error> failed;
  };
  void begin_manual(TunnelRow& row, ChildRow& child);
  void on_manual_installed(ike::ChildId id, const Status& status);
  void end_manual(TunnelRow& row, ChildRow& child, Reason reason);
  void end_manual(TunnelRow& row, const std::string& child, Reason reason);
  void end_manual_in(const std::string& netns);
  void wake_manual(TunnelRow& row);
  void wake_manual_in(const std::string& netns);
  void wake_manual_on(const std::string& link);
  void mend_manual(ike::ChildId id);
  void renew_manual(ike::ChildId id);
  void renew_manual_sa(ike::ChildId id, policy::Direction direction);
  void on_manual_renewed(ike::ChildId id, const Status& status);
  void refresh_manual(Instant now, TunnelRow& row, const policy::TunnelChange* change);
  void announce_manual(const TunnelRow& row, const ChildRow& child);
  ChildRow& manual_row(const ManualChild& manual, TunnelRow** row);

  // child_life.cc
  void on_install_inbound(size_t worker, ike::InstallInbound action);
  void on_install_outbound(Instant now, size_t worker, ike::InstallOutbound action);
  void on_outbound(Instant now, ike::ChildId id, const Status& status);
  void on_child_up(Instant now, TunnelRow& row, ChildRow& child, const InstalledChild& installed, ike::ChildId id);
  void announce_offload(const TunnelRow& row, const InstalledChild& installed);
  void on_watch_inbound(Instant now, const ike::WatchInbound& action);
  void on_stop_outbound(const ike::StopOutbound& action);
  void on_remove_child(Instant now, const ike::RemoveChild& action);
  void remove_child(Instant now, const ike::RemoveChild& action);
  void finish_renewal(Instant now, ike::ChildId fresh, bool fresh_is_up);
  void on_part_ended(Instant now, TunnelRow& row, ChildRow& child, Reason reason);
  void on_child_ended(Instant now, TunnelRow& row, ChildRow& child, Reason reason);
  void on_expired(const policy::SaExpired& expired);
  void on_hard_limit(ike::ChildId id, const policy::SaKey& key);
  void on_sequence_due(ike::ChildId id, uint64_t sequence);
  void follow(Instant now, ike::ChildId id, const InstalledChild& installed);
  void forget_home(ike::ChildId id);

  // wanted_here.h
  friend class WantedHere;

  // desired.cc
  Reconciliation::Hooks reconciliation_hooks();
  void on_saw_sas(const std::string& netns, Reconciliation::ReadPart part, const std::vector<policy::SaState>& states);
  void recover_acquires(const std::string& netns, const std::vector<policy::SaState>& states);
  void look_at_volumes(const std::string& netns, const std::vector<policy::SaState>& states);
  void replace_child(ike::ChildId id, const policy::SaKey& key, uint32_t tries);
  void on_link_made(const std::string& link);

  const Home* home_of(ike::ChildId id) const;
  ChildRow* row_of(const policy::ChildSpec& spec, TunnelRow** row);

  Services services_;
  KernelQueue queue_;
  SharedObjects shared_;
  PacketRuleBook packet_rules_;
  OffloadBook offload_;
  ChildInstaller installer_;
  Orphans orphans_;
  Carriers carriers_;
  SaWatch watch_;
  TrafficBook traffic_;
  Reconciliation reconciliation_;
  std::shared_ptr<const policy::Config> config_;
  std::map<std::string, TunnelRow> tunnels_;
  std::map<ike::IkeSaId, IkeRow> ikes_;
  std::unordered_map<ike::ChildId, Home> homes_;
  std::map<ike::ChildId, ManualChild> manual_;
  std::unordered_map<ike::ChildId, Renewal> renewals_;  // by the old child
  std::unordered_map<uint32_t, std::pair<std::string, std::string>> child_by_reqid_;
  std::unordered_map<std::string, std::string> tunnel_by_interface_;  // that have their own
  std::unordered_map<uint32_t, std::string> tunnel_by_number_;
  std::map<SharedPlace, SharedLink> shared_links_;
  std::set<std::string> unsettled_links_;  // tunnels whose interface may be wanted otherwise than it was asked for
  TimerQueue<uint32_t> retries_;           // by reqid
  TimerQueue<ike::IkeSaId> childless_;
  TimerQueue<ike::IkeSaId> crossings_;
  std::unordered_map<std::string, std::vector<std::string>> tunnels_of_peer_;  // by both identities
  std::vector<Waiter> waiters_;
  Exceptions exceptions_;         // as they are held
  GatewayRoutes gateway_routes_;  // as they are held
  Vrfs vrfs_;                     // as they were asked for
  Rules rules_;                   // as they were asked for
  bool unused_group_objects_ = false;
  std::map<std::pair<std::string, std::string>, uint32_t> device_mtus_;  // by namespace and device
  std::map<std::string, std::string> paths_seen_;                        // the last tunnel looked at, by namespace
  std::map<std::string, Instant> paths_due_, paths_rest_;  // because routes changed; no look before; by namespace
  uint32_t last_number_ = 0, last_if_id_ = 0, last_reqid_ = 0;
  Rollout rollout_;
  std::map<std::string, Adoption::Numbers> adopted_;  // while the tunnels start
  decltype(Adoption::carriers) adopted_carriers_;     // the same
  bool events_left_ = false;                          // of the kernel, for the next turn
  size_t next_worker_ = 0;
  uint64_t last_serial_ = 0;        // of established IKE SAs
  std::set<std::string> to_sweep_;  // tunnels of which something that leaves may be gone
  Instant stranger_second_;
  uint32_t stranger_reports_ = 0;
  hwoffload::CounterWatch counter_watch_;
  hwoffload::OfferedWatch offered_watch_;
  Instant offload_look_at_, offload_decide_at_, offload_read_at_;
  std::unordered_map<uint32_t, hwoffload::Why> moving_;  // why the last move was made, by reqid
  Instant now_;                                          // of the last run, for what the kernel's answers bring about
  bool stopping_ = false;
};

}  // namespace ipsec::agent
