#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "agent/control/backend.h"
#include "agent/tunnel_manager.h"

/// What the control socket shows of NICs and of the children that compete for them.
namespace ipsec::agent {

/// Rows of List("devices"), and in full for Show.
std::unique_ptr<control::RowSource> device_rows(TunnelManager& manager, Instant now);
nlohmann::json device_in_full(TunnelManager& manager, const nlohmann::json& row);
/// Rows of List("seats"): the children that may be on a NIC, the busiest first.
std::unique_ptr<control::RowSource> seat_rows(const TunnelManager& manager);
/// Why the SAs of a tunnel's children are where they are, and where they would go: objects of the interface's type
/// OffloadExplanation.
nlohmann::json explain_offload(TunnelManager& manager, Instant now, const TunnelRow& row);

}  // namespace ipsec::agent
