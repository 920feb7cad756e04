#include "policy/config.h"

namespace ipsec::policy {

const ChildConfig* Tunnel::child(std::string_view wanted) const {
  for (const ChildConfig& each : children)
    if (each.name == wanted) return &each;
  return nullptr;
}

std::optional<IpAddress> Tunnel::local_address() const {
  if (local) return local;
  for (const IpAddress& each : group->public_addresses)
    if (!remote || each.family() == remote->family()) return each;
  return std::nullopt;
}

}  // namespace ipsec::policy
