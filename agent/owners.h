#pragma once

#include "agent/shared_objects.h"
#include "agent/tunnel_rows.h"

/// Under which numbers the parts of a tunnel hold what they share: a child SA has its SPI, the others the reqid of
/// their child in the upper half.
namespace ipsec::agent {

inline SharedObjects::Owner trap_owner(const ChildRow& child) {
  return {uint64_t{child.ids.reqid} << 32, child.ids.tunnel, SharedObjects::Rank::kTrap};
}

inline SharedObjects::Owner block_owner(const ChildRow& child) {
  return {(uint64_t{child.ids.reqid} << 32) | 1, child.ids.tunnel, SharedObjects::Rank::kBlock};
}

}  // namespace ipsec::agent
