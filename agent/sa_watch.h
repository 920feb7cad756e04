#pragma once

#include <functional>
#include <string>
#include <unordered_map>

#include "agent/kernel_queue.h"
#include "agent/sequence_watch.h"
#include "ike/actions.h"

namespace ipsec::agent {

/// Reads SAs at intervals, for three questions: does the peer use the new inbound SA of a rekey yet, do the sequence
/// numbers of a child come to their end, has a child carried anything. Few reads are in flight at a time; what is due
/// beyond that waits for their answers.
class SaWatch {
 public:
  struct Findings {
    std::function<void(ike::ChildId)> inbound_used;
    std::function<void(ike::ChildId, uint64_t sequence)> sequence_due;
    std::function<void(ike::ChildId)> carried;
  };
  SaWatch(KernelQueue& queue, Findings findings) : queue_(queue), findings_(std::move(findings)) {}

  struct Pair {
    std::string netns;
    policy::SaKey in, out;
  };
  /// Until its inbound SA has received something: told once.
  void watch_inbound(Instant now, ike::ChildId child, const std::string& netns, const policy::SaKey& inbound);
  void stop_inbound(ike::ChildId child);

  struct Interest {
    std::optional<uint64_t> rekey_at;       ///< Sequence number that makes a rekey due.
    std::optional<Duration> idle_interval;  ///< How often to see whether it carries anything.
  };
  /// From now on, both SAs of an installed child.
  void follow(Instant now, ike::ChildId child, Pair pair, const Interest& interest);
  void forget(ike::ChildId child);

  /// Starts the reads that are due. Answers come with the queue.
  void run(Instant now);
  /// Nothing while as many reads are in flight as may be: their answers come first.
  std::optional<Instant> next_deadline() const;

 private:
  struct Inbound {
    std::string netns;
    policy::SaKey key;
    Instant since;
  };
  struct Followed {
    Pair pair;
    Interest interest;
    uint64_t packets = 0;  ///< Both directions, at the last look.
  };
  /// What one look at a child found.
  struct Look {
    size_t answers = 0;
    bool failed = false;
    uint64_t sequence = 0, packets = 0;
  };
  void read_inbound(Instant now, ike::ChildId child);
  void read_pair(Instant now, ike::ChildId child);
  void on_look(Instant now, ike::ChildId child, const Look& look);

  KernelQueue& queue_;
  Findings findings_;
  std::unordered_map<ike::ChildId, Inbound> inbound_;
  std::unordered_map<ike::ChildId, Followed> followed_;
  TimerQueue<ike::ChildId> inbound_looks_, idle_looks_;
  SequenceWatch sequences_;
  size_t in_flight_ = 0;
};

}  // namespace ipsec::agent
