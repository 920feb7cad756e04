#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/wanted_source.h"
#include "policy/diff.h"
#include "policy/drift.h"
#include "policy/kernel_object.h"
#include "policy/kernel_port.h"

namespace ipsec::agent {

/// What events of a namespace are compared with, so that news of what is as it should be causes no read.
struct WatchedObjects {
  std::map<std::string, policy::LinkConfig> links;
  std::multiset<IpAddress> addresses;  ///< Of those links.
  std::set<std::string> vrfs, devices;
  std::set<std::pair<std::string, std::string>> undersides;  ///< Devices below the links, by namespace.
  bool has_rules = false;
  std::map<policy::SaKey, ike::ChildId> children;

  void forget_link(const std::string& name);
  /// From now on the link is wanted like this, if it is known.
  void expect_link(const policy::LinkConfig& link);
};

/// A finished reading, and what follows from it. Holds everything by value: it may be worked on, and destroyed, by
/// another thread, for both take long where there are many objects.
struct Comparison {
  std::string netns;
  Desired desired;
  policy::StandingState standing;
  std::set<policy::KernelObject> touched;           ///< Of them it is not known how they stood.
  std::unique_ptr<policy::NamespaceRead> finished;  ///< The read, to be destroyed with the rest.
  std::optional<Error> failed;                      ///< The namespace could not be read: nothing stands there.

  // What compare() finds.
  policy::StateDiff difference;        ///< At most kChangesPerRound changes.
  std::vector<policy::DriftRow> rows;  ///< For people, if asked for; ...
  bool has_drift = false;              ///< ... whether one of them is more than a foreign object.
  size_t objects = 0;                  ///< Wanted.
  WatchedObjects watched;
};
enum class CompareFor : uint8_t { kRepair, kPeople };
/// Fills in the lower half. Pure.
void compare(Comparison& comparison, CompareFor purpose);

/// One complete read of a namespace beside what is wanted there, in steps of the main thread. What the daemon itself
/// changes meanwhile is left out of the comparison, because it may have been seen before or after its change.
class NamespaceReading {
 public:
  struct Sources {
    policy::KernelPort& kernel;
    std::unique_ptr<WantedSource> wanted;
    std::function<policy::PacketRules()> packet_rules;  ///< As they are wanted at this moment.
    std::function<void(const std::vector<policy::SaState>&)> saw_sas;
  };
  NamespaceReading(std::string netns, Sources sources);

  enum class Progress : uint8_t { kGoesOn, kEnded };
  /// Work for about `most` objects. `work` gets how many it was.
  Progress step(size_t most, size_t& work);
  /// The daemon changes this object.
  void touch(policy::KernelObject object) { found_.touched.insert(std::move(object)); }
  /// When it has ended.
  Comparison take() { return std::move(found_); }

 private:
  enum class Phase : uint8_t { kBegin, kWanted, kOpen, kRead, kEnded };
  WantedSource::More collect_some(size_t most, size_t& work);
  Status read_some(size_t most, size_t& work);
  void sort_in(policy::StandingObject object, std::vector<policy::SaState>& sas);
  Sources sources_;
  Comparison found_;
  Phase phase_ = Phase::kBegin;
};

}  // namespace ipsec::agent
