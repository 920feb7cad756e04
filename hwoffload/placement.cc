#include "hwoffload/placement.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace ipsec::hwoffload {
namespace {

using policy::OffloadKind;
using policy::OffloadMode;

std::vector<OffloadKind> kinds_of(OffloadMode wish) {
  switch (wish) {
    case OffloadMode::kNone: return {};
    case OffloadMode::kCrypto: return {OffloadKind::kCrypto};
    case OffloadMode::kPacket: return {OffloadKind::kPacket};
    case OffloadMode::kAuto: return {OffloadKind::kPacket, OffloadKind::kCrypto};
  }
  return {};
}

/// The group's devices, that of the seat first.
std::vector<const DeviceFacts*> in_order(const Situation& situation) {
  std::vector<const DeviceFacts*> order;
  for (const DeviceFacts& each : situation.devices) order.push_back(&each);
  std::stable_partition(order.begin(), order.end(),
                        [&](const DeviceFacts* each) { return each->name == situation.seat.device; });
  return order;
}

}  // namespace

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

Placement place(const SaNeeds& needs, const Situation& situation, OffloadMode wish) {
  Placement placement{.requested = wish, .attempts = {}, .passed_over = {}};
  const std::vector<const DeviceFacts*> devices = in_order(situation);
  for (OffloadKind kind : kinds_of(wish)) {
    if (devices.empty())
      placement.passed_over.push_back(
          {kind, "", Reason::kOffloadNoDevice, "the group names no device", "offload.devices of the group", ""});
    for (const DeviceFacts* device : devices) {
      std::vector<Verdict> against = refusals(needs, *device, situation.kernel, kind);
      for (const Verdict& each : situation.learnt)
        if (each.kind == kind && each.device == device->name) against.push_back(each);
      if (against.empty() && situation.seat.software)
        against.push_back({kind, device->name, situation.seat.why, situation.seat.detail, "", ""});
      if (against.empty()) placement.attempts.push_back({{kind, device->name}});
      std::ranges::move(against, std::back_inserter(placement.passed_over));
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
  return {tried.kind, tried.device, reason, refusal.text(), "", "the kernel"};
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
    // Of the last rung the first reason: what rules most devices out comes first.
    const auto last = std::ranges::find_if(earlier, [&](const Verdict& each) {
      return each.kind == earlier.back().kind && each.device == earlier.back().device;
    });
    effective.reason = last->reason;
    effective.device = last->device;
    effective.detail = told(earlier);
  }
  return effective;
}

}  // namespace ipsec::hwoffload
