#include <doctest/doctest.h>

#include <algorithm>

#include "policy/plan_groups.h"
#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

// What groups share in a real kernel: VRFs and rules.

namespace {

LinkConfig vrf_of(const std::string& name, uint32_t table) {
  return {.kind = LinkKind::kVrf, .name = name, .altname = "ipsecd-vrf-" + name, .vrf_table = table};
}

RuleConfig rule_for(const std::string& vrf, Family family = Family::kIpv4) {
  return {.family = family, .priority = kRulePriority, .mark = vrf_mark(vrf), .vrf = vrf};
}

std::vector<LinkConfig> vrfs(Port& port, const std::string& netns) {
  auto links = port.kernel->dump_links(netns);
  REQUIRE_MESSAGE(links.ok(), error_of(links));
  std::erase_if(*links, [](const LinkConfig& each) { return each.kind != LinkKind::kVrf; });
  return *links;
}

template <typename Event>
size_t told(Port& port) {
  port.kernel->process();
  size_t count = 0;
  while (auto event = port.kernel->poll_event()) count += std::holds_alternative<Event>(*event) ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("vrf: one that is missing is made as asked for, reads back as that, and goes") {
  Namespace netns("vrfs");
  Port port;
  const LinkConfig wanted = vrf_of("blue", 70001);
  REQUIRE(error_of(port.done("vrfs", AddLink{wanted})) == "");
  CHECK(error_of(port.done("vrfs", AddLink{wanted})) == "");

  const auto found = vrfs(port, "vrfs");
  REQUIRE(found.size() == 1);
  CHECK(found[0] == wanted);
  CHECK(port.kernel->owns("vrfs", found[0]));
  CHECK(port.kernel->vrf_table("vrfs", "blue").value() == 70001);

  REQUIRE(netns.ip("link set blue down") == 0);
  CHECK_FALSE(vrfs(port, "vrfs")[0].up);
  CHECK(error_of(port.done("vrfs", UpdateLink{wanted})) == "");
  CHECK(vrfs(port, "vrfs")[0] == wanted);

  CHECK(error_of(port.done("vrfs", DeleteLink{"blue"})) == "");
  CHECK(vrfs(port, "vrfs").empty());
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("vrf: an operator's serves as it is, whatever its table, and is never removed") {
  Namespace netns("vrfs");
  REQUIRE(netns.ip("link add blue type vrf table 1001") == 0);
  Port port;
  CHECK(error_of(port.done("vrfs", AddLink{vrf_of("blue", 1002)})) == "");
  const auto found = vrfs(port, "vrfs");
  REQUIRE(found.size() == 1);
  CHECK(found[0].vrf_table == 1001);
  CHECK_FALSE(found[0].up);
  CHECK_FALSE(port.kernel->owns("vrfs", found[0]));
  CHECK(reason_of(port.done("vrfs", DeleteLink{"blue"})) == Reason::kKernelConflict);
  CHECK(vrfs(port, "vrfs").size() == 1);
}

TEST_CASE("vrf: somebody else's name, table or alternative name is a conflict, and nothing is left of the attempt") {
  Namespace netns("vrfs");
  REQUIRE(netns.ip("link add green type vrf table 1001") == 0);
  REQUIRE(netns.ip("link add blue type dummy") == 0);
  REQUIRE(netns.ip("link property add dev green altname ipsecd-vrf-red") == 0);
  Port port;
  CHECK(reason_of(port.done("vrfs", AddLink{vrf_of("blue", 1002)})) == Reason::kKernelConflict);
  CHECK(reason_of(port.done("vrfs", AddLink{vrf_of("red", 1001)})) == Reason::kKernelConflict);
  CHECK_FALSE(port.done("vrfs", AddLink{vrf_of("red", 1002)}).ok());
  CHECK(vrfs(port, "vrfs").size() == 1);
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("vrf: with somebody else's interface in it, it stays, and is still ours") {
  Namespace netns("vrfs");
  Port port;
  REQUIRE(port.done("vrfs", AddLink{vrf_of("blue", 1001)}).ok());
  REQUIRE(netns.ip("link add lan type dummy") == 0);
  REQUIRE(netns.ip("link set lan master blue") == 0);

  CHECK(reason_of(port.done("vrfs", DeleteLink{"blue"})) == Reason::kKernelConflict);
  CHECK(vrfs(port, "vrfs").size() == 1);
  CHECK(port.kernel->owns("vrfs", vrfs(port, "vrfs")[0]));

  REQUIRE(netns.ip("link set lan nomaster") == 0);
  CHECK(error_of(port.done("vrfs", DeleteLink{"blue"})) == "");
  CHECK(vrfs(port, "vrfs").empty());
}

TEST_CASE("vrf: with many interfaces of ours that go at once it goes last, or stays if others are in it") {
  for (const bool foreign : {false, true}) {
    Namespace netns("vrfs");
    Port port;
    uint64_t id = 0;
    REQUIRE(port.done("vrfs", AddLink{vrf_of("blue", 1001)}).ok());
    for (uint32_t i = 0; i < 6; ++i)
      REQUIRE(error_of(port.done("vrfs", AddLink{{.name = "tun" + std::to_string(i),
                                                  .if_id = 50 + i,
                                                  .public_netns = "vrfs",
                                                  .vrf = "blue",
                                                  .group = 50}})) == "");
    if (foreign) REQUIRE(netns.ip("link add lan master blue type dummy") == 0);
    for (uint32_t i = 0; i < 6; ++i)
      port.kernel->submit({.id = ++id, .netns = "vrfs", .change = DeleteLink{"tun" + std::to_string(i)}});
    port.kernel->submit({.id = ++id, .netns = "vrfs", .change = DeleteLink{"blue"}});
    const auto completions = port.finish();
    REQUIRE(completions.size() == 7);
    CHECK(completions.back().result.ok() == !foreign);
    CHECK(port.kernel->dump_links("vrfs")->size() == (foreign ? 1 : 0));
  }
}

TEST_CASE("rule: made for both families, read back, told when others remove it, and gone for good") {
  Namespace netns("rules");
  REQUIRE(netns.ip("link add blue type vrf table 70001") == 0);
  Port port;
  REQUIRE(port.kernel->watch("rules").ok());
  const RuleConfig four = rule_for("blue"), six = rule_for("blue", Family::kIpv6), main = rule_for("");
  for (const RuleConfig& each : {four, six, main}) {
    REQUIRE(error_of(port.done("rules", AddRule{each})) == "");
    CHECK(error_of(port.done("rules", AddRule{each})) == "");
    CHECK(port.kernel->owns("rules", each));
  }
  const auto found = port.kernel->dump_rules("rules");
  REQUIRE_MESSAGE(found.ok(), error_of(found));
  CHECK(found->size() == 3);
  for (const RuleConfig& each : {four, six, main}) CHECK(std::ranges::count(*found, each) == 1);
  told<RuleRemoved>(port);

  REQUIRE(netns.ip("rule del priority 950 table 70001") == 0);
  CHECK(told<RuleRemoved>(port) == 1);
  CHECK(error_of(port.done("rules", AddRule{four})) == "");
  CHECK(port.kernel->dump_rules("rules")->size() == 3);

  for (const RuleConfig& each : {four, six, main}) CHECK(error_of(port.done("rules", DeleteRule{each})) == "");
  CHECK(port.kernel->dump_rules("rules")->empty());
  CHECK(told<RuleRemoved>(port) == 0);
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("rule: those of others are neither taken over nor removed, and a VRF that is missing is named") {
  Namespace netns("rules");
  REQUIRE(netns.ip("link add blue type vrf table 1001") == 0);
  REQUIRE(netns.ip("rule add priority 950 fwmark 0x7/0xff table 1001 proto 50") == 0);
  Port port;
  const auto found = port.kernel->dump_rules("rules");
  REQUIRE(found->size() == 1);
  CHECK_FALSE(port.kernel->owns("rules", found->front()));
  CHECK(error_of(port.done("rules", DeleteRule{found->front()})) == "");
  CHECK(reason_of(port.done("rules", AddRule{found->front()})) == Reason::kKernelConflict);
  CHECK(port.kernel->dump_rules("rules")->size() == 1);
  CHECK(reason_of(port.done("rules", AddRule{rule_for("red")})) == Reason::kVrfMissing);
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("rule: one whose VRF has gone is still ours, and makes room for its successor") {
  Namespace netns("rules");
  REQUIRE(netns.ip("link add blue type vrf table 1001") == 0);
  Port port("rules-run");
  REQUIRE(port.done("rules", AddRule{rule_for("blue")}).ok());
  REQUIRE(netns.ip("link del blue") == 0);
  REQUIRE(netns.ip("link add blue type vrf table 1002") == 0);

  const auto found = port.kernel->dump_rules("rules");
  REQUIRE(found->size() == 1);
  CHECK(found->front().vrf == "#1001");
  CHECK(port.kernel->owns("rules", found->front()));
  CHECK(error_of(port.done("rules", DeleteRule{found->front()})) == "");
  CHECK(error_of(port.done("rules", AddRule{rule_for("blue")})) == "");
  CHECK(port.kernel->dump_rules("rules")->front() == rule_for("blue"));
}

TEST_CASE("namespace: by process and by path it is the same one, and the end of the process is told") {
  Namespace netns("named");
  Port port;
  REQUIRE(shell("ip netns exec named sleep 60 & echo $! > /run/named.pid; sleep 0.2") == 0);
  std::string pid = shell_output("cat /run/named.pid");
  pid.erase(pid.find_last_not_of('\n') + 1);
  const std::string by_process = "pid:" + pid;
  REQUIRE(error_of(port.kernel->watch(by_process)) == "");
  REQUIRE(error_of(port.done(by_process, AddLink{vrf_of("blue", 1001)})) == "");
  REQUIRE(shell("mkdir -p /run/paths; touch /run/paths/it; mount --bind /run/netns/named /run/paths/it") == 0);
  REQUIRE(error_of(port.kernel->watch("/run/paths/it")) == "");
  CHECK(port.kernel->dump_links("/run/paths/it")->size() == 1);
  told<ResyncNeeded>(port);

  REQUIRE(shell("kill " + pid + "; sleep 0.2") == 0);
  CHECK(told<NamespaceGone>(port) == 1);
  CHECK(reason_of(port.kernel->dump_links(by_process)) == Reason::kNamespaceMissing);
  REQUIRE(shell("umount /run/paths/it; rm /run/paths/it") == 0);
  CHECK(told<NamespaceGone>(port) == 1);
}
