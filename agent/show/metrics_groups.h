#pragma once

#include <set>

#include "agent/metrics/exposition.h"
#include "agent/show/census.h"
#include "agent/tunnel_manager.h"

/// Parts of metrics_view.h that go through all tunnels and children.
namespace ipsec::agent {

/// Tunnels, SAs and traffic of each group of the configuration.
void add_groups(const TunnelManager& manager, const Census& census, metrics::Exposition& out);
/// SAs that are on these devices.
void add_device_sas(const Census& census, const std::set<OffloadCounts::Device>& devices, metrics::Exposition& out);

}  // namespace ipsec::agent
