#include "policy/base/random.h"

#include <openssl/rand.h>

#include <array>

#include "policy/base/verify.h"

namespace ipsec {

uint64_t Random::u64() {
  std::array<uint8_t, 8> bytes{};
  fill(bytes);
  uint64_t value = 0;
  for (uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

uint64_t Random::below(uint64_t bound) {
  VERIFY(bound > 0);
  // The first multiple of bound at or below 2^64 ends the fair range; values beyond it would favour small results.
  const uint64_t unfair = (UINT64_MAX % bound + 1) % bound;
  for (;;) {
    uint64_t value = u64();
    if (value <= UINT64_MAX - unfair) return value % bound;
  }
}

void SystemRandom::fill(std::span<uint8_t> out) {
  if (!out.empty()) VERIFY(RAND_bytes(out.data(), static_cast<int>(out.size())) == 1);
}

SeededRandom::SeededRandom(uint64_t seed) : state_{} {
  // splitmix64 spreads any seed, 0 included, over the whole state.
  for (uint64_t& word : state_) {
    seed += 0x9e3779b97f4a7c15;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    word = z ^ (z >> 31);
  }
}

uint64_t SeededRandom::next() {
  auto rotl = [](uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
  const uint64_t result = rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = rotl(state_[3], 45);
  return result;
}

void SeededRandom::fill(std::span<uint8_t> out) {
  for (size_t i = 0; i < out.size();) {
    uint64_t word = next();
    for (int k = 0; k < 8 && i < out.size(); ++k, word >>= 8) out[i++] = static_cast<uint8_t>(word);
  }
}

}  // namespace ipsec
