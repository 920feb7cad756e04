#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "policy/base/time.h"

namespace ipsec::sim {

/// What goes wrong, and how often: each number is a chance in a thousand, rolled for every datagram or answer.
struct Faults {
  // The network, per datagram.
  uint32_t lose = 60;
  uint32_t duplicate = 60;
  uint32_t delay = 120;  ///< By up to `delay_most`, so that later datagrams overtake it.
  uint32_t corrupt = 30;
  uint32_t forge = 40;  ///< Something that nobody sent goes the same way: garbage, an old datagram, a bogus INIT.
  Duration delay_most = 3s;
  // The shell, per answer to a question of the engine.
  uint32_t answer_late = 40;
  uint32_t answer_twice = 60;
  uint32_t answer_never = 10;
  uint32_t refuse_install = 60;
  // Events of the world, one roll every second.
  uint32_t partition = 20;  ///< Two gateways do not reach each other for up to 20 s.
  uint32_t rebind_nat = 30;
  uint32_t restart = 25;
  uint32_t operate = 250;
};

/// What a run has seen of each kind. None of a kind in a whole series means that the series proves nothing about it.
enum class Seen : uint8_t {
  kLost,
  kDuplicated,
  kReordered,
  kCorrupted,
  kForged,
  kPartitioned,
  kNatRebound,
  kAnsweredLate,
  kAnsweredTwice,
  kNeverAnswered,
  kInstallRefused,
  kBothInitiating,
  kBothDeleting,
  kCookie,
  kContinued,
  kForgotten,
  kHandshake,
  kChildRekeyed,
  kIkeRekeyed,
  kBothRekeyingChild,
  kBothRekeyingIke,
  kRekeyAndDelete,
  kCollisionDecided,
  kTemporaryFailure,
  kChildNotFound,
  kCount
};
inline constexpr size_t kSeenCount = static_cast<size_t>(Seen::kCount);
inline constexpr std::array<std::string_view, kSeenCount> kSeenNames = {"losses",
                                                                        "duplicates",
                                                                        "reorderings",
                                                                        "corruptions",
                                                                        "forgeries",
                                                                        "partitions",
                                                                        "NAT rebindings",
                                                                        "late answers",
                                                                        "double answers",
                                                                        "answers never given",
                                                                        "installs refused",
                                                                        "collisions, both initiating",
                                                                        "collisions, both deleting",
                                                                        "cookies",
                                                                        "restarts with snapshot",
                                                                        "restarts without",
                                                                        "children established",
                                                                        "child rekeys",
                                                                        "IKE rekeys",
                                                                        "collisions, both rekeying a child",
                                                                        "collisions, both rekeying the IKE SA",
                                                                        "collisions, rekeying and deleting",
                                                                        "collisions decided by nonces",
                                                                        "TEMPORARY_FAILUREs",
                                                                        "CHILD_SA_NOT_FOUNDs"};
struct Tally {
  std::array<uint64_t, kSeenCount> counts{};
  void add(Seen kind) { ++counts[static_cast<size_t>(kind)]; }
  void add(const Tally& other) {
    for (size_t i = 0; i < kSeenCount; ++i) counts[i] += other.counts[i];
  }
};

/// A bug planted in the shell or the network (never in the product), to prove that the invariants catch it.
enum class Sabotage : uint8_t {
  kNone,
  kSpoilKey,              ///< The shell installs an inbound key with one bit changed.
  kSpoilRetransmission,   ///< A protected message leaves with other bytes under its old message ID.
  kInstallOutboundTwice,  ///< The shell installs an outbound key again: its sequence numbers begin anew.
  kForgetRemove,          ///< The shell leaves a removed child in the kernel.
  kGiveUp,                ///< The shell does not try again.
  kLeakIntoReport,        ///< A report shows eight bytes of a key.
  kLeakIntoDatagram,      ///< A datagram shows eight bytes of a key.
  kDropSilently,          ///< A datagram is dropped and not counted.
  kIgnoreLimit            ///< The engine runs with a higher limit of half-open IKE SAs than configured.
};

}  // namespace ipsec::sim
