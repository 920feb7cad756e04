#include "policy/diff.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "policy/base/random.h"
#include "tests/policy/model_kernel.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

const IpAddress kGateway = IpAddress::parse("192.0.2.1").value();
const IpAddress kPeer = IpAddress::parse("198.51.100.7").value();

SaKey in_key(uint32_t number) { return {kGateway, ChildSpi(0x1000 + number)}; }
SaKey out_key(uint32_t number) { return {kPeer, ChildSpi(0x2000 + number)}; }

DesiredSa sa(Direction direction, uint32_t number) {
  return {.source = direction == Direction::kIn ? kPeer : kGateway,
          .direction = direction,
          .suite = {kEncrAesGcm16, 256, kAuthNone, true},
          .reqid = number,
          .if_id = number,
          .replay_window = static_cast<uint16_t>(direction == Direction::kIn ? 128 : 0)};
}

PolicyConfig policy_of(Direction direction, uint32_t number) {
  PolicyConfig config;
  const IpPrefix ours{IpAddress::v4(0x0a010000), 16}, theirs{IpAddress::v4(0x0b000000 + (number << 8)), 24};
  const bool out = direction == Direction::kOut;
  config.key.source = out ? ours : theirs;
  config.key.destination = out ? theirs : ours;
  config.key.direction = direction;
  config.key.if_id = config.reqid = number;
  config.tunnel_source = out ? kGateway : kPeer;
  config.tunnel_destination = out ? kPeer : kGateway;
  return config;
}

std::string link_name(uint32_t number) { return "ips" + std::to_string(number); }
LinkConfig link(uint32_t number) { return {.name = link_name(number), .altname = "branch", .if_id = number}; }
RouteConfig route(uint32_t number) {
  return {
      .destination = policy_of(Direction::kOut, number).key.destination, .vrf = "blue", .device = link_name(number)};
}

/// Everything of one tunnel with one child: SAs and policies in the daemon's namespace, the rest in "customers".
void want_tunnel(DesiredState& state, uint32_t number) {
  DesiredNamespace& outer = state[""];
  outer.sas[in_key(number)] = sa(Direction::kIn, number);
  outer.sas[out_key(number)] = sa(Direction::kOut, number);
  for (Direction each : {Direction::kIn, Direction::kForward, Direction::kOut})
    outer.policies[policy_of(each, number).key] = policy_of(each, number);
  DesiredNamespace& inner = state["customers"];
  inner.links[link_name(number)] = link(number);
  inner.routes[key_of(route(number))] = route(number);
}

DesiredState tunnels(std::initializer_list<uint32_t> numbers) {
  DesiredState state{{"", {}}, {"customers", {}}};
  for (uint32_t each : numbers) want_tunnel(state, each);
  return state;
}

std::vector<std::string> texts(const Difference& difference) {
  std::vector<std::string> list;
  for (const Step& each : difference.steps) list.push_back(to_string(each));
  return list;
}

ActualNamespace& customers(ModelKernel& kernel) { return kernel.state().at("customers"); }

/// A state in which each part of each of `count` tunnels is wanted or not, or differs, as the dice say.
DesiredState drawn_state(Random& random, uint32_t count) {
  DesiredState state{{"", {}}, {"customers", {}}};
  for (uint32_t number = 1; number <= count; ++number)
    if (random.below(3) != 0) want_tunnel(state, number);
  for (auto& [netns, space] : state) {
    std::erase_if(space.sas, [&](const auto&) { return random.below(5) == 0; });
    std::erase_if(space.policies, [&](const auto&) { return random.below(5) == 0; });
    std::erase_if(space.routes, [&](const auto&) { return random.below(5) == 0; });
    for (auto& [key, each] : space.policies) each.priority = static_cast<uint32_t>(random.below(2));
    for (auto& [name, each] : space.links) each.mtu = 1400 + static_cast<uint32_t>(random.below(4)) / 3;
    for (auto& [key, each] : space.routes)
      if (const auto other = link_name(1 + static_cast<uint32_t>(random.below(count))); space.links.contains(other))
        each.device = other;
  }
  return state;
}

/// Some objects of others, on keys that the wanted state may want too.
void add_foreign(ActualState& state, Random& random, uint32_t count) {
  const auto number = static_cast<uint32_t>(1 + random.below(count));
  ActualNamespace& inner = state["customers"];
  switch (random.below(4)) {
    case 0:
      state[""].sas.insert_or_assign(out_key(number),
                                     Owned{as_installed(out_key(number), sa(Direction::kOut, 99)), Owner::kForeign});
      break;
    case 1: {
      const PolicyConfig other = policy_of(Direction::kOut, number);
      state[""].policies.insert_or_assign(other.key, Owned{other, Owner::kForeign});
      break;
    }
    case 2:  // a kernel has one owner of a name: routes of ours over the former link went with it
      std::erase_if(inner.routes, [&](const auto& each) { return each.second.value.device == link_name(number); });
      inner.links.insert_or_assign(link_name(number), Owned{link(number), Owner::kForeign});
      break;
    case 3: {
      RouteConfig other = route(number);
      other.device = "eth0";
      inner.routes.insert_or_assign(key_of(other), Owned{other, Owner::kForeign});
      break;
    }
  }
}

}  // namespace

TEST_CASE("diff: nothing is to be done where everything stands as wanted") {
  const DesiredState desired = tunnels({1, 2});

  CHECK(diff(desired, as_standing(desired)).empty());
}

TEST_CASE("diff: a tunnel is made from the inside of the kernel outwards, its routes last") {
  const Difference made = diff(tunnels({1}), {{"", {}}, {"customers", {}}});

  CHECK(texts(made) == std::vector<std::string>{
                           "add link ips1 in netns customers", "install SA 192.0.2.1 SPI 0x1001",
                           "add policy in 11.0.1.0/24 to 10.1.0.0/16 if_id 0x1",
                           "add policy fwd 11.0.1.0/24 to 10.1.0.0/16 if_id 0x1", "install SA 198.51.100.7 SPI 0x2001",
                           "add policy out 10.1.0.0/16 to 11.0.1.0/24 if_id 0x1",
                           "add route 11.0.1.0/24 metric 100 dev ips1 vrf blue in netns customers"});
}

TEST_CASE("diff: a tunnel is removed in the reverse order, its routes first") {
  const Difference made = diff({}, as_standing(tunnels({1})));

  const auto list = texts(made);
  REQUIRE(list.size() == 7);
  CHECK(list.front() == "delete route 11.0.1.0/24 metric 100 dev ips1 vrf blue in netns customers");
  CHECK(list[1] == "delete policy out 10.1.0.0/16 to 11.0.1.0/24 if_id 0x1");
  CHECK(list[2] == "delete SA 198.51.100.7 SPI 0x2001");
  CHECK(list[5] == "delete SA 192.0.2.1 SPI 0x1001");
  CHECK(list.back() == "delete link ips1 in netns customers");
}

TEST_CASE("diff: the new tunnel stands before the old one goes") {
  const auto list = texts(diff(tunnels({2}), as_standing(tunnels({1}))));

  const auto first_delete = std::find_if(list.begin(), list.end(), [](const auto& each) { return each[0] == 'd'; });
  CHECK(first_delete - list.begin() == 7);
  CHECK(std::all_of(first_delete, list.end(), [](const auto& each) { return each.starts_with("delete"); }));
}

TEST_CASE("diff: a lost inbound SA is installed again, a lost outbound one only by a rekey") {
  DesiredState desired = tunnels({1});
  for (auto& [key, each] : desired[""].sas) each.keys = KeyUse::kInstalled;
  ActualState actual = as_standing(desired);
  actual[""].sas.clear();

  const Difference made = diff(desired, actual);

  CHECK(texts(made) == std::vector<std::string>{"install SA 192.0.2.1 SPI 0x1001"});
  REQUIRE(made.rekeys.size() == 1);
  CHECK(made.rekeys[0].key == out_key(1));
}

TEST_CASE("diff: an SA that is not as wanted carries traffic until a rekey has replaced it") {
  const DesiredState desired = tunnels({1});
  for (auto spoil :
       {+[](SaState& found) { found.reqid = 7; }, +[](SaState& found) { found.if_id = 7; },
        +[](SaState& found) { found.source = IpAddress::v4(1); },
        +[](SaState& found) { found.mode = EspMode::kTransport; }, +[](SaState& found) { found.suite.esn = false; },
        +[](SaState& found) { found.replay_window = 32; },
        +[](SaState& found) { found.direction = Direction::kOut; }}) {
    ActualState actual = as_standing(desired);
    spoil(actual[""].sas.at(in_key(1)).value);

    const Difference made = diff(desired, actual);

    CHECK(made.steps.empty());
    REQUIRE(made.rekeys.size() == 1);
    CHECK(made.rekeys[0].key == in_key(1));
  }
}

TEST_CASE("diff: what the kernel does not tell, or decides by itself, is no difference") {
  const DesiredState desired = tunnels({1});
  ActualState actual = as_standing(desired);
  SaState& outbound = actual[""].sas.at(out_key(1)).value;
  outbound.direction = std::nullopt;
  outbound.replay_window = 32;  // kernels without directions want one with ESN
  outbound.offload = OffloadKind::kPacket;
  outbound.packets = 12;

  CHECK(diff(desired, actual).empty());
}

TEST_CASE("diff: a policy that is not as wanted is replaced in one step") {
  const DesiredState desired = tunnels({1});
  ActualState actual = as_standing(desired);
  actual[""].policies.at(policy_of(Direction::kOut, 1).key).value.reqid = 9;

  CHECK(texts(diff(desired, actual)) ==
        std::vector<std::string>{"update policy out 10.1.0.0/16 to 11.0.1.0/24 if_id 0x1"});
}

TEST_CASE("diff: a link that is not as wanted is made anew, and its routes come again") {
  const DesiredState desired = tunnels({1});
  ModelKernel kernel(as_standing(desired));
  customers(kernel).links.at("ips1").value.mtu = 1300;

  const Difference made = diff(desired, kernel.state());

  CHECK(texts(made) ==
        std::vector<std::string>{"delete route 11.0.1.0/24 metric 100 dev ips1 vrf blue in netns customers",
                                 "delete link ips1 in netns customers", "add link ips1 in netns customers",
                                 "add route 11.0.1.0/24 metric 100 dev ips1 vrf blue in netns customers"});
  CHECK(kernel.apply(made, desired).empty());
  CHECK(diff(desired, kernel.state()).empty());
}

TEST_CASE("diff: a route that moves to another device is gone for one step only") {
  DesiredState desired = tunnels({1, 2});
  const ActualState actual = as_standing(desired);
  desired["customers"].routes.at(key_of(route(1))).device = "ips2";

  CHECK(texts(diff(desired, actual)) ==
        std::vector<std::string>{"delete route 11.0.1.0/24 metric 100 dev ips1 vrf blue in netns customers",
                                 "add route 11.0.1.0/24 metric 100 dev ips2 vrf blue in netns customers"});
}

TEST_CASE("diff: what others made is left alone, and named where it is in the way") {
  const DesiredState desired = tunnels({1});
  ActualState actual = as_standing(desired);
  for (auto& [key, each] : actual[""].sas) each.owner = Owner::kForeign;
  for (auto& [key, each] : actual[""].policies) each.owner = Owner::kForeign;
  for (auto& [key, each] : actual["customers"].routes) each.owner = Owner::kForeign;

  const Difference wanted = diff(desired, actual);
  CHECK(wanted.steps.empty());
  CHECK(wanted.unmet.size() == 6);
  for (const Unmet& each : wanted.unmet) CHECK(each.reason == Reason::kKernelConflict);
  CHECK(wanted.unmet.back().object == "route 11.0.1.0/24 metric 100 dev ips1 vrf blue");

  const Difference unwanted = diff({}, actual);
  CHECK(texts(unwanted) == std::vector<std::string>{"delete link ips1 in netns customers"});
  CHECK(unwanted.unmet.empty());
}

TEST_CASE("diff: no route of ours leads into a link that somebody else made under the name") {
  const DesiredState desired = tunnels({1});
  ActualState actual = as_standing(desired);
  actual["customers"].links.at("ips1").owner = Owner::kForeign;

  const Difference standing = diff(desired, actual);
  CHECK(texts(standing) ==
        std::vector<std::string>{"delete route 11.0.1.0/24 metric 100 dev ips1 vrf blue in netns customers"});
  CHECK(standing.unmet.size() == 2);

  actual["customers"].routes.clear();
  CHECK(diff(desired, actual).steps.empty());
}

TEST_CASE(
    "diff: a route that goes with its link is not deleted once more when the link it should move to is not ours") {
  DesiredState desired = tunnels({1, 2});
  ModelKernel kernel(as_standing(desired));
  customers(kernel).links.at("ips1").value.mtu = 1300;
  customers(kernel).links.at("ips2").owner = Owner::kForeign;
  desired["customers"].routes.at(key_of(route(1))).device = "ips2";

  const Difference made = diff(desired, kernel.state());

  CHECK(kernel.apply(made, desired) == "");
  CHECK(!customers(kernel).routes.contains(key_of(route(1))));
}

TEST_CASE("diff: a namespace that is missing is named once and stops nothing in the others") {
  const Difference no_private = diff(tunnels({1}), {{"", {}}});
  CHECK(no_private.steps.size() == 5);
  REQUIRE(no_private.unmet.size() == 1);
  CHECK(no_private.unmet[0].reason == Reason::kNamespaceMissing);
  CHECK(no_private.unmet[0].netns == "customers");

  DesiredState desired = tunnels({1});
  desired.erase("");
  const Difference no_public = diff(desired, {{"customers", {}}});
  CHECK(no_public.steps.empty());
  REQUIRE(no_public.unmet.size() == 2);
  for (const Unmet& each : no_public.unmet) CHECK(each.reason == Reason::kNamespaceMissing);
}

TEST_CASE("diff: reserved SPIs and waiting acquires are left to the kernel") {
  ActualState actual = as_standing(tunnels({1}));
  for (auto& [key, each] : actual[""].sas) each.value.larval = true;

  const auto list = texts(diff({}, actual));

  CHECK(std::none_of(list.begin(), list.end(), [](const auto& each) { return each.starts_with("delete SA"); }));
}

TEST_CASE("diff: names of the kernel that a terminal would obey are shown escaped") {
  CHECK(to_string({"", DeleteLink{"ips\x1b[2J"}}) == "delete link ips\\x1b[2J");
}

TEST_CASE("diff: applied, it makes any state into any other, touches nothing foreign, and is then done") {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    INFO("seed ", seed);
    SeededRandom random(seed);
    ModelKernel kernel(as_standing(drawn_state(random, 6)));
    const DesiredState desired = drawn_state(random, 6);

    const Difference made = diff(desired, kernel.state());
    REQUIRE(kernel.apply(made, desired) == "");

    const Difference left = diff(desired, kernel.state());
    CHECK(left.steps.empty());
    CHECK(left.unmet.empty());
    CHECK(left.rekeys.empty());
    CHECK(foreign_of(kernel.state()).empty());
  }
}

TEST_CASE("diff: among objects of others every step goes through, and theirs stand as before") {
  size_t conflicts = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    INFO("seed ", seed);
    SeededRandom random(seed);
    ModelKernel kernel(as_standing(drawn_state(random, 6)));
    for (uint64_t i = random.below(6); i > 0; --i) add_foreign(kernel.state(), random, 6);
    const DesiredState desired = drawn_state(random, 6);
    const std::string foreign = foreign_of(kernel.state());

    const Difference made = diff(desired, kernel.state());
    conflicts += made.unmet.size();
    REQUIRE(kernel.apply(made, desired) == "");

    CHECK(foreign_of(kernel.state()) == foreign);
    const Difference left = diff(desired, kernel.state());
    CHECK(left.steps.empty());
    CHECK(left.unmet.size() == made.unmet.size());
  }
  CHECK(conflicts > 100);
}

TEST_CASE("diff: stopped after any step, a new one goes on from there") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SeededRandom random(seed);
    const ActualState before = as_standing(drawn_state(random, 4));
    const DesiredState desired = drawn_state(random, 4);
    const Difference whole = diff(desired, before);
    for (size_t count = 0; count <= whole.steps.size(); ++count) {
      INFO("seed ", seed, ", stopped after ", count);
      ModelKernel kernel(before);
      REQUIRE(kernel.apply(whole, desired, count) == "");

      REQUIRE(kernel.apply(diff(desired, kernel.state()), desired) == "");

      CHECK(diff(desired, kernel.state()).empty());
    }
  }
}

TEST_CASE("diff: while a tunnel is made no outbound policy stands without its SA, and no SA outbound before inbound") {
  const DesiredState desired = tunnels({1, 2, 3});
  const ActualState before{{"", {}}, {"customers", {}}};
  const Difference whole = diff(desired, before);
  for (size_t count = 0; count <= whole.steps.size(); ++count) {
    INFO("after ", count);
    ModelKernel kernel(before);
    REQUIRE(kernel.apply(whole, desired, count) == "");

    const ActualNamespace& outer = kernel.state().at("");
    for (uint32_t number : {1, 2, 3}) {
      const bool in = outer.sas.contains(in_key(number)), out = outer.sas.contains(out_key(number));
      CHECK((in || !out));
      CHECK((out || !outer.policies.contains(policy_of(Direction::kOut, number).key)));
      if (kernel.state().at("customers").routes.contains(key_of(route(number))))
        CHECK(outer.policies.contains(policy_of(Direction::kOut, number).key));
    }
  }
}

TEST_CASE("diff: 100,000 objects that stand as wanted, less one, cost one step") {
  DesiredState desired = tunnels({});
  for (uint32_t number = 1; number <= 15000; ++number) want_tunnel(desired, number);
  ActualState actual = as_standing(desired);
  actual["customers"].routes.erase(key_of(route(77)));

  CHECK(texts(diff(desired, actual)) ==
        std::vector<std::string>{"add route 11.0.77.0/24 metric 100 dev ips77 vrf blue in netns customers"});
}
