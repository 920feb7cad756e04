#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "policy/base/result.h"
#include "policy/desired_state.h"
#include "policy/kernel_model.h"
#include "policy/packet_rules.h"

namespace ipsec::policy {

// Operations. Each acts on one object in one namespace. Adding never replaces: a key that is there already is
// `kKernelConflict` unless the journal proves it ours. Deleting something that is gone succeeds.

struct AddSa {
  SaConfig sa;
};  ///< Reply: SaState, read back from the kernel.
struct DeleteSa {
  SaKey key;
};
struct ReadSa {
  SaKey key;
};  ///< Reply: SaState.
struct AddPolicy {
  PolicyConfig policy;
};
struct UpdatePolicy {
  PolicyConfig policy;
};  ///< Only for a key that the journal knows as ours; made anew when somebody has removed it.
struct DeletePolicy {
  PolicyKey key;
};
struct AddLink {
  LinkConfig link;
};  ///< Made, enslaved, MTU set, its addresses on it, up and dormant as wanted: or not there at all. A VRF of the name
    ///< that somebody else made serves as it is.
/// VRF, MTU, group, alternative name, up, dormant, addresses of ours: brought to what is wanted, for a link that the
/// journal knows. While its VRF is missing (kVrfMissing) the link is down, so that nothing gets out of it into another
/// table.
struct UpdateLink {
  LinkConfig link;
};
struct DeleteLink {
  std::string name;
};  ///< A VRF in which somebody else's interfaces are stays: kKernelConflict.
struct AddRoute {
  RouteConfig route;
};
struct DeleteRoute {
  RouteConfig route;
};
struct AddRule {
  RuleConfig rule;
};
struct DeleteRule {
  RuleConfig rule;
};

/// All packet rules of the namespace at once, in place of those that are there; empty: none any more, and no table.
/// kPacketRulesRefused with the kernel's words; kKernelConflict when a table of our name is somebody else's.
struct SetPacketRules {
  PacketRules rules;
};
/// Some of them, beside what SetPacketRules or this has put there before.
struct ChangePacketRules {
  PacketRuleChange change;
};

using KernelChange =
    std::variant<AddSa, DeleteSa, ReadSa, AddPolicy, UpdatePolicy, DeletePolicy, AddLink, UpdateLink, DeleteLink,
                 AddRoute, DeleteRoute, AddRule, DeleteRule, SetPacketRules, ChangePacketRules>;

struct KernelOperation {
  uint64_t id = 0;    ///< Chosen by the caller; comes back in the completion.
  std::string netns;  ///< Where; "" is the daemon's own namespace.
  KernelChange change;
};

using KernelReply = std::variant<std::monostate, SaState>;

struct KernelCompletion {
  uint64_t id = 0;
  Result<KernelReply> result;  ///< Errors carry the errno and the kernel's own words (extended ack).
};

// What the kernel tells unasked.

/// A packet met an outbound policy that has no SA.
struct Acquire {
  std::string netns;
  PolicyKey policy;  ///< Selector, direction and if_id of the policy that was met.
  uint32_t reqid = 0;
  TrafficSelector packet_source, packet_destination;  ///< The packet's own addresses, protocol, ports.
  IpAddress tunnel_source, tunnel_destination;
};
struct SaExpired {
  std::string netns;
  SaKey key;
  bool hard = false;
  uint64_t bytes = 0, packets = 0;  ///< What the SA had carried.
};
struct SaMappingChanged {
  std::string netns;
  SaKey key;
  Endpoint old_remote, new_remote;
};
struct LinkChanged {
  std::string netns;
  std::string name;
  uint32_t index = 0;
  bool up = false, gone = false;  ///< up: administratively, and running.
  bool admin_up = false;
  bool dormant = false;  ///< As LinkConfig::dormant.
  bool enslaved = false;
  uint32_t mtu = 0;
};
/// An address came that is not of link scope, and can be used.
struct AddressAdded {
  std::string netns;
  IpAddress address;
};
/// An address of ours (IFA_PROTO 50) went from an interface, with it or without; whose it was shows only in a dump.
struct AddressRemoved {
  std::string netns;
  IpAddress address;
};
/// Somebody else took out an SA of ours, or flushed them all (no key).
struct SaRemoved {
  std::string netns;
  std::optional<SaKey> key;
};
/// Somebody else took out or overwrote a policy of ours, or flushed them all (no key).
struct PolicyDisturbed {
  std::string netns;
  std::optional<PolicyKey> key;
};
/// Somebody else removed a route of a protocol that we use; whose it was shows only in a dump.
struct RouteRemoved {
  std::string netns;
  IpPrefix destination;
  uint32_t metric = 0;
};
/// Some route or rule of the namespace changed since KernelPort::watch_routes(): packets may leave by another way.
struct RoutesChanged {
  std::string netns;
};
/// Somebody else changed or removed our table of packet rules.
struct PacketRulesDisturbed {
  std::string netns;
};
/// Somebody else removed a rule of our protocol; whose it was shows only in a dump.
struct RuleRemoved {
  std::string netns;
};
/// The namespace of this name went, or another one has the name now: nothing of ours is there. It is met anew by
/// watch().
struct NamespaceGone {
  std::string netns;
};
/// Messages were lost or the namespace was met anew: whoever relies on events must read the state again.
struct ResyncNeeded {
  std::string netns;
};
using KernelEvent = std::variant<Acquire, SaExpired, SaMappingChanged, LinkChanged, AddressAdded, AddressRemoved,
                                 SaRemoved, PolicyDisturbed, RouteRemoved, RuleRemoved, PacketRulesDisturbed,
                                 RoutesChanged, NamespaceGone, ResyncNeeded>;

/// One object that stands in a namespace.
using StandingObject = std::variant<LinkConfig, PolicyConfig, RouteConfig, PacketRules, RuleConfig, SaState>;

/// A complete read of one namespace, a part at a time: links, policies, routes, packet rules, rules, SAs, in this order
/// and each as the dump_* functions of KernelPort show them. What changes while the read goes on may be seen as it was
/// or as it is.
class NamespaceRead {
 public:
  virtual ~NamespaceRead() = default;
  enum class More : uint8_t { kNo, kYes };
  /// Adds some objects, with work for about `most` of them; perhaps none, and yet there are more. An error ends the
  /// read: nothing that it has shown is complete.
  virtual Result<More> next(std::vector<StandingObject>& objects, size_t most) = 0;
};

/// The kernel as the rest of the program sees it: submit operations, poll completions and events. One thread uses one
/// port. Implementations: netlink/xfrm_kernel (the real one), tests/support/fake_kernel. Operations of one namespace
/// are carried out in the order of submission; completions of one namespace come in that order.
class KernelPort {
 public:
  virtual ~KernelPort() = default;
  virtual void submit(KernelOperation operation) = 0;
  /// Sends what is queued, or the first part of it: as much as is quickly done. Call once per batch of submits.
  virtual void flush() = 0;
  /// Whether flush() has left something for the next call, which need wait for nothing.
  virtual bool has_unsent() const = 0;
  virtual std::optional<KernelCompletion> poll_completion() = 0;
  virtual std::optional<KernelEvent> poll_event() = 0;

  /// Begins to report the events of a namespace; the first is ResyncNeeded. Nothing when it is watched already.
  virtual Status watch(const std::string& netns) = 0;

  /// Tells of the next change of a route, once (RoutesChanged). Nothing when that was asked for already.
  virtual Status watch_routes(const std::string& netns) = 0;

  /// Begins a complete read, for resync, audit and drift. The port must outlive it. Error kNamespaceMissing: there is
  /// no such namespace.
  virtual Result<std::unique_ptr<NamespaceRead>> begin_read(const std::string& netns) = 0;

  // The same at once, for the start; these send what is queued first, and wait for the answer.
  virtual Result<std::vector<SaState>> dump_sas(const std::string& netns) = 0;
  virtual Result<std::vector<PolicyConfig>> dump_policies(const std::string& netns) = 0;
  /// All xfrm interfaces and VRFs. What cannot be named (a namespace that no link of ours lies over) is "#" and its
  /// number.
  virtual Result<std::vector<LinkConfig>> dump_links(const std::string& netns) = 0;
  /// All routes of the protocols that we use, out of one device each, of all tables. A table without a VRF is "#" and
  /// its number.
  virtual Result<std::vector<RouteConfig>> dump_routes(const std::string& netns) = 0;
  /// All rules of our protocol that look at nothing but the mark. A table without a VRF is "#" and its number.
  virtual Result<std::vector<RuleConfig>> dump_rules(const std::string& netns) = 0;

  /// Our table of packet rules; empty when there is none. One that bears our comment and that the journal does not name
  /// is shown only if it was there before this run.
  virtual Result<PacketRules> dump_packet_rules(const std::string& netns) = 0;

  /// How packets to this address leave a namespace, out of one of its VRFs (empty: none), at this moment.
  virtual Result<PathFacts> path_to(const RoutingPlace& place, const IpAddress& destination) = 0;

  /// Whether this address is a neighbour on the link of the device through which packets to it leave: without a
  /// gateway, or by way of itself, and within the subnet of an address of the device.
  virtual Result<bool> is_on_link(const RoutingPlace& place, const IpAddress& destination) = 0;

  /// Whether packet rules can write the DF bit, by whatever means; the error says why not.
  virtual Status writes_df() = 0;

  // Which of what a dump shows is ours: what the journal knows, and what it was made for. Asks no kernel.
  virtual bool owns(const std::string& netns, const SaState& sa) const = 0;
  virtual bool owns(const std::string& netns, const PolicyConfig& policy) const = 0;
  virtual bool owns(const std::string& netns, const LinkConfig& link) const = 0;
  virtual bool owns(const std::string& netns, const RouteConfig& route) const = 0;
  virtual bool owns(const std::string& netns, const PacketRules& rules) const = 0;
  virtual bool owns(const std::string& netns, const RuleConfig& rule) const = 0;

  /// From now on the journal names these objects as ours, as they stand now. Asks no kernel. What is named when it
  /// fails stays so.
  virtual Status claim(const std::string& netns, const NamespaceState& objects) = 0;
};

}  // namespace ipsec::policy
