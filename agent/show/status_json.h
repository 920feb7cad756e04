#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/show/census.h"
#include "agent/tunnel_manager.h"

namespace ipsec::agent {

/// What `status` shows besides what the tunnel manager knows.
struct StatusFacts {
  std::string version;
  uint64_t node_id = 0;
  std::string started_at;  ///< RFC 3339.
  size_t workers = 0;
  std::vector<std::string> warnings;
  std::function<uint64_t(Reason)> count;  ///< Of all threads.
};

/// The interface's type State.
nlohmann::json status_json(const TunnelManager& manager, const Census& census, const StatusFacts& facts);
/// Installs that NICs have refused: rows of the interface's type OffloadRefusals.
nlohmann::json refusals_json(const OffloadBook& book);

}  // namespace ipsec::agent
