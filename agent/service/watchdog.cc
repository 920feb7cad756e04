#include "agent/service/watchdog.h"

#include <utility>

namespace ipsec::agent::service {

Watchdog::Watchdog(Duration limit, Services services)
    : limit_(limit),
      services_(std::move(services)),
      answered_(std::make_shared<std::vector<std::atomic<uint64_t>>>(services_.workers)) {}

std::optional<size_t> Watchdog::tick() {
  for (size_t worker = 0; worker < services_.workers; ++worker) {
    if ((*answered_)[worker].load(std::memory_order_relaxed) == round_) continue;
    return ++missed_ == 2 ? std::optional(worker) : std::nullopt;
  }
  missed_ = 0;
  services_.feed();
  ++round_;
  for (size_t worker = 0; worker < services_.workers; ++worker)
    services_.ask(worker, [answered = answered_, worker, round = round_] {
      (*answered)[worker].store(round, std::memory_order_relaxed);
    });
  return std::nullopt;
}

}  // namespace ipsec::agent::service
