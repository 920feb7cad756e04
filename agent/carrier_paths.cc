#include <algorithm>

#include "agent/tunnel_manager.h"
#include "policy/plan_carriers.h"

// What carriers ask of the tunnels that protect them.
namespace ipsec::agent {

using policy::PathState;

Carriers::Hooks TunnelManager::carrier_hooks() {
  return {.look = [this](const policy::Carrier& carrier,
                         const policy::CarrierPath& path) { return look_at(carrier, path); },
          .next_number = [this] { return ++last_number_; },
          .event = [this](const std::string& object, Reason reason,
                          std::vector<Field> fields) { event(object, reason, std::move(fields)); },
          .wall_clock = services_.wall_clock};
}

/// All children that are to protect the carrier count: what one of them does not take would be lost.
Carriers::Path TunnelManager::look_at(const policy::Carrier& carrier, const policy::CarrierPath& path) const {
  Carriers::Path found;
  const auto known = tunnels_.find(path.tunnel->name);
  if (known == tunnels_.end()) return found;
  const TunnelRow& row = known->second;
  found.tunnel = row.number;
  if (row.leaving || !row.link_ready) return found;
  found.state = PathState::kUp;
  for (const std::string& name : path.children) {
    const auto child = row.children.find(name);
    if (child == row.children.end() || child->second.leaving) {
      found.state = PathState::kDown;
      continue;
    }
    found.state = std::min(found.state, state_for(carrier, child->second));
    const policy::InnerMtu& mtu = child->second.mtu;
    if (found.transport_bytes == 0 || mtu.bytes < found.transport_bytes)
      found.transport_bytes = mtu.bytes, found.because = mtu.because;
  }
  return found;
}

/// A peer may have agreed to less than is configured: then the child is up, and does not protect the carrier.
PathState TunnelManager::state_for(const policy::Carrier& carrier, const ChildRow& child) const {
  if (child.up.empty()) {
    if (orphans_.carry(child.ids.reqid)) return PathState::kUp;
    return child.trap ? PathState::kWaiting : PathState::kDown;
  }
  const auto installed = installer_.children().find(child.up.back());
  if (installed == installer_.children().end()) return PathState::kDown;
  const policy::ChildSpec& spec = *installed->second->spec;
  const policy::ChildConfig& config = *child.config;
  const auto is_lost = [&](uint8_t protocol) {
    return policy::takes_protocol(*child.tunnel, config.local, config.remote, protocol) &&
           !policy::takes_protocol(*child.tunnel, spec.local, spec.remote, protocol);
  };
  const std::vector<uint8_t> needed = policy::needed_protocols(carrier);
  return std::ranges::any_of(needed, is_lost) ? PathState::kDown : PathState::kUp;
}

}  // namespace ipsec::agent
