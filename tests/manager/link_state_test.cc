#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

// Addresses and operational state of tunnels' interfaces: what the manager asks of the kernel, and how often.

namespace {

constexpr ike::IkeSaId kIke{0x11};
constexpr uint32_t kChild = 0xc1;
const char* const kAddresses = R"(, "addresses": ["10.255.0.1/30", "fe80::1/64"])";

struct World : ManagerWorld {
  const policy::LinkConfig& link(const std::string& tunnel = "a") {
    return priv().links.at(manager->tunnels().at(tunnel).interface).config;
  }
  std::string interface(const std::string& tunnel = "a") const {
    return std::string(manager->interface_state_of(manager->tunnels().at(tunnel)));
  }
  void come_up(const std::string& tunnel = "a") {
    identity(kIke, true, tunnel);
    install(kIke, kChild, tunnel);
  }
  size_t updates() const { return kernel.count<policy::UpdateLink>(); }
  void limit_tries(uint16_t tries) {
    adjust = [tries](policy::IkePolicy& ike, policy::ChildPolicy&) { ike.retry.tries = tries; };
  }
  void ask() {
    kernel.emit(acquire_for());
    run();
  }
  bool has_routes() { return !priv().routes.empty(); }
};

policy::KernelEvent told(const policy::LinkConfig& link) {
  return policy::LinkChanged{.netns = "priv",
                             .name = link.name,
                             .up = link.up && !link.dormant,
                             .admin_up = link.up,
                             .dormant = link.dormant,
                             .enslaved = !link.vrf.empty(),
                             .mtu = link.mtu};
}

}  // namespace

TEST_CASE("operational state: it follows the tunnel, with one operation for each change and none for what stays") {
  World world;
  world.start({{.start = "respond"}});
  CHECK(world.link().dormant);
  CHECK(world.interface() == "dormant");
  CHECK(world.updates() == 0);  // made dormant

  world.come_up();
  CHECK_FALSE(world.link().dormant);
  CHECK(world.interface() == "running");
  const size_t updates = world.updates();
  CHECK(updates == 1);  // its MTU changes in the same one

  world.inbound({.ike = kIke, .id = kChild + 1, .replaces = kChild});
  world.outbound({.ike = kIke, .id = kChild + 1, .replaces = kChild});
  world.stop_outbound({.ike = kIke, .id = kChild});
  world.remove({.ike = kIke, .id = kChild}, Reason::kChildRekeyed);
  CHECK(world.updates() == updates);

  world.remove_child(kIke, kChild + 1);
  CHECK(world.link().dormant);
  CHECK(world.updates() == updates + 1);
  CHECK(world.differences().empty());
}

TEST_CASE("operational state: a tunnel that waits for traffic runs, for else no packet would reach it") {
  World world;
  world.start({{.start = "traffic"}});
  CHECK_FALSE(world.link().dormant);
  CHECK(world.updates() == 0);  // it was made running: nothing follows
  world.come_up();
  world.remove({.ike = kIke, .id = kChild}, Reason::kPeerUnreachable);
  CHECK_FALSE(world.link().dormant);
  CHECK(world.differences().empty());

  world.manager->down(world.now, "a", "", [](Status) {});
  world.run();
  CHECK(world.link().dormant);
  world.manager->up(world.now, "a", "", [](Status) {});
  world.run();
  CHECK_FALSE(world.link().dormant);
  CHECK(world.differences().empty());
}

TEST_CASE("operational state: one child that is up is enough, and the last one takes it along") {
  World world;
  world.start({{.start = "now", .more = {{"dmz", "10.9.0.0/16"}}}});
  world.come_up();
  world.inbound({.ike = kIke, .id = 0xd1, .child = "dmz"});
  world.outbound({.ike = kIke, .id = 0xd1, .child = "dmz"});
  world.remove({.ike = kIke, .id = kChild}, Reason::kDeletedByPeer);
  CHECK_FALSE(world.link().dormant);
  world.remove({.ike = kIke, .id = 0xd1, .child = "dmz"}, Reason::kDeletedByPeer);
  CHECK(world.link().dormant);
}

TEST_CASE("operational state: after the configured tries a tunnel that waits for traffic waits no more, until up") {
  World world;
  world.limit_tries(2);
  world.start({{.start = "traffic"}});
  world.ask();
  world.refuse_initiation(Error(Reason::kTimeout));
  CHECK(world.state() == "idle");
  CHECK_FALSE(world.link().dormant);
  CHECK(world.has_routes());

  world.ask();
  world.refuse_initiation(Error(Reason::kTimeout));
  CHECK(world.state() == "failed");
  CHECK(world.link().dormant);
  CHECK_FALSE(world.has_routes());
  CHECK(world.pub().policies.empty());
  CHECK(world.manager->tunnels().at("a").last_detail.find("given up after 2 tries") != std::string::npos);
  CHECK(world.differences().empty());

  world.manager->up(world.now, "a", "", [](Status) {});
  world.run();
  CHECK_FALSE(world.link().dormant);
  CHECK(world.has_routes());
  world.refuse_initiation(Error(Reason::kTimeout));
  CHECK(world.state() == "idle");  // it counts from the beginning
  CHECK_FALSE(world.link().dormant);
}

TEST_CASE("operational state: without a number of tries a tunnel waits for traffic for ever") {
  World world;
  world.start({{.start = "traffic"}});
  for (int i = 0; i < 20; ++i) {
    world.ask();
    world.refuse_initiation(Error(Reason::kTimeout));
    world.pass(1s);
  }
  CHECK(world.workers.initiations.size() == 20);
  CHECK_FALSE(world.link().dormant);
}

TEST_CASE("operational state: the peer, or another configuration, ends the giving up") {
  World world;
  world.limit_tries(1);
  world.start({{.start = "traffic"}});
  world.ask();
  world.refuse_initiation(Error(Reason::kTimeout));
  REQUIRE(world.link().dormant);
  SUBCASE("the peer") {
    world.come_up();
    CHECK(world.state() == "up");
    CHECK_FALSE(world.link().dormant);
    world.remove({.ike = kIke, .id = kChild}, Reason::kPeerUnreachable);
    CHECK(world.state() == "idle");
  }
  SUBCASE("a reload") {
    world.reconfigure({{.start = "traffic"}});
    CHECK(world.state() == "idle");
  }
  CHECK_FALSE(world.link().dormant);
  CHECK(world.has_routes());
  CHECK(world.differences().empty());
}

TEST_CASE("operational state: SAs of an earlier run keep it running while they carry, and no longer") {
  World world;
  world.start({{.start = "now"}});
  world.come_up();
  world.restart({{.start = "now"}});
  CHECK_FALSE(world.link().dormant);
  world.pass(world.orphan_grace + 1s);
  CHECK(world.link().dormant);
  CHECK(world.differences().empty());
}

TEST_CASE("operational state: our own change of it causes no read, somebody else's is put right") {
  World world;
  world.start({{.start = "respond"}});
  world.manager->look_after(world.now, {"pub", "priv"});
  for (int i = 0; i < 5; ++i) world.run();
  world.pass(2s);
  const size_t reads = world.kernel.reads();
  world.come_up();
  world.kernel.emit(told(world.link()));
  world.pass(5s);
  world.remove_child(kIke, kChild);
  world.kernel.emit(told(world.link()));
  world.pass(5s);
  CHECK(world.kernel.reads() == reads);

  world.priv().links.begin()->second.config.dormant = false;
  world.kernel.emit(told(world.link()));
  world.pass(2s);
  CHECK(world.link().dormant);
}

TEST_CASE("operational state: an interface that many tunnels share always runs") {
  World world;
  world.group = R"("private": { "netns": "priv", "vrf": "red", "addresses": ["10.255.0.1/24"] },
                   "attachment": "interface", "interfaces": "external")";
  world.start({{.start = "respond"}});
  CHECK_FALSE(world.link().dormant);
  CHECK(policy::to_string(world.link().addresses) == "10.255.0.1/24");
  CHECK(world.interface() == "running");
  world.come_up();
  world.remove_child(kIke, kChild);
  CHECK_FALSE(world.link().dormant);
  CHECK(world.updates() == 0);
  world.group = R"("private": { "netns": "priv", "vrf": "red", "addresses": ["10.255.0.9/24"] },
                   "attachment": "interface", "interfaces": "external")";
  world.reconfigure({{.start = "respond"}});
  CHECK(policy::to_string(world.link().addresses) == "10.255.0.9/24");
  CHECK(world.differences().empty());
}

TEST_CASE("addresses: they come with the interface, change in place, and are put back where somebody takes them") {
  World world;
  world.start({{.members = kAddresses}});
  CHECK(policy::to_string(world.link().addresses) == "10.255.0.1/30, fe80::1/64");
  CHECK(world.updates() == 0);
  world.manager->look_after(world.now, {"pub", "priv"});
  for (int i = 0; i < 5; ++i) world.run();

  world.pass(2s);
  world.priv().links.begin()->second.config.addresses.pop_back();
  world.kernel.emit(policy::AddressRemoved{.netns = "priv", .address = IpAddress::parse("fe80::1").value()});
  world.run();
  CHECK(policy::to_string(world.link().addresses) == "10.255.0.1/30, fe80::1/64");

  world.come_up();
  const size_t closed = world.workers.closed_children.size();
  world.reconfigure({{.members = R"(, "addresses": ["10.255.0.2/30"])"}});
  CHECK(policy::to_string(world.link().addresses) == "10.255.0.2/30");
  CHECK(world.workers.closed_children.size() == closed);
  CHECK(world.state() == "up");

  world.pass(2s);
  const size_t reads = world.kernel.reads();
  // Not wanted any more, and never wanted.
  for (const char* gone : {"10.255.0.1", "10.77.0.1"})
    world.kernel.emit(policy::AddressRemoved{.netns = "priv", .address = IpAddress::parse(gone).value()});
  world.pass(5s);
  CHECK(world.kernel.reads() == reads);
}

TEST_CASE("addresses: a kernel that refuses them is told with the tunnel, tried again, and then it begins its life") {
  for (const int refusal : {EACCES, EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, ENOBUFS, ENODEV, ENOMEM, EPERM}) {
    CAPTURE(refusal);
    World world;
    world.kernel.fail(1, {.os_errno = refusal});
    world.start({{.start = "traffic", .members = kAddresses}});
    CHECK(world.priv().links.empty());
    CHECK(world.interface() == "missing");
    CHECK_FALSE(world.manager->tunnels().at("a").last_detail.empty());
    world.manager->look_after(world.now, {"pub", "priv"});
    for (int i = 0; i < 20; ++i) world.pass(500ms);
    REQUIRE_FALSE(world.priv().links.empty());
    CHECK(policy::to_string(world.link().addresses) == "10.255.0.1/30, fe80::1/64");
    CHECK(world.interface() == "running");
    CHECK(world.differences().empty());
  }
}

TEST_CASE("operational state: a change that the kernel refuses, or does not answer, is made up for") {
  for (const int refusal : {EACCES, EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, ENOBUFS, ENODEV, ENOMEM, EPERM, 0}) {
    CAPTURE(refusal);
    World world;
    world.start({{.start = "respond"}});
    world.manager->look_after(world.now, {"pub", "priv"});
    for (int i = 0; i < 5; ++i) world.run();
    world.come_up();
    world.pass(2s);
    // All that follows from the end of the child: one of them is the interface.
    for (size_t position = 1; position <= 12; ++position)
      world.kernel.fail(position,
                        refusal != 0 ? FakeKernel::Fault{.os_errno = refusal} : FakeKernel::Fault{.lost = true});
    world.remove_child(kIke, kChild);
    world.kernel.forget_faults();
    for (int i = 0; i < 130; ++i) world.pass(1s);
    CHECK(world.link().dormant);
  }
}
