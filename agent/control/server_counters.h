#pragma once

#include <cstdint>

namespace ipsec::agent::control {

/// What the server counts since its start.
struct ServerCounters {
  uint64_t accepted = 0;
  uint64_t refused_clients = 0;  ///< Because there were too many.
  uint64_t calls = 0;
  uint64_t bad_messages = 0;  ///< Not a call; the client was disconnected.
  uint64_t denied_calls = 0;
  uint64_t floods = 0;        ///< Disconnected for sending more than is taken.
  uint64_t slow_clients = 0;  ///< Disconnected for falling behind the events that are kept.
  uint64_t replies_too_large = 0;
};

}  // namespace ipsec::agent::control
