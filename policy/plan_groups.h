#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/config.h"
#include "policy/kernel_model.h"

/// What stands in a kernel for a whole group, whatever its tunnels do: its VRF, and what joins two VRFs. Pure.
namespace ipsec::policy {

/// Of the rules that send marked packets into a VRF's table: before the kernel's own for VRFs (1000).
inline constexpr uint32_t kRulePriority = 950;
/// The bits of a packet's mark that tell its VRF.
inline constexpr uint32_t kVrfMarkMask = 0xffffff00;

/// What the alternative names of VRFs that we make begin with; behind it the name itself.
inline constexpr std::string_view kVrfAltname = "ipsecd-vrf-";

/// The private VRF that is to be made if it is missing (TunnelGroup::private_vrf_table); nothing: it is used as it is.
std::optional<LinkConfig> plan_vrf(const TunnelGroup& group);

/// Whether tunnels attached by policy lead from one VRF of a namespace into another: SAs mark what they let out, and
/// rules tell by the mark where it goes on.
bool joins_vrfs(const TunnelGroup& group);
/// What SAs mark packets with that go on in this VRF (empty: in none). From its name alone, so that it is the same
/// after a restart; names whose marks collide are refused with the configuration.
Mark vrf_mark(const std::string& vrf);
/// For both families: into the private VRF, and into the public one.
std::vector<RuleConfig> plan_rules(const TunnelGroup& group);

}  // namespace ipsec::policy
