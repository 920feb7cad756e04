#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/selector_sets.h"
#include "ike/engine.h"
#include "policy/config.h"
#include "policy/coverage.h"
#include "policy/kernel_port.h"
#include "policy/plan.h"

/// What the tunnel manager knows of tunnels, their children and their IKE SAs.
namespace ipsec::agent {

/// One IKE SA as the main thread knows it, from what its worker reported.
struct IkeRow {
  enum class Stage : uint8_t {
    kSettingUp,
    kEstablished,
    kEnding  ///< We asked for its end, or another took its place: no new child goes there.
  };
  ike::IkeSaId id;
  size_t worker = 0;
  Stage stage = Stage::kSettingUp;
  std::string tunnel;  ///< Empty while a responder does not know yet.
  bool initiator = false;
  Instant established_at;
  uint64_t serial = 0;  ///< In the order of establishment; a rekey keeps it.
  Instant ends_older_from;
  std::optional<Reason> ends_older;  ///< Takes the place of the tunnel's other IKE SAs, as soon as its child is there.
  std::set<ike::ChildId> children;   ///< In the kernel, or on their way there.
  std::optional<ike::IkeSaView> view;  ///< Once established, as it was then.
  Reason last_reason = Reason::kNone;
  std::string last_detail;
};

/// One child of the configuration.
struct ChildRow {
  /// How far it has come on its way up.
  enum class Step : uint8_t {
    kNone,
    kWaiting,     ///< For the IKE SA that another child of the tunnel has begun.
    kInitiating,  ///< Its own IKE SA is being set up.
    kCreating     ///< It is being added to an IKE SA that stands.
  };
  std::shared_ptr<const policy::Tunnel> tunnel;  ///< Whose child it is: keeps `config`.
  const policy::ChildConfig* config = nullptr;
  policy::ChildIds ids;
  SelectorSets parts;    ///< Of SAs that carry a part of what is configured.
  bool leaving = false;  ///< Not in the configuration any more, or not like this: ends, then its successor is made.
  bool blocked = false;  ///< What keeps its traffic from leaving in the clear stands.
  bool trap = false;     ///< Policies and routes that wait for traffic stand.
  bool trap_dropped = false;  ///< By EndAction::kClear: they come back with the next child.
  size_t homes = 0;           ///< Child SAs of it that are in the kernel, or on their way in or out.
  Step step = Step::kNone;
  std::optional<ike::IkeSaId> attempt;  ///< The IKE SA of kInitiating (once known) or kCreating.
  /// Installed in both directions; more than one during a rekey, and where each carries a part of what is configured.
  std::vector<ike::ChildId> up;
  /// What the peer did not take with the SAs that are up, and is asked for with further ones.
  struct Rest {
    bool asked = false;                        ///< The attempt under way is for it.
    bool singly = false;                       ///< The peer has refused several pairs at once.
    bool reported = false;                     ///< That what is refused stays uncovered.
    policy::SelectorPair request;              ///< What was asked for last.
    std::vector<policy::TrafficPair> before;   ///< What was left then.
    std::vector<policy::TrafficPair> refused;  ///< By the peer, since the child is up.
  };
  Rest rest;
  std::optional<policy::Acquire> acquire;  ///< What the kernel waits for an answer to.
  std::optional<Instant> retry_at;
  Duration pause{0};
  uint32_t failures = 0;                  ///< Since it was up, or since an operator wanted it up.
  std::optional<policy::EspShape> shape;  ///< Of its last SAs.
  policy::InnerMtu mtu;
  bool given_up = false;   ///< After RetryPolicy::tries failures, until `up`.
  bool held_down = false;  ///< By an operator, until `up`.
};

struct TunnelRow {
  std::shared_ptr<const policy::Tunnel> tunnel;
  uint32_t number = 0;      ///< Of all tunnels so far.
  uint32_t if_id = 0;       ///< 0: attached by policy.
  std::string interface;    ///< Empty: attached by policy, there is none.
  bool link_ready = false;  ///< Its interface stands, or it needs none.
  bool link_asked = false;  ///< The kernel has not answered yet.
  bool leaving = false;     ///< Not in the configuration any more, or elsewhere: ends, then `next` is made.
  std::shared_ptr<const policy::Tunnel> next;
  std::map<std::string, ChildRow> children;
  std::vector<policy::RouteConfig> routes;        ///< As they are held: those of the configuration, no child's.
  std::vector<ike::IkeSaId> ikes;                 ///< Its IKE SAs, oldest first.
  policy::PathFacts path;                         ///< To its peer, when it was looked at last.
  std::optional<policy::RouteConfig> peer_route;  ///< plan_peer_route(), as it is held.
  policy::InnerMtu mtu;                           ///< The least of its children.
  /// Its own interface as it was asked for last; nothing: it was not, or somebody else has asked since.
  std::optional<policy::LinkConfig> asked;
  std::set<policy::PacketRules::Clearing> clearings;
  Reason last_reason = Reason::kNone;
  std::string last_detail;
  WallTime since;
};

/// All reqids that the kernel may name when it means this child.
std::vector<uint32_t> reqids_of(const ChildRow& child);

/// Why a tunnel cannot be used whose interface is not there.
Error no_interface(const TunnelRow& row);

/// Whether an operator's verb may act on a tunnel, or on one child of it (empty: on all that stay). `row`: nullptr when
/// there is none of this name. Errors: kNotFound; kConfigNotInForce for what a reload has taken out of the
/// configuration, or has configured otherwise, and that still ends.
Status check_in_force(const TunnelRow* row, const std::string& tunnel, const std::string& child);

}  // namespace ipsec::agent
