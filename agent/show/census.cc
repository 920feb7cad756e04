#include "agent/show/census.h"

#include "agent/show/limits.h"
#include "agent/show/orphans_json.h"
#include "agent/show/sa_json.h"

namespace ipsec::agent {

using policy::Direction;
using policy::OffloadKind;
using policy::OffloadMode;

uint64_t Census::Group::all_tunnels() const {
  uint64_t sum = 0;
  for (const auto& [state, count] : tunnels) sum += count;
  return sum;
}

Census::Census(const TunnelManager& manager) : manager_(manager) {
  for (const auto& [name, group] : manager.config().groups) groups_.try_emplace(name);
}

Census Census::taken(const TunnelManager& manager) {
  Census census(manager);
  while (!census.step()) {
  }
  return census;
}

/// Nothing: not in the configuration any more.
Census::Group* Census::find(const policy::TunnelGroup& group) {
  if (last_group_ != nullptr && last_name_ == group.name) return last_group_;
  const auto it = groups_.find(group.name);
  if (it == groups_.end()) return nullptr;
  last_name_ = it->first;
  return last_group_ = &it->second;
}

void Census::count(const TunnelRow& row) {
  const std::string_view state = TunnelManager::state_of(row);
  ++tunnels_[state];
  for (const auto& [name, child] : row.children) partial_ += manager_.uncovered_of(child).empty() ? 0 : 1;
  Group* group = find(*row.tunnel->group);
  if (group == nullptr) return;
  ++group->tunnels[state];
  group->wanted[static_cast<size_t>(row.tunnel->offload_mode())] = true;
}

void Census::note_weak(const std::string& tunnel, std::string_view suite) {
  const std::vector<std::string> found = policy::weak_words(suite);
  if (found.empty()) return;
  if (weak_.size() >= kWeakTunnelsNamed && !weak_.contains(tunnel))
    ++weak_sas_more_;
  else
    weak_[tunnel].insert(found.begin(), found.end());
}

void Census::count(const IkeRow& row) {
  ++(row.view ? ike_sas_ : establishing_);
  if (row.view) note_weak(row.tunnel, row.view->proposal);
  const auto tunnel = row.view ? manager_.tunnels().find(row.tunnel) : manager_.tunnels().end();
  Group* group = tunnel != manager_.tunnels().end() ? find(*tunnel->second.tunnel->group) : nullptr;
  if (group != nullptr) ++group->ike_sas[row.stage == IkeRow::Stage::kEnding ? "ending" : "established"];
}

void Census::count(ike::ChildId id, const InstalledChild& child) {
  note_weak(child.spec->tunnel->name, policy::to_string(child.spec->suite));
  Group* group = find(*child.spec->tunnel->group);
  if (group != nullptr) {
    ++group->child_sas;
    ++group->children[state_of(child, manager_.predecessor_of(id) != nullptr)];
  }
  for (const Direction direction : {Direction::kIn, Direction::kOut}) {
    const bool in = direction == Direction::kIn;
    if (!(in ? child.has_inbound : child.has_outbound)) continue;
    const hwoffload::Effective& effective = in ? child.inbound : child.outbound;
    const auto towards = static_cast<size_t>(direction), wanted = static_cast<size_t>(effective.requested),
               kind = static_cast<size_t>(effective.kind);
    ++sas_[kind];
    if (effective.kind != OffloadKind::kNone)
      ++devices_[{child.spec->tunnel->group->public_place.netns, effective.device}][towards][kind];
    else
      silently_ += effective.requested != OffloadMode::kNone ? 1 : 0;
    if (group == nullptr) continue;
    group->wanted[wanted] = true;
    ++group->sas[towards][wanted][kind];
    ++group->reasons[towards][effective.reason];
  }
}

void Census::count(const Orphans::Kept& kept) {
  const auto tunnel = manager_.tunnels().find(kept.child.tunnel);
  Group* group = tunnel != manager_.tunnels().end() ? find(*tunnel->second.tunnel->group) : nullptr;
  if (group != nullptr) ++group->children[state_of(kept)];
}

/// From behind the last one of the step before. Goes to the next part at the end of this one.
template <typename Map, typename Last>
void Census::count_some(const Map& map, std::optional<Last>& last) {
  auto it = last ? map.upper_bound(*last) : map.begin();
  for (; it != map.end() && left_ != 0; ++it, --left_) {
    if constexpr (std::is_same_v<Last, ike::ChildId>)
      count(it->first, *it->second);
    else
      count(it->second);
    last = it->first;
  }
  if (it == map.end()) part_ = static_cast<Part>(static_cast<uint8_t>(part_) + 1);
}

void Census::count_routes() {
  const auto rows = manager_.shared().routes(last_route_, left_);
  for (const SharedObjects::RouteRow& row : rows) waiting_routes_ += row.waits_for ? 1 : 0;
  left_ -= std::min(left_, rows.size());
  if (rows.empty()) part_ = Part::kDone;
}

bool Census::step() {
  left_ = kCountedPerStep;
  while (left_ != 0 && part_ != Part::kDone) {
    switch (part_) {
      case Part::kTunnels: count_some(manager_.tunnels(), last_tunnel_); break;
      case Part::kIkeSas: count_some(manager_.ike_sas(), last_ike_); break;
      case Part::kChildren: count_some(manager_.installer().children(), last_child_); break;
      case Part::kOrphans: count_some(manager_.orphans().children(), last_orphan_); break;
      case Part::kRoutes: count_routes(); break;
      case Part::kDone: break;
    }
  }
  return part_ == Part::kDone;
}

}  // namespace ipsec::agent
