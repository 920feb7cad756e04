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

template <typename Key>
void PacketRuleBook::note(const std::string& netns, std::set<Key> policy::PacketRules::*standing,
                          std::map<Key, bool> policy::PacketRuleChange::*pending, const Key& key, Wanted wanted) {
  const auto known = spaces_.find(netns);
  if (known == spaces_.end() && wanted == Wanted::kNo) return;
  Space& space = known != spaces_.end() ? known->second : spaces_[netns];
  auto& all = space.wanted.*standing;
  const bool changed = wanted == Wanted::kYes ? all.insert(key).second : all.erase(key) != 0;
  if (changed) (space.pending.*pending).insert_or_assign(key, wanted == Wanted::kYes);
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

void PacketRuleBook::clear_inner_df(const std::string& netns, const policy::PacketRules::Clearing& clearing,
                                    Wanted wanted) {
  if (wanted == Wanted::kYes && !can_write_df(netns)) return;
  note(netns, &policy::PacketRules::inner_df, &policy::PacketRuleChange::inner_df, clearing, wanted);
}

void PacketRuleBook::seal(const std::string& netns, const policy::PacketRules::Sealed& pair, Wanted wanted) {
  note(netns, &policy::PacketRules::sealed, &policy::PacketRuleChange::sealed, pair, wanted);
}

void PacketRuleBook::apply(const std::string& netns, Space& space) {
  policy::PacketRuleChange change = std::exchange(space.pending, {});
  const auto done = [this, netns](const Result<policy::KernelReply>& result) {
    on_answer(netns, result.ok() ? Status() : Status(result.error()));
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
  if (space.known)
    queue_.submit(netns, policy::ChangePacketRules{std::move(change)}, done);
  else
    queue_.submit(netns, policy::SetPacketRules{space.wanted}, done);
  space.known = space.standing = true;
}

void PacketRuleBook::on_answer(const std::string& netns, const Status& status) {
  const auto it = spaces_.find(netns);
  if (it == spaces_.end()) return;
  Space& space = it->second;
  if (!status.ok()) space.known = false;
  if (!status.ok() && !space.told) complain_(netns, status.error());
  space.told = !status.ok();
  if (space.unanswered != 0) --space.unanswered;
  if (space.unanswered != 0) return;
  for (const Settled& each : std::exchange(space.waiting, {})) each(status);
}

void PacketRuleBook::settle(const std::string& netns, Settled settled) {
  const auto it = spaces_.find(netns);
  if (it == spaces_.end()) return settled({});
  Space& space = it->second;
  if (space.pending.empty() && space.known && space.unanswered == 0) return settled({});
  space.waiting.push_back(std::move(settled));
  if (!space.pending.empty() || !space.known) apply(netns, space);
  if (space.unanswered == 0) on_answer(netns, {});  // nothing was to be asked
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
