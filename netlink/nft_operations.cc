#include "netlink/namespace_port.h"
#include "netlink/paths.h"

// The operations of NamespacePort on our table of packet rules. Done at once, as those on links and routes.
namespace ipsec::netlink {

using policy::KernelReply;

ObjectKey journal_rules_key(const std::string& netns) {
  return {.netns = netns, .kind = "rules", .name = std::string("inet ") + kNftTable};
}

Result<NftTable*> NamespacePort::nft() {
  if (!nft_) {
    TRY_ASSIGN(nft_, NftTable::open(netns_), "");
  }
  return nft_.get();
}

/// A table of our name is replaced only if the journal and its own comment say that it is ours.
Status NamespacePort::put_packet_rules(const policy::PacketRules& rules) {
  const ObjectKey key = journal_rules_key(netns_);
  const bool owned = journal_.owns(key);
  if (rules.empty() && !owned) return {};
  TRY_ASSIGN(NftTable * table, nft(), "");
  TRY_ASSIGN(const NftTable::Standing standing, table->look(), "");
  const bool foreign = standing == NftTable::Standing::kForeign || (standing == NftTable::Standing::kOurs && !owned);
  if (foreign && rules.empty()) return journal_.forget(key);
  if (foreign)
    return Error(Reason::kKernelConflict, "a table inet " + std::string(kNftTable) + " is there already, of others");
  if (!rules.empty() && !owned) TRY(journal_.intend(key, "-"), "");
  Status put = rules.empty() && standing == NftTable::Standing::kNone ? Status{} : table->put(rules);
  if (!put.ok()) {
    const Reason reason = put.error().reason();
    const bool open = reason == Reason::kKernelLost || reason == Reason::kKernelTimeout;
    if (!owned && !open) (void)journal_.forget(key);  // the refusal is the error to report
    return put;
  }
  if (rules.empty()) return journal_.forget(key);
  journal_.confirm(key);
  return {};
}

void NamespacePort::start(Running& running, policy::SetPacketRules& set) {
  xfrm_.send();
  Status put = put_packet_rules(set.rules);
  running.decided = put.ok() ? done({}) : done(std::move(put).error().context("packet rules"));
}

void NamespacePort::start(Running& running, policy::ChangePacketRules& change) {
  xfrm_.send();
  Status changed;
  if (!nft_ || !nft_->is_known())
    changed = Error(Reason::kNotFound, "there are no packet rules of this run to be changed");
  else
    changed = nft_->change(change.change);
  running.decided = changed.ok() ? done({}) : done(std::move(changed).error().context("packet rules"));
}

Result<policy::PacketRules> NamespacePort::dump_packet_rules() {
  flush();
  if (!journal_.owns(journal_rules_key(netns_))) return policy::PacketRules{};
  TRY_ASSIGN(NftTable * table, nft(), "");
  TRY_ASSIGN(auto found, table->read(), "");
  return found.value_or(policy::PacketRules{});
}

Result<policy::PathFacts> NamespacePort::path_to(const std::string& vrf, const IpAddress& destination) {
  return netlink::path_to(route_, vrf, destination);
}

}  // namespace ipsec::netlink
