#include <doctest/doctest.h>

#include "ike/ports.h"
#include "tests/support/engine_world.h"

using namespace ipsec;
using namespace ipsec::ike;

namespace {

/// Gives the same value `times` times, then the next.
class StutteringRandom final : public Random {
 public:
  explicit StutteringRandom(uint8_t times) : times_(times) {}
  void fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(calls_ / times_ + 1);
    ++calls_;
  }

 private:
  uint8_t times_, calls_ = 0;
};

}  // namespace

TEST_CASE("SPIs: a child SPI that is in use is not chosen again, even if chance offers it") {
  StutteringRandom random(3);
  WorkerSpiSource spis(7, random);

  const ChildSpi first = spis.next_child_spi();
  const ChildSpi second = spis.next_child_spi();

  CHECK(first != second);
  CHECK(worker_of(second) == 7);
}

TEST_CASE("SPIs: one that was given back may be chosen again, a claimed one may not") {
  StutteringRandom random(4);
  WorkerSpiSource spis(7, random);

  const ChildSpi first = spis.next_child_spi();
  spis.release(first);
  CHECK(spis.next_child_spi() == first);
  spis.release(first);
  spis.claim(first);
  CHECK(spis.next_child_spi() != first);
}
