#include "hwoffload/learnt.h"

#include <algorithm>
#include <cerrno>

namespace ipsec::hwoffload {

void LearntRefusals::note(Instant now, const SaNeeds& needs, const Verdict& verdict, int os_errno) {
  const bool of_the_kind =
      verdict.reason == Reason::kOffloadSilentSoftware || os_errno == EINVAL || os_errno == EOPNOTSUPP;
  if (!of_the_kind || verdict.kind == policy::OffloadKind::kNone) return;
  taken(needs, verdict.kind, verdict.device);
  if (all_.size() == kMost) all_.erase(all_.begin());
  all_.push_back({now, needs, verdict});
}

void LearntRefusals::taken(const SaNeeds& needs, policy::OffloadKind kind, const std::string& device) {
  std::erase_if(all_, [&](const Refusal& each) {
    return each.verdict.kind == kind && each.verdict.device == device && each.needs == needs;
  });
}

void LearntRefusals::forget(const std::string& device) {
  std::erase_if(all_, [&](const Refusal& each) { return each.verdict.device == device; });
}

std::vector<Verdict> LearntRefusals::against(Instant now, const SaNeeds& needs) const {
  std::vector<Verdict> found;
  for (const Refusal& each : all_)
    if (now - each.at < kHolds && each.needs == needs) found.push_back(each.verdict);
  return found;
}

size_t LearntRefusals::count(const std::string& device) const {
  return static_cast<size_t>(
      std::ranges::count_if(all_, [&](const Refusal& each) { return each.verdict.device == device; }));
}

}  // namespace ipsec::hwoffload
