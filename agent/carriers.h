#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/kernel_queue.h"
#include "agent/packet_rules.h"
#include "agent/shared_objects.h"
#include "policy/base/events.h"
#include "policy/base/reasons.h"
#include "policy/base/time.h"
#include "policy/carrier_choice.h"
#include "policy/config.h"
#include "policy/desired_state.h"
#include "policy/mtu.h"

namespace ipsec::agent {

/// One carrier as it stands.
struct CarrierRow {
  /// What keeps its packets from leaving in the clear. Without it there is no interface.
  enum class Blocks : uint8_t {
    kNone,
    kAsked,  ///< Not all have been answered.
    kStand,
    kRefused  ///< One of them; tried again later.
  };
  /// A block policy that is held: of which tunnel, for policies are shared within one only.
  struct Block {
    uint32_t tunnel = 0;
    policy::PolicyConfig policy;
  };
  using BlockMap = std::map<std::pair<std::string, policy::PolicyKey>, Block>;  // by namespace

  std::shared_ptr<const policy::Carrier> carrier;
  uint32_t number = 0;  ///< Of all tunnels and carriers so far.
  policy::CarrierChoice choice;
  policy::CarrierChoice::States states{};  ///< Of its paths, when they were looked at last.
  policy::InnerMtu mtu;
  Blocks blocks = Blocks::kNone;
  uint64_t asked = 0;            ///< Tells the answers to the last round of blocks from those to earlier ones.
  size_t unanswered = 0;         ///< Of that round.
  BlockMap held;                 ///< Blocks, those of former ends included, until the interface has left these.
  PacketRuleBook::Seals sealed;  ///< In the public namespace, until the same moment.
  bool link_ready = false;       ///< The interface stands.
  bool link_asked = false;       ///< The kernel has not answered yet.
  policy::LinkConfig link;       ///< As it was asked for last.
  std::vector<policy::RouteConfig> routes;  ///< As they are held.
  bool leaving = false;                     ///< Its interface is about to go; then `next` is made.
  std::shared_ptr<const policy::Carrier> next;
  std::string_view state = "down";  ///< As it was told last.
  Reason last_reason = Reason::kNone;
  std::string last_detail;
  WallTime since;  ///< When its state was entered.
};

/// The life of all carriers on the main thread: blocks first, then the interface, then routes by the state of the
/// tunnels that protect it; another remote when that is better; all in the opposite order at the end. It never asks
/// for an SA: the tunnels' own settings do.
class Carriers {
 public:
  /// How it is with a tunnel that may protect a carrier.
  struct Path {
    policy::PathState state = policy::PathState::kDown;
    uint32_t tunnel = 0;           ///< Its number; 0: there is none.
    uint32_t transport_bytes = 0;  ///< Of the largest packet that fits its SAs; 0: nobody knows.
    std::string because;           ///< What that follows from.
  };
  struct Hooks {
    std::function<Path(const policy::Carrier&, const policy::CarrierPath&)> look;
    std::function<uint32_t()> next_number;
    std::function<void(const std::string& object, Reason, std::vector<Field>)> event;
    std::function<WallTime()> wall_clock;
  };
  Carriers(KernelQueue& queue, SharedObjects& shared, PacketRuleBook& rules, Hooks hooks)
      : queue_(queue), shared_(shared), rules_(rules), hooks_(std::move(hooks)) {}

  /// Tunnels are there already. `adopted`: of carriers whose interface an earlier run has left, its other end.
  void start(Instant now, const policy::Config& config, const std::map<std::string, IpAddress>& adopted);
  /// Another configuration, whose tunnels are there already.
  void reconfigure(Instant now, const policy::Config& config);
  /// Something about a tunnel may have changed: looked at in run().
  void touch(const std::string& tunnel);
  void touch_all();
  void run(Instant now);
  std::optional<Instant> next_deadline() const;
  /// Everything goes, and comes back as soon as it can: the public namespace is gone, and its policies with it.
  void on_namespace_gone(const std::string& netns);
  /// Somebody else (the reconciler) has made an interface.
  void on_link_made(const std::string& link);
  /// The daemon is about to end: routes go first, and nothing is moved any more.
  void begin_shutdown();
  /// The end: interfaces, then what they needed.
  void remove_all();

  /// The interfaces that are wanted.
  void collect(const std::string& netns, policy::NamespaceState& state) const;
  const std::map<std::string, CarrierRow>& rows() const { return rows_; }
  /// By its number; empty: none has it.
  std::string name_of(uint32_t number) const;
  /// "up", "idle" (waits for traffic), "down" (no tunnel protects it), "failed" (no interface), "disabled".
  static std::string_view state_of(const CarrierRow& row);
  static bool is_enabled(const policy::Carrier& carrier);

 private:
  using Rows = std::map<std::string, CarrierRow>;
  CarrierRow& add(const std::shared_ptr<const policy::Carrier>& carrier, size_t in_use);
  void begin(const std::shared_ptr<const policy::Carrier>& carrier);
  void update(CarrierRow& row, const std::shared_ptr<const policy::Carrier>& carrier);
  void leave(CarrierRow& row, std::shared_ptr<const policy::Carrier> next);
  void on_left(const std::string& name);
  Result<CarrierRow::BlockMap> wanted_blocks(const CarrierRow& row) const;
  void hold_blocks(CarrierRow& row);
  void on_block(const std::string& name, uint64_t asked, const Status& status);
  void fail_blocks(CarrierRow& row, const Error& why);
  static PacketRuleBook::Seals wanted_seals(const policy::Carrier& carrier);
  void hold_seals(CarrierRow& row, PacketRuleBook::Seals seals);
  void seal(CarrierRow& row);
  void release_blocks(CarrierRow& row, const CarrierRow::BlockMap& kept);
  void ask_for_link(CarrierRow& row, policy::KernelChange change);
  void on_link(const std::string& name, uint32_t number, const Status& status);
  void look(CarrierRow& row);
  void settle(CarrierRow& row);
  void forget_former_ends(CarrierRow& row);
  policy::LinkConfig link_of(const CarrierRow& row) const;
  void set_routes(CarrierRow& row);
  void hold_routes(CarrierRow& row, std::vector<policy::RouteConfig> wanted);
  void tell_state(CarrierRow& row);
  void tell_switch(const CarrierRow& row, size_t from);
  void complain(CarrierRow& row, const Error& why);
  void list(const CarrierRow& row);
  CarrierRow* find(const std::string& name);

  KernelQueue& queue_;
  SharedObjects& shared_;
  PacketRuleBook& rules_;
  Hooks hooks_;
  Rows rows_;
  std::unordered_map<std::string, std::set<std::string>> by_tunnel_;  // carriers
  std::unordered_map<std::string, std::string> by_interface_;         // carrier
  std::set<std::string> dirty_;
  TimerQueue<std::string> due_;  // returns to the preferred path, and what is tried again
  uint64_t last_asked_ = 0;
  Instant now_;
  bool stopping_ = false;
};

}  // namespace ipsec::agent
