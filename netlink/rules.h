#pragma once

#include <cstdint>
#include <vector>

#include "netlink/socket.h"
#include "policy/kernel_model.h"

/// Routing policy rules that look at a packet's mark.
namespace ipsec::netlink {

/// RTM_NEWRULE (creates, never replaces) and RTM_DELRULE. The latter names no table: that of a VRF may be another one
/// by now, or nobody's.
Message encode_new_rule(const policy::RuleConfig& rule, uint32_t table);
Message encode_delete_rule(const policy::RuleConfig& rule);

/// The payload of RTM_NEWRULE or RTM_DELRULE; the VRF still as the number of its table, its name empty.
struct DecodedRule {
  policy::RuleConfig config;
  uint32_t table = 0;
  bool plain = false;  ///< It looks at the mark and nothing else, and leads into a table: such as ours.
};
Result<DecodedRule> decode_rule(ByteView payload);
/// All plain rules of one protocol, of both families. Nothing else may be in flight on `dumps`.
Result<std::vector<DecodedRule>> dump_rules(Socket& dumps, uint8_t protocol);

/// `kVrfMissing`; EEXIST (os_errno) when there is the same.
Status add_rule(Socket& route, const policy::RuleConfig& rule);
/// One that is gone is success.
Status delete_rule(Socket& route, const policy::RuleConfig& rule);

}  // namespace ipsec::netlink
