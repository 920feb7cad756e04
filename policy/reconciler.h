#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>

#include "policy/base/random.h"
#include "policy/base/time.h"
#include "policy/diff.h"
#include "policy/drift.h"

namespace ipsec::policy {

/// What a reconciler wants done. In the order in which it was put out.
struct SubmitChange {
  uint64_t id = 0;  ///< Comes back in on_done().
  KernelChange change;
};
/// An SA of ours is gone. Nobody kept its keys, so that IKE must make another.
struct ReplaceSa {
  SaKey key;
  uint32_t tries = 0;  ///< How often this was said before.
};
struct ReportMended {
  ChangeText what;
};
/// Once for each object and reason, until all is as it should be again.
struct ReportStays {
  ChangeText what;
  Error why;
};
/// What it waits for has changed: a namespace, VRF or device that is not there.
struct ReportWaiting {
  Error why;
};
/// All is as it should be, after something was not.
struct ReportSynced {
  size_t mended = 0;
  Duration took{0};  ///< Since the first sign of it.
};
using ReconcilerAction = std::variant<SubmitChange, ReplaceSa, ReportMended, ReportStays, ReportWaiting, ReportSynced>;

/// Keeps one namespace as it is wanted: says when to read it, what to change of it, waits for the outcome, reads it
/// back, and tries again with growing pauses. Knows neither kernel nor clock; whoever drives it computes the
/// difference from a complete read, and only of what is proven ours.
class Reconciler {
 public:
  enum class State : uint8_t {
    kAwaiting,  ///< The namespace, or a VRF or device in it, is not there.
    kSyncing,   ///< Something is to be read, or is being mended.
    kSynced     ///< The last read showed what is wanted.
  };
  enum class Hint : uint8_t {
    kPerhaps,  ///< Something may have changed: worth a read, at most one in kReadGap.
    kGone,     ///< Something of ours is known to be gone.
    kReturned  ///< Something that was waited for is back.
  };

  explicit Reconciler(Random& random) : random_(random) {}

  void hint(Instant now, Hint hint);
  /// `objects`: how many are wanted; the more there are, the more rarely they are read without a sign of a change.
  /// `took`: how long the read kept its driver; the next one waits ten times that, whatever others do.
  void on_read(Instant now, StateDiff difference, size_t objects = 0, Duration took = Duration{0});
  /// An SA of ours is known to be gone, by its key: asks for its replacement without a read.
  void on_sa_gone(Instant now, const SaKey& key);
  /// Whether one more object that somebody disturbed may be put right by its key, without a read.
  bool may_repair(Instant now);
  /// That was done: a read confirms it in good time.
  void on_repaired(Instant now, const ChangeText& what);
  /// The read failed: most of all because the namespace is not there.
  void on_unreadable(Instant now, const Error& error);
  void on_done(Instant now, uint64_t id, const Status& status);
  /// What was submitted and not answered for long counts as failed.
  void tick(Instant now);

  /// Whether to read the namespace now; then on_read() or on_unreadable() follows.
  bool read_due(Instant now) const;
  std::optional<ReconcilerAction> poll();
  bool has_actions() const { return !actions_.empty(); }
  std::optional<Instant> next_deadline() const;

  State state() const { return state_; }
  /// What stands in the way, while something does.
  const std::optional<Error>& obstacle() const { return obstacle_; }

 private:
  struct Pending {
    ChangeText what;
  };
  struct Replacement {
    uint32_t tries = 0;
    Instant next;
  };
  void read_at(Instant when);
  void read_after_failure(Instant now, const Error& why);
  void finish_round(Instant now);
  void replace_missing(Instant now, const std::vector<SaKey>& missing);
  void complain(const ChangeText& what, const Error& why);
  void become_synced(Instant now, size_t objects);
  Duration pause(uint32_t tries, Duration first, Duration most);
  Duration vary(Duration pause);

  Random& random_;
  State state_ = State::kSyncing;
  std::optional<Instant> read_at_, last_read_;
  Duration read_took_{0};
  Instant repairs_since_;
  size_t repairs_ = 0;  // since then
  std::optional<Instant> troubled_since_;
  std::map<uint64_t, Pending> pending_;
  Instant pending_deadline_;
  std::optional<Error> round_error_, obstacle_;
  std::optional<Reason> waiting_told_;
  std::map<std::string, Reason> told_;  // what was said of objects that stay as they are
  std::map<SaKey, Replacement> replacements_;
  std::deque<ReconcilerAction> actions_;
  uint64_t last_id_ = 0;
  uint32_t failures_ = 0;
  size_t left_before_ = SIZE_MAX;  // changes that the last read wanted
  size_t mended_ = 0;
};

}  // namespace ipsec::policy
