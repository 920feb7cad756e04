#include "hwoffload/rules.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "hwoffload/learnt.h"
#include "hwoffload/placement.h"

using namespace ipsec;
using namespace ipsec::hwoffload;
using policy::Direction;
using policy::OffloadKind;
using policy::OffloadMode;

namespace {

SaNeeds needs_in() {
  return {.direction = Direction::kIn,
          .suite = {policy::kEncrAesGcm16, 256, policy::kAuthNone, false},
          .replay_window = 128};
}

DeviceFacts nic(std::string driver) {
  return {.name = "ens1", .present = true, .up = true, .esp_offload = Known::kYes, .driver = std::move(driver)};
}

/// What rules an offload out, "reason: detail", without the name of the driver.
std::vector<std::string> against(const SaNeeds& needs, const DeviceFacts& device, OffloadKind kind,
                                 const KernelFacts& kernel = {}) {
  std::vector<std::string> texts;
  for (const Verdict& each : refusals(needs, device, kernel, kind))
    texts.push_back(std::string(code(each.reason)) + ": " + each.detail);
  return texts;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("driver rules: an SA that mlx5 takes meets no rule in either kind") {
  CHECK(against(needs_in(), nic("mlx5_core"), OffloadKind::kPacket).empty());
  CHECK(against(needs_in(), nic("mlx5_core"), OffloadKind::kCrypto).empty());
}

TEST_CASE("driver rules: mlx5 in switchdev mode has packet offload with the flow steering of its firmware only") {
  struct Case {
    std::string_view eswitch, steering;
    OffloadKind kind;
    bool refused;
  };
  for (const Case& each :
       {Case{"switchdev", "smfs", OffloadKind::kPacket, true}, Case{"switchdev", "hmfs", OffloadKind::kPacket, true},
        Case{"switchdev", "dmfs", OffloadKind::kPacket, false},
        Case{"switchdev", "", OffloadKind::kPacket, false},  // unknown is not no
        Case{"legacy", "smfs", OffloadKind::kPacket, false}, Case{"", "smfs", OffloadKind::kPacket, false},
        Case{"switchdev", "smfs", OffloadKind::kCrypto, false}}) {
    CAPTURE(each.eswitch);
    CAPTURE(each.steering);
    DeviceFacts device = nic("mlx5_core");
    device.devlink = "pci/0000:08:00.0";
    device.eswitch = each.eswitch;
    device.flow_steering = each.steering;
    const auto found = refusals(needs_in(), device, {}, each.kind);
    REQUIRE(found.size() == (each.refused ? 1 : 0));
    if (!each.refused) continue;
    CHECK(found[0].reason == Reason::kOffloadUnsupported);
    CHECK(found[0].detail.find(each.steering) != std::string::npos);
    CHECK(found[0].remedy.find("devlink dev param set pci/0000:08:00.0 name flow_steering_mode value dmfs") == 0);
  }
}

TEST_CASE("driver rules: every reason of mlx5 is told at once") {
  SaNeeds needs = needs_in();
  needs.suite = {policy::kEncrChaCha20Poly1305, 0, policy::kAuthNone, false};
  needs.replay_window = 1024;
  needs.other_protocols = true;
  needs.hard_volume_only = true;
  CHECK(against(needs, nic("mlx5_core"), OffloadKind::kPacket) ==
        Texts{"offload-algorithm: mlx5_core: AES-GCM with 16 bytes of ICV only",
              "offload-algorithm: mlx5_core: keys of 128 and 256 bits only",
              "offload-refused: mlx5_core: replay windows of 32, 64, 128 and 256 packets only",
              "offload-refused: mlx5_core: a hard limit of volume needs a lower soft one",
              "offload-refused: mlx5_core: policies for any protocol, TCP and UDP only"});
}

TEST_CASE("driver rules: replay windows matter inbound and in packet mode alone") {
  SaNeeds needs = needs_in();
  needs.replay_window = 1024;
  CHECK(against(needs, nic("mlx5_core"), OffloadKind::kCrypto).empty());
  needs.direction = Direction::kOut;
  CHECK(against(needs, nic("mlx5_core"), OffloadKind::kPacket).empty());
}

TEST_CASE("driver rules: mlx5 carries UDP encapsulation in packet and transport mode only") {
  SaNeeds needs = needs_in();
  needs.udp_encapsulation = true;
  CHECK(against(needs, nic("mlx5_core"), OffloadKind::kCrypto).size() == 1);
  CHECK(against(needs, nic("mlx5_core"), OffloadKind::kPacket).size() == 2);  // the general rule says so too
  needs.mode = policy::EspMode::kTransport;
  CHECK(against(needs, nic("mlx5_core"), OffloadKind::kPacket).empty());
}

TEST_CASE("driver rules: ixgbe takes transport mode, crypto and 128 bits") {
  SaNeeds needs = needs_in();
  CHECK(against(needs, nic("ixgbe"), OffloadKind::kCrypto) ==
        Texts{"offload-refused: ixgbe: transport mode only", "offload-algorithm: ixgbe: keys of 128 bits only"});
  needs.mode = policy::EspMode::kTransport;
  needs.suite.key_bits = 128;
  CHECK(against(needs, nic("ixgbe"), OffloadKind::kCrypto).empty());
  CHECK(against(needs, nic("ixgbe"), OffloadKind::kPacket).size() == 2);
}

TEST_CASE("driver rules: cn10k takes outbound SAs without ESN") {
  SaNeeds needs = needs_in();
  CHECK(against(needs, nic("rvu-nicpf"), OffloadKind::kCrypto) ==
        Texts{"offload-refused: rvu-nicpf: outbound SAs only"});
  needs.direction = Direction::kOut;
  CHECK(against(needs, nic("rvu-nicpf"), OffloadKind::kCrypto).empty());
  needs.suite.esn = true;
  CHECK(against(needs, nic("rvu-nicpf"), OffloadKind::kCrypto) ==
        Texts{"offload-refused: rvu-nicpf: no extended sequence numbers"});
}

TEST_CASE("rules: a driver that is known to have no offload is not tried, whatever ethtool says") {
  CHECK(against(needs_in(), nic("veth"), OffloadKind::kCrypto) ==
        Texts{"offload-unsupported: driver veth has no crypto offload"});
}

TEST_CASE("rules: nothing is known against an unknown driver") {
  CHECK(against(needs_in(), nic("brand_new"), OffloadKind::kPacket).empty());
}

TEST_CASE(
    "rules: inbound with an interface id goes by what the kernel said, unknown is tried, but never with packet "
    "offload") {
  SaNeeds needs = needs_in();
  needs.has_if_id = true;
  const DeviceFacts device = nic("netdevsim");
  CHECK(against(needs, device, OffloadKind::kCrypto, {.inbound_if_id = Known::kUnknown}).empty());
  CHECK(against(needs, device, OffloadKind::kCrypto, {.inbound_if_id = Known::kYes}).empty());
  for (const OffloadKind kind : {OffloadKind::kCrypto, OffloadKind::kPacket})
    CHECK(against(needs, device, kind, {.inbound_if_id = Known::kNo}) ==
          Texts{"offload-inbound-if-id: XFRM if_id is not supported in RX path"});
  for (const Known takes : {Known::kUnknown, Known::kYes})
    CHECK(against(needs, device, OffloadKind::kPacket, {.inbound_if_id = takes}) ==
          Texts{"offload-inbound-if-id: what a NIC decrypts with packet offload does not get into the tunnel's "
                "interface"});
  needs.direction = Direction::kOut;
  CHECK(against(needs, device, OffloadKind::kPacket, {.inbound_if_id = Known::kNo}).empty());
}

TEST_CASE("rules: packets that leave by another device are not offloaded, by the same or a bond's member they are") {
  DeviceFacts device = nic("netdevsim");
  device.path_device = "ens2";
  CHECK(against(needs_in(), device, OffloadKind::kPacket) ==
        Texts{"offload-no-device: packets to the peer leave by ens2"});
  device.path_device = "ens1";
  CHECK(against(needs_in(), device, OffloadKind::kPacket).empty());
  device.name = "bond0", device.worker = "ens1", device.path_device = "bond0";
  CHECK(against(needs_in(), device, OffloadKind::kPacket).empty());
}

TEST_CASE("rules: a device that passes nothing on says why, and nothing else matters") {
  DeviceFacts device = nic("");
  device.cannot_because = "vlan device ens1.7 does not pass IPsec offload on to ens1";
  CHECK(against(needs_in(), device, OffloadKind::kCrypto).front() == "offload-no-device: " + device.cannot_because);
}

TEST_CASE("rules: every row names its source, and a reason that is in the catalogue") {
  std::set<std::string_view> drivers;
  for (const DriverRule& rule : driver_rules()) {
    CAPTURE(rule.driver);
    CHECK_FALSE(rule.source.empty());
    CHECK_FALSE(rule.says.empty());
    CHECK(rule.allowed.count != 0);
    CHECK(find_driver(rule.driver) != nullptr);
    drivers.insert(rule.driver);
  }
  CHECK(drivers.size() == 7);
}

TEST_CASE("place: a seat in software rules out every device with its reason, and after all other rules") {
  Situation situation{.devices = {nic("netdevsim")}};
  situation.seat = {.software = true, .device = {}, .why = Reason::kOffloadBusierFirst, .detail = "busier ones"};
  const Placement placement = place(needs_in(), situation, OffloadMode::kAuto);
  REQUIRE(placement.attempts.size() == 1);
  REQUIRE(placement.passed_over.size() == 2);
  CHECK(placement.passed_over[0].reason == Reason::kOffloadBusierFirst);
  situation.devices[0].up = false;
  CHECK(place(needs_in(), situation, OffloadMode::kPacket).passed_over.front().reason == Reason::kOffloadNoDevice);
}

TEST_CASE("place: the device of the seat comes first") {
  DeviceFacts second = nic("netdevsim");
  second.name = "ens2";
  Situation situation{.devices = {nic("netdevsim"), second}};
  situation.seat.device = "ens2";
  const Placement placement = place(needs_in(), situation, OffloadMode::kPacket);
  CHECK(placement.attempts[0].request.device == "ens2");
  CHECK(placement.attempts[1].request.device == "ens1");
}

TEST_CASE("learnt: what was refused is not asked again for the same needs, on the same device and kind") {
  LearntRefusals learnt;
  const Instant now{};
  const SaNeeds needs = needs_in();
  const Verdict refused{OffloadKind::kPacket, "ens1", Reason::kOffloadRefused, "the driver's words", "", ""};
  learnt.note(now, needs, refused, EINVAL);
  Situation situation{.devices = {nic("netdevsim")}, .learnt = learnt.against(now, needs)};
  const Placement placement = place(needs, situation, OffloadMode::kAuto);
  CHECK(placement.attempts.front().request.kind == OffloadKind::kCrypto);
  CHECK(placement.passed_over.front().detail == "the driver's words");
  SaNeeds other = needs;
  other.suite.key_bits = 128;
  CHECK(learnt.against(now, other).empty());
  CHECK(learnt.against(now + LearntRefusals::kHolds, needs).empty());
}

TEST_CASE("learnt: a full table and errors of the moment say nothing of the next SA") {
  LearntRefusals learnt;
  learnt.note(Instant{}, needs_in(), {OffloadKind::kPacket, "ens1", Reason::kOffloadTableFull, "", "", ""}, ENOSPC);
  learnt.note(Instant{}, needs_in(), {OffloadKind::kPacket, "ens1", Reason::kOffloadRefused, "", "", ""}, EIO);
  CHECK(learnt.count("ens1") == 0);
}

TEST_CASE("learnt: success and a change of the device end it, and no more than so many are kept") {
  LearntRefusals learnt;
  SaNeeds needs = needs_in();
  const auto refuse = [&] {
    learnt.note(Instant{}, needs, {OffloadKind::kPacket, "ens1", Reason::kOffloadRefused, "", "", ""}, EINVAL);
  };
  refuse();
  refuse();
  CHECK(learnt.count("ens1") == 1);
  learnt.taken(needs, OffloadKind::kPacket, "ens1");
  CHECK(learnt.count("ens1") == 0);
  for (uint16_t window = 1; window <= LearntRefusals::kMost + 10; ++window) needs.replay_window = window, refuse();
  CHECK(learnt.count("ens1") == LearntRefusals::kMost);
  learnt.forget("ens1");
  CHECK(learnt.count("ens1") == 0);
}
