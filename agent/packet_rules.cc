#include "agent/packet_rules.h"

namespace ipsec::agent {

template <typename Key, typename Value>
void PacketRuleBook::note(const std::string& netns, std::map<Key, Value> policy::PacketRules::*standing,
                          std::map<Key, std::optional<Value>> policy::PacketRuleChange::*pending, const Key& key,
                          const std::optional<Value>& value) {
  const auto known = spaces_.find(netns);
  if (known == spaces_.end() && !value) return;
  Space& space = known != spaces_.end() ? known->second : spaces_[netns];
  auto& wanted = space.wanted.*standing;
  const auto there = wanted.find(key);
  if (there == wanted.end() ? !value : value && there->second == *value) return;
  if (value)
    wanted.insert_or_assign(key, *value);
  else
    wanted.erase(there);
  (space.pending.*pending).insert_or_assign(key, value);
}

template <typename Entry>
void PacketRuleBook::hold(const std::string& netns, const Place<Entry>& place, const std::set<Entry>& before,
                          const std::set<Entry>& after) {
  for (const Entry& each : after) {
    if (before.contains(each)) continue;
    Space& space = spaces_[netns];
    if (++(space.*place.holders)[each] != 1) continue;
    (space.wanted.*place.standing).insert(each);
    (space.pending.*place.pending).insert_or_assign(each, true);
  }
  const auto known = spaces_.find(netns);
  if (known == spaces_.end()) return;
  Space& space = known->second;
  for (const Entry& each : before) {
    const auto held = (space.*place.holders).find(each);
    if (after.contains(each) || held == (space.*place.holders).end() || --held->second != 0) continue;
    (space.*place.holders).erase(held);
    (space.wanted.*place.standing).erase(each);
    (space.pending.*place.pending).insert_or_assign(each, false);
  }
}

void PacketRuleBook::clamp_interface(const std::string& netns, const std::string& interface,
                                     std::optional<policy::MssLimits> limits) {
  note(netns, &policy::PacketRules::interfaces, &policy::PacketRuleChange::interfaces, interface, limits);
}

void PacketRuleBook::clamp_reqid(const std::string& netns, uint32_t reqid, std::optional<policy::MssLimits> limits) {
  note(netns, &policy::PacketRules::reqids, &policy::PacketRuleChange::reqids, reqid, limits);
}

bool PacketRuleBook::can_write_df(const std::string& netns) {
  if (!writes_df_) writes_df_ = queue_.port().writes_df();
  if (!writes_df_->ok() && df_told_.insert(netns).second)
    complain_(netns, Error(Reason::kPacketRulesRefused,
                           "nothing writes DF bits here, so that `df` set has the effect of copy, and `inner_df` clear "
                           "none: " +
                               writes_df_->error().text()));
  return writes_df_->ok();
}

void PacketRuleBook::write_outer(const std::string& netns, const policy::SaKey& key,
                                 std::optional<policy::OuterHeader> header) {
  if (header && !key.destination.is_v4()) header->df_set = false;  // IPv6 has no such bit
  if (header && header->df_set && !can_write_df(netns)) header->df_set = false;
  if (header && header->empty()) header.reset();
  note(netns, &policy::PacketRules::outer, &policy::PacketRuleChange::outer, key, header);
}

bool PacketRuleBook::has_outer(const std::string& netns, const policy::SaKey& key) const {
  const auto space = spaces_.find(netns);
  return space != spaces_.end() && space->second.wanted.outer.contains(key);
}

void PacketRuleBook::hold_clearings(const std::string& netns, const Clearings& before, const Clearings& after) {
  if (!after.empty() && !can_write_df(netns)) return;
  hold(netns, {&policy::PacketRules::inner_df, &policy::PacketRuleChange::inner_df, &Space::clearings}, before, after);
}

void PacketRuleBook::hold_seals(const std::string& netns, const Seals& before, const Seals& after) {
  hold(netns, {&policy::PacketRules::sealed, &policy::PacketRuleChange::sealed, &Space::seals}, before, after);
}

void PacketRuleBook::apply(const std::string& netns, Space& space) {
  policy::PacketRuleChange change = std::exchange(space.pending, {});
  const bool whole = space.wanted.empty() || !space.known;
  const auto done = [this, netns,
                     asked = whole ? Asked::kWhole : Asked::kChange](const Result<policy::KernelReply>& result) {
    on_answer(netns, asked, result.ok() ? Status() : Status(result.error()));
  };
  if (space.wanted.empty()) {
    if (std::exchange(space.standing, false)) {
      ++space.unanswered;
      queue_.submit(netns, policy::SetPacketRules{}, done);
    }
    space.known = false;
    return;
  }
  ++space.unanswered;
  if (whole)
    queue_.submit(netns, policy::SetPacketRules{space.wanted}, done);
  else
    queue_.submit(netns, policy::ChangePacketRules{std::move(change)}, done);
  space.known = space.standing = true;
}

void PacketRuleBook::on_answer(const std::string& netns, Asked asked, const Status& status) {
  const auto it = spaces_.find(netns);
  if (it == spaces_.end()) return;
  Space& space = it->second;
  if (!status.ok()) space.known = false;
  if (!status.ok() && !space.told) complain_(netns, status.error());
  space.told = !status.ok();
  if (!status.ok() && space.refused.ok()) space.refused = status;
  if (status.ok() && asked == Asked::kWhole) space.refused = {};  // what was refused before is among it
  if (space.unanswered != 0) --space.unanswered;
  if (space.unanswered != 0) return;
  const Status outcome = std::exchange(space.refused, {});
  for (const Settled& each : std::exchange(space.waiting, {})) each(outcome);
}

void PacketRuleBook::settle(const std::string& netns, Settled settled) {
  const auto it = spaces_.find(netns);
  if (it == spaces_.end()) return settled({});
  Space& space = it->second;
  if (space.pending.empty() && space.known && space.unanswered == 0) return settled({});
  space.waiting.push_back(std::move(settled));
  if (!space.pending.empty() || !space.known) apply(netns, space);
  if (space.unanswered == 0) on_answer(netns, Asked::kNothing, {});
}

void PacketRuleBook::apply() {
  for (auto& [netns, space] : spaces_)
    if (!space.pending.empty()) apply(netns, space);
}

void PacketRuleBook::remove_all() {
  for (auto& [netns, space] : spaces_)
    if (space.standing) queue_.submit(netns, policy::SetPacketRules{}, {});
  spaces_.clear();
}

void PacketRuleBook::forget(const std::string& netns) {
  if (const auto it = spaces_.find(netns); it != spaces_.end()) it->second.known = it->second.standing = false;
}

void PacketRuleBook::collect(const std::string& netns, policy::NamespaceState& state) const {
  if (const auto it = spaces_.find(netns); it != spaces_.end()) state.add(it->second.wanted);
}

}  // namespace ipsec::agent
