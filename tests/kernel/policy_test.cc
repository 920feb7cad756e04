#include <doctest/doctest.h>

#include <algorithm>

#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {}  // namespace

TEST_CASE("policy: all kinds install, show in a dump as they were asked for, and go") {
  Namespace netns("pol");
  Port port;
  std::vector<PolicyConfig> wanted;
  for (const Direction direction : {Direction::kIn, Direction::kOut, Direction::kForward}) {
    wanted.push_back(make_policy({.direction = direction, .if_id = 42}));
    wanted.push_back(make_policy({.source = "fd01::/64", .destination = "fd02::/64", .direction = direction}));
    wanted.push_back(
        make_policy({.tunnel_source = "2001:db8::1", .tunnel_destination = "2001:db8::2", .direction = direction}));
  }
  wanted[0].optional_template = true;
  wanted[4].key.mark = {.value = 3, .mask = 0xff};
  PolicyConfig bypass = make_policy({.source = "192.0.2.1", .destination = "192.0.2.2"});
  bypass.has_template = false, bypass.reqid = 0;
  bypass.tunnel_source = bypass.tunnel_destination = IpAddress();
  bypass.key.protocol = 17;
  bypass.key.source_port = 500, bypass.key.source_port_mask = 0xffff;
  wanted.push_back(bypass);
  bypass.action = PolicyAction::kBlock;
  bypass.key.source_port = 501;
  wanted.push_back(bypass);
  bypass.key.user = 50;  // two of the same traffic
  wanted.push_back(bypass);

  for (const PolicyConfig& each : wanted) CHECK(error_of(port.done("pol", AddPolicy{each})) == "");
  auto found = port.kernel->dump_policies("pol");
  REQUIRE(found.ok());
  const auto by_key = [](const PolicyConfig& a, const PolicyConfig& b) { return a.key < b.key; };
  std::ranges::sort(*found, by_key);
  std::ranges::sort(wanted, by_key);
  CHECK(*found == wanted);

  for (const PolicyConfig& each : wanted) CHECK(error_of(port.done("pol", DeletePolicy{each.key})) == "");
  CHECK(port.kernel->dump_policies("pol")->empty());
}

TEST_CASE("policy: a foreign one is neither replaced, updated nor removed") {
  Namespace netns("polf");
  Port port;
  REQUIRE(netns.ip("xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 5 tmpl src 192.0.2.8 dst "
                   "192.0.2.9 proto esp reqid 99 mode tunnel") == 0);
  const std::string before = shell_output("ip -n polf xfrm policy");
  const PolicyConfig ours = make_policy({});

  CHECK(reason_of(port.done("polf", AddPolicy{ours})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done("polf", UpdatePolicy{ours})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done("polf", DeletePolicy{ours.key})) == Reason::kKernelConflict);
  CHECK(!port.kernel->owns("polf", ours.key));
  CHECK(shell_output("ip -n polf xfrm policy") == before);
}

TEST_CASE("policy: our own is updated, also when it is added again and after a restart") {
  Namespace netns("polu");
  PolicyConfig ours = make_policy({});
  {
    Port port("polu");
    REQUIRE(port.done("polu", AddPolicy{ours}).ok());
    ours.priority = 2000;
    CHECK(error_of(port.done("polu", AddPolicy{ours})) == "");
    ours.priority = 3000;
    CHECK(error_of(port.done("polu", UpdatePolicy{ours})) == "");
  }
  Port port("polu");
  ours.priority = 4000;
  CHECK(error_of(port.done("polu", AddPolicy{ours})) == "");
  auto found = port.kernel->dump_policies("polu");
  REQUIRE(found.ok());
  CHECK(*found == std::vector<PolicyConfig>{ours});
  CHECK(error_of(port.done("polu", DeletePolicy{ours.key})) == "");
}

TEST_CASE("policy: one that is removed and made again in one go stands, and the journal knows it as ours") {
  Namespace netns("again");
  Port port;
  const PolicyConfig policy = make_policy({});
  REQUIRE(port.done("again", AddPolicy{policy}).ok());
  for (const bool update : {false, true}) {
    port.kernel->submit({.id = ++port.next_id, .netns = "again", .change = DeletePolicy{policy.key}});
    if (update) port.kernel->submit({.id = ++port.next_id, .netns = "again", .change = AddPolicy{policy}});
    port.kernel->submit({.id = ++port.next_id,
                         .netns = "again",
                         .change = update ? KernelChange(UpdatePolicy{policy}) : KernelChange(AddPolicy{policy})});
    for (const KernelCompletion& each : port.finish()) CHECK(error_of(each.result) == "");
    CHECK(port.kernel->owns("again", policy.key));
    CHECK(port.kernel->dump_policies("again")->size() == 1);
  }
}

TEST_CASE("policy: removing one that is gone succeeds") {
  Namespace netns("polg");
  Port port;
  CHECK(port.done("polg", DeletePolicy{make_policy({}).key}).ok());
  REQUIRE(port.done("polg", AddPolicy{make_policy({})}).ok());
  netns.ip("xfrm policy flush");
  CHECK(port.done("polg", DeletePolicy{make_policy({}).key}).ok());
}
