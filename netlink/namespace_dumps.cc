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
  std::map<int, std::string> names;
  for (const LinkInfo& link : all) names.emplace(link.index, link.name);
  std::vector<policy::LinkConfig> found;
  for (const LinkInfo& link : all) {
    const auto tunnel = tunnel_kind(link.kind);
    // Those without ends are the kernel's own, for what no other one takes.
    const bool has_ends = tunnel && !link.ends.local.is_any() && !link.ends.remote.is_any();
    if (link.kind != "xfrm" && link.kind != "vrf" && !has_ends) continue;
    policy::LinkConfig& config = found.emplace_back();
    if (link.kind == "vrf") {
      config.kind = policy::LinkKind::kVrf;
      config.name = link.name;
      const auto ours = std::ranges::find_if(
          link.altnames, [](const std::string& each) { return each.starts_with(policy::kVrfAltname); });
      if (ours != link.altnames.end()) config.altname = *ours;
      config.vrf_table = link.vrf_table;
      config.up = link.admin_up;
      continue;
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
    if (link.master != 0) config.vrf = names.contains(link.master) ? names.at(link.master) : numbered(link.master);
    name_underside(link, config);
  }
  public_sides_.clear();
  TRY(read_addresses(*dumps, all, found), "");
  return found;
}

/// Of links of ours, all in one read.
Status NamespacePort::read_addresses(Socket& dumps, const std::vector<LinkInfo>& all,
                                     std::vector<policy::LinkConfig>& found) {
  std::map<std::string_view, int> ours;
  for (const LinkInfo& link : all)
    if (link.kind != "vrf" && is_ours(link)) ours.emplace(link.name, link.index);
  if (ours.empty()) return {};
  TRY_ASSIGN(const std::vector<AddressInfo> addresses, dump_addresses(dumps), "");
  std::map<int, std::vector<AddressInfo>> by_device;
  for (const AddressInfo& each : addresses) by_device[each.device].push_back(each);
  for (policy::LinkConfig& config : found) {
    const auto link = ours.find(config.name);
    if (link == ours.end()) continue;
    const auto known = undersides_.find(config.name);
    const std::vector<policy::InterfaceAddress> wanted =
        known != undersides_.end() ? known->second.addresses : std::vector<policy::InterfaceAddress>{};
    config.addresses = addresses_of(by_device[link->second], wanted);
    if (known != undersides_.end()) known->second.addresses_stand = config.addresses == wanted;
  }
  return {};
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
  std::map<int, std::string> devices;
  std::map<uint32_t, std::string> vrfs{{RouteContext{}.table, ""}};
  for (const LinkInfo& link : links) {
    devices.emplace(link.index, link.name);
    if (link.kind == "vrf") vrfs.emplace(link.vrf_table, link.name);
  }
  std::vector<policy::RouteConfig> found;
  for (const uint8_t protocol : route_protocols_) {
    TRY_ASSIGN(std::vector<DecodedRoute> routes, netlink::dump_routes(*dumps, protocol), "");
    for (DecodedRoute& each : routes) {
      const auto vrf = vrfs.find(each.context.table);
      const auto device = devices.find(each.context.device_index);
      each.config.vrf = vrf != vrfs.end() ? vrf->second : numbered(each.context.table);
      if (each.config.kind == policy::RouteKind::kDevice)
        each.config.device = device != devices.end() ? device->second : numbered(each.context.device_index);
      found.push_back(std::move(each.config));
    }
  }
  return found;
}

}  // namespace ipsec::netlink
