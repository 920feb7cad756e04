#include <algorithm>

#include "agent/tunnel_manager.h"

// Children whose keys nobody negotiates. The daemon has the keys, so it does for them what IKE does for others: their
// SAs are installed when the tunnel starts, again when somebody has taken them out, and anew when their keys change.
// Their SPIs are always the same, so one of them never ends while the kernel still works on it.
namespace ipsec::agent {

using policy::Direction;
using Step = ChildRow::Step;

namespace {

ike::ChildId id_of(const ChildRow& child) { return ike::ChildId(child.config->manual->spi_in); }

}  // namespace

/// Its row is there as long as it is, for it counts as one of its homes.
ChildRow& TunnelManager::manual_row(const ManualChild& manual, TunnelRow** row) {
  const auto& [tunnel, child] = child_by_reqid_.at(manual.reqid);
  *row = &tunnels_.at(tunnel);
  return (*row)->children.at(child);
}

void TunnelManager::announce_manual(const TunnelRow& row, const ChildRow& child) {
  event("tunnel/" + row.tunnel->name, Reason::kManualSasInstalled,
        {field("child", child.config->name), field("spi_in", hex32(child.config->manual->spi_in)),
         field("spi_out", hex32(child.config->manual->spi_out))});
}

void TunnelManager::begin_manual(TunnelRow& row, ChildRow& child) {
  const ike::ChildId id = id_of(child);
  child.step = Step::kCreating;
  const auto fail = [&](const Error& error) {
    event("tunnel/" + row.tunnel->name, error.reason(),
          {field("child", child.config->name), field("detail", error.text())});
    attempt_failed(now_, row, child, error.reason(), error.text());
  };
  if (installer_.children().contains(id))
    return fail(Error(Reason::kSpiTaken, "SPI " + hex32(id.value()) + " is that of another child of this node"));
  auto keys = services_.manual_keys(*child.config);
  if (!keys.ok()) return fail(keys.error());
  const auto spec = policy::manual_spec(row.tunnel, *child.config);
  const auto kept = std::make_shared<const policy::ManualKeys>(std::move(*keys));
  manual_[id] = {.reqid = child.ids.reqid, .keys = kept, .busy = 1, .ends = {}, .failed = {}};
  ++child.homes;
  const std::string netns = row.tunnel->group->public_place.netns;
  // What an earlier run has left has the same keys of the kernel: it goes in the moment in which this comes.
  orphans_.give_way(netns, {spec->local_endpoint.address, spec->spi_in});
  installer_.install_inbound(
      id, spec, child.ids, {kept->in.material.clone()}, [this, id, kept, netns, spec](const Status& status) {
        if (!status.ok() || !manual_.contains(id)) return on_manual_installed(id, status);
        orphans_.give_way(netns, {spec->remote_endpoint.address, spec->spi_out});
        installer_.install_outbound(id, {kept->out.material.clone()},
                                    [this, id](const Status& installed) { on_manual_installed(id, installed); });
      });
}

void TunnelManager::on_manual_installed(ike::ChildId id, const Status& status) {
  const auto it = manual_.find(id);
  if (it == manual_.end()) return;  // the daemon ends
  it->second.busy = 0;
  TunnelRow* row = nullptr;
  ChildRow& child = manual_row(it->second, &row);
  if (it->second.ends) return end_manual(*row, child, *it->second.ends);
  if (!status.ok()) {
    manual_.erase(it);
    installer_.remove(id);
    --child.homes;
    event("tunnel/" + row->tunnel->name, status.error().reason(),
          {field("child", child.config->name), field("detail", status.error().text())});
    return attempt_failed(now_, *row, child, status.error().reason(), status.error().text());
  }
  on_child_up(now_, *row, child, *installer_.children().at(id), id);
  announce_manual(*row, child);
  if (it->second.stale) renew_manual(id);
}

/// Takes its SAs out, at once or when the kernel has answered.
void TunnelManager::end_manual(TunnelRow& row, ChildRow& child, Reason reason) {
  const ike::ChildId id = id_of(child);
  const auto it = manual_.find(id);
  if (it == manual_.end() || it->second.reqid != child.ids.reqid) return;
  if (it->second.busy != 0) {
    it->second.ends = reason;
    return;
  }
  manual_.erase(it);
  const bool was_up = std::erase(child.up, id) != 0;
  if (was_up) set_routes(row);  // first, so that traffic stops taking the tunnel
  installer_.remove(id);
  --child.homes;
  child.step = Step::kNone;
  sweep_soon(row);
  if (was_up) return on_child_ended(now_, row, child, reason);
  if (!child.held_down) begin(now_, row, child, nullptr);
}

/// One child of a tunnel, or all.
void TunnelManager::end_manual(TunnelRow& row, const std::string& name, Reason reason) {
  for (auto& [each, child] : row.children)
    if (name.empty() || each == name) end_manual(row, child, reason);
}

/// With the public side of a group its SAs are gone.
void TunnelManager::end_manual_in(const std::string& netns) {
  for (auto& [name, row] : tunnels_)
    if (row.tunnel->is_manual() && row.tunnel->group->public_place.netns == netns)
      end_manual(row, std::string(), Reason::kNamespaceMissing);
}

void TunnelManager::wake_manual(TunnelRow& row) {
  if (!row.tunnel->is_manual()) return;
  for (auto& [name, child] : row.children)
    if (child.retry_at) begin(now_, row, child, nullptr);
}

/// What could not be installed because the namespace was not there is tried at once.
void TunnelManager::wake_manual_in(const std::string& netns) {
  for (auto& [name, row] : tunnels_)
    if (row.last_reason == Reason::kNamespaceMissing && row.tunnel->group->public_place.netns == netns)
      wake_manual(row);
}

/// The same of an interface that was made anew.
void TunnelManager::wake_manual_on(const std::string& link) {
  if (const auto own = tunnel_by_interface_.find(link); own != tunnel_by_interface_.end()) {
    if (TunnelRow* row = find(own->second); row != nullptr) wake_manual(*row);
    return;
  }
  for (auto& [name, row] : tunnels_)
    if (row.interface == link) wake_manual(row);
}

/// At least one of its SAs is not as it should be: looks which.
void TunnelManager::mend_manual(ike::ChildId id) {
  ManualChild& manual = manual_.at(id);
  if (manual.busy != 0) return;
  const InstalledChild& installed = *installer_.children().at(id);
  const std::string netns = installed.spec->tunnel->group->public_place.netns;
  manual.busy = 2;
  for (const policy::SaConfig* sa : {&installed.plan.inbound, &installed.plan.outbound}) {
    queue_.submit(netns, policy::ReadSa{sa->key},
                  [this, id, direction = sa->direction,
                   wanted = policy::SaIdentity::of(*sa)](const Result<policy::KernelReply>& read) {
                    const auto* state = read.ok() ? std::get_if<policy::SaState>(&*read) : nullptr;
                    if (state != nullptr && policy::SaIdentity::of(*state) == wanted) return on_manual_renewed(id, {});
                    renew_manual_sa(id, direction);
                  });
  }
}

/// Both SAs anew, with the keys of the newest configuration.
void TunnelManager::renew_manual(ike::ChildId id) {
  const auto it = manual_.find(id);
  if (it == manual_.end()) return;
  ManualChild& manual = it->second;
  manual.stale = manual.busy != 0;
  if (manual.stale) return;
  TunnelRow* row = nullptr;
  const ChildRow& child = manual_row(manual, &row);
  auto keys = services_.manual_keys(*child.config);
  Status ready =
      keys.ok() ? installer_.respecify(id, policy::manual_spec(row->tunnel, *child.config)) : Status(keys.error());
  if (!ready.ok()) {  // what is there goes on
    event("tunnel/" + row->tunnel->name, ready.error().reason(),
          {field("child", child.config->name), field("detail", ready.error().text())});
    return settle_waiters(row->tunnel->name, child.config->name, WaitFor::kChildRekey, ready);
  }
  manual.keys = std::make_shared<const policy::ManualKeys>(std::move(*keys));
  manual.busy = 2;
  renew_manual_sa(id, Direction::kIn);
  renew_manual_sa(id, Direction::kOut);
}

void TunnelManager::renew_manual_sa(ike::ChildId id, Direction direction) {
  const auto it = manual_.find(id);
  if (it == manual_.end()) return;
  ++it->second.made;
  const Secret& material = (direction == Direction::kIn ? it->second.keys->in : it->second.keys->out).material;
  installer_.renew(id, direction, {material.clone()},
                   [this, id](const Status& status) { on_manual_renewed(id, status); });
}

/// One of its SAs is as it should be, or cannot be.
void TunnelManager::on_manual_renewed(ike::ChildId id, const Status& status) {
  const auto it = manual_.find(id);
  if (it == manual_.end()) return;
  ManualChild& manual = it->second;
  if (!status.ok() && !manual.failed) manual.failed = status.error();
  if (--manual.busy != 0) return;
  TunnelRow* row = nullptr;
  ChildRow& child = manual_row(manual, &row);
  const std::optional<Error> failed = std::exchange(manual.failed, {});
  if (failed)
    event("tunnel/" + row->tunnel->name, failed->reason(),
          {field("child", child.config->name), field("detail", failed->text())});
  if (manual.ends || failed) return end_manual(*row, child, manual.ends ? *manual.ends : failed->reason());
  if (std::exchange(manual.made, 0) != 0) announce_manual(*row, child);
  if (manual.stale) return renew_manual(id);
  settle_waiters(row->tunnel->name, child.config->name, WaitFor::kChildRekey, {});
}

/// The configuration was read again, and with it the files of the keys.
void TunnelManager::refresh_manual(Instant now, TunnelRow& row, const policy::TunnelChange* change) {
  for (auto& [name, child] : row.children) {
    if (child.leaving) continue;
    if (child.retry_at) begin(now, row, child, nullptr);  // with other keys, perhaps
    const auto it = manual_.find(id_of(child));
    if (it == manual_.end() || it->second.reqid != child.ids.reqid) continue;
    const auto keys = services_.manual_keys(*child.config);
    const bool changed =
        change != nullptr && std::ranges::find(change->children_rekeyed, name) != change->children_rekeyed.end();
    if (changed || !keys.ok() || !(*keys == *it->second.keys)) renew_manual(it->first);
  }
}

}  // namespace ipsec::agent
