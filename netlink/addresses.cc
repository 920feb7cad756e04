#include "netlink/addresses.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace ipsec::netlink {
namespace {

using policy::InterfaceAddress;

Message request(uint16_t type, uint16_t flags, int device, const InterfaceAddress& address) {
  Message message(type, flags);
  ifaddrmsg header{};
  header.ifa_family = address.address.is_v4() ? AF_INET : AF_INET6;
  header.ifa_prefixlen = address.length;
  header.ifa_index = static_cast<uint32_t>(device);
  message.header(header);
  message.put(IFA_LOCAL, address.address.bytes());
  message.put(IFA_ADDRESS, address.address.bytes());
  return message;
}

Status remove(Socket& route, const AddressInfo& there) {
  const InterfaceAddress address{there.address, there.length};
  auto gone = route.transact(request(RTM_DELADDR, 0, there.device, address));
  if (!gone.ok() && gone.error().os_errno() != EADDRNOTAVAIL && gone.error().os_errno() != ENODEV)
    return std::move(gone).error().context("remove the address " + to_string(address));
  return {};
}

bool is_among(const AddressInfo& there, const std::vector<InterfaceAddress>& wanted) {
  return std::ranges::count(wanted, InterfaceAddress{there.address, there.length}) != 0;
}

}  // namespace

Result<AddressInfo> decode_address(ByteView payload) {
  TRY_ASSIGN(const auto header, from_bytes<ifaddrmsg>(payload), "address");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(header)), "address");
  // With a point-to-point peer IFA_ADDRESS is the peer's and IFA_LOCAL ours; IPv6 often has only the former.
  const auto bytes = attributes.find(IFA_LOCAL) ? attributes.find(IFA_LOCAL) : attributes.find(IFA_ADDRESS);
  if (!bytes) return Error(Reason::kMalformed, "an interface address without its address");
  TRY_ASSIGN(const IpAddress address, IpAddress::from_bytes(*bytes), "address");
  TRY_ASSIGN(const auto flags, attributes.get<uint32_t>(IFA_FLAGS), "address");
  TRY_ASSIGN(const auto protocol, attributes.get<uint8_t>(IFA_PROTO), "address");
  const uint32_t all = flags.value_or(header.ifa_flags);
  const bool waits = (all & IFA_F_TENTATIVE) != 0 && (all & IFA_F_OPTIMISTIC) == 0;
  return AddressInfo{.device = static_cast<int>(header.ifa_index),
                     .address = address,
                     .length = header.ifa_prefixlen,
                     .protocol = protocol.value_or(0),
                     .usable = !waits && (all & IFA_F_DADFAILED) == 0};
}

Message new_address(int device, const InterfaceAddress& wanted) {
  Message message = request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, device, wanted);
  if (!wanted.address.is_v4()) message.put_u32(IFA_FLAGS, IFA_F_NODAD);
  message.put_u8(IFA_PROTO, kRouteProtocol);
  return message;
}

Message encode_dump_addresses(int device) {
  Message message(RTM_GETADDR);
  ifaddrmsg header{};
  header.ifa_index = static_cast<uint32_t>(device);
  message.header(header);
  return message;
}

Status take_address(const Received& message, int device, std::vector<AddressInfo>& found) {
  if (message.type != RTM_NEWADDR) return {};
  TRY_ASSIGN(AddressInfo address, decode_address(message.payload), "");
  if (device == 0 || address.device == device) found.push_back(std::move(address));
  return {};
}

Result<std::vector<AddressInfo>> dump_addresses(Socket& dumps, int device) {
  std::vector<AddressInfo> found;
  const auto request = [device] { return encode_dump_addresses(device); };
  const auto each = [&](const Received& message) { return take_address(message, device, found); };
  TRY(dumps.dump(request, each, [&] { found.clear(); }), "read the addresses");
  return found;
}

Result<bool> has_address(Socket& route, const IpAddress& address) {
  TRY_ASSIGN(const std::vector<AddressInfo> all, dump_addresses(route), "");
  return std::ranges::any_of(all, [&](const AddressInfo& each) { return each.address == address; });
}

std::vector<InterfaceAddress> addresses_of(const std::vector<AddressInfo>& there,
                                           const std::vector<InterfaceAddress>& wanted) {
  std::vector<InterfaceAddress> found;
  for (const AddressInfo& each : there)
    if (each.is_ours() || is_among(each, wanted)) found.push_back({each.address, each.length});
  std::ranges::sort(found);
  return found;
}

Status add_addresses(Socket& route, int device, const std::vector<InterfaceAddress>& wanted) {
  for (const InterfaceAddress& each : wanted)
    TRY(route.transact(new_address(device, each)), "address " + to_string(each));
  return {};
}

Status settle_addresses(Socket& route, Socket& dumps, int device, const std::vector<InterfaceAddress>& wanted) {
  TRY_ASSIGN(const std::vector<AddressInfo> there, dump_addresses(dumps, device), "");
  // First: the kernel takes those of the same IPv4 subnet along, so that all that are wanted are put there again.
  bool removed = false;
  for (const AddressInfo& each : there) {
    if (!each.is_ours() || is_among(each, wanted)) continue;
    TRY(remove(route, each), "");
    removed = true;
  }
  const std::vector<InterfaceAddress> standing = addresses_of(there, wanted);
  for (const InterfaceAddress& each : wanted) {
    const bool stood = std::ranges::count(standing, each) != 0;
    if (stood && !removed) continue;
    auto added = route.transact(new_address(device, each));
    if (added.ok() || (stood && added.error().os_errno() == EEXIST)) continue;
    if (added.error().os_errno() == EEXIST)
      return Error(Reason::kKernelConflict, "address " + to_string(each) + ": somebody else's is there already",
                   EEXIST);
    return std::move(added).error().context("address " + to_string(each));
  }
  return {};
}

}  // namespace ipsec::netlink
