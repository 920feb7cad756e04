#pragma once

#include <functional>
#include <map>
#include <string>

#include "agent/control/server_counters.h"
#include "agent/metrics/exposition.h"
#include "agent/show/census.h"
#include "agent/tunnel_manager.h"
#include "agent/worker.h"

namespace ipsec::agent {

/// Namespaces whose XFRM counters are read for one exposition; those of more are left out.
inline constexpr size_t kMetricsNamespacesMax = 64;

/// Where the numbers come from.
struct MetricsSources {
  TunnelManager& manager;
  const Census& census;  ///< Complete.
  std::string version;
  WallTime started_at;
  std::string health;   ///< As `status` shows it, with ...
  size_t warnings = 0;  ///< ... so many warnings.
  WorkerTotals workers;
  Duration longest_turn{0};               ///< Of the main thread, since its start.
  std::function<uint64_t(Reason)> count;  ///< Of all threads.
  /// /proc/net/xfrm_stat of a namespace.
  std::function<Result<std::map<std::string, uint64_t>>(const std::string& netns)> xfrm_stat;
  control::ServerCounters control;
  size_t clients = 0;  ///< Of the control socket.
};

/// All numbers but those of the metrics themselves, made of a census of tunnels and children and of what else there is
/// at this moment. Asks the kernel nothing about SAs. What is not known has no series.
metrics::Exposition collect_metrics(const MetricsSources& sources);
/// Adds how long that took, and what had to be left out.
void finish_metrics(metrics::Exposition& numbers, Duration took);

}  // namespace ipsec::agent
