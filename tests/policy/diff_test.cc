#include "policy/diff.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "policy/base/random.h"
#include "tests/support/fake_kernel.h"

using namespace ipsec;
using namespace ipsec::policy;
using ipsec::testing::FakeKernel;
using Texts = std::vector<std::string>;

namespace {

SaKey sa_key(uint32_t spi) { return {IpAddress::v4(0xc0000201), ChildSpi(spi)}; }

PolicyConfig policy_of(uint32_t number, uint32_t reqid) {
  PolicyConfig policy;
  policy.key.source = IpPrefix::parse("10.1.0.0/16").value();
  policy.key.destination = IpPrefix::host(IpAddress::v4(0x0a020000 + number));
  policy.reqid = reqid;
  return policy;
}

LinkConfig link_of(uint32_t number, uint32_t mtu) {
  return {.name = "ips" + std::to_string(number), .if_id = number, .vrf = "red", .mtu = mtu};
}

RouteConfig route_of(uint32_t number, uint32_t link) {
  return {.destination = IpPrefix::host(IpAddress::v4(0x0a020000 + number)),
          .vrf = "red",
          .device = "ips" + std::to_string(link)};
}

/// A state with a few of a few possible objects; routes only over links that are there.
NamespaceState random_state(Random& random) {
  NamespaceState state;
  for (uint32_t i = 1; i <= 4; ++i) {
    if (random.below(2) == 0) state.sas[sa_key(0xc0 + i)] = {.reqid = static_cast<uint32_t>(random.below(2))};
    if (random.below(2) == 0) state.add(policy_of(i, static_cast<uint32_t>(random.below(2))));
    if (random.below(2) == 0) continue;
    state.add(link_of(i, 1400 + static_cast<uint32_t>(random.below(2))));
    if (random.below(2) == 0) {
      // Over any of the links: a prefix may move from one tunnel to another.
      const auto link = std::next(state.links.begin(), static_cast<ptrdiff_t>(random.below(state.links.size())));
      RouteConfig route = route_of(i, link->second.if_id);
      if (random.below(2) == 0) route.preferred_source = IpAddress::v4(0x0a010001);
      state.add(route);
    }
  }
  return state;
}

Texts texts(const StateDiff& diff) {
  Texts lines;
  for (const KernelChange& each : diff.changes) lines.push_back(testing::describe(each));
  return lines;
}

/// Puts a state into the fake kernel as ours, and reads it out again.
void install(FakeKernel& kernel, const NamespaceState& state) {
  auto& space = kernel.in("");
  for (const auto& [key, identity] : state.sas) {
    FakeKernel::Sa sa;
    sa.state.key = sa.config.key = key;
    sa.state.reqid = identity.reqid;
    space.sas.emplace(key, std::move(sa));
  }
  for (const auto& [key, policy] : state.policies) space.policies[key] = {policy};
  for (const auto& [name, link] : state.links) space.links[name] = {link};
  for (const auto& [key, route] : state.routes) space.routes[{route.vrf, route.destination, route.metric}] = {route};
}

NamespaceState read(const FakeKernel& kernel) {
  NamespaceState state;
  for (const auto& [key, sa] : kernel.in("").sas) state.sas[key] = SaIdentity::of(sa.state);
  for (const auto& [key, policy] : kernel.in("").policies) state.add(policy.config);
  for (const auto& [name, link] : kernel.in("").links) state.add(link.config);
  for (const auto& [key, route] : kernel.in("").routes) state.add(route.config);
  return state;
}

/// Carries the changes out; every one must be accepted.
void apply(FakeKernel& kernel, StateDiff changes) {
  uint64_t id = 0;
  for (KernelChange& each : changes.changes) kernel.submit({.id = ++id, .netns = "", .change = std::move(each)});
  kernel.flush();
  while (auto done = kernel.poll_completion())
    CHECK_MESSAGE(done->result.ok(), (done->result.ok() ? std::string() : done->result.error().text()));
}

}  // namespace

TEST_CASE("diff: what a killed daemon left goes in the order that leaks nothing: routes, SAs, policies, links") {
  NamespaceState ours;
  ours.sas[sa_key(0xc1)] = {};
  ours.add(policy_of(1, 1));
  ours.add(link_of(1, 1400));
  ours.add(route_of(1, 1));

  CHECK(texts(diff({}, ours)) == Texts{"delete-route 10.2.0.1/32 dev ips1 metric 100", "delete-sa 0x000000c1",
                                       "delete-policy out 10.1.0.0/16 10.2.0.1/32", "delete-link ips1"});
}

TEST_CASE("diff: what is missing is made from the link up to the route; an SA is only reported") {
  NamespaceState desired;
  desired.sas[sa_key(0xc1)] = {};
  desired.add(policy_of(1, 1));
  desired.add(link_of(1, 1400));
  desired.add(route_of(1, 1));

  const StateDiff result = diff(desired, {});

  CHECK(texts(result) == Texts{"add-link ips1", "add-policy out 10.1.0.0/16 10.2.0.1/32 reqid 0x00000001",
                               "add-route 10.2.0.1/32 dev ips1 metric 100"});
  CHECK(result.missing == std::vector<SaKey>{sa_key(0xc1)});
}

TEST_CASE("diff: an SA of a wanted key that was made for something else goes and is missing") {
  NamespaceState desired, ours;
  desired.sas[sa_key(0xc1)] = {.reqid = 1};
  ours.sas[sa_key(0xc1)] = {.reqid = 2};

  const StateDiff result = diff(desired, ours);

  CHECK(texts(result) == Texts{"delete-sa 0x000000c1"});
  CHECK(result.missing.size() == 1);
}

TEST_CASE("diff: a link is mended in place, and its routes stay") {
  NamespaceState desired, ours;
  desired.add(link_of(1, 1400));
  ours.add(link_of(1, 1300));
  desired.add(route_of(1, 1));
  ours.add(route_of(1, 1));

  CHECK(texts(diff(desired, ours)) == Texts{"update-link ips1"});
}

TEST_CASE("diff: a link that changes its VRF loses its routes, so that they are made anew") {
  NamespaceState desired, ours;
  LinkConfig link = link_of(1, 1400);
  desired.add(link);
  link.vrf.clear();
  ours.add(link);
  for (NamespaceState* each : {&desired, &ours}) each->add(route_of(1, 1));

  CHECK(texts(diff(desired, ours)) == Texts{"delete-route 10.2.0.1/32 dev ips1 metric 100", "update-link ips1",
                                            "add-route 10.2.0.1/32 dev ips1 metric 100"});
}

TEST_CASE("diff: a link that lies over another namespace is made anew, and its routes with it") {
  NamespaceState desired, ours;
  LinkConfig link = link_of(1, 1400);
  desired.add(link);
  link.public_netns = "#7";
  ours.add(link);
  desired.add(route_of(1, 1));
  ours.add(route_of(1, 1));

  CHECK(texts(diff(desired, ours)) == Texts{"delete-route 10.2.0.1/32 dev ips1 metric 100", "delete-link ips1",
                                            "add-link ips1", "add-route 10.2.0.1/32 dev ips1 metric 100"});
}

TEST_CASE(
    "diff: a route that moves to another link makes room first: the kernel allows one per destination and metric") {
  NamespaceState desired, ours;
  for (NamespaceState* each : {&desired, &ours}) each->add(link_of(1, 1400)), each->add(link_of(2, 1400));
  ours.add(route_of(1, 1));
  desired.add(route_of(1, 2));

  CHECK(texts(diff(desired, ours)) ==
        Texts{"delete-route 10.2.0.1/32 dev ips1 metric 100", "add-route 10.2.0.1/32 dev ips2 metric 100"});
}

TEST_CASE("diff: the other end of a GRE interface moves in place; with another end of ours it is made anew") {
  NamespaceState ours, moved, elsewhere;
  LinkConfig link{.kind = LinkKind::kGre,
                  .name = "gre1",
                  .mtu = 1400,
                  .tunnel_local = IpAddress::v4(0xc0000201),
                  .tunnel_remote = IpAddress::v4(0xc0000202),
                  .tunnel_key = 7};
  ours.add(link);
  link.tunnel_remote = IpAddress::v4(0xc0000203);
  moved.add(link);
  link.tunnel_local = IpAddress::v4(0xc0000209);
  elsewhere.add(link);
  const auto in_place = diff(moved, ours).changes, anew = diff(elsewhere, ours).changes;
  REQUIRE(in_place.size() == 1);
  CHECK(std::get<UpdateLink>(in_place[0]).link.tunnel_remote == IpAddress::v4(0xc0000203));
  REQUIRE(anew.size() == 2);
  CHECK(std::holds_alternative<DeleteLink>(anew[0]));
  CHECK(std::holds_alternative<AddLink>(anew[1]));
}

TEST_CASE("diff: of equal states is empty") {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const NamespaceState state = random_state(random);
    CHECK(diff(state, state).empty());
  }
}

TEST_CASE("diff: carried out on a kernel it leads from any state to any other, and foreign objects stay") {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const NamespaceState ours = random_state(random), desired = random_state(random);
    FakeKernel kernel;
    kernel.in("").vrfs.insert("red");
    install(kernel, ours);
    REQUIRE(read(kernel) == ours);
    kernel.put_foreign("", sa_key(0xf1));
    const Texts foreign = kernel.foreign();

    const StateDiff result = diff(desired, ours);
    NamespaceState expected = desired;
    for (const SaKey& key : result.missing) expected.sas.erase(key);
    apply(kernel, diff(desired, ours));

    CHECK(kernel.foreign() == foreign);
    kernel.in("").sas.erase(sa_key(0xf1));
    CHECK(read(kernel) == expected);
    CHECK(diff(desired, read(kernel)).changes.empty());
  }
}
