#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/kernel_queue.h"
#include "policy/desired_state.h"

namespace ipsec::agent {

/// Policies and routes that several owners may want at once (a trap and the child that it raised, two IKE SAs of one
/// tunnel that cross): there while anybody holds them. A policy is as the latest holder of the highest rank wants it,
/// and shared within one tunnel only: attached by policy, two tunnels may come to need the same one, and the second is
/// refused. Below one on a NIC stands its guard (policy::plan_guard()), first in and last out. A route is whose that
/// came first; who wants another one in its place waits until it goes, and has it then.
class SharedObjects {
 public:
  /// A block counts while nothing else stands there, a trap while no SA takes the traffic.
  enum class Rank : uint8_t { kBlock, kTrap, kTraffic };
  /// Who holds: a part of a tunnel, by the tunnel's number (ChildIds::tunnel).
  struct Owner {
    uint64_t id = 0;
    uint32_t tunnel = 0;
    Rank rank = Rank::kTraffic;
  };
  using Done = std::function<void(Status)>;
  /// Says to people who has this number.
  using NameOf = std::function<std::string(uint32_t tunnel)>;
  /// A tunnel waits for the place of another one's route, or has its own there from now on.
  struct RouteConflict {
    uint32_t tunnel = 0, holder = 0;  ///< By their numbers; settled: the tunnel holds it itself.
    const policy::RouteConfig& wanted;
    bool settled = false;
  };
  using OnConflict = std::function<void(const RouteConflict&)>;
  SharedObjects(KernelQueue& queue, NameOf name_of, OnConflict on_conflict)
      : queue_(queue), name_of_(std::move(name_of)), on_conflict_(std::move(on_conflict)) {}

  /// kPolicyTaken when another tunnel holds this key: then this owner does not.
  void hold(Owner owner, const std::string& netns, const policy::PolicyConfig& wanted, Done done);
  void release(uint64_t owner, const std::string& netns, const policy::PolicyKey& key);
  /// Succeeds also while another tunnel's route is in this one's place, for the tunnel can do without.
  void hold(Owner owner, const std::string& netns, const policy::RouteConfig& wanted, Done done);
  void release(uint64_t owner, const std::string& netns, const policy::RouteConfig& route);
  /// Holds `wanted` and no more the rest of `before`: what is new stands before what is old goes. `complain` hears of
  /// each new one.
  void replace(Owner owner, const std::string& netns, const std::vector<policy::RouteConfig>& before,
               const std::vector<policy::RouteConfig>& wanted, const Done& complain);
  bool holds(const std::string& netns, const policy::PolicyKey& key) const { return policies_.contains({netns, key}); }

  /// Held from now on, and known to stand: of an earlier run.
  void adopt(Owner owner, const std::string& netns, const policy::PolicyConfig& standing);
  void adopt(Owner owner, const std::string& netns, const policy::RouteConfig& standing);

  /// Adds what is held in a namespace, at most `most` objects behind those of the calls before with this cursor; of the
  /// routes of one place that which counts. False: that was the last part.
  struct Cursor {
    std::optional<policy::PolicyKey> policy;
    std::optional<policy::RouteKey> route;
    bool policies_done = false;
  };
  bool collect(const std::string& netns, Cursor& cursor, size_t most, policy::NamespaceState& state) const;
  /// As it is wanted now; nothing: nobody holds it.
  std::optional<policy::PolicyConfig> wanted_policy(const std::string& netns, const policy::PolicyKey& key) const;
  /// To this destination, whatever their tables and metrics.
  std::vector<policy::RouteConfig> wanted_routes(const std::string& netns, const IpPrefix& destination) const;
  /// Whether a route to this destination is held.
  bool wants_route(const std::string& netns, const IpPrefix& destination) const;
  /// Somebody else than a holder has put it right.
  void confirm(const std::string& netns, const policy::PolicyKey& key);
  void confirm(const std::string& netns, const policy::RouteConfig& route);

  /// A route that is wanted, once for each tunnel that wants it.
  struct RouteRow {
    std::string netns;
    policy::RouteConfig route;
    uint32_t tunnel = 0;
    std::optional<uint32_t> waits_for;  ///< The tunnel whose route is in its place.
  };
  using RoutePlace = std::pair<std::string, policy::RouteKey>;  ///< Namespace and key.
  /// Those of at most `places` places behind `after`, which is set to the last of them; nothing: from the first place.
  std::vector<RouteRow> routes(std::optional<RoutePlace>& after, size_t places) const;
  size_t policies() const { return policies_.size(); }

 private:
  /// What the kernel has confirmed of an entry. Until then each holder asks on its own (adding what is ours already is
  /// no error), so that nobody takes for granted what was refused.
  struct Confirmation {
    uint64_t serial = 0;  // tells an entry from an earlier one of the same key
    bool standing = false;
  };
  struct PolicyHolder {
    uint64_t owner = 0;
    Rank rank = Rank::kTraffic;
    policy::PolicyConfig policy;
  };
  struct PolicyHolders {
    uint32_t tunnel = 0;
    std::vector<PolicyHolder> holders;  // by rank; the last one counts
    Confirmation confirmation;
  };
  struct RouteClaim {
    uint64_t owner = 0;
    uint32_t tunnel = 0;
    policy::RouteConfig route;
  };
  struct RouteClaims {
    policy::RouteConfig route;       // the one that counts
    std::vector<RouteClaim> claims;  // as they came; one of them at least wants that route
    Confirmation confirmation;

    bool waits(const RouteClaim& claim) const { return claim.route != route; }
    const RouteClaim& holder() const;
  };
  /// Notes the kernel's answer in the entry, if it is still that one, and hands it on.
  template <typename Map>
  KernelQueue::Done confirming(Map& map, const typename Map::key_type& key, Done done);
  static RoutePlace place_of(const std::string& netns, const policy::RouteConfig& route) {
    return {netns, policy::RouteKey::of(route)};
  }
  bool is_held_by(uint64_t owner, const std::string& netns, const policy::PolicyKey& key) const;
  void hold_policy(Owner owner, const std::string& netns, const policy::PolicyConfig& wanted, Done done);
  void release_policy(uint64_t owner, const std::string& netns, const policy::PolicyKey& key);
  void hand_over(const RoutePlace& place, RouteClaims& entry, uint32_t from);
  KernelQueue& queue_;
  NameOf name_of_;
  OnConflict on_conflict_;
  uint64_t serial_ = 0;
  std::map<std::pair<std::string, policy::PolicyKey>, PolicyHolders> policies_;
  std::map<RoutePlace, RouteClaims> routes_;
};

}  // namespace ipsec::agent
