#include <doctest/doctest.h>

#include <algorithm>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

// Tunnels without an interface, and what stands around tunnels of either kind: exceptions and blocks.

namespace {

constexpr ike::IkeSaId kIke{0x11}, kOther{0x22};
const char* const kByPolicy = R"("attachment": "policy")";
const char* const kBlocked = R"("attachment": "policy", "default_block": true)";
const char* const kByInterface = R"("private": { "netns": "priv", "vrf": "red" })";

const TunnelText kB{.name = "b", .remote = "198.51.100.8", .selector = "10.2.1.0/24"};

struct World : ManagerWorld {
  explicit World(std::string members = kByPolicy) { group = std::move(members); }
  /// The policies of the public namespace as "DIRECTION TO KIND".
  Texts policies() {
    Texts texts;
    for (const auto& [key, each] : pub().policies)
      texts.push_back(std::string(to_string(key.direction)) + " " + to_string(key.destination) +
                      (each.config.has_template                             ? " esp"
                       : each.config.action == policy::PolicyAction::kBlock ? " block"
                                                                            : " bypass"));
    std::sort(texts.begin(), texts.end());
    return texts;
  }
  size_t drift() {
    size_t rows = 0;
    for (const auto& each : drift_now(*manager, now)) rows += each.rows->size();
    return rows;
  }
  void reconfigure_as(const std::string& members, const std::vector<TunnelText>& tunnels) {
    group = members;
    reconfigure(tunnels);
  }
};

/// Why the last InstallInbound was refused.
Reason refusal(const World& world) {
  const auto* refused = std::get_if<ike::Refused>(&world.workers.answers.back().value);
  return refused != nullptr ? refused->error.reason() : Reason::kNone;
}

}  // namespace

TEST_CASE("attached by policy: SAs and policies stand in the public namespace, and nothing else anywhere") {
  World world;
  world.start({{}});
  CHECK(world.kernel.ours().empty());
  CHECK(world.state() == "down");

  world.install(kIke, 0xc1);
  world.identity(kIke);

  CHECK(world.state() == "up");
  CHECK(world.policies() == Texts{"fwd 10.1.0.0/16 esp", "in 10.1.0.0/16 esp", "out 10.2.0.0/16 esp"});
  for (const auto& [key, policy] : world.pub().policies) CHECK(key.if_id == 0);
  for (const auto& [key, sa] : world.pub().sas) CHECK(sa.state.if_id == 0);
  CHECK(world.priv().empty());
  CHECK(world.pub().links.empty());
  CHECK(world.pub().routes.empty());
  CHECK(world.differences().empty());

  world.remove_child(kIke, 0xc1);
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("attached by policy: a child of start now begins at once, and a packet raises one that waits") {
  World world;
  world.start(
      {{.start = "now"}, {.name = "b", .remote = "198.51.100.8", .selector = "10.3.0.0/16", .start = "traffic"}});
  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(world.workers.initiations[0].tunnel->name == "a");
  CHECK(world.policies() == Texts{"out 10.3.0.0/16 esp"});

  world.kernel.emit(world.acquire_for("b"));
  world.run();

  REQUIRE(world.workers.initiations.size() == 2);
  CHECK(world.workers.initiations[1].tunnel->name == "b");
}

TEST_CASE("attached by policy: the question of another daemon that counts reqids as we do is not ours") {
  World world;
  world.start({{.start = "traffic"}});
  policy::Acquire foreign = world.acquire_for();
  foreign.policy.source = IpPrefix::parse("10.77.0.0/16").value();

  world.kernel.emit(foreign);
  world.run();

  CHECK(world.workers.initiations.empty());
  CHECK(world.counters.get(Reason::kAcquireForeign) == 1);
}

TEST_CASE("attached by policy: a rekey changes no policy") {
  World world;
  world.start({{}});
  world.install(kIke, 0xc1);
  world.identity(kIke);
  const Texts before = world.policies();
  world.kernel.forget_texts();

  world.inbound({.ike = kIke, .id = 0xc2, .replaces = 0xc1});
  world.outbound({.ike = kIke, .id = 0xc2, .replaces = 0xc1});
  world.stop_outbound({.ike = kIke, .id = 0xc1});
  world.remove({.ike = kIke, .id = 0xc1}, Reason::kReplaced);

  CHECK(world.kernel.texts() == Texts{"add-sa in 0x000000c2 software", "add-sa out 0x000010c2 software",
                                      "delete-sa 0x000010c1", "delete-sa 0x000000c1"});
  CHECK(world.policies() == before);
  CHECK(world.state() == "up");
}

TEST_CASE("attached by policy: what others remove is put right, selectors of everything included") {
  World world;
  world.start({{.selector = "0.0.0.0/0", .local = "0.0.0.0/0"}});
  world.manager->look_after(world.now, {"pub"});
  world.install(kIke, 0xc1);
  world.identity(kIke);
  world.pass(5s);
  CHECK(world.drift() == 0);

  world.kernel.flush_policies("pub");
  world.kernel.emit(policy::PolicyDisturbed{.netns = "pub", .key = {}});
  world.pass(1s);

  CHECK(world.policies() == Texts{"fwd 0.0.0.0/0 esp", "in 0.0.0.0/0 esp", "out 0.0.0.0/0 esp"});
  CHECK(world.drift() == 0);
}

TEST_CASE("attached by policy: a tunnel that is narrowed to another one's selectors is refused, and disturbs nothing") {
  World world;
  world.start({{}, kB});
  world.install(kOther, 0xb1, "b");
  world.identity(kOther, true, "b");
  const Texts before = world.kernel.ours();

  world.narrowed["a"] = "10.2.1.0/24";
  world.install_inbound(kIke, 0xc1);

  CHECK(refusal(world) == Reason::kPolicyTaken);
  CHECK(world.last_answer().find("is held by tunnel b") != std::string::npos);
  CHECK(world.kernel.ours() == before);
  CHECK(world.state("b") == "up");
  // As soon as the other one has left it, it is to be had.
  world.remove_child(kOther, 0xb1, "b");
  world.install(kIke, 0xc2);
  CHECK(world.last_answer() == "installed");
  CHECK(world.differences().empty());
}

TEST_CASE("attached by policy: the way of attachment is changed by an end and a beginning") {
  World world;
  world.start({{.start = "traffic"}});
  world.install(kIke, 0xc1);
  world.identity(kIke);

  world.reconfigure_as(kByInterface, {{.start = "traffic"}});
  world.remove_child(kIke, 0xc1);
  world.ike_gone(kIke);

  CHECK(world.priv().links.size() == 1);
  REQUIRE(world.pub().policies.size() == 1);
  CHECK(world.pub().policies.begin()->first.if_id != 0);
  CHECK(world.priv().routes.size() == 1);

  world.reconfigure_as(kByPolicy, {{.start = "traffic"}});
  CHECK(world.priv().empty());
  REQUIRE(world.pub().policies.size() == 1);
  CHECK(world.pub().policies.begin()->first.if_id == 0);
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("blocks by policy: what a child covers is blocked before, and again after, and never without a policy") {
  World world(kBlocked);
  world.start({{}});
  const Texts blocks{"fwd 10.1.0.0/16 block", "in 10.1.0.0/16 block", "out 10.2.0.0/16 block"};
  CHECK(world.policies() == blocks);
  CHECK(world.state() == "down");
  world.kernel.forget_texts();

  world.install(kIke, 0xc1);
  world.identity(kIke);
  CHECK(world.policies() == Texts{"fwd 10.1.0.0/16 esp", "in 10.1.0.0/16 esp", "out 10.2.0.0/16 esp"});
  world.remove_child(kIke, 0xc1);

  CHECK(world.policies() == blocks);
  for (const std::string& each : world.kernel.texts()) CHECK_MESSAGE(!each.starts_with("delete-policy"), each);
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("blocks by policy: what IKE left out of a child stays blocked") {
  World world(kBlocked);
  world.narrowed["a"] = "10.2.1.0/24";
  world.start({{.start = "traffic"}});
  CHECK(world.policies() == Texts{"fwd 10.1.0.0/16 block", "in 10.1.0.0/16 block", "out 10.2.0.0/16 esp"});  // the trap

  world.install(kIke, 0xc1);

  CHECK(world.policies() == Texts{"fwd 10.1.0.0/16 block", "fwd 10.1.0.0/16 esp", "in 10.1.0.0/16 block",
                                  "in 10.1.0.0/16 esp", "out 10.2.0.0/16 esp", "out 10.2.1.0/24 esp"});
}

TEST_CASE("blocks by policy: another tunnel cannot take them over") {
  World world(kBlocked);
  world.narrowed["a"] = "10.2.1.0/24";
  world.start({{}, kB});
  world.install_inbound(kIke, 0xc1);
  CHECK(refusal(world) == Reason::kPolicyTaken);
}

TEST_CASE("blocks by policy: a child that leaves the configuration takes its block along") {
  World world(kBlocked);
  world.start({{.more = {{"dmz", "10.9.0.0/16"}}}});
  CHECK(world.policies().size() == 6);
  world.reconfigure({{}});
  CHECK(world.policies() == Texts{"fwd 10.1.0.0/16 block", "in 10.1.0.0/16 block", "out 10.2.0.0/16 block"});
  world.reconfigure({});
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("blocks by interface: a route that leads nowhere stands beside the tunnel's own, up or down") {
  World world(std::string(kByInterface) + R"(, "default_block": true)");
  world.start({{}});
  const std::string nowhere = "add-route 10.2.0.0/16 unreachable metric 4294967294";
  CHECK(std::count(world.kernel.texts().begin(), world.kernel.texts().end(), nowhere) == 1);
  REQUIRE(world.priv().routes.size() == 1);

  world.install(kIke, 0xc1);
  CHECK(world.priv().routes.size() == 2);
  world.remove_child(kIke, 0xc1);

  CHECK(world.priv().routes.size() == 1);
  world.manager->look_after(world.now, {"pub", "priv"});
  world.pass(5s);
  CHECK(world.drift() == 0);
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("exceptions: they stand with the group, come and go with the configuration, and disturb no tunnel") {
  const auto with = [](const std::string& exceptions) {
    return std::string(kByPolicy) + R"(, "exceptions": [)" + exceptions + "]";
  };
  const std::string bypass = R"({ "remote": ["10.2.9.0/24"], "local": ["10.1.0.0/16"], "action": "bypass" })";
  const std::string discard = R"({ "remote": ["10.2.8.0/24"], "local": ["10.1.0.0/16"], "action": "discard" })";
  World world(with(bypass));
  world.start({{}});
  CHECK(world.policies() == Texts{"fwd 10.1.0.0/16 bypass", "in 10.1.0.0/16 bypass", "out 10.2.9.0/24 bypass"});
  world.install(kIke, 0xc1);
  world.identity(kIke);

  world.reconfigure_as(with(discard + "," + bypass), {{}});

  CHECK(world.policies().size() == 9);
  CHECK(world.state() == "up");
  CHECK(world.workers.closed_ikes.empty());
  for (const auto& [key, each] : world.pub().policies) {
    if (key.destination == IpPrefix::parse("10.2.8.0/24").value()) CHECK(each.config.priority == 1024);
    if (key.destination == IpPrefix::parse("10.2.9.0/24").value()) CHECK(each.config.priority == 1025);
  }
  world.manager->look_after(world.now, {"pub"});
  world.pass(5s);
  CHECK(world.drift() == 0);
  world.reconfigure_as(kByPolicy, {{}});
  CHECK(world.policies().size() == 3);
  world.manager->remove_all();
  world.run();
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("blocks by policy: what is configured otherwise is blocked without a gap") {
  World world(kBlocked);
  world.start({{}});
  world.install(kIke, 0xc1);
  world.identity(kIke);
  world.kernel.forget_texts();
  const auto never_lifted = [&](const std::string& what) {
    CAPTURE(what);
    for (const std::string& each : world.kernel.texts()) CHECK_MESSAGE(!each.starts_with("delete-policy"), each);
    CHECK(world.policies() == Texts{"fwd 10.1.0.0/16 block", "in 10.1.0.0/16 block", "out 10.2.0.0/16 block"});
    CHECK(world.drift() == 0);
  };

  world.reconfigure({{.remote = "198.51.100.9"}});
  world.remove_child(kIke, 0xc1);
  world.ike_gone(kIke);

  REQUIRE(to_string(*world.manager->tunnels().at("a").tunnel->remote) == "198.51.100.9");
  never_lifted("another tunnel of the name");
  world.reconfigure({{.remote = "198.51.100.9", .more = {{"dmz", "10.9.0.0/16"}}}});
  world.reconfigure({{.remote = "198.51.100.9"}});
  CHECK(world.policies().size() == 3);
}

TEST_CASE("exceptions: neighbour discovery passes where anything of IPv6 is covered, and only there") {
  World world(R"("attachment": "policy")");
  const TunnelText v6{.selector = "fd00:2::/64", .local = "fd00:1::/64"};
  world.start({{}});
  CHECK(world.policies().empty());

  world.reconfigure({{}, {.name = "b", .remote = v6.remote, .selector = v6.selector, .local = v6.local}});
  CHECK(world.policies().size() == 6);  // 133, 134 and 135, 136 and 137; in and out
  for (const auto& [key, each] : world.pub().policies) {
    CHECK(key.protocol == 58);
    CHECK(key.source_port >= 133);
    CHECK(key.source_port + (0xffff ^ key.source_port_mask) <= 137);
    CHECK(each.config.priority < policy::kExceptionPriority);
  }
  world.manager->look_after(world.now, {"pub"});
  world.pass(5s);
  CHECK(world.drift() == 0);

  world.reconfigure({{}});
  CHECK(world.kernel.ours().empty());
}

TEST_CASE("blocks: after a kill they are never lifted, whatever of the tunnel was up") {
  for (const bool by_policy : {true, false}) {
    CAPTURE(by_policy);
    World world(by_policy ? kBlocked : std::string(kByInterface) + R"(, "default_block": true)");
    world.start({{}});
    const Texts idle = world.kernel.ours();
    world.install(kIke, 0xc1);
    world.identity(kIke);
    world.orphan_grace = Duration{0};
    world.kernel.forget_texts();

    world.restart({{}});
    world.run();

    for (const std::string& each : world.kernel.texts()) {
      if (by_policy) CHECK_MESSAGE(!each.starts_with("delete-policy"), each);
      CHECK_MESSAGE(!each.starts_with("delete-route 10.2.0.0/16 unreachable"), each);
    }
    CHECK(world.pub().sas.empty());
    if (by_policy) CHECK(world.kernel.ours() == idle);
    if (!by_policy) CHECK(world.priv().routes.size() == 1);
    world.manager->look_after(world.now, {"pub", "priv"});
    world.pass(5s);
    CHECK(world.drift() == 0);
  }
}

TEST_CASE("blocks: after a kill they are not gone for a moment, and the SAs carry on") {
  for (const std::string attachment : {"policy", "interface"}) {
    CAPTURE(attachment);
    World world(attachment == "policy" ? kBlocked : std::string(kByInterface) + R"(, "default_block": true)");
    world.start({{}});
    world.install(kIke, 0xc1);
    world.identity(kIke);
    REQUIRE(world.state() == "up");
    world.kernel.forget_texts();

    world.restart({{}});

    for (const std::string& text : world.kernel.texts()) {
      CAPTURE(text);
      CHECK_FALSE(text.starts_with("delete-policy"));
      CHECK_FALSE(text.starts_with("delete-route"));
    }
    CHECK(world.manager->orphans().sas() == 2);
    CHECK(world.pub().sas.size() == 2);
    world.manager->look_after(world.now, {"pub", "priv"});
    world.pass(5s);
    CHECK(world.drift() == 0);
    if (attachment == "interface") CHECK(world.priv().routes.size() == 2);
  }
}
