#include "agent/own_spis.h"

namespace ipsec::agent {

void OwnSpis::add(ike::IkeSpi spi) {
  const std::lock_guard lock(mutex_);
  spis_.insert(spi);
}

void OwnSpis::remove(ike::IkeSpi spi) {
  const std::lock_guard lock(mutex_);
  spis_.erase(spi);
}

bool OwnSpis::contains(ike::IkeSpi spi) const {
  const std::lock_guard lock(mutex_);
  return spis_.contains(spi);
}

bool NodeSpiSource::is_own(ike::IkeSpi spi) const {
  // The form decides for nearly every stranger, so that a flood does not meet at the lock.
  return ike::node_of(spi) == node_ && own_.contains(spi);
}

}  // namespace ipsec::agent
