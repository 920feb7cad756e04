#include "netlink/paths.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>

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
  if (!device) return Error(Reason::kMalformed, "a path without a device");
  return DecodedPath{.device_index = static_cast<int>(*device), .mtu = mtu.value_or(0)};
}

Result<policy::PathFacts> path_to(Socket& route, const std::string& vrf, const IpAddress& destination) {
  const std::string doing = "path to " + to_string(destination);
  int vrf_index = 0;
  if (!vrf.empty()) {
    TRY_ASSIGN(const LinkInfo link, need_vrf(route, vrf), doing);
    vrf_index = link.index;
  }
  TRY_ASSIGN(const auto reply, route.transact(encode_get_path(destination, vrf_index)), doing);
  for (const Reply::Data& data : reply) {
    if (data.type != RTM_NEWROUTE) continue;
    TRY_ASSIGN(const DecodedPath path, decode_path(data.payload.expose()), doing);
    TRY_ASSIGN(const auto device, find_link(route, path.device_index), doing);
    if (!device) break;
    return policy::PathFacts{.device = device->name,
                             .mtu = path.mtu != 0 ? std::min(path.mtu, device->mtu) : device->mtu};
  }
  return Error(Reason::kNotFound, doing + ": the kernel shows none");
}

}  // namespace ipsec::netlink
