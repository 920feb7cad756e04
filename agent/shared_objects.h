#pragma once

#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/kernel_queue.h"
#include "policy/desired_state.h"

namespace ipsec::agent {

/// Policies and routes that several owners may want at once (a trap and the child that it raised, two IKE SAs of one
/// tunnel that cross): there while anybody holds them, as the latest holder of the highest rank wants them. A policy is
/// shared within one tunnel only: attached by policy, two tunnels may come to need the same one, and the second is
/// refused.
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
  explicit SharedObjects(KernelQueue& queue) : queue_(queue) {}

  /// kPolicyTaken when another tunnel holds this key: then this owner does not.
  void hold(Owner owner, const std::string& netns, const policy::PolicyConfig& wanted, Done done);
  void release(uint64_t owner, const std::string& netns, const policy::PolicyKey& key);
  void hold(Owner owner, const std::string& netns, const policy::RouteConfig& wanted, Done done);
  void release(uint64_t owner, const std::string& netns, const policy::RouteConfig& route);
  bool holds(const std::string& netns, const policy::PolicyKey& key) const { return policies_.contains({netns, key}); }

  /// Held from now on, and known to stand: of an earlier run.
  void adopt(Owner owner, const std::string& netns, const policy::PolicyConfig& standing);
  void adopt(Owner owner, const std::string& netns, const policy::RouteConfig& standing);

  /// Adds everything that is held in a namespace. Where two routes want one place, the one that stands there counts.
  void collect(const std::string& netns, policy::NamespaceState& state) const;
  /// Whether a route to this destination is held.
  bool wants_route(const std::string& netns, const IpPrefix& destination) const;
  /// Somebody else than a holder has put it right.
  void confirm(const std::string& netns, const policy::PolicyKey& key);
  void confirm(const std::string& netns, const policy::RouteConfig& route);

  struct RouteRow {
    std::string netns;
    policy::RouteConfig route;
  };
  std::vector<RouteRow> routes() const;
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
  using RouteKey =
      std::tuple<std::string, IpPrefix, std::string, std::string, uint32_t>;  // netns, to, vrf, device, metric
  struct RouteHolders {
    policy::RouteConfig route;
    std::vector<uint64_t> owners;
    Confirmation confirmation;
  };
  /// Notes the kernel's answer in the entry, if it is still that one, and hands it on.
  template <typename Map>
  KernelQueue::Done confirming(Map& map, const typename Map::key_type& key, Done done);
  static RouteKey key_of(const std::string& netns, const policy::RouteConfig& route) {
    return {netns, route.destination, route.vrf, route.device, route.metric};
  }
  KernelQueue& queue_;
  uint64_t serial_ = 0;
  std::map<std::pair<std::string, policy::PolicyKey>, PolicyHolders> policies_;
  std::map<RouteKey, RouteHolders> routes_;
};

}  // namespace ipsec::agent
