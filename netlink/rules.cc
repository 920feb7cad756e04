#include "netlink/rules.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "netlink/family_dump.h"
#include "netlink/links.h"
#include "netlink/routes.h"

namespace ipsec::netlink {
namespace {

Message encode(uint16_t type, uint16_t flags, const policy::RuleConfig& rule) {
  fib_rule_hdr header{};
  header.family = rule.family == Family::kIpv4 ? AF_INET : AF_INET6;
  header.table = RT_TABLE_UNSPEC;  // the attribute holds it: VRF tables do not fit into 8 bits
  header.action = FR_ACT_TO_TBL;
  Message message(type, flags);
  message.header(header);
  message.put_u32(FRA_PRIORITY, rule.priority);
  message.put_u32(FRA_FWMARK, rule.mark.value);
  message.put_u32(FRA_FWMASK, rule.mark.mask);
  message.put_u8(FRA_PROTOCOL, rule.protocol);
  return message;
}

std::string text_of(const policy::RuleConfig& rule) {
  return "rule " + std::to_string(rule.priority) + " for " + (rule.vrf.empty() ? "the main table" : "VRF " + rule.vrf);
}

}  // namespace

Message encode_new_rule(const policy::RuleConfig& rule, uint32_t table) {
  Message message = encode(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
  message.put_u32(FRA_TABLE, table);
  return message;
}

Message encode_delete_rule(const policy::RuleConfig& rule) { return encode(RTM_DELRULE, 0, rule); }

Result<DecodedRule> decode_rule(ByteView payload) {
  TRY_ASSIGN(const auto header, from_bytes<fib_rule_hdr>(payload), "rule");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(header)), "rule");
  if (header.family != AF_INET && header.family != AF_INET6)
    return Error(Reason::kUnsupported, "a rule of address family " + std::to_string(header.family));
  TRY_ASSIGN(const auto priority, attributes.get<uint32_t>(FRA_PRIORITY), "rule");
  TRY_ASSIGN(const auto mark, attributes.get<uint32_t>(FRA_FWMARK), "rule");
  TRY_ASSIGN(const auto mask, attributes.get<uint32_t>(FRA_FWMASK), "rule");
  TRY_ASSIGN(const auto table, attributes.get<uint32_t>(FRA_TABLE), "rule");
  TRY_ASSIGN(const auto protocol, attributes.get<uint8_t>(FRA_PROTOCOL), "rule");
  DecodedRule rule;
  rule.config = {.family = header.family == AF_INET ? Family::kIpv4 : Family::kIpv6,
                 .priority = priority.value_or(0),
                 .mark = {.value = mark.value_or(0), .mask = mask.value_or(0)},
                 .vrf = {},
                 .protocol = protocol.value_or(0)};
  rule.table = table.value_or(header.table);
  constexpr std::array kOthers = {FRA_IIFNAME,  FRA_OIFNAME,   FRA_GOTO,        FRA_TUN_ID,     FRA_L3MDEV,
                                  FRA_IP_PROTO, FRA_UID_RANGE, FRA_SPORT_RANGE, FRA_DPORT_RANGE};
  rule.plain = header.action == FR_ACT_TO_TBL && (header.flags & FIB_RULE_INVERT) == 0 && header.src_len == 0 &&
               header.dst_len == 0 && header.tos == 0 && mask.value_or(0) != 0 &&
               std::ranges::none_of(kOthers, [&](uint16_t type) { return attributes.find(type).has_value(); });
  return rule;
}

Result<std::vector<DecodedRule>> dump_rules(Socket& dumps, uint8_t protocol) {
  const auto request = [](uint8_t family) {
    Message message(RTM_GETRULE);
    fib_rule_hdr header{};
    header.family = family;
    message.header(header);
    return message;
  };
  const auto take = [protocol](const Received& message, std::vector<DecodedRule>& found) -> Status {
    if (message.type != RTM_NEWRULE) return {};
    TRY_ASSIGN(DecodedRule rule, decode_rule(message.payload), "");
    if (rule.plain && rule.config.protocol == protocol) found.push_back(std::move(rule));
    return {};
  };
  TRY_ASSIGN(std::vector<DecodedRule> all, dump_families<DecodedRule>(dumps, request, take), "read all rules");
  return all;
}

Status add_rule(Socket& route, const policy::RuleConfig& rule) {
  uint32_t table = RouteContext{}.table;
  if (!rule.vrf.empty()) {
    TRY_ASSIGN(const LinkInfo vrf, need_vrf(route, rule.vrf), text_of(rule));
    table = vrf.vrf_table;
  }
  TRY(route.transact(encode_new_rule(rule, table)), text_of(rule));
  return {};
}

Status delete_rule(Socket& route, const policy::RuleConfig& rule) {
  auto gone = route.transact(encode_delete_rule(rule));
  // A kernel without the family has lost its rules with it.
  if (gone.ok() || gone.error().os_errno() == ENOENT || gone.error().os_errno() == ESRCH ||
      gone.error().os_errno() == EAFNOSUPPORT)
    return {};
  return std::move(gone).error().context("remove " + text_of(rule));
}

}  // namespace ipsec::netlink
