#include "netlink/tunnel_links.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/ip6_tunnel.h>
#include <linux/rtnetlink.h>

#include <cerrno>

namespace ipsec::netlink {
namespace {

using policy::LinkKind;

constexpr uint8_t kTtl = 64;  // one of its own: that of the packet inside would count hops that are not the tunnel's
constexpr uint8_t kAnyInside = 0;  // IFLA_IPTUN_PROTO: IPv4 and IPv6
// `sit` keeps the way out, with the SA on it, that its first packet has found, and sends packets of the other family
// into that SA as well (net/ipv4/ip_tunnel.c, ip_tunnel_xmit: the cache is that of the interface, not of a protocol);
// the peer drops them. With the TOS from inside IPv4 asks for each packet, and what is kept is for IPv6 alone.
constexpr uint8_t kTosInside = 1;

void put_address(Message& message, uint16_t type, const IpAddress& address) { message.put(type, address.bytes()); }

void put_gre(Message& message, const policy::LinkConfig& link) {
  put_address(message, IFLA_GRE_LOCAL, link.tunnel_local);
  put_address(message, IFLA_GRE_REMOTE, link.tunnel_remote);
  const auto flags = static_cast<uint16_t>(link.tunnel_key != 0 ? GRE_KEY : 0);
  message.put_struct(IFLA_GRE_IFLAGS, flags);
  message.put_struct(IFLA_GRE_OFLAGS, flags);
  message.put_u32(IFLA_GRE_IKEY, htonl(link.tunnel_key));
  message.put_u32(IFLA_GRE_OKEY, htonl(link.tunnel_key));
  message.put_u8(IFLA_GRE_TTL, kTtl);
  // The option that limits nesting is a header of its own between IPv6 and GRE, which ESP need not carry.
  if (!link.tunnel_local.is_v4()) message.put_u32(IFLA_GRE_FLAGS, IP6_TNL_F_IGN_ENCAP_LIMIT);
}

void put_ip_in_ip(Message& message, const policy::LinkConfig& link) {
  put_address(message, IFLA_IPTUN_LOCAL, link.tunnel_local);
  put_address(message, IFLA_IPTUN_REMOTE, link.tunnel_remote);
  message.put_u8(IFLA_IPTUN_TTL, kTtl);
  message.put_u8(IFLA_IPTUN_PROTO, kAnyInside);
  if (link.tunnel_local.is_v4())
    message.put_u8(IFLA_IPTUN_TOS, kTosInside);
  else
    message.put_u32(IFLA_IPTUN_FLAGS, IP6_TNL_F_IGN_ENCAP_LIMIT);
}

void put_ends(Message& message, const policy::LinkConfig& link, const PublicSide& public_side) {
  message.nest(IFLA_LINKINFO, [&] {
    message.put_text(IFLA_INFO_KIND, std::string(tunnel_kind(link.kind, link.tunnel_local.family())));
    message.nest(IFLA_INFO_DATA, [&] {
      const bool gre = link.kind == LinkKind::kGre;
      if (public_side.device_index != 0)
        message.put_u32(gre ? uint16_t{IFLA_GRE_LINK} : uint16_t{IFLA_IPTUN_LINK},
                        static_cast<uint32_t>(public_side.device_index));
      if (gre)
        put_gre(message, link);
      else
        put_ip_in_ip(message, link);
    });
  });
}

Status check(const policy::LinkConfig& link) {
  if (link.name.empty() || link.name.size() >= IFNAMSIZ)
    return Error(Reason::kMalformed, "the interface name \"" + printable(as_bytes(link.name)) + "\"");
  if (link.kind != LinkKind::kGre && link.kind != LinkKind::kIpIp)
    return Error(Reason::kInternal, link.name + " is no GRE or IP-in-IP interface");
  if (link.tunnel_local.family() != link.tunnel_remote.family())
    return Error(Reason::kInternal,
                 "an interface from " + to_string(link.tunnel_local) + " to " + to_string(link.tunnel_remote));
  if (link.tunnel_key != 0 && link.kind != LinkKind::kGre)
    return Error(Reason::kInternal, link.name + ": only GRE has a key");
  return {};
}

/// All that is left to do of one that was just made.
Status finish(Socket& route, const policy::LinkConfig& link) {
  TRY_ASSIGN(const LinkInfo made, need_link(route, link.name), "");
  return update_xfrm_link(route, link, made);
}

Result<IpAddress> address_at(const Attributes& data, uint16_t type) {
  const auto bytes = data.find(type);
  if (!bytes) return IpAddress();
  return IpAddress::from_bytes(*bytes);
}

}  // namespace

std::string_view tunnel_kind(LinkKind kind, Family outer) {
  if (kind == LinkKind::kGre) return outer == Family::kIpv4 ? "gre" : "ip6gre";
  return outer == Family::kIpv4 ? "sit" : "ip6tnl";
}

std::optional<LinkKind> tunnel_kind(std::string_view kind) {
  if (kind == "gre" || kind == "ip6gre") return LinkKind::kGre;
  if (kind == "sit" || kind == "ip6tnl") return LinkKind::kIpIp;
  return std::nullopt;
}

Result<TunnelEnds> read_tunnel_ends(std::string_view kind, const Attributes& data) {
  const bool gre = tunnel_kind(kind) == LinkKind::kGre;
  TunnelEnds ends;
  TRY_ASSIGN(ends.local, address_at(data, gre ? uint16_t{IFLA_GRE_LOCAL} : uint16_t{IFLA_IPTUN_LOCAL}), "local end");
  TRY_ASSIGN(ends.remote, address_at(data, gre ? uint16_t{IFLA_GRE_REMOTE} : uint16_t{IFLA_IPTUN_REMOTE}), "other end");
  TRY_ASSIGN(const auto device, data.get<uint32_t>(gre ? uint16_t{IFLA_GRE_LINK} : uint16_t{IFLA_IPTUN_LINK}),
             "device");
  ends.device = device.value_or(0);
  if (kind == "sit") {
    TRY_ASSIGN(const auto tos, data.get<uint8_t>(IFLA_IPTUN_TOS), "TOS");
    ends.tos = tos.value_or(0);
  }
  if (!gre) return ends;
  TRY_ASSIGN(const auto key, data.get<uint32_t>(IFLA_GRE_OKEY), "GRE key");
  ends.key = ntohl(key.value_or(0));
  return ends;
}

Status add_tunnel_link(Socket& route, const policy::LinkConfig& link, const PublicSide& public_side) {
  const std::string doing = "make " + std::string(tunnel_kind(link.kind, link.tunnel_local.family())) + " interface " +
                            printable(as_bytes(link.name));
  TRY(check(link), doing);
  // Before anything is made: without its VRF there is to be nothing.
  if (!link.vrf.empty()) TRY(need_vrf(route, link.vrf), doing);
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  ifinfomsg header{};
  header.ifi_flags = header.ifi_change = IFF_MULTICAST;  // OSPF and others ask for it
  message.header(header);
  message.put_text(IFLA_IFNAME, link.name);
  message.put_u32(IFLA_MTU, link.mtu);
  if (public_side.netns_id) message.put_u32(IFLA_LINK_NETNSID, *public_side.netns_id);
  if (link.dormant) put_operational_state(message, true);
  put_ends(message, link, public_side);
  TRY(route.transact(std::move(message)), doing);
  // All or nothing: it comes up as the last thing, and only in its VRF.
  Status finished = finish(route, link);
  if (!finished.ok()) {
    (void)delete_tunnel_link(route, link.name);  // the first error is the one to report
    return std::move(finished).error().context(doing);
  }
  return {};
}

Status update_tunnel_link(Socket& route, const policy::LinkConfig& link, const LinkInfo& there) {
  const std::string doing = "mend interface " + printable(as_bytes(link.name));
  TRY(check(link), doing);
  if (there.kind != tunnel_kind(link.kind, link.tunnel_local.family()))
    return Error(Reason::kKernelConflict, doing + ": it is \"" + there.kind + "\"");
  const uint8_t tos = there.kind == "sit" ? kTosInside : uint8_t{0};
  const TunnelEnds wanted{link.tunnel_local, link.tunnel_remote, link.tunnel_key, there.ends.device, tos};
  if (there.ends != wanted) {
    Message message(RTM_NEWLINK);
    ifinfomsg header{};
    header.ifi_index = there.index;
    message.header(header);
    put_ends(message, link, {.netns_id = {}, .device_index = there.public_device});
    TRY(route.transact(std::move(message)), doing);
  }
  return update_xfrm_link(route, link, there);
}

Status delete_tunnel_link(Socket& route, const std::string& name) {
  TRY_ASSIGN(const auto link, find_link(route, name), "");
  if (!link) return {};
  if (!tunnel_kind(link->kind))
    return Error(Reason::kKernelConflict, name + " is no GRE or IP-in-IP interface but \"" + link->kind + "\"");
  Message message(RTM_DELLINK);
  ifinfomsg header{};
  header.ifi_index = link->index;
  message.header(header);
  auto gone = route.transact(std::move(message));
  if (!gone.ok() && gone.error().os_errno() != ENODEV) return std::move(gone).error().context("remove " + name);
  return {};
}

}  // namespace ipsec::netlink
