#pragma once

#include <string>
#include <vector>

#include "hwoffload/rules.h"
#include "policy/base/result.h"
#include "policy/config.h"

/// Where an SA goes: onto a NIC or into software, decided before it is tried, with the reason of each step.
namespace ipsec::hwoffload {

/// One rung: what to ask the kernel for next. The last one is always software.
struct Attempt {
  policy::OffloadRequest request;
};

/// What was decided about a child before any rule is asked: by the budget of the devices, or by an operator.
struct SeatDecision {
  bool software = false;    ///< Not onto any NIC, because of `why`.
  std::string device = {};  ///< The NIC that is tried first; empty: in the group's order.
  Reason why = Reason::kNone;
  std::string detail = {};
};

/// Where and when an SA is placed.
struct Situation {
  std::vector<DeviceFacts> devices;  ///< Of the group, in its order.
  KernelFacts kernel = {};
  SeatDecision seat = {};
  std::vector<Verdict> learnt = {};  ///< What was refused before to SAs like this one.
};

struct Placement {
  policy::OffloadMode requested = policy::OffloadMode::kNone;
  std::vector<Attempt> attempts;     ///< In order; the first one that the kernel takes counts.
  std::vector<Verdict> passed_over;  ///< What was ruled out beforehand: everything that did, in the order of the rungs.
};

/// Pure. `wish` none: software only. crypto, packet: that, then software with the reason. auto: packet, crypto,
/// software. The first rung is what is predicted.
Placement place(const SaNeeds& needs, const Situation& situation, policy::OffloadMode wish);
/// "packet on ens1: ...; crypto on ens1: ...".
std::string told(const std::vector<Verdict>& verdicts);

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
