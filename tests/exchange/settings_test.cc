#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/engine_world.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

size_t sent_by(World& world, const Host& from, Duration during) {
  size_t count = 0;
  world.lose = [&](const Flight& flight) {
    if (flight.to != &from) ++count;
    return false;
  };
  world.run_for(during);
  world.lose = nullptr;
  return count;
}

}  // namespace

TEST_CASE("initial contact: is said when the shell knows of no other IKE SA, and told to the other side's shell") {
  LEDGER("2.4-02");
  for (Contact contact : {Contact::kInitial, Contact::kFurther}) {
    for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
      World world({.handover = handover});
      world.initiate("lan", contact);
      world.deliver_all();
      REQUIRE(world.b.established.size() == 1);
      CHECK(world.b.established.front().initial_contact == (contact == Contact::kInitial));
    }
  }
}

TEST_CASE("childless: an IKE SA stands without a child where both sides take that, and gets children later") {
  using enum policy::ChildlessPolicy;
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    World world({.handover = handover, .childless_a = kAllow, .childless_b = kAllow});
    const IkeSaId ike = world.initiate("");
    world.deliver_all();
    CHECK(world.a.state() == "established");
    CHECK(world.b.state() == "established");
    CHECK(world.a.inbound.empty());
    REQUIRE(world.a.engine().create_child(world.now, ike, "lan").ok());
    world.deliver_all();
    CHECK(world.is_up_and_equal());
  }
}

TEST_CASE("childless: where it is forced the first child comes in an exchange of its own, with its own key exchange") {
  using enum policy::ChildlessPolicy;
  World world({.esp_proposals_a = "aes256gcm16-x25519", .pfs_a = true, .pfs_b = true, .childless_a = kForce});
  world.initiate();
  world.deliver_all();
  CHECK(world.is_up_and_equal());
  REQUIRE(world.a.established.size() == 1);
  CHECK(world.a.established.front().has_child);
}

TEST_CASE("childless: a side that does not take it ends the set-up, and says why") {
  using enum policy::ChildlessPolicy;
  World wants({.childless_a = kForce, .childless_b = kRefuse});
  wants.initiate();
  wants.run_for(10s);
  CHECK(wants.a.state() == "none");
  CHECK(wants.a.reported(Reason::kChildlessRefused));

  World asks({.childless_a = kRefuse});
  const auto path = Path{.context = SocketContext(0),
                         .local = {*asks.a.tunnel->local_address(), 500},
                         .remote = {*asks.a.tunnel->remote, 500}};
  CHECK_FALSE(asks.a.engine().initiate(asks.now, asks.a.tunnel, "", path).ok());
}

TEST_CASE("liveness: in reply-only mode nothing is asked, and what the peer asks is answered") {
  World world({.child_lifetime = std::chrono::hours(40), .rekey = false, .dpd_mode = policy::DpdMode::kReplyOnly});
  world.initiate();
  world.deliver_all();
  CHECK(sent_by(world, world.a, 600s) == 0);
  world.b.engine().check_liveness(world.now, world.b.ike());
  CHECK(sent_by(world, world.a, 1s) == 1);
}

TEST_CASE("liveness: a dead peer is given up after as many tries as configured") {
  LEDGER("2.4-04");
  for (uint8_t tries : {uint8_t{1}, uint8_t{3}}) {
    World world({.child_lifetime = std::chrono::hours(40), .rekey = false, .dpd_tries = tries});
    world.initiate();
    world.deliver_all();
    world.lose = [](const Flight&) { return true; };
    size_t sent = 0;
    world.lose = [&](const Flight& flight) {
      if (flight.to == &world.b) ++sent;
      return true;
    };
    world.run_for(100s);
    CHECK(sent == tries);
    CHECK(world.a.state() == "none");
    CHECK(world.a.reported(Reason::kPeerUnreachable));
  }
}

namespace {

/// The tunnel of a host with another liveness interval and child lifetime.
std::shared_ptr<const policy::Tunnel> changed(const Host& host) {
  auto tunnel = std::make_shared<policy::Tunnel>(*host.tunnel);
  auto ike_policy = std::make_shared<policy::IkePolicy>(*tunnel->ike_policy);
  ike_policy->dpd = 7s;
  tunnel->ike_policy = std::move(ike_policy);
  for (policy::ChildConfig& child : tunnel->children) {
    auto child_policy = std::make_shared<policy::ChildPolicy>(*child.policy);
    child_policy->lifetime = 300s;
    child.policy = std::move(child_policy);
  }
  return tunnel;
}

}  // namespace

TEST_CASE("adopting: a changed configuration is gone by at once, and fresh SAs are made by it") {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    World world({.handover = handover, .child_lifetime = std::chrono::hours(20), .dpd = 0s});
    world.initiate();
    world.deliver_all();
    REQUIRE(world.is_up_and_equal());
    CHECK(sent_by(world, world.a, 60s) == 0);

    world.a.tunnel = changed(world.a);
    world.a.engine().adopt(
        [&](const std::string& name) { return name == world.a.tunnel->name ? world.a.tunnel : nullptr; });
    const size_t looks = sent_by(world, world.a, 60s);
    CHECK(looks >= 7);
    CHECK(looks <= 9);
    world.a.engine().rekey_child(world.now, world.a.ike(), ChildId(world.a.inbound.begin()->first), Reason::kRekeyTime);
    world.traffic = true;
    REQUIRE(world.settles());
    const uint32_t fresh = world.a.inbound.begin()->first;
    world.run_for(301s);
    CHECK(world.a.state() == "established");
    REQUIRE(world.a.inbound.size() == 1);
    CHECK(world.is_up_and_equal());
    CHECK(world.a.inbound.begin()->first != fresh);  // its lifetime was the new one
  }
}

TEST_CASE("adopting: an exchange under way ends by what it began with") {
  World world({.second_child = true, .dpd = 0s});
  world.initiate();
  world.deliver_all();
  // The child that is being made is not in the new configuration.
  auto without = std::make_shared<policy::Tunnel>(*world.a.tunnel);
  std::erase_if(without->children, [](const policy::ChildConfig& each) { return each.name == "dmz"; });
  REQUIRE(world.a.engine().create_child(world.now, world.a.ike(), "dmz").ok());
  world.a.engine().adopt([&](const std::string&) { return without; });
  world.a.drain(world.now);
  world.deliver_all();
  CHECK(world.is_up_and_equal());
  CHECK(world.a.inbound.size() == 2);
  CHECK_FALSE(world.a.engine().create_child(world.now, world.a.ike(), "dmz").ok());  // now it is in force
  // So is a set-up, and what it leads to.
  World begun({.dpd = 0s});
  begun.initiate();
  begun.deliver_one();
  auto renamed = std::make_shared<policy::Tunnel>(*begun.a.tunnel);
  renamed->children[0].name = "another";
  begun.a.engine().adopt([&](const std::string&) { return renamed; });
  begun.deliver_all();
  CHECK(begun.is_up_and_equal());
}

TEST_CASE("view: tells when an IKE SA is due and when it ends, and nothing of one that is not established") {
  World world({.ike_lifetime = 1000s, .dpd = 0s});
  const IkeSaId ike = world.initiate();
  CHECK_FALSE(world.a.engine().view(ike)->ends_at);
  world.deliver_all();
  const IkeSaView view = *world.a.engine().view(ike);
  REQUIRE(view.rekey_at);
  CHECK(*view.ends_at - world.now == 1000s);
  CHECK(*view.rekey_at < *view.ends_at);
  CHECK(*view.rekey_at - world.now >= 800s);
}
