#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ike/actions.h"
#include "policy/config.h"

namespace ipsec::agent {

/// Which tunnel is for whom: found by address and identity without walking a list. Immutable, shared by the workers.
class PeerDirectory {
 public:
  /// `contexts`: the socket context of each tunnel group, by name.
  PeerDirectory(const policy::Config& config, const std::unordered_map<std::string, ike::SocketContext>& contexts);

  /// The IKE proposals (and what else concerns IKE_SA_INIT) of all tunnels that a request on this path may be for,
  /// without repetitions. Empty: nobody. Computed beforehand, so that a request costs the same however many tunnels
  /// there are.
  ike::InitPolicy init_policy(const ike::Path& path) const;
  /// The tunnel of a peer that has named itself, out of those that take a peer's request. Errors: kRoleRefused where
  /// only others have this name, kUnknownPeerIdentity; with what was looked for.
  Result<std::shared_ptr<const policy::Tunnel>> find(const ike::Path& path, const policy::Identity& remote,
                                                     const std::optional<policy::Identity>& local) const;
  std::shared_ptr<const policy::Tunnel> by_name(const std::string& name) const;

 private:
  using Tunnels = std::vector<std::shared_ptr<const policy::Tunnel>>;
  /// What an IKE_SA_INIT request shows: where it came in, and from whom; nothing: from anybody.
  struct Place {
    ike::SocketContext context;
    IpAddress local;
    std::optional<IpAddress> remote;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct PlaceHash {
    size_t operator()(const Place& place) const noexcept;
  };
  using Policies = std::unordered_map<Place, std::shared_ptr<const ike::InitPolicy>, PlaceHash>;
  void gather_init_policies(const policy::Config& config);
  bool fits(const policy::Tunnel& tunnel, const ike::Path& path) const;
  std::unordered_map<std::string, ike::SocketContext> contexts_;
  Policies init_policies_;  ///< Equal ones are one.
  std::unordered_map<std::string, Tunnels> by_identity_;
  std::unordered_map<std::string, std::shared_ptr<const policy::Tunnel>> by_name_;
};

/// The identity that a tunnel's peer must show: the configured one, else its address.
policy::Identity expected_identity(const policy::Tunnel& tunnel, const IpAddress& remote);

}  // namespace ipsec::agent
