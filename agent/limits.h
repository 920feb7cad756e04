#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "policy/base/time.h"

namespace ipsec::agent {

inline constexpr size_t kPathLooksAtOnce = 500;  ///< Tunnels whose path is looked at with one read of a namespace.

// One turn of the main thread. None of these takes longer than some milliseconds.
inline constexpr size_t kObjectsPerTurn = 4000;      ///< Objects of a namespace read and sorted, ...
inline constexpr Duration kReadTurnMax = 3ms;        ///< ... or time spent on it, whichever is reached first.
inline constexpr size_t kReadStep = 250;             ///< Objects between two looks at the clock.
inline constexpr size_t kCompletionsPerTurn = 1000;  ///< Answers of the kernel.
inline constexpr Duration kDrainTurnMax = 3ms;       ///< For operations and their answers, at a time.
inline constexpr size_t kEventsPerTurn = 500;        ///< Events of the kernel.
inline constexpr size_t kRetriesPerTurn = 200;       ///< Children that begin another try.
inline constexpr Duration kRolloutTurnMax = 3ms;     ///< Time spent on tunnels that follow another configuration.
inline constexpr Duration kRolloutSettle = 1s;       ///< For the kernel to take what the last tunnels have asked for.
inline constexpr size_t kRolloutInFlightMax = 2000;  ///< Operations, before more tunnels follow.
inline constexpr size_t kTunnelsPerTurn = 200;       ///< Tunnels that begin, end or follow another configuration.
inline constexpr size_t kActionsPerTurn = 1000;      ///< Repairs begun and reported, of one namespace.

inline constexpr size_t kWorkersMax = 64;
inline constexpr size_t kEventsKept = 65536;        ///< Events that `monitor` can still read.
inline constexpr size_t kReceiveBatch = 32;         ///< Datagrams per system call.
inline constexpr int kSocketBufferBytes = 8 << 20;  ///< Receive buffer of each UDP socket.
inline constexpr size_t kFilesNamedMax = 100;       ///< Files that the log names, of those read or passed over.
inline constexpr size_t kReloadsWaitingMax = 64;    ///< Reloads that were asked for while another one runs.
inline constexpr size_t kStateBytesMax = size_t{600} << 20;  ///< Of the configuration kept as the one applied last.
inline constexpr Duration kDiskThreadGrace = 2s;             ///< For a read or write under way when the daemon ends.
inline constexpr size_t kLinksMax = 32;                      ///< Symbolic links on the way to a secret's file.
inline constexpr size_t kSecretFileBytesMax = 4096;          ///< Bytes of a pre-shared key's file.
inline constexpr size_t kSecretBytesMin = 8;                 ///< Shorter keys are refused: they can be guessed.
inline constexpr size_t kFailuresKept = 1024;                ///< Failed negotiations of configured peers ...
inline constexpr size_t kFailuresKeptOfOne = 8;              ///< ... of these, of one tunnel or address ...
inline constexpr size_t kFailuresKeptOfStrangers = 1024;     ///< ... and of all others.
inline constexpr size_t kProposalsKept = 8;                  ///< Of an offer that is kept; ...
inline constexpr size_t kConfiguredKept = 32;                ///< ... of our side of it; ...
inline constexpr size_t kSelectorsKept = 32;                 ///< ... of each list of selectors.
inline constexpr size_t kFieldsKept = 16;                    ///< Of a report that is kept, ...
inline constexpr size_t kTextBytesKept = 512;                ///< ... and of each text in it.
inline constexpr size_t kExplainedMax = 32;                  ///< Failures in one reply, compared; ...
inline constexpr size_t kFailuresListedMax = 1000;           ///< ... or listed.
inline constexpr size_t kLocatedBytesMax = 4 << 20;          ///< Of a configuration file in which lines are looked up.
inline constexpr uint32_t kStrangerReportsPerSecond =
    20;                                         ///< Log lines about peers that have not authenticated; all are counted.
inline constexpr size_t kPairsRefusedMax = 64;  ///< Pairs of one child that a peer refuses, before it is asked no more.
inline constexpr size_t kPairsShown = 4;        ///< Pairs of selectors that one text names; of more it says how many.
inline constexpr uint32_t kUnauthenticatedReportsPerSecond = 50;  ///< That a worker passes on, of peers of either kind:
                                                                  ///< those that no tunnel is known of, and others.
inline constexpr size_t kMailboxLettersMax = 4096;    ///< From all workers to the main thread, not opened yet.
inline constexpr size_t kMailboxBytesMax = 16 << 20;  ///< What these letters hold.
inline constexpr size_t kLettersPerTurn = 256;        ///< That the main thread opens before it does something else.
inline constexpr Duration kUpSlack = 1s;  ///< How much longer than a tunnel's set-up time an operator's `up` may wait.
inline constexpr Duration kChildlessGrace = 30s;      ///< For an IKE SA without child to get one, before it is closed.
inline constexpr Duration kReplaceGrace = 500ms;      ///< For a peer to use its new IKE SA, before we end its old one.
inline constexpr Duration kCrossingGrace = 5s;        ///< For a peer to choose, when both sides have begun at once.
inline constexpr Duration kRekeyTimeout = 30s;        ///< For a rekey that an operator asked for.
inline constexpr size_t kWatchReadsMax = 64;          ///< SAs being read at a time, to see what they carried.
inline constexpr Duration kInboundLookFirst = 100ms;  ///< Between looks whether a new inbound SA is used ...
inline constexpr Duration kInboundLookSoon = 2s;      ///< ... this long, ...
inline constexpr Duration kInboundLookLater = 1s;     ///< ... and between looks after that.
inline constexpr Duration kIdleLookMost = 60s;        ///< Between looks whether a child carries anything.
inline constexpr size_t kMendedTold = 32;             ///< Objects put right that are named, until all is right again.
inline constexpr uint32_t kReplaceByRekeyMax = 3;  ///< Rekeys asked for in place of a lost SA, before its child ends.
inline constexpr Duration kHardLimitRest = 5s;     ///< For a rekey, after an SA was seen at its hard limit.
inline constexpr Duration kOrphanLinger = 2s;  ///< For packets on their way to SAs of an earlier run, once replaced.
inline constexpr Duration kDownTimeout = 10s;  ///< For a tunnel to leave the kernel when an operator takes it down.
inline constexpr Duration kPathLookPause = 200ms;  ///< From a change of routes to the look at the ways to peers.
/// Between two such looks, since our own routes are changes, too: the more tunnels are looked at, the longer.
constexpr Duration path_look_rest(size_t tunnels) { return std::min<Duration>(200ms + tunnels * Duration(200us), 2s); }
inline constexpr Duration kPathPartPause = 20ms;   ///< Between parts of such a look.
inline constexpr Duration kOffloadWatch = 5s;      ///< Between looks at what SAs that may be on NICs have carried.
inline constexpr Duration kOffloadRead = 60s;      ///< Between looks at the NICs themselves; those of people come ...
inline constexpr Duration kOffloadReadAsked = 1s;  ///< ... so soon after one another.
inline constexpr Duration kOffloadDecide = 1s;     ///< Between decisions which of them move.
inline constexpr Duration kShutdownGrace = 5s;     ///< For the answers to our Deletes when the daemon stops.
inline constexpr Duration kKernelTimeout = 5s;     ///< For the answers of the kernel when the daemon starts and stops.
inline constexpr Duration kJournalCheck = 60s;     ///< Between looks at the file system of the journal, ...
inline constexpr Duration kJournalCheckLow = 10s;  ///< ... while it is nearly full.
inline constexpr Duration kCarrierRetry = 2s;      ///< Before the policies that a carrier needs are asked for again.

}  // namespace ipsec::agent
