#include "netlink/unclaimed_table.h"

#include "netlink/nft_table.h"

namespace ipsec::netlink {

/// A kernel without nf_tables has none.
bool UnclaimedTable::is_there(const std::string& netns) {
  if (there_) return *there_;
  there_ = false;
  const auto table = NftTable::open(netns);
  if (!table.ok()) return false;
  const auto standing = (*table)->look();
  there_ = standing.ok() && *standing == NftTable::Standing::kOurs;
  return *there_;
}

}  // namespace ipsec::netlink
