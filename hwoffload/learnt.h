#pragma once

#include <vector>

#include "hwoffload/rules.h"
#include "policy/base/time.h"

namespace ipsec::hwoffload {

/// What the kernel and a device's driver refused, so that they are not asked again for each SA of the same kind: a
/// refusal holds for SAs whose needs are the same, for a while, and until the device changes. Bounded: the oldest goes.
class LearntRefusals {
 public:
  static constexpr size_t kMost = 64;
  static constexpr Duration kHolds = std::chrono::hours(1);

  /// Of an attempt that was refused, or taken and kept in software. What says nothing of the next SA of the kind is not
  /// kept: a full table, and errors of the moment.
  void note(Instant now, const SaNeeds& needs, const Verdict& verdict, int os_errno);
  /// The attempt was taken: whatever was refused before counts no more.
  void taken(const SaNeeds& needs, policy::OffloadKind kind, const std::string& device);
  /// The device changed.
  void forget(const std::string& device);
  /// What is known against SAs with these needs.
  std::vector<Verdict> against(Instant now, const SaNeeds& needs) const;
  /// How many of a device are known.
  size_t count(const std::string& device) const;

 private:
  struct Refusal {
    Instant at;
    SaNeeds needs;
    Verdict verdict;
  };
  std::vector<Refusal> all_;  // oldest first
};

}  // namespace ipsec::hwoffload
