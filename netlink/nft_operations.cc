#include "netlink/namespace_port.h"
#include "netlink/paths.h"

// The operations of NamespacePort on packet rules: our table, and the programs that write DF bits where rules cannot.
// Done at once, as those on links and routes.
namespace ipsec::netlink {

using policy::KernelReply;

ObjectKey journal_rules_key(const std::string& netns) {
  return {.netns = netns, .kind = "rules", .name = std::string("inet ") + kNftTable};
}

Result<NftTable*> NamespacePort::nft() {
  if (!nft_) {
    TRY_ASSIGN(nft_, NftTable::open(netns_), "");
    rules_fds_changed_ = true;
  }
  return nft_.get();
}

/// A table of our name is replaced only if the journal and its own comment say that it is ours.
Status NamespacePort::put_table(const policy::PacketRules& rules) {
  const ObjectKey key = journal_rules_key(netns_);
  const bool owned = journal_.owns(key);
  without_table_ = false;
  if (rules.empty() && !owned) {
    without_table_ = true;
    return {};
  }
  TRY_ASSIGN(NftTable * table, nft(), "");
  TRY_ASSIGN(const NftTable::Standing standing, table->look(), "");
  const bool foreign = standing == NftTable::Standing::kForeign || (standing == NftTable::Standing::kOurs && !owned);
  without_table_ = rules.empty();
  if (foreign && rules.empty()) return journal_.forget(key);
  if (foreign)
    return Error(Reason::kKernelConflict, "a table inet " + std::string(kNftTable) + " is there already, of others");
  if (!rules.empty() && !owned) TRY(journal_.intend(key, "-"), "");
  Status put = rules.empty() && standing == NftTable::Standing::kNone ? Status{} : table->put(rules);
  if (!put.ok()) {
    without_table_ = false;
    const Reason reason = put.error().reason();
    const bool open = reason == Reason::kKernelLost || reason == Reason::kKernelTimeout;
    if (!owned && !open) (void)journal_.forget(key);  // the refusal is the error to report
    return put;
  }
  if (rules.empty()) return journal_.forget(key);
  journal_.confirm(key);
  return {};
}

void NamespacePort::drop_programs() {
  rules_fds_changed_ = rules_fds_changed_ || df_ != nullptr;
  df_.reset();
}

Status NamespacePort::put_programs(const policy::PacketRules& rules) {
  if (!has_df(rules)) {
    drop_programs();
    return {};
  }
  // Those before stand until these do; what both write is the same.
  TRY_ASSIGN(df_, DfPrograms::create(netns_, rules), "programs that write DF bits");
  rules_fds_changed_ = true;
  return {};
}

/// The rest is done whatever becomes of DF bits.
Status NamespacePort::put_packet_rules(const policy::PacketRules& rules) {
  if (!has_df(rules) || !df_by_programs_()) {
    drop_programs();
    return put_table(rules);
  }
  Status table = put_table(without_df(rules)), programs = put_programs(only_df(rules));
  return table.ok() ? std::move(programs) : std::move(table);
}

Status NamespacePort::change_table(const policy::PacketRuleChange& change) {
  if (nft_ && nft_->is_known()) {
    TRY(nft_->change(change), "");
    without_table_ = !nft_->is_known();
    return without_table_ ? journal_.forget(journal_rules_key(netns_)) : Status{};
  }
  if (!without_table_) return Error(Reason::kNotFound, "there are no packet rules of this run to be changed");
  policy::PacketRules fresh;
  change.apply_to(fresh);
  return put_table(fresh);
}

Status NamespacePort::change_programs(const policy::PacketRuleChange& change) {
  if (df_ == nullptr) {
    policy::PacketRules fresh;
    change.apply_to(fresh);
    return put_programs(fresh);
  }
  TRY(df_->change(change), "programs that write DF bits");
  if (df_->is_idle()) drop_programs();
  return {};
}

void NamespacePort::start(Running& running, policy::SetPacketRules& set) {
  xfrm_.send();
  Status put = put_packet_rules(set.rules);
  running.decided = put.ok() ? done({}) : done(std::move(put).error().context("packet rules"));
}

void NamespacePort::start(Running& running, policy::ChangePacketRules& change) {
  xfrm_.send();
  const bool by_programs = (df_ != nullptr || has_df(change.change)) && df_by_programs_();
  Status changed = change_table(by_programs ? without_df(change.change) : change.change);
  if (by_programs && changed.ok()) changed = change_programs(change.change);
  running.decided = changed.ok() ? done({}) : done(std::move(changed).error().context("packet rules"));
}

void NamespacePort::add_rules_fds(std::vector<int>& fds) const {
  if (nft_) fds.push_back(nft_->fd());
  if (df_) fds.push_back(df_->fd());
}

bool NamespacePort::take_disturbed_rules() {
  const bool table = nft_ && nft_->take_disturbed();
  const bool programs = df_ && df_->take_disturbed();
  return table || programs;
}

Result<policy::PacketRules> NamespacePort::dump_packet_rules() {
  flush();
  policy::PacketRules found;
  if (journal_.owns(journal_rules_key(netns_)) || unclaimed_table_.is_there(netns_)) {
    TRY_ASSIGN(NftTable * table, nft(), "");
    TRY_ASSIGN(auto standing, table->read(), "");
    if (standing) found = std::move(*standing);
  }
  if (df_ == nullptr) return found;
  TRY_ASSIGN(const policy::PacketRules df, df_->read(), "read DF bits");
  return with_df(std::move(found), df);
}

Result<policy::PathFacts> NamespacePort::path_to(const std::string& vrf, const IpAddress& destination) {
  return netlink::path_to(route_, vrf, destination);
}

}  // namespace ipsec::netlink
