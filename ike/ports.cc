#include "ike/ports.h"

namespace ipsec::ike {

IkeSpi WorkerSpiSource::next_ike_spi() {
  uint64_t value = 0;
  do {
    value = (random_.u64() & ~uint64_t{0xffff}) | uint64_t{node_} << 8 | worker_;
  } while (value >> 16 == 0);
  return IkeSpi(value);
}

ChildSpi WorkerSpiSource::next_child_spi() {
  uint32_t value = 0;
  do {
    value = (random_.u32() & ~uint32_t{0xff}) | worker_;
  } while (value >> 8 == 0 || !in_use_.insert(ChildSpi(value)).second);  // 0 to 255: reserved (RFC 4303 section 2.1)
  return ChildSpi(value);
}

}  // namespace ipsec::ike
