#pragma once

#include <optional>
#include <string>

#include "netlink/socket.h"

/// What a device tells of itself that matters for offload.
namespace ipsec::netlink {

struct DeviceReading {
  bool up = false;                    ///< Administratively, and running.
  std::string kind;                   ///< "bond", "vlan", "veth"; empty for a plain device.
  std::string driver, bus, firmware;  ///< As `ethtool -i` shows them; empty: the device does not tell.
  std::optional<bool> esp_offload;    ///< The feature esp-hw-offload; nothing: this kernel has no such feature.
  std::string lower;                  ///< The device below a VLAN, the active member of a bond; empty: none.
  bool representor = false;           ///< A switch port of a NIC that stands for a function of it.
};

/// Over a NETLINK_ROUTE socket of its namespace: links by netlink, driver and features by ethtool's ioctl, which the
/// same socket takes (ethtool over netlink does not tell drivers). kDeviceMissing when there is none of this name.
Result<DeviceReading> read_device(Socket& route, const std::string& name);

/// Packets that an interface has sent by its own counter.
Result<uint64_t> sent_packets(Socket& route, const std::string& name);

}  // namespace ipsec::netlink
