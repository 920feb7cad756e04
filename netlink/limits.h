#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ipsec::netlink {

inline constexpr size_t kBatchMessagesMax = 64;      ///< Requests in one sendmsg.
inline constexpr size_t kBatchBytesMax = 64 << 10;   ///< Bytes in one sendmsg; the send buffer holds 3 times that.
inline constexpr size_t kInFlightMax = 1024;         ///< Requests without an answer, per socket.
inline constexpr int kReceiveBufferBytes = 8 << 20;  ///< Asked for; net.core.rmem_max bounds it without CAP_NET_ADMIN.
inline constexpr size_t kReceiveChunkBytes = 64 << 10;  ///< One recvmsg; the kernel fills at most 32 KiB of a dump.
inline constexpr int kDumpTriesMax = 8;                 ///< Starts of a dump that changes made inconsistent.
inline constexpr std::chrono::milliseconds kFlushTurnMax{2};     ///< For operations that leave with one flush.
inline constexpr std::chrono::milliseconds kReplyTimeout{5000};  ///< From sending to giving up.
inline constexpr size_t kQueuedOperationsMax = 1 << 20;          ///< Submitted and not yet sent, per port.
inline constexpr size_t kEventsMax = 8192;                       ///< Read and not yet polled, per port; then a resync.
inline constexpr size_t kNamespacesMax = 4096;                   ///< Namespaces with open sockets, per port.
inline constexpr size_t kRemovedAtOnceMin = 4;                   ///< Interfaces; fewer are removed one by one.
inline constexpr uint32_t kDfSasMax = 1 << 17;                   ///< SAs with `df: set`, per namespace with programs.
inline constexpr uint32_t kDfPlacesMax = 1 << 16;  ///< Destinations, and interfaces, with `inner_df: clear`; the same.
inline constexpr size_t kDfDevicesMax = 256;       ///< Devices with our programs, per namespace: each costs a wait.
inline constexpr uint8_t kRouteProtocol = 50;      ///< Of our routes, unless configured otherwise.
inline constexpr size_t kJournalLineMax = 4096;    ///< Bytes of one record.
inline constexpr size_t kJournalBytesMax = 1 << 30;      ///< More of a file is not read.
inline constexpr size_t kJournalObjectsMax = 8'000'000;  ///< Objects of one journal.
inline constexpr size_t kJournalReserve = 256 << 10;  ///< Bytes that are kept for rekeys, beside half of all records.
inline constexpr size_t kJournalStep = 64 << 10;      ///< The size of its files is a multiple of this.
inline constexpr uint64_t kJournalFreeLow = 4 << 20;  ///< A file system with less free space is nearly full.

}  // namespace ipsec::netlink
