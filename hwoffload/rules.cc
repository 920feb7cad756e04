#include "hwoffload/rules.h"

#include <algorithm>

namespace ipsec::hwoffload {
namespace {

using policy::OffloadKind;

uint32_t cipher_of(uint16_t encryption) {
  if (encryption == policy::kEncrAesGcm16) return 1;
  return encryption == policy::kEncrChaCha20Poly1305 ? 2 : 0;
}

uint32_t value_of(const SaNeeds& needs, OffloadKind kind, Property property) {
  switch (property) {
    case Property::kKind: return kind == OffloadKind::kCrypto ? 1 : 2;
    case Property::kDirection: return needs.direction == policy::Direction::kIn ? 0 : 1;
    case Property::kMode: return needs.mode == policy::EspMode::kTunnel ? 0 : 1;
    case Property::kCipher: return cipher_of(needs.suite.encryption);
    case Property::kKeyBits: return needs.suite.key_bits;
    case Property::kEsn: return needs.suite.esn ? 1 : 0;
    case Property::kWindow: return needs.replay_window;
    case Property::kUdp: return needs.udp_encapsulation ? 1 : 0;
    case Property::kProtocols: return needs.other_protocols ? 1 : 0;
    case Property::kHardVolume: return needs.hard_volume_only ? 1 : 0;
  }
  return 0;
}

bool concerns(const DriverRule& rule, const SaNeeds& needs, const std::string& driver, OffloadKind kind) {
  const uint8_t of_kind = kind == OffloadKind::kCrypto ? 1 : 2;
  const uint8_t of_direction = needs.direction == policy::Direction::kIn ? 1 : 2;
  const uint8_t of_mode = needs.mode == policy::EspMode::kTunnel ? 1 : 2;
  return rule.driver == driver && (rule.kinds & of_kind) != 0 && (rule.directions & of_direction) != 0 &&
         (rule.modes & of_mode) != 0;
}

/// Collects what rules an offload out.
class Refusals {
 public:
  Refusals(OffloadKind kind, const std::string& device) : kind_(kind), device_(device) {}
  void add(Reason reason, std::string detail, std::string remedy = {}, std::string source = {}) {
    all_.push_back({kind_, device_, reason, std::move(detail), std::move(remedy), std::move(source)});
  }
  std::vector<Verdict> take() { return std::move(all_); }

 private:
  OffloadKind kind_;
  const std::string& device_;
  std::vector<Verdict> all_;
};

/// What an operator can set by devlink.
void by_hardware_settings(Refusals& refusals, const DeviceFacts& device, OffloadKind kind) {
  const bool by_driver = !device.flow_steering.empty() && device.flow_steering != "dmfs";
  if (kind != OffloadKind::kPacket || device.driver != "mlx5_core" || device.eswitch != "switchdev" || !by_driver)
    return;
  refusals.add(
      Reason::kOffloadUnsupported,
      "in switchdev mode packet offload needs the device's own flow steering (dmfs), which is " + device.flow_steering,
      "devlink dev param set " + device.devlink +
          " name flow_steering_mode value dmfs cmode runtime, or devlink dev eswitch set " + device.devlink +
          " mode legacy",
      "mellanox/mlx5/core/en_accel/ipsec_offload.c, mlx5_ipsec_device_caps()");
}

/// What the device is and where it stands.
void by_device(Refusals& refusals, const DeviceFacts& device, OffloadKind kind, policy::Direction direction) {
  if (!device.present)
    return refusals.add(Reason::kOffloadNoDevice, "device " + device.name + " does not exist",
                        "offload.devices of the group names it; `ip link` shows those of its public namespace");
  if (!device.up)
    refusals.add(Reason::kOffloadNoDevice, "device " + device.name + " is down", "ip link set " + device.name + " up",
                 "xfrm_dev_down(): a device that goes down drops its SAs");
  if (!device.cannot_because.empty())
    return refusals.add(Reason::kOffloadNoDevice, device.cannot_because, "name the NIC itself in offload.devices");
  if (const KnownDriver* known = find_driver(device.driver)) {
    if ((kind == OffloadKind::kCrypto ? known->crypto : known->packet) == Known::kNo)
      refusals.add(Reason::kOffloadUnsupported,
                   "driver " + device.driver + " has no " + std::string(policy::to_string(kind)) + " offload",
                   "another NIC, or another offload.mode", std::string(known->source));
  } else if (device.esp_offload == Known::kNo) {
    refusals.add(Reason::kOffloadUnsupported, device.name + " does not have the feature esp-hw-offload",
                 "ethtool -K " + device.name + " esp-hw-offload on, where the driver has it",
                 "xfrm_dev_state_add(): crypto would be taken and stay in software");
  }
  by_hardware_settings(refusals, device, kind);
  const bool policies = kind == OffloadKind::kPacket && device.probed.policy.known == Known::kNo;
  const ProbedDevice::Answer& probed = policies ? device.probed.policy : device.probed.of(kind, direction);
  if (probed.known == Known::kNo)
    refusals.add(Reason::kOffloadRefused, "a trial was refused: " + probed.words, "", "probe of " + device.name);
  const bool elsewhere =
      !device.path_device.empty() && device.path_device != device.name && device.path_device != device.worker;
  if (elsewhere)
    refusals.add(Reason::kOffloadNoDevice, "packets to the peer leave by " + device.path_device,
                 "a route to the peer by " + device.name + ", or " + device.path_device + " in offload.devices",
                 "xfrm_dev_offload_ok(): what leaves by another device is not offloaded");
}

/// What the kernel and ESP have to say, whatever the device.
void by_kernel(Refusals& refusals, const SaNeeds& needs, const DeviceFacts& device, const KernelFacts& kernel,
               OffloadKind kind) {
  const bool packet = kind == OffloadKind::kPacket;
  const policy::Algorithm* cipher =
      policy::find_algorithm(policy::TransformType::kEncryption, needs.suite.encryption, needs.suite.key_bits);
  if (find_driver(device.driver) == nullptr && (cipher == nullptr || !cipher->aead))
    refusals.add(Reason::kOffloadAlgorithm, policy::to_string(needs.suite) + " is not an AEAD", "propose AES-GCM",
                 "all drivers of Linux but nfp take AEADs only");
  const bool into_interface = needs.direction == policy::Direction::kIn && needs.has_if_id;
  if (into_interface && kernel.inbound_if_id == Known::kNo)
    refusals.add(Reason::kOffloadInterfaceInbound, "XFRM if_id is not supported in RX path",
                 "attachment policy, where inbound has to be on the NIC too",
                 "xfrm_dev_state_add() of this kernel, asked at the start");
  else if (into_interface && packet)
    refusals.add(Reason::kOffloadInterfaceInbound,
                 "what a NIC decrypts with packet offload does not get into the tunnel's interface",
                 "attachment policy, where inbound has to be on the NIC too, or offload.mode crypto",
                 "older kernels take the SA and lose its packets: measured in the lab, with 6.12");
  if (packet && needs.udp_encapsulation && needs.mode == policy::EspMode::kTunnel)
    refusals.add(Reason::kOffloadEncapsulation, "packet offload does not carry UDP encapsulation in tunnel mode",
                 "no NAT between the peers, or offload.mode crypto", "no driver of Linux takes it");
  if (packet && needs.rules_for_outer)
    refusals.add(Reason::kOffloadEncapsulation,
                 "with packet offload the NIC writes the outer header: neither df set nor a fixed dscp is possible",
                 "child policy df copy or clear, dscp copy or zero");
  if (!packet && needs.udp_encapsulation && needs.outer == Family::kIpv6)
    refusals.add(Reason::kOffloadEncapsulation, "ESP in UDP over IPv6 with crypto offload fails in the kernel", "",
                 "esp6_output_head(), measured in the lab");
  if (packet && needs.covers_outer)
    refusals.add(Reason::kOffloadEncapsulation,
                 "the selectors include the tunnel's outer addresses: the NIC would encrypt IKE itself",
                 "selectors that leave the gateways' own addresses out", "the NIC looks policies up too");
  if (packet && needs.inner_other_family)
    refusals.add(Reason::kOffloadEncapsulation,
                 "packet offload loses packets of another address family than the tunnel's",
                 "a tunnel over the inner family, or offload.mode crypto", "measured in the lab");
}

}  // namespace

std::string_view to_string(Known known) {
  switch (known) {
    case Known::kUnknown: return "unknown";
    case Known::kNo: return "no";
    case Known::kYes: return "yes";
  }
  return "";
}

std::vector<Verdict> refusals(const SaNeeds& needs, const DeviceFacts& device, const KernelFacts& kernel,
                              OffloadKind kind) {
  Refusals found(kind, device.name);
  by_device(found, device, kind, needs.direction);
  if (!device.present) return found.take();
  by_kernel(found, needs, device, kernel, kind);
  for (const DriverRule& rule : driver_rules()) {
    if (!concerns(rule, needs, device.driver, kind)) continue;
    if (!rule.allowed.contains(value_of(needs, kind, rule.property)))
      found.add(rule.reason, std::string(rule.driver) + ": " + std::string(rule.says), std::string(rule.remedy),
                std::string(rule.source));
  }
  return found.take();
}

}  // namespace ipsec::hwoffload
