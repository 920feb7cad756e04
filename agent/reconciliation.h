#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/kernel_queue.h"
#include "agent/namespace_reading.h"
#include "agent/shared_objects.h"
#include "agent/wanted_source.h"
#include "ike/actions.h"
#include "policy/base/events.h"
#include "policy/reconciler.h"

namespace ipsec::agent {

/// What `ipsecctl drift` shows of one namespace.
struct NamespaceDrift {
  std::string netns;
  policy::Reconciler::State state = policy::Reconciler::State::kSyncing;
  std::optional<Error> obstacle;  ///< What stands in the way of mending, while something does.
  std::shared_ptr<const std::vector<policy::DriftRow>> rows;  ///< Never null; there may be many.
};

/// Keeps what is wanted in the kernel true, whatever others do to it: one policy::Reconciler for each namespace, driven
/// by the kernel's events, by lost ones, and by an audit now and then. Links, policies and routes are put right here;
/// an SA that is gone can only be replaced by IKE. Everything that was put right is counted and reported.
///
/// A namespace is read and compared in steps: the reading goes on in the main loop's turns, the comparison runs aside.
/// What events tell meanwhile counts after it.
class Reconciliation {
 public:
  enum class ReadPart : uint8_t { kBegin, kSome, kEnd };
  struct Hooks {
    std::function<std::unique_ptr<WantedSource>(const std::string& netns)> wanted;
    std::function<policy::PacketRules(const std::string& netns)> packet_rules;
    /// A complete read of a namespace's SAs, in parts; it may end without kEnd.
    std::function<void(const std::string& netns, ReadPart part, const std::vector<policy::SaState>&)> saw_sas;
    /// An SA of the child is gone; `tries`: how often this was said before.
    std::function<void(ike::ChildId, const policy::SaKey&, uint32_t tries)> replace_child;
    /// Whose SA this is, of those that are in use now.
    std::function<std::optional<ike::ChildId>(const std::string& netns, const policy::SaKey&)> child_of;
    /// The monotonic clock, to see how long a read takes; without it no read takes any time.
    std::function<Instant()> clock = {};
    /// Runs `work` where it keeps nobody waiting, then `then` on this thread. Without it both run at once.
    std::function<void(std::function<void()> work, std::function<void()> then)> aside = {};
    std::function<void(const std::string& link)> link_made;
    /// Counts and announces; only counts.
    std::function<void(const std::string& object, Reason, std::vector<Field>)> event;
    std::function<void(Reason)> count;
  };
  Reconciliation(KernelQueue& queue, SharedObjects& shared, Random& random, Hooks hooks)
      : queue_(queue), shared_(shared), random_(random), hooks_(std::move(hooks)) {
    queue_.set_observer([this](const std::string& netns, const policy::KernelObject& object) { touch(netns, object); });
  }

  /// From now on this namespace is looked after; it need not exist yet.
  void begin(Instant now, const std::string& netns);
  void on_event(Instant now, const policy::KernelEvent& event);
  /// From now on a link is wanted like this, which is on its way to the kernel: news of it is no sign of a change.
  void expect(const std::string& netns, const policy::LinkConfig& link);
  /// The same of one that goes.
  void expect_no_link(const std::string& netns, const std::string& name);
  /// Something of ours in the namespace is known to be gone.
  void suspect(Instant now, const std::string& netns);
  /// Reads, submits and reports what is due.
  void run(Instant now);
  std::optional<Instant> next_deadline() const;
  /// Nothing is read or put right until go_on(): what is wanted is not complete.
  void hold() { held_ = true; }
  void go_on() { held_ = false; }
  bool is_held() const { return held_; }
  /// Nothing is put right any more, whatever is heard yet: the daemon ends.
  void stop();

  /// An operator has declared these objects ours, and the journal names them now. Interfaces that are wanted serve from
  /// now on; all else is put right as if it had always been ours.
  void on_claimed(Instant now, const std::string& netns, const policy::NamespaceState& claimed, size_t objects);
  /// Reads one namespace, or all that are looked after, and compares. What differs is put right soon after. `done`
  /// once, perhaps at once: with nothing for a namespace that is not looked after; kShutdown when the daemon ends.
  using DriftDone = std::function<void(Result<std::vector<NamespaceDrift>>)>;
  void drift(Instant now, const std::optional<std::string>& netns, DriftDone done);
  bool looks_after(const std::string& netns) const { return spaces_.contains(netns); }
  /// Of each namespace that is looked after, as it was found last; nothing is read.
  std::map<std::string, policy::Reconciler::State> states() const {
    std::map<std::string, policy::Reconciler::State> all;
    for (const auto& [netns, space] : spaces_) all.emplace(netns, space.reconciler.state());
    return all;
  }

 private:
  /// Who asked for the drift of some namespaces.
  struct DriftRequest {
    std::map<std::string, std::optional<NamespaceDrift>> found;  ///< By namespace; nothing yet.
    DriftDone done;
  };
  struct Space {
    explicit Space(Random& random) : reconciler(random) {}
    policy::Reconciler reconciler;
    WatchedObjects watched;  // at the last read and since
    size_t told = 0;         // mended objects that were announced, since all was right
    // The read that is under way, and what has happened meanwhile.
    std::optional<NamespaceReading> reading;
    CompareFor purpose = CompareFor::kRepair;
    bool comparing = false;
    Duration took{0};
    uint64_t last_id_before = 0;             // of operations, when the read before began
    std::set<policy::KernelObject> touched;  // since the read has ended
    std::optional<policy::Reconciler::Hint> hint;
    std::map<std::string, std::optional<policy::LinkConfig>> expected;  // links; nothing: gone
    // People who wait for the next read, and those for whom the present one is.
    std::vector<std::shared_ptr<DriftRequest>> asked, waiting;

    bool is_busy() const { return reading || comparing; }
  };
  using SpaceEntry = std::map<std::string, Space>::value_type;
  void touch(const std::string& netns, const policy::KernelObject& object);
  void hint(Instant now, Space& space, policy::Reconciler::Hint what);
  void begin_reading(SpaceEntry& entry);
  /// Goes on reading until `objects` or the turn's time is used up.
  void read_some(Instant now, SpaceEntry& entry, size_t& objects);
  void hand_over(SpaceEntry& entry);
  void on_compared(const std::string& netns, Comparison& comparison);
  void take_difference(Instant now, Space& space, Comparison& comparison);
  void answer_drift(Instant now, SpaceEntry& entry, Comparison& comparison);
  static void answer_if_complete(DriftRequest& request);
  void on_repaired(Space& space, const policy::ChangeText& what);
  void aside(std::function<void()> work, std::function<void()> then);
  void act(const std::string& netns, Space& space);
  void submit(const std::string& netns, policy::SubmitChange submit);
  bool repair(Instant now, const std::string& netns, std::vector<policy::KernelChange> changes);
  bool repair(Instant now, const policy::SaRemoved& removed);
  bool repair(Instant now, const policy::PolicyDisturbed& disturbed);
  bool repair(Instant now, const policy::RouteRemoved& removed);
  void report_mended(const std::string& netns, Space& space, const policy::ChangeText& what);
  std::optional<policy::Reconciler::Hint> hint_of(const policy::LinkChanged& change, const Space& space) const;

  KernelQueue& queue_;
  SharedObjects& shared_;
  Random& random_;
  Hooks hooks_;
  std::map<std::string, Space> spaces_;
  std::string last_run_;  // the namespace that came last
  Instant now_;
  bool stopped_ = false, held_ = false;
};

/// "netns/NAME", and "netns/-" for the daemon's own.
std::string netns_object(const std::string& netns);

}  // namespace ipsec::agent
