#include "hwoffload/placement.h"

#include <doctest/doctest.h>

#include <cerrno>

using namespace ipsec;
using namespace ipsec::hwoffload;
using hwoffload::Known;
using policy::OffloadKind;
using policy::OffloadMode;
using Texts = std::vector<std::string>;

namespace {

SaNeeds aead() { return {.suite = {policy::kEncrAesGcm16, 256, policy::kAuthNone, false}}; }

DeviceFacts device(std::string name) {
  return {.name = std::move(name), .present = true, .up = true, .esp_offload = Known::kYes};
}

/// "packet ens1", "crypto ens1", "software".
Texts rungs(const Placement& placement) {
  Texts texts;
  for (const Attempt& each : placement.attempts)
    texts.push_back(each.request.kind == OffloadKind::kNone
                        ? "software"
                        : std::string(policy::to_string(each.request.kind)) + " " + each.request.device);
  return texts;
}

/// The only verdict of placing on one device.
Verdict ruled_out(const SaNeeds& needs, const DeviceFacts& on, OffloadMode wish) {
  const Placement placement = place(needs, {.devices = {on}}, wish);
  CHECK(rungs(placement) == Texts{"software"});
  REQUIRE(placement.passed_over.size() == 1);
  return placement.passed_over[0];
}

bool says(const Verdict& verdict, Reason reason, std::string_view words) {
  return verdict.reason == reason && verdict.detail.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("place: software alone when nothing is wished, whatever the devices can") {
  const Placement placement = place(aead(), {.devices = {device("ens1")}}, OffloadMode::kNone);
  CHECK(rungs(placement) == Texts{"software"});
  CHECK(placement.passed_over.empty());
  CHECK(placement.requested == OffloadMode::kNone);
}

TEST_CASE("place: the ladder is packet on each device, crypto on each device, then software") {
  const std::vector<DeviceFacts> two{device("ens1"), device("ens2")};
  CHECK(rungs(place(aead(), {.devices = two}, OffloadMode::kAuto)) ==
        Texts{"packet ens1", "packet ens2", "crypto ens1", "crypto ens2", "software"});
  CHECK(rungs(place(aead(), {.devices = two}, OffloadMode::kPacket)) ==
        Texts{"packet ens1", "packet ens2", "software"});
  CHECK(rungs(place(aead(), {.devices = two}, OffloadMode::kCrypto)) ==
        Texts{"crypto ens1", "crypto ens2", "software"});
}

TEST_CASE("place: a group that names no device says so for each kind wished") {
  const Placement placement = place(aead(), {.devices = {}}, OffloadMode::kAuto);
  CHECK(rungs(placement) == Texts{"software"});
  REQUIRE(placement.passed_over.size() == 2);
  CHECK(says(placement.passed_over[0], Reason::kOffloadNoDevice, "the group names no device"));
  CHECK(placement.passed_over[1].kind == OffloadKind::kCrypto);
}

TEST_CASE("place: a device that is missing or down is passed over by name") {
  DeviceFacts missing = device("ens1"), down = device("ens2");
  missing.present = false;
  down.up = false;
  CHECK(says(ruled_out(aead(), missing, OffloadMode::kPacket), Reason::kOffloadNoDevice, "ens1 does not exist"));
  CHECK(says(ruled_out(aead(), down, OffloadMode::kPacket), Reason::kOffloadNoDevice, "ens2 is down"));
  CHECK(rungs(place(aead(), {.devices = {missing, down, device("ens3")}}, OffloadMode::kPacket)) ==
        Texts{"packet ens3", "software"});
}

TEST_CASE("place: a device known not to offload is passed over, an unknown one is tried") {
  DeviceFacts no = device("ens1"), unknown = device("ens2");
  no.esp_offload = Known::kNo;
  unknown.esp_offload = Known::kUnknown;
  CHECK(says(ruled_out(aead(), no, OffloadMode::kCrypto), Reason::kOffloadUnsupported, "esp-hw-offload"));
  CHECK(rungs(place(aead(), {.devices = {unknown}}, OffloadMode::kCrypto)) == Texts{"crypto ens2", "software"});
}

TEST_CASE("place: only AEADs are offloaded") {
  SaNeeds needs = aead();
  needs.suite = {policy::kEncrAesCbc, 256, policy::kAuthHmacSha256_128, false};
  CHECK(says(ruled_out(needs, device("ens1"), OffloadMode::kCrypto), Reason::kOffloadAlgorithm, "not an AEAD"));
  CHECK(place(needs, {.devices = {device("ens1")}}, OffloadMode::kAuto).passed_over.size() == 2);
}

TEST_CASE("place: UDP encapsulation rules packet out, and crypto too over IPv6") {
  SaNeeds needs = aead();
  needs.udp_encapsulation = true;
  CHECK(rungs(place(needs, {.devices = {device("ens1")}}, OffloadMode::kAuto)) == Texts{"crypto ens1", "software"});
  CHECK(
      says(ruled_out(needs, device("ens1"), OffloadMode::kPacket), Reason::kOffloadEncapsulation, "UDP encapsulation"));
  needs.outer = Family::kIpv6;
  CHECK(says(ruled_out(needs, device("ens1"), OffloadMode::kCrypto), Reason::kOffloadEncapsulation, "over IPv6"));
}

TEST_CASE("place: selectors that include the tunnel's own ends rule packet out, not crypto") {
  SaNeeds needs = aead();
  needs.covers_outer = true;
  CHECK(says(ruled_out(needs, device("ens1"), OffloadMode::kPacket), Reason::kOffloadEncapsulation, "encrypt IKE"));
  CHECK(rungs(place(needs, {.devices = {device("ens1")}}, OffloadMode::kCrypto)) == Texts{"crypto ens1", "software"});
}

TEST_CASE("place: an outer header that packet rules are to write rules packet out, not crypto") {
  SaNeeds needs = aead();
  needs.rules_for_outer = true;
  CHECK(says(ruled_out(needs, device("ens1"), OffloadMode::kPacket), Reason::kOffloadEncapsulation, "df set"));
  CHECK(rungs(place(needs, {.devices = {device("ens1")}}, OffloadMode::kAuto)) == Texts{"crypto ens1", "software"});
}

TEST_CASE("place: inner packets of another family than the outer rule packet out, not crypto") {
  SaNeeds needs = aead();
  needs.inner_other_family = true;
  CHECK(says(ruled_out(needs, device("ens1"), OffloadMode::kPacket), Reason::kOffloadEncapsulation, "family"));
  CHECK(rungs(place(needs, {.devices = {device("ens1")}}, OffloadMode::kCrypto)) == Texts{"crypto ens1", "software"});
}

TEST_CASE("place: inbound with an interface id is tried with crypto offload, and not with packet offload") {
  SaNeeds needs = aead();
  needs.has_if_id = true;
  CHECK(rungs(place(needs, {.devices = {device("ens1")}}, OffloadMode::kAuto)) == Texts{"crypto ens1", "software"});
}

TEST_CASE("verdict: the kernel's refusal is told by its words or its errno") {
  const policy::OffloadRequest tried{OffloadKind::kPacket, "ens1"};
  auto reason = [&](std::string words, int os_errno) {
    return verdict_for(tried, Error(Reason::kKernelRefused, std::move(words), os_errno)).reason;
  };
  CHECK(reason("XFRM if_id is not supported in RX path.", EINVAL) == Reason::kOffloadInterfaceInbound);
  CHECK(reason("Device failed to offload this state", ENOSPC) == Reason::kOffloadTableFull);
  CHECK(reason("Device doesn't support offload", EINVAL) == Reason::kOffloadRefused);
  const Verdict verdict = verdict_for(tried, Error(Reason::kKernelRefused, "words of the driver", EINVAL));
  CHECK(verdict.kind == OffloadKind::kPacket);
  CHECK(verdict.device == "ens1");
  CHECK(verdict.detail.find("words of the driver") != std::string::npos);
}

TEST_CASE("judge: what is read back counts, not what was asked for") {
  policy::SaState shown;
  shown.offload = OffloadKind::kCrypto;
  shown.offload_device = "ens1";
  const Effective effective =
      judge(OffloadMode::kAuto, {OffloadKind::kCrypto, "ens1"}, shown,
            {{OffloadKind::kPacket, "ens1", Reason::kOffloadRefused, "no packet offload here"}});
  CHECK(effective.requested == OffloadMode::kAuto);
  CHECK(effective.kind == OffloadKind::kCrypto);
  CHECK(effective.device == "ens1");
  CHECK(effective.reason == Reason::kOffloadEffective);
  CHECK(effective.detail == "packet on ens1: no packet offload here");
}

TEST_CASE("judge: accepted and kept in software is told as silently software, with the device") {
  const Effective effective = judge(OffloadMode::kCrypto, {OffloadKind::kCrypto, "ens1"}, {}, {});
  CHECK(effective.kind == OffloadKind::kNone);
  CHECK(effective.reason == Reason::kOffloadSilentSoftware);
  CHECK(effective.device == "ens1");
  CHECK(effective.detail == "the kernel accepted crypto offload on ens1 and kept the SA in software");
  CHECK(judge(OffloadMode::kAuto, {OffloadKind::kCrypto, "ens1"}, {},
              {{OffloadKind::kPacket, "ens1", Reason::kOffloadRefused, "no"}})
            .detail == "the kernel accepted crypto offload on ens1 and kept the SA in software; packet on ens1: no");
}

TEST_CASE("judge: at the end of the ladder the last reason counts and all are told") {
  const Effective effective = judge(OffloadMode::kAuto, {}, {},
                                    {{OffloadKind::kPacket, "ens1", Reason::kOffloadRefused, "one"},
                                     {OffloadKind::kCrypto, "ens2", Reason::kOffloadTableFull, "two"}});
  CHECK(effective.kind == OffloadKind::kNone);
  CHECK(effective.reason == Reason::kOffloadTableFull);
  CHECK(effective.device == "ens2");
  CHECK(effective.detail == "packet on ens1: one; crypto on ens2: two");
}

TEST_CASE("judge: software as configured needs no excuse") {
  const Effective effective = judge(OffloadMode::kNone, {}, {}, {});
  CHECK(effective.reason == Reason::kOffloadNotRequested);
  CHECK(effective.detail.empty());
}

TEST_CASE("judge: without any device the text does not name one") {
  const Placement placement = place(aead(), {.devices = {}}, OffloadMode::kPacket);
  const Effective effective = judge(OffloadMode::kPacket, {}, {}, placement.passed_over);
  CHECK(effective.reason == Reason::kOffloadNoDevice);
  CHECK(effective.detail == "packet: the group names no device");
}
