#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/selector_sets.h"
#include "policy/config.h"
#include "policy/desired_state.h"

/// What of the objects of an earlier run still fits the configuration. Pure.
namespace ipsec::agent {

/// What is proven ours in one namespace when the daemon starts.
struct Found {
  policy::NamespaceState ours;
  std::vector<policy::SaState> sas;  ///< The same SAs, in full.
};

/// The SAs of one child whose IKE SA ended with an earlier run, and what makes traffic take them.
struct OrphanedChild {
  std::string tunnel, child;
  std::string public_netns, private_netns;
  policy::SelectorList local, remote;  ///< As they are configured.
  uint32_t reqid = 0;
  uint32_t part_of =
      0;  ///< The child's own reqid, when this is ChildIds::part_reqid with its outbound SAs; 0: it is not.
  uint32_t number = 0;  ///< Of the tunnel: Adoption::Numbers.
  std::map<policy::SaKey, policy::SaState> inbound, outbound;
  std::vector<policy::PolicyConfig> policies;
  std::vector<policy::PolicyConfig> private_policies;  ///< ChildPlan::private_policies
  std::vector<policy::RouteConfig> routes;
  std::optional<policy::RouteConfig> peer_route;  ///< In the public namespace.
};

struct Adoption {
  /// Of a tunnel of which something stays: no other tunnel gets its numbers.
  struct Numbers {
    uint32_t number = 0;                     ///< ChildIds::tunnel.
    uint32_t if_id = 0;                      ///< 0: attached by policy.
    std::map<std::string, uint32_t> reqids;  ///< By child, as far as it has objects.
    /// By child: what carries a part of its traffic, ChildIds::part_reqid and its policies.
    std::map<std::string, std::map<uint32_t, SelectorSets::Keys>> parts;
  };
  std::map<std::string, Numbers> numbers;  ///< By tunnel.
  std::vector<OrphanedChild> children;
  std::map<std::string, IpAddress> carriers;           ///< The other ends of those whose interface stays, by name.
  std::map<std::string, policy::NamespaceState> keep;  ///< By namespace; everything else of ours goes.
  uint32_t last_number = 0, last_reqid = 0;            ///< The highest ones in use: others begin behind them.
};

/// An interface belongs to the tunnel that it is named after (its alternative name) and stays if that tunnel's group
/// has the same namespaces and VRF; an external one belongs to its group. Policies and SAs belong to the child of that
/// tunnel that allows all selectors of their reqid (outbound ones that carry a part of it have one of their own); they
/// stay if there are SAs between the tunnel's addresses in the child's mode. Attached by policy or through an external
/// interface, they belong to the tunnel with exactly these selectors and addresses. Without SAs only what waits for
/// traffic stays. With an `orphan_grace` of 0 none of this does. Exceptions and blocks stay always, those of carriers
/// included; the interface of a carrier stays, with its routes, where its kind, place and end of ours are as wanted and
/// the other end is one of its remotes.
Adoption adopt(const policy::Config& config, const std::map<std::string, Found>& found);

}  // namespace ipsec::agent
