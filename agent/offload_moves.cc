#include <algorithm>
#include <utility>

#include "agent/device_probe.h"
#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// Which children have a place on a NIC: looks at what they carry, and moves by rekeys. A key never goes from a NIC into
// software or back, for both choose their nonces in ways of their own.
namespace ipsec::agent {
namespace {

std::string place_text(const InstalledChild& child) {
  for (const hwoffload::Effective* each : {&child.outbound, &child.inbound})
    if (each->kind != policy::OffloadKind::kNone) return each->device;
  return "software";
}

bool same_place(const hwoffload::Effective& a, const hwoffload::Effective& b) {
  return a.kind == b.kind && (a.kind == policy::OffloadKind::kNone || a.device == b.device);
}

}  // namespace

/// After whatever may have changed where its packets leave, or what is configured.
void TunnelManager::seat_children(const TunnelRow& row) {
  if (row.tunnel->is_manual()) return;  // their keys never change, so they never move
  for (const auto& [name, child] : row.children)
    if (!child.leaving) offload_.add(now_, child.ids.reqid, *row.tunnel, row.path.device);
}

/// A rekey has brought a child elsewhere.
void TunnelManager::announce_move(const TunnelRow& row, const InstalledChild& from, const InstalledChild& to) {
  if (same_place(from.inbound, to.inbound) && same_place(from.outbound, to.outbound)) return;
  announce_offload(row, to);
  const auto why = moving_.find(to.ids.reqid);
  event("tunnel/" + row.tunnel->name, Reason::kOffloadMoved,
        {field("child", to.spec->child), field("from", place_text(from)), field("to", place_text(to)),
         field("why", why != moving_.end() ? std::string(hwoffload::to_string(why->second))
                                           : std::string(code(to.outbound.reason)))});
}

/// Ahead of all others: what carries it is gone, or is needed by a busier one.
void TunnelManager::move_child(const hwoffload::Move& move) {
  const auto reqid = static_cast<uint32_t>(move.seat);
  const auto known = child_by_reqid_.find(reqid);
  TunnelRow* row = known != child_by_reqid_.end() ? find(known->second.first) : nullptr;
  const ChildRow* child = row != nullptr ? find(*row, known->second.second) : nullptr;
  const Home* home = child != nullptr && !child->up.empty() ? home_of(child->up.back()) : nullptr;
  if (home == nullptr) return;  // its place is given up by itself
  moving_[reqid] = move.why;
  for (const ike::ChildId id : child->up)  // several, where each carries a part
    if (const Home* its = home_of(id); its != nullptr)
      services_.workers.rekey_child(its->worker, its->ike, id, Reason::kOffloadMoving);
}

/// Where an operator allows it: before the first SA asks the same.
void TunnelManager::probe_devices() {
  for (const auto& [netns, device] : offload_.take_probes())
    DeviceProbe::run(queue_, netns, device, [this, where = netns, name = device](const hwoffload::ProbedDevice& found) {
      offload_.probed(where, name, found);
      if (found.left_behind)
        event(netns_object(where), Reason::kOffloadProbeFailed,
              {field("device", name), field("detail", std::string("a trial could not be taken out again"))});
    });
}

void TunnelManager::read_offload_devices(Instant now, Duration pause) {
  if (stopping_ || now < offload_read_at_ + pause) return;
  offload_read_at_ = now;
  if (!offload_.read_devices(now)) return;
  offload_decide_at_ = now;
  probe_devices();
}

void TunnelManager::run_offload(Instant now) {
  if (!offload_.in_use() || stopping_ || installer_.children().empty()) return;
  read_offload_devices(now, kOffloadRead);
  if (now >= offload_look_at_) {
    offload_look_at_ = now + kOffloadWatch;
    look_at_offload(now);
  }
  if (now < offload_decide_at_) return;
  offload_decide_at_ = now + kOffloadDecide;
  for (const hwoffload::Move& move : offload_.decide(now)) move_child(move);
}

std::optional<Instant> TunnelManager::offload_deadline() const {
  if (!offload_.in_use() || stopping_ || installer_.children().empty()) return std::nullopt;
  return std::min(offload_look_at_, offload_decide_at_);
}

/// Reads what the SAs of children that may be on NICs have carried: for their rates, and to see whether what is shown
/// on a NIC is used.
void TunnelManager::look_at_offload(Instant now) {
  using Owners = std::map<policy::SaKey, std::pair<ike::ChildId, const InstalledChild*>>;
  std::map<std::string, Owners> by_netns;
  for (const auto& [id, child] : installer_.children()) {
    const policy::Tunnel& tunnel = *child->spec->tunnel;
    if (tunnel.offload_mode() == policy::OffloadMode::kNone) continue;
    Owners& owners = by_netns[tunnel.group->public_place.netns];
    if (child->has_inbound) owners.emplace(child->plan.inbound.key, std::pair(id, child.get()));
    if (child->has_outbound) owners.emplace(child->plan.outbound.key, std::pair(id, child.get()));
  }
  std::map<ike::ChildId, std::string> suspects;
  std::set<policy::SaKey> watched;
  for (const auto& [netns, owners] : by_netns) {
    const auto states = services_.kernel.dump_sas(netns);
    if (!states.ok()) continue;  // reconciliation says so
    look_at_volumes(netns, *states);
    std::vector<hwoffload::CounterWatch::Sample> on_nic;
    for (const policy::SaState& state : *states) {
      const auto owner = owners.find(state.key);
      if (owner == owners.end()) continue;
      const InstalledChild& child = *owner->second.second;
      const bool outbound = child.has_outbound && state.key == child.plan.outbound.key;
      if (outbound && state.offload == policy::OffloadKind::kPacket) on_nic.push_back({state.key, state.packets});
    }
    for (const auto& [key, owner] : owners)
      offload_.observe(now, owner.second->ids.reqid, traffic_.bytes_of(owner.second->ids.reqid));
    for (const auto& sample : on_nic) {
      watched.insert(sample.key);
      const auto& [id, child] = owners.at(sample.key);
      if (takes_nothing(*child, sample))
        suspects.emplace(id, "packets go into the tunnel while the SA's counter stands still");
    }
    const auto drops = on_nic.empty() ? Result<uint64_t>(uint64_t{0}) : services_.out_drops(netns);
    if (!drops.ok()) continue;
    for (const policy::SaKey& key : counter_watch_.observe(netns, *drops, on_nic))
      suspects.emplace(owners.at(key).first,
                       "packets are dropped for want of an SA (/proc/net/xfrm_stat) while its counter stands still");
  }
  offered_watch_.forget_all_but(watched);
  for (const auto& [id, why] : suspects) offload_not_counting(now, id, why);
}

/// Only the interfaces of SAs that stand still are asked.
bool TunnelManager::takes_nothing(const InstalledChild& child, const hwoffload::CounterWatch::Sample& sample) {
  if (!offered_watch_.stands_still(sample.key, sample.packets)) return false;
  const policy::Tunnel& tunnel = *child.spec->tunnel;
  // Other children of the tunnel may be what its interface counts.
  if (child.ids.interface.empty() || tunnel.shares_interface() || tunnel.children.size() != 1) return false;
  const auto sent = services_.sent_packets(tunnel.group->private_place.netns, child.ids.interface);
  return sent.ok() && offered_watch_.was_offered(sample.key, *sent);
}

/// Shown on the NIC, and its packets are dropped: the next SA goes elsewhere.
void TunnelManager::offload_not_counting(Instant now, ike::ChildId id, const std::string& why) {
  const auto it = installer_.children().find(id);
  if (it == installer_.children().end() || it->second->outbound.reason == Reason::kOffloadNotCounting) return;
  installer_.mark_not_counting(id, why);
  const policy::Tunnel& tunnel = *it->second->spec->tunnel;
  const hwoffload::Effective& effective = it->second->outbound;
  event("tunnel/" + tunnel.name, effective.reason,
        {field("device", effective.device), field("detail", effective.detail)});
  offload_.not_counting(now, it->second->ids.reqid, tunnel, effective.device);
  if (const Home* home = home_of(id); home != nullptr)
    services_.workers.rekey_child(home->worker, home->ike, id, Reason::kOffloadMoving);
}

/// A device went, came or changed.
void TunnelManager::on_offload_link(Instant now, const policy::LinkChanged& change) {
  const bool was_there = offload_.is_usable(change.netns, change.name);
  if (!offload_.on_link(now, change)) return;
  look_at_paths(change.netns);  // packets may leave by another one now
  offload_decide_at_ = now;
  probe_devices();
  if (change.up && !change.gone) {
    for (const auto& [name, row] : tunnels_)
      if (row.tunnel->group->public_place.netns == change.netns) seat_children(row);
    return;
  }
  if (!was_there) return;  // one that is taken out goes down first
  const auto on_it = std::ranges::count_if(installer_.children(), [&](const auto& each) {
    const InstalledChild& child = *each.second;
    return child.spec->tunnel->group->public_place.netns == change.netns && place_text(child) == change.name;
  });
  if (on_it != 0)
    event(netns_object(change.netns), Reason::kOffloadDeviceLost,
          {field("device", change.name), field("children", static_cast<uint64_t>(on_it))});
}

Status TunnelManager::pin_offload(Instant now, const std::string& tunnel, const std::string& child,
                                  policy::OffloadPin pin, OffloadBook::PinFor how) {
  TunnelRow* row = find(tunnel);
  TRY(check_in_force(row, tunnel, child), "");
  if (row->tunnel->offload_mode() == policy::OffloadMode::kNone)
    return Error(Reason::kUnsupported, "offload.mode of tunnel " + tunnel + " is none");
  if (row->tunnel->is_manual())
    return Error(Reason::kUnsupported, "SAs with manual keys stay where they were placed: tunnel " + tunnel);
  for (const auto& [name, each] : row->children)
    if (!each.leaving && (child.empty() || name == child)) offload_.pin(each.ids.reqid, pin, how);
  offload_decide_at_ = now;
  return {};
}

}  // namespace ipsec::agent
