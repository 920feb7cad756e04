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
  wants.deliver_all();
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
