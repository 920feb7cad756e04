#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "netlink/socket.h"
#include "policy/base/ip.h"
#include "policy/kernel_model.h"

/// Addresses of network interfaces, over a NETLINK_ROUTE socket of the namespace concerned. All of these wait for the
/// answer. Ours carry the protocol 50 (IFA_PROTO, Linux 5.18): only those are ever removed. An older kernel keeps no
/// protocol; there what is not wanted any more stays until its interface goes.
namespace ipsec::netlink {

struct AddressInfo {
  int device = 0;  ///< Interface index.
  IpAddress address;
  uint8_t length = 0;    ///< Of its subnet, in bits.
  uint8_t protocol = 0;  ///< Who made it; 0: not told.
  bool usable = true;    ///< false: being checked for a duplicate, or found to be one (RFC 4862 section 5.4).

  bool is_ours() const { return protocol == kRouteProtocol; }
};

/// The payload of RTM_NEWADDR or RTM_DELADDR.
Result<AddressInfo> decode_address(ByteView payload);
/// The request that puts an address of ours there: usable at once, for nobody else of its link can have it.
Message new_address(int device, const policy::InterfaceAddress& wanted);

/// The request for a dump of all addresses, or of those of one device (0: all), and what one message of it holds.
Message encode_dump_addresses(int device);
Status take_address(const Received& message, int device, std::vector<AddressInfo>& found);
/// All addresses of the namespace, or those of one device. Nothing else may be in flight on `dumps`, which should be a
/// strict one: otherwise the kernel tells all of them, and the others are left out here.
Result<std::vector<AddressInfo>> dump_addresses(Socket& dumps, int device = 0);
/// Whether an interface of the namespace has this address.
Result<bool> has_address(Socket& route, const IpAddress& address);

/// What of a device's addresses is compared with what is `wanted`: ours all, others' where they are among those.
/// Sorted.
std::vector<policy::InterfaceAddress> addresses_of(const std::vector<AddressInfo>& there,
                                                   const std::vector<policy::InterfaceAddress>& wanted);

/// Puts these onto a device that has none yet. The error names the address that was refused.
Status add_addresses(Socket& route, int device, const std::vector<policy::InterfaceAddress>& wanted);
/// Removes what is ours and not wanted, and adds what is missing. What others have put there stays, and serves where it
/// is what is wanted. kKernelConflict: a foreign one that differs only in its length, which IPv6 cannot have beside it.
Status settle_addresses(Socket& route, Socket& dumps, int device, const std::vector<policy::InterfaceAddress>& wanted);

}  // namespace ipsec::netlink
