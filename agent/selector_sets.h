#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "policy/child_spec.h"
#include "policy/config.h"
#include "policy/kernel_model.h"

namespace ipsec::agent {

/// The reqids of one configured child, beside its own. The kernel finds the SA of a policy by reqid, addresses and
/// mode: of two SAs with the same reqid the newer one gets the traffic of all policies. SAs that carry different
/// traffic (the peer narrows, or begins one child SA for each pair of networks) therefore have different reqids, and
/// SAs that carry the same traffic (a rekey, two set-ups that collide) have the same one. The child's own reqid belongs
/// to SAs that carry all that is configured, and to the policies that wait for traffic.
class SelectorSets {
 public:
  /// The keys of outbound policies, sorted, with if_id 0: what policy::policy_keys() makes of negotiated selectors.
  using Keys = std::vector<policy::PolicyKey>;
  using IsBusy = std::function<bool(uint32_t reqid)>;
  using NextReqid = std::function<uint32_t()>;

  /// ChildIds::part_reqid of one more SA pair: 0 when it carries all that is configured, else as take() says.
  uint32_t reqid_for(const policy::ChildConfig& child, const policy::ChildSpec& spec, const IsBusy& is_busy,
                     const NextReqid& next);
  /// The reqid for one more SA pair with these policies: the one that SAs with the same policies have, else one without
  /// users, else `next`. `is_busy`: SAs of an earlier run still have this reqid.
  uint32_t take(const Keys& keys, const IsBusy& is_busy, const NextReqid& next);
  /// One SA pair less. Nothing for a reqid that is none of these.
  void release(uint32_t reqid);
  /// A reqid that SAs of an earlier run have.
  void adopt(uint32_t reqid, Keys keys) { sets_.push_back({std::move(keys), reqid, 0}); }
  /// Every one that was ever given out: as many as there were sets at one time.
  std::vector<uint32_t> reqids() const;

 private:
  struct Set {
    Keys keys;
    uint32_t reqid = 0;
    size_t users = 0;
  };
  std::vector<Set> sets_;
};

}  // namespace ipsec::agent
