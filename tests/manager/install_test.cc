#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;
using Capability = FakeKernel::Capability;
using policy::OffloadKind;

namespace {

constexpr ike::IkeSaId kIke{0x11}, kOther{0x22};
constexpr int kErrnos[] = {EEXIST, EINVAL, ENOMEM, ENOBUFS, EPERM, ENOSPC, EOPNOTSUPP, ESRCH};

const agent::InstalledChild& only_child(const ManagerWorld& world) {
  REQUIRE(world.manager->installer().children().size() == 1);
  return *world.manager->installer().children().begin()->second;
}

}  // namespace

TEST_CASE("install: inbound SA and policies stand before IKE answers, then outbound SA, policies, routes") {
  ManagerWorld world;
  world.start({{}});
  world.kernel.forget_texts();

  world.install_inbound(kIke, 0xc1);

  CHECK(world.last_answer() == "installed");
  CHECK(world.kernel.texts() == Texts{"add-sa in 0x000000c1 software",
                                      "add-policy in 10.2.0.0/16 10.1.0.0/16 reqid 0x01000001",
                                      "add-policy fwd 10.2.0.0/16 10.1.0.0/16 reqid 0x01000001"});
  CHECK(world.state() == "down");
  world.kernel.forget_texts();

  world.install_outbound(kIke, 0xc1);

  CHECK(world.kernel.texts() == Texts{"add-sa out 0x000010c1 software",
                                      "add-policy out 10.1.0.0/16 10.2.0.0/16 reqid 0x01000001",
                                      "add-route 10.2.0.0/16 dev ips1000001 metric 100", "update-link ips1000001"});
  CHECK(world.state() == "up");
}

TEST_CASE("install: nothing is answered before the kernel has confirmed the inbound half") {
  ManagerWorld world;
  world.start({{}});
  world.kernel.hold_answers();

  world.install_inbound(kIke, 0xc1);
  CHECK(world.workers.answers.empty());
  world.kernel.release(1);  // the SA
  world.run();
  world.kernel.release(1);  // one of two policies
  world.run();
  CHECK(world.workers.answers.empty());
  world.kernel.release(1);
  world.run();

  CHECK(world.last_answer() == "installed");
}

TEST_CASE("remove: routes go first, then the outbound and the inbound half; link and trap stay") {
  ManagerWorld world;
  world.start({{.start = "traffic"}});
  const Texts rest = world.kernel.ours();
  world.install(kIke, 0xc1);
  world.kernel.forget_texts();

  world.remove_child(kIke, 0xc1);

  CHECK(world.kernel.texts() == Texts{"delete-route 10.2.0.0/16 dev ips1000001 metric 100", "delete-sa 0x000010c1",
                                      "delete-policy in 10.2.0.0/16 10.1.0.0/16",
                                      "delete-policy fwd 10.2.0.0/16 10.1.0.0/16", "delete-sa 0x000000c1"});
  CHECK(world.kernel.ours() == rest);
  CHECK(world.state() == "idle");
}

TEST_CASE(
    "install: whatever operation fails with whatever errno, nothing of the child stays and others are untouched") {
  for (const char* start : {"respond", "traffic"}) {
    for (int os_errno : kErrnos) {
      for (size_t position = 1; position <= 6; ++position) {
        CAPTURE(start);
        CAPTURE(os_errno);
        CAPTURE(position);
        ManagerWorld world;
        world.start(
            {{.name = "a", .start = start}, {.name = "b", .remote = "198.51.100.8", .selector = "10.3.0.0/16"}});
        world.install(kOther, 0xb1, "b");
        const Texts before = world.kernel.ours();
        world.initiated(kIke);

        world.kernel.fail(position, {.os_errno = os_errno});
        world.install_inbound(kIke, 0xc1);
        const bool refused = world.last_answer() != "installed";
        if (!refused) world.install_outbound(kIke, 0xc1);
        world.kernel.forget_faults();

        if (refused) {
          CHECK(position <= 3);
          CHECK(world.kernel.ours() == before);
        } else if (world.workers.closed_children.empty()) {
          CHECK(std::string(start) == "traffic");  // the trap's policy serves: one operation less
          CHECK(position == 6);
          CHECK(world.state() == "up");
        } else {
          CHECK(world.workers.closed_children[0].child == ike::ChildId(0xc1));
          CHECK(world.state() != "up");
        }
        world.remove_child(kIke, 0xc1);
        CHECK(world.kernel.ours() == before);
        CHECK(world.state("b") == "up");
        CHECK(world.manager->shared().policies() == (std::string(start) == "traffic" ? 4 : 3));
      }
    }
  }
}

TEST_CASE("install: at every rung of the ladder a failure of any operation leaves nothing behind") {
  for (int os_errno : kErrnos) {
    for (size_t position = 1; position <= 10; ++position) {
      CAPTURE(os_errno);
      CAPTURE(position);
      ManagerWorld world("auto");
      world.pub().devices["ens1"] = {.capability = Capability::kCrypto};
      world.start({{.start = "traffic"}});
      const Texts before = world.kernel.ours();
      world.initiated(kIke);

      world.kernel.fail(position, {.os_errno = os_errno});
      world.install_inbound(kIke, 0xc1);
      if (world.last_answer() == "installed") world.install_outbound(kIke, 0xc1);
      world.kernel.forget_faults();

      world.remove_child(kIke, 0xc1);
      CHECK(world.kernel.ours() == before);
    }
  }
}

TEST_CASE("install: an answer that is lost leaves nothing behind, whatever the operation was") {
  for (const char* offload : {"none", "auto"}) {
    for (size_t position = 1; position <= 6; ++position) {
      CAPTURE(offload);
      CAPTURE(position);
      ManagerWorld world(offload);
      world.pub().devices["ens1"] = {.capability = Capability::kPacket};
      world.start({{}});
      const Texts before = world.kernel.ours();

      world.kernel.fail(position, {.lost = true});
      world.install_inbound(kIke, 0xc1);
      if (world.last_answer() == "installed") world.install_outbound(kIke, 0xc1);
      CHECK(world.state() == "down");

      world.remove_child(kIke, 0xc1);
      CHECK(world.kernel.ours() == before);
    }
  }
}

TEST_CASE("install: an outbound half that fails closes the child though nothing was reported of its IKE SA yet") {
  ManagerWorld world;
  world.start({{}});
  world.install_inbound(kIke, 0xc1);
  world.kernel.fail(1, {.os_errno = ENOMEM});

  world.install_outbound(kIke, 0xc1);

  REQUIRE(world.workers.closed_children.size() == 1);
  CHECK(world.workers.closed_children[0].worker == 1);
  CHECK(world.workers.closed_children[0].ike == kIke);
}

TEST_CASE("install: a foreign SA with our SPI is left alone and the child refused") {
  ManagerWorld world;
  world.start({{}});
  const policy::SaKey key{*IpAddress::parse("192.0.2.1"), policy::ChildSpi(0xc1)};
  world.kernel.put_foreign("pub", key);

  world.install_inbound(kIke, 0xc1);

  CHECK(world.last_answer().find("is there already") != std::string::npos);
  CHECK(world.kernel.foreign().size() == 1);
  CHECK(world.pub().sas.size() == 1);
}

TEST_CASE("install: two peers behind one NAT that choose the same SPI do not take each other's SA down") {
  ManagerWorld world;
  world.start({{.name = "a", .remote = "198.51.100.7", .selector = "10.2.0.0/16"},
               {.name = "b", .remote = "198.51.100.7", .selector = "10.3.0.0/16"}});
  world.install(kIke, 0xc1, "a");
  const Texts before = world.kernel.ours();
  world.spi_out_offset -= 1;  // so that 0xc2 gets the outbound SPI of 0xc1

  world.install(kOther, 0xc2, "b");
  CHECK(world.state("b") == "down");
  world.remove_child(kOther, 0xc2, "b");

  CHECK(world.kernel.ours() == before);
}

TEST_CASE("install: a child whose inbound half fails does not take down a peer's SA of the same outbound SPI") {
  ManagerWorld world;
  world.start({{.name = "a", .selector = "10.2.0.0/16"}, {.name = "b", .selector = "10.3.0.0/16"}});
  world.install(kIke, 0xc1, "a");
  const Texts before = world.kernel.ours();
  world.spi_out_offset -= 1;
  world.kernel.fail(1, {.os_errno = ENOMEM});

  world.install_inbound(kOther, 0xc2, "b");

  CHECK(world.kernel.ours() == before);
}

TEST_CASE("remove: while an installation is under way leaves nothing, however far it has come") {
  for (size_t answered = 0; answered <= 6; ++answered) {
    CAPTURE(answered);
    ManagerWorld world;
    world.start({{.start = "traffic"}});
    const Texts before = world.kernel.ours();
    world.kernel.hold_answers();
    world.install_inbound(kIke, 0xc1);
    world.install_outbound(kIke, 0xc1);
    for (size_t i = 0; i < answered; ++i) {
      world.kernel.release(1);
      world.run();
    }

    world.remove_child(kIke, 0xc1);
    world.kernel.release_all();
    world.run();

    CHECK(world.kernel.ours() == before);
    CHECK(world.state() == "idle");
    CHECK(world.manager->kernel_idle());
    CHECK(world.manager->installer().children().empty());
  }
}

TEST_CASE("crossing: two IKE SAs of one tunnel share policies and routes; the last one to go takes them") {
  ManagerWorld world;
  world.start({{}});
  const Texts rest = world.kernel.ours();
  world.install(kIke, 0xc1);
  world.install(kOther, 0xc2);
  CHECK(world.pub().sas.size() == 4);
  CHECK(world.pub().policies.size() == 3);
  CHECK(world.priv().routes.size() == 1);

  world.remove_child(kIke, 0xc1);
  CHECK(world.pub().sas.size() == 2);
  CHECK(world.pub().policies.size() == 3);
  CHECK(world.priv().routes.size() == 1);
  CHECK(world.state() == "up");

  world.remove_child(kOther, 0xc2);
  CHECK(world.kernel.ours() == rest);
  CHECK(world.state() == "down");
}

TEST_CASE("crossing: with a trap below, the trap's version of a policy comes back when the last child goes") {
  ManagerWorld world("packet");
  world.pub().devices["ens1"] = {.capability = Capability::kPacket};
  world.start({{.start = "traffic"}});
  const Texts rest = world.kernel.ours();
  auto on_device = [&] {
    return std::count_if(world.pub().policies.begin(), world.pub().policies.end(), [](const auto& each) {
      return each.first.direction == policy::Direction::kOut && each.second.config.offload.device == "ens1";
    });
  };

  world.install(kIke, 0xc1);
  CHECK(on_device() == 1);
  world.install(kOther, 0xc2);
  world.remove_child(kIke, 0xc1);
  CHECK(on_device() == 1);
  world.remove_child(kOther, 0xc2);

  CHECK(on_device() == 0);
  CHECK(world.kernel.ours() == rest);
}

TEST_CASE("sharing: a child does not count as up when the policy that its trap was refused is still missing") {
  ManagerWorld probe;
  probe.start({{.start = "traffic"}});
  const policy::PolicyConfig taken = probe.pub().policies.begin()->second.config;
  ManagerWorld world;
  world.kernel.put_foreign("pub", taken);
  world.start({{.start = "traffic"}});
  CHECK(world.events_of(Reason::kKernelConflict).size() == 1);

  world.install(kIke, 0xc1);

  CHECK(world.state() != "up");
  CHECK(world.workers.closed_children.size() == 1);
  world.remove_child(kIke, 0xc1);
  CHECK(world.kernel.foreign().size() == 1);
}

TEST_CASE("sharing: a second child that comes while the first one's policy is being refused is refused as well") {
  ManagerWorld world;
  world.start({{}});
  world.install_inbound(kIke, 0xc1);
  world.install_inbound(kOther, 0xc2);
  world.kernel.hold_answers();
  world.install_outbound(kIke, 0xc1);
  world.install_outbound(kOther, 0xc2);
  const auto taken = [&] {
    policy::PolicyConfig config = world.manager->installer().children().begin()->second->plan.outbound_policies[0];
    config.reqid = 7;
    return config;
  }();
  world.kernel.put_foreign("pub", taken);

  world.kernel.release_all();
  world.run();

  CHECK(world.workers.closed_children.size() == 2);
  CHECK(world.state() == "down");
}

TEST_CASE("ladder: auto goes from packet over crypto to software and keeps every reason") {
  ManagerWorld world("auto");
  world.group = R"("attachment": "policy")";
  world.pub().devices["ens1"] = {.capability = Capability::kCrypto, .table_size = 0};
  world.start({{}});
  world.kernel.forget_texts();

  world.install(kIke, 0xc1);

  const auto& inbound = only_child(world).inbound;
  CHECK(world.kernel.texts()[0] == "add-sa in 0x000000c1 packet ens1 REFUSED");
  CHECK(world.kernel.texts()[1] == "add-sa in 0x000000c1 crypto ens1 REFUSED");
  CHECK(world.kernel.texts()[2] == "add-sa in 0x000000c1 software");
  CHECK(inbound.kind == OffloadKind::kNone);
  CHECK(inbound.reason == Reason::kOffloadTableFull);
  CHECK(inbound.detail.find("packet on ens1: install: Device doesn't support offload") != std::string::npos);
  CHECK(inbound.detail.find("crypto on ens1: install: Device failed to offload this state") != std::string::npos);
  CHECK(world.events_of(Reason::kOffloadTableFull).size() == 2);
  CHECK(world.state() == "up");
}

TEST_CASE("ladder: inbound in software because of its interface id, outbound on the NIC, in this order") {
  ManagerWorld world("packet");
  world.pub().devices["ens1"] = {.capability = Capability::kPacket};
  world.kernel.refuse_inbound_offload_with_if_id();
  world.start({{}});
  world.kernel.forget_texts();

  world.install(kIke, 0xc1);

  CHECK(only_child(world).inbound.reason == Reason::kOffloadInterfaceInbound);
  CHECK(only_child(world).outbound.reason == Reason::kOffloadEffective);
  CHECK(only_child(world).outbound.kind == OffloadKind::kPacket);
  const Texts& texts = world.kernel.texts();
  auto at = [&](const std::string& text) { return std::find(texts.begin(), texts.end(), text) - texts.begin(); };
  CHECK(at("add-sa in 0x000000c1 software") < at("add-sa out 0x000010c1 packet ens1"));
  CHECK(at("add-sa out 0x000010c1 packet ens1") < std::ssize(texts));
}

TEST_CASE("ladder: what the kernel accepts and keeps in software is told as such") {
  ManagerWorld world("crypto");
  world.start({{}});

  world.install(kIke, 0xc1);

  CHECK(only_child(world).inbound.reason == Reason::kOffloadSilentSoftware);
  CHECK(only_child(world).inbound.device == "ens1");
  CHECK(only_child(world).inbound.kind == OffloadKind::kNone);
  CHECK(world.events_of(Reason::kOffloadSilentSoftware).size() == 2);
}

TEST_CASE("ladder: each attempt carries the whole key") {
  ManagerWorld world("auto");
  world.pub().devices["ens1"] = {.capability = Capability::kCrypto};
  world.start({{}});

  world.install(kIke, 0xc1);

  REQUIRE(world.pub().sas.size() == 2);
  for (const auto& [key, sa] : world.pub().sas) {
    CHECK(sa.state.offload == OffloadKind::kCrypto);
    CHECK(sa.config.keys.size() == 36);
    CHECK(sa.config.keys.expose()[0] == 0xc1);
  }
}
