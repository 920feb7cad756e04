#include "policy/marks.h"

#include <doctest/doctest.h>

#include "policy/plan.h"
#include "policy/plan_carriers.h"
#include "policy/plan_groups.h"
#include "policy/plan_routes.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

constexpr uint32_t kOurs = kNumbersBegin + 7;

RouteConfig route(const std::string& device, uint8_t protocol = kOwnProtocol) {
  return {.destination = IpPrefix::parse("10.2.0.0/16").value(), .vrf = {}, .device = device, .protocol = protocol};
}

}  // namespace

TEST_CASE("marks: an SA bears ours by its reqid, and only with an interface id that is none or ours") {
  CHECK(has_own_mark(SaIdentity{.source = {}, .reqid = kOurs, .if_id = kOurs}));
  CHECK(has_own_mark(SaIdentity{.source = {}, .reqid = kOurs, .if_id = 0}));
  CHECK(!has_own_mark(SaIdentity{.source = {}, .reqid = kOurs, .if_id = 42}));
  CHECK(!has_own_mark(SaIdentity{.source = {}, .reqid = 1, .if_id = kOurs}));
  for (const uint32_t other : {0U, 1U, kNumbersBegin, kNumbersEnd, UINT32_MAX})
    CHECK(!has_own_mark(SaIdentity{.source = {}, .reqid = other, .if_id = 0}));
}

TEST_CASE("marks: a policy bears ours by its reqid; without template only as a guard") {
  PolicyConfig policy{.key = {}, .reqid = kOurs};
  CHECK(has_own_mark(policy));
  policy.reqid = 9;
  CHECK(!has_own_mark(policy));
  // Whose discard policy it is nobody can tell.
  PolicyConfig block{.key = {}, .priority = kBlockPriority, .action = PolicyAction::kBlock, .has_template = false};
  CHECK(!has_own_mark(block));
  block.key.user = kGuardUser;
  CHECK(has_own_mark(block));
}

TEST_CASE("marks: an interface bears ours when name and alternative name belong together") {
  const LinkConfig ours{.name = interface_name(kOurs), .altname = "branch-7", .if_id = kOurs};
  CHECK(has_own_mark(ours));
  LinkConfig link = ours;
  link.altname.clear();
  CHECK(!has_own_mark(link));
  link = ours;
  link.if_id = 7;
  CHECK(!has_own_mark(link));
  link = ours;
  link.name = "ipsec0";
  CHECK(!has_own_mark(link));

  LinkConfig external{.kind = LinkKind::kExternal, .name = external_interface_name("core"), .altname = "group:core"};
  CHECK(has_own_mark(external));
  external.altname = "group:edge";
  CHECK(!has_own_mark(external));
  LinkConfig vrf{.kind = LinkKind::kVrf, .name = "red", .altname = std::string(kVrfAltname) + "red"};
  CHECK(has_own_mark(vrf));
  vrf.altname = "red-customers";
  CHECK(!has_own_mark(vrf));
  LinkConfig gre{.kind = LinkKind::kGre, .name = carrier_interface_name("wan-1"), .altname = "wan-1"};
  CHECK(has_own_mark(gre));
  gre.name = "gre1";
  CHECK(!has_own_mark(gre));
}

TEST_CASE("marks: a route bears ours by its protocol, and only where we would lead it") {
  CHECK(has_own_mark(route(interface_name(kOurs))));
  CHECK(!has_own_mark(route(interface_name(kOurs), 186)));
  CHECK(!has_own_mark(route("eth0")));
  RouteConfig nowhere = route("");
  nowhere.kind = RouteKind::kUnreachable;
  CHECK(has_own_mark(nowhere));
}

TEST_CASE("marks: a rule bears ours by its protocol, priority and mark") {
  const RuleConfig ours{.family = Family::kIpv4, .priority = kRulePriority, .mark = vrf_mark("red"), .vrf = "red"};
  CHECK(has_own_mark(ours));
  RuleConfig rule = ours;
  rule.priority = 100;
  CHECK(!has_own_mark(rule));
  rule = ours;
  rule.mark.value = 0x100;
  CHECK(!has_own_mark(rule));
  rule = ours;
  rule.protocol = 3;
  CHECK(!has_own_mark(rule));
}

TEST_CASE("marks: of a namespace only what bears one is left") {
  NamespaceState all;
  all.add(LinkConfig{.name = interface_name(kOurs), .altname = "branch-7", .if_id = kOurs});
  all.add(LinkConfig{.name = "theirs", .altname = "branch-8", .if_id = 42});
  all.add(route(interface_name(kOurs)));
  all.sas[{IpAddress::parse("192.0.2.1").value(), ChildSpi(0xbeef)}] = {.source = {}, .reqid = 9};

  const NamespaceState marked = with_own_marks(all);

  CHECK(marked.links.size() == 1);
  CHECK(marked.routes.size() == 1);
  CHECK(marked.sas.empty());
}
