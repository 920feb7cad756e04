#pragma once

#include "hwoffload/rules.h"
#include "policy/plan.h"

/// What of a child, negotiated or only planned, matters for its place on a NIC.
namespace ipsec::agent {

hwoffload::SaNeeds needs_of(const policy::ChildSpec& spec, const policy::ChildPlan& plan, policy::Direction direction);

/// What IKE would agree on for a child if the peer took our first proposal and our selectors, and no NAT were between
/// us. Error kTsUnacceptable, kSelectorCount as plan_child(); kNotFound without addresses of both ends.
Result<std::shared_ptr<const policy::ChildSpec>> expected_spec(const std::shared_ptr<const policy::Tunnel>& tunnel,
                                                               const policy::ChildConfig& child);

}  // namespace ipsec::agent
