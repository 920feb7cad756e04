#include <doctest/doctest.h>

#include <set>

#include "agent/selector_sets.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

// One configured child of which the peer takes parts: each part has an outbound reqid of its own.

namespace {

constexpr ike::IkeSaId kIke{0x11}, kNext{0x22};

agent::SelectorSets::Keys keys_of(const std::string& remote) {
  return policy::policy_keys({policy::parse_selector("10.1.0.0/16").value()}, {policy::parse_selector(remote).value()})
      .value();
}

struct Parts : ManagerWorld {
  explicit Parts(const char* start = "respond") {
    ManagerWorld::start({{.start = start}});
    identity(kIke);
  }
  void part(uint32_t child, const std::string& remote, std::optional<uint32_t> replaces = {}, ike::IkeSaId ike = kIke) {
    narrowed["a"] = remote;
    const ChildShape shape{.ike = ike, .id = child, .replaces = replaces};
    inbound(shape);
    outbound(shape);
  }
  void end(uint32_t child, Reason reason) {
    const ChildShape shape{.ike = kIke, .id = child};
    stop_outbound(shape);
    remove(shape, reason);
  }
  void packet(const std::string& from, const std::string& to) {
    policy::Acquire asked = acquire_for();
    asked.packet_source = policy::parse_selector(from).value();
    asked.packet_destination = policy::parse_selector(to).value();
    kernel.emit(asked);
    run();
  }
  uint32_t reqid_in(uint32_t child) const { return installed(child).plan.inbound.reqid; }
  uint32_t reqid_out(uint32_t child) const { return installed(child).plan.outbound.reqid; }
  /// Of the outbound policies to a network.
  uint32_t reqid_to(const std::string& remote) {
    for (const policy::PolicyConfig& each : pub_policies())
      if (each.key.direction == policy::Direction::kOut && each.key.destination == IpPrefix::parse(remote).value())
        return each.reqid;
    return 0;
  }
  uint32_t own() const { return manager->tunnels().at("a").children.at("lan").ids.reqid; }

 private:
  const agent::InstalledChild& installed(uint32_t child) const {
    return *manager->installer().children().at(ike::ChildId(child));
  }
  std::vector<policy::PolicyConfig> pub_policies() {
    std::vector<policy::PolicyConfig> all;
    for (const auto& [key, each] : pub().policies) all.push_back(each.config);
    return all;
  }
};

}  // namespace

TEST_CASE("parts: SAs of different selectors have different outbound reqids, and the child's own inbound") {
  Parts world;

  world.part(0xc1, "10.2.1.0/24");
  world.part(0xc2, "10.2.2.0/24");

  CHECK(world.reqid_in(0xc1) == world.own());
  CHECK(world.reqid_in(0xc2) == world.own());
  CHECK(std::set{world.own(), world.reqid_out(0xc1), world.reqid_out(0xc2)}.size() == 3);
  CHECK(world.reqid_to("10.2.1.0/24") == world.reqid_out(0xc1));
  CHECK(world.reqid_to("10.2.2.0/24") == world.reqid_out(0xc2));
  CHECK(world.differences().empty());
}

TEST_CASE("parts: a rekey keeps the reqid of its predecessor, and the last user gives it back") {
  Parts world;
  world.part(0xc1, "10.2.1.0/24");
  world.part(0xc2, "10.2.2.0/24");
  const uint32_t first = world.reqid_out(0xc1), second = world.reqid_out(0xc2);

  world.part(0xd1, "10.2.1.0/24", 0xc1);
  world.end(0xc1, Reason::kChildRekeyed);
  CHECK(world.reqid_out(0xd1) == first);
  CHECK(world.reqid_to("10.2.1.0/24") == first);

  world.end(0xd1, Reason::kDeletedByPeer);
  world.part(0xc3, "10.2.3.0/24");
  CHECK(world.reqid_out(0xc3) == first);
  CHECK(world.reqid_to("10.2.3.0/24") == first);
  CHECK(world.reqid_to("10.2.2.0/24") == second);
  CHECK(world.differences().empty());
}

TEST_CASE("parts: SAs that carry all that is configured have the child's own reqid, and so has its trap") {
  Parts world("traffic");
  CHECK(world.reqid_to("10.2.0.0/16") == world.own());

  world.part(0xc1, "10.2.1.0/24");
  CHECK(world.reqid_out(0xc1) != world.own());
  CHECK(world.reqid_to("10.2.0.0/16") == world.own());  // still asks for what nobody carries

  world.narrowed.clear();
  const ChildShape whole{.ike = kIke, .id = 0xc2};
  world.inbound(whole);
  world.outbound(whole);
  CHECK(world.reqid_out(0xc2) == world.own());
}

TEST_CASE("parts: after a kill each part stays with its SAs, and new SAs have its reqid again") {
  Parts world;
  world.part(0xc1, "10.2.1.0/24");
  world.part(0xc2, "10.2.2.0/24");
  const uint32_t first = world.reqid_out(0xc1), second = world.reqid_out(0xc2), own = world.own();
  const auto stood = world.kernel.ours();

  const agent::Leftovers taken = world.restart({{.start = "respond"}});

  CHECK(taken.removed == 0);
  CHECK(world.kernel.ours() == stood);
  CHECK(world.manager->orphans().sas() == 4);
  CHECK(world.own() == own);
  CHECK(world.manager->orphans().carry(own));
  world.identity(kNext);
  world.part(0xe1, "10.2.2.0/24", {}, kNext);
  CHECK(world.reqid_out(0xe1) == second);
  CHECK(world.reqid_in(0xe1) == own);
  world.part(0xe2, "10.2.1.0/24", {}, kNext);
  CHECK(world.reqid_out(0xe2) == first);
  CHECK_FALSE(world.manager->orphans().carry(own));
  CHECK(world.differences().empty());
}

TEST_CASE("parts: a reqid that somebody else still uses goes to nobody") {
  agent::SelectorSets sets;
  uint32_t last = 100;
  const auto next = [&last] { return ++last; };
  const auto nobody = [](uint32_t) { return false; };
  CHECK(sets.take(keys_of("10.2.1.0/24"), nobody, next) == 101);
  CHECK(sets.take(keys_of("10.2.1.0/24"), nobody, next) == 101);
  sets.release(101);
  CHECK(sets.take(keys_of("10.2.2.0/24"), nobody, next) == 102);  // one user is left
  sets.release(101);
  sets.release(101);
  CHECK(sets.take(
            keys_of("10.2.3.0/24"), [](uint32_t reqid) { return reqid == 101; }, next) == 103);
  CHECK(sets.take(keys_of("10.2.4.0/24"), nobody, next) == 101);
  CHECK(sets.reqids() == std::vector<uint32_t>{101, 102, 103});
}

TEST_CASE("rest: a child that starts by itself asks at once for what the peer has not taken, until it has all") {
  Parts world("now");
  world.part(0xc1, "10.2.0.0/17");
  REQUIRE(world.workers.creations.size() == 1);
  CHECK(world.workers.creations[0].child == "lan");
  CHECK(policy::to_string(world.workers.creations[0].only.remote) == "10.2.128.0/17");

  world.part(0xc2, "10.2.128.0/18");
  REQUIRE(world.workers.creations.size() == 2);
  CHECK(policy::to_string(world.workers.creations[1].only.remote) == "10.2.192.0/18");
  world.part(0xc3, "10.2.192.0/18");
  CHECK(world.workers.creations.size() == 2);
  CHECK(world.events_of(Reason::kSelectorsUncovered).empty());
  CHECK(world.state() == "up");
}

TEST_CASE("rest: a child that is up before its IKE SA is reported asks then") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.narrowed["a"] = "10.2.0.0/17";
  world.install(kIke, 0xc1);
  CHECK(world.workers.creations.empty());
  world.identity(kIke);
  CHECK(world.workers.creations.size() == 1);
}

TEST_CASE("rest: an operator's rekey replaces the SAs of all parts") {
  Parts world("respond");
  world.part(0xc1, "10.2.0.0/17");
  world.part(0xc2, "10.2.128.0/17");
  world.manager->rekey(world.now, "a", "lan", agent::TunnelManager::RekeyTarget::kChildren, [](Status) {});
  CHECK(world.workers.rekeys.size() == 2);
}

TEST_CASE("rest: what the peer refuses is reported once, and asked for again when the child comes up anew") {
  Parts world("now");
  world.part(0xc1, "10.2.0.0/17");
  world.child_failed(kIke, Reason::kTsUnacceptable);

  REQUIRE(world.events_of(Reason::kSelectorsUncovered).size() == 1);
  CHECK(world.events_of(Reason::kSelectorsUncovered)[0].fields[1].value == "10.1.0.0/16 - 10.2.128.0/17");
  CHECK(world.state() == "up");
  world.part(0xc2, "10.2.0.0/17", 0xc1);
  world.end(0xc1, Reason::kChildRekeyed);
  CHECK(world.workers.creations.size() == 1);

  world.end(0xc2, Reason::kDeletedByPeer);
  world.part(0xc3, "10.2.0.0/17");
  CHECK(world.workers.creations.size() == 2);
}

TEST_CASE("rest: a peer that answers the same again is not asked without end") {
  Parts world("now");
  world.part(0xc1, "10.2.0.0/17");
  world.part(0xc2, "10.2.0.0/17");
  CHECK(world.workers.creations.size() == 1);
  CHECK(world.events_of(Reason::kSelectorsUncovered).size() == 1);
}

TEST_CASE("rest: a child that waits for traffic asks for the packet's part") {
  Parts world("traffic");
  world.part(0xc1, "10.2.0.0/17");
  CHECK(world.workers.creations.empty());

  world.packet("10.1.0.5", "10.2.200.1");
  REQUIRE(world.workers.creations.size() == 1);
  REQUIRE(world.workers.creations[0].trigger.has_value());
  CHECK(policy::to_string(world.workers.creations[0].only.remote) == "10.2.128.0/17");
  world.packet("10.1.0.5", "10.2.200.1");
  CHECK(world.workers.creations.size() == 1);  // it is under way

  world.part(0xc2, "10.2.200.0/24");
  CHECK(world.cleared.size() == 1);  // the kernel would wait for SAs of the reqid that it asked for
  CHECK(world.workers.creations.size() == 1);
  world.packet("10.1.0.5", "10.2.201.1");
  CHECK(world.workers.creations.size() == 2);
}

TEST_CASE("rest: a part that the peer deletes is asked for again, while the others go on") {
  Parts world("now");
  world.part(0xc1, "10.2.0.0/17");
  world.part(0xc2, "10.2.128.0/17");
  REQUIRE(world.workers.creations.size() == 1);

  world.remove({.ike = kIke, .id = 0xc2}, Reason::kDeletedByPeer);
  CHECK(world.state() == "up");
  world.pass(10s);
  CHECK(world.workers.creations.size() == 2);
}

TEST_CASE("rest: a child that the peer began alone asks for nothing") {
  Parts world("respond");
  world.part(0xc1, "10.2.0.0/17");
  CHECK(world.workers.creations.empty());
}
