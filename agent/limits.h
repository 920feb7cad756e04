#pragma once

#include <cstddef>
#include <cstdint>

#include "policy/base/time.h"

namespace ipsec::agent {

inline constexpr size_t kWorkersMax = 64;
inline constexpr size_t kEventsKept = 65536;         ///< Events that `monitor` can still read.
inline constexpr size_t kReceiveBatch = 32;          ///< Datagrams per system call.
inline constexpr int kSocketBufferBytes = 8 << 20;   ///< Receive buffer of each UDP socket.
inline constexpr size_t kSecretFileBytesMax = 4096;  ///< Bytes of a pre-shared key's file.
inline constexpr size_t kSecretBytesMin = 8;         ///< Shorter keys are refused: they can be guessed.
inline constexpr uint32_t kStrangerReportsPerSecond =
    20;                                         ///< Log lines about peers that have not authenticated; all are counted.
inline constexpr Duration kRetryFirst = 1s;     ///< Before a failed set-up is tried again; doubles...
inline constexpr Duration kRetryMost = 60s;     ///< ... up to this.
inline constexpr Duration kDownTimeout = 10s;   ///< For a tunnel to leave the kernel when an operator takes it down.
inline constexpr Duration kOffloadWatch = 5s;   ///< Between looks whether offloaded SAs carry traffic.
inline constexpr Duration kShutdownGrace = 5s;  ///< For the answers to our Deletes when the daemon stops.
inline constexpr Duration kKernelTimeout = 5s;  ///< For the answers of the kernel when the daemon starts and stops.

}  // namespace ipsec::agent
