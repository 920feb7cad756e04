#pragma once

#include <optional>
#include <string>

#include "agent/shared_objects.h"
#include "agent/wanted_source.h"
#include "ike/actions.h"

namespace ipsec::agent {

class TunnelManager;
struct InstalledChild;

/// What a tunnel manager wants in one namespace, collected in steps: it goes from key to key of ordered maps.
class WantedHere final : public WantedSource {
 public:
  WantedHere(const TunnelManager& manager, std::string netns) : manager_(manager), netns_(std::move(netns)) {}
  More collect(Desired& into, size_t most) override;

 private:
  enum class Phase : uint8_t { kTunnels, kGroups, kShared, kChildren, kOrphans, kEnd };
  bool collect_tunnels(Desired& into, size_t most);
  void collect_groups(Desired& into);
  bool collect_children(Desired& into, size_t most);
  static void add(ike::ChildId id, const InstalledChild& child, Desired& into);
  const TunnelManager& manager_;
  std::string netns_;
  Phase phase_ = Phase::kTunnels;
  std::string tunnel_;                 // the last one, ...
  std::optional<ike::ChildId> child_;  // ... the last one, ...
  uint32_t orphan_ = 0;                // ... the reqid of the last one
  SharedObjects::Cursor shared_;
};

}  // namespace ipsec::agent
