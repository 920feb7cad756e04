#include <doctest/doctest.h>

#include "netlink/devlink.h"
#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

SaConfig nic_sa(Direction direction, OffloadKind kind, const std::string& device, uint32_t if_id = 0) {
  const bool out = direction == Direction::kOut;
  SaConfig sa = make_sa({.source = out ? "198.51.100.1" : "198.51.100.2",
                         .destination = out ? "198.51.100.2" : "198.51.100.1",
                         .spi = out ? 0xc0000001 : 0xc0000002,
                         .direction = direction,
                         .if_id = if_id});
  sa.offload = {.kind = kind, .device = device};
  return sa;
}

}  // namespace

TEST_CASE("offload: crypto and packet on a NIC that can read back as what they are, with the device's name") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  for (const OffloadKind kind : {OffloadKind::kCrypto, OffloadKind::kPacket})
    for (const Direction direction : {Direction::kIn, Direction::kOut}) {
      INFO(to_string(kind), " ", to_string(direction));
      const auto reply = port.run("nic-a", AddSa{nic_sa(direction, kind, "nic")});
      INFO((reply.ok() ? std::string() : reply.error().text()));
      REQUIRE(reply.ok());
      const auto& state = std::get<SaState>(reply.value());
      CHECK(state.offload == kind);
      CHECK(state.offload_device == "nic");
      CHECK(state.direction == direction);
      auto sas = port.kernel->dump_sas("nic-a");
      REQUIRE(sas.ok());
      REQUIRE(sas->size() == 1);
      CHECK(sas->front().offload_device == "nic");
      CHECK(port.done("nic-a", DeleteSa{state.key}).ok());
    }
}

TEST_CASE("offload: a policy goes onto the NIC with packet offload") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  PolicyConfig policy = make_policy({.tunnel_source = "198.51.100.1", .tunnel_destination = "198.51.100.2"});
  policy.offload = {.kind = OffloadKind::kPacket, .device = "nic"};
  const Status added = port.done("nic-a", AddPolicy{policy});
  INFO((added.ok() ? std::string() : added.error().text()));
  REQUIRE(added.ok());
  auto found = port.kernel->dump_policies("nic-a");
  REQUIRE(found.ok());
  CHECK(*found == std::vector<PolicyConfig>{policy});
  CHECK(port.done("nic-a", DeletePolicy{policy.key}).ok());
}

TEST_CASE("offload: crypto on a device that cannot succeeds and reads back as software; packet is refused") {
  Network network;
  Port port;
  const auto crypto = port.run("left-pub", AddSa{nic_sa(Direction::kOut, OffloadKind::kCrypto, "wan")});
  REQUIRE(crypto.ok());
  CHECK(std::get<SaState>(crypto.value()).offload == OffloadKind::kNone);
  CHECK(port.done("left-pub", DeleteSa{nic_sa(Direction::kOut, OffloadKind::kNone, "").key}).ok());
  const auto packet = port.run("left-pub", AddSa{nic_sa(Direction::kOut, OffloadKind::kPacket, "wan")});
  REQUIRE(!packet.ok());
  CHECK(packet.error().reason() == Reason::kKernelRefused);
  CHECK(packet.error().os_errno() == EINVAL);
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("offload: a missing device is named before the kernel is asked") {
  Network network;
  Port port;
  const auto reply = port.run("left-pub", AddSa{nic_sa(Direction::kOut, OffloadKind::kCrypto, "nic9")});
  REQUIRE(!reply.ok());
  CHECK(reply.error().reason() == Reason::kDeviceMissing);
  CHECK(reply.error().text().find("nic9") != std::string::npos);
}

TEST_CASE("offload: where an if_id keeps the inbound half off the NIC, the refusal holds the kernel's own words") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  const auto reply = port.run("nic-a", AddSa{nic_sa(Direction::kIn, OffloadKind::kPacket, "nic", 42)});
  if (reply.ok()) {
    MESSAGE("this kernel offloads inbound SAs with an if_id");
    CHECK(std::get<SaState>(reply.value()).offload == OffloadKind::kPacket);
  } else {
    CHECK(reply.error().reason() == Reason::kKernelRefused);
    CHECK(reply.error().text().find("XFRM if_id is not supported in RX path") != std::string::npos);
  }
}

TEST_CASE("offload: the outbound half is allowed beside an if_id") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  const auto reply = port.run("nic-a", AddSa{nic_sa(Direction::kOut, OffloadKind::kPacket, "nic", 42)});
  REQUIRE(reply.ok());
  CHECK(std::get<SaState>(reply.value()).offload == OffloadKind::kPacket);
}

TEST_CASE(
    "offload: whether inbound takes an if_id is told by the kernel without a device, and nothing is left behind") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  const auto told = port.kernel->takes_inbound_if_id("nic-a");
  REQUIRE(told.ok());
  REQUIRE(told->has_value());
  CHECK(port.kernel->dump_sas("nic-a")->empty());
  CHECK(port.run("nic-a", AddSa{nic_sa(Direction::kIn, OffloadKind::kPacket, "nic", 42)}).ok() == **told);
}

TEST_CASE("offload: a device tells its driver, its feature and its state") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  auto reading = port.kernel->read_device("nic-a", "nic");
  REQUIRE(reading.ok());
  CHECK(reading->up);
  CHECK(reading->driver == "netdevsim");
  CHECK(reading->esp_offload == true);
  shell("ip -n nic-a link set nic down");
  reading = port.kernel->read_device("nic-a", "nic");
  REQUIRE(reading.ok());
  CHECK_FALSE(reading->up);
  CHECK(port.kernel->read_device("nic-a", "nic9").error().reason() == Reason::kDeviceMissing);
}

TEST_CASE("offload: devlink tells the mode of the switch behind a device, and nothing of one that it does not know") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  const auto reading = port.kernel->read_device("nic-a", "nic");
  REQUIRE(reading.ok());
  const auto settings = netlink::read_devlink("", reading->bus);
  REQUIRE_MESSAGE(settings.ok(), settings.error().text());
  CHECK(settings->handle == "netdevsim/" + reading->bus);
  CHECK(settings->eswitch == "legacy");
  CHECK(settings->flow_steering.empty());
  REQUIRE(shell("devlink dev eswitch set " + settings->handle + " mode switchdev") == 0);
  CHECK(netlink::read_devlink("", reading->bus)->eswitch == "switchdev");
  REQUIRE(shell("devlink dev eswitch set " + settings->handle + " mode legacy") == 0);
  CHECK(netlink::read_devlink("", "0000:ff:00.0")->handle.empty());
  CHECK(netlink::read_devlink("nic-a", reading->bus)->handle.empty());  // the hardware was found elsewhere
}

TEST_CASE("offload: a VLAN names what lies below it, a bond its active member and what that can do") {
  NicPair nics;
  REQUIRE(nics.made());
  Port port;
  shell("ip -n nic-a link add link nic name nic.7 type vlan id 7");
  const auto vlan = port.kernel->read_device("nic-a", "nic.7");
  REQUIRE(vlan.ok());
  CHECK(vlan->kind == "vlan");
  CHECK(vlan->lower == "nic");
  shell("ip -n nic-a link add v0 type veth peer name v1");
  const auto veth = port.kernel->read_device("nic-a", "v0");
  REQUIRE(veth.ok());
  CHECK(veth->driver == "veth");
  CHECK(veth->esp_offload == false);
  REQUIRE(shell("ip -n nic-a link add bond0 type bond mode active-backup") == 0);
  shell("ip -n nic-a link set nic down && ip -n nic-a link set nic master bond0 && ip -n nic-a link set bond0 up");
  const auto bond = port.kernel->read_device("nic-a", "bond0");
  REQUIRE(bond.ok());
  CHECK(bond->kind == "bond");
  CHECK(bond->lower == "nic");
  CHECK(bond->driver == "netdevsim");
}
