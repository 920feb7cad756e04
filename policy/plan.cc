#include "policy/plan.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "policy/limits.h"
#include "policy/manual.h"
#include "policy/mtu.h"
#include "policy/plan_groups.h"
#include "policy/plan_routes.h"

namespace ipsec::policy {
namespace {

constexpr uint8_t kIcmp = 1, kIcmpV6 = 58;
constexpr uint32_t kBackstopNumerator = 6, kBackstopDenominator = 5;

/// What of a selector pair the kernel compares besides addresses.
struct PortPair {
  PortBlock local, remote;
};

Error inexpressible(const TrafficSelector& local, const TrafficSelector& remote) {
  return Error(Reason::kTsUnacceptable, "the kernel cannot express " + to_string(local) + " with " + to_string(remote));
}

/// ICMP: the kernel compares type and code in place of source and destination port, alike in both directions.
Result<std::vector<PortPair>> icmp_pairs(const TrafficSelector& local, const TrafficSelector& remote) {
  const TrafficSelector& with = local.any_port() ? remote : local;
  if (!local.any_port() && !remote.any_port() &&
      (local.port_first != remote.port_first || local.port_last != remote.port_last))
    return inexpressible(local, remote);
  if (with.any_port()) return std::vector<PortPair>{{}};
  const auto type = static_cast<uint16_t>(with.port_first >> 8);
  if (with.port_first == with.port_last)
    return std::vector<PortPair>{{{type, 0xffff}, {static_cast<uint16_t>(with.port_first & 0xff), 0xffff}}};
  if (with.port_first == type << 8 && with.port_last == (type << 8 | 0xff))
    return std::vector<PortPair>{{{type, 0xffff}, {}}};
  return inexpressible(local, remote);
}

Result<std::vector<PortPair>> port_pairs(const TrafficSelector& local, const TrafficSelector& remote) {
  if (local.port_first > local.port_last || remote.port_first > remote.port_last) return inexpressible(local, remote);
  if (std::max(local.protocol, remote.protocol) == kIcmp || std::max(local.protocol, remote.protocol) == kIcmpV6)
    return icmp_pairs(local, remote);
  std::vector<PortPair> pairs;
  for (const PortBlock& ours : port_blocks(local.port_first, local.port_last))
    for (const PortBlock& theirs : port_blocks(remote.port_first, remote.port_last)) pairs.push_back({ours, theirs});
  return pairs;
}

uint32_t priority_of(const PolicyKey& key) {
  int priority = static_cast<int>(kTunnelPriority) - 4 * (key.source.length + key.destination.length);
  if (key.protocol != 0) priority -= 2;
  if (key.source_port_mask != 0 || key.destination_port_mask != 0) priority -= 1;
  return static_cast<uint32_t>(priority);
}

PolicyKey mirrored(const PolicyKey& out, Direction direction) {
  PolicyKey key = out;
  key.direction = direction;
  std::swap(key.source, key.destination);
  if (key.protocol == kIcmp || key.protocol == kIcmpV6) return key;  // type and code do not swap
  std::swap(key.source_port, key.destination_port);
  std::swap(key.source_port_mask, key.destination_port_mask);
  return key;
}

struct TunnelEnds {
  IpAddress source, destination;
};

PolicyConfig policy_for(const PolicyKey& key, const TunnelEnds& ends, uint32_t reqid, EspMode mode) {
  PolicyConfig policy;
  policy.key = key;
  policy.priority = priority_of(key);
  policy.tunnel_source = ends.source;
  policy.tunnel_destination = ends.destination;
  policy.reqid = reqid;
  policy.mode = mode;
  return policy;
}

PolicyConfig without_template(const PolicyKey& key, uint32_t priority, PolicyAction action) {
  PolicyConfig policy;
  policy.key = key;
  policy.priority = priority;
  policy.action = action;
  policy.has_template = false;
  return policy;
}

/// Inbound packets are looked up as such when they are for this machine, and as forwarded ones when they go on. What a
/// transport SA protects is the gateways' own.
std::vector<Direction> inbound_directions(EspMode mode) {
  if (mode == EspMode::kTransport) return {Direction::kIn};
  return {Direction::kIn, Direction::kForward};
}

SaConfig sa_for(const ChildSpec& spec, const ChildIds& ids, Direction direction, uint64_t spread) {
  const ChildPolicy& policy = *spec.tunnel->child(spec.child)->policy;
  const bool in = direction == Direction::kIn;
  const Endpoint& source = in ? spec.remote_endpoint : spec.local_endpoint;
  const Endpoint& destination = in ? spec.local_endpoint : spec.remote_endpoint;
  SaConfig sa;
  sa.key = {destination.address, in ? spec.spi_in : spec.spi_out};
  sa.source = source.address;
  sa.direction = direction;
  sa.suite = spec.suite;
  sa.mode = spec.mode;
  sa.reqid = in ? ids.reqid : ids.outbound_reqid();
  sa.if_id = ids.if_id;
  sa.replay_window = in ? policy.replay_window : uint16_t{0};
  if (spec.udp_encapsulation) {
    sa.encap_source_port = source.port;
    sa.encap_destination_port = destination.port;
  }
  if (joins_vrfs(*spec.tunnel->group))
    sa.output_mark = vrf_mark(in ? spec.tunnel->group->private_place.vrf : spec.tunnel->group->public_place.vrf);
  sa.df_clear = policy.df == DfMode::kClear;
  sa.dscp_zero = policy.dscp == DscpMode::kZero;
  // The kernel's clock is a backstop behind our own timers (architecture, decision 12): a fifth later.
  sa.hard_lifetime = policy.lifetime * kBackstopNumerator / kBackstopDenominator;
  sa.volume = volume_limits(policy, spread);
  return sa;
}

}  // namespace

Result<std::vector<PolicyKey>> policy_keys(const SelectorList& locals, const SelectorList& remotes, uint32_t if_id,
                                           size_t most) {
  std::vector<PolicyKey> keys;
  for (const TrafficSelector& local : locals) {
    for (const TrafficSelector& remote : remotes) {
      if (local.addresses.first.family() != remote.addresses.first.family()) continue;
      if (local.protocol != remote.protocol && local.protocol != 0 && remote.protocol != 0) continue;
      TRY_ASSIGN(const std::vector<PortPair> ports, port_pairs(local, remote), "");
      const auto sources = local.addresses.prefixes(), destinations = remote.addresses.prefixes();
      // Counted before they are made: a hostile peer may offer ranges that fall into very many prefixes.
      const size_t needed = keys.size() + sources.size() * destinations.size() * ports.size();
      if (needed > most)
        return Error(Reason::kSelectorCount, std::to_string(needed) + " kernel policies would be needed, at most " +
                                                 std::to_string(most) + " are allowed");
      for (const IpPrefix& source : sources)
        for (const IpPrefix& destination : destinations)
          for (const PortPair& port : ports)
            keys.push_back({.source = source,
                            .destination = destination,
                            .protocol = std::max(local.protocol, remote.protocol),
                            .source_port = port.local.value,
                            .source_port_mask = port.local.mask,
                            .destination_port = port.remote.value,
                            .destination_port_mask = port.remote.mask,
                            .direction = Direction::kOut,
                            .if_id = if_id,
                            .mark = {}});
    }
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  if (keys.empty()) return Error(Reason::kTsUnacceptable, "no pair of selectors has one family and protocol");
  return keys;
}

std::string interface_name(uint32_t if_id) {
  std::array<char, 8> digits{};
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), if_id, 16);
  VERIFY(error == std::errc{});
  return "ips" + std::string(digits.data(), end);
}

std::vector<PortBlock> port_blocks(uint16_t first, uint16_t last) {
  std::vector<PortBlock> blocks;
  uint32_t from = first;
  while (from <= last) {
    uint32_t size = 1;
    while (size < 65536 && from % (size * 2) == 0 && from + size * 2 - 1 <= last) size *= 2;
    blocks.push_back({static_cast<uint16_t>(from), static_cast<uint16_t>(65536 - size)});
    from += size;
  }
  return blocks;
}

LinkConfig plan_link(const Tunnel& tunnel, const ChildIds& ids, uint32_t mtu) {
  return {.name = ids.interface,
          .altname = tunnel.name,
          .if_id = ids.if_id,
          .public_netns = tunnel.group->public_place.netns,
          .public_device = tunnel.group->public_place.vrf,  // in its table the outer route is looked up
          .vrf = tunnel.group->private_place.vrf,
          .mtu = mtu,
          .group = kLinkGroup,
          .addresses = tunnel.addresses};
}

std::string short_interface_name(std::string_view prefix, const std::string& name) {
  constexpr size_t kInterfaceNameMax = 15;
  const size_t room = kInterfaceNameMax - prefix.size();
  if (name.size() <= room) return std::string(prefix) + name;
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: the same in every run
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  ByteWriter out(8);
  out.u64(hash);
  return std::string(prefix) + to_hex(out.view()).substr(0, room);
}

std::string external_interface_name(const std::string& group) { return short_interface_name("ipsx-", group); }

LinkConfig plan_external_link(const Config& config, const TunnelGroup& group) {
  LinkConfig link{.kind = LinkKind::kExternal,
                  .name = external_interface_name(group.name),
                  .altname = "group:" + group.name,
                  .public_netns = group.public_place.netns,
                  .public_device = {},
                  .vrf = group.private_place.vrf,
                  .mtu = kUnderlayMtu,
                  .group = kLinkGroup,
                  .addresses = group.private_addresses};
  for (const auto& [name, tunnel] : config.tunnels)
    if (tunnel->group->name == group.name)
      for (const ChildConfig& child : tunnel->children)
        link.mtu = std::min(link.mtu, link_mtu(*tunnel, child_mtu(*tunnel, child, {}, {}).bytes));
  return link;
}

uint64_t rekey_point(uint64_t whole, const RekeyPolicy& rekey, uint64_t spread) {
  constexpr uint64_t kSteps = 1000;  // of the jitter
  const long double jitter =
      static_cast<long double>(rekey.jitter_percent) * static_cast<long double>(spread % (kSteps + 1)) / kSteps;
  const long double percent = std::max(static_cast<long double>(rekey.share_percent) - jitter, 1.0L);
  return std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<long double>(whole) * percent / 100));
}

VolumeLimits volume_limits(const ChildPolicy& policy, uint64_t spread) {
  VolumeLimits limits{.hard_bytes = policy.lifetime_bytes, .hard_packets = policy.lifetime_packets};
  if (!policy.rekey.enabled) return limits;
  if (limits.hard_bytes != 0) limits.soft_bytes = rekey_point(limits.hard_bytes, policy.rekey, spread);
  if (limits.hard_packets != 0) limits.soft_packets = rekey_point(limits.hard_packets, policy.rekey, spread);
  return limits;
}

bool crosses_from_vrf(const TunnelGroup& group) {
  return group.attached == Attachment::kInterface && !group.public_place.vrf.empty() &&
         group.private_place.netns != group.public_place.netns;
}

Result<ChildPlan> plan_child(const ChildSpec& spec, const ChildIds& ids, uint64_t spread) {
  ChildPlan plan;
  plan.inbound = sa_for(spec, ids, Direction::kIn, spread);
  plan.outbound = sa_for(spec, ids, Direction::kOut, spread);
  if (spec.tunnel->child(spec.child)->manual) make_manual(plan.inbound, plan.outbound);
  const TunnelEnds out{spec.local_endpoint.address, spec.remote_endpoint.address};
  const TunnelEnds in{spec.remote_endpoint.address, spec.local_endpoint.address};
  const size_t most = spec.tunnel->child(spec.child)->policy->policies_max;
  TRY_ASSIGN(const std::vector<PolicyKey> keys, policy_keys(spec.local, spec.remote, ids.if_id, most), "selectors");
  for (const PolicyKey& key : keys) {
    plan.outbound_policies.push_back(policy_for(key, out, ids.outbound_reqid(), spec.mode));
    if (crosses_from_vrf(*spec.tunnel->group)) {
      PolicyConfig inside = policy_for(mirrored(key, Direction::kIn), in, ids.reqid, spec.mode);
      inside.key.if_id = 0;
      inside.optional_template = true;
      plan.private_policies.push_back(std::move(inside));
    }
    for (Direction direction : inbound_directions(spec.mode))
      plan.inbound_policies.push_back(policy_for(mirrored(key, direction), in, ids.reqid, spec.mode));
  }
  plan.routes = plan_selector_routes(spec.remote, *spec.tunnel, ids, RouteState::kUp);
  return plan;
}

RouteConfig route_into(const Tunnel& tunnel, const ChildIds& ids, const IpPrefix& destination, uint32_t metric) {
  return {.destination = destination,
          .vrf = tunnel.group->private_place.vrf,
          .device = ids.interface,
          .protocol = tunnel.group->route_protocol,
          .metric = metric,
          .preferred_source = {},
          .encap_if_id = tunnel.shares_interface() ? ids.if_id : 0};
}

Result<TrapPlan> plan_trap(const Tunnel& tunnel, const ChildConfig& child, const ChildIds& ids) {
  const auto local = tunnel.local_address();
  if (!local || !tunnel.remote)
    return Error(Reason::kConfigConflict, "tunnel " + tunnel.name + ": start by traffic needs a remote address");
  TrapPlan plan;
  TRY_ASSIGN(const std::vector<PolicyKey> keys,
             policy_keys(child.local, child.remote, ids.if_id, child.policy->policies_max), "selectors");
  for (const PolicyKey& key : keys)
    plan.policies.push_back(policy_for(key, {*local, *tunnel.remote}, ids.reqid, child.policy->mode));
  plan.routes = plan_selector_routes(child.remote, tunnel, ids, RouteState::kIdle);
  return plan;
}

Result<BlockPlan> plan_block(const Tunnel& tunnel, const ChildConfig& child, const ChildIds& ids) {
  BlockPlan plan;
  if (ids.if_id != 0) {
    plan.routes = plan_routes_to(child.remote, tunnel, ids, kBlockMetric);
    for (RouteConfig& each : plan.routes) {
      each.device.clear();
      each.encap_if_id = 0;
      each.kind = RouteKind::kUnreachable;
    }
    return plan;
  }
  TRY_ASSIGN(const std::vector<PolicyKey> keys,
             policy_keys(child.local, child.remote, ids.if_id, child.policy->policies_max), "selectors");
  for (const PolicyKey& key : keys) {
    plan.policies.push_back(without_template(key, kBlockPriority, PolicyAction::kBlock));
    for (Direction direction : inbound_directions(child.policy->mode))
      plan.policies.push_back(without_template(mirrored(key, direction), kBlockPriority, PolicyAction::kBlock));
  }
  return plan;
}

std::optional<PolicyConfig> plan_guard(const PolicyConfig& policy) {
  if (policy.offload.kind == OffloadKind::kNone || policy.key.if_id != 0) return std::nullopt;
  PolicyKey key = policy.key;
  key.user = kGuardUser;
  return without_template(key, kBlockPriority, PolicyAction::kBlock);
}

std::vector<PolicyConfig> plan_neighbour_discovery() {
  constexpr uint16_t kRouterSolicitation = 133, kRedirect = 137;
  std::vector<PolicyConfig> policies;
  for (const PortBlock& type : port_blocks(kRouterSolicitation, kRedirect))
    for (Direction direction : {Direction::kOut, Direction::kIn})
      policies.push_back(without_template({.source = IpPrefix::all(Family::kIpv6),
                                           .destination = IpPrefix::all(Family::kIpv6),
                                           .protocol = kIcmpV6,
                                           .source_port = type.value,
                                           .source_port_mask = type.mask,
                                           .direction = direction},
                                          kNeighbourPriority, PolicyAction::kAllow));
  return policies;
}

Result<std::vector<PolicyConfig>> plan_exception(const TrafficException& exception, size_t order) {
  TRY_ASSIGN(const std::vector<PolicyKey> keys, policy_keys(exception.local, exception.remote), "exception");
  const auto priority = static_cast<uint32_t>(kExceptionPriority + order);
  const PolicyAction action =
      exception.action == ExceptionAction::kBypass ? PolicyAction::kAllow : PolicyAction::kBlock;
  std::vector<PolicyConfig> policies;
  for (const PolicyKey& key : keys) {
    policies.push_back(without_template(key, priority, action));
    for (Direction direction : {Direction::kIn, Direction::kForward})
      policies.push_back(without_template(mirrored(key, direction), priority, action));
  }
  return policies;
}

}  // namespace ipsec::policy
