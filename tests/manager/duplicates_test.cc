#include <doctest/doctest.h>

#include "agent/limits.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using policy::DuplicatePolicy;

// A second IKE SA of a peer that has one: which of them stays, whoever began, on whichever worker they are.

namespace {

constexpr ike::IkeSaId kOld{0x11}, kNew{0x22}, kThird{0x33};

enum class Said : uint8_t { kNothing, kInitialContact };

class DuplicatesWorld : public ManagerWorld {
 public:
  explicit DuplicatesWorld(DuplicatePolicy duplicates, const char* start_mode = "respond") {
    adjust = [duplicates](policy::IkePolicy& ike_policy, policy::ChildPolicy&) {
      ike_policy.duplicates = duplicates;
      ike_policy.childless = policy::ChildlessPolicy::kAllow;  // most tests are about IKE SAs alone
    };
    start({{.start = start_mode}});
  }
  /// An IKE SA that a worker reports as established; `spi_i` is its initiator's SPI.
  void established(ike::IkeSaId id, size_t worker, bool initiator, Said said = Said::kNothing, uint64_t spi_i = 0,
                   bool has_child = false) {
    ike::IkeSaView view;
    view.id = id;
    view.initiator = initiator;
    view.tunnel = "a";
    view.initiator_spi = ike::IkeSpi(spi_i == 0 ? id.value() : spi_i);
    view.path.remote = {*IpAddress::parse("198.51.100.7"), 500};
    manager->on_view(view);
    manager->on_action(now, worker,
                       ike::IdentityEstablished{.ike = id,
                                                .tunnel = manager->config().tunnels.at("a"),
                                                .has_child = has_child,
                                                .initial_contact = said == Said::kInitialContact});
    run();
  }
  /// With its child in the kernel.
  void up(ike::IkeSaId id, size_t worker, bool initiator, Said said = Said::kNothing) {
    install(id, static_cast<uint32_t>(id.value()));
    established(id, worker, initiator, said, 0, true);
  }
  /// "IKE SA of worker: reason mode", in order.
  std::vector<std::string> closed() const {
    std::vector<std::string> texts;
    for (const auto& each : workers.closed_ikes)
      texts.push_back(to_hex(each.ike) + " of " + std::to_string(each.worker) + ": " + std::string(code(each.reason)) +
                      (each.mode == ike::CloseMode::kSilently ? " silently" : " told"));
    return texts;
  }

 private:
  static std::string to_hex(ike::IkeSaId id) {
    return id == kOld ? "old" : id == kNew ? "new" : id == kThird ? "third" : "another";
  }
};

using Texts = std::vector<std::string>;

ike::Contact last_contact(const ManagerWorld& world) {
  REQUIRE_FALSE(world.workers.initiations.empty());
  return world.workers.initiations.back().contact;
}

}  // namespace

TEST_CASE("duplicates: replace ends the older ones, on whichever worker they are, and tells the peer") {
  DuplicatesWorld world(DuplicatePolicy::kReplace);
  world.established(kOld, 0, false);
  world.established(kNew, 1, false);
  // The peer sends on the old one until it has our answer.
  world.pass(agent::kReplaceGrace - 1ms);
  CHECK(world.closed().empty());
  world.pass(1ms);
  CHECK(world.closed() == Texts{"old of 0: replaced told"});
  world.established(kThird, 0, false);
  world.pass(agent::kReplaceGrace);
  CHECK(world.closed() == Texts{"old of 0: replaced told", "new of 1: replaced told"});
}

TEST_CASE(
    "duplicates: an older one that the peer ends by itself needs no Delete of ours, and the newest always stays") {
  DuplicatesWorld world(DuplicatePolicy::kReplace);
  world.established(kOld, 0, false);
  world.established(kNew, 1, false);
  world.ike_gone(kOld);
  world.pass(agent::kReplaceGrace / 2);
  world.established(kThird, 0, false);  // before the time of the second one is over
  world.pass(agent::kReplaceGrace / 2);
  CHECK(world.closed().empty());
  world.pass(60s);
  CHECK(world.closed() == Texts{"new of 1: replaced told"});
}

TEST_CASE("duplicates: keep lets all stand, and says so with a code") {
  DuplicatesWorld world(DuplicatePolicy::kKeep);
  world.established(kOld, 0, false);
  CHECK(world.events_of(Reason::kDuplicateKept).empty());

  world.established(kNew, 1, false);

  CHECK(world.closed().empty());
  const auto told = world.events_of(Reason::kDuplicateKept);
  REQUIRE(told.size() == 1);
  CHECK(told[0].object == "tunnel/a");
  CHECK(told[0].fields[0].value == "198.51.100.7[500]");
  CHECK(told[0].fields[1].value == "2");
  world.pass(60s);
  CHECK(world.closed().empty());
}

TEST_CASE("duplicates: refuse ends the new one and asks the old one for a sign of life") {
  DuplicatesWorld world(DuplicatePolicy::kRefuse);
  world.up(kOld, 0, false);

  world.up(kNew, 1, false);

  CHECK(world.closed() == Texts{"new of 1: duplicate-refused told"});
  REQUIRE(world.workers.asked_for_life.size() == 1);
  CHECK(world.workers.asked_for_life[0].ike == kOld);
  CHECK(world.workers.asked_for_life[0].worker == 0);
  world.remove_child(kNew, 0x22);
  world.ike_gone(kNew);
  CHECK(world.state() == "up");
  CHECK(world.events_of(Reason::kTunnelDown).empty());
}

TEST_CASE("duplicates: refuse lets the next one in after the old one gave no sign of life") {
  DuplicatesWorld world(DuplicatePolicy::kRefuse);
  world.established(kOld, 0, false);
  world.established(kNew, 1, false);
  world.ike_gone(kNew);
  world.ike_failed(kOld, Reason::kPeerUnreachable);

  world.established(kThird, 1, false);

  CHECK(world.closed() == Texts{"new of 1: duplicate-refused told"});
}

TEST_CASE("duplicates: an authenticated INITIAL_CONTACT ends what is older, silently, whatever the policy says") {
  for (const auto duplicates : {DuplicatePolicy::kReplace, DuplicatePolicy::kKeep, DuplicatePolicy::kRefuse}) {
    CAPTURE(policy::to_string(duplicates));
    DuplicatesWorld world(duplicates);
    world.established(kOld, 0, false);
    world.pass(600s);

    world.established(kNew, 1, false, Said::kInitialContact);

    CHECK(world.closed() == Texts{"old of 0: peer-restarted silently"});
    CHECK(world.events_of(Reason::kDuplicateKept).empty());
  }
}

TEST_CASE("duplicates: INITIAL_CONTACT may have crossed with what is younger than a set-up takes: the peer is told") {
  DuplicatesWorld world(DuplicatePolicy::kKeep);
  world.established(kOld, 0, true);
  world.pass(1s);

  world.established(kNew, 1, false, Said::kInitialContact);

  CHECK(world.closed() == Texts{"old of 0: peer-restarted told"});
}

TEST_CASE("duplicates: INITIAL_CONTACT does not end our own attempt, or both sides would end each other's") {
  DuplicatesWorld world(DuplicatePolicy::kReplace, "now");
  world.manager->on_initiated(world.now, 0, "a", "lan", kOld);

  world.established(kNew, 1, false, Said::kInitialContact);

  CHECK(world.closed().empty());
}

TEST_CASE("duplicates: INITIAL_CONTACT leaves the IKE SAs of other tunnels alone") {
  ManagerWorld world;
  world.start({{.name = "a"}, {.name = "b", .remote = "198.51.100.8", .selector = "10.3.0.0/16"}});
  world.identity(kOld, true, "b");
  world.pass(600s);

  world.act(ike::IdentityEstablished{
      .ike = kNew, .tunnel = world.manager->config().tunnels.at("a"), .has_child = true, .initial_contact = true});

  CHECK(world.workers.closed_ikes.empty());
}

TEST_CASE("duplicates: the old one ends when the child of the new one can send, so that the tunnel is never down") {
  for (const Said said : {Said::kNothing, Said::kInitialContact}) {
    CAPTURE(said);
    DuplicatesWorld world(DuplicatePolicy::kReplace);
    world.up(kOld, 0, false);
    world.kernel.hold_answers();
    world.install_inbound(kNew, 0x22);
    world.kernel.release_all();
    world.run();
    world.kernel.hold_answers();
    world.install_outbound(kNew, 0x22);
    world.pass(1ms);  // the kernel takes its time

    world.established(kNew, 1, false, said, 0, true);
    CHECK(world.closed().empty());

    world.pass(agent::kReplaceGrace);
    CHECK(world.closed().empty());

    world.kernel.release_all();
    world.run();
    REQUIRE(world.closed().size() == 1);
    world.remove_child(kOld, 0x11);
    world.ike_gone(kOld);
    CHECK(world.state() == "up");
    CHECK(world.events_of(Reason::kTunnelDown).empty());
    CHECK(world.differences().empty());
  }
}

TEST_CASE("duplicates: what we began while the peer began is left to the peer, who answers it") {
  for (const auto duplicates : {DuplicatePolicy::kReplace, DuplicatePolicy::kRefuse}) {
    DuplicatesWorld world(duplicates, "now");
    world.manager->on_initiated(world.now, 0, "a", "lan", kOld);
    world.established(kNew, 1, false);

    world.established(kOld, 0, true);
    CHECK(world.closed().empty());

    world.ike_gone(kOld);  // the peer has chosen
    world.pass(60s);
    CHECK(world.closed().empty());
  }
}

TEST_CASE("duplicates: when both sides began at once and none has chosen, both keep the same one") {
  for (const auto duplicates : {DuplicatePolicy::kReplace, DuplicatePolicy::kRefuse}) {
    const std::string reason = duplicates == DuplicatePolicy::kReplace ? "replaced" : "duplicate-refused";
    for (const bool ours_is_lower : {true, false}) {
      CAPTURE(ours_is_lower);
      // The two ends: what one has begun the other one answers.
      DuplicatesWorld here(duplicates, "now"), there(duplicates, "now");
      const uint64_t ours = ours_is_lower ? 5 : 9, theirs = 7;
      here.manager->on_initiated(here.now, 0, "a", "lan", kOld);
      there.manager->on_initiated(there.now, 1, "a", "lan", kNew);
      here.established(kNew, 1, false, Said::kNothing, theirs);
      there.established(kOld, 0, false, Said::kNothing, ours);
      here.established(kOld, 0, true, Said::kNothing, ours);
      there.established(kNew, 1, true, Said::kNothing, theirs);

      here.pass(6s);
      there.pass(6s);

      const Texts expected{ours_is_lower ? "new of 1: " + reason + " told" : "old of 0: " + reason + " told"};
      CHECK(here.closed() == expected);
      CHECK(there.closed() == expected);
    }
  }
}

TEST_CASE("duplicates: a rekeyed IKE SA is no second one") {
  DuplicatesWorld world(DuplicatePolicy::kRefuse);
  world.established(kOld, 1, false);
  world.act(ike::IkeRekeyed{.old = kOld, .fresh = kNew, .children = {}});
  world.ike_gone(kOld);
  CHECK(world.closed().empty());

  world.established(kThird, 0, false);
  CHECK(world.closed() == Texts{"third of 0: duplicate-refused told"});
}

TEST_CASE("contact: the first IKE SA with a peer says INITIAL_CONTACT, as does one after the peer was lost") {
  DuplicatesWorld world(DuplicatePolicy::kReplace, "now");
  REQUIRE(world.workers.initiations.size() == 1);
  CHECK(last_contact(world) == ike::Contact::kInitial);

  world.initiated(kOld);
  world.established(kOld, 1, true);
  world.ike_failed(kOld, Reason::kPeerUnreachable);
  world.pass(120s);

  REQUIRE(world.workers.initiations.size() == 2);
  CHECK(last_contact(world) == ike::Contact::kInitial);
}

TEST_CASE("contact: while an IKE SA with the peer is there, be it one that ends, nothing is said") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.initiated(kOld);
  world.identity(kOld, false);  // without its child it is closed
  REQUIRE(world.workers.closed_ikes.size() == 1);

  world.pass(120s);

  REQUIRE(world.workers.initiations.size() == 2);
  CHECK(last_contact(world) == ike::Contact::kFurther);
}

TEST_CASE("contact: another tunnel between the same identities counts, one to another peer does not") {
  for (const bool same_peer : {true, false}) {
    CAPTURE(same_peer);
    ManagerWorld world;
    // Without remote_id a peer is known by its address.
    world.start({{.name = "a", .start = "traffic"},
                 {.name = "b",
                  .remote = same_peer ? "198.51.100.7" : "198.51.100.8",
                  .selector = "10.3.0.0/16",
                  .start = "traffic"}});
    world.identity(kOld, true, "b");

    world.kernel.emit(world.acquire_for("a"));
    world.run();

    REQUIRE(world.workers.initiations.size() == 1);
    CHECK(last_contact(world) == (same_peer ? ike::Contact::kFurther : ike::Contact::kInitial));
  }
}

TEST_CASE("contact: of tunnels between the same identities that come up together none says it") {
  ManagerWorld world;
  world.start({{.name = "a", .start = "now"},
               {.name = "b", .remote = "198.51.100.7", .selector = "10.3.0.0/16", .start = "now"}});

  REQUIRE(world.workers.initiations.size() == 2);
  for (const auto& each : world.workers.initiations) CHECK(each.contact == ike::Contact::kFurther);
}
