#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;

// How large packets may be in a tunnel, and what packet rules do to them, from configuration to kernel.

namespace {

constexpr ike::IkeSaId kIke{0x11};
constexpr uint32_t kChild = 0xc1, kFresh = 0xd1;
const char* const kClamped = R"("private": { "netns": "priv", "vrf": "red" }, "mss": "mtu")";
const char* const kByPolicy = R"("attachment": "policy", "mss": "mtu")";

struct World : ManagerWorld {
  explicit World(const char* members = nullptr) {
    if (members != nullptr) group = members;
  }
  void come_up(const TunnelText& tunnel = {}) {
    ManagerWorld::start({tunnel});
    identity(kIke);
    install(kIke, kChild);
  }
  uint32_t link_mtu() { return priv().links.begin()->second.config.mtu; }
  void path_is(uint32_t mtu) {
    pub().path.mtu = mtu;
    kernel.emit(policy::LinkChanged{.netns = "pub", .name = "eth0", .up = true, .mtu = mtu});
    run();
  }
  /// With these settings of the child policy from now on.
  void set(std::function<void(policy::ChildPolicy&)> change) {
    adjust = [change = std::move(change)](policy::IkePolicy&, policy::ChildPolicy& policy) { change(policy); };
  }
  size_t position(const std::string& text) const {
    const auto& texts = kernel.texts();
    return static_cast<size_t>(
        std::ranges::find_if(texts, [&](const std::string& each) { return each.starts_with(text); }) - texts.begin());
  }
  policy::SaKey out_key(uint32_t child = kChild) const {
    return manager->installer().children().at(ike::ChildId(child))->plan.outbound.key;
  }
};

void mark(policy::ChildPolicy& policy) {
  policy.df = policy::DfMode::kSet;
  policy.dscp = policy::DscpMode::kFixed;
  policy.dscp_value = 46;
}
const policy::OuterHeader kMarked{.df_set = true, .dscp = uint8_t{46}};

}  // namespace

TEST_CASE("packets: before anything is negotiated the least MTU counts, then that of the SAs, which stays") {
  World world;
  world.start({{}});
  CHECK(world.link_mtu() == 1406);  // of the default proposals, AES-CBC with HMAC-SHA2-512 takes most
  world.identity(kIke);
  world.install(kIke, kChild);
  CHECK(world.link_mtu() == 1446);
  CHECK(world.manager->tunnels().at("a").mtu.because.find("1500 bytes of path less aes256gcm16") == 0);
  world.remove_child(kIke, kChild);
  CHECK(world.link_mtu() == 1446);
}

TEST_CASE("packets: another MTU of the device below is taken over at once, that of another device is not") {
  World world;
  world.come_up();
  world.path_is(1400);
  CHECK(world.link_mtu() == 1346);
  const size_t before = world.kernel.operations();
  world.kernel.emit(policy::LinkChanged{.netns = "pub", .name = "eth7", .up = true, .mtu = 9000});
  world.run();
  CHECK(world.kernel.operations() == before);
  world.path_is(1500);
  CHECK(world.link_mtu() == 1446);
}

TEST_CASE("packets: a path that changes without a word is seen when the namespace is read") {
  World world;
  world.come_up();
  world.manager->look_after(world.now, {"pub", "priv"});
  for (int i = 0; i < 3; ++i) world.run();
  world.pub().path.mtu = 1300;
  world.run();
  CHECK(world.link_mtu() == 1446);
  for (int i = 0; i < 120; ++i) world.pass(1s);
  CHECK(world.link_mtu() == 1246);
}

TEST_CASE("packets: a configured MTU is set in place") {
  World world;
  world.come_up();
  world.set([](policy::ChildPolicy& policy) { policy.mtu = 1300; });
  world.reconfigure({{}});
  CHECK(world.link_mtu() == 1300);
  CHECK(world.state() == "up");
  CHECK(world.manager->tunnels().at("a").mtu.because.starts_with("mtu of child policy"));
}

TEST_CASE("packets: nothing that needs rules makes none") {
  World world;
  world.come_up();
  CHECK(world.kernel.count<policy::SetPacketRules>() == 0);
  CHECK(world.kernel.count<policy::ChangePacketRules>() == 0);
}

TEST_CASE("packets: segments follow the MTU of their tunnel and go with it") {
  World world(kClamped);
  world.come_up();
  using Interfaces = std::map<std::string, policy::MssLimits>;
  CHECK(world.priv().packet_rules.interfaces == Interfaces{{"ips1000001", {1406, 1386}}});
  world.path_is(1400);
  CHECK(world.priv().packet_rules.interfaces == Interfaces{{"ips1000001", {1306, 1286}}});
  world.reconfigure({{.name = "b"}});
  world.remove_child(kIke, kChild);
  world.ike_gone(kIke);
  CHECK(world.priv().packet_rules.interfaces == Interfaces{{"ips1000002", {1270, 1250}}});
  CHECK(world.pub().packet_rules.empty());
}

TEST_CASE("packets: without an interface segments are told by reqid, in the public namespace") {
  World world(kByPolicy);
  world.come_up();
  CHECK(world.pub().packet_rules.reqids == std::map<uint32_t, policy::MssLimits>{{0x1000001, {1406, 1386}}});
  world.group = R"("attachment": "policy")";
  world.reconfigure({{}});
  CHECK(world.pub().packet_rules.empty());
  CHECK(world.state() == "up");
}

TEST_CASE("packets: the rules for an SA's outer header stand before it, and go after it") {
  World world;
  world.set(mark);
  world.come_up();
  CHECK(world.position("set-rules 1 SAs") < world.position("add-sa out"));
  CHECK(world.pub().packet_rules.outer == std::map<policy::SaKey, policy::OuterHeader>{{world.out_key(), kMarked}});
  world.kernel.forget_texts();
  world.inbound({.ike = kIke, .id = kFresh, .replaces = kChild});
  world.outbound({.ike = kIke, .id = kFresh, .replaces = kChild});
  CHECK(world.position("change-rules") < world.position("add-sa out"));
  CHECK(world.pub().packet_rules.outer.size() == 2);
  world.remove({.ike = kIke, .id = kChild}, Reason::kRekeyTime);
  CHECK(world.pub().packet_rules.outer ==
        std::map<policy::SaKey, policy::OuterHeader>{{world.out_key(kFresh), kMarked}});
  world.remove_child(kIke, kFresh);
  CHECK(world.pub().packet_rules.empty());
}

TEST_CASE("packets: another DSCP is written at once, without fresh SAs") {
  World world;
  world.set(mark);
  world.come_up();
  world.set([](policy::ChildPolicy& policy) {
    mark(policy);
    policy.dscp_value = 10;
  });
  world.reconfigure({{}});
  CHECK(world.pub().packet_rules.outer.at(world.out_key()) == policy::OuterHeader{.df_set = true, .dscp = uint8_t{10}});
  CHECK(world.workers.rekeys.empty());
}

TEST_CASE("packets: SAs that got their mark while they stood lose it with their end, too") {
  World world;
  world.come_up();
  world.set(mark);
  world.reconfigure({{}});
  CHECK(world.pub().packet_rules.outer.size() == 1);
  world.remove_child(kIke, kChild);
  CHECK(world.pub().packet_rules.empty());
}

TEST_CASE("packets: a tunnel whose SA the kernel refuses leaves no rule for it") {
  World world;
  world.set(mark);
  world.start({{}});
  world.identity(kIke);
  world.install_inbound(kIke, kChild);
  world.kernel.fail(2, {.os_errno = EINVAL});  // after the rules
  world.install_outbound(kIke, kChild);
  world.remove_child(kIke, kChild);
  CHECK(world.pub().packet_rules.empty());
}

TEST_CASE("packets: rules that the kernel refuses are told once, tried again, and stop no tunnel") {
  World world(kClamped);
  world.kernel.fail(1, {.os_errno = EOPNOTSUPP});
  world.kernel.fail(2, {.os_errno = EOPNOTSUPP});
  world.kernel.fail(3, {.os_errno = EOPNOTSUPP});
  world.start({{.start = "respond"}});
  world.kernel.forget_faults();
  world.manager->look_after(world.now, {"pub", "priv"});
  for (int i = 0; i < 20; ++i) world.pass(1s);
  world.identity(kIke);
  world.install(kIke, kChild);
  CHECK(world.state() == "up");
  CHECK(world.priv().packet_rules.interfaces.size() == 1);
}

TEST_CASE("packets: what others do to the rules is put right, and a table of theirs is left alone") {
  World world(kClamped);
  world.come_up();
  world.manager->look_after(world.now, {"pub", "priv"});
  for (int i = 0; i < 3; ++i) world.run();
  const policy::PacketRules wanted = world.priv().packet_rules;
  REQUIRE(!wanted.empty());
  for (const bool gone : {true, false}) {
    if (gone)
      world.priv().packet_rules = {};
    else
      world.priv().packet_rules.intact = false;
    world.kernel.emit(policy::PacketRulesDisturbed{"priv"});
    world.pass(1s);
    CHECK(world.priv().packet_rules == wanted);
  }
  CHECK(world.events_of(Reason::kDriftMended).size() == 2);
  world.kernel.put_foreign("priv", wanted);
  world.kernel.emit(policy::PacketRulesDisturbed{"priv"});
  for (int i = 0; i < 5; ++i) world.pass(1s);
  CHECK(world.kernel.foreign().size() == 1);
  CHECK(world.events_of(Reason::kDriftStays).size() == 1);
}

TEST_CASE("packets: what a killed run marked goes on being marked, also by those SAs that nobody negotiated anew") {
  World world(kClamped);
  world.set(mark);
  world.come_up();
  const policy::SaKey key = world.out_key();
  (void)world.restart({{}});
  CHECK(world.pub().packet_rules.outer == std::map<policy::SaKey, policy::OuterHeader>{{key, kMarked}});
  CHECK(world.priv().packet_rules.interfaces.size() == 1);
  // Never without rules in between.
  CHECK(world.position("set-rules nothing") == world.kernel.texts().size());
  world.identity(kIke);
  world.install(kIke, kFresh);
  world.pass(5s);
  CHECK(world.pub().packet_rules.outer ==
        std::map<policy::SaKey, policy::OuterHeader>{{world.out_key(kFresh), kMarked}});
}

TEST_CASE("packets: a run whose configuration wants no rules takes out those of the one before") {
  World world(kClamped);
  world.come_up();
  REQUIRE(!world.priv().packet_rules.empty());
  world.group = R"("private": { "netns": "priv", "vrf": "red" })";
  (void)world.restart({{}});
  CHECK(world.priv().packet_rules.empty());
}

TEST_CASE("packets: DF bits inside are cleared for what goes into the tunnel of a VRF, and only IPv4 has them") {
  World world;
  world.set([](policy::ChildPolicy& policy) { policy.inner_df = policy::InnerDf::kClear; });
  world.start({{.more = {{"six", "fd00:2::/64"}}, .local = "0.0.0.0/0\", \"::/0"}});
  using Clearings = std::set<policy::PacketRules::Clearing>;
  CHECK(world.priv().packet_rules.inner_df == Clearings{{"red", "ips1000001", IpPrefix::parse("10.2.0.0/16").value()}});
  world.adjust = {};
  world.reconfigure({{.more = {{"six", "fd00:2::/64"}}, .local = "0.0.0.0/0\", \"::/0"}});
  CHECK(world.priv().packet_rules.empty());
}

TEST_CASE("packets: what two tunnels want cleared in one interface is cleared until both have gone") {
  World world(R"("private": { "netns": "priv", "vrf": "red" }, "interfaces": "external")");
  world.set([](policy::ChildPolicy& policy) { policy.inner_df = policy::InnerDf::kClear; });
  const TunnelText one, other{.name = "b", .remote = "198.51.100.9"};
  world.start({one, other});
  const auto cleared = [&] { return world.priv().packet_rules.inner_df.size(); };
  REQUIRE(cleared() == 1);
  world.reconfigure({one});
  CHECK(cleared() == 1);
  world.reconfigure({one, other});
  world.reconfigure({other});
  CHECK(cleared() == 1);
  world.reconfigure({});
  CHECK(cleared() == 0);
}

TEST_CASE("packets: where the kernel writes no DF bits the rest is done, and that is told once") {
  World world;
  world.kernel.refuse_df();
  world.set([](policy::ChildPolicy& policy) {
    mark(policy);
    policy.inner_df = policy::InnerDf::kClear;
  });
  world.come_up();
  CHECK(world.pub().packet_rules.outer.at(world.out_key()) == policy::OuterHeader{.dscp = uint8_t{46}});
  CHECK(world.priv().packet_rules.empty());
  world.inbound({.ike = kIke, .id = kFresh, .replaces = kChild});
  world.outbound({.ike = kIke, .id = kFresh, .replaces = kChild});
  const auto told = world.events_of(Reason::kPacketRulesRefused);
  REQUIRE(told.size() == 2);  // of either namespace
  const auto because = std::ranges::find(told[0].fields, "detail", &Field::name);
  REQUIRE(because != told[0].fields.end());
  CHECK(because->value.find("`inner_df` clear none: ") != std::string::npos);
  CHECK(because->value.find("neither rules nor programs") != std::string::npos);
}

TEST_CASE("packets: DF is wanted of IPv4 headers only") {
  World world;
  world.kernel.refuse_df();
  const policy::SaKey six{IpAddress::parse("2001:db8::2").value(), policy::ChildSpi(0xc0000006)};
  agent::KernelQueue queue(world.kernel);
  size_t complaints = 0;
  agent::PacketRuleBook book(queue, [&](const std::string&, const Error&) { ++complaints; });
  book.write_outer("pub", six, policy::OuterHeader{.df_set = true});
  CHECK_FALSE(book.has_outer("pub", six));
  CHECK(complaints == 0);
}

TEST_CASE("packets: whoever waits for rules hears of the first one that was refused, whatever follows it") {
  FakeKernel kernel;
  kernel.add_namespace("pub");
  agent::KernelQueue queue(kernel);
  agent::PacketRuleBook book(queue, [](const std::string&, const Error&) {});
  const policy::PacketRules::Sealed pair{IpAddress::parse("192.0.2.2").value(), IpAddress::parse("192.0.2.1").value()};
  std::vector<Status> told;
  const auto hear = [&](const Status& status) { told.push_back(status); };
  book.clamp_interface("pub", "ens1", policy::MssLimits{1400, 1380});
  book.apply();
  queue.drain();

  kernel.hold_answers();
  kernel.fail(1, {.os_errno = EBUSY});
  book.hold_seals("pub", {}, {pair});
  book.settle("pub", hear);
  book.clamp_interface("pub", "ens2", policy::MssLimits{1400, 1380});
  book.settle("pub", hear);
  queue.drain();
  CHECK(told.empty());
  kernel.release_all();
  queue.drain();
  REQUIRE(told.size() == 2);
  CHECK_FALSE(told[0].ok());
  CHECK_FALSE(told[1].ok());
  REQUIRE(kernel.in("pub").packet_rules.sealed.empty());

  // The next round begins anew, and asks for what is missing.
  book.settle("pub", hear);
  queue.drain();
  REQUIRE(told.size() == 3);
  CHECK(told[2].ok());
  CHECK(kernel.in("pub").packet_rules.sealed.size() == 1);
}

TEST_CASE("packets: the orderly end leaves no rules") {
  World world(kClamped);
  world.set(mark);
  world.come_up();
  REQUIRE(!world.pub().packet_rules.empty());
  world.manager->begin_shutdown();
  world.run();
  world.manager->remove_all();
  CHECK(world.kernel.ours().empty());
}
