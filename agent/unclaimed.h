#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>

#include "agent/reconciliation.h"
#include "policy/config.h"
#include "policy/kernel_port.h"

namespace ipsec::agent {

/// All namespaces in which the configuration may put something.
std::set<std::string> namespaces_of(const policy::Config& config);

/// Objects of one namespace that bear our marks and that the journal does not name: probably ours, since the journal
/// was lost. Reads the namespace.
struct Unclaimed {
  policy::NamespaceState objects;
  size_t count = 0;
};
Result<Unclaimed> find_unclaimed(policy::KernelPort& kernel, const std::string& netns);

/// `ipsecctl drift --adopt`: what is unclaimed becomes ours, a namespace at a time. Then reconciliation decides: what
/// is wanted stays, the rest is removed.
class DriftAdoption {
 public:
  /// Of one namespace, or of all that are looked after.
  DriftAdoption(policy::KernelPort& kernel, Reconciliation& reconciliation, const std::optional<std::string>& netns);
  /// Deals with one namespace. False: none was left.
  bool step(Instant now);
  /// So far.
  size_t adopted() const { return adopted_; }
  /// The first namespace that could not be read, or whose objects the journal could not take, while it is so.
  const std::optional<Error>& failed() const { return failed_; }

 private:
  policy::KernelPort& kernel_;
  Reconciliation& reconciliation_;
  std::deque<std::string> namespaces_;
  size_t adopted_ = 0;
  std::optional<Error> failed_;
};

}  // namespace ipsec::agent
