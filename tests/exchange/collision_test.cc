#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "ike/exchange/collision.h"
#include "tests/support/engine_world.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

/// What each side does at the same moment.
struct Crossing {
  std::string name;
  std::function<void(World&)> at_a, at_b;
  size_t children = 1;    ///< How many each side has in the end.
  bool ike_stays = true;  ///< Whether the IKE SA is still there.
  bool no_loss = true;    ///< Traffic goes on without a gap.
};

void rekey_child(World& world, Host& host) {
  if (!host.inbound.empty())
    host.engine().rekey_child(world.now, host.ike(), ChildId(host.inbound.begin()->first), Reason::kRekeyTime);
}
void close_child(World& world, Host& host) {
  if (!host.inbound.empty())
    host.engine().close_child(world.now, host.ike(), ChildId(host.inbound.begin()->first), Reason::kDeletedByOperator);
}

const auto kNothing = [](World&) {};
const auto kRekeyChildA = [](World& world) { rekey_child(world, world.a); };
const auto kRekeyChildB = [](World& world) { rekey_child(world, world.b); };
const auto kRekeyIkeA = [](World& world) { world.a.engine().rekey_ike(world.now, world.a.ike(), Reason::kRekeyTime); };
const auto kRekeyIkeB = [](World& world) { world.b.engine().rekey_ike(world.now, world.b.ike(), Reason::kRekeyTime); };
const auto kDeleteChildB = [](World& world) { close_child(world, world.b); };
const auto kCloseIkeB = [](World& world) { world.b.engine().close_ike(world.now, world.b.ike(), Reason::kShutdown); };
const auto kAddA = [](World& world) { (void)world.a.engine().create_child(world.now, world.a.ike(), "dmz"); };
const auto kAddB = [](World& world) { (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz"); };
const auto kLivenessB = [](World& world) { world.b.engine().check_liveness(world.now, world.b.ike()); };

const std::vector<Crossing>& crossings() {
  static const std::vector<Crossing> all = {
      {"only a rekeys a child", kRekeyChildA, kNothing},
      {"only b rekeys a child", kNothing, kRekeyChildB},
      {"only a rekeys the IKE SA", kRekeyIkeA, kNothing},
      {"only b rekeys the IKE SA", kNothing, kRekeyIkeB},
      {"both rekey the child", kRekeyChildA, kRekeyChildB},
      {"both rekey the IKE SA", kRekeyIkeA, kRekeyIkeB},
      {"a rekeys the child, b the IKE SA", kRekeyChildA, kRekeyIkeB},
      {"a rekeys the IKE SA, b the child", kRekeyIkeA, kRekeyChildB},
      {"a rekeys the IKE SA, b checks liveness", kRekeyIkeA, kLivenessB},
      {"a rekeys the child that b deletes", kRekeyChildA, kDeleteChildB, 0, true, false},
      {"a rekeys the IKE SA, b deletes the child", kRekeyIkeA, kDeleteChildB, 0, true, false},
      {"a rekeys and closes the child", [](World& world) { kRekeyChildA(world), close_child(world, world.a); },
       kNothing, 0, true, false},
      {"a rekeys and closes the child that b rekeys",
       [](World& world) { kRekeyChildA(world), close_child(world, world.a); }, kRekeyChildB, 0, true, false},
      {"a rekeys the child of an IKE SA that b closes", kRekeyChildA, kCloseIkeB, 0, false, false},
      {"a rekeys the IKE SA that b closes", kRekeyIkeA, kCloseIkeB, 0, false, false},
      {"a adds a child, b rekeys one", kAddA, kRekeyChildB, 2, true, false},
      {"a adds a child, b rekeys the IKE SA", kAddA, kRekeyIkeB, 2, true, false},
      {"a adds a child, b rekeys the IKE SA and a child", kAddA,
       [](World& world) { kRekeyIkeB(world), kRekeyChildB(world); }, 2, true, false},
      {"both rekey everything", [](World& world) { kRekeyIkeA(world), kRekeyChildA(world); },
       [](World& world) { kRekeyChildB(world), kRekeyIkeB(world); }},
  };
  return all;
}

/// A world in which everything is up and traffic flows; `begin` lets both sides act at once.
struct CrossingWorld : World {
  CrossingWorld(const Crossing& what, const World::Options& options) : World(options), crossing(what) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
    traffic = crossing.no_loss;
  }
  void begin() {
    crossing.at_a(*this);
    crossing.at_b(*this);
    collect();
  }
  void check_end() {
    traffic = false;
    lose = nullptr;
    run_for(400s);
    if (!crossing.ike_stays) {
      CHECK(a.state() == "none");
      CHECK(b.state() == "none");
    } else if (crossing.children == 0) {
      CHECK(a.state() == "established");
      CHECK(b.state() == "established");
    } else {
      CHECK(is_up_and_equal());
    }
    CHECK(a.inbound.size() == crossing.children);
    CHECK(a.outbound.size() == crossing.children);
    CHECK(b.inbound.size() == crossing.children);
    CHECK(b.outbound.size() == crossing.children);
    CHECK(packets_lost == 0);
  }
  const Crossing& crossing;
};

World::Options options_for(const Crossing& crossing, Handover handover, uint64_t seed) {
  // Liveness checks would hide that something hangs.
  return {.seed = seed, .handover = handover, .second_child = crossing.children == 2, .dpd = 0s};
}

enum class Fault : uint8_t { kLose, kDuplicate, kDelay };

}  // namespace

TEST_CASE("collision: whatever crosses, in either order of arrival, both sides end up alike") {
  LEDGER("2.8.2-01", "2.25.2-01");
  for (const Crossing& crossing : crossings()) {
    CAPTURE(crossing.name);
    for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
      CAPTURE(static_cast<int>(handover));
      for (uint64_t seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed);
        CrossingWorld world(crossing, options_for(crossing, handover, seed));
        world.begin();
        // Which request comes first decides who learns of the collision.
        if (seed % 2 == 0 && world.wire.size() == 2) std::swap(world.wire[0], world.wire[1]);
        world.deliver_all();
        world.run_for(30s);
        world.check_end();
      }
    }
  }
}

TEST_CASE("collision: with each single message lost, repeated or late, both sides end up alike") {
  for (const Crossing& crossing : crossings()) {
    CAPTURE(crossing.name);
    for (Fault fault : {Fault::kLose, Fault::kDuplicate, Fault::kDelay}) {
      CAPTURE(static_cast<int>(fault));
      for (size_t which = 0; which < 8; ++which) {
        CAPTURE(which);
        const Handover handover = which % 2 == 0 ? Handover::kNever : Handover::kEachStep;
        CrossingWorld world(crossing, options_for(crossing, handover, which + 1));
        size_t seen = 0;
        world.lose = [&](const Flight& flight) {
          if (seen++ != which) return false;
          if (fault == Fault::kDuplicate) world.wire.push_back(flight);
          if (fault == Fault::kDelay) world.wire.push_back(flight);
          return fault != Fault::kDuplicate;
        };
        world.begin();
        world.run_for(30s);
        world.check_end();
      }
    }
  }
}

TEST_CASE("collision: on a network that loses a third, repeats and reorders, both sides end up alike") {
  for (const Crossing& crossing : crossings()) {
    CAPTURE(crossing.name);
    for (uint64_t seed = 1; seed <= 60; ++seed) {
      CAPTURE(seed);
      SeededRandom random(seed);
      World::Options options = options_for(crossing, seed % 3 == 0 ? Handover::kEachStep : Handover::kNever, seed);
      options.tries = 20;  // no peer is given up for bad luck
      CrossingWorld world(crossing, options);
      size_t left = 60;
      world.lose = [&](const Flight& flight) {
        if (left == 0) return false;
        --left;
        const uint64_t fate = random.below(9);
        if (fate < 2) return true;
        if (fate == 3 || fate == 4) world.wire.push_back(flight);
        return fate == 4;
      };
      world.begin();
      world.run_for(15s);
      world.check_end();
    }
  }
}

TEST_CASE("collision: a network that is down for longer than retransmission takes ends the tunnel, not the program") {
  for (const Crossing& crossing : crossings()) {
    CAPTURE(crossing.name);
    for (size_t after = 0; after < 5; ++after) {
      CrossingWorld world(crossing, {.second_child = crossing.children == 2});
      world.traffic = false;
      world.begin();
      for (size_t i = 0; i < after; ++i) world.deliver_one();
      world.lose = [](const Flight&) { return true; };
      world.run_for(400s);
      CHECK(world.a.state() == "none");
      CHECK(world.b.state() == "none");
      CHECK(world.a.inbound.empty());
      CHECK(world.b.inbound.empty());
      CHECK(world.a.outbound.empty());
      CHECK(world.b.outbound.empty());
    }
  }
}

TEST_CASE("collision: when both rekey a child, the one with the lowest nonce is closed by its creator") {
  LEDGER("2.8.1-03", "2.25.1-02");
  size_t a_kept = 0, b_kept = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    World world({.seed = seed});
    world.initiate();
    world.deliver_all();
    // Both requests are on the wire before either is answered.
    kRekeyChildA(world);
    kRekeyChildB(world);
    world.deliver_all();
    world.run_for(20s);
    REQUIRE(world.is_up_and_equal());
    CHECK(world.a.reported(Reason::kRekeyCollision));
    CHECK(world.b.reported(Reason::kRekeyCollision));
    CHECK(world.a.inbound.size() == 1);
    (world.a.inbound.begin()->second.spec->initiator ? a_kept : b_kept) += 1;
    CHECK(world.a.inbound.begin()->second.spec->initiator != world.b.inbound.begin()->second.spec->initiator);
  }
  CHECK(a_kept > 5);
  CHECK(b_kept > 5);
}

namespace {

/// a rekeys its child, and the kernel of one side has not answered yet.
struct ParkedWorld : World {
  ParkedWorld(uint64_t seed, Host World::*side, Handover handover = Handover::kNever)
      : World({.seed = seed, .handover = handover}), parked(this->*side) {
    initiate();
    deliver_all();
    before = parked.inbound_spis();
    parked.shell.hold_answers = true;
    kRekeyChildA(*this);
    collect();
    while (parked.held.empty()) REQUIRE(deliver_one());
    if (handover == Handover::kNever) REQUIRE(parked.held.size() == 1);
  }
  /// A restored engine has asked again: each question gets its answer, and then all runs its course.
  void kernel_answers(Duration then, const std::optional<Error>& refusal = {}) {
    parked.shell.hold_answers = false;
    for (Answer& answer : std::exchange(parked.held, {})) {
      if (refusal) answer.value = Refused{*refusal};
      parked.engine().answer(now, std::move(answer));
    }
    parked.drain(now);
    deliver_all();
    run_for(then);
  }
  Host& parked;
  std::set<uint32_t> before;  ///< What was inbound there.
};

}  // namespace

TEST_CASE(
    "collision: a rekey that falls due while the kernel takes the child of the peer's rekey waits, and is not needed") {
  ParkedWorld world(5, &World::b);

  kRekeyChildB(world);
  world.collect();
  CHECK(world.wire.empty());
  world.kernel_answers(20s);

  CHECK(world.is_up_and_equal());
  CHECK(world.a.inbound.size() == 1);
  CHECK(world.b.inbound.size() == 1);
}

TEST_CASE("collision: the peer may rekey or delete a child at once that our kernel has not taken yet") {
  for (const auto& [deletes, handover] : {std::pair(false, Handover::kNever),
                                          {true, Handover::kNever},
                                          {false, Handover::kEachStep},
                                          {true, Handover::kEachStep}}) {
    CAPTURE(deletes);
    CAPTURE(static_cast<int>(handover));
    ParkedWorld world(7, &World::a, handover);
    const IkeSaId ike = world.b.ike();
    const ChildId fresh(world.b.engine().view(ike)->children.back()->spi_in.value());
    if (deletes)
      world.b.engine().close_child(world.now, ike, fresh, Reason::kDeletedByOperator);
    else
      world.b.engine().rekey_child(world.now, ike, fresh, Reason::kRekeyTime);
    world.collect();
    world.deliver_one();
    world.kernel_answers(60s);

    CHECK_FALSE(world.a.reported(Reason::kChildNotFound));
    CHECK(world.is_up_and_equal());
    CHECK(world.a.inbound.size() == 1);
    CHECK(world.b.inbound.size() == 1);
  }
}

TEST_CASE("collision: a rekey that waits for the peer's is made when the kernel refuses the peer's child") {
  ParkedWorld world(6, &World::b);
  kRekeyChildB(world);

  world.kernel_answers(20s, Error(Reason::kKernelRefused, "no memory"));

  CHECK(world.is_up_and_equal());
  CHECK(world.b.inbound_spis() != world.before);
  CHECK(world.b.inbound.size() == 1);
}

TEST_CASE(
    "collision: the IKE SA that the peer's crossing rekey made is closed before ours is answered, and so is all") {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      World world({.seed = seed, .handover = handover, .dpd = 0s});
      world.initiate();
      world.deliver_all();
      kRekeyIkeA(world);
      kRekeyIkeB(world);
      world.collect();
      std::swap(world.wire[0], world.wire[1]);
      world.deliver_one();  // b's request: a has the peer's new IKE SA, and waits for the answer to its own
      const IkeSaId old = world.a.engine().ike_sas().size() == 2 ? world.a.ike() : IkeSaId();
      REQUIRE(old);
      for (IkeSaId id : world.a.engine().ike_sas())
        if (world.a.engine().view(id)->children.empty())
          world.a.engine().close_ike(world.now, id, Reason::kDeletedByOperator);
      world.run_for(400s);
      CHECK(world.a.state() == "none");
      CHECK(world.b.state() == "none");
      CHECK(world.a.inbound.empty());
      CHECK(world.b.inbound.empty());
    }
  }
}

TEST_CASE("collision rules: the lowest of four nonces loses, and a shorter one is lower") {
  LEDGER("2.8.1-03", "2.8.2-01");
  const Bytes low{1, 2, 3}, high{1, 2, 4}, prefix{1, 2};
  CHECK(lowest_nonce(low, high) == low);
  CHECK(lowest_nonce(high, low) == low);
  CHECK(lowest_nonce(low, prefix) == prefix);
  CHECK(standing_of(low, high) == Standing::kTheirs);
  CHECK(standing_of(high, low) == Standing::kOurs);
  CHECK(standing_of(prefix, low) == Standing::kTheirs);
}

TEST_CASE("collision rules: what a request meets follows from what is under way") {
  using enum RequestVerdict;
  CHECK(judge_child_request({}) == kProceed);
  CHECK(judge_child_request({.is_rekey = true, .being_made = true}) == kTemporaryFailure);
  CHECK(judge_child_request({.we_rekey_ike = true}) == kTemporaryFailure);
  CHECK(judge_child_request({.we_delete_ike = true}) == kTemporaryFailure);
  CHECK(judge_child_request({.is_rekey = true}) == kChildNotFound);
  CHECK(judge_child_request({.is_rekey = true, .rekeyed = ChildPhase::kInUse}) == kProceed);
  CHECK(judge_child_request({.is_rekey = true, .rekeyed = ChildPhase::kAwaitingUse}) == kProceed);
  CHECK(judge_child_request({.is_rekey = true, .rekeyed = ChildPhase::kDeleting}) == kTemporaryFailure);
  CHECK(judge_child_request({.is_rekey = true, .rekeyed = ChildPhase::kReplaced}) == kTemporaryFailure);
  CHECK(judge_child_request({.is_rekey = true, .rekeyed = ChildPhase::kRedundant}) == kTemporaryFailure);
  CHECK(judge_child_request({.is_rekey = true, .rekeyed = ChildPhase::kLingering}) == kChildNotFound);
  CHECK(judge_ike_request({}) == kProceed);
  CHECK(judge_ike_request({.we_change_children = true}) == kTemporaryFailure);
  CHECK(judge_ike_request({.we_delete_ike = true}) == kTemporaryFailure);
  CHECK(judge_ike_request({.rekeyed_before = true}) == kTemporaryFailure);
}
