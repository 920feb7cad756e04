#include <algorithm>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// The interfaces of tunnels: one for each, or an external one that all tunnels of a group share. The first of them has
// it made, with the last one it goes. The operational state of a tunnel's own one follows the tunnel, so that routing
// daemons need not know what a tunnel is; an external one is there for tunnels in different states.
namespace ipsec::agent {
namespace {

std::pair<std::string, policy::RoutingPlace> shared_place(const policy::TunnelGroup& group) {
  return {group.public_place.netns, group.private_place};
}

}  // namespace

TunnelManager::SharedLink* TunnelManager::shared_link(const TunnelRow& row) {
  if (!row.tunnel->shares_interface()) return nullptr;
  const auto found = shared_links_.find(shared_place(*row.tunnel->group));
  return found != shared_links_.end() ? &found->second : nullptr;
}

void TunnelManager::name_link(TunnelRow& row) {
  const policy::TunnelGroup& group = *row.tunnel->group;
  if (!row.tunnel->shares_interface()) {
    row.interface = policy::interface_name(row.if_id);
    tunnel_by_interface_[row.interface] = row.tunnel->name;
    return;
  }
  const auto [link, fresh] = shared_links_.try_emplace(shared_place(group));
  if (fresh) link->second.config = policy::plan_external_link(*config_, group);
  row.interface = link->second.config.name;
}

policy::LinkConfig TunnelManager::link_of(const TunnelRow& row) const {
  if (row.tunnel->shares_interface())
    if (const auto link = shared_links_.find(shared_place(*row.tunnel->group)); link != shared_links_.end())
      return link->second.config;
  policy::LinkConfig link = policy::plan_link(*row.tunnel, {.if_id = row.if_id, .interface = row.interface},
                                              policy::link_mtu(*row.tunnel, row.mtu.bytes));
  link.dormant = !takes_traffic(row);
  return link;
}

/// A tunnel that waits for traffic must be seen as one that works: over an interface that does not run, routing daemons
/// have no route, and no packet would raise the tunnel. The metric of its routes tells the difference.
bool TunnelManager::takes_traffic(const TunnelRow& row) const {
  if (row.leaving && row.asked) return !row.asked->dormant;  // as it was: it goes anyway
  return std::ranges::any_of(row.children, [this](const auto& each) {
    const ChildRow& child = each.second;
    if (!child.up.empty() || orphans_.carry(child.ids.reqid)) return true;
    if (child.held_down || child.given_up) return false;
    // A trap that comes with the interface counts from the beginning: no second message to the kernel follows.
    return child.trap || (child.config->start == policy::StartMode::kTraffic && !child.trap_dropped);
  });
}

std::string_view TunnelManager::interface_state_of(const TunnelRow& row) const {
  if (row.interface.empty() || !row.tunnel->group->enabled) return {};
  if (!row.link_ready) return "missing";
  return row.tunnel->shares_interface() || takes_traffic(row) ? "running" : "dormant";
}

/// Something has changed that its interface may depend on: looked at when all that is known by now is done, so that
/// what changes twice is said once.
void TunnelManager::settle_link(const TunnelRow& row) {
  if (row.if_id != 0 && !row.tunnel->shares_interface()) unsettled_links_.insert(row.tunnel->name);
}

void TunnelManager::settle_links() {
  for (size_t count = 0; count < kTunnelsPerTurn && !unsettled_links_.empty(); ++count) {
    TunnelRow* row = find(unsettled_links_.extract(unsettled_links_.begin()).value());
    // One that is still to be made is asked for as it is wanted then.
    if (row == nullptr || !row->link_ready || row->leaving || stopping_) continue;
    policy::LinkConfig wanted = link_of(*row);
    if (row->asked == wanted) continue;
    const std::string& netns = row->tunnel->group->private_place.netns;
    reconciliation_.expect(netns, wanted);
    row->asked = wanted;
    queue_.submit(netns, policy::UpdateLink{std::move(wanted)}, {});  // what fails shows as drift, and is told there
  }
}

void TunnelManager::make_link(Instant now, TunnelRow& row) {
  SharedLink* shared = shared_link(row);
  if (shared != nullptr && shared->ready) return use_link(now, row);
  row.link_asked = true;
  policy::LinkConfig wanted = link_of(row);
  if (shared == nullptr) row.asked = wanted;
  if (shared != nullptr && std::exchange(shared->asked, true)) return;
  auto answered = [this, now, name = row.tunnel->name](const Status& made) {
    if (TunnelRow* found = find(name); found != nullptr) on_link_answer(now, *found, made);
  };
  auto shared_answered = [this, now, place = shared_place(*row.tunnel->group)](const Status& made) {
    on_shared_answer(now, place, made);
  };
  std::function<void(const Status&)> done = std::move(answered);
  if (shared != nullptr) done = std::move(shared_answered);
  queue_.submit(row.tunnel->group->private_place.netns, policy::AddLink{std::move(wanted)},
                [done = std::move(done)](Result<policy::KernelReply> result) {
                  done(result.ok() ? Status() : Status(std::move(result).error()));
                });
}

void TunnelManager::on_link_answer(Instant now, TunnelRow& row, const Status& made) {
  row.link_asked = false;
  sweep_soon(row);
  settle_link(row);
  if (made.ok()) return use_link(now, row);
  row.last_reason = made.error().reason();
  row.last_detail = made.error().text();
  event("tunnel/" + row.tunnel->name, row.last_reason, {field("detail", row.last_detail)});
}

void TunnelManager::on_shared_answer(Instant now, const SharedPlace& place, const Status& made) {
  const auto found = shared_links_.find(place);
  if (found == shared_links_.end()) return;
  SharedLink& link = found->second;
  link.ready = made.ok();
  for (auto& [name, row] : tunnels_)
    if (row.link_asked && shared_link(row) == &link) on_link_answer(now, row, made);
  link.asked = false;                          // not before: who leaves at once would take it along
  if (!link.ready || link.users != 0) return;  // those who wanted it have gone meanwhile
  queue_.submit(place.second.netns, policy::DeleteLink{link.config.name}, {});
  shared_links_.erase(found);
}

/// The interface stands.
void TunnelManager::use_link(Instant now, TunnelRow& row) {
  row.link_ready = true;
  if (SharedLink* shared = shared_link(row); shared != nullptr) ++shared->users;
  if (stopping_) return remove_link(row);
  if (!row.leaving) start_children(now, row);
}

void TunnelManager::remove_link(TunnelRow& row) {
  row.link_ready = false;
  if (row.interface.empty()) return;
  if (SharedLink* shared = shared_link(row); shared != nullptr) {
    if (--shared->users != 0 || shared->asked) return;
    shared_links_.erase(shared_place(*row.tunnel->group));
  }
  reconciliation_.expect_no_link(row.tunnel->group->private_place.netns, row.interface);
  queue_.submit(row.tunnel->group->private_place.netns, policy::DeleteLink{row.interface}, {});
}

/// Tunnels whose interface could not be made at the start begin their life now.
void TunnelManager::on_link_made(const std::string& link) {
  if (stopping_) return;
  const auto begin = [&](TunnelRow& row) {
    row.last_reason = Reason::kNone;
    row.last_detail.clear();
    row.asked.reset();  // made as it was wanted when that was read
    settle_link(row);
    use_link(now_, row);
  };
  if (const auto own = tunnel_by_interface_.find(link); own != tunnel_by_interface_.end()) {
    if (TunnelRow* row = find(own->second); row != nullptr && !row->link_ready) begin(*row);
    return;
  }
  for (auto& [place, shared] : shared_links_) {
    if (shared.config.name != link || shared.ready) continue;
    shared.ready = true;
    for (auto& [name, row] : tunnels_)
      if (!row.link_ready && !row.link_asked && row.tunnel->group->enabled && shared_link(row) == &shared) begin(row);
  }
}

/// Another configuration may want another MTU, or other addresses.
void TunnelManager::plan_shared_links() {
  for (const auto& [name, group] : config_->groups) {
    const auto found = shared_links_.find(shared_place(*group));
    if (found == shared_links_.end() || group->interfaces != policy::InterfaceScope::kExternal) continue;
    SharedLink& link = found->second;
    policy::LinkConfig wanted = policy::plan_external_link(*config_, *group);
    wanted.name = link.config.name;
    if (wanted == link.config) continue;
    link.config = std::move(wanted);
    reconciliation_.expect(group->private_place.netns, link.config);
    if (link.ready) queue_.submit(group->private_place.netns, policy::UpdateLink{link.config}, {});
  }
}

}  // namespace ipsec::agent
