#pragma once

#include <string>
#include <variant>
#include <vector>

#include "policy/base/reasons.h"
#include "policy/desired_state.h"
#include "policy/kernel_port.h"

/// From what stands in the kernel to what should: the operations, in the order that loses no packet. Pure. Start-up,
/// reload, lost messages and drift all take this way (architecture, decision 4).
namespace ipsec::policy {

/// Install the wanted SA of this key; whoever holds the keys turns it into AddSa.
struct InstallSa {
  SaKey key;
};

using StepChange = std::variant<InstallSa, DeleteSa, AddPolicy, UpdatePolicy, DeletePolicy, AddLink, DeleteLink,
                                AddRoute, DeleteRoute>;

struct Step {
  std::string netns;
  StepChange change;
};
std::string to_string(const Step& step);

/// Something wanted that no step can bring about.
struct Unmet {
  Reason reason;  ///< kKernelConflict: the key is taken by a foreign object. kNamespaceMissing: its own, or a link's
                  ///< public one.
  std::string netns;
  std::string object;  ///< "route 10.7.0.0/16 metric 100 dev ips1"; empty for a whole namespace.
};

/// A wanted SA that only a rekey can mend: gone while its keys must not be used again, or there and not as wanted.
struct RekeyWanted {
  std::string netns;
  SaKey key;
};

struct Difference {
  std::vector<Step> steps;
  std::vector<RekeyWanted> rekeys;
  std::vector<Unmet> unmet;
  bool empty() const { return steps.empty() && rekeys.empty() && unmet.empty(); }
};

/// Making: links, inbound SAs, policies in and forward, outbound SAs, policies out, routes. Only then breaking, in the
/// reverse order. So a replacement stands before the old one goes, no outbound policy meets traffic before its SA, and
/// a software inbound SA always stands before an outbound one on a NIC (see kernel facts: hash buckets).
///
/// Three things have no other way than to break first, each kept as short as it can be: a route whose device changed
/// under the same key, a link that is not as wanted, and the routes of ours over that link.
///
/// Foreign objects are never in a step. A wanted route over a link whose name a foreign one holds is unmet as well:
/// it would send a customer's packets into somebody else's device. Larval SAs (reserved SPIs, acquires) are left to the
/// kernel. Placement on a NIC is not compared: it is a hint, judged by hwoffload.
Difference diff(const DesiredState& desired, const ActualState& actual);

}  // namespace ipsec::policy
