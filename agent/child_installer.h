#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/kernel_queue.h"
#include "agent/offload_book.h"
#include "agent/packet_rules.h"
#include "agent/shared_objects.h"
#include "hwoffload/placement.h"
#include "ike/actions.h"
#include "policy/base/random.h"
#include "policy/plan.h"

namespace ipsec::agent {

/// One child SA as it stands in the kernel.
struct InstalledChild {
  std::shared_ptr<const policy::ChildSpec> spec;
  policy::ChildIds ids;
  policy::ChildPlan plan;  ///< Without keys.
  hwoffload::Effective inbound, outbound;
  bool has_inbound = false, has_outbound = false;  ///< The SA was accepted and read back.
  bool stopped = false;                            ///< Replaced: only its inbound half lingers.
  bool holds_routes = false;
  /// What of an SA this child has to take out again. Never what stood under the same key before: the peer chooses the
  /// SPI of an outbound SA, and two peers behind one NAT may choose the same.
  enum class Standing : uint8_t { kAbsent, kAsked, kPresent };  ///< kPresent also when the kernel's answer was lost.
  Standing inbound_sa = Standing::kAbsent, outbound_sa = Standing::kAbsent;
};

/// Puts child SAs into the kernel and takes them out: SA (as far onto the NIC as it goes, read back), policies, routes,
/// in the order that loses no packet. Inbound is complete before IKE answers; a software inbound SA always stands
/// before a hardware outbound one (the two share a bucket of the kernel's hash, where an offloaded SA alone would hide
/// it).
class ChildInstaller {
 public:
  using Done = std::function<void(Status)>;
  ChildInstaller(KernelQueue& queue, SharedObjects& shared, PacketRuleBook& rules, OffloadBook& offload, Random& random)
      : queue_(queue), shared_(shared), rules_(rules), offload_(offload), random_(random) {}
  /// For what the answers of the kernel bring about.
  void set_now(Instant now) { now_ = now; }

  /// SA, then its policies. On failure nothing of it is left and the error says what the kernel said.
  void install_inbound(ike::ChildId id, std::shared_ptr<const policy::ChildSpec> spec, const policy::ChildIds& ids,
                       policy::ChildKeys keys, Done done);
  /// SA, then policies and routes: from then on traffic takes it.
  void install_outbound(ike::ChildId id, policy::ChildKeys keys, Done done);
  /// One SA of a child anew, with these keys, in the place of whatever is left of it; its policies go on standing, and
  /// follow it onto the NIC or off it. For SAs whose keys outlive them. Not while its installation is under way.
  void renew(ike::ChildId id, policy::Direction direction, policy::ChildKeys keys, Done done);
  /// What the child's SAs are made of from now on: the same addresses, SPIs, mode and selectors.
  Status respecify(ike::ChildId id, std::shared_ptr<const policy::ChildSpec> spec);
  /// Its routes as another configuration of its group wants them; its SAs and policies stay.
  void reroute(ike::ChildId id, const policy::Tunnel& tunnel, const Done& complain);
  /// Takes out the outbound SA and gives up the outbound policies and routes; the inbound half stays. Nothing while the
  /// outbound half is still being installed.
  void stop_outbound(ike::ChildId id);
  /// Takes out whatever of the child is there, whatever is still under way.
  void remove(ike::ChildId id);

  /// The outbound SA is shown on the NIC, and traffic does not take it: remembered as the reason.
  void mark_not_counting(ike::ChildId id, const std::string& why);

  const std::map<ike::ChildId, std::unique_ptr<InstalledChild>>& children() const { return children_; }
  /// Those that have an SA of this key, or will: mostly one, but peers choose the SPIs of outbound SAs.
  std::vector<ike::ChildId> children_of(const std::string& netns, const policy::SaKey& key) const;

 private:
  struct Walk;  // one SA on its way down the ladder of placements
  void try_next(const std::shared_ptr<Walk>& walk);
  void on_sa(const std::shared_ptr<Walk>& walk, Result<policy::KernelReply> result);
  void hold_policies(const std::shared_ptr<Walk>& walk);
  bool step_down(const std::shared_ptr<Walk>& walk, size_t policies_held, const Error& refusal);
  void hold_private_policies(ike::ChildId id, Done done);
  void hold_routes(ike::ChildId id, Done done);
  void release_outbound(ike::ChildId id, InstalledChild& child);
  hwoffload::Placement place(const InstalledChild& child, const hwoffload::SaNeeds& needs);
  std::shared_ptr<Walk> walk_for(ike::ChildId id, const InstalledChild& child, policy::Direction direction,
                                 policy::ChildKeys keys);
  InstalledChild* find(ike::ChildId id);
  bool is_of_another(ike::ChildId id, const std::string& netns, const policy::SaKey& key) const;
  static std::string public_netns(const InstalledChild& child) { return child.spec->tunnel->group->public_place.netns; }
  static std::string private_netns(const InstalledChild& child) {
    return child.spec->tunnel->group->private_place.netns;
  }

  KernelQueue& queue_;
  SharedObjects& shared_;
  PacketRuleBook& rules_;
  OffloadBook& offload_;
  Instant now_;
  Random& random_;
  std::map<ike::ChildId, std::unique_ptr<InstalledChild>> children_;
  std::multimap<std::pair<std::string, policy::SaKey>, ike::ChildId> by_key_;  // both SAs of each of them
};

}  // namespace ipsec::agent
