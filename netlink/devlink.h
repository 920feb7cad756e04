#pragma once

#include <string>

#include "policy/base/bytes.h"
#include "policy/base/result.h"

/// What the kernel's devlink tells of the hardware behind a device: settings on which offload depends.
namespace ipsec::netlink {

struct DevlinkReading {
  std::string handle;         ///< "pci/0000:08:00.0"; empty: devlink knows nothing of the device.
  std::string eswitch;        ///< "legacy" or "switchdev"; empty: it has no such switch.
  std::string flow_steering;  ///< The driver's parameter flow_steering_mode (mlx5: "dmfs", "smfs", "hmfs"); or empty.
};

/// Asks by the bus address that ethtool tells ("0000:08:00.0"), in `netns` (as in netns.h). What a driver does not have
/// stays empty; an error when devlink itself cannot be asked, as in kernels without it.
Result<DevlinkReading> read_devlink(const std::string& netns, const std::string& bus);

/// Of DEVLINK_CMD_ESWITCH_GET's answer; empty for a mode that is not known here.
Result<std::string> decode_eswitch_mode(ByteView payload);
/// Of DEVLINK_CMD_PARAM_GET's answer for a text: the value at run time; empty when it has none.
Result<std::string> decode_text_parameter(ByteView payload);

}  // namespace ipsec::netlink
