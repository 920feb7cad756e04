#pragma once

#include <unordered_set>

#include "policy/base/random.h"
#include "policy/base/strong.h"
#include "policy/child_spec.h"

namespace ipsec::ike {

using IkeSpi = Strong<struct IkeSpiTag, uint64_t>;  ///< 0: not yet known.
using policy::ChildSpi;

/// Chooses SPIs so that they tell which worker (and node) they belong to (architecture, decision 8). Never returns one
/// twice while it is in use; the engine says when one is free again.
class SpiSource {
 public:
  virtual ~SpiSource() = default;
  virtual IkeSpi next_ike_spi() = 0;
  virtual ChildSpi next_child_spi() = 0;
  virtual void release(ChildSpi spi) = 0;
  /// A restored child uses `spi` already.
  virtual void claim(ChildSpi spi) = 0;
  /// We begin, or have taken over, an IKE SA under `spi`; it has ended.
  virtual void begun(IkeSpi) {}
  virtual void ended(IkeSpi) {}
  /// Whether this node, in whichever worker, has begun an IKE SA under `spi` that still stands.
  virtual bool is_own(IkeSpi) const { return false; }
};

/// SPIs as the daemon makes them: the worker (and for IKE the node) in the low bits, the rest random.
/// IKE SPI: 64 bits, bits 15..8 the node, bits 7..0 the worker. Child SPI: bits 31..8 random (never 0), bits 7..0 the
/// worker.
class WorkerSpiSource final : public SpiSource {
 public:
  WorkerSpiSource(uint8_t worker, Random& random, uint8_t node = 0) : worker_(worker), node_(node), random_(random) {}
  IkeSpi next_ike_spi() override;
  ChildSpi next_child_spi() override;
  void release(ChildSpi spi) override { in_use_.erase(spi); }
  void claim(ChildSpi spi) override { in_use_.insert(spi); }

 private:
  uint8_t worker_, node_;
  Random& random_;
  std::unordered_set<ChildSpi> in_use_;  ///< 24 random bits meet again soon: among 10,000 children thrice.
};

/// The worker that an SPI of ours belongs to.
inline uint8_t worker_of(IkeSpi spi) { return static_cast<uint8_t>(spi.value()); }
inline uint8_t node_of(IkeSpi spi) { return static_cast<uint8_t>(spi.value() >> 8); }
inline uint8_t worker_of(ChildSpi spi) { return static_cast<uint8_t>(spi.value()); }

}  // namespace ipsec::ike
