#include "netlink/paths.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>

#include "netlink/addresses.h"
#include "netlink/links.h"

namespace ipsec::netlink {

Message encode_get_path(const IpAddress& destination, int vrf_index) {
  rtmsg header{};
  header.rtm_family = destination.is_v4() ? AF_INET : AF_INET6;
  header.rtm_dst_len = static_cast<uint8_t>(destination.bits());
  Message message(RTM_GETROUTE);
  message.header(header);
  message.put(RTA_DST, destination.bytes());
  if (vrf_index != 0) message.put_u32(RTA_OIF, static_cast<uint32_t>(vrf_index));
  return message;
}

Result<DecodedPath> decode_path(ByteView payload) {
  TRY_ASSIGN(const Attributes route, attributes_behind(payload, sizeof(rtmsg)), "path");
  TRY_ASSIGN(const auto device, route.get<uint32_t>(RTA_OIF), "path");
  TRY_ASSIGN(const Attributes metrics, route.nested(RTA_METRICS), "path");
  TRY_ASSIGN(const auto mtu, metrics.get<uint32_t>(RTAX_MTU), "path");
  TRY_ASSIGN(const auto header, from_bytes<rtmsg>(payload), "path");
  const auto gateway = route.find(RTA_GATEWAY), destination = route.find(RTA_DST);
  const bool by_itself = gateway && destination && std::ranges::equal(*gateway, *destination);
  if (!device) return Error(Reason::kMalformed, "a path without a device");
  return DecodedPath{.device_index = static_cast<int>(*device),
                     .mtu = mtu.value_or(0),
                     .direct = header.rtm_type == RTN_UNICAST && !route.find(RTA_VIA) && (!gateway || by_itself)};
}

namespace {

Result<DecodedPath> ask_path(Socket& route, const std::string& vrf, const IpAddress& destination) {
  int vrf_index = 0;
  if (!vrf.empty()) {
    TRY_ASSIGN(const LinkInfo link, need_vrf(route, vrf), "");
    vrf_index = link.index;
  }
  TRY_ASSIGN(const auto reply, route.transact(encode_get_path(destination, vrf_index)), "");
  for (const Reply::Data& data : reply)
    if (data.type == RTM_NEWROUTE) return decode_path(data.payload.expose());
  return Error(Reason::kNotFound, "the kernel shows none");
}

}  // namespace

Result<policy::PathFacts> path_to(Socket& route, const std::string& vrf, const IpAddress& destination) {
  const std::string doing = "path to " + to_string(destination);
  TRY_ASSIGN(const DecodedPath path, ask_path(route, vrf, destination), doing);
  TRY_ASSIGN(const auto device, find_link(route, path.device_index), doing);
  if (!device) return Error(Reason::kNotFound, doing + ": its device has gone");
  return policy::PathFacts{.device = device->name,
                           .mtu = path.mtu != 0 ? std::min(path.mtu, device->mtu) : device->mtu,
                           .direct = path.direct};
}

Result<bool> is_on_link(Socket& route, Socket& dumps, const std::string& vrf, const IpAddress& destination) {
  const std::string doing = "path to " + to_string(destination);
  TRY_ASSIGN(const DecodedPath path, ask_path(route, vrf, destination), doing);
  if (!path.direct) return false;
  TRY_ASSIGN(const std::vector<AddressInfo> addresses, dump_addresses(dumps, path.device_index), doing);
  return std::ranges::any_of(addresses, [&](const AddressInfo& each) {
    return each.address.is_v4() == destination.is_v4() &&
           IpPrefix{each.address, each.length}.last() == IpPrefix{destination, each.length}.last();
  });
}

}  // namespace ipsec::netlink
