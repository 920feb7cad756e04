#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/kernel_queue.h"
#include "agent/shared_objects.h"
#include "ike/actions.h"
#include "policy/base/events.h"
#include "policy/reconciler.h"

namespace ipsec::agent {

/// What `ipsecctl drift` shows of one namespace.
struct NamespaceDrift {
  std::string netns;
  policy::Reconciler::State state = policy::Reconciler::State::kSyncing;
  std::optional<Error> obstacle;  ///< What stands in the way of mending, while something does.
  std::vector<policy::DriftRow> rows;
};

/// Keeps what is wanted in the kernel true, whatever others do to it: one policy::Reconciler for each namespace, driven
/// by the kernel's events, by lost ones, and by an audit now and then. Links, policies and routes are put right here;
/// an SA that is gone can only be replaced by IKE. Everything that was put right is counted and reported.
class Reconciliation {
 public:
  /// What is wanted in a namespace at this moment.
  struct Desired {
    policy::NamespaceState state;
    std::map<policy::SaKey, ike::ChildId> children;  ///< Whose each SA is.
    std::set<policy::SaKey> under_way;               ///< May be there or not.
    std::set<std::string> devices;                   ///< NICs that SAs are on: one that goes down drops them unasked.
  };
  struct Hooks {
    std::function<Desired(const std::string& netns)> desired;
    /// A complete read of a namespace's SAs.
    std::function<void(const std::string& netns, const std::vector<policy::SaState>&)> saw_sas;
    /// An SA of the child is gone; `tries`: how often this was said before.
    std::function<void(ike::ChildId, const policy::SaKey&, uint32_t tries)> replace_child;
    /// Whose SA this is, of those that are in use now.
    std::function<std::optional<ike::ChildId>(const std::string& netns, const policy::SaKey&)> child_of;
    /// The monotonic clock, to see how long a read takes; without it no read takes any time.
    std::function<Instant()> clock = {};
    std::function<void(const std::string& link)> link_made;
    /// Counts and announces; only counts.
    std::function<void(const std::string& object, Reason, std::vector<Field>)> event;
    std::function<void(Reason)> count;
  };
  Reconciliation(KernelQueue& queue, SharedObjects& shared, Random& random, Hooks hooks)
      : queue_(queue), shared_(shared), random_(random), hooks_(std::move(hooks)) {}

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
  /// Nothing is put right any more, whatever is heard yet: the daemon ends.
  void stop() {
    stopped_ = true;
    spaces_.clear();
  }

  /// Reads one namespace, or all that are looked after, and compares. What differs is put right soon after.
  std::vector<NamespaceDrift> drift(Instant now, const std::optional<std::string>& netns);
  /// An operator has declared these objects ours, and the journal names them now. Interfaces that are wanted serve from
  /// now on; all else is put right as if it had always been ours.
  void on_claimed(Instant now, const std::string& netns, const policy::NamespaceState& claimed, size_t objects);
  bool looks_after(const std::string& netns) const { return spaces_.contains(netns); }
  /// Of each namespace that is looked after, as it was found last; nothing is read.
  std::map<std::string, policy::Reconciler::State> states() const {
    std::map<std::string, policy::Reconciler::State> all;
    for (const auto& [netns, space] : spaces_) all.emplace(netns, space.reconciler.state());
    return all;
  }

 private:
  struct Space {
    explicit Space(Random& random) : reconciler(random) {}
    policy::Reconciler reconciler;
    void forget_link(const std::string& name);
    // What was wanted at the last read and since, for a first look at events.
    std::map<std::string, policy::LinkConfig> links;
    std::multiset<IpAddress> addresses;  // of those links
    std::set<std::string> vrfs, devices;
    std::set<std::pair<std::string, std::string>> undersides;  // devices below the links, by namespace
    bool has_rules = false;
    std::map<policy::SaKey, ike::ChildId> children;
    size_t told = 0;  // mended objects that were announced, since all was right
  };
  Result<policy::StandingState> read(const std::string& netns, Desired& desired);
  void read_and_compare(Instant now, const std::string& netns, Space& space);
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
  Instant now_;
  bool stopped_ = false;
};

/// "netns/NAME", and "netns/-" for the daemon's own.
std::string netns_object(const std::string& netns);

}  // namespace ipsec::agent
