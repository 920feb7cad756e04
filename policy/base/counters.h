#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "policy/base/reasons.h"

namespace ipsec {

/// One counter per reason. One writer (a worker), any number of readers; relaxed, because each stands for itself.
class Counters {
 public:
  void add(Reason reason, uint64_t count = 1) {
    auto& cell = cells_[static_cast<size_t>(reason)];
    cell.store(cell.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  uint64_t get(Reason reason) const { return cells_[static_cast<size_t>(reason)].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kReasonCount> cells_{};
};

}  // namespace ipsec
