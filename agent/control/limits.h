#pragma once

#include <cstddef>

#include "policy/base/time.h"

namespace ipsec::agent::control {

/// Clients connected at one time; the last ones are kept free for root, so that readers cannot lock the operator out.
inline constexpr size_t kClientsMax = 64;
inline constexpr size_t kClientsReservedForRoot = 8;
/// Bytes of one request, and of all requests a client has sent ahead. The large one is for callers that may write.
inline constexpr size_t kRequestBytesMax = size_t{64} << 20;
inline constexpr size_t kRequestBytesMaxReader = size_t{4} << 20;
/// Bytes of one reply.
inline constexpr size_t kReplyBytesMax = size_t{64} << 20;
/// Reply bytes that wait for all clients together; a reply that does not fit is answered with an error instead.
inline constexpr size_t kQueuedBytesMax = size_t{256} << 20;
/// While a client has this many reply bytes waiting, no more are made for it.
inline constexpr size_t kQueuedBytesPause = size_t{128} << 10;
/// Nesting of objects and arrays in a request.
inline constexpr size_t kJsonDepthMax = 32;
/// Bytes of a request that is taken apart on the main thread; larger ones are on a thread of their own.
inline constexpr size_t kInlineBytesMax = size_t{64} << 10;
/// Time of the main thread that all clients together have before the rest of the daemon has its turn, and of one client
/// before the others have theirs.
inline constexpr Duration kTurnMax = 5ms;
inline constexpr Duration kClientTurnMax = 2ms;
/// Rows, or about as much work, in one step of an answer: well below a millisecond.
inline constexpr size_t kRowsPerStep = 50;
/// Rows in one reply of a streamed list, and in the only reply when the caller did not ask for `more`.
inline constexpr size_t kRowsPerReply = 200;
inline constexpr size_t kRowsMaxUnstreamed = 10000;
/// Bytes of text in one reply of a streamed one.
inline constexpr size_t kTextBytesPerReply = size_t{64} << 10;
/// Events in one reply.
inline constexpr size_t kEventsPerReply = 64;
/// Calls answered, or parts of a stream made, for one client before the others have their turn.
inline constexpr size_t kStepsPerTurn = 16;
/// Bytes taken from one client before the others have their turn.
inline constexpr size_t kReadBytesPerTurn = size_t{1} << 20;
/// Connections waiting to be accepted.
inline constexpr int kBacklog = 64;

}  // namespace ipsec::agent::control
