#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/manager_world.h"

// Tunnels whose keys nobody negotiates.

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr uint32_t kIn = 0x1001, kOut = 0x2001;

TunnelText manual(std::pair<uint32_t, uint32_t> spis = {kIn, kOut}) { return {.manual = spis}; }

policy::SaKey in_key(uint32_t spi = kIn) { return {IpAddress::parse("192.0.2.1").value(), policy::ChildSpi(spi)}; }
policy::SaKey out_key(uint32_t spi = kOut) { return {IpAddress::parse("198.51.100.7").value(), policy::ChildSpi(spi)}; }

struct Manual : ManagerWorld {
  explicit Manual(const std::vector<TunnelText>& tunnels = {manual()}) {
    ManagerWorld::start(tunnels);
    settle();
  }
  void settle() {
    manager->look_after(now, {"pub", "priv"});
    for (int i = 0; i < 5; ++i) run();
  }
  /// The first byte of the key that an SA was installed with; 0: it is not there.
  int key_of(const policy::SaKey& sa) {
    const auto there = pub().sas.find(sa);
    return there == pub().sas.end() ? 0 : there->second.config.keys.expose()[0];
  }
  size_t homes() const { return manager->tunnels().at("a").children.at("lan").homes; }
  Status last = {};
  agent::TunnelManager::Done note() {
    return [this](Status status) {
      last = std::move(status);
      ++answers;
    };
  }
  size_t answers = 0;
  /// Somebody has taken out SAs, and the kernel tells of it.
  void lose(const std::vector<policy::SaKey>& keys) {
    for (const policy::SaKey& each : keys) pub().sas.erase(each);
    kernel.emit(policy::SaRemoved{.netns = "pub", .key = keys.front()});
    for (int i = 0; i < 5; ++i) pass(200ms);
  }
};

}  // namespace

TEST_CASE("manual: the SAs stand with their policies and routes as soon as the tunnel starts, and no IKE begins") {
  Manual world;
  CHECK(world.state() == "up");
  CHECK(world.workers.initiations.empty());
  REQUIRE(world.pub().sas.contains(in_key()));
  REQUIRE(world.pub().sas.contains(out_key()));
  const policy::SaConfig& in = world.pub().sas.at(in_key()).config;
  const policy::SaConfig& out = world.pub().sas.at(out_key()).config;
  CHECK(in.replay_window == 0);
  CHECK_FALSE(in.sequence_wraps);
  CHECK(out.sequence_wraps);
  CHECK(in.hard_lifetime == Duration{0});
  CHECK(out.hard_lifetime == Duration{0});
  CHECK(to_string(in.suite) == "aes256-sha256");
  CHECK(in.if_id == world.manager->tunnels().at("a").if_id);
  CHECK(world.key_of(in_key()) == 0x41);
  CHECK(world.key_of(out_key()) == 0x42);
  CHECK(world.priv().routes.size() == 1);
  CHECK(world.differences().empty());
  CHECK(world.events_of(Reason::kManualSasInstalled).size() == 1);
}

TEST_CASE("manual: attached by policy the SAs stand without an interface") {
  ManagerWorld world;
  world.group = R"("attachment": "policy")";
  world.start({manual()});
  CHECK(world.state() == "up");
  CHECK(world.pub().sas.at(out_key()).config.if_id == 0);
  CHECK(world.priv().links.empty());
  CHECK(world.pub().policies.size() == 3);
  CHECK(world.differences().empty());
}

TEST_CASE("manual: without its keys a tunnel says so, and comes up when a configuration that is read again has them") {
  ManagerWorld world;
  world.manual_key.reset();
  world.start({manual()});
  CHECK(world.state() == "establishing");
  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kConfigSecretFile);
  CHECK(world.pub().sas.empty());
  world.pass(10s);
  CHECK(world.pub().sas.empty());
  world.manual_key = 0x51;
  world.reconfigure({manual()});
  CHECK(world.state() == "up");
  CHECK(world.differences().empty());
}

TEST_CASE("manual: SAs that were flushed are installed again with the same keys, and both are told of") {
  Manual world;
  const auto before = world.kernel.ours();
  world.lose({in_key(), out_key()});
  CHECK(world.kernel.ours() == before);
  CHECK(world.key_of(in_key()) == 0x41);
  CHECK(world.key_of(out_key()) == 0x42);
  CHECK(world.state() == "up");
  CHECK(world.events_of(Reason::kSaLost).size() == 1);
  CHECK(world.events_of(Reason::kManualSasInstalled).size() == 2);
  CHECK(world.events_of(Reason::kTunnelDown).empty());
  CHECK(world.homes() == 1);
}

TEST_CASE("manual: of a pair only the half that was taken out is installed again") {
  for (const bool in : {true, false}) {
    CAPTURE(in);
    Manual world;
    world.kernel.forget_texts();
    world.lose({in ? in_key() : out_key()});
    const auto& texts = world.kernel.texts();
    CHECK(std::ranges::count_if(texts, [](const std::string& each) { return each.starts_with("add-sa"); }) == 1);
    CHECK(std::ranges::count_if(texts, [](const std::string& each) { return each.starts_with("delete-policy"); }) == 0);
    CHECK(world.pub().sas.contains(in_key()));
    CHECK(world.pub().sas.contains(out_key()));
  }
}

TEST_CASE("manual: while a foreign SA has the place of one of ours the tunnel is down, and up when that is gone") {
  Manual world;
  world.pub().sas.erase(out_key());
  world.kernel.put_foreign("pub", out_key());
  world.lose({in_key()});
  CHECK(world.state() == "establishing");
  CHECK(world.manager->tunnels().at("a").children.at("lan").up.empty());
  CHECK_FALSE(world.pub().sas.contains(in_key()));
  CHECK(world.pub().sas.at(out_key()).maker == Maker::kForeign);
  world.pub().sas.erase(out_key());
  for (int i = 0; i < 10; ++i) world.pass(5s);
  CHECK(world.state() == "up");
  CHECK(world.differences().empty());
}

TEST_CASE("manual: what the operator takes down stays down, and comes up again when wanted") {
  Manual world;
  world.manager->down(world.now, "a", {}, world.note());
  world.run();
  CHECK(world.last.ok());
  CHECK(world.state() == "down");
  CHECK(world.pub().sas.empty());
  CHECK(world.pub().policies.empty());
  world.pass(1h);
  CHECK(world.pub().sas.empty());
  world.manager->up(world.now, "a", {}, world.note());
  world.run();
  CHECK(world.last.ok());
  CHECK(world.answers == 2);
  CHECK(world.state() == "up");
  CHECK(world.differences().empty());
}

TEST_CASE("manual: down and up while the kernel still works on the SAs leave one pair of them") {
  ManagerWorld world;
  world.kernel.hold_answers();
  world.start({manual()});
  for (int step = 0; step < 20; ++step) {
    if (step % 3 == 0) world.manager->down(world.now, "a", {}, [](const Status&) {});
    if (step % 3 == 1) world.manager->up(world.now, "a", {}, [](const Status&) {});
    world.kernel.release(1);
    world.run();
  }
  world.manager->up(world.now, "a", {}, [](const Status&) {});
  for (int i = 0; i < 100 && world.kernel.held() != 0; ++i) {
    world.kernel.release_all();
    world.run();
  }
  CHECK(world.state() == "up");
  CHECK(world.pub().sas.size() == 2);
  CHECK(world.manager->tunnels().at("a").children.at("lan").homes == 1);
  CHECK(world.differences().empty());
}

TEST_CASE("manual: a rekey by the operator makes both SAs anew, with the policies standing on") {
  Manual world;
  world.kernel.forget_texts();
  world.manager->rekey(world.now, "a", {}, agent::TunnelManager::RekeyTarget::kChildren, world.note());
  world.run();
  CHECK(world.last.ok());
  CHECK(world.answers == 1);
  CHECK(world.kernel.texts().size() == 4);
  CHECK(world.pub().sas.size() == 2);
  CHECK(world.differences().empty());
}

TEST_CASE("manual: keys that have changed when the configuration is read again take the place of the old ones") {
  Manual world;
  world.kernel.forget_texts();
  world.reconfigure({manual()});
  CHECK(world.kernel.texts().empty());
  world.manual_key = 0x61;
  world.reconfigure({manual()});
  CHECK(world.key_of(in_key()) == 0x61);
  CHECK(world.key_of(out_key()) == 0x62);
  CHECK(world.events_of(Reason::kTunnelDown).empty());
  CHECK(world.differences().empty());
}

TEST_CASE("manual: keys that change while the kernel works on the old ones come after these") {
  ManagerWorld world;
  world.kernel.hold_answers();
  world.start({manual()});
  world.manual_key = 0x61;
  world.reconfigure({manual()});
  for (int i = 0; i < 100 && world.kernel.held() != 0; ++i) {
    world.kernel.release(1);
    world.run();
  }
  CHECK(world.pub().sas.at(in_key()).config.keys.expose()[0] == 0x61);
  CHECK(world.pub().sas.at(out_key()).config.keys.expose()[0] == 0x62);
  CHECK(world.state() == "up");
  CHECK(world.differences().empty());
}

TEST_CASE("manual: when the file of the keys is gone the SAs go on with those that they have") {
  Manual world;
  world.manual_key.reset();
  world.reconfigure({manual()});
  CHECK(world.state() == "up");
  CHECK(world.key_of(in_key()) == 0x41);
  CHECK(world.events_of(Reason::kConfigSecretFile).size() == 1);
  world.lose({in_key()});
  CHECK(world.key_of(in_key()) == 0x41);
}

TEST_CASE("manual: other SPIs are other SAs, and a tunnel may turn from manual keys to IKE and back") {
  Manual world;
  world.reconfigure({manual({0x1111, 0x2222})});
  CHECK(world.pub().sas.size() == 2);
  CHECK(world.pub().sas.contains(in_key(0x1111)));
  CHECK(world.pub().sas.contains(out_key(0x2222)));
  CHECK(world.differences().empty());
  world.reconfigure({{.start = "now"}});
  CHECK(world.pub().sas.empty());
  CHECK(world.workers.initiations.size() == 1);
  world.refuse_initiation(Error(Reason::kTimeout, "no answer"));
  world.reconfigure({manual()});
  CHECK(world.state() == "up");
  CHECK(world.pub().sas.size() == 2);
  CHECK(world.differences().empty());
  world.reconfigure({});
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("manual: after a kill the policies and the interface stay, and each SA is replaced in one step") {
  for (const uint8_t key : {uint8_t{0x41}, uint8_t{0x71}}) {
    CAPTURE(key);
    Manual world;
    world.manual_key = key;
    const std::string interface = world.manager->tunnels().at("a").interface;
    world.kernel.forget_texts();
    world.restart({manual()});
    const auto& texts = world.kernel.texts();
    for (const std::string& each : texts)
      if (each.starts_with("delete-"))
        CHECK_MESSAGE((each.starts_with("delete-sa") && (&each)[1].starts_with("add-sa")), each);
    world.settle();
    CHECK(world.manager->tunnels().at("a").interface == interface);
    CHECK(world.state() == "up");
    CHECK(world.key_of(in_key()) == key);
    CHECK(world.key_of(out_key()) == key + 1);
    CHECK(world.manager->orphans().sas() == 0);
    world.pass(1h);
    CHECK(world.state() == "up");
    CHECK(world.pub().sas.size() == 2);
    CHECK(world.differences().empty());
  }
}

TEST_CASE("manual: after a kill without the keys the old SAs carry on for their grace") {
  Manual world;
  world.manual_key.reset();
  world.restart({manual()});
  CHECK(world.state() == "establishing");
  CHECK(world.pub().sas.size() == 2);
  CHECK(world.manager->orphans().sas() == 2);
  world.pass(world.orphan_grace);
  CHECK(world.pub().sas.empty());
}

TEST_CASE("manual: after a kill at any operation of the start nothing is left over, and the tunnel is up") {
  for (size_t at = 0; at < 20; ++at) {
    CAPTURE(at);
    ManagerWorld world;
    world.kernel.die_after(at);
    world.start({manual()});
    world.restart({manual()});
    for (int i = 0; i < 5; ++i) world.pass(3s);
    CHECK(world.state() == "up");
    CHECK(world.pub().sas.size() == 2);
    CHECK(world.differences().empty());
  }
}

TEST_CASE("manual: a namespace that goes takes the tunnel down, and it is up as soon as that is back") {
  Manual world;
  const std::string interface = world.manager->tunnels().at("a").interface;
  world.kernel.remove_namespace("pub");
  world.kernel.emit(policy::NamespaceGone{.netns = "pub"});
  world.kernel.emit(policy::LinkChanged{.netns = "priv", .name = interface, .gone = true});
  world.run();
  CHECK(world.manager->tunnels().at("a").children.at("lan").up.empty());
  CHECK(world.events_of(Reason::kTunnelDown).size() == 1);
  for (int i = 0; i < 12; ++i) world.pass(5s);
  CHECK(world.state() == "establishing");
  world.kernel.add_namespace("pub").devices["ens1"] = {};
  world.kernel.emit(policy::ResyncNeeded{.netns = "pub"});
  for (int i = 0; i < 14; ++i) world.pass(500ms);  // its interface is looked for every 5 seconds
  CHECK(world.state() == "up");
  CHECK(world.pub().sas.size() == 2);
}

TEST_CASE("manual: any operation that fails leaves nothing half done, and is tried again") {
  for (size_t at = 1; at <= 12; ++at)
    for (const bool lost : {false, true}) {
      CAPTURE(at);
      CAPTURE(lost);
      if (lost && at == 1) continue;  // an interface is made within the call: no answer can be lost
      ManagerWorld world;
      world.kernel.fail(at, {.os_errno = lost ? 0 : ENOMEM, .lost = lost});
      world.start({manual()});
      world.kernel.forget_faults();
      world.manager->look_after(world.now, {"pub", "priv"});
      for (int i = 0; i < 20; ++i) world.pass(10s);
      CHECK(world.state() == "up");
      CHECK(world.pub().sas.size() == 2);
      CHECK(world.differences().empty());
    }
}

TEST_CASE("manual: an SPI that IKE has chosen for another child is not taken from it") {
  Manual world({{.name = "b", .remote = "198.51.100.8", .selector = "10.3.0.0/16"}});
  world.identity(ike::IkeSaId{0x11}, true, "b");
  world.install(ike::IkeSaId{0x11}, kIn, "b");
  const auto before = world.pub().sas.size();
  world.reconfigure({manual(), {.name = "b", .remote = "198.51.100.8", .selector = "10.3.0.0/16"}});
  CHECK(world.state() == "establishing");
  CHECK(world.manager->tunnels().at("a").last_reason == Reason::kSpiTaken);
  CHECK(world.pub().sas.size() == before);
  CHECK(world.state("b") == "up");
  world.remove_child(ike::IkeSaId{0x11}, kIn, "b");
  world.pass(1min);
  CHECK(world.state() == "up");
}

TEST_CASE("manual: at the orderly end all of it goes") {
  Manual world;
  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());
}
