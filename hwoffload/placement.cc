#include "hwoffload/placement.h"

#include <cerrno>
#include <optional>

namespace ipsec::hwoffload {
namespace {

using policy::OffloadKind;
using policy::OffloadMode;

/// Rules that need no trial: kernel behaviour that is the same everywhere (README.md names the source of each).
std::optional<Verdict> ruled_out(const SaNeeds& needs, const DeviceFacts& device, OffloadKind kind) {
  auto no = [&](Reason reason, std::string detail) { return Verdict{kind, device.name, reason, std::move(detail)}; };
  if (!device.present) return no(Reason::kOffloadNoDevice, "device " + device.name + " does not exist");
  if (!device.up) return no(Reason::kOffloadNoDevice, "device " + device.name + " is down");
  if (device.esp_offload == DeviceFacts::Known::kNo)
    return no(Reason::kOffloadSilentSoftware, device.name + " does not have the feature esp-hw-offload");
  const policy::Algorithm* cipher =
      policy::find_algorithm(policy::TransformType::kEncryption, needs.suite.encryption, needs.suite.key_bits);
  if (cipher == nullptr || !cipher->aead)
    return no(Reason::kOffloadAlgorithm, policy::to_string(needs.suite) + " is not an AEAD");
  if (needs.udp_encapsulation && kind == OffloadKind::kPacket)
    return no(Reason::kOffloadEncapsulation, "packet offload does not carry UDP encapsulation in tunnel mode");
  if (needs.rules_for_outer && kind == OffloadKind::kPacket)
    return no(Reason::kOffloadEncapsulation,
              "with packet offload the NIC writes the outer header: neither df set nor a fixed dscp is possible");
  if (needs.udp_encapsulation && needs.outer == Family::kIpv6)
    return no(Reason::kOffloadEncapsulation, "ESP in UDP over IPv6 with crypto offload fails in the kernel");
  if (needs.covers_outer && kind == OffloadKind::kPacket)
    return no(Reason::kOffloadEncapsulation,
              "the selectors include the tunnel's outer addresses: the NIC would encrypt IKE itself");
  if (needs.inner_other_family && kind == OffloadKind::kPacket)
    return no(Reason::kOffloadEncapsulation,
              "packet offload loses packets of another address family than the tunnel's");
  return std::nullopt;
}

std::vector<OffloadKind> kinds_of(OffloadMode wish) {
  switch (wish) {
    case OffloadMode::kNone: return {};
    case OffloadMode::kCrypto: return {OffloadKind::kCrypto};
    case OffloadMode::kPacket: return {OffloadKind::kPacket};
    case OffloadMode::kAuto: return {OffloadKind::kPacket, OffloadKind::kCrypto};
  }
  return {};
}

/// All rungs that were not taken: "packet on ens1: ...; crypto on ens1: ...".
std::string told(const std::vector<Verdict>& verdicts) {
  std::string text;
  for (const Verdict& each : verdicts) {
    if (!text.empty()) text.append("; ");
    text.append(policy::to_string(each.kind));
    if (!each.device.empty()) text.append(" on ").append(each.device);
    text.append(": ").append(each.detail);
  }
  return text;
}

}  // namespace

Placement place(const SaNeeds& needs, const std::vector<DeviceFacts>& devices, OffloadMode wish) {
  Placement placement{.requested = wish, .attempts = {}, .passed_over = {}};
  for (OffloadKind kind : kinds_of(wish)) {
    if (devices.empty())
      placement.passed_over.push_back({kind, "", Reason::kOffloadNoDevice, "the group names no device"});
    for (const DeviceFacts& device : devices) {
      if (auto verdict = ruled_out(needs, device, kind))
        placement.passed_over.push_back(std::move(*verdict));
      else
        placement.attempts.push_back({{kind, device.name}});
    }
  }
  placement.attempts.push_back({});
  return placement;
}

Verdict verdict_for(const policy::OffloadRequest& tried, const Error& refusal) {
  Reason reason = Reason::kOffloadRefused;
  // The kernel's own sentence; matched as text because it has no other name (see the tests on both kernels).
  if (refusal.detail().find("if_id is not supported in RX path") != std::string::npos)
    reason = Reason::kOffloadInterfaceInbound;
  if (refusal.os_errno() == ENOSPC) reason = Reason::kOffloadTableFull;
  return {tried.kind, tried.device, reason, refusal.text()};
}

Effective judge(OffloadMode requested, const policy::OffloadRequest& tried, const policy::SaState& read_back,
                const std::vector<Verdict>& earlier) {
  Effective effective{
      .requested = requested, .kind = read_back.offload, .device = read_back.offload_device, .detail = {}};
  if (read_back.offload != OffloadKind::kNone) {
    effective.reason = Reason::kOffloadEffective;
    effective.detail = told(earlier);
    return effective;
  }
  if (requested == OffloadMode::kNone) return effective;
  if (tried.kind != OffloadKind::kNone) {
    // Accepted, and the handle is missing in what is shown: the driver cannot, and the kernel did not say so.
    effective.reason = Reason::kOffloadSilentSoftware;
    effective.device = tried.device;
    effective.detail = "the kernel accepted " + std::string(policy::to_string(tried.kind)) + " offload on " +
                       tried.device + " and kept the SA in software";
    if (!earlier.empty()) effective.detail.append("; ").append(told(earlier));
    return effective;
  }
  if (!earlier.empty()) {
    effective.reason = earlier.back().reason;
    effective.device = earlier.back().device;
    effective.detail = told(earlier);
  }
  return effective;
}

}  // namespace ipsec::hwoffload
