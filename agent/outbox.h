#pragma once

#include <deque>
#include <functional>
#include <unordered_set>

#include "agent/mailbox.h"
#include "ike/actions.h"
#include "ike/sa/admission.h"

namespace ipsec::agent {

/// Roughly the memory that an action holds beside what configuration and IKE SAs share with it.
size_t bytes_of(const ike::Action& action);

/// A worker's way to the main thread. Nothing that concerns children or IKE SAs is ever lost: what the mailbox has no
/// room for waits here, and as long as something waits the worker takes no more datagrams (`is_blocked`), so that the
/// kernel's buffers drop what comes. What unauthenticated senders make the engine report is sampled. For one thread.
class Outbox {
 public:
  /// `when_room`: has the worker call flush() soon. Called on the mailbox's reader's thread.
  Outbox(Mailbox& mailbox, std::function<void()> when_room) : mailbox_(mailbox), when_room_(std::move(when_room)) {}

  /// Whether the main thread is to hear of this action. No: a report of an unauthenticated sender beyond
  /// kUnauthenticatedReportsPerSecond (for `Reason::kReportsDropped`), and what only concerns snapshots, which nobody
  /// stores, except the end of an IKE SA that the main thread keeps a record of.
  enum class Verdict : uint8_t { kSend, kNotNeeded, kDropped };
  Verdict judge(Instant now, const ike::Action& action);
  /// The main thread hears of an IKE SA by other means than an action, and makes a record of it.
  void note_record(ike::IkeSaId id) { recorded_.insert(id); }
  /// IKE SAs that the main thread keeps a record of, as far as this worker has caused it.
  size_t records() const { return recorded_.size(); }
  /// In order; never lost.
  void send(Letter letter);
  /// Whether something waits here.
  bool is_blocked() const { return !waiting_.empty(); }
  /// Hands over what waits, as far as there is room. Whether nothing waits any more.
  bool flush();
  size_t waiting() const { return waiting_.size(); }

 private:
  Mailbox& mailbox_;
  std::function<void()> when_room_;
  std::deque<Letter> waiting_;
  std::unordered_set<ike::IkeSaId> recorded_;  ///< IKE SAs; each until its end.
  ike::RateBucket unnamed_, named_;  ///< Reports about peers that no tunnel is known of, and about the others.
};

}  // namespace ipsec::agent
