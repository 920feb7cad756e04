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
/// What attachment by interface makes.
enum class InterfaceScope : uint8_t {
  kTunnel,   ///< One interface per tunnel.
  kExternal  ///< One for all tunnels of the group; routes name the tunnel. Only one per public namespace.
};
enum class EspMode : uint8_t { kTunnel, kTransport };
enum class ExceptionAction : uint8_t { kBypass, kDiscard };
enum class OffloadMode : uint8_t { kNone, kCrypto, kPacket, kAuto };
/// Instead of the choice by how much a child carries.
enum class OffloadPin : uint8_t {
  kNone,
  kNic,      ///< On a NIC before all that are not pinned.
  kSoftware  ///< Never on one.
};
enum class DfMode : uint8_t { kCopy, kClear, kSet };
enum class DscpMode : uint8_t { kCopy, kZero, kFixed };
enum class InnerDf : uint8_t { kKeep, kClear };
enum class DpdMode : uint8_t { kActive, kReplyOnly };
/// What follows when a tunnel's IKE SA or child ends although the configuration wants it.
enum class EndAction : uint8_t {
  kRestart,  ///< Set it up again, with pauses.
  kTraffic,  ///< Wait for a packet that wants it.
  kClear     ///< Leave it down until an operator or the peer wants it.
};
/// What a new IKE SA of an identity means for the one that is there (RFC 7296 section 2.4).
enum class DuplicatePolicy : uint8_t {
  kReplace,  ///< The new one stands, older ones are closed.
  kKeep,     ///< All stand; INITIAL_CONTACT still closes the older ones.
  kRefuse    ///< The old one stands; INITIAL_CONTACT, or an old one that no longer answers, lets the new one in.
};
/// IKE SAs without a child (RFC 6023).
enum class ChildlessPolicy : uint8_t { kRefuse, kAllow, kForce };
/// What a request for one child more than allowed meets.
enum class ChildOverload : uint8_t { kRefuse, kReplaceOldest };
/// What becomes of a child that carried nothing since it was made, when it is time to rekey it.
enum class IdleRekey : uint8_t { kRekey, kEnd };

std::string_view to_string(Role role);
std::string_view to_string(StartMode mode);
std::string_view to_string(Attachment attachment);
std::string_view to_string(InterfaceScope scope);
std::string_view to_string(EspMode mode);
std::string_view to_string(ExceptionAction action);
std::string_view to_string(OffloadMode mode);
std::string_view to_string(OffloadPin pin);
std::string_view to_string(DpdMode mode);
std::string_view to_string(EndAction action);
std::string_view to_string(DuplicatePolicy policy);
std::string_view to_string(ChildlessPolicy policy);
std::string_view to_string(ChildOverload overload);
std::string_view to_string(IdleRekey idle);

/// A place where packets live: a network namespace ("" is the daemon's own) and a VRF in it ("" is none).
struct RoutingPlace {
  std::string netns;
  std::string vrf;
  friend auto operator<=>(const RoutingPlace&, const RoutingPlace&) = default;
};

struct RouteMetrics {
  uint32_t alone = 100, idle = 300;
  friend bool operator==(const RouteMetrics&, const RouteMetrics&) = default;
};

/// Traffic that no tunnel of its namespace takes: it passes in the clear, or is dropped.
struct TrafficException {
  SelectorList local, remote;
  ExceptionAction action = ExceptionAction::kBypass;
  friend bool operator==(const TrafficException&, const TrafficException&) = default;
};

/// What TCP SYN packets through a tunnel may say of segment sizes, in both directions.
struct MssClamp {
  enum class Mode : uint8_t {
    kNone,  ///< What the end points say.
    kMtu,   ///< No more than fits the tunnel's inner MTU.
    kFixed  ///< No more than `bytes`.
  };
  Mode mode = Mode::kNone;
  uint16_t bytes = 0;
  friend bool operator==(const MssClamp&, const MssClamp&) = default;
};

/// A route into a tunnel, beside those to its children's selectors.
struct StaticRoute {
  IpPrefix prefix;
  std::optional<uint32_t> metric;  ///< While the tunnel is up; nothing: RouteMetrics::alone of the group.
  friend bool operator==(const StaticRoute&, const StaticRoute&) = default;
};

/// An address of ours on an interface of ours, and the length of its subnet (an IpPrefix would have no host bits).
/// Those of others on the same interface are not ours to change.
struct InterfaceAddress {
  IpAddress address;
  uint8_t length = 0;
  friend auto operator<=>(const InterfaceAddress&, const InterfaceAddress&) = default;
};
std::string to_string(const InterfaceAddress& address);                 ///< "10.255.0.1/30".
std::string to_string(const std::vector<InterfaceAddress>& addresses);  ///< With ", " between them; may be empty.

/// Where tunnels live (architecture section 5).
struct TunnelGroup {
  std::string name;
  RoutingPlace public_place;
  std::vector<IpAddress> public_addresses;
  RoutingPlace private_place;
  uint32_t private_vrf_table = 0;  ///< Of the private VRF, made where it is missing; 0: never made.
  std::vector<InterfaceAddress> private_addresses = {};  ///< Of its external interface, sorted.
  Attachment attachment = Attachment::kAuto;             ///< As configured.
  Attachment attached = Attachment::kInterface;          ///< As it is: never kAuto.
  std::string attached_because = {};                     ///< Where auto chose.
  InterfaceScope interfaces = InterfaceScope::kTunnel;
  std::vector<TrafficException> exceptions = {};  ///< Attachment by policy only; an earlier one counts before a later.
  bool default_block = false;  ///< What a child's selectors cover never leaves in the clear, be the child up or down.
  OffloadMode offload = OffloadMode::kNone;
  std::vector<std::string> offload_devices;
  uint8_t route_protocol = 50;
  bool selector_routes = true;  ///< Routes to what the peers' selectors cover.
  bool gateway_routes = false;  ///< Routes to our own addresses, for routing daemons to tell on.
  RouteMetrics metrics;
  MssClamp mss = {};
  uint32_t tunnels_max = 0;  ///< 0: the built-in limit.
  Role role = Role::kBoth;   ///< kRespond: its tunnels never begin, whatever their IKE policies say.
  bool enabled = true;
  friend bool operator==(const TunnelGroup&, const TunnelGroup&) = default;
};

struct RetransmitPolicy {
  Duration first = 500ms;         ///< Before the first repetition; grows each time (RFC 7296 section 2.1)...
  uint16_t factor_percent = 200;  ///< ... by this ...
  Duration most = 16s;            ///< ... up to this.
  uint8_t tries = 6;              ///< Transmissions in all, the first included.
  friend bool operator==(const RetransmitPolicy&, const RetransmitPolicy&) = default;
};

/// When an SA is replaced before its lifetime ends. Jitter spreads SAs that were made at once.
struct RekeyPolicy {
  bool enabled = true;          ///< false: it ends at its lifetime.
  uint8_t share_percent = 90;   ///< Of the lifetime (time, bytes, packets, sequence numbers).
  uint8_t jitter_percent = 10;  ///< Of the lifetime: up to this much earlier, at random.
  friend bool operator==(const RekeyPolicy&, const RekeyPolicy&) = default;
};

/// How set-up is tried again.
struct RetryPolicy {
  Duration first = 2s;   ///< Pause after the first failure; doubles...
  Duration most = 120s;  ///< ... up to this; each pause varies by a quarter at random.
  uint16_t tries = 0;    ///< 0: for ever.
  friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;
};

struct IkePolicy {
  std::string name;
  std::vector<Proposal> proposals;
  std::vector<uint16_t> written_at = {};  ///< For each proposal: which text of the configuration's list it comes from.
  Duration lifetime = std::chrono::hours(24);
  RekeyPolicy rekey;
  Duration dpd = 30s;  ///< Silence after which liveness is checked; 0: never.
  DpdMode dpd_mode = DpdMode::kActive;
  uint8_t dpd_tries = 0;         ///< Transmissions of a liveness check; 0: as `retransmit`.
  Duration nat_keepalive = 20s;  ///< Behind a NAT: between two keepalives (RFC 3948 section 4); 0: none.
  RetransmitPolicy retransmit;
  Role role = Role::kBoth;
  Duration setup_timeout = 30s;  ///< From the first message to established.
  RetryPolicy retry;
  EndAction on_failure = EndAction::kRestart;  ///< The peer does not answer any more.
  EndAction on_close = EndAction::kRestart;    ///< The peer deleted the IKE SA or a child.
  DuplicatePolicy duplicates = DuplicatePolicy::kReplace;
  ChildlessPolicy childless = ChildlessPolicy::kRefuse;
  uint16_t children_max = 64;  ///< Child SAs per IKE SA, besides those that are being replaced.
  ChildOverload children_overload = ChildOverload::kRefuse;
  friend bool operator==(const IkePolicy&, const IkePolicy&) = default;
};

struct ChildPolicy {
  std::string name;
  std::vector<Proposal> proposals;        ///< Key exchange transforms in them are for PFS.
  std::vector<uint16_t> written_at = {};  ///< As in IkePolicy.
  bool pfs = false;                       ///< Offered, and wanted of a peer.
  bool pfs_required = false;              ///< A peer's child without it is refused, and never offered by us.
  bool pfs_if_wanted = true;              ///< Without `pfs`: a peer that wants it gets one of the IKE policy's groups.
  Duration lifetime = std::chrono::hours(1);
  uint64_t lifetime_bytes = 0;    ///< 0: none.
  uint64_t lifetime_packets = 0;  ///< 0: none.
  RekeyPolicy rekey;
  IdleRekey idle = IdleRekey::kRekey;
  uint16_t policies_max = 256;   ///< Kernel policies per direction, 1 to 4096.
  bool single_pair = false;      ///< As a responder: one pair of addresses per child SA (SINGLE_PAIR_REQUIRED).
  uint16_t replay_window = 128;  ///< Packets, 32 to 4096.
  DfMode df = DfMode::kCopy;
  DscpMode dscp = DscpMode::kCopy;
  uint8_t dscp_value = 0;             ///< With kFixed; 0 to 63.
  uint32_t mtu = 0;                   ///< Bytes of the largest inner packet; 0: computed.
  uint32_t outer_mtu = 0;             ///< Bytes that it is computed from; 0: what the path to the peer carries.
  InnerDf inner_df = InnerDf::kKeep;  ///< kClear: what is larger than `mtu` is fragmented against its sender's wish.
  EspMode mode = EspMode::kTunnel;
  friend bool operator==(const ChildPolicy&, const ChildPolicy&) = default;
};

/// What proves our identity or a peer's, or the keys of SAs that nobody negotiates. Only references: the agent loads
/// the secrets. Files are relative to the folder of secrets, or absolute.
struct Credential {
  std::string name;
  std::string psk_file;       ///< Empty: manual keys.
  std::string in_file = {};   ///< Manual keys of what we receive.
  std::string out_file = {};  ///< Manual keys of what we send.
  bool is_manual() const { return !in_file.empty() || !out_file.empty(); }
  friend bool operator==(const Credential&, const Credential&) = default;
};

/// The SAs of a child that no IKE negotiates and nobody renews.
struct ManualSas {
  uint32_t spi_in = 0, spi_out = 0;  ///< Of what we receive, and of what we send: 256 to 2^32 - 1.
  std::shared_ptr<const Credential> credential;
};

struct ChildConfig {
  std::string name;
  SelectorList local;   ///< Clear traffic on our side.
  SelectorList remote;  ///< Clear traffic on the peer's side.
  std::shared_ptr<const ChildPolicy> policy;
  StartMode start = StartMode::kRespond;
  std::string split_from = {};  ///< Its name in the configuration, where it is one of several parts of that child.
  std::optional<ManualSas> manual = {};  ///< Nothing: IKE makes its SAs.
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
  std::vector<StaticRoute> routes;          ///< Attachment by interface only; each prefix once.
  std::vector<InterfaceAddress> addresses;  ///< Of its own interface, sorted.
  std::optional<OffloadMode> offload;       ///< Instead of the group's.
  std::optional<MssClamp> mss;              ///< Instead of the group's.
  OffloadPin pin = OffloadPin::kNone;

  const ChildConfig* child(std::string_view name) const;
  OffloadMode offload_mode() const { return offload.value_or(group->offload); }
  MssClamp mss_clamp() const { return mss.value_or(group->mss); }
  /// Whether its keys are manual; then those of all its children are, and IKE knows nothing of it.
  bool is_manual() const { return !children.empty() && children.front().manual.has_value(); }
  bool shares_interface() const {
    return group->attached == Attachment::kInterface && group->interfaces == InterfaceScope::kExternal;
  }
  /// The address of ours that talks to `remote`; nothing when the group has none of its family.
  std::optional<IpAddress> local_address() const;
};

enum class CarrierKind : uint8_t { kGre, kIpIp };
std::string_view to_string(CarrierKind kind);

/// A tunnel that may protect a carrier: its gateways are the carrier's ends.
struct CarrierPath {
  std::shared_ptr<const Tunnel> tunnel;
  std::vector<std::string> children;  ///< In transport mode; together they take all that the carrier is to send.
};

/// A GRE or IP-in-IP interface between two gateways, under transport-mode SAs, with one or two remotes (ip-tunnel of
/// the inventory: nokia GRE-1 to GRE-6).
struct Carrier {
  std::string name;
  CarrierKind kind = CarrierKind::kGre;
  std::vector<CarrierPath> paths;  ///< One or two, of one public place and local address; the first is preferred.
  RoutingPlace private_place;      ///< Where the interface is.
  uint32_t key = 0;                ///< Of GRE, in both directions; 0: none.
  std::vector<InterfaceAddress> addresses;  ///< Sorted.
  std::vector<IpAddress> peers;             ///< Of the other end, each in the subnet of an address.
  std::vector<StaticRoute> routes;          ///< Each prefix once.
  uint32_t mtu = 0;                         ///< Bytes of the largest packet inside; 0: computed.
  Duration hold_down{10s};                  ///< How long the preferred path must be up before it is used again.
  bool enabled = true;

  /// Of its preferred tunnel: the public side, the protocol and metrics of its routes.
  const TunnelGroup& group() const { return *paths.front().tunnel->group; }
};

/// A NIC as `node.offload.devices` has it.
struct OffloadDevice {
  std::string netns;          ///< Where it is; "": the daemon's own.
  uint32_t children_max = 0;  ///< Child SAs (pairs) worth placing on it; 0: until it refuses one.
  bool active_probe = false;  ///< It may be asked with a trial SA and policy.
  friend bool operator==(const OffloadDevice&, const OffloadDevice&) = default;
};

/// Which children deserve a NIC (`node.offload`).
struct OffloadBudget {
  Duration half_life = 10s;         ///< Of the rates that are compared.
  Duration stay = 60s;              ///< A child that was moved stays so long.
  Duration settle = 30s;            ///< A device that comes back is used after this.
  uint32_t moves_per_minute = 600;  ///< 0: none, but off devices that are lost.
  uint16_t hysteresis_percent = 25;
  uint64_t least_rate = 1000;  ///< Bytes per second below which no move is made.
  bool spread = false;         ///< The device with the least load, instead of the first one.
  bool peer_routes = true;     ///< plan_peer_route()
  std::map<std::string, OffloadDevice> devices;
  friend bool operator==(const OffloadBudget&, const OffloadBudget&) = default;
};

/// What strangers and peers may cost us: per node, shared by its workers (`node.admission`).
struct AdmissionLimits {
  uint32_t half_open_max = 10000;         ///< Half-open IKE SAs.
  uint32_t half_open_cookie_from = 1000;  ///< Cookies are asked for from this many on (RFC 7296 section 2.6) ...
  uint32_t half_open_cookie_until = 800;  ///< ... until there are fewer than this.
  uint32_t half_open_per_prefix = 64;     ///< From one /24 (IPv4) or /56 (IPv6).
  Duration half_open_timeout = 30s;       ///< From IKE_SA_INIT answered to IKE_AUTH.
  uint32_t init_rate = 0;                 ///< New IKE SAs per second in all; 0: no limit (call admission).
  uint32_t init_rate_per_address = 20;    ///< New IKE SAs per second from one address, bursts of twice that.
  uint32_t rekey_rate = 5;  ///< CREATE_CHILD_SA requests per second of one IKE SA; excess: TEMPORARY_FAILURE.
  uint32_t decrypt_failures_max =
      30;                         ///< Forged messages in a row before an IKE SA that is not established is dropped.
  uint32_t ike_sas_max = 200000;  ///< IKE SAs per worker.
  friend bool operator==(const AdmissionLimits&, const AdmissionLimits&) = default;
};

/// A whole configuration: immutable once parsed, references resolved, shared by reference.
struct Config {
  uint8_t node_id = 0;  ///< Goes into SPIs, so that two nodes of a pair never choose the same.
  /// How long SAs of an earlier run may carry traffic until their tunnel is up again; 0: not at all.
  Duration orphan_grace{10min};
  bool adapt_policy_hash = true;  ///< The kernel's policy hash follows the prefix lengths in use.
  AdmissionLimits admission;
  bool allow_manual_keys = false;
  OffloadBudget offload;
  std::vector<std::string> allow_weak;  ///< Names of weak algorithms.
  bool require_pfs = false;             ///< Of every child policy: `pfs_required`.
  std::map<std::string, std::shared_ptr<const TunnelGroup>> groups;
  std::map<std::string, std::shared_ptr<const IkePolicy>> ike_policies;
  std::map<std::string, std::shared_ptr<const ChildPolicy>> child_policies;
  std::map<std::string, std::shared_ptr<const Credential>> credentials;
  std::map<std::string, std::shared_ptr<const Tunnel>> tunnels;
  std::map<std::string, std::shared_ptr<const Carrier>> carriers;
  std::vector<std::string> warnings;  ///< What was chosen or left out, for people.
};

}  // namespace ipsec::policy
