#pragma once

#include <cstdint>
#include <span>

namespace ipsec {

/// Randomness, injected: the daemon passes the system's generator, tests a seeded one.
class Random {
 public:
  virtual ~Random() = default;
  /// Fills `out` with unpredictable bytes. Cannot fail: a machine without randomness must not run.
  virtual void fill(std::span<uint8_t> out) = 0;

  uint64_t u64();
  uint32_t u32() { return static_cast<uint32_t>(u64() >> 32); }
  /// Uniform in [0, bound); bound must not be 0.
  uint64_t below(uint64_t bound);
};

/// The generator of libcrypto (seeded by the kernel).
class SystemRandom final : public Random {
 public:
  void fill(std::span<uint8_t> out) override;
};

/// Repeatable bytes from a seed (xoshiro256**): tests and simulation only.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed);
  void fill(std::span<uint8_t> out) override;

 private:
  uint64_t next();
  uint64_t state_[4];  // NOLINT(cppcoreguidelines-avoid-c-arrays)
};

}  // namespace ipsec
