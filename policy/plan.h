#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/child_spec.h"
#include "policy/kernel_model.h"
#include "policy/limits.h"

/// From what IKE negotiated to what stands in the kernel. Pure.
namespace ipsec::policy {

/// Interface group of all our xfrm interfaces: they can be listed and removed by it.
inline constexpr uint32_t kLinkGroup = 50;
/// Priorities of policies, of which the lowest counts: neighbour discovery, exceptions, then tunnels, the most specific
/// first, then blocks.
inline constexpr uint32_t kNeighbourPriority = 1000, kExceptionPriority = 1024, kTunnelPriority = 4096,
                          kBlockPriority = 8192;
inline constexpr uint32_t kGuardUser = 50;            ///< PolicyKey::user of guards.
inline constexpr uint32_t kBlockMetric = 4294967294;  ///< Of the routes that lead nowhere.

/// Numbers that the agent gives to a tunnel and its child.
struct ChildIds {
  uint32_t reqid = 0;     ///< Of all inbound SAs of the child, and of outbound ones that carry all that is configured.
  uint32_t if_id = 0;     ///< 0: attached by policy.
  std::string interface;  ///< "ips" and if_id in hexadecimal digits, or the group's; empty: attached by policy.
  uint32_t tunnel = 0;    ///< Tells tunnels apart, however attached.
  /// Of an outbound SA that carries a part of what is configured, and of its policies; 0: as `reqid`. The kernel finds
  /// the SA of a policy by its reqid, and of two with the same reqid it takes the newer one.
  uint32_t part_reqid = 0;
  uint32_t outbound_reqid() const { return part_reqid != 0 ? part_reqid : reqid; }
};
std::string interface_name(uint32_t if_id);

/// Where the kernel reports and where it ends an SA that has carried much (ChildPolicy::lifetime_bytes, _packets): the
/// soft limits at rekey.share_percent, minus up to rekey.jitter_percent as `spread` (any random number) has it. Without
/// rekeying there are only hard ones.
VolumeLimits volume_limits(const ChildPolicy& policy, uint64_t spread);
/// A share of `whole` less a part of it that `spread` chooses, as RekeyPolicy says.
uint64_t rekey_point(uint64_t whole, const RekeyPolicy& rekey, uint64_t spread);

/// The objects of one child SA. Keys and offload are filled in by whoever installs.
struct ChildPlan {
  SaConfig inbound, outbound;
  std::vector<PolicyConfig> inbound_policies;  ///< Directions in and forward.
  std::vector<PolicyConfig> outbound_policies;
  std::vector<PolicyConfig> private_policies;  ///< Of the private namespace: where crosses_from_vrf().
  std::vector<RouteConfig> routes;             ///< To the peer's selectors, with the metric of an active tunnel.
};

/// Whether what comes in over a group's underlay VRF goes on in another namespace. There the kernel looks for the
/// interface by the VRF's member instead of the if_id, finds none, and drops what no inbound policy without if_id
/// accepts. Such a policy is optional (level "use"): what is not protected passes as before.
bool crosses_from_vrf(const TunnelGroup& group);

/// Keys of the outbound policies for every combination that the selectors allow, sorted. Fails as plan_child() does,
/// beyond `most` keys.
Result<std::vector<PolicyKey>> policy_keys(const SelectorList& local, const SelectorList& remote, uint32_t if_id = 0,
                                           size_t most = kPoliciesPerChildMax);

/// Error kSelectorCount when the selectors need more policies per direction than the child policy's policies_max (the
/// detail names the count); kTsUnacceptable when they cannot be expressed in the kernel (OPAQUE ports, ranges over
/// several ICMP types).
/// `spread`: see volume_limits().
Result<ChildPlan> plan_child(const ChildSpec& spec, const ChildIds& ids, uint64_t spread = 0);

/// A route into a tunnel that has an interface.
RouteConfig route_into(const Tunnel& tunnel, const ChildIds& ids, const IpPrefix& destination, uint32_t metric);

/// What makes a packet of an idle child ask for the tunnel (`start: traffic`): outbound policies whose SA is missing,
/// so that the kernel sends an acquire, and routes with the idle metric.
struct TrapPlan {
  std::vector<PolicyConfig> policies;
  std::vector<RouteConfig> routes;
};
Result<TrapPlan> plan_trap(const Tunnel& tunnel, const ChildConfig& child, const ChildIds& ids);

/// What keeps the traffic of a child from leaving in the clear while no SA takes it (TunnelGroup::default_block), as
/// configured. By policy: block policies of all directions, which stand where those of the child do, so that these take
/// their place. By interface: unreachable routes beside those of the child, of the highest metric.
struct BlockPlan {
  std::vector<PolicyConfig> policies;
  std::vector<RouteConfig> routes;
};
Result<BlockPlan> plan_block(const Tunnel& tunnel, const ChildConfig& child, const ChildIds& ids);

/// What stands below a policy on a NIC, of the same traffic: the kernel takes the policies of a device that goes down
/// or away with it, and what they covered would pass in the clear. Nothing where the policy is in software,
/// or of an interface, out of which nothing gets without one.
std::optional<PolicyConfig> plan_guard(const PolicyConfig& policy);

/// Lets IPv6 neighbour and router discovery pass (ICMPv6 types 133 to 137), without which nobody on the link is reached
/// whose address a tunnel or block covers, its peer included. Routers do not forward these messages.
std::vector<PolicyConfig> plan_neighbour_discovery();

/// The policies of one of a group's exceptions, of all directions; `order`: its place in their list, from 0. They count
/// before those of all tunnels.
Result<std::vector<PolicyConfig>> plan_exception(const TrafficException& exception, size_t order);

/// The xfrm interface of a tunnel, with the MTU that link_mtu() says.
LinkConfig plan_link(const Tunnel& tunnel, const ChildIds& ids, uint32_t mtu);
/// `prefix` and an object's name as an interface's name: of one that is too long a hash, the same in every run.
std::string short_interface_name(std::string_view prefix, const std::string& name);
/// The name of a group's external interface: "ipsx-" and the group's name, or a hash of one that is too long.
std::string external_interface_name(const std::string& group);
/// The external interface of a group, with the smallest MTU that any of its tunnels may come to need.
LinkConfig plan_external_link(const Config& config, const TunnelGroup& group);

/// A port range as the fewest value and mask pairs that cover exactly it.
struct PortBlock {
  uint16_t value = 0, mask = 0;
  friend bool operator==(const PortBlock&, const PortBlock&) = default;
};
std::vector<PortBlock> port_blocks(uint16_t first, uint16_t last);

}  // namespace ipsec::policy
