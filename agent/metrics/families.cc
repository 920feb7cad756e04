#include "agent/metrics/families.h"

#include <array>

namespace ipsec::agent::metrics {
namespace {

using enum MetricFamily;
using enum Type;

// clang-format off
constexpr std::array<FamilyInfo, kFamilyCount> kFamilies = {{
    // The daemon
    {kBuild, kInfo, "ipsecd_build", "version", "The running version."},
    {kStartTime, kGauge, "ipsecd_start_time_seconds", "", "When the daemon started, in seconds since 1970; counters begin at 0 then.", "seconds"},
    {kHealth, kStateSet, "ipsecd_health", "", "As `ipsecctl status` shows it.", "", "ok,degraded,failed"},
    {kWarnings, kGauge, "ipsecd_warnings", "", "Warnings of `ipsecctl status`."},
    {kWorkers, kGauge, "ipsecd_workers", "", "Threads that speak IKE."},
    {kLongestTurn, kGauge, "ipsecd_longest_turn_seconds", "", "Longest time for which the main thread served one round of events, since the start.", "seconds"},
    {kCarriers, kGauge, "ipsecd_carriers", "state", "GRE and IP-in-IP interfaces, by state."},
    {kRoutesWaiting, kGauge, "ipsecd_routes_waiting", "", "Routes that are not there, for another tunnel has one to the same destination."},
    {kOrphanSas, kGauge, "ipsecd_orphan_sas", "", "SAs of an earlier run that still carry traffic."},
    // IKE
    {kIkeEstablishing, kGauge, "ipsecd_ike_sas_establishing", "", "IKE SAs being set up, begun by either side."},
    {kIkeHalfOpen, kGauge, "ipsecd_ike_half_open_sas", "", "IKE SAs that peers have begun and not yet authenticated, as the limits count them."},
    {kIkeHalfOpenLimit, kGauge, "ipsecd_ike_half_open_limit", "", "node.admission.half_open_max."},
    {kIkeCookieWorkers, kGauge, "ipsecd_ike_cookie_workers", "", "Workers that have so many half-open IKE SAs that they ask every stranger for a cookie."},
    {kIkeDatagrams, kCounter, "ipsecd_ike_datagrams", "direction", "IKE datagrams received (in) and sent (out), NAT keepalives of ours included."},
    // What happened, by reason
    {kGeneralEvents, kCounter, "ipsecd_general_events", "reason", "What happened that belongs to no other part of the catalogue, by reason."},
    {kConfigurationEvents, kCounter, "ipsecd_configuration_events", "reason", "What was found wrong with configurations, by reason."},
    {kMessageEvents, kCounter, "ipsecd_ike_message_events", "reason", "IKE messages that were dropped, refused or unusual, by reason; `ipsecctl explain REASON`."},
    {kNegotiationEvents, kCounter, "ipsecd_negotiation_events", "reason", "What negotiations met, by reason; most of these failed. Those that succeeded: ike-established and child-established of ipsecd_lifecycle_events."},
    {kLifecycleEvents, kCounter, "ipsecd_lifecycle_events", "reason", "Changes in the life of tunnels, IKE SAs and child SAs, by reason."},
    {kKernelEvents, kCounter, "ipsecd_kernel_events", "reason", "What the kernel did and what was found in it, by reason; drift-mended, drift-stays and sa-lost tell of reconciliation."},
    {kOffloadEvents, kCounter, "ipsecd_offload_events", "reason", "What happened to offload, by reason."},
    {kControlEvents, kCounter, "ipsecd_control_events", "reason", "What happened on the control socket, by reason."},
    // The kernel
    {kNamespaceState, kStateSet, "ipsecd_namespace_state", "netns", "Whether what is wanted in a namespace stands there: synced; syncing (something is being put right); awaiting (it, or a VRF or device in it, is not there).", "", "synced,syncing,awaiting"},
    {kXfrmErrors, kCounter, "ipsecd_xfrm_errors", "netns,error", "Packets that a public namespace's XFRM has dropped (/proc/net/xfrm_stat), those of foreign SAs included; since the namespace is there, not since the daemon's start."},
    // NICs
    {kDevice, kInfo, "ipsecd_offload_device", "netns,device,driver,bus,firmware", "A NIC that a group may offload to, as it tells of itself."},
    {kDeviceState, kStateSet, "ipsecd_offload_device_state", "netns,device", "usable; settling (it came back a moment ago); lost (gone or down).", "", "usable,settling,lost"},
    {kDeviceSas, kGauge, "ipsecd_offload_device_sas", "netns,device,direction,mode", "SAs on a NIC, as read back from the kernel."},
    {kDeviceChildren, kGauge, "ipsecd_offload_device_children", "netns,device", "Children (pairs of SAs) that have a place on a NIC or are on their way to it."},
    {kDeviceRoom, kGauge, "ipsecd_offload_device_room_children", "netns,device,source", "Children worth placing on a NIC: configured, or learnt from its refusals. Left out while no limit is known."},
    {kDeviceLoad, kGauge, "ipsecd_offload_device_load_bytes_per_second", "netns,device", "Moving average of what the children on a NIC carry, both directions.", "bytes_per_second"},
    {kDeviceLosses, kCounter, "ipsecd_offload_device_losses", "netns,device", "How often a NIC went away or went down."},
    {kRefusals, kCounter, "ipsecd_offload_refusals", "netns,device,reason", "Installs that a NIC, or the kernel for it, has refused; each single attempt counts. What the rules know beforehand is not tried and not counted."},
    {kRefusalsRemembered, kGauge, "ipsecd_offload_refusals_remembered", "netns,device", "Kinds of SAs that a NIC is not asked for again, for it has refused them."},
    {kDisproved, kCounter, "ipsecd_offload_disproved_sas", "netns,device", "SAs that were shown on a NIC and carried nothing."},
    {kMoves, kCounter, "ipsecd_offload_moves", "netns,device,to,why,result", "Moves that were decided and ended: onto a NIC (to=\"nic\") or off it into software (to=\"software\"). result: made; elsewhere (it was placed otherwise); given-up (nothing came of it)."},
    {kMovesUnderWay, kGauge, "ipsecd_offload_moves_under_way", "", "Moves that were decided and have not ended."},
    // The control socket
    {kControlClients, kGauge, "ipsecd_control_clients", "", "Clients that are connected."},
    {kControlConnections, kCounter, "ipsecd_control_connections", "", "Clients that have connected."},
    {kControlCalls, kCounter, "ipsecd_control_calls", "", "Calls on the control socket."},
    {kControlRefusals, kCounter, "ipsecd_control_refusals", "why", "Clients and calls that were refused or given up, by why."},
    // Tunnel groups
    {kGroup, kInfo, "ipsecd_group", "group,public_netns,public_vrf,private_netns,private_vrf,attachment,offload", "Where a group's tunnels live; an empty name is the daemon's own namespace, or no VRF."},
    {kTunnels, kGauge, "ipsecd_tunnels", "group,state", "Tunnels, by state."},
    {kTunnelsLimit, kGauge, "ipsecd_tunnels_limit", "group", "tunnels_max of the group; left out where there is none."},
    {kIkeSas, kGauge, "ipsecd_ike_sas", "group,state", "IKE SAs that were established, by state."},
    {kChildSas, kGauge, "ipsecd_child_sas", "group,state", "Child SAs (pairs), by state, as `ipsecctl list children` shows them."},
    {kSas, kGauge, "ipsecd_sas", "group,direction,wanted,mode", "SAs of children, orphans aside, by the offload that is configured (wanted) and that the kernel shows (mode)."},
    {kSasByReason, kGauge, "ipsecd_sas_by_offload_reason", "group,direction,reason", "The same SAs, by why their offload is what it is."},
    {kTrafficBytes, kCounter, "ipsecd_traffic_bytes", "group,direction,mode", "Bytes carried by SAs, as seen when they were read last: each minute, where offload is configured each 5 seconds. What an SA carried between its last reading and its end is missing. Left out until a group's SAs were read.", "bytes"},
    {kTrafficPackets, kCounter, "ipsecd_traffic_packets", "group,direction,mode", "Packets, as ipsecd_traffic_bytes."},
    // The metrics themselves
    {kCollectTime, kGauge, "ipsecd_metrics_collect_seconds", "", "How long the daemon took to collect these numbers.", "seconds"},
    {kLeftOut, kGauge, "ipsecd_metrics_left_out_series", "", "Series that are not here, for there are more than the daemon shows."},
}};
// clang-format on

constexpr bool in_order() {
  for (size_t i = 0; i < kFamilies.size(); ++i)
    if (static_cast<size_t>(kFamilies[i].family) != i || kFamilies[i].name.empty() || kFamilies[i].help.empty())
      return false;
  return true;
}
static_assert(in_order(), "each family has one row, in the order of the enumeration");

}  // namespace

std::string_view to_string(Type type) {
  switch (type) {
    case kCounter: return "counter";
    case kGauge: return "gauge";
    case kInfo: return "info";
    case kStateSet: return "stateset";
  }
  return "";
}

const FamilyInfo& info(MetricFamily family) { return kFamilies[static_cast<size_t>(family) % kFamilyCount]; }
std::span<const FamilyInfo> families() { return kFamilies; }

}  // namespace ipsec::agent::metrics
