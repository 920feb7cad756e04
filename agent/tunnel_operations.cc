#include <algorithm>

#include "agent/limits.h"
#include "agent/outcome.h"
#include "agent/tunnel_manager.h"

// What operators ask for: up, down, rekey, and who waits for the outcome.
namespace ipsec::agent {

using Step = ChildRow::Step;

Status check_in_force(const TunnelRow* row, const std::string& tunnel, const std::string& child) {
  if (row == nullptr) return Error(Reason::kNotFound, "tunnel " + tunnel);
  if (row->leaving)
    return Error(Reason::kConfigNotInForce,
                 "tunnel " + tunnel +
                     (row->next ? " still ends as it was configured before; the one that takes its place follows"
                                : " is not configured any more and still ends"));
  const auto one = row->children.find(child);
  if (!child.empty() && one == row->children.end()) return Error(Reason::kNotFound, "child " + child);
  const bool ends = child.empty()
                        ? std::ranges::all_of(row->children, [](const auto& each) { return each.second.leaving; })
                        : one->second.leaving;
  if (!ends) return {};
  const std::string what = child.empty() ? "tunnel " + tunnel + ": each child" : "child " + child;
  const bool follows = child.empty() || row->tunnel->child(child) != nullptr;
  return Error(Reason::kConfigNotInForce,
               what + (follows ? " still ends as it was configured before; the one that takes its place follows"
                               : " is not configured any more and still ends"));
}

void TunnelManager::settle_waiters(const std::string& tunnel, const std::string& child, WaitFor what,
                                   const Status& outcome) {
  std::vector<Done> settled;
  std::erase_if(waiters_, [&](Waiter& each) {
    if (each.tunnel != tunnel || each.child != child || each.what != what) return false;
    settled.push_back(std::move(each.done));
    return true;
  });
  for (Done& done : settled) done(outcome);
}

void TunnelManager::expire_waiters(Instant now) {
  for (size_t i = 0; i < waiters_.size();) {
    if (waiters_[i].deadline > now) {
      ++i;
      continue;
    }
    Waiter late = std::move(waiters_[i]);
    waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(i));
    late.done(Error(Reason::kTimeout, "tunnel " + late.tunnel));
  }
}

/// A rekey that came to nothing: whoever asked for one learns why. The SA goes on.
void TunnelManager::fail_rekeys(const ike::Report& report) {
  std::optional<std::string> child;
  std::string detail;
  Reason because = Reason::kRekeyFailed;
  for (const Field& each : report.fields) {
    if (each.name == "child") child = each.value;
    if (each.name == "detail") detail = each.value;
    if (each.name == "because") because = reason_from_code(each.value).value_or(because);
  }
  settle_waiters(report.tunnel, child.value_or(""), child ? WaitFor::kChildRekey : WaitFor::kIkeRekey,
                 Error(because, detail));
}

void TunnelManager::up(Instant now, const std::string& tunnel, const std::string& child, Done done) {
  TunnelRow* row = find(tunnel);
  if (Status there = check_in_force(row, tunnel, child); !there.ok()) return done(std::move(there));
  if (!row->link_ready) return done(no_interface(*row));
  std::vector<ChildRow*> wanted;
  for (auto& [name, each] : row->children) {
    if (each.leaving || (!child.empty() && name != child)) continue;
    each.held_down = each.given_up = false;
    // An attempt that `down` is ending does not count.
    if (auto ike = each.attempt ? ikes_.find(*each.attempt) : ikes_.end();
        ike != ikes_.end() && ike->second.stage == IkeRow::Stage::kEnding)
      each.step = Step::kNone;
    each.failures = 0;
    each.pause = Duration{0};
    settle_link(*row);
    if (each.up.empty()) wanted.push_back(&each);
  }
  Done one = gather_outcomes(wanted.size(), std::move(done));
  const Instant deadline = now + row->tunnel->ike_policy->setup_timeout + kUpSlack;
  for (ChildRow* each : wanted) waiters_.push_back({tunnel, each->config->name, WaitFor::kUp, deadline, one});
  for (ChildRow* each : wanted) begin(now, *row, *each, nullptr);
}

void TunnelManager::down(Instant now, const std::string& tunnel, const std::string& child, Done done) {
  TunnelRow* row = find(tunnel);
  if (Status there = check_in_force(row, tunnel, child); !there.ok()) return done(std::move(there));
  std::vector<const ChildRow*> leaving;
  for (auto& [name, each] : row->children) {
    if (each.leaving || (!child.empty() && name != child)) continue;
    each.held_down = true;
    each.given_up = false;
    settle_link(*row);
    set_retry(each, {});
    orphans_.end(now, each.ids.reqid, Reason::kDeletedByOperator);
    if (!each.up.empty()) leaving.push_back(&each);
    settle_waiters(tunnel, name, WaitFor::kUp, Error(Reason::kDeletedByOperator, "taken down meanwhile"));
  }
  Done one = gather_outcomes(leaving.size(), std::move(done));
  for (const ChildRow* each : leaving)
    waiters_.push_back({tunnel, each->config->name, WaitFor::kDown, now + kDownTimeout, one});
  if (row->tunnel->is_manual()) return end_manual(*row, child, Reason::kDeletedByOperator);
  const bool whole =
      std::all_of(row->children.begin(), row->children.end(), [](const auto& each) { return each.second.held_down; });
  for (ike::IkeSaId id : row->ikes)
    if (whole) close(ikes_.at(id), Reason::kDeletedByOperator, ike::CloseMode::kTellPeer);
  if (whole) return move_waiting(*row);
  close_children(*row, child, Reason::kDeletedByOperator);
}

void TunnelManager::rekey(Instant now, const std::string& tunnel, const std::string& child, RekeyTarget target,
                          Done done) {
  TunnelRow* row = find(tunnel);
  if (Status there = check_in_force(row, tunnel, child); !there.ok()) return done(std::move(there));
  if (target == RekeyTarget::kIke) {
    const IkeRow* ike = ike_in_use(*row);
    if (ike == nullptr) return done(Error(Reason::kNotFound, "tunnel " + tunnel + " has no IKE SA in use"));
    waiters_.push_back({tunnel, {}, WaitFor::kIkeRekey, now + kRekeyTimeout, std::move(done)});
    return services_.workers.rekey_ike(ike->worker, ike->id, Reason::kNone);
  }
  std::vector<std::pair<std::string, std::vector<ike::ChildId>>> wanted;
  for (const auto& [name, each] : row->children)
    if (!each.leaving && (child.empty() || name == child) && !each.up.empty()) wanted.emplace_back(name, each.up);
  if (wanted.empty())
    return done(Error(Reason::kNotFound, child.empty() ? "no child of tunnel " + tunnel + " is up"
                                                       : "child " + child + " of tunnel " + tunnel + " is not up"));
  Done one = gather_outcomes(wanted.size(), std::move(done));
  for (const auto& [name, ids] : wanted)
    waiters_.push_back({tunnel, name, WaitFor::kChildRekey, now + kRekeyTimeout, one});
  for (const auto& [name, ids] : wanted)  // several, where each carries a part
    for (const ike::ChildId id : ids)
      if (const Home* home = home_of(id); home != nullptr)
        services_.workers.rekey_child(home->worker, home->ike, id, Reason::kNone);
      else
        renew_manual(id);
}

}  // namespace ipsec::agent
