#include "agent/selector_sets.h"

#include <algorithm>

#include "policy/plan.h"

namespace ipsec::agent {

uint32_t SelectorSets::reqid_for(const policy::ChildConfig& child, const policy::ChildSpec& spec, const IsBusy& is_busy,
                                 const NextReqid& next) {
  if (spec.local == child.local && spec.remote == child.remote) return 0;
  const auto part = policy::policy_keys(spec.local, spec.remote, 0, child.policy->policies_max);
  const auto whole = policy::policy_keys(child.local, child.remote, 0, child.policy->policies_max);
  if (!part.ok() || (whole.ok() && *part == *whole)) return 0;  // what cannot be planned is refused by the installer
  return take(*part, is_busy, next);
}

uint32_t SelectorSets::take(const Keys& keys, const IsBusy& is_busy, const NextReqid& next) {
  auto set = std::ranges::find(sets_, keys, &Set::keys);
  if (set == sets_.end())
    set = std::ranges::find_if(sets_, [&](const Set& each) { return each.users == 0 && !is_busy(each.reqid); });
  if (set == sets_.end()) set = sets_.insert(sets_.end(), Set{.keys = {}, .reqid = next(), .users = 0});
  set->keys = keys;
  ++set->users;
  return set->reqid;
}

void SelectorSets::release(uint32_t reqid) {
  const auto set = std::ranges::find(sets_, reqid, &Set::reqid);
  if (set != sets_.end() && set->users != 0) --set->users;
}

std::vector<uint32_t> SelectorSets::reqids() const {
  std::vector<uint32_t> all;
  for (const Set& each : sets_) all.push_back(each.reqid);
  return all;
}

}  // namespace ipsec::agent
