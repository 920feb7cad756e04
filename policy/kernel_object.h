#pragma once

#include <string>
#include <variant>

#include "policy/desired_state.h"
#include "policy/kernel_port.h"

namespace ipsec::policy {

/// The packet rules of a namespace are one object.
struct AllPacketRules {
  friend auto operator<=>(const AllPacketRules&, const AllPacketRules&) = default;
};
/// The name of a link, of whatever kind.
struct LinkName {
  std::string name;
  friend auto operator<=>(const LinkName&, const LinkName&) = default;
};

/// What tells one object of a namespace from the others.
using KernelObject = std::variant<AllPacketRules, LinkName, PolicyKey, RouteKey, RuleConfig, SaKey>;

/// The object that an operation acts on.
KernelObject object_of(const KernelChange& change);

}  // namespace ipsec::policy
