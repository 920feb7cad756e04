#include "tests/support/fake_kernel.h"

#include <doctest/doctest.h>

#include <cerrno>

// The fake must refuse what the real kernel refuses: tests/kernel holds the same sentences against the real one.

using namespace ipsec;
using namespace ipsec::policy;
using ipsec::testing::FakeKernel;

namespace {

SaConfig sa_of(Direction direction, OffloadKind kind) {
  SaConfig sa;
  sa.key = {*IpAddress::parse("192.0.2.1"), ChildSpi(0xc1)};
  sa.direction = direction;
  sa.suite = {kEncrAesGcm16, 256, kAuthNone, false};
  sa.if_id = 7;
  if (kind != OffloadKind::kNone) sa.offload = {kind, "ens1"};
  sa.keys = Secret(sa.suite.key_material_bytes());
  return sa;
}

Result<KernelReply> carry_out(FakeKernel& kernel, KernelChange change, const std::string& netns = "") {
  kernel.submit({.id = 1, .netns = netns, .change = std::move(change)});
  kernel.flush();
  return std::move(kernel.poll_completion()->result);
}

Error refusal(FakeKernel& kernel, KernelChange change, const std::string& netns = "") {
  auto result = carry_out(kernel, std::move(change), netns);
  REQUIRE_FALSE(result.ok());
  return result.error();
}

PolicyConfig some_policy() {
  PolicyConfig policy;
  policy.key.source = *IpPrefix::parse("10.1.0.0/16");
  policy.key.destination = *IpPrefix::parse("10.2.0.0/16");
  return policy;
}

}  // namespace

TEST_CASE("fake kernel: what is foreign is neither replaced nor removed; what is gone can be removed") {
  FakeKernel kernel;
  const SaKey key = sa_of(Direction::kIn, OffloadKind::kNone).key;
  CHECK(carry_out(kernel, DeleteSa{key}).ok());
  CHECK(carry_out(kernel, DeletePolicy{some_policy().key}).ok());
  CHECK(carry_out(kernel, DeleteLink{"ips1"}).ok());
  kernel.put_foreign("", key);
  kernel.put_foreign("", some_policy());
  kernel.put_foreign("", LinkConfig{.name = "ips1", .if_id = 1});

  const Error conflict = refusal(kernel, AddSa{sa_of(Direction::kIn, OffloadKind::kNone)});
  CHECK(conflict.reason() == Reason::kKernelConflict);
  CHECK(conflict.os_errno() == EEXIST);
  CHECK(refusal(kernel, DeleteSa{key}).reason() == Reason::kKernelConflict);
  CHECK(refusal(kernel, AddPolicy{some_policy()}).reason() == Reason::kKernelConflict);
  CHECK(refusal(kernel, UpdatePolicy{some_policy()}).reason() == Reason::kKernelConflict);
  CHECK(refusal(kernel, DeletePolicy{some_policy().key}).reason() == Reason::kKernelConflict);
  CHECK(refusal(kernel, AddLink{LinkConfig{.name = "ips2", .if_id = 1}}).reason() == Reason::kKernelConflict);
  CHECK(refusal(kernel, DeleteLink{"ips1"}).reason() == Reason::kKernelConflict);
  CHECK(kernel.foreign().size() == 3);
}

TEST_CASE("fake kernel: crypto on a device that cannot stays in software silently, packet fails") {
  FakeKernel kernel;
  kernel.in("").devices["ens1"] = {.capability = FakeKernel::Capability::kIncapable};
  CHECK(refusal(kernel, AddSa{sa_of(Direction::kOut, OffloadKind::kPacket)}).os_errno() == EOPNOTSUPP);

  const auto reply = carry_out(kernel, AddSa{sa_of(Direction::kOut, OffloadKind::kCrypto)});

  REQUIRE(reply.ok());
  CHECK(std::get<SaState>(*reply).offload == OffloadKind::kNone);
  CHECK(std::get<SaState>(*reply).offload_device.empty());
}

TEST_CASE("fake kernel: refusals of offload carry the kernel's own words") {
  FakeKernel kernel;
  kernel.in("").devices["ens1"] = {.capability = FakeKernel::Capability::kPacket, .table_size = 0};
  SaConfig window = sa_of(Direction::kOut, OffloadKind::kPacket);
  window.replay_window = 32;
  const Error replay = refusal(kernel, AddSa{std::move(window)});
  CHECK(replay.os_errno() == EINVAL);
  CHECK(replay.text().find("Replay window should be 0 for output SA.") != std::string::npos);
  CHECK(refusal(kernel, AddSa{sa_of(Direction::kOut, OffloadKind::kPacket)}).os_errno() == ENOSPC);
  kernel.refuse_inbound_offload_with_if_id();
  const Error inbound = refusal(kernel, AddSa{sa_of(Direction::kIn, OffloadKind::kCrypto)});
  CHECK(inbound.text().find("XFRM if_id is not supported in RX path.") != std::string::npos);
}

TEST_CASE("fake kernel: a namespace, VRF or device that is missing is told as such") {
  FakeKernel kernel;
  CHECK(refusal(kernel, DeleteLink{"ips1"}, "none").reason() == Reason::kNamespaceMissing);
  CHECK(refusal(kernel, AddLink{LinkConfig{.name = "ips1", .public_netns = "none"}}).reason() ==
        Reason::kNamespaceMissing);
  CHECK(refusal(kernel, AddLink{LinkConfig{.name = "ips1", .vrf = "red"}}).reason() == Reason::kVrfMissing);
  CHECK(refusal(kernel, AddRoute{RouteConfig{.device = "ips1"}}).reason() == Reason::kDeviceMissing);
  CHECK(refusal(kernel, AddSa{sa_of(Direction::kOut, OffloadKind::kPacket)}).reason() == Reason::kDeviceMissing);
}

TEST_CASE("fake kernel: a link takes its routes with it") {
  FakeKernel kernel;
  REQUIRE(carry_out(kernel, AddLink{LinkConfig{.name = "ips1", .if_id = 1}}).ok());
  REQUIRE(carry_out(kernel, AddRoute{RouteConfig{.device = "ips1"}}).ok());
  REQUIRE(carry_out(kernel, DeleteLink{"ips1"}).ok());
  CHECK(kernel.in("").empty());
}

TEST_CASE("fake kernel: operations are counted by kind and answers come when they are let through") {
  FakeKernel kernel;
  kernel.hold_answers();
  kernel.submit({.id = 1, .netns = "", .change = AddPolicy{some_policy()}});
  kernel.submit({.id = 2, .netns = "", .change = AddPolicy{some_policy()}});
  CHECK(kernel.in("").policies.empty());  // nothing happens before flush()
  kernel.flush();

  CHECK(kernel.in("").policies.size() == 1);
  CHECK(kernel.count<AddPolicy>() == 2);
  CHECK(kernel.count<AddSa>() == 0);
  CHECK_FALSE(kernel.poll_completion().has_value());
  kernel.release(1);
  CHECK(kernel.poll_completion()->id == 1);
  CHECK_FALSE(kernel.poll_completion().has_value());
  kernel.release_all();
  CHECK(kernel.poll_completion()->id == 2);
}
