#include "policy/plan_carriers.h"

#include <algorithm>

#include "policy/mtu.h"
#include "policy/plan.h"

namespace ipsec::policy {
namespace {

constexpr uint8_t kIpv4Inside = 4, kIpv6Inside = 41, kGreInside = 47, kMplsInside = 137;

bool has_inside(const Carrier& carrier, Family family) {
  const auto is = [family](const IpAddress& address) { return address.family() == family; };
  return std::ranges::any_of(carrier.addresses, is, &InterfaceAddress::address) ||
         std::ranges::any_of(carrier.peers, is) ||
         std::ranges::any_of(carrier.routes, [&](const StaticRoute& each) { return is(each.prefix.address); });
}

/// All packets of a protocol, to or from one gateway.
TrafficSelector host_selector(const IpAddress& host, uint8_t protocol) {
  return {.addresses = {host, host}, .protocol = protocol};
}

bool takes(const SelectorList& list, const IpAddress& host, uint8_t protocol) {
  return std::ranges::any_of(list, [&](const TrafficSelector& each) {
    const bool of_protocol = each.protocol == protocol || each.protocol == TrafficSelector::kAnyProtocol;
    return of_protocol && each.any_port() && each.addresses.contains(host);
  });
}

}  // namespace

std::vector<uint8_t> carrier_protocols(CarrierKind kind) {
  switch (kind) {
    case CarrierKind::kGre: return {kGreInside};
    case CarrierKind::kIpIp: return {kIpv4Inside, kIpv6Inside, kMplsInside};
  }
  return {};
}

std::vector<uint8_t> needed_protocols(const Carrier& carrier) {
  if (carrier.kind == CarrierKind::kGre) return {kGreInside};
  const bool v6 = has_inside(carrier, Family::kIpv6);
  std::vector<uint8_t> needed;
  if (!v6 || has_inside(carrier, Family::kIpv4)) needed.push_back(kIpv4Inside);
  if (v6) needed.push_back(kIpv6Inside);
  return needed;
}

bool takes_protocol(const Tunnel& tunnel, const SelectorList& local, const SelectorList& remote, uint8_t protocol) {
  const auto ours = tunnel.local_address();
  return ours && tunnel.remote && takes(local, *ours, protocol) && takes(remote, *tunnel.remote, protocol);
}

Result<std::vector<PolicyConfig>> plan_carrier_blocks(const Carrier& carrier, const CarrierPath& path) {
  const Tunnel& tunnel = *path.tunnel;
  auto transport = std::make_shared<ChildPolicy>();
  transport->mode = EspMode::kTransport;
  ChildConfig child{.name = carrier.name, .local = {}, .remote = {}, .policy = std::move(transport)};
  for (const uint8_t protocol : carrier_protocols(carrier.kind)) {
    child.local.push_back(host_selector(tunnel.local_address().value(), protocol));
    child.remote.push_back(host_selector(tunnel.remote.value(), protocol));
  }
  TRY_ASSIGN(BlockPlan plan, plan_block(tunnel, child, {}), "carrier " + carrier.name);
  return plan.policies;
}

std::optional<PacketRules::Sealed> plan_carrier_seal(const Carrier& carrier, const CarrierPath& path) {
  const Tunnel& tunnel = *path.tunnel;
  if (carrier.kind != CarrierKind::kIpIp || !tunnel.remote->is_v4()) return std::nullopt;
  return PacketRules::Sealed{.remote = *tunnel.remote, .local = tunnel.local_address().value()};
}

uint32_t carrier_header(const Carrier& carrier) {
  constexpr uint32_t kIpv4Header = 20, kIpv6Header = 40, kGreHeader = 4, kGreKey = 4;
  const uint32_t outer = carrier.paths.front().tunnel->remote->is_v4() ? kIpv4Header : kIpv6Header;
  if (carrier.kind == CarrierKind::kIpIp) return outer;
  return outer + kGreHeader + (carrier.key != 0 ? kGreKey : 0);
}

uint32_t carrier_mtu(const Carrier& carrier, uint32_t transport) {
  if (carrier.mtu != 0) return carrier.mtu;
  const uint32_t header = carrier_header(carrier);
  const uint32_t fits = std::max(transport > header ? transport - header : 0, kMtuMin);
  return has_inside(carrier, Family::kIpv6) ? std::max(fits, kIpv6MtuMin) : fits;
}

std::string carrier_interface_name(const std::string& carrier) { return short_interface_name("ipsg-", carrier); }

LinkConfig plan_carrier_link(const Carrier& carrier, size_t path, uint32_t mtu) {
  const Tunnel& tunnel = *carrier.paths[path].tunnel;
  const RoutingPlace& outside = tunnel.group->public_place;
  return {.kind = carrier.kind == CarrierKind::kGre ? LinkKind::kGre : LinkKind::kIpIp,
          .name = carrier_interface_name(carrier.name),
          .altname = carrier.name,
          .public_netns = outside.netns,
          .public_device = outside.vrf,  // in its table the outer route is looked up
          .vrf = carrier.private_place.vrf,
          .mtu = mtu,
          .group = kLinkGroup,
          .addresses = carrier.addresses,
          .tunnel_local = tunnel.local_address().value(),
          .tunnel_remote = tunnel.remote.value(),
          .tunnel_key = carrier.key};
}

std::vector<RouteConfig> plan_carrier_routes(const Carrier& carrier, RouteState state) {
  const TunnelGroup& group = carrier.group();
  std::vector<RouteConfig> routes;
  for (const StaticRoute& each : carrier.routes)
    routes.push_back(
        {.destination = each.prefix,
         .vrf = carrier.private_place.vrf,
         .device = carrier_interface_name(carrier.name),
         .protocol = group.route_protocol,
         .metric = state == RouteState::kUp ? each.metric.value_or(group.metrics.alone) : group.metrics.idle,
         .preferred_source = {}});
  return routes;
}

}  // namespace ipsec::policy
