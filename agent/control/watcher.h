#pragma once

#include <functional>

#include "policy/base/result.h"

namespace ipsec::agent::control {

/// What the server needs of an event loop: handlers run on one thread, one at a time, while the descriptor is readable
/// (or writable, if asked for); a handler may forget its own descriptor.
struct Watcher {
  enum class Interest : uint8_t { kRead, kReadWrite };
  std::function<Status(int fd, Interest interest, std::function<void()> handler)> watch;
  std::function<Status(int fd, Interest interest)> change;
  std::function<void(int fd)> forget;
  /// Runs a function once all that is ready now has had its turn.
  std::function<void(std::function<void()>)> post;
};

}  // namespace ipsec::agent::control
