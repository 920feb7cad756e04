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
  const auto known = spaces_.find(netns);
  if (known == spaces_.end() && wanted == Wanted::kNo) return;
  Space& space = known != spaces_.end() ? known->second : spaces_[netns];
  const bool changed = wanted == Wanted::kYes ? space.wanted.inner_df.insert(clearing).second
                                              : space.wanted.inner_df.erase(clearing) != 0;
  if (changed) space.pending.inner_df.insert_or_assign(clearing, wanted == Wanted::kYes);
}

void PacketRuleBook::apply(const std::string& netns, Space& space) {
  policy::PacketRuleChange change = std::exchange(space.pending, {});
  const auto done = [this, netns](const Result<policy::KernelReply>& result) {
    const auto it = spaces_.find(netns);
    if (it == spaces_.end()) return;
    if (!result.ok()) it->second.known = false;
    if (!result.ok() && !it->second.told) complain_(netns, result.error());
    it->second.told = !result.ok();
  };
  if (space.wanted.empty()) {
    if (space.standing) queue_.submit(netns, policy::SetPacketRules{}, done);
    space.known = space.standing = false;
    return;
  }
  if (space.known)
    queue_.submit(netns, policy::ChangePacketRules{std::move(change)}, done);
  else
    queue_.submit(netns, policy::SetPacketRules{space.wanted}, done);
  space.known = space.standing = true;
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
