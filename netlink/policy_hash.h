#pragma once

#include "netlink/journal.h"
#include "netlink/socket.h"
#include "policy/policy_hash.h"

/// Which policies of a namespace the kernel finds by a hash, over an XFRM socket of that namespace. The setting is
/// everybody's: what stood before ours is in the journal and comes back, unless somebody else has changed it meanwhile.
namespace ipsec::netlink {

Result<policy::PolicyHash> read_policy_hash(Socket& xfrm);
/// The kernel sorts all policies anew.
Status write_policy_hash(Socket& xfrm, const policy::PolicyHash& hash);

/// Sets it, and notes what was there before the first time.
Status set_policy_hash(Socket& xfrm, Journal& journal, const std::string& netns, const policy::PolicyHash& hash);
/// Puts back what was there before set_policy_hash(), by this run or by a killed one; else nothing.
Status restore_policy_hash(Socket& xfrm, Journal& journal, const std::string& netns);

/// In the journal.
inline constexpr std::string_view kPolicyHashKind = "policy-hash";
ObjectKey policy_hash_key(const std::string& netns);

}  // namespace ipsec::netlink
