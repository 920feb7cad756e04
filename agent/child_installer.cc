#include "agent/child_installer.h"

#include <algorithm>

#include "agent/outcome.h"

namespace ipsec::agent {
namespace {

/// A copy of an SA's configuration for one attempt. The keys are copied too: a refused attempt must not use them up.
policy::SaConfig with_keys(const policy::SaConfig& sa, const policy::ChildKeys& keys,
                           const policy::OffloadRequest& offload) {
  policy::SaConfig copy;
  copy.key = sa.key;
  copy.source = sa.source;
  copy.direction = sa.direction;
  copy.suite = sa.suite;
  copy.mode = sa.mode;
  copy.reqid = sa.reqid;
  copy.if_id = sa.if_id;
  copy.output_mark = sa.output_mark;
  copy.replay_window = sa.replay_window;
  copy.encap_source_port = sa.encap_source_port;
  copy.encap_destination_port = sa.encap_destination_port;
  copy.df_clear = sa.df_clear;
  copy.dscp_zero = sa.dscp_zero;
  copy.sequence_wraps = sa.sequence_wraps;
  copy.hard_lifetime = sa.hard_lifetime;
  copy.volume = sa.volume;
  copy.offload = offload;
  copy.keys = keys.material.clone();
  return copy;
}

/// The kernel may have made the SA all the same.
bool leaves_open(const Error& error) {
  return error.reason() == Reason::kKernelTimeout || error.reason() == Reason::kKernelLost ||
         error.reason() == Reason::kKernelReadBack;
}

bool covers(const policy::SelectorList& selectors, const IpAddress& address) {
  return std::any_of(selectors.begin(), selectors.end(), [&](const policy::TrafficSelector& each) {
    return each.addresses.first.family() == address.family() && each.addresses.contains(address);
  });
}

}  // namespace

struct ChildInstaller::Walk {
  ike::ChildId id;
  policy::Direction direction;
  policy::ChildKeys keys;
  hwoffload::Placement placement;
  std::string netns = {};
  policy::SaKey key = {};
  size_t next = 0;
  std::vector<hwoffload::Verdict> verdicts;
  Done done;
};

InstalledChild* ChildInstaller::find(ike::ChildId id) {
  auto it = children_.find(id);
  return it == children_.end() ? nullptr : it->second.get();
}

/// Only asked when an answer was lost, for it looks at all children.
bool ChildInstaller::is_of_another(ike::ChildId id, const std::string& netns, const policy::SaKey& key) const {
  return std::any_of(children_.begin(), children_.end(), [&](const auto& each) {
    const InstalledChild& other = *each.second;
    return each.first != id && public_netns(other) == netns &&
           ((other.has_inbound && other.plan.inbound.key == key) ||
            (other.has_outbound && other.plan.outbound.key == key));
  });
}

hwoffload::Placement ChildInstaller::place(const InstalledChild& child, policy::Direction direction) const {
  const policy::ChildSpec& spec = *child.spec;
  const Family outer = spec.local_endpoint.address.family();
  auto other_family = [&](const policy::SelectorList& list) {
    return std::any_of(list.begin(), list.end(),
                       [&](const policy::TrafficSelector& each) { return each.addresses.first.family() != outer; });
  };
  const hwoffload::SaNeeds needs{.direction = direction,
                                 .suite = spec.suite,
                                 .mode = spec.mode,
                                 .has_if_id = child.ids.if_id != 0,
                                 .udp_encapsulation = spec.udp_encapsulation,
                                 .outer = outer,
                                 .covers_outer = covers(spec.local, spec.local_endpoint.address) &&
                                                 covers(spec.remote, spec.remote_endpoint.address),
                                 .inner_other_family = other_family(spec.local) || other_family(spec.remote)};
  return hwoffload::place(needs, devices_(*spec.tunnel->group), spec.tunnel->offload_mode());
}

void ChildInstaller::install_inbound(ike::ChildId id, std::shared_ptr<const policy::ChildSpec> spec,
                                     const policy::ChildIds& ids, policy::ChildKeys keys, Done done) {
  if (find(id) != nullptr) return done({});  // asked again after a restore of the engine: it is there
  auto plan = policy::plan_child(*spec, ids, random_.u64());
  if (!plan.ok()) return done(std::move(plan).error());
  auto child = std::make_unique<InstalledChild>();
  child->spec = std::move(spec);
  child->ids = ids;
  child->plan = std::move(*plan);
  auto placement = place(*child, policy::Direction::kIn);
  children_.emplace(id, std::move(child));
  auto walk = std::make_shared<Walk>(Walk{.id = id,
                                          .direction = policy::Direction::kIn,
                                          .keys = std::move(keys),
                                          .placement = std::move(placement),
                                          .verdicts = {},
                                          .done = {}});
  walk->verdicts = walk->placement.passed_over;
  walk->done = [this, id, done = std::move(done)](Status status) {
    InstalledChild* installed = find(id);
    if (installed == nullptr) return done(Error(Reason::kCancelled, "removed meanwhile"));
    if (!status.ok()) {
      remove(id);
      return done(std::move(status));
    }
    Done all = gather_outcomes(2, [this, id, done](Status held) {
      if (!held.ok()) remove(id);
      done(std::move(held));
    });
    hold_private_policies(id, all);
    hold_policies(id, installed->plan.inbound_policies, installed->inbound, all);
  };
  try_next(walk);
}

void ChildInstaller::try_next(const std::shared_ptr<Walk>& walk) {
  InstalledChild* child = find(walk->id);
  if (child == nullptr) return walk->done(Error(Reason::kCancelled, "removed meanwhile"));
  const policy::SaConfig& sa = walk->direction == policy::Direction::kIn ? child->plan.inbound : child->plan.outbound;
  walk->netns = public_netns(*child);
  walk->key = sa.key;
  (walk->direction == policy::Direction::kIn ? child->inbound_sa : child->outbound_sa) =
      InstalledChild::Standing::kAsked;
  queue_.submit(walk->netns, policy::AddSa{with_keys(sa, walk->keys, walk->placement.attempts[walk->next].request)},
                [this, walk](Result<policy::KernelReply> result) { on_sa(walk, std::move(result)); });
}

void ChildInstaller::on_sa(const std::shared_ptr<Walk>& walk, Result<policy::KernelReply> result) {
  InstalledChild* child = find(walk->id);
  const bool open = !result.ok() && leaves_open(result.error()) && !is_of_another(walk->id, walk->netns, walk->key);
  if (child == nullptr) {
    if (result.ok() || open) queue_.submit(walk->netns, policy::DeleteSa{walk->key}, {});
    return walk->done(Error(Reason::kCancelled, "removed meanwhile"));
  }
  const bool in = walk->direction == policy::Direction::kIn;
  (in ? child->inbound_sa : child->outbound_sa) =
      result.ok() || open ? InstalledChild::Standing::kPresent : InstalledChild::Standing::kAbsent;
  const policy::OffloadRequest tried = walk->placement.attempts[walk->next].request;
  if (!result.ok()) {
    if (tried.kind == policy::OffloadKind::kNone || open) return walk->done(std::move(result).error());
    walk->verdicts.push_back(hwoffload::verdict_for(tried, result.error()));
    ++walk->next;  // the last attempt is software, so there is one
    return try_next(walk);
  }
  const auto* state = std::get_if<policy::SaState>(&*result);
  VERIFY(state != nullptr);
  (in ? child->inbound : child->outbound) = hwoffload::judge(walk->placement.requested, tried, *state, walk->verdicts);
  (in ? child->has_inbound : child->has_outbound) = true;
  walk->done({});
}

void ChildInstaller::hold_policies(ike::ChildId id, std::vector<policy::PolicyConfig> policies,
                                   const hwoffload::Effective& effective, Done done) {
  InstalledChild* child = find(id);
  // With packet offload the NIC looks policies up too: SA and policies must agree.
  if (effective.kind == policy::OffloadKind::kPacket)
    for (policy::PolicyConfig& each : policies) each.offload = {policy::OffloadKind::kPacket, effective.device};
  Done one = gather_outcomes(policies.size(), std::move(done));
  const SharedObjects::Owner owner{id.value(), child->ids.tunnel};
  for (const policy::PolicyConfig& each : policies) shared_.hold(owner, public_netns(*child), each, one);
}

void ChildInstaller::hold_private_policies(ike::ChildId id, Done done) {
  InstalledChild* child = find(id);
  const std::vector<policy::PolicyConfig> policies = child->plan.private_policies;
  if (policies.empty()) return done({});
  Done one = gather_outcomes(policies.size(), std::move(done));
  const SharedObjects::Owner owner{id.value(), child->ids.tunnel};
  for (const policy::PolicyConfig& each : policies) shared_.hold(owner, private_netns(*child), each, one);
}

void ChildInstaller::hold_routes(ike::ChildId id, Done done) {
  InstalledChild* child = find(id);
  if (child->plan.routes.empty()) return done({});
  Done one = gather_outcomes(child->plan.routes.size(), std::move(done));
  const std::vector<policy::RouteConfig> routes = child->plan.routes;
  const SharedObjects::Owner owner{id.value(), child->ids.tunnel};
  for (const policy::RouteConfig& each : routes) shared_.hold(owner, private_netns(*child), each, one);
}

void ChildInstaller::install_outbound(ike::ChildId id, policy::ChildKeys keys, Done done) {
  InstalledChild* child = find(id);
  if (child == nullptr) return done(Error(Reason::kNotFound, "the inbound half is not there"));
  auto walk = std::make_shared<Walk>(Walk{.id = id,
                                          .direction = policy::Direction::kOut,
                                          .keys = std::move(keys),
                                          .placement = place(*child, policy::Direction::kOut),
                                          .verdicts = {},
                                          .done = {}});
  walk->verdicts = walk->placement.passed_over;
  walk->done = [this, id, done = std::move(done)](Status status) {
    InstalledChild* installed = find(id);
    if (installed == nullptr || !status.ok()) return done(std::move(status));
    hold_policies(id, installed->plan.outbound_policies, installed->outbound, [this, id, done](Status held) {
      if (!held.ok() || find(id) == nullptr) return done(std::move(held));
      hold_routes(id, done);
    });
  };
  try_next(walk);
}

void ChildInstaller::renew(ike::ChildId id, policy::Direction direction, policy::ChildKeys keys, Done done) {
  InstalledChild* child = find(id);
  if (child == nullptr) return done(Error(Reason::kNotFound, "the child is not there"));
  const bool in = direction == policy::Direction::kIn;
  queue_.submit(public_netns(*child), policy::DeleteSa{(in ? child->plan.inbound : child->plan.outbound).key}, {});
  (in ? child->has_inbound : child->has_outbound) = false;
  auto walk = std::make_shared<Walk>(Walk{.id = id,
                                          .direction = direction,
                                          .keys = std::move(keys),
                                          .placement = place(*child, direction),
                                          .verdicts = {},
                                          .done = {}});
  walk->verdicts = walk->placement.passed_over;
  walk->done = [this, id, in, done = std::move(done)](Status status) {
    InstalledChild* installed = find(id);
    if (installed == nullptr || !status.ok()) return done(std::move(status));
    hold_policies(id, in ? installed->plan.inbound_policies : installed->plan.outbound_policies,
                  in ? installed->inbound : installed->outbound, done);
  };
  try_next(walk);
}

Status ChildInstaller::respecify(ike::ChildId id, std::shared_ptr<const policy::ChildSpec> spec) {
  InstalledChild* child = find(id);
  if (child == nullptr) return Error(Reason::kNotFound, "the child is not there");
  TRY_ASSIGN(child->plan, policy::plan_child(*spec, child->ids, random_.u64()), "");
  child->spec = std::move(spec);
  return {};
}

void ChildInstaller::mark_not_counting(ike::ChildId id) {
  InstalledChild* child = find(id);
  if (child == nullptr) return;
  child->outbound.reason = Reason::kOffloadNotCounting;
  child->outbound.detail = "packets are dropped (XfrmOutNoStates rises) while the SA's counter stands still";
}

/// Routes first, so that traffic stops taking the tunnel.
void ChildInstaller::release_outbound(ike::ChildId id, InstalledChild& child) {
  const std::string in_public = public_netns(child), in_private = private_netns(child);
  for (const auto& each : child.plan.routes) shared_.release(id.value(), in_private, each);
  for (const auto& each : child.plan.outbound_policies) shared_.release(id.value(), in_public, each.key);
  // One that the kernel still works on goes when its answer comes.
  if (child.outbound_sa == InstalledChild::Standing::kPresent)
    queue_.submit(in_public, policy::DeleteSa{child.plan.outbound.key}, {});
}

void ChildInstaller::stop_outbound(ike::ChildId id) {
  InstalledChild* child = find(id);
  if (child == nullptr || child->outbound_sa == InstalledChild::Standing::kAsked) return;
  release_outbound(id, *child);
  child->outbound_sa = InstalledChild::Standing::kAbsent;
  child->has_outbound = false;
  child->stopped = true;
}

void ChildInstaller::remove(ike::ChildId id) {
  auto it = children_.find(id);
  if (it == children_.end()) return;
  const std::unique_ptr<InstalledChild> child = std::move(it->second);
  children_.erase(it);
  // Outbound before inbound, so that nothing is sent that the answer of could not be received.
  release_outbound(id, *child);
  const std::string in_public = public_netns(*child);
  for (const auto& each : child->plan.inbound_policies) shared_.release(id.value(), in_public, each.key);
  const std::string in_private = private_netns(*child);
  for (const auto& each : child->plan.private_policies) shared_.release(id.value(), in_private, each.key);
  if (child->inbound_sa == InstalledChild::Standing::kPresent)
    queue_.submit(in_public, policy::DeleteSa{child->plan.inbound.key}, {});
}

}  // namespace ipsec::agent
