#include <doctest/doctest.h>

#include "tests/manager/manager_world.h"

// What a reload has removed, or configured otherwise, and that still ends: nothing brings it back, and whoever asks for
// it is told.

using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11}, kLate{0x22};

const TunnelText kA{.start = "traffic", .more = {{"dmz", "10.102.0.0/16"}}};
const TunnelText kElsewhere{.remote = "198.51.100.9", .start = "traffic", .more = {{"dmz", "10.102.0.0/16"}}};

/// Tunnel "a" is up with child "lan"; "dmz" waits for traffic.
struct World : ManagerWorld {
  explicit World(std::string offload = "none") : ManagerWorld(std::move(offload)) {
    start({kA});
    install(kIke, 0xa1);
    identity(kIke);
    REQUIRE(state() == "up");
  }
  /// What all verbs answer; the same for each.
  std::vector<Reason> answers(const std::string& child) {
    std::vector<Reason> reasons;
    const auto note = [&](const Status& status) {
      reasons.push_back(status.ok() ? Reason::kNone : status.error().reason());
    };
    manager->up(now, "a", child, note);
    manager->down(now, "a", child, note);
    manager->rekey(now, "a", child, agent::TunnelManager::RekeyTarget::kChildren, note);
    if (child.empty()) manager->rekey(now, "a", child, agent::TunnelManager::RekeyTarget::kIke, note);
    note(manager->pin_offload(now, "a", child, policy::OffloadPin::kNic, agent::OffloadBook::PinFor::kGood));
    run();
    return reasons;
  }
  void all_are(Reason reason, const std::string& child) {
    const auto reasons = answers(child);
    REQUIRE(reasons.size() == (child.empty() ? 5 : 4));
    for (const Reason each : reasons) CHECK(each == reason);
  }
  void end() {
    remove_child(kIke, 0xa1);
    ike_gone(kIke);
  }
};

}  // namespace

TEST_CASE("reload verbs: a tunnel that is not configured any more is refused, and goes") {
  World world;
  world.reconfigure({});
  world.all_are(Reason::kConfigNotInForce, "");
  world.all_are(Reason::kConfigNotInForce, "lan");
  CHECK(world.workers.initiations.empty());
  CHECK(world.workers.creations.empty());
  CHECK(world.workers.rekeys.empty());

  world.end();

  CHECK(world.manager->tunnels().empty());
  CHECK(world.priv().links.empty());
  world.all_are(Reason::kNotFound, "");
}

TEST_CASE("reload verbs: a tunnel that gives way to another one of its name is refused until that is there") {
  World world;
  world.reconfigure({kElsewhere});
  world.all_are(Reason::kConfigNotInForce, "");
  CHECK(world.workers.initiations.empty());

  world.end();
  std::optional<Status> outcome;
  world.manager->up(world.now, "a", "lan", [&](Status status) { outcome = std::move(status); });

  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(to_string(*world.workers.initiations[0].tunnel->remote) == "198.51.100.9");
  CHECK_FALSE(outcome.has_value());
}

TEST_CASE("reload verbs: a child that ends is refused, and the verbs for its tunnel pass over it") {
  World world;
  world.reconfigure({{.start = "traffic", .more = {{"dmz", "10.110.0.0/16"}}, .local = "10.4.0.0/16"}});
  REQUIRE(world.manager->tunnels().at("a").children.at("lan").leaving);  // up, with other traffic now
  world.all_are(Reason::kConfigNotInForce, "lan");

  world.manager->up(world.now, "a", "", [](const Status&) {});
  world.run();

  CHECK(world.manager->tunnels().at("a").children.at("lan").held_down);
  for (const auto& each : world.workers.creations) CHECK(each.child != "lan");
  world.remove_child(kIke, 0xa1);
  CHECK_FALSE(world.manager->tunnels().at("a").children.at("lan").leaving);
  CHECK(world.differences().empty());
}

TEST_CASE("reload verbs: without a child that stays a verb for the tunnel is refused") {
  ManagerWorld world;
  world.start({{.start = "traffic"}});
  world.install(kIke, 0xa1);
  world.identity(kIke);
  world.reconfigure({{.selector = "10.9.0.0/16", .start = "traffic"}});
  std::optional<Status> outcome;
  world.manager->up(world.now, "a", "", [&](Status status) { outcome = std::move(status); });
  REQUIRE(outcome.has_value());
  REQUIRE_FALSE(outcome->ok());
  CHECK(outcome->error().reason() == Reason::kConfigNotInForce);
}

TEST_CASE("reload verbs: whoever waits for the rekey of an IKE SA that leaves is told at once") {
  World world;
  std::optional<Status> outcome;
  world.manager->rekey(world.now, "a", "", agent::TunnelManager::RekeyTarget::kIke,
                       [&](Status status) { outcome = std::move(status); });
  world.reconfigure({});
  REQUIRE(outcome.has_value());
  CHECK_FALSE(outcome->ok());
}

TEST_CASE("reload verbs: traffic, a retry and the peer do not bring a leaving tunnel back") {
  World world;
  const policy::Acquire acquire = world.acquire_for();
  world.reconfigure({});
  world.kernel.emit(acquire);
  world.run();
  world.pass(10min);
  CHECK(world.workers.initiations.empty());
  CHECK(world.workers.creations.empty());

  // A child SA that the peer has asked for meanwhile.
  const auto spec = world.manager->installer().children().at(ike::ChildId(0xa1))->spec;
  world.act(ike::InstallInbound{.id = ike::AskId(77), .ike = kIke, .child = ike::ChildId(0xa7), .spec = spec});
  CHECK(world.last_answer().find("still ends") != std::string::npos);
}

TEST_CASE("reload verbs: an IKE SA that comes for a tunnel that has gone is closed, whoever began it") {
  World world;
  const auto tunnel = world.manager->tunnels().at("a").tunnel;
  world.reconfigure({});
  world.end();
  REQUIRE(world.manager->tunnels().empty());
  const size_t before = world.workers.closed_ikes.size();

  world.act(ike::IdentityEstablished{.ike = kLate, .tunnel = tunnel, .has_child = false});
  world.manager->on_initiated(world.now, 1, "a", "lan", ike::IkeSaId(0x33));

  REQUIRE(world.workers.closed_ikes.size() == before + 2);
  CHECK(world.workers.closed_ikes[before].ike == kLate);
  CHECK(world.workers.closed_ikes[before].reason == Reason::kConfigNotInForce);
  CHECK(world.workers.closed_ikes[before + 1].ike == ike::IkeSaId(0x33));
}
