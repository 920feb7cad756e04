#include "netlink/rules.h"

#include <doctest/doctest.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

using namespace ipsec;
using namespace ipsec::netlink;

namespace {

const policy::RuleConfig kRule{
    .family = Family::kIpv6, .priority = 950, .mark = {.value = 0x69123400, .mask = 0xffffff00}, .vrf = "blue"};

/// What follows the netlink header.
ByteView payload(const Message& message) { return message.bytes().subspan(16); }

Message with(uint16_t attribute, uint32_t value) {
  Message message = encode_new_rule(kRule, 1001);
  message.put_u32(attribute, value);
  return message;
}

}  // namespace

TEST_CASE("rule: what is asked for reads back, its VRF as the number of its table") {
  const Message message = encode_new_rule(kRule, 1001);
  const auto rule = decode_rule(payload(message));
  REQUIRE(rule.ok());
  CHECK(rule->plain);
  CHECK(rule->table == 1001);
  policy::RuleConfig expected = kRule;
  expected.vrf.clear();
  CHECK(rule->config == expected);
  CHECK(message.type() == RTM_NEWRULE);
}

TEST_CASE("rule: a removal names no table, for the VRF's may be another one by now") {
  const Message message = encode_delete_rule(kRule);
  const auto rule = decode_rule(payload(message));
  REQUIRE(rule.ok());
  CHECK(rule->table == 0);
  CHECK(rule->config.mark == kRule.mark);
  CHECK(rule->config.protocol == 50);
}

TEST_CASE("rule: one that looks at more than the mark is not plain") {
  for (const uint16_t attribute : {FRA_IIFNAME, FRA_OIFNAME, FRA_L3MDEV, FRA_UID_RANGE, FRA_IP_PROTO}) {
    const Message message = with(attribute, 1);
    CAPTURE(attribute);
    CHECK_FALSE(decode_rule(payload(message))->plain);
  }
  const Message unmarked = with(FRA_FWMASK, 0);
  CHECK_FALSE(decode_rule(payload(unmarked))->plain);
  for (const size_t at : {size_t{1}, size_t{2}, size_t{3}}) {  // lengths of destination and source, type of service
    Bytes bytes(payload(unmarked).begin(), payload(unmarked).end());
    bytes[at] = 1;
    CHECK_FALSE(decode_rule(bytes)->plain);
  }
}

TEST_CASE("rule: cut off anywhere it is an error or a rule without what is missing, and never a crash") {
  const Message message = encode_new_rule(kRule, 1001);
  const ByteView whole = payload(message);
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto rule = decode_rule(whole.first(length));
    if (length < sizeof(fib_rule_hdr)) CHECK_FALSE(rule.ok());
    if (rule.ok()) CHECK(rule->table != 1001);
  }
  Bytes other(whole.begin(), whole.end());
  other[0] = 28;  // some address family
  CHECK(decode_rule(other).error().reason() == Reason::kUnsupported);
}
