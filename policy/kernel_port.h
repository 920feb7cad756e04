#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "policy/base/result.h"
#include "policy/kernel_model.h"

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
};  ///< Only for a key that the journal knows as ours.
struct DeletePolicy {
  PolicyKey key;
};
struct AddLink {
  LinkConfig link;
};  ///< Made, enslaved, MTU set, up: or not there at all.
struct DeleteLink {
  std::string name;
};
struct AddRoute {
  RouteConfig route;
};
struct DeleteRoute {
  RouteConfig route;
};

using KernelChange = std::variant<AddSa, DeleteSa, ReadSa, AddPolicy, UpdatePolicy, DeletePolicy, AddLink, DeleteLink,
                                  AddRoute, DeleteRoute>;

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
  bool up = false, gone = false;
};
/// Messages were lost or the namespace was met anew: whoever relies on events must read the state again.
struct ResyncNeeded {
  std::string netns;
};
using KernelEvent = std::variant<Acquire, SaExpired, SaMappingChanged, LinkChanged, ResyncNeeded>;

/// The kernel as the rest of the program sees it: submit operations, poll completions and events. One thread uses one
/// port. Implementations: netlink/xfrm_kernel (the real one), tests/support/fake_kernel. Operations of one namespace
/// are carried out in the order of submission; completions of one namespace come in that order.
class KernelPort {
 public:
  virtual ~KernelPort() = default;
  virtual void submit(KernelOperation operation) = 0;
  /// Sends what is queued. Call once per batch of submits.
  virtual void flush() = 0;
  virtual std::optional<KernelCompletion> poll_completion() = 0;
  virtual std::optional<KernelEvent> poll_event() = 0;

  // Complete reads, for start-up, resync and drift; these wait for the answer.
  virtual Result<std::vector<SaState>> dump_sas(const std::string& netns) = 0;
  virtual Result<std::vector<PolicyConfig>> dump_policies(const std::string& netns) = 0;
};

}  // namespace ipsec::policy
