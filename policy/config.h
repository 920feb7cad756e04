#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/base/ip.h"
#include "policy/base/time.h"
#include "policy/identity.h"
#include "policy/proposal.h"
#include "policy/traffic_selector.h"

namespace ipsec::policy {

enum class Role : uint8_t { kInitiate, kRespond, kBoth };
enum class StartMode : uint8_t { kNow, kTraffic, kRespond };
enum class Attachment : uint8_t { kInterface, kPolicy, kAuto };
enum class EspMode : uint8_t { kTunnel, kTransport };
enum class OffloadMode : uint8_t { kNone, kCrypto, kPacket, kAuto };
enum class DfMode : uint8_t { kCopy, kClear };
enum class DscpMode : uint8_t { kCopy, kZero };

std::string_view to_string(Role role);
std::string_view to_string(StartMode mode);
std::string_view to_string(Attachment attachment);
std::string_view to_string(EspMode mode);
std::string_view to_string(OffloadMode mode);

/// A place where packets live: a network namespace ("" is the daemon's own) and a VRF in it ("" is none).
struct RoutingPlace {
  std::string netns;
  std::string vrf;
  friend auto operator<=>(const RoutingPlace&, const RoutingPlace&) = default;
};

struct RouteMetrics {
  uint32_t master = 100, alone = 100, standby = 200, idle = 300;
  friend bool operator==(const RouteMetrics&, const RouteMetrics&) = default;
};

/// Where tunnels live (architecture section 5).
struct TunnelGroup {
  std::string name;
  RoutingPlace public_place;
  std::vector<IpAddress> public_addresses;
  RoutingPlace private_place;
  Attachment attachment = Attachment::kAuto;
  OffloadMode offload = OffloadMode::kNone;
  std::vector<std::string> offload_devices;
  uint8_t route_protocol = 50;
  RouteMetrics metrics;
  uint32_t tunnels_max = 0;  ///< 0: the built-in limit.
  bool enabled = true;
  friend bool operator==(const TunnelGroup&, const TunnelGroup&) = default;
};

struct RetransmitPolicy {
  Duration first = 500ms;  ///< Before the first repetition; doubles each time (RFC 7296 section 2.1)...
  Duration most = 16s;     ///< ... up to this.
  uint8_t tries = 6;       ///< Transmissions in all, the first included.
  friend bool operator==(const RetransmitPolicy&, const RetransmitPolicy&) = default;
};

struct IkePolicy {
  std::string name;
  std::vector<Proposal> proposals;
  Duration lifetime = std::chrono::hours(24);
  Duration dpd = 30s;  ///< Silence after which liveness is checked; 0: never.
  RetransmitPolicy retransmit;
  Role role = Role::kBoth;
  Duration setup_timeout = 30s;  ///< From the first message to established.
  friend bool operator==(const IkePolicy&, const IkePolicy&) = default;
};

struct ChildPolicy {
  std::string name;
  std::vector<Proposal> proposals;  ///< Key exchange transforms in them are for PFS.
  bool pfs = false;
  Duration lifetime = std::chrono::hours(1);
  uint64_t lifetime_bytes = 0;    ///< 0: none.
  uint64_t lifetime_packets = 0;  ///< 0: none.
  uint16_t replay_window = 128;   ///< Packets, 32 to 4096.
  DfMode df = DfMode::kCopy;
  DscpMode dscp = DscpMode::kCopy;
  EspMode mode = EspMode::kTunnel;
  friend bool operator==(const ChildPolicy&, const ChildPolicy&) = default;
};

/// What proves our identity or a peer's. Only the reference: the agent loads the secret.
struct Credential {
  std::string name;
  std::string psk_file;  ///< Relative to the folder of secrets, or absolute.
  friend bool operator==(const Credential&, const Credential&) = default;
};

struct ChildConfig {
  std::string name;
  SelectorList local;   ///< Clear traffic on our side.
  SelectorList remote;  ///< Clear traffic on the peer's side.
  std::shared_ptr<const ChildPolicy> policy;
  StartMode start = StartMode::kRespond;
};

/// One configured peer.
struct Tunnel {
  std::string name;
  std::shared_ptr<const TunnelGroup> group;
  std::optional<IpAddress> local;   ///< Our address; default: the group's first one of the remote's family.
  std::optional<IpAddress> remote;  ///< Nothing: any address (responder only).
  uint16_t remote_port = 500;       ///< Where the first message goes.
  Identity local_id;
  std::optional<Identity> remote_id;  ///< Nothing: the remote address as identity.
  std::shared_ptr<const Credential> credential;
  std::shared_ptr<const IkePolicy> ike_policy;
  std::vector<ChildConfig> children;
  std::optional<OffloadMode> offload;  ///< Instead of the group's.

  const ChildConfig* child(std::string_view name) const;
  OffloadMode offload_mode() const { return offload.value_or(group->offload); }
  /// The address of ours that talks to `remote`; nothing when the group has none of its family.
  std::optional<IpAddress> local_address() const;
};

/// A whole configuration: immutable once parsed, references resolved, shared by reference.
struct Config {
  uint8_t node_id = 0;  ///< Goes into SPIs, so that two nodes of a pair never choose the same.
  std::vector<std::string> allow_weak;
  std::map<std::string, std::shared_ptr<const TunnelGroup>> groups;
  std::map<std::string, std::shared_ptr<const IkePolicy>> ike_policies;
  std::map<std::string, std::shared_ptr<const ChildPolicy>> child_policies;
  std::map<std::string, std::shared_ptr<const Credential>> credentials;
  std::map<std::string, std::shared_ptr<const Tunnel>> tunnels;
  std::vector<std::string> warnings;  ///< What was chosen or left out, for people.
};

}  // namespace ipsec::policy
