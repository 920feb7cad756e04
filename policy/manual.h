#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/base/result.h"
#include "policy/child_spec.h"
#include "policy/kernel_model.h"

/// SAs with keys that nobody negotiates (RFC 4301 section 4.5.1): what they are instead of what IKE would make. Pure.
namespace ipsec::policy {

/// The one suite of a child policy that such an SA can have: a cipher in CBC mode with an HMAC, without ESN, for nobody
/// knows whether the receiver has a window. Error kConfigConflict: what would be right, and why.
Result<EspSuite> manual_suite(const ChildPolicy& policy);

/// The child as IKE would have negotiated it. Only for children of a valid configuration.
std::shared_ptr<const ChildSpec> manual_spec(std::shared_ptr<const Tunnel> tunnel, const ChildConfig& child);

/// The inbound SPIs of all such children: nobody else may choose them.
std::vector<ChildSpi> manual_spis(const Config& config);

/// What both SAs of such a child are apart from others: they have no end, for nothing would replace them; no replay
/// protection, because the sender's numbers begin anew with each of its restarts; and they send on when the sequence
/// numbers are used up (RFC 4303 section 3.3.3).
void make_manual(SaConfig& inbound, SaConfig& outbound);

/// The keys of both directions of one child.
struct ManualKeys {
  ChildKeys in, out;
  ManualKeys clone() const { return {{in.material.clone()}, {out.material.clone()}}; }
  /// In constant time.
  friend bool operator==(const ManualKeys& a, const ManualKeys& b);
};

}  // namespace ipsec::policy
