#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ike/crypto/key_schedule.h"
#include "ike/engine.h"
#include "policy/base/random.h"

/// Two engines back to back: a clock that tests move, a wire that tests disturb, and a shell that answers every
/// question.
namespace ipsec::testing {

/// When the shell answers. Late: not before others have had their turn, in any order, while the peer goes on; see
/// World::interfere. Every exchange test runs in both ways: test exchange_late_test sets LATE_ANSWERS.
enum class Answers : uint8_t { kAtOnce, kLate };
Answers answers_of_this_run();

/// How a Host's shell answers the engine's questions.
struct ShellBehaviour {
  std::string psk = "a shared secret of some length";
  bool know_address = true;
  bool know_peer = true;
  std::optional<Reason> refuse_install;
  bool answer_twice = false;   ///< Every answer is given again right after.
  bool never_install = false;  ///< InstallInbound is never answered.
  bool hold_answers = false;   ///< Answers wait in `held` until the test releases them.
};

/// What a kernel would hold of a child: the keys as hexadecimal digits, so that both ends can be compared.
struct InstalledSa {
  std::string key;
  std::shared_ptr<const policy::ChildSpec> spec;
  uint64_t order = 0;  ///< Of installation: the kernel sends on the newest one.
};

class Host {
 public:
  Host(std::string host_name, uint64_t seed, std::shared_ptr<const policy::Tunnel> its_tunnel,
       const policy::AdmissionLimits& limits = {});

  std::string name;
  policy::AdmissionLimits admission;
  ShellBehaviour shell;
  std::shared_ptr<const policy::Tunnel> tunnel;
  ike::IkeEngine& engine() { return *engine_; }
  const ike::IkeEngine& engine() const { return *engine_; }

  std::map<uint32_t, InstalledSa> inbound, outbound;  ///< By our SPI, by the peer's SPI.
  std::vector<ike::Report> reports;
  std::vector<ike::IdentityEstablished> established;
  std::vector<std::string> order;  ///< Names of the actions, in the order in which they came.
  std::deque<ike::Answer> held;
  Answers answers = Answers::kAtOnce;
  std::vector<ike::Answer> late;         ///< With Answers::kLate: what the engine waits for.
  bool holding = false;                  ///< Late answers stay until somebody calls `give_late_answer`.
  std::function<void(Host&)> interfere;  ///< Before each late answer.
  std::vector<std::pair<ike::Path, Bytes>> outbox;
  std::vector<ike::WatchInbound> watched;  ///< Asked for and neither used nor removed yet.
  std::vector<ike::IkeRekeyed> rekeyed;
  std::vector<ike::ChildFailed> failed;

  /// Gives one of the late answers, whichever `random` says, and carries out what follows.
  void give_late_answer(Instant now, Random& random);
  /// Ends every IKE SA without a word; then nothing may stand in the kernel any more.
  void check_that_nothing_stays(Instant now);
  /// Carries out all actions. Sent datagrams go to `outbox`.
  void drain(Instant now);
  /// Throws the engine away and goes on with a new one, from snapshots of all its IKE SAs.
  void handover(Instant now);
  bool reported(Reason reason) const;
  std::set<uint32_t> inbound_spis() const;
  std::set<uint32_t> outbound_spis() const;
  /// Where a packet of this child would go now: the newest outbound SA. 0: there is none.
  uint32_t sends_on(const std::string& child) const;
  /// Tells the engine that every watched inbound SA which `sender` sends on has received.
  void receive_traffic(Instant now, const Host& sender);
  /// The only IKE SA in use.
  ike::IkeSaId ike() const;
  /// The state of the only IKE SA; "none" or "many" otherwise.
  std::string state() const;
  uint64_t handovers = 0;

 private:
  void carry_out(Instant now, ike::Action action);
  void carry_out_all(Instant now);
  void give(Instant now, ike::Answer answer);
  void reply(Instant now, ike::Answer answer);
  ike::Answer answer_for(const ike::NeedVerify& need);
  void install_outbound(const ike::InstallOutbound& order_to_use);
  uint64_t installations_ = 0;
  SeededRandom random_, lateness_;
  ike::WorkerSpiSource spis_;
  std::unique_ptr<ike::IkeEngine> engine_;
  ike::CryptoContext crypto_;
};

enum class Handover : uint8_t { kNever, kEachStep };

/// One datagram on the wire, as its receiver sees it.
struct Flight {
  Host* to = nullptr;
  ike::Path path;
  Bytes bytes;
};

class World {
 public:
  struct Options {
    uint64_t seed = 1;
    Handover handover = Handover::kNever;
    std::string ike_proposals_a = "aes256gcm16-prfsha384-x25519", ike_proposals_b = ike_proposals_a;
    std::string esp_proposals_a = "aes256gcm16", esp_proposals_b = esp_proposals_a;
    std::string local_ts = "10.1.0.0/16", remote_ts = "10.2.0.0/16";  ///< As seen from a.
    std::string remote_ts_b;                                          ///< b's own idea of a's side; empty: local_ts.
    bool nat = false;  ///< A NAT stands in front of a: b sees other ports and another address.
    bool ipv6 = false;
    policy::EspMode mode_a = policy::EspMode::kTunnel, mode_b = policy::EspMode::kTunnel;
    policy::Role role_b = policy::Role::kBoth;
    bool pfs_a = false, pfs_b = false;  ///< With the groups that the ESP proposals name.
    bool pfs_required_b = false;        ///< Of B: policy::ChildPolicy::pfs_required.
    bool pfs_if_wanted = false;         ///< Of both: policy::ChildPolicy::pfs_if_wanted.
    Duration ike_lifetime = std::chrono::hours(24), child_lifetime = std::chrono::hours(1);
    bool second_child = false;    ///< "dmz": 10.101.0.0/16 behind a, 10.102.0.0/16 behind b.
    size_t further_children = 0;  ///< "net-0" and so on: 172.16.N.0/24 behind a, 172.17.N.0/24 behind b.
    uint16_t children_max = 64;
    policy::ChildOverload overload = policy::ChildOverload::kRefuse;
    policy::IdleRekey idle = policy::IdleRekey::kRekey;
    Duration dpd = 30s;
    bool rekey = true;
    uint8_t tries = 6;  ///< Transmissions of a request.
    policy::ChildlessPolicy childless_a = policy::ChildlessPolicy::kRefuse, childless_b = childless_a;
    uint8_t dpd_tries = 0;
    policy::DpdMode dpd_mode = policy::DpdMode::kActive;
    policy::AdmissionLimits admission_b;
    Answers answers = answers_of_this_run();
  };
  World();
  explicit World(const Options& options);
  /// Whatever the test did, the kernel keeps nothing that no IKE SA answers for.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Instant now{std::chrono::seconds(1000)};
  Host a, b;
  std::deque<Flight> wire;
  /// Looks at each datagram before it is delivered; true: lost.
  std::function<bool(const Flight&)> lose;
  size_t delivered = 0;
  /// Traffic flows all the time: whatever a side sends on is received, and "used" is told at every step.
  bool traffic = false;
  /// With traffic: how often a packet would have met no SA, at a side that had one before or at its peer.
  size_t packets_lost = 0;

  /// a begins. Returns the IKE SA's id at a.
  ike::IkeSaId initiate(const std::string& child = "lan", ike::Contact contact = ike::Contact::kFurther);
  /// Moves what both hosts have sent onto the wire.
  void collect();
  /// Delivers the oldest datagram; false when there is none.
  bool deliver_one();
  void deliver_all();
  /// Moves the clock to the next deadline of either side at most `limit` away and runs it; false when there is none.
  bool run_next_timer(Duration limit);
  /// Runs deliveries and timers for `duration` of simulated time.
  void run_for(Duration duration);
  /// Both established, and each child's keys and SPIs the same on both sides.
  bool is_up_and_equal() const;
  void step_done();
  /// Waits until exchanges are over and old SAs are gone; then both sides hold the same.
  bool settles();

 private:
  static std::shared_ptr<const policy::Tunnel> tunnel_a(const Options& options);
  static std::shared_ptr<const policy::Tunnel> tunnel_b(const Options& options);
  /// While `host` waits for its shell, its peer goes on: the last datagram comes again, and so does the request in it
  /// under the next message ID, which no window of one has room for. Neither may change anything.
  void interfere(Host& host);
  bool give_one_late_answer();
  void set_holding(bool holding);
  void flow();
  void on_wire(Host& from, const ike::Path& path, Bytes bytes);
  Options options_;
  SeededRandom lateness_{4242};
  ike::CryptoContext crypto_;
  std::map<const Host*, std::pair<ike::Path, Bytes>> last_;  ///< Delivered to each.
};

}  // namespace ipsec::testing
