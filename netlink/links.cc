#include "netlink/links.h"

#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>

#include "netlink/tunnel_links.h"

namespace ipsec::netlink {
namespace {

constexpr size_t kNameMax = IFNAMSIZ - 1;
constexpr uint16_t kVrfTable = 1;  // IFLA_VRF_TABLE
// RFC 2863 and the kernel's operstates.rst; <linux/if.h> has them, which cannot be included beside <net/if.h>.
constexpr uint8_t kOperDormant = 5, kOperUp = 6, kModeDormant = 1;

Status read_kind(const Attributes& attributes, LinkInfo& link) {
  TRY_ASSIGN(const Attributes info, attributes.nested(IFLA_LINKINFO), "link information");
  link.kind = info.text(IFLA_INFO_KIND);
  link.member_kind = info.text(IFLA_INFO_SLAVE_KIND);
  TRY_ASSIGN(const Attributes data, info.nested(IFLA_INFO_DATA), "link information");
  if (link.kind == "xfrm") {
    TRY_ASSIGN(const auto if_id, data.get<uint32_t>(IFLA_XFRM_IF_ID), "xfrm if_id");
    TRY_ASSIGN(const auto device, data.get<uint32_t>(IFLA_XFRM_LINK), "xfrm link");
    link.if_id = if_id.value_or(0);
    link.public_device = static_cast<int>(device.value_or(0));
    link.external = data.find(IFLA_XFRM_COLLECT_METADATA).has_value();
  } else if (link.kind == "vrf") {
    TRY_ASSIGN(const auto table, data.get<uint32_t>(kVrfTable), "VRF table");
    link.vrf_table = table.value_or(0);
  } else if (tunnel_kind(link.kind)) {
    TRY_ASSIGN(link.ends, read_tunnel_ends(link.kind, data), "tunnel");
    link.public_device = static_cast<int>(link.ends.device);
  }
  return {};
}

Message link_request(uint16_t type, uint16_t flags, int index) {
  Message message(type, flags);
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  message.header(header);
  return message;
}

Result<std::optional<LinkInfo>> read_one(Socket& route, Message request) {
  auto reply = route.transact(std::move(request));
  if (!reply.ok()) {
    if (reply.error().os_errno() == ENODEV) return std::optional<LinkInfo>();
    return std::move(reply).error().context("look up an interface");
  }
  for (const Reply::Data& each : *reply) {
    if (each.type != RTM_NEWLINK) continue;
    TRY_ASSIGN(LinkInfo link, decode_link(each.payload.expose()), "look up an interface");
    return std::optional<LinkInfo>(std::move(link));
  }
  return std::optional<LinkInfo>();
}

Message new_altname(const policy::LinkConfig& link) {
  Message message = link_request(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND, 0);
  message.put_text(IFLA_IFNAME, link.name);
  message.nest(IFLA_PROP_LIST, [&] { message.put_text(IFLA_ALT_IFNAME, link.altname); });
  return message;
}

/// An RTM_SETLINK of the link of this index, or without one of this name, that says whether it is to be up.
Message set_link(int index, const std::string& name, bool up) {
  Message message(RTM_SETLINK);
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  header.ifi_change = IFF_UP;
  if (up) header.ifi_flags = IFF_UP;
  message.header(header);
  if (index == 0) message.put_text(IFLA_IFNAME, name);
  return message;
}

/// The second step of making a link, in one call: its alternative name, and up. For older kernels make the interface in
/// the public namespace and move it, and a move takes it down.
Status finish_link(Socket& route, const policy::LinkConfig& link) {
  if (!link.altname.empty()) route.queue(new_altname(link));
  auto up = route.transact(set_link(0, link.name, true));
  // Nothing else is under way here: the other answer is that to the name.
  while (auto named = route.poll_reply())
    TRY(std::move(named->status), "alternative name " + printable(as_bytes(link.altname)));
  TRY(std::move(up), "bring it up");
  return {};
}

Message new_link(const policy::LinkConfig& link, const PublicSide& public_side, int master) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_flags = header.ifi_change = IFF_UP | IFF_MULTICAST;  // OSPF and others ask for it
  message.header(header);
  message.put_text(IFLA_IFNAME, link.name);
  message.put_u32(IFLA_MTU, link.mtu);
  if (link.group != 0) message.put_u32(IFLA_GROUP, link.group);
  if (master != 0) message.put_u32(IFLA_MASTER, static_cast<uint32_t>(master));
  if (public_side.netns_id) message.put_u32(IFLA_LINK_NETNSID, *public_side.netns_id);
  if (link.dormant) put_operational_state(message, true);
  message.nest(IFLA_LINKINFO, [&] {
    message.put_text(IFLA_INFO_KIND, "xfrm");
    message.nest(IFLA_INFO_DATA, [&] {
      if (link.kind == policy::LinkKind::kExternal) return message.put(IFLA_XFRM_COLLECT_METADATA, {});
      if (public_side.device_index != 0)
        message.put_u32(IFLA_XFRM_LINK, static_cast<uint32_t>(public_side.device_index));
      message.put_u32(IFLA_XFRM_IF_ID, link.if_id);
    });
  });
  return message;
}

Result<int32_t> ask_netns_id(Socket& route, const UniqueFd& other) {
  Message message(RTM_GETNSID);
  message.header(rtgenmsg{.rtgen_family = AF_UNSPEC});
  message.put_u32(NETNSA_FD, static_cast<uint32_t>(other.get()));
  TRY_ASSIGN(const auto reply, route.transact(std::move(message)), "ask for a namespace id");
  for (const Reply::Data& each : reply) {
    TRY_ASSIGN(const Attributes attributes, attributes_behind(each.payload.expose(), sizeof(rtgenmsg)), "namespace id");
    TRY_ASSIGN(const auto id, attributes.get<int32_t>(NETNSA_NSID), "namespace id");
    if (id) return *id;
  }
  return int32_t{NETNSA_NSID_NOT_ASSIGNED};
}

}  // namespace

void put_operational_state(Message& message, bool dormant) {
  message.put_u8(IFLA_OPERSTATE, dormant ? kOperDormant : kOperUp);
  message.put_u8(IFLA_LINKMODE, kModeDormant);  // it stays as we say, whatever the device's carrier does
}

Result<LinkInfo> decode_link(ByteView payload) {
  TRY_ASSIGN(const auto header, from_bytes<ifinfomsg>(payload), "link");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(header)), "link");
  LinkInfo link;
  link.index = header.ifi_index;
  link.hardware = header.ifi_type;
  link.up = (header.ifi_flags & IFF_UP) != 0 && (header.ifi_flags & IFF_RUNNING) != 0;
  link.admin_up = (header.ifi_flags & IFF_UP) != 0;
  link.name = attributes.text(IFLA_IFNAME);
  TRY_ASSIGN(const auto mtu, attributes.get<uint32_t>(IFLA_MTU), "link");
  TRY_ASSIGN(const auto group, attributes.get<uint32_t>(IFLA_GROUP), "link");
  TRY_ASSIGN(const auto master, attributes.get<int32_t>(IFLA_MASTER), "link");
  TRY_ASSIGN(const auto state, attributes.get<uint8_t>(IFLA_OPERSTATE), "link");
  TRY_ASSIGN(const auto mode, attributes.get<uint8_t>(IFLA_LINKMODE), "link");
  link.own_state = mode == kModeDormant;
  link.dormant = link.own_state && state == kOperDormant;
  link.mtu = mtu.value_or(0), link.group = group.value_or(0), link.master = master.value_or(0);
  TRY_ASSIGN(const auto netns, attributes.get<int32_t>(IFLA_LINK_NETNSID), "link");
  if (netns) link.public_netns = static_cast<uint32_t>(*netns);
  TRY(Attributes::for_each(attributes.find(IFLA_PROP_LIST).value_or(ByteView{}),
                           [&](uint16_t type, ByteView value) {
                             if (type != IFLA_ALT_IFNAME) return;
                             const std::string_view text = as_text(value);
                             link.altnames.emplace_back(text.substr(0, text.find('\0')));
                           }),
      "alternative names");
  TRY(read_kind(attributes, link), "link");
  return link;
}

Result<std::optional<LinkInfo>> find_link(Socket& route, const std::string& name) {
  Message message = link_request(RTM_GETLINK, 0, 0);
  message.put_text(name.size() > kNameMax ? IFLA_ALT_IFNAME : IFLA_IFNAME, name);
  return read_one(route, std::move(message));
}

Result<std::optional<LinkInfo>> find_link(Socket& route, int index) {
  return read_one(route, link_request(RTM_GETLINK, 0, index));
}

Message encode_dump_links() { return link_request(RTM_GETLINK, 0, 0); }

Status take_link(const Received& message, std::vector<LinkInfo>& found) {
  if (message.type != RTM_NEWLINK) return {};
  TRY_ASSIGN(LinkInfo link, decode_link(message.payload), "");
  found.push_back(std::move(link));
  return {};
}

Result<std::vector<LinkInfo>> dump_links(Socket& dumps) {
  std::vector<LinkInfo> found;
  const auto each = [&](const Received& message) { return take_link(message, found); };
  TRY(dumps.dump(encode_dump_links, each, [&] { found.clear(); }), "read all links");
  return found;
}

Result<LinkInfo> need_link(Socket& route, const std::string& name) {
  TRY_ASSIGN(auto link, find_link(route, name), "");
  if (!link) return Error(Reason::kDeviceMissing, "there is no device " + printable(as_bytes(name)));
  return std::move(*link);
}

Result<LinkInfo> need_vrf(Socket& route, const std::string& name) {
  TRY_ASSIGN(auto link, find_link(route, name), "");
  const std::string shown = printable(as_bytes(name));
  if (!link)
    return Error(Reason::kVrfMissing,
                 "there is no VRF " + shown + "; create it with `ip link add " + shown + " type vrf table N`");
  if (link->kind != "vrf") return Error(Reason::kVrfMissing, shown + " is not a VRF but \"" + link->kind + "\"");
  return std::move(*link);
}

Result<uint32_t> netns_id(Socket& route, const UniqueFd& other) {
  TRY_ASSIGN(int32_t id, ask_netns_id(route, other), "");
  if (id < 0) {
    Message message(RTM_NEWNSID);
    message.header(rtgenmsg{.rtgen_family = AF_UNSPEC});
    message.put_u32(NETNSA_FD, static_cast<uint32_t>(other.get()));
    message.put_struct<int32_t>(NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED);  // the kernel chooses
    // EEXIST: somebody else gave it one in between, which serves as well.
    if (auto made = route.transact(std::move(message)); !made.ok() && made.error().os_errno() != EEXIST)
      return std::move(made).error().context("give a namespace an id");
    TRY_ASSIGN(id, ask_netns_id(route, other), "");
  }
  if (id < 0) return Error(Reason::kKernelRefused, "the kernel gave no id to the public namespace");
  return static_cast<uint32_t>(id);
}

Status add_altname(Socket& route, const policy::LinkConfig& link) {
  TRY(route.transact(new_altname(link)), "alternative name " + printable(as_bytes(link.altname)));
  return {};
}

Status add_xfrm_link(Socket& route, const policy::LinkConfig& link, const PublicSide& public_side) {
  if (link.name.empty() || link.name.size() > kNameMax)
    return Error(Reason::kMalformed, "the interface name \"" + printable(as_bytes(link.name)) + "\" must have 1 to " +
                                         std::to_string(kNameMax) + " bytes");
  int master = 0;
  if (!link.vrf.empty()) {
    TRY_ASSIGN(const LinkInfo vrf, need_vrf(route, link.vrf), "");
    master = vrf.index;
  }
  TRY(route.transact(new_link(link, public_side, master)), "make xfrm interface " + link.name);
  Status finished = finish_link(route, link);
  if (!finished.ok()) {
    // All or nothing. A failure to remove it again would be the second error; the first one is what to report.
    (void)delete_xfrm_link(route, link.name);
    return std::move(finished).error().context("make xfrm interface " + link.name);
  }
  return {};
}

Status update_xfrm_link(Socket& route, const policy::LinkConfig& link, const LinkInfo& there) {
  const std::string doing = "mend interface " + link.name;
  uint32_t master = 0;
  if (!link.vrf.empty()) {
    auto vrf = need_vrf(route, link.vrf);
    if (!vrf.ok()) {
      // What the peer sends would go on in whatever table is next, and so to another customer. The missing VRF is the
      // error to report, even if this fails too.
      if (there.admin_up) (void)route.transact(set_link(there.index, link.name, false));
      return std::move(vrf).error().context(doing);
    }
    master = static_cast<uint32_t>(vrf->index);
  }
  const bool named = link.altname.empty() || std::ranges::count(there.altnames, link.altname) != 0;
  if (!named) TRY(add_altname(route, link), doing);
  Message message = set_link(there.index, link.name, link.up);
  message.put_u32(IFLA_MTU, link.mtu);
  message.put_u32(IFLA_GROUP, link.group);
  if (static_cast<uint32_t>(there.master) != master) message.put_u32(IFLA_MASTER, master);
  // One that is down comes up with the state that it had, which does not show before.
  if (there.dormant != link.dormant || (there.own_state && !there.admin_up))
    put_operational_state(message, link.dormant);
  TRY(route.transact(std::move(message)), doing);
  return {};
}

Status delete_links_at_once(Socket& route, const std::vector<int>& indices, uint32_t group) {
  if (indices.empty()) return {};
  Status moved;
  const auto collect = [&] {
    while (auto reply = route.poll_reply())
      if (moved.ok() && !reply->status.ok() && reply->status.error().os_errno() != ENODEV)
        moved = std::move(reply->status);
  };
  for (const int index : indices) {
    Message message = link_request(RTM_SETLINK, 0, index);
    message.put_u32(IFLA_GROUP, group);
    route.queue(std::move(message));
    if (route.in_flight() >= kInFlightMax / 2) {
      route.send();
      collect();
    }
  }
  Message message = link_request(RTM_DELLINK, 0, 0);
  message.put_u32(IFLA_GROUP, group);
  auto gone = route.transact(std::move(message));
  collect();
  TRY(std::move(moved), "move interfaces into a group");
  if (!gone.ok() && gone.error().os_errno() != ENODEV) return std::move(gone).error().context("remove a group");
  return {};
}

Status delete_xfrm_link(Socket& route, const std::string& name) {
  TRY_ASSIGN(const auto link, find_link(route, name), "");
  if (!link) return {};
  if (link->kind != "xfrm")
    return Error(Reason::kKernelConflict, name + " is not an xfrm interface but \"" + link->kind + "\"");
  auto gone = route.transact(link_request(RTM_DELLINK, 0, link->index));
  if (!gone.ok() && gone.error().os_errno() != ENODEV) return std::move(gone).error().context("remove " + name);
  return {};
}

}  // namespace ipsec::netlink
