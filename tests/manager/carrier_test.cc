#include <doctest/doctest.h>

#include <algorithm>

#include "agent/show/carriers_json.h"
#include "policy/plan_carriers.h"
#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

// Carriers between tunnels and kernel: what stands when, and which remote is used.

namespace {

constexpr ike::IkeSaId kNear{0x11}, kFar{0x12};

struct World : ManagerWorld {
  explicit World(const std::string& members = {}, const std::string& tunnels = R"(["a", "b"])") {
    group = R"("attachment": "policy")";
    carrier(members, tunnels);
  }
  void carrier(const std::string& members, const std::string& tunnels = R"(["a", "b"])") {
    top = R"(, "defaults": { "child_policy": "host" }, "carriers": { "wire": { "protected_by": )" + tunnels +
          R"(, "private": { "netns": "priv", "vrf": "red" }, "routes": [{ "prefix": "10.7.0.0/16" }])" + members +
          "} }";
  }
  std::vector<TunnelText> tunnels(const std::string& start = "respond") const {
    return {{.name = "a",
             .remote = "198.51.100.7",
             .selector = "198.51.100.7[gre]",
             .start = start,
             .local = "192.0.2.1[gre]"},
            {.name = "b", .remote = "198.51.100.8", .selector = "198.51.100.8", .start = start, .local = "192.0.2.1"}};
  }
  void begin(const std::string& start = "respond") {
    ManagerWorld::start(tunnels(start));
    run();
  }
  void near_up(uint32_t child = 0xc1) {
    install(kNear, child, "a");
    identity(kNear, true, "a");
    run();
  }
  void far_up(uint32_t child = 0xd1) {
    install(kFar, child, "b");
    identity(kFar, true, "b");
    run();
  }
  void near_down(uint32_t child = 0xc1) {
    remove_child(kNear, child, "a");
    run();
  }
  void far_down(uint32_t child = 0xd1) {
    remove_child(kFar, child, "b");
    run();
  }
  const agent::CarrierRow& row() const { return manager->carriers().rows().at("wire"); }
  std::string state() const { return std::string(agent::Carriers::state_of(row())); }
  std::string remote() {
    const auto link = priv().links.find("ipsg-wire");
    return link == priv().links.end() ? "none" : to_string(link->second.config.tunnel_remote);
  }
  bool dormant() { return priv().links.at("ipsg-wire").config.dormant; }
  Texts routes() {
    Texts texts;
    for (const auto& [key, each] : priv().routes)
      texts.push_back(to_string(key.destination) + " " + std::to_string(key.metric));
    return texts;
  }
  /// Remotes to which GRE is blocked, outbound.
  Texts blocks() {
    Texts texts;
    for (const auto& [key, each] : pub().policies)
      if (each.config.action == policy::PolicyAction::kBlock && key.direction == policy::Direction::kOut)
        texts.push_back(to_string(key.destination) + " " + std::to_string(key.protocol));
    return texts;
  }
  size_t drift() {
    size_t rows = 0;
    for (const auto& each : drift_now(*manager, now)) rows += each.rows->size();
    return rows;
  }
  size_t switches() const { return events_of(Reason::kCarrierSwitched).size(); }
};

const Texts kBothBlocked{"198.51.100.7/32 47", "198.51.100.8/32 47"};
/// IPv4, IPv6, MPLS.
const Texts kEachInside{"198.51.100.8/32 4", "198.51.100.8/32 41", "198.51.100.8/32 137"};

}  // namespace

TEST_CASE("carrier: blocks stand before the interface, which waits for a tunnel; routes come and go with that") {
  World world;
  world.begin();
  CHECK(world.blocks() == kBothBlocked);
  CHECK(world.remote() == "198.51.100.7");
  CHECK(world.dormant());
  CHECK(world.state() == "down");
  CHECK(world.routes().empty());
  CHECK(world.asked_at("add-policy") < world.asked_at("add-link"));

  world.near_up();
  CHECK(world.state() == "up");
  CHECK_FALSE(world.dormant());
  CHECK(world.routes() == Texts{"10.7.0.0/16 100"});
  CHECK(world.drift() == 0);
  CHECK(world.events_of(Reason::kCarrierUp).size() == 1);

  world.near_down();
  CHECK(world.state() == "down");
  CHECK(world.routes().empty());
  CHECK(world.blocks() == kBothBlocked);
  CHECK(world.events_of(Reason::kCarrierDown).size() == 1);
}

TEST_CASE("carrier: its backup takes over in place, and the preferred remote comes back when it has held") {
  World world(R"(, "hold_down": "10s")");
  world.begin();
  world.near_up();
  world.far_up();
  CHECK(world.remote() == "198.51.100.7");
  world.kernel.forget_texts();
  world.near_down();
  CHECK(world.remote() == "198.51.100.8");
  CHECK(world.state() == "up");
  CHECK(world.switches() == 1);
  for (const std::string& text : world.kernel.texts())
    for (const char* part : {"add-link", "delete-link", "route"}) CHECK(text.find(part) == std::string::npos);
  world.near_up(0xc2);
  world.pass(9999ms);
  CHECK(world.remote() == "198.51.100.8");
  REQUIRE(world.manager->next_deadline());
  CHECK(*world.manager->next_deadline() <= world.now + 1ms);
  world.pass(1ms);
  world.run();
  CHECK(world.remote() == "198.51.100.7");
  CHECK(world.switches() == 2);
  CHECK(world.drift() == 0);
  CHECK(world.events_of(Reason::kCarrierDown).empty());
}

TEST_CASE("carrier: one whose tunnels wait for traffic is not dormant, and has idle routes") {
  World world;
  world.begin("traffic");
  CHECK(world.state() == "idle");
  CHECK_FALSE(world.dormant());
  CHECK(world.routes() == Texts{"10.7.0.0/16 300"});
  world.near_up();
  CHECK(world.state() == "up");
  CHECK(world.routes() == Texts{"10.7.0.0/16 100"});
}

TEST_CASE("carrier: a child to which the peer has agreed only in part does not protect it") {
  World world({}, R"(["b"])");
  world.narrowed["b"] = "198.51.100.8[tcp]";
  world.begin();
  world.far_up();
  CHECK(world.state() == "down");
  CHECK(world.routes().empty());
}

TEST_CASE("carrier: without its blocks there is no interface; they are asked for again") {
  World world({}, R"(["a"])");
  const auto config = [&] {
    World same({}, R"(["a"])");
    same.begin();
    return same.row().carrier;
  }();
  const auto blocks = policy::plan_carrier_blocks(*config, config->paths[0]);
  REQUIRE(blocks.ok());
  for (const policy::PolicyConfig& each : *blocks)
    world.pub().policies.emplace(each.key, FakeKernel::Policy{.config = each, .maker = Maker::kForeign});
  world.begin();
  CHECK(world.remote() == "none");
  CHECK(world.state() == "failed");
  CHECK(world.row().last_reason == Reason::kKernelConflict);
  world.pass(3s);
  CHECK(world.remote() == "none");
  CHECK(world.events_of(Reason::kKernelConflict).size() == 1);
  world.pub().policies.clear();
  world.pass(3s);
  world.run();
  CHECK(world.remote() == "198.51.100.7");
}

TEST_CASE("carrier: IPv6 in IPv4 is sealed before there is an interface, and until it has gone") {
  World world(R"(, "kind": "ipip")", R"(["b"])");
  const auto sealed = [&] { return world.pub().packet_rules.sealed.size(); };
  policy::PacketRules foreign;
  foreign.interfaces["theirs"] = {1400, 1380};
  SUBCASE("as it is wanted") {}
  SUBCASE("where there is no place for rules it waits") {
    world.kernel.put_foreign("pub", foreign);
    world.begin();
    CHECK(world.remote() == "none");
    CHECK(world.state() == "failed");
    world.pub().packet_rules = {};
    world.pub().rules_maker = Maker::kOurs;
    world.pass(3s);
    world.run();
    CHECK(world.remote() == "198.51.100.8");
    CHECK(sealed() == 1);
    return;
  }
  world.begin();
  CHECK(world.remote() == "198.51.100.8");
  CHECK(sealed() == 1);
  CHECK(world.drift() == 0);
  world.restart(world.tunnels());
  world.run();
  CHECK(sealed() == 1);

  world.carrier(R"(, "kind": "ipip")", R"(["a", "b"])");
  world.reconfigure({{.name = "a", .remote = "198.51.100.7", .selector = "198.51.100.7", .local = "192.0.2.1"},
                     {.name = "b", .remote = "198.51.100.8", .selector = "198.51.100.8", .local = "192.0.2.1"}});
  world.run();
  world.run();
  CHECK(sealed() == 2);
  // GRE asks policies itself.
  world.carrier({}, R"(["b"])");
  world.reconfigure(world.tunnels());
  world.run();
  world.run();
  CHECK(sealed() == 0);
}

TEST_CASE("carrier: at the end its pairs are sealed until the interface has gone, whichever namespace is first") {
  World world(R"(, "kind": "ipip")", R"(["b"])");
  world.begin();
  world.kernel.forget_texts();
  world.kernel.hurry("pub");
  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.run();
  CHECK(world.asked_at("set-rules") < world.kernel.texts().size());
  CHECK(world.asked_at("delete-link") < world.asked_at("set-rules"));
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("carrier: one that moves to another public namespace leaves no seal behind") {
  World world(R"(, "kind": "ipip")", R"(["b"])");
  world.begin();
  REQUIRE(world.pub().packet_rules.sealed.size() == 1);
  world.kernel.add_namespace("pub2").devices["ens1"] = {};
  world.public_netns = "pub2";
  world.reconfigure(world.tunnels());
  for (int i = 0; i < 3; ++i) world.pass(3s);
  CHECK(world.remote() == "198.51.100.8");
  CHECK(world.kernel.in("pub2").packet_rules.sealed.size() == 1);
  CHECK(world.pub().packet_rules.empty());
}

TEST_CASE("carrier: what another one still needs sealed stays sealed when this one leaves it") {
  World world(R"(, "kind": "ipip")", R"(["b"])");
  const std::vector<TunnelText> tunnels{
      {.name = "a", .remote = "198.51.100.7", .selector = "198.51.100.7", .local = "192.0.2.1"},
      {.name = "b", .remote = "198.51.100.8", .selector = "198.51.100.8", .local = "192.0.2.1"}};
  const auto settled = [&] {
    world.reconfigure(tunnels);
    for (int i = 0; i < 3; ++i) world.pass(3s);
  };
  SUBCASE("with its name") {
    world.begin();
    world.kernel.forget_texts();
    world.top.replace(world.top.find("wire"), 4, "cord");
    settled();
    CHECK(world.manager->carriers().rows().contains("cord"));
    CHECK(world.pub().packet_rules.sealed.size() == 1);
  }
  SUBCASE("with its backup") {
    world.carrier(R"(, "kind": "ipip")", R"(["a", "b"])");
    world.start(tunnels);
    world.run();
    REQUIRE(world.pub().packet_rules.sealed.size() == 2);
    world.kernel.forget_texts();
    world.carrier(R"(, "kind": "ipip" }, "cord": { "kind": "ipip", "protected_by": ["b"],
                       "private": { "netns": "priv", "vrf": "red" } )",
                  R"(["a"])");
    settled();
    CHECK(world.pub().packet_rules.sealed.size() == 2);
  }
  CHECK(world.manager->carriers().rows().size() == world.priv().links.size());
  for (const std::string& text : world.kernel.texts()) {
    CHECK_FALSE(text.starts_with("set-rules"));
    CHECK_FALSE(text.starts_with("change-rules"));
  }
  CHECK(world.drift() == 0);
  world.top = R"(, "defaults": { "child_policy": "host" })";
  settled();
  CHECK(world.pub().packet_rules.empty());
}

TEST_CASE("carrier: of former ends nothing is kept when as many are new") {
  World world(R"(, "kind": "ipip")", R"(["a"])");
  const std::vector<TunnelText> tunnels{
      {.name = "a", .remote = "198.51.100.7", .selector = "198.51.100.7", .local = "192.0.2.1"},
      {.name = "b", .remote = "198.51.100.8", .selector = "198.51.100.8", .local = "192.0.2.1"}};
  world.start(tunnels);
  world.run();
  world.carrier(R"(, "kind": "ipip")", R"(["b"])");
  world.reconfigure(tunnels);
  world.run();
  world.run();
  CHECK(world.remote() == "198.51.100.8");
  const auto& sealed = world.pub().packet_rules.sealed;
  REQUIRE(sealed.size() == 1);
  CHECK(to_string(sealed.begin()->remote) == "198.51.100.8");
  CHECK(world.blocks() == kEachInside);
}

TEST_CASE("carrier: the MTU is that of the path, less ESP and its own header, and the least of both remotes") {
  World world(R"(, "key": 7)");
  world.begin();
  world.near_up();
  world.far_up();
  const auto transport = [&](const std::string& tunnel) {
    return world.manager->tunnels().at(tunnel).children.at("lan").mtu.bytes;
  };
  const uint32_t least = std::min(transport("a"), transport("b"));
  CHECK(world.row().mtu.bytes == least - 28);
  CHECK(world.priv().links.at("ipsg-wire").config.mtu == least - 28);
}

TEST_CASE("carrier: what changes in place does, and what cannot is made anew") {
  World world;
  world.begin();
  world.near_up();
  world.kernel.forget_texts();
  world.carrier(R"(, "key": 9, "addresses": ["10.255.0.1/30"])", R"(["a"])");
  world.reconfigure(world.tunnels());
  world.run();
  world.run();
  CHECK(world.priv().links.at("ipsg-wire").config.tunnel_key == 9);
  CHECK(world.priv().links.at("ipsg-wire").config.addresses.size() == 1);
  CHECK(world.blocks().empty());  // the tunnel that is up has its policy in the place of the only one
  for (const std::string& text : world.kernel.texts()) CHECK_FALSE(text.starts_with("delete-link"));
  CHECK(world.state() == "up");

  world.carrier(R"(, "kind": "ipip")", R"(["b"])");
  world.reconfigure(world.tunnels());
  world.run();
  world.run();
  CHECK(world.priv().links.at("ipsg-wire").config.kind == policy::LinkKind::kIpIp);
  CHECK(world.blocks() == kEachInside);
  world.top = R"(, "defaults": { "child_policy": "host" })";
  world.reconfigure(world.tunnels());
  world.run();
  CHECK(world.remote() == "none");
  CHECK(world.blocks().empty());
  CHECK(world.manager->carriers().rows().empty());
  CHECK(world.routes().empty());
}

TEST_CASE("carrier: a killed daemon's interface goes on, with the remote that it had") {
  World world;
  world.begin();
  world.near_up();
  world.far_up();
  world.near_down();
  REQUIRE(world.remote() == "198.51.100.8");
  world.kernel.forget_texts();
  world.restart(world.tunnels());
  world.run();
  CHECK(world.remote() == "198.51.100.8");
  CHECK(world.state() == "up");  // what the killed one has left carries it
  CHECK(world.routes() == Texts{"10.7.0.0/16 100"});
  CHECK(world.blocks() == kBothBlocked);
  for (const std::string& text : world.kernel.texts()) CHECK_FALSE(text.starts_with("delete"));
  world.carrier({}, R"(["a"])");
  world.restart(world.tunnels());
  world.run();
  CHECK(world.remote() == "198.51.100.7");  // made anew: its other end is nobody's any more
}

TEST_CASE("carrier: an interface that others remove is made again, with its routes") {
  World world;
  world.begin();
  world.near_up();
  world.priv().links.erase("ipsg-wire");
  std::erase_if(world.priv().routes, [](const auto&) { return true; });
  world.manager->look_after(world.now, {"priv", "pub"});
  world.pass(61s);
  world.pass(1s);
  CHECK(world.remote() == "198.51.100.7");
  CHECK(world.routes() == Texts{"10.7.0.0/16 100"});
  CHECK(world.drift() == 0);
}

TEST_CASE("carrier: at the end the interface goes before what keeps it from leaking") {
  World world;
  world.begin();
  world.near_up();
  world.kernel.forget_texts();
  world.manager->begin_shutdown();
  world.manager->remove_all();
  world.run();
  CHECK(world.asked_at("delete-link") < world.kernel.texts().size());
  CHECK(world.asked_at("delete-link") < world.asked_at("delete-policy"));
  CHECK(world.remote() == "none");
  CHECK(world.blocks().empty());
  CHECK(world.routes().empty());
}

TEST_CASE("carrier: its row says which tunnel protects it, and when the preferred one will again") {
  World world(R"(, "hold_down": "10s", "key": 7, "addresses": ["10.255.0.1/30"], "peers": ["10.255.0.2"])");
  world.begin();
  world.near_up();
  world.far_up();
  world.near_down();
  world.near_up(0xc2);
  const auto row = agent::carrier_rows(world.manager->carriers(), world.now).at(0);
  CHECK(row["state"] == "up");
  CHECK(row["tunnel"] == "b");
  CHECK(row["paths"] == nlohmann::json{"a 198.51.100.7 up", "b 198.51.100.8 up"});
  CHECK(row["back_in_seconds"] == 10);
  CHECK(row["addresses"] == nlohmann::json::array({"10.255.0.1/30"}));
  CHECK(row["routes"] == nlohmann::json::array({"10.7.0.0/16 metric 100"}));
  CHECK(row["last_reason"].is_null());
  const auto counts = agent::carrier_counts(world.manager->carriers());
  CHECK(counts["up"] == 1);
  CHECK_FALSE(agent::lacks_carriers(counts));
  world.far_down();
  world.near_down(0xc2);
  CHECK(agent::lacks_carriers(agent::carrier_counts(world.manager->carriers())));
}

TEST_CASE("carrier: one that is disabled has no interface, until it is enabled") {
  World world(R"(, "enabled": false)");
  world.begin();
  world.near_up();
  CHECK(world.state() == "disabled");
  CHECK(world.remote() == "none");
  CHECK(world.blocks().empty());
  world.carrier(R"(, "enabled": true)");
  world.reconfigure(world.tunnels());
  world.run();
  world.run();
  CHECK(world.state() == "up");
  world.carrier(R"(, "enabled": false)");
  world.reconfigure(world.tunnels());
  world.run();
  CHECK(world.state() == "disabled");
  CHECK(world.remote() == "none");
}

TEST_CASE("carrier: without the public namespace there is no interface until its blocks are back") {
  World world;
  world.begin();
  world.near_up();
  world.manager->look_after(world.now, {"priv", "pub"});
  world.run();
  world.kernel.remove_namespace("pub");
  world.kernel.emit(policy::NamespaceGone{.netns = "pub"});
  world.run();
  world.pass(3s);
  CHECK(world.remote() == "none");
  world.kernel.add_namespace("pub").devices["ens1"] = {};
  world.pass(3s);
  world.run();
  CHECK(world.remote() == "198.51.100.7");
  CHECK(world.blocks() == Texts{"198.51.100.8/32 47"});  // the other end is what the tunnel protects
}
