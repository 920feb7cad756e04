#include "policy/drift.h"

#include <doctest/doctest.h>

using namespace ipsec;
using namespace ipsec::policy;

namespace {

SaKey sa_key(uint32_t spi) { return {IpAddress::v4(0xc0000201), ChildSpi(spi)}; }

PolicyConfig some_policy() {
  PolicyConfig policy;
  policy.key.source = IpPrefix::parse("10.1.0.0/16").value();
  policy.key.destination = IpPrefix::parse("10.2.0.0/16").value();
  policy.key.if_id = 42;
  policy.priority = 100;
  policy.reqid = 7;
  return policy;
}

LinkConfig some_link() { return {.name = "ips2a", .altname = "branch", .if_id = 42, .vrf = "blue", .mtu = 1400}; }

RouteConfig some_route() {
  return {.destination = IpPrefix::parse("10.2.0.0/16").value(), .vrf = "blue", .device = "ips2a"};
}

NamespaceState one_of_each() {
  NamespaceState state;
  state.sas[sa_key(0xc1)] = {.reqid = 7};
  state.add(some_policy());
  state.add(some_link());
  state.add(some_route());
  return state;
}

std::vector<std::string> lines(const std::vector<DriftRow>& rows) {
  std::vector<std::string> all;
  for (const DriftRow& row : rows)
    all.push_back(row.kind + " " + row.object + ": " + std::string(to_string(row.verdict)) +
                  (row.detail.empty() ? "" : " (" + row.detail + ")"));
  return all;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("drift: what stands as it is wanted is no row") {
  CHECK(drift("a", one_of_each(), {.ours = one_of_each(), .foreign = {}}).empty());
}

TEST_CASE("drift: what is wanted and not there is missing, with the object's name and namespace") {
  const auto rows = drift("a", one_of_each(), {});
  CHECK(lines(rows) ==
        Lines{"link ips2a (branch): missing", "policy out 10.1.0.0/16 10.2.0.0/16 if_id 0x0000002a: missing",
              "route 10.2.0.0/16 vrf blue dev ips2a metric 100: missing", "sa 0x000000c1 to 192.0.2.1: missing"});
  CHECK(rows.front().netns == "a");
  CHECK(has_drift(rows));
}

TEST_CASE("drift: what of ours nobody wants is extra") {
  const auto rows = drift("a", {}, {.ours = one_of_each(), .foreign = {}});
  REQUIRE(rows.size() == 4);
  for (const DriftRow& row : rows) CHECK(row.verdict == DriftVerdict::kExtra);
  CHECK(has_drift(rows));
}

TEST_CASE("drift: what is changed says what it is and what is wanted") {
  StandingState standing{.ours = one_of_each(), .foreign = {}};
  standing.ours.links["ips2a"].mtu = 1300;
  standing.ours.links["ips2a"].vrf = "";
  standing.ours.links["ips2a"].up = false;
  standing.ours.policies[some_policy().key].priority = 5;
  standing.ours.routes[RouteKey::of(some_route())].device = "eth0";
  standing.ours.sas[sa_key(0xc1)].if_id = 9;

  CHECK(lines(drift("a", one_of_each(), standing)) ==
        Lines{"link ips2a (branch): changed (state down, wanted up; vrf none, wanted blue; mtu 1300, wanted 1400)",
              "policy out 10.1.0.0/16 10.2.0.0/16 if_id 0x0000002a: changed (priority 5, wanted 100)",
              "route 10.2.0.0/16 vrf blue dev ips2a metric 100: changed (device eth0, wanted ips2a)",
              "sa 0x000000c1 to 192.0.2.1: changed (if_id 9, wanted 0)"});
}

TEST_CASE("drift: addresses and the operational state of a link are told as they are and as they are wanted") {
  NamespaceState wanted, found;
  LinkConfig link = some_link();
  link.addresses = {{IpAddress::parse("10.255.0.1").value(), 30}, {IpAddress::parse("fe80::1").value(), 64}};
  wanted.add(link);
  link.addresses.pop_back();
  link.dormant = true;
  found.add(link);
  CHECK(
      lines(drift("a", wanted, {.ours = found, .foreign = {}})) ==
      Lines{"link ips2a (branch): changed (operational state dormant, wanted running; addresses 10.255.0.1/30, wanted "
            "10.255.0.1/30, fe80::1/64)"});
}

TEST_CASE("drift: foreign objects are listed and are no drift, unless one stands where ours should") {
  NamespaceState foreign;
  foreign.sas[sa_key(0xf1)] = {};
  auto rows = drift("a", one_of_each(), {.ours = one_of_each(), .foreign = foreign});
  CHECK(lines(rows) == Lines{"sa 0x000000f1 to 192.0.2.1: foreign"});
  CHECK(!has_drift(rows));

  NamespaceState desired, taken;
  desired.add(some_policy());
  PolicyConfig other = some_policy();
  other.reqid = 99;
  taken.add(other);
  rows = drift("a", desired, {.ours = {}, .foreign = taken});
  CHECK(lines(rows) ==
        Lines{"policy out 10.1.0.0/16 10.2.0.0/16 if_id 0x0000002a: missing (somebody else's is in its place)",
              "policy out 10.1.0.0/16 10.2.0.0/16 if_id 0x0000002a: foreign"});
  CHECK(has_drift(rows));
}

TEST_CASE("drift: every operation names its object and what it does") {
  const auto text = [](const KernelChange& change) {
    const ChangeText each = change_text(change);
    return std::string(each.kind) + " " + each.object + " " + std::string(each.verb);
  };
  CHECK(text(AddLink{some_link()}) == "link ips2a (branch) made");
  CHECK(text(UpdateLink{some_link()}) == "link ips2a (branch) changed");
  CHECK(text(DeleteLink{"ips2a"}) == "link ips2a removed");
  CHECK(text(AddRoute{some_route()}) == "route 10.2.0.0/16 vrf blue dev ips2a metric 100 made");
  CHECK(text(DeleteSa{sa_key(1)}) == "sa 0x00000001 to 192.0.2.1 removed");
  PolicyKey ports = some_policy().key;
  ports.protocol = 17, ports.if_id = 0, ports.destination_port = 53, ports.destination_port_mask = 0xffff;
  CHECK(text(DeletePolicy{ports}) == "policy out 10.1.0.0/16 10.2.0.0/16[53/0x0000ffff] protocol 17 removed");
}

TEST_CASE("drift: what bears our marks and is not proven ours is listed as unclaimed, and is no drift") {
  NamespaceState standing;
  standing.sas[sa_key(0xf1)] = {.source = {}, .reqid = 0x1000005, .if_id = 0x1000005};
  standing.sas[sa_key(0xf2)] = {.source = {}, .reqid = 5, .if_id = 0x1000005};
  const auto rows = drift("a", {}, {.ours = {}, .foreign = standing});
  CHECK(lines(rows) == Lines{"sa 0x000000f1 to 192.0.2.1: unclaimed", "sa 0x000000f2 to 192.0.2.1: foreign"});
  CHECK(!has_drift(rows));
}
