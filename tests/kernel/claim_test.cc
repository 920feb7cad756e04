#include <doctest/doctest.h>
#include <unistd.h>

#include "policy/marks.h"
#include "policy/plan.h"
#include "tests/kernel/lab_network.h"

// What a lost journal leaves behind, and how it becomes ours again.
using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

constexpr uint32_t kNumber = kNumbersBegin + 1;
constexpr const char* kPublic = "left-pub";
constexpr const char* kPrivate = "left-priv";

LinkConfig our_link() {
  return {.name = interface_name(kNumber),
          .altname = "branch-7",
          .if_id = kNumber,
          .public_netns = kPublic,
          .public_device = "wan",
          .vrf = "blue",
          .mtu = 1380,
          .group = kLinkGroup};
}

RouteConfig our_route() {
  return {.destination = prefix("10.2.0.0/16"), .vrf = "blue", .device = interface_name(kNumber)};
}

PacketRules our_rules() {
  PacketRules rules;
  rules.interfaces = {{interface_name(kNumber), {1340, 1320}}};
  return rules;
}

/// One object of each kind, made by a run whose journal is lost then.
void leave_objects() {
  Port port("claim");
  REQUIRE(port.done(kPrivate, AddLink{our_link()}).ok());
  REQUIRE(port.done(kPrivate, AddRoute{our_route()}).ok());
  REQUIRE(port.done(kPrivate, SetPacketRules{our_rules()}).ok());
  REQUIRE(port.done(kPublic, AddSa{make_sa({.if_id = kNumber, .reqid = kNumber})}).ok());
  REQUIRE(port.done(kPublic, AddPolicy{make_policy({.if_id = kNumber, .reqid = kNumber})}).ok());
  for (const char* suffix : {"", ".spare"}) ::unlink((port.path + suffix).c_str());
}

/// What stands in a namespace and is not proven ours.
NamespaceState others(Port& port, const char* netns) {
  NamespaceState found;
  const auto keep = [&](const auto& all) {
    REQUIRE(all.ok());
    for (const auto& each : *all)
      if (!port.kernel->owns(netns, each)) found.add(each);
  };
  keep(port.kernel->dump_links(netns));
  keep(port.kernel->dump_policies(netns));
  keep(port.kernel->dump_routes(netns));
  const auto rules = port.kernel->dump_packet_rules(netns);
  REQUIRE(rules.ok());
  if (!port.kernel->owns(netns, *rules)) found.add(*rules);
  const auto sas = port.kernel->dump_sas(netns);
  REQUIRE(sas.ok());
  for (const SaState& each : *sas)
    if (!port.kernel->owns(netns, each)) found.sas.emplace(each.key, SaIdentity::of(each));
  return found;
}

}  // namespace

TEST_CASE("claim: all that a lost journal leaves bears our marks, and is neither replaced nor removed") {
  Network network;
  leave_objects();
  Port port("claim");
  CHECK(port.kernel->journal().found() == netlink::Journal::Found::kNothing);
  REQUIRE(shell("ip -n left-priv link add theirs type xfrm if_id 0x77") == 0);

  const NamespaceState here = with_own_marks(others(port, kPrivate)), outside = with_own_marks(others(port, kPublic));

  CHECK(here.links.size() == 1);
  CHECK(here.routes.size() == 1);
  CHECK(!here.packet_rules.empty());
  CHECK(outside.sas.size() == 1);
  CHECK(outside.policies.size() == 1);
  CHECK(reason_of(port.done(kPrivate, DeleteLink{our_link().name})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done(kPrivate, SetPacketRules{our_rules()})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done(kPublic, AddPolicy{make_policy({.if_id = kNumber, .reqid = kNumber})})) ==
        Reason::kKernelConflict);
}

TEST_CASE("claim: what was claimed is ours in all respects: taken over, changed, removed, and known to the next run") {
  Network network;
  leave_objects();
  {
    Port port("claim");
    for (const char* netns : {kPrivate, kPublic})
      REQUIRE(port.kernel->claim(netns, with_own_marks(others(port, netns))).ok());
    for (const char* netns : {kPrivate, kPublic}) CHECK(with_own_marks(others(port, netns)) == NamespaceState{});
    CHECK(error_of(port.done(kPrivate, AddLink{our_link()})) == "");
    CHECK(error_of(port.done(kPrivate, SetPacketRules{our_rules()})) == "");
    CHECK(port.kernel->dump_packet_rules(kPrivate).value() == our_rules());
  }

  Port port("claim");
  CHECK(error_of(port.done(kPrivate, SetPacketRules{})) == "");
  CHECK(error_of(port.done(kPrivate, DeleteRoute{our_route()})) == "");
  CHECK(error_of(port.done(kPrivate, DeleteLink{our_link().name})) == "");
  CHECK(error_of(port.done(kPublic, DeletePolicy{make_policy({.if_id = kNumber}).key})) == "");
  CHECK(error_of(port.done(kPublic, DeleteSa{make_sa({.if_id = kNumber}).key})) == "");
  CHECK(port.kernel->dump_routes(kPrivate)->empty());
  CHECK(port.kernel->dump_sas(kPublic)->empty());
  CHECK(port.kernel->journal().size() == 0);
}
