#pragma once

#include "policy/config.h"
#include "policy/config_reader.h"

/// Routes in the configuration: those of groups, and those that tunnels have beside their selectors'.
namespace ipsec::policy {

/// `routes` of a group.
void read_group_routes(ObjectReader& reader, TunnelGroup& group);
/// `netns` and `vrf` of a place.
void read_place(ObjectReader& reader, RoutingPlace& place);
/// `vrf_table` of a group's private side.
void read_vrf_table(ObjectReader& reader, TunnelGroup& group);
/// One text for each namespace, however it was named: "NAME" for what lies in /run/netns, "pid:N", another path, or
/// nothing for the daemon's own. Nothing when it names none.
std::optional<std::string> canonical_netns(const std::string& text);
/// `routes` of a tunnel whose children are known. Refuses a prefix twice, and one that the remote selectors of no child
/// cover: the kernel would drop what is routed there.
void read_static_routes(ObjectReader& reader, Tunnel& tunnel);

}  // namespace ipsec::policy
