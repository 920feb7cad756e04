#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// The names of all metrics. They are stable: dashboards and alerts depend on them. The number of series of a family
/// follows from the configuration (groups, namespaces, devices) and from fixed sets of words (states, reasons), never
/// from tunnels, SAs, peers or addresses.
namespace ipsec::agent::metrics {

/// New ones go to the end of their part; `families.cc` holds one row for each, in this order.
enum class MetricFamily : uint8_t {
  // The daemon
  kBuild,
  kStartTime,
  kHealth,
  kWarnings,
  kWorkers,
  kLongestTurn,
  kCarriers,
  kRoutesWaiting,
  kOrphanSas,

  // IKE
  kIkeEstablishing,
  kIkeHalfOpen,
  kIkeHalfOpenLimit,
  kIkeCookieWorkers,
  kIkeDatagrams,

  // What happened, by reason: one for each part of the catalogue
  kGeneralEvents,
  kConfigurationEvents,
  kMessageEvents,
  kNegotiationEvents,
  kLifecycleEvents,
  kKernelEvents,
  kOffloadEvents,
  kControlEvents,

  // The kernel
  kNamespaceState,
  kXfrmErrors,

  // NICs
  kDevice,
  kDeviceState,
  kDeviceSas,
  kDeviceChildren,
  kDeviceRoom,
  kDeviceLoad,
  kDeviceLosses,
  kRefusals,
  kRefusalsRemembered,
  kDisproved,
  kMoves,
  kMovesUnderWay,

  // The control socket
  kControlClients,
  kControlConnections,
  kControlCalls,
  kControlRefusals,

  // Tunnel groups
  kGroup,
  kTunnels,
  kTunnelsLimit,
  kIkeSas,
  kChildSas,
  kSas,
  kSasByReason,
  kTrafficBytes,
  kTrafficPackets,

  // The metrics themselves
  kCollectTime,
  kLeftOut,

  kCount_,  ///< How many there are; not a family.
};

inline constexpr size_t kFamilyCount = static_cast<size_t>(MetricFamily::kCount_);

/// As OpenMetrics 1.0 has them (section 5).
enum class Type : uint8_t {
  kCounter,   ///< Only grows, from 0 at the daemon's start.
  kGauge,     ///< As it is now.
  kInfo,      ///< Labels that tell what something is; its value is always 1.
  kStateSet,  ///< One series for each state, 1 for the present one and 0 for the others.
};
std::string_view to_string(Type type);

struct FamilyInfo {
  MetricFamily family;
  Type type;
  std::string_view name;         ///< Without what the type appends: _total, _info.
  std::string_view labels;       ///< Their names, separated by commas. A stateset's own label comes by itself.
  std::string_view help;         ///< One or more sentences.
  std::string_view unit = {};    ///< A base unit, as the name's end; empty: it counts objects.
  std::string_view states = {};  ///< Of a stateset, separated by commas.
};

const FamilyInfo& info(MetricFamily family);
std::span<const FamilyInfo> families();

}  // namespace ipsec::agent::metrics
