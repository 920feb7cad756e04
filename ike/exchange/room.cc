#include "ike/exchange/room.h"

#include <algorithm>

#include "ike/exchange/create_child.h"

namespace ipsec::ike {
namespace {

Established& established_of(IkeSa& sa) { return std::get<Established>(sa.state); }

/// Children that count against children_max: not those that are being replaced or deleted.
size_t living_children(const Established& established) {
  return static_cast<size_t>(std::ranges::count_if(established.children, [](const ChildSa& child) {
    return child.phase == ChildPhase::kInUse || child.phase == ChildPhase::kAwaitingUse;
  }));
}

/// Ends the lingering child whose time is over first. False when none lingers.
bool end_one_lingering(EngineCore& core, IkeSa& sa) {
  std::vector<ChildSa>& children = established_of(sa).children;
  auto first = children.end();
  for (auto each = children.begin(); each != children.end(); ++each)
    if (each->phase == ChildPhase::kLingering && (first == children.end() || each->until < first->until)) first = each;
  if (first == children.end()) return false;
  core.act(RemoveChild{sa.id, first->id, first->spec, Reason::kReplaced});
  core.spis.release(first->spec->spi_in);
  children.erase(first);
  return true;
}

bool has_room_in_all(EngineCore& core, IkeSa& sa) {
  const size_t most = size_t{sa.tunnel->ike_policy->children_max} + kChildrenBesideMax;
  while (children_in_all(established_of(sa)) >= most)
    if (!end_one_lingering(core, sa)) return false;
  return true;
}

}  // namespace

size_t children_in_all(const Established& established) {
  const bool own = established.own && established.own->task.kind != Task::Kind::kRekeyIke;
  return established.children.size() + (own ? 1 : 0) + (established.peer ? 1 : 0);
}

bool make_room_for_peer(EngineCore& core, Instant now, IkeSa& sa, NewChild kind) {
  Established& established = established_of(sa);
  const policy::IkePolicy& policy = *sa.tunnel->ike_policy;
  if (!has_room_in_all(core, sa)) return false;
  if (kind == NewChild::kReplacement || living_children(established) < policy.children_max) return true;
  if (policy.children_overload == policy::ChildOverload::kRefuse) return false;
  auto oldest = std::ranges::find_if(established.children,
                                     [](const ChildSa& child) { return child.phase == ChildPhase::kInUse; });
  if (oldest == established.children.end()) return false;
  core.report(sa, Reason::kChildLimit,
              {field("limit", uint64_t{policy.children_max}), field("detail", "the oldest goes")});
  retire_child(core, now, sa, *oldest);
  return true;
}

bool make_room_for_own(EngineCore& core, IkeSa& sa) { return has_room_in_all(core, sa); }

}  // namespace ipsec::ike
