#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "policy/config.h"
#include "policy/kernel_model.h"

/// What must hold between the settings of a configuration, beyond the type and range of each value.
namespace ipsec::policy {

/// A name of an object: 1 to 64 letters, digits, '.', '_' and '-'.
bool is_object_name(std::string_view name);
/// A file or interface name from the configuration that becomes part of a path; may be empty.
bool is_place_name(std::string_view name);

/// A device as the kernel would name it: 1 to 15 printable characters without blank, '/' and ':'.
bool is_device_name(std::string_view name);

/// Whether packets can be exchanged with this address: not the unspecified, a multicast or the broadcast address. The
/// detail says what it is.
Status check_unicast(const IpAddress& address);

/// Whether gateways can reach one another by this address. Beside check_unicast(), it is no loopback and no link-local
/// address, not of network 0, and no IPv4 address written as one of IPv6. The detail says what it is.
Status check_gateway(const IpAddress& address);

/// The policies of one interface id: of the children of one tunnel, or of all that is attached by policy in one
/// namespace. Two that need the same policy would take it from one another.
class PolicyOwners {
 public:
  /// Error when the kernel cannot hold these selectors, or another owner holds one of their policies.
  Status claim(const SelectorList& local, const SelectorList& remote, const std::string& owner);

 private:
  std::map<PolicyKey, std::string> owners_;
};

/// The policy with key exchange transforms where it wants PFS and names none: those of the IKE policy, in its order.
std::shared_ptr<const ChildPolicy> with_pfs_groups(std::shared_ptr<const ChildPolicy> policy, const IkePolicy& ike);

/// Whether a tunnel's peer is expected to have our own name. Then whoever sends our datagrams back to us is that peer,
/// without any key: nothing in IKE_AUTH tells the two sides of one shared secret apart but their names.
bool meets_itself(const Tunnel& tunnel);

/// Adds what is legal but rarely meant: tunnels of one private place that lead to the same addresses, tunnels that
/// cannot be told apart when the peer begins, and IKE SAs that hardly outlive their children. Of each kind the first
/// few in full, and how many more there are (WarningGroup).
void add_warnings(Config& config);

}  // namespace ipsec::policy
