#pragma once

#include <string>
#include <vector>

#include "policy/base/result.h"
#include "policy/config.h"
#include "policy/kernel_model.h"

/// Where an SA goes: onto a NIC or into software, decided before it is tried, with the reason of each step.
namespace ipsec::hwoffload {

/// What is known of a device without trying. From links and ethtool; `unknown` stays unknown.
struct DeviceFacts {
  std::string name;
  bool present = false;
  bool up = false;
  enum class Known : uint8_t { kUnknown, kNo, kYes };
  Known esp_offload = Known::kUnknown;  ///< The ethtool feature esp-hw-offload: says crypto, and nothing of packet.
};

/// What of an SA matters for placement.
struct SaNeeds {
  policy::Direction direction = policy::Direction::kIn;
  policy::EspSuite suite;
  policy::EspMode mode = policy::EspMode::kTunnel;
  bool has_if_id = false;
  bool udp_encapsulation = false;
  bool rules_for_outer = false;  ///< Packet rules write the outer header (df set, a fixed dscp).
  Family outer = Family::kIpv4;
  bool covers_outer = false;        ///< The selectors include the tunnel's own outer addresses, so IKE too.
  bool inner_other_family = false;  ///< Some selector is of another family than the outer addresses.
};

/// One rung: what to ask the kernel for next. The last one is always software.
struct Attempt {
  policy::OffloadRequest request;
};

/// A rule that decided, for people: "packet on ens1: UDP encapsulation cannot be offloaded".
struct Verdict {
  policy::OffloadKind kind = policy::OffloadKind::kNone;
  std::string device;
  Reason reason = Reason::kNone;
  std::string detail;
};

struct Placement {
  policy::OffloadMode requested = policy::OffloadMode::kNone;
  std::vector<Attempt> attempts;     ///< In order; the first one that the kernel takes counts.
  std::vector<Verdict> passed_over;  ///< What the rules ruled out beforehand.
};

/// Pure. `wish` none: software only. crypto, packet: that, then software with the reason. auto: packet, crypto,
/// software.
Placement place(const SaNeeds& needs, const std::vector<DeviceFacts>& devices, policy::OffloadMode wish);

/// How an install ended, per direction: what `show` and `list sas` print.
struct Effective {
  policy::OffloadMode requested = policy::OffloadMode::kNone;
  policy::OffloadKind kind = policy::OffloadKind::kNone;  ///< As read back.
  std::string device;
  Reason reason = Reason::kOffloadNotRequested;  ///< Why it is what it is.
  std::string detail;                            ///< The kernel's own words, or the rule's.
};

/// Compares what was asked for with what the kernel shows.
Effective judge(policy::OffloadMode requested, const policy::OffloadRequest& tried, const policy::SaState& read_back,
                const std::vector<Verdict>& earlier);

/// The verdict for an attempt that the kernel refused.
Verdict verdict_for(const policy::OffloadRequest& tried, const Error& refusal);

}  // namespace ipsec::hwoffload
