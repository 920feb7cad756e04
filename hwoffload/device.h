#pragma once

#include <optional>
#include <string>
#include <vector>

#include "policy/kernel_model.h"

/// What is known of NICs and of the kernel without trying, and how it is known.
namespace ipsec::hwoffload {

enum class Known : uint8_t { kUnknown, kNo, kYes };
std::string_view to_string(Known known);

/// What of an offload the running kernel itself has to say, whatever the device.
struct KernelFacts {
  Known inbound_if_id = Known::kUnknown;  ///< Inbound offload of an SA with an interface id.
  friend bool operator==(const KernelFacts&, const KernelFacts&) = default;
};

/// What a device was found to do by a trial, where that is allowed.
struct ProbedDevice {
  struct Answer {
    Known known = Known::kUnknown;
    std::string words = {};  ///< The kernel's, where it said no.
    friend bool operator==(const Answer&, const Answer&) = default;
  };
  bool asked = false;
  bool left_behind = false;  ///< A trial could not be taken out again.
  Answer crypto_in, crypto_out, packet_in, packet_out, policy;
  Answer& of(policy::OffloadKind kind, policy::Direction direction) {
    const bool in = direction == policy::Direction::kIn;
    if (kind == policy::OffloadKind::kCrypto) return in ? crypto_in : crypto_out;
    return in ? packet_in : packet_out;
  }
  const Answer& of(policy::OffloadKind kind, policy::Direction direction) const {
    return const_cast<ProbedDevice*>(this)->of(kind, direction);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  }
  friend bool operator==(const ProbedDevice&, const ProbedDevice&) = default;
};

/// What is known of a device: from links, ethtool and what it was seen to do. Unknown stays unknown.
struct DeviceFacts {
  std::string name;
  bool present = false;
  bool up = false;
  Known esp_offload = Known::kUnknown;  ///< The ethtool feature esp-hw-offload: says crypto, and nothing of packet.
  std::string driver;                   ///< Of the device that does the work; empty: unknown.
  std::string bus;                      ///< Its bus address, as ethtool tells.
  std::string firmware;
  std::string devlink;        ///< Its name there ("pci/0000:08:00.0"); empty: unknown, as the next two.
  std::string eswitch;        ///< "legacy" or "switchdev".
  std::string flow_steering;  ///< The driver's parameter flow_steering_mode: "dmfs", "smfs", "hmfs".
  ProbedDevice probed;
  std::string worker;          ///< The device that does the work, where it is another one (a bond's active member).
  std::string cannot_because;  ///< A device that passes nothing on to one that could; empty: none of those.
  /// The device that packets to the peer leave by; empty: unknown.
  std::string path_device;
  friend bool operator==(const DeviceFacts&, const DeviceFacts&) = default;
};

}  // namespace ipsec::hwoffload
