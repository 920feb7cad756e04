#include <linux/netlink.h>

#include <algorithm>

#include "netlink/addresses.h"
#include "netlink/links.h"
#include "netlink/namespace_port.h"
#include "netlink/paths.h"
#include "netlink/routes.h"
#include "netlink/tunnel_links.h"
#include "policy/plan_groups.h"

// The complete reads of NamespacePort, on sockets of their own: nothing else may be in flight beside a dump.
namespace ipsec::netlink {
namespace {

/// For what has no name.
template <typename Number>
std::string numbered(Number number) {
  return "#" + std::to_string(number);
}

}  // namespace

Result<Socket*> NamespacePort::dumps_of(int protocol) {
  std::optional<Socket>& dumps = protocol == NETLINK_XFRM ? xfrm_dumps_ : route_dumps_;
  if (!dumps) {
    TRY_ASSIGN(Socket socket, Socket::open({.protocol = protocol, .netns = netns_, .groups = {}, .strict = true}), "");
    dumps = std::move(socket);
  }
  return &*dumps;
}

Result<std::vector<policy::SaState>> NamespacePort::dump_sas() {
  flush();
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_XFRM), "");
  std::vector<policy::SaState> found;
  std::vector<std::pair<size_t, int>> offloaded;  // named afterwards: a dump is not to be interrupted
  const auto each = [&](const Received& message) -> Status {
    auto sa = decode_sa(message.payload);
    if (!sa.ok()) return std::move(sa).error();
    if (!sa->is_esp) return {};
    if (sa->offload_ifindex != 0) offloaded.emplace_back(found.size(), sa->offload_ifindex);
    found.push_back(std::move(sa->state));
    return {};
  };
  TRY(dumps->dump(encode_dump_sas, each, [&] { found.clear(), offloaded.clear(); }), "read all SAs");
  std::map<int, std::string> names;
  for (const auto& [at, ifindex] : offloaded) {
    auto& name = names[ifindex];
    if (name.empty()) {
      TRY_ASSIGN(name, device_name(ifindex), "");
    }
    found[at].offload_device = name;
  }
  return found;
}

Result<std::vector<policy::PolicyConfig>> NamespacePort::dump_policies() {
  flush();
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_XFRM), "");
  std::vector<policy::PolicyConfig> found;
  std::vector<std::pair<size_t, int>> offloaded;
  const auto each = [&](const Received& message) -> Status {
    auto entry = decode_policy(message.payload);
    if (!entry.ok()) return std::move(entry).error();
    if (!entry->ordinary) return {};
    if (entry->offload_ifindex != 0) offloaded.emplace_back(found.size(), entry->offload_ifindex);
    found.push_back(std::move(entry->config));
    return {};
  };
  TRY(dumps->dump(encode_dump_policies, each, [&] { found.clear(), offloaded.clear(); }), "read all policies");
  for (const auto& [at, ifindex] : offloaded) {
    TRY_ASSIGN(found[at].offload.device, device_name(ifindex), "");
  }
  return found;
}

Result<std::vector<policy::LinkConfig>> NamespacePort::dump_links() {
  flush();
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  TRY_ASSIGN(const std::vector<LinkInfo> all, netlink::dump_links(*dumps), "");
  NamesOfNumbers names;
  bool some_ours = false;
  for (const LinkInfo& link : all) {
    names.add(link);
    some_ours = some_ours || (link.kind != "vrf" && is_ours(link));
  }
  AddressesOfDevices addresses;
  if (some_ours) {
    TRY_ASSIGN(const std::vector<AddressInfo> read, dump_addresses(*dumps), "");
    for (const AddressInfo& each : read) addresses[each.device].push_back(each);
  }
  std::vector<policy::LinkConfig> found;
  for (const LinkInfo& link : all)
    if (auto config = shown(link, names, addresses)) found.push_back(std::move(*config));
  public_sides_.clear();
  return found;
}

void NamesOfNumbers::add(const LinkInfo& link) {
  devices.emplace(link.index, link.name);
  if (link.kind == "vrf") vrfs.emplace(link.vrf_table, link.name);
}

std::string NamesOfNumbers::device(int index) const {
  const auto known = devices.find(index);
  return known != devices.end() ? known->second : numbered(index);
}

std::string NamesOfNumbers::vrf(uint32_t table) const {
  if (table == RouteContext{}.table) return {};
  const auto known = vrfs.find(table);
  return known != vrfs.end() ? known->second : numbered(table);
}

policy::RouteConfig NamesOfNumbers::named(DecodedRoute route) const {
  route.config.vrf = vrf(route.context.table);
  if (route.config.kind == policy::RouteKind::kDevice) route.config.device = device(route.context.device_index);
  return std::move(route.config);
}

std::optional<policy::LinkConfig> NamespacePort::shown(const LinkInfo& link, const NamesOfNumbers& names,
                                                       const AddressesOfDevices& addresses) {
  const auto tunnel = tunnel_kind(link.kind);
  // Those without ends are the kernel's own, for what no other one takes.
  const bool has_ends = tunnel && !link.ends.local.is_any() && !link.ends.remote.is_any();
  if (link.kind != "xfrm" && link.kind != "vrf" && !has_ends) return std::nullopt;
  policy::LinkConfig config;
  if (link.kind == "vrf") {
    config.kind = policy::LinkKind::kVrf;
    config.name = link.name;
    const auto ours = std::ranges::find_if(
        link.altnames, [](const std::string& each) { return each.starts_with(policy::kVrfAltname); });
    if (ours != link.altnames.end()) config.altname = *ours;
    config.vrf_table = link.vrf_table;
    config.up = link.admin_up;
    return config;
  }
  config = {.kind = tunnel          ? *tunnel
                    : link.external ? policy::LinkKind::kExternal
                                    : policy::LinkKind::kXfrm,
            .name = link.name,
            .if_id = link.if_id,
            .mtu = link.mtu,
            .group = link.group,
            .up = link.admin_up,
            .dormant = link.dormant,
            .tunnel_local = link.ends.local,
            .tunnel_remote = link.ends.remote,
            .tunnel_key = link.ends.key};
  if (link.master != 0) config.vrf = names.device(link.master);
  name_underside(link, config);
  if (!is_ours(link)) return config;
  const auto known = undersides_.find(config.name);
  const std::vector<policy::InterfaceAddress> wanted =
      known != undersides_.end() ? known->second.addresses : std::vector<policy::InterfaceAddress>{};
  const auto there = addresses.find(link.index);
  if (there != addresses.end()) config.addresses = addresses_of(there->second, wanted);
  if (known != undersides_.end()) known->second.addresses_stand = config.addresses == wanted;
  return config;
}

/// Whether the device that a link was made over is still the one of its name.
bool NamespacePort::stands_over(const Underside& made, int device_index) {
  if (made.device_index != device_index) return false;
  const auto now = public_side_of({.name = made.device, .public_netns = made.netns, .public_device = made.device});
  return now.ok() && now->device_index == device_index;
}

/// The kernel shows what a link lies over as numbers; those that it had when we made it have names, unless another
/// device has the name by now.
void NamespacePort::name_underside(const LinkInfo& link, policy::LinkConfig& config) {
  const auto known = undersides_.find(link.name);
  const Underside* made = known == undersides_.end() ? nullptr : &known->second;
  if (made != nullptr && made->netns_id == link.public_netns)
    config.public_netns = made->netns;
  else
    config.public_netns = link.public_netns ? numbered(*link.public_netns) : netns_;
  if (link.public_device != 0)
    config.public_device =
        made != nullptr && stands_over(*made, link.public_device) ? made->device : numbered(link.public_device);
  const bool named = made != nullptr && std::ranges::count(link.altnames, made->altname) != 0;
  if (named)
    config.altname = made->altname;
  else if (!link.altnames.empty())
    config.altname = link.altnames.front();
}

Result<bool> NamespacePort::is_on_link(const std::string& vrf, const IpAddress& destination) {
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  return netlink::is_on_link(route_, *dumps, vrf, destination);
}

Result<std::vector<policy::RouteConfig>> NamespacePort::dump_routes() {
  flush();
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  TRY_ASSIGN(const std::vector<LinkInfo> links, netlink::dump_links(*dumps), "");
  NamesOfNumbers names;
  for (const LinkInfo& link : links) names.add(link);
  std::vector<policy::RouteConfig> found;
  for (const uint8_t protocol : route_protocols_) {
    TRY_ASSIGN(std::vector<DecodedRoute> routes, netlink::dump_routes(*dumps, protocol), "");
    for (DecodedRoute& each : routes) found.push_back(names.named(std::move(each)));
  }
  return found;
}

}  // namespace ipsec::netlink
