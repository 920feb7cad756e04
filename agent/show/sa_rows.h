#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "agent/agent.h"
#include "agent/control/backend.h"

/// Child SAs, IKE SAs and routes as the control socket shows them.
namespace ipsec::agent::show {

/// Every child of a tunnel that stays is shown, whatever rekeys while somebody reads.
std::unique_ptr<control::RowSource> child_rows(const TunnelManager& manager);
/// SAs as the kernel has them now: each is read when its row is made.
std::unique_ptr<control::RowSource> sa_rows(Agent& agent);
std::unique_ptr<control::RowSource> ike_rows(const Agent& agent);
std::unique_ptr<control::RowSource> route_rows(const Agent& agent);

/// Of one tunnel, in the keys of the rows above: "ike_sas", "children", "sas".
nlohmann::json sas_of_tunnel(Agent& agent, const TunnelRow& row);
/// Rows of List("children") of one tunnel.
std::vector<nlohmann::json> children_of_tunnel(const Agent& agent, const TunnelRow& row);
/// An IKE SA by the SPI that we chose, or the row of a child SA by that of its inbound one; null: there is none.
nlohmann::json ike_row_by_spi(const Agent& agent, std::string_view spi);
nlohmann::json sa_row_by_spi(Agent& agent, std::string_view spi);

}  // namespace ipsec::agent::show
