#include "agent/child_installer.h"

#include <algorithm>
#include <utility>

#include "agent/offload_needs.h"
#include "agent/outcome.h"
#include "policy/base/verify.h"
#include "policy/plan_routes.h"

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

}  // namespace

struct ChildInstaller::Walk {
  ike::ChildId id;
  policy::Direction direction;
  policy::ChildKeys keys;
  hwoffload::SaNeeds needs;
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

std::vector<ike::ChildId> ChildInstaller::children_of(const std::string& netns, const policy::SaKey& key) const {
  std::vector<ike::ChildId> found;
  const auto [begin, end] = by_key_.equal_range({netns, key});
  for (auto it = begin; it != end; ++it) found.push_back(it->second);
  return found;
}

bool ChildInstaller::is_of_another(ike::ChildId id, const std::string& netns, const policy::SaKey& key) const {
  return std::ranges::any_of(children_of(netns, key), [&](ike::ChildId each) {
    const InstalledChild& other = *children_.find(each)->second;
    return each != id && ((other.has_inbound && other.plan.inbound.key == key) ||
                          (other.has_outbound && other.plan.outbound.key == key));
  });
}

hwoffload::Placement ChildInstaller::place(const InstalledChild& child, const hwoffload::SaNeeds& needs) {
  const policy::Tunnel& tunnel = *child.spec->tunnel;
  return hwoffload::place(needs, offload_.situation(now_, child.ids.reqid, tunnel, needs), tunnel.offload_mode());
}

std::shared_ptr<ChildInstaller::Walk> ChildInstaller::walk_for(ike::ChildId id, const InstalledChild& child,
                                                               policy::Direction direction, policy::ChildKeys keys) {
  const hwoffload::SaNeeds needs = needs_of(*child.spec, child.plan, direction);
  auto walk = std::make_shared<Walk>(Walk{.id = id,
                                          .direction = direction,
                                          .keys = std::move(keys),
                                          .needs = needs,
                                          .placement = place(child, needs),
                                          .verdicts = {},
                                          .done = {}});
  walk->verdicts = walk->placement.passed_over;
  return walk;
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
  offload_.set_needs(ids.reqid, {needs_of(*child->spec, child->plan, policy::Direction::kIn),
                                 needs_of(*child->spec, child->plan, policy::Direction::kOut)});
  const auto walk = walk_for(id, *child, policy::Direction::kIn, std::move(keys));
  for (const policy::SaKey& key : {child->plan.inbound.key, child->plan.outbound.key})
    by_key_.emplace(std::pair(public_netns(*child), key), id);
  children_.emplace(id, std::move(child));
  walk->done = [this, id, done = std::move(done)](Status status) {
    if (find(id) == nullptr) return done(Error(Reason::kCancelled, "removed meanwhile"));
    if (!status.ok()) {
      remove(id);
      return done(std::move(status));
    }
    hold_private_policies(id, [this, id, done](Status held) {
      if (!held.ok()) remove(id);
      done(std::move(held));
    });
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
    offload_.refused(now_, child->ids.reqid, *child->spec->tunnel, walk->needs, walk->verdicts.back(),
                     result.error().os_errno());
    ++walk->next;  // the last attempt is software, so there is one
    return try_next(walk);
  }
  const auto* state = std::get_if<policy::SaState>(&*result);
  VERIFY(state != nullptr);
  hwoffload::Effective& effective = in ? child->inbound : child->outbound;
  effective = hwoffload::judge(walk->placement.requested, tried, *state, walk->verdicts);
  (in ? child->has_inbound : child->has_outbound) = true;
  offload_.read_back(now_, *child->spec->tunnel, walk->needs, tried, effective);
  hold_policies(walk);
}

/// Those of the walk's SA; where the NIC refuses them, the SA does not stay there either.
void ChildInstaller::hold_policies(const std::shared_ptr<Walk>& walk) {
  const InstalledChild* child = find(walk->id);
  VERIFY(child != nullptr);
  const bool in = walk->direction == policy::Direction::kIn;
  const hwoffload::Effective& effective = in ? child->inbound : child->outbound;
  std::vector<policy::PolicyConfig> policies = in ? child->plan.inbound_policies : child->plan.outbound_policies;
  // With packet offload the NIC looks policies up too: SA and policies must agree.
  if (effective.kind == policy::OffloadKind::kPacket)
    for (policy::PolicyConfig& each : policies)
      if (each.key.direction !=
          policy::Direction::kForward)  // NICs know none: what they decrypt is checked behind them
        each.offload = {policy::OffloadKind::kPacket, effective.device};
  const auto held = std::make_shared<size_t>(0);
  Done one = gather_outcomes(policies.size(), [this, walk, held](Status status) {
    InstalledChild* installed = find(walk->id);
    if (installed == nullptr) return walk->done(std::move(status));
    if (!status.ok() && step_down(walk, *held, status.error())) return;
    if (walk->direction == policy::Direction::kOut)
      offload_.placed(now_, installed->ids.reqid, *installed->spec->tunnel, installed->inbound, installed->outbound);
    walk->done(std::move(status));
  });
  const SharedObjects::Owner owner{walk->id.value(), child->ids.tunnel};
  for (const policy::PolicyConfig& each : policies)
    shared_.hold(owner, walk->netns, each, [held, one](Status status) {
      if (status.ok()) ++*held;
      one(std::move(status));
    });
}

/// The NIC has taken an SA and refuses its policies: the next rung, with the same key. That of an outbound SA may have
/// been used if one of its policies stands; then it must not go on in software. Whether there is a next rung to wait
/// for.
bool ChildInstaller::step_down(const std::shared_ptr<Walk>& walk, size_t policies_held, const Error& refusal) {
  InstalledChild* child = find(walk->id);
  VERIFY(child != nullptr);
  const bool in = walk->direction == policy::Direction::kIn;
  const hwoffload::Effective& effective = in ? child->inbound : child->outbound;
  const policy::OffloadRequest tried = walk->placement.attempts[walk->next].request;
  if (effective.kind != policy::OffloadKind::kPacket || refusal.os_errno() == 0 || leaves_open(refusal)) return false;
  walk->verdicts.push_back(hwoffload::verdict_for(tried, refusal));
  offload_.refused(now_, child->ids.reqid, *child->spec->tunnel, walk->needs, walk->verdicts.back(),
                   refusal.os_errno());
  if (!in && policies_held != 0) return false;
  (in ? child->has_inbound : child->has_outbound) = false;
  queue_.submit(walk->netns, policy::DeleteSa{walk->key}, {});
  ++walk->next;  // the last attempt is software, so there is one
  try_next(walk);
  return true;
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
  child->holds_routes = true;
  if (child->plan.routes.empty()) return done({});
  Done one = gather_outcomes(child->plan.routes.size(), std::move(done));
  const std::vector<policy::RouteConfig> routes = child->plan.routes;
  const SharedObjects::Owner owner{id.value(), child->ids.tunnel};
  for (const policy::RouteConfig& each : routes) shared_.hold(owner, private_netns(*child), each, one);
}

void ChildInstaller::reroute(ike::ChildId id, const policy::Tunnel& tunnel, const Done& complain) {
  InstalledChild* child = find(id);
  if (child == nullptr) return;
  const std::vector<policy::RouteConfig> before =
      std::exchange(child->plan.routes,
                    policy::plan_selector_routes(child->spec->remote, tunnel, child->ids, policy::RouteState::kUp));
  // Those of one whose outbound half is still to come are held with it.
  if (child->holds_routes)
    shared_.replace({id.value(), child->ids.tunnel}, private_netns(*child), before, child->plan.routes, complain);
}

void ChildInstaller::install_outbound(ike::ChildId id, policy::ChildKeys keys, Done done) {
  InstalledChild* child = find(id);
  if (child == nullptr) return done(Error(Reason::kNotFound, "the inbound half is not there"));
  // Before the SA, because the first packet may take it at once.
  const policy::ChildSpec& spec = *child->spec;
  rules_.write_outer(public_netns(*child), child->plan.outbound.key,
                     policy::outer_header(*spec.tunnel->child(spec.child)->policy, spec.udp_encapsulation));
  rules_.apply();
  const auto walk = walk_for(id, *child, policy::Direction::kOut, std::move(keys));
  walk->done = [this, id, done = std::move(done)](Status status) {
    if (find(id) == nullptr || !status.ok()) return done(std::move(status));
    hold_routes(id, done);
  };
  try_next(walk);
}

void ChildInstaller::renew(ike::ChildId id, policy::Direction direction, policy::ChildKeys keys, Done done) {
  InstalledChild* child = find(id);
  if (child == nullptr) return done(Error(Reason::kNotFound, "the child is not there"));
  const bool in = direction == policy::Direction::kIn;
  queue_.submit(public_netns(*child), policy::DeleteSa{(in ? child->plan.inbound : child->plan.outbound).key}, {});
  (in ? child->has_inbound : child->has_outbound) = false;
  const auto walk = walk_for(id, *child, direction, std::move(keys));
  walk->done = std::move(done);
  try_next(walk);
}

Status ChildInstaller::respecify(ike::ChildId id, std::shared_ptr<const policy::ChildSpec> spec) {
  InstalledChild* child = find(id);
  if (child == nullptr) return Error(Reason::kNotFound, "the child is not there");
  TRY_ASSIGN(child->plan, policy::plan_child(*spec, child->ids, random_.u64()), "");
  child->spec = std::move(spec);
  return {};
}

void ChildInstaller::mark_not_counting(ike::ChildId id, const std::string& why) {
  InstalledChild* child = find(id);
  if (child == nullptr) return;
  child->outbound.reason = Reason::kOffloadNotCounting;
  child->outbound.detail = why;
}

/// Routes first, so that traffic stops taking the tunnel.
void ChildInstaller::release_outbound(ike::ChildId id, InstalledChild& child) {
  const std::string in_public = public_netns(child), in_private = private_netns(child);
  for (const auto& each : child.plan.routes) shared_.release(id.value(), in_private, each);
  child.holds_routes = false;
  for (const auto& each : child.plan.outbound_policies) shared_.release(id.value(), in_public, each.key);
  // One that the kernel still works on goes when its answer comes.
  if (child.outbound_sa == InstalledChild::Standing::kPresent)
    queue_.submit(in_public, policy::DeleteSa{child.plan.outbound.key}, {});
  // Two peers may have chosen the same SPI for one address: the other one's goes on.
  const bool refused = child.outbound_sa != InstalledChild::Standing::kPresent;
  if (rules_.has_outer(in_public, child.plan.outbound.key) &&
      !(refused && is_of_another(id, in_public, child.plan.outbound.key)))
    rules_.write_outer(in_public, child.plan.outbound.key, std::nullopt);
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
  for (const policy::SaKey& key : {child->plan.inbound.key, child->plan.outbound.key}) {
    const auto [begin, end] = by_key_.equal_range({public_netns(*child), key});
    if (const auto mine = std::find_if(begin, end, [id](const auto& each) { return each.second == id; }); mine != end)
      by_key_.erase(mine);
  }
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
