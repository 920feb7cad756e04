#pragma once

#include <mutex>
#include <unordered_set>

#include "ike/ports.h"

namespace ipsec::agent {

/// The SPIs under which this node has begun IKE SAs that still stand. A first message that carries one of them is our
/// own, sent back by somebody: without this the worker that it is steered to would be the responder of another one.
///
/// The one thing that workers share and change: written once for each IKE SA that we begin, read for a first message
/// whose SPI has the form of ours. For any thread.
class OwnSpis {
 public:
  void add(ike::IkeSpi spi);
  void remove(ike::IkeSpi spi);
  bool contains(ike::IkeSpi spi) const;

 private:
  mutable std::mutex mutex_;
  std::unordered_set<ike::IkeSpi> spis_;
};

/// SPIs of one worker, which knows those of all workers of its node.
class NodeSpiSource final : public ike::SpiSource {
 public:
  NodeSpiSource(uint8_t worker, Random& random, uint8_t node, OwnSpis& own)
      : source_(worker, random, node), node_(node), own_(own) {}
  ike::IkeSpi next_ike_spi() override { return source_.next_ike_spi(); }
  ike::ChildSpi next_child_spi() override { return source_.next_child_spi(); }
  void release(ike::ChildSpi spi) override { source_.release(spi); }
  void claim(ike::ChildSpi spi) override { source_.claim(spi); }
  void begun(ike::IkeSpi spi) override { own_.add(spi); }
  void ended(ike::IkeSpi spi) override { own_.remove(spi); }
  bool is_own(ike::IkeSpi spi) const override;

 private:
  ike::WorkerSpiSource source_;
  uint8_t node_;
  OwnSpis& own_;
};

}  // namespace ipsec::agent
