#include "agent/orphans.h"

#include <algorithm>

#include "agent/limits.h"

namespace ipsec::agent {

void Orphans::adopt(Instant now, std::vector<OrphanedChild> children, Duration grace) {
  std::map<std::string, std::pair<uint64_t, uint64_t>> told;  // SAs and children by tunnel
  for (OrphanedChild& each : children) {
    for (const policy::PolicyConfig& policy : each.policies)
      shared_.adopt({owner(each.reqid), each.number}, each.public_netns, policy);
    for (const policy::PolicyConfig& policy : each.private_policies)
      shared_.adopt({owner(each.reqid), each.number}, each.private_netns, policy);
    for (const policy::RouteConfig& route : each.routes)
      shared_.adopt({owner(each.reqid), each.number}, each.private_netns, route);
    if (each.peer_route) shared_.adopt({owner(each.reqid), each.number}, each.public_netns, *each.peer_route);
    auto& [sas, count] = told[each.tunnel];
    sas += each.inbound.size() + each.outbound.size();
    ++count;
    const uint32_t reqid = each.reqid;
    if (each.part_of != 0) parts_.emplace(each.part_of, reqid);
    for (const auto* list : {&each.inbound, &each.outbound})
      for (const auto& [key, state] : *list) reqids_.emplace(key, reqid);
    children_.insert_or_assign(reqid, Kept{.child = std::move(each), .since = now, .until = now + grace});
    ends_.set(reqid, now + grace);
  }
  for (const auto& [tunnel, counts] : told)
    announce_("tunnel/" + tunnel, Reason::kOrphansKept,
              {field("sas", counts.first), field("children", counts.second),
               field("grace_s", static_cast<uint64_t>(grace / 1s))});
}

/// What there is of a child: under its own reqid, and its parts.
std::vector<uint32_t> Orphans::of_child(uint32_t reqid) const {
  std::vector<uint32_t> all;
  if (children_.contains(reqid)) all.push_back(reqid);
  const auto [first, last] = parts_.equal_range(reqid);
  for (auto part = first; part != last; ++part)
    if (children_.contains(part->second)) all.push_back(part->second);
  return all;
}

bool Orphans::carry(uint32_t reqid) const {
  return std::ranges::any_of(of_child(reqid), [&](uint32_t each) { return !children_.at(each).replaced; });
}

size_t Orphans::sas() const {
  size_t sum = 0;
  for (const auto& [reqid, kept] : children_) sum += kept.sas();
  return sum;
}

Orphans::Iterator Orphans::find(const std::string& netns, const policy::SaKey& key) {
  const auto [first, last] = reqids_.equal_range(key);
  for (auto known = first; known != last; ++known) {
    const auto it = children_.find(known->second);
    if (it == children_.end() || it->second.child.public_netns != netns) continue;
    if (it->second.child.inbound.contains(key) || it->second.child.outbound.contains(key)) return it;
  }
  return children_.end();
}

/// Of the kernel, of the journal and of the packet rules: deleting what is gone already succeeds.
void Orphans::take_out(const std::string& netns, const policy::SaKey& key) {
  queue_.submit(netns, policy::DeleteSa{key}, {});
  rules_.write_outer(netns, key, std::nullopt);
}

void Orphans::drop(const Kept& kept, std::map<policy::SaKey, policy::SaState>& sas) {
  for (const auto& [key, state] : sas) take_out(kept.child.public_netns, key);
  sas.clear();
}

/// Routes first, so that traffic stops taking what is to go.
void Orphans::release(const Kept& kept) {
  const OrphanedChild& child = kept.child;
  for (const auto& each : child.routes) shared_.release(owner(child.reqid), child.private_netns, each);
  if (child.peer_route) shared_.release(owner(child.reqid), child.public_netns, *child.peer_route);
  for (const auto& each : child.policies) shared_.release(owner(child.reqid), child.public_netns, each.key);
  for (const auto& each : child.private_policies) shared_.release(owner(child.reqid), child.private_netns, each.key);
}

void Orphans::tell(Instant now, const Kept& kept, size_t sas, Reason reason, std::optional<Reason> because) {
  std::vector<Field> fields{field("child", kept.child.child), field("sas", uint64_t{sas}),
                            field("kept_s", static_cast<uint64_t>((now - kept.since) / 1s))};
  if (because) fields.push_back(field("because", std::string(code(*because))));
  announce_("tunnel/" + kept.child.tunnel, reason, std::move(fields));
}

void Orphans::replace(Instant now, uint32_t reqid) {
  for (const uint32_t each : of_child(reqid)) replace_one(now, children_.find(each));
}

void Orphans::replace_one(Instant now, Iterator it) {
  if (it->second.replaced) return;
  const uint32_t reqid = it->first;
  Kept& kept = it->second;
  const size_t sas = kept.sas();
  release(kept);  // the new child holds the same policies: they go on standing
  drop(kept, kept.child.outbound);
  kept.replaced = true;
  kept.until = std::min(kept.until, now + kOrphanLinger);
  ends_.set(reqid, kept.until);
  tell(now, kept, sas, Reason::kOrphansReplaced, {});
  if (!kept.child.inbound.empty()) return;
  ends_.cancel(reqid);
  children_.erase(it);
}

void Orphans::remove(Instant now, Iterator it, Reason reason, std::optional<Reason> because) {
  Kept kept = std::move(it->second);
  ends_.cancel(it->first);
  children_.erase(it);
  const size_t sas = kept.sas();
  if (!kept.replaced) release(kept);
  drop(kept, kept.child.outbound);
  drop(kept, kept.child.inbound);
  if (!kept.replaced) tell(now, kept, sas, reason, because);  // of the others it was told before
}

void Orphans::end(Instant now, uint32_t reqid, Reason because) {
  for (const uint32_t each : of_child(reqid)) remove(now, children_.find(each), Reason::kOrphansGone, because);
}

void Orphans::end_all(Instant now, Reason because) {
  while (!children_.empty()) remove(now, children_.begin(), Reason::kOrphansGone, because);
}

/// An SA of it has left the kernel; with the last one the rest goes.
void Orphans::lose(Instant now, Iterator it, Reason because) {
  if (it->second.sas() == 0) remove(now, it, Reason::kOrphansGone, because);
}

void Orphans::give_way(const std::string& netns, const policy::SaKey& key) {
  const auto it = find(netns, key);
  if (it == children_.end() || it->second.child.outbound.erase(key) + it->second.child.inbound.erase(key) == 0) return;
  take_out(netns, key);
}

void Orphans::on_expired(Instant now, const std::string& netns, const policy::SaKey& key) {
  const auto it = find(netns, key);
  if (it == children_.end()) return;
  it->second.child.inbound.erase(key);
  it->second.child.outbound.erase(key);
  take_out(netns, key);
  lose(now, it, Reason::kKernelExpired);
}

void Orphans::on_seen(const std::string& netns, const std::vector<policy::SaState>& states) {
  if (children_.empty()) return;
  std::map<policy::SaKey, policy::SaIdentity>& seen = seen_[netns];
  for (const policy::SaState& state : states) seen.emplace(state.key, policy::SaIdentity::of(state));
}

void Orphans::end_read(Instant now, const std::string& netns) {
  if (children_.empty()) return;
  const std::map<policy::SaKey, policy::SaIdentity> seen = std::exchange(seen_[netns], {});
  for (auto it = children_.begin(); it != children_.end();) {
    const auto present = it++;
    OrphanedChild& child = present->second.child;
    if (child.public_netns != netns) continue;
    for (auto* sas : {&child.inbound, &child.outbound})
      std::erase_if(*sas, [&](const auto& each) {
        const auto there = seen.find(each.first);
        const bool stands = there != seen.end() && there->second == policy::SaIdentity::of(each.second);
        if (!stands) take_out(netns, each.first);
        return !stands;
      });
    lose(now, present, Reason::kSaLost);
  }
}

void Orphans::run(Instant now) {
  for (size_t count = 0; count < kRetriesPerTurn; ++count) {
    const auto due = ends_.pop_due(now);
    if (!due) return;
    remove(now, children_.find(*due), Reason::kOrphansGraceEnded, {});
  }
}

bool Orphans::collect(const std::string& netns, uint32_t& after, size_t most, std::set<policy::SaKey>& keys,
                      std::set<std::string>& devices) const {
  for (auto it = children_.upper_bound(after); it != children_.end(); ++it, --most) {
    if (most == 0) return true;
    after = it->first;
    const Kept& kept = it->second;
    if (kept.child.public_netns != netns) continue;
    for (const auto* sas : {&kept.child.inbound, &kept.child.outbound})
      for (const auto& [key, state] : *sas) {
        keys.insert(key);
        if (state.offload != policy::OffloadKind::kNone) devices.insert(state.offload_device);
      }
  }
  return false;
}

}  // namespace ipsec::agent
