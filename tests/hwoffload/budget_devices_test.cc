#include <doctest/doctest.h>

#include "tests/hwoffload/budget_world.h"

using namespace ipsec;
using namespace ipsec::hwoffload;
using namespace ipsec::hwoffload::testing;

TEST_CASE("budget: seats of a lost device go to another one, the busiest while it has room, at once and all of them") {
  World world({.moves_per_minute = 2, .moves_at_once = 1});
  world.nic("ens1", 3);
  world.nic("ens2", 2);
  for (SeatId id = 1; id <= 3; ++id) world.seat(id, 10000.0 * static_cast<double>(id), {"ens1", "ens2"}, kNic);
  world.run(60);
  world.lose("ens1", 3);
  CHECK(world.decide() == Texts{"3 ens1>ens2 device lost", "2 ens1>ens2 device lost", "1 ens1>software device lost"});
  CHECK(world.decide().empty());
  world.obey();
  CHECK(world.device("ens1").used == 0);
  CHECK(world.on("ens2") == Ids{2, 3});
  CHECK(world.why(2) == Why::kDeviceLost);
  CHECK(world.why(1) == Why::kRoomTaken);
  world.lose("ens2", 2);
  CHECK(world.decide().size() == 2);
  world.obey();
  CHECK(world.why(3) == Why::kDeviceLost);
  CHECK(reason_of(*world.budget.seat(3)) == Reason::kOffloadDeviceLost);
}

TEST_CASE("budget: a move to a device that is lost meanwhile is decided anew") {
  World world;
  world.nic("ens1", 3);
  world.nic("ens2", 3);
  world.seat(1, 10000, {"ens1"}, kNic);
  world.seat(2, 20000, {"ens1", "ens2"}, kNic);
  world.run(60);
  world.lose("ens1", 3);
  CHECK(world.decide() == Texts{"2 ens1>ens2 device lost", "1 ens1>software device lost"});
  world.lose("ens2", 3);
  CHECK(world.decide() == Texts{"2 ens1>software device lost"});
}

TEST_CASE("budget: a device that comes back is used when it has settled, later when it comes and goes") {
  World world({.stay_least = 0s, .device_settle = 30s});
  world.nic("ens1", 1);
  world.seat(1, 10000, {"ens1"});
  world.run(60);
  CHECK(world.converge() == 1);
  const auto waits_for = [&] {
    world.lose("ens1", 1);
    world.converge();
    world.nic("ens1", 1);
    CHECK(world.why(1) == Why::kDeviceSettling);
    CHECK(reason_of(*world.budget.seat(1)) == Reason::kOffloadDeviceSettling);
    CHECK(world.budget.seat_for(world.now, 1) == kNowhere);
    REQUIRE(world.device("ens1").settles_at);
    int seconds = 0;
    for (; world.converge() == 0 && seconds < 1000; ++seconds) world.run(1);
    CHECK_FALSE(world.device("ens1").settles_at);
    return seconds;
  };
  CHECK(waits_for() == 30);
  CHECK(waits_for() == 60);
  CHECK(waits_for() == 120);
  CHECK(waits_for() == 240);
  CHECK(waits_for() == 480);
  CHECK(waits_for() == 480);
  world.run(300);
  CHECK(waits_for() == 30);
}

TEST_CASE("budget: by priority the first device is filled first, and seats come back to it") {
  World world;
  world.nic("ens1", 2);
  world.nic("ens2", 2);
  for (SeatId id = 1; id <= 3; ++id) world.seat(id, 10000.0 * static_cast<double>(id), {"ens1", "ens2"});
  world.run(60);
  CHECK(world.converge() == 3);
  CHECK(world.on(kNic) == Ids{2, 3});
  CHECK(world.on("ens2") == Ids{1});
  world.budget.remove(3);
  world.rates.erase(3);
  world.run(60);
  CHECK(world.decide() == Texts{"1 ens2>ens1 preferred device"});
  world.obey();
  CHECK(world.decide().empty());
}

TEST_CASE("budget: spread means the least loaded device, and a clear difference is made up for") {
  World world({.spread = Spread::kSpread});
  world.nic("ens1");
  world.nic("ens2");
  world.seat(1, 50000, {"ens1", "ens2"});
  for (SeatId id = 2; id <= 6; ++id) world.seat(id, 10000, {"ens1", "ens2"});
  world.run(60);
  CHECK(world.converge() == 6);
  CHECK(world.on(kNic) == Ids{1});
  CHECK(world.on("ens2") == Ids{2, 3, 4, 5, 6});

  world.rates[1] = 1000;
  world.run(100);
  CHECK(world.decide() == Texts{"2 ens2>ens1 balanced", "3 ens2>ens1 balanced"});
  world.obey();
  CHECK(world.decide().empty());
}

TEST_CASE("budget: fresh children are spread as well, though none of them has a rate yet") {
  World world({.spread = Spread::kSpread});
  world.nic("ens1");
  world.nic("ens2");
  for (SeatId id = 1; id <= 10; ++id) {
    REQUIRE(world.budget.add(id, {"ens1", "ens2"}, Pin::kNone).ok());
    world.budget.placed(world.now, id, world.budget.seat_for(world.now, id));
  }
  CHECK(world.on(kNic).size() == 5);
  CHECK(world.on("ens2").size() == 5);
}

TEST_CASE("budget: who can use another device makes room for one that cannot") {
  World world;
  world.nic("ens1", 1);
  world.nic("ens2", 1);
  world.seat(1, 90000, {"ens1", "ens2"}, kNic);
  world.seat(2, 10000, {"ens1"});
  world.run(60);
  CHECK(world.decide() == Texts{"1 ens1>ens2 made room for one that can use only the other device"});
  world.obey();
  CHECK(world.decide() == Texts{"2 software>ens1 among the busiest"});
  world.obey();
  CHECK(world.decide().empty());
}

TEST_CASE("budget: one that is on a device which is not its own any more leaves it") {
  World world;
  world.nic("ens1", 5);
  world.nic("ens2", 5);
  world.seat(1, 90000, {"ens1"}, kNic);
  world.seat(2, 80000, {"ens1"}, kNic);
  REQUIRE(world.budget.add(1, {"ens2"}, Pin::kNone).ok());
  REQUIRE(world.budget.add(2, {}, Pin::kNone).ok());
  world.run(60);
  CHECK(world.decide() ==
        Texts{"1 ens1>ens2 its device cannot take it any more", "2 ens1>software its device cannot take it any more"});
  world.obey();
  CHECK(world.why(2) == Why::kNotConfigured);
  CHECK(world.budget.seat_for(world.now, 2) == kNowhere);
  world.budget.remove_device(world.now, "ens2");
  CHECK(world.decide() == Texts{"1 ens2>software device lost"});
}

TEST_CASE(
    "budget: one that was moved just before leaves a device that is not its own any more all the same, for software") {
  World world({.stay_least = 60s, .moves_per_minute = 2});
  world.nic("ens1", 5);
  world.nic("ens2", 5);
  world.seat(1, 90000, {"ens1"});
  world.run(60);
  REQUIRE(world.decide() == Texts{"1 software>ens1 there was room"});
  world.obey();
  REQUIRE(world.budget.add(1, {"ens2"}, Pin::kNone).ok());
  CHECK(world.decide() == Texts{"1 ens1>software its device cannot take it any more"});
  world.obey();
  world.run(50);
  CHECK(world.decide().empty());  // it has been to and fro
  world.run(15);
  CHECK(world.decide() == Texts{"1 software>ens2 there was room"});
}

TEST_CASE("budget: who lost its device goes to another one as soon as there is one, however quiet") {
  World world({.device_settle = 10s, .move_patience = 60s});
  world.nic("ens1", 5);
  world.nic("ens2", 1);
  for (SeatId id = 1; id <= 3; ++id) world.seat(id, 0, {"ens1"}, kNic);
  world.run(60);
  world.lose("ens1", 5);
  REQUIRE(world.decide().size() == 3);
  // The way to its peer is found while its rekey is under way, ...
  REQUIRE(world.budget.add(1, {"ens2"}, Pin::kNone).ok());
  CHECK(world.budget.seat_for(world.now, 1) == Place("ens2"));
  world.budget.placed(world.now, 1, Place("ens2"));
  // ... and that of others after it, where the only place is taken, however quiet who has it.
  for (SeatId id = 2; id <= 3; ++id) {
    world.budget.placed(world.now, id, kNowhere);
    REQUIRE(world.budget.add(id, {"ens2"}, Pin::kNone).ok());
  }
  CHECK(world.decide().empty());
  CHECK(world.why(2) == Why::kRoomTaken);
  world.nic("ens2", 2);
  CHECK(world.decide() == Texts{"2 software>ens2 there was room"});
  world.obey();
  world.run(61);  // by then it is one of those that are too quiet
  world.nic("ens2", 3);
  CHECK(world.decide().empty());
  CHECK(world.why(3) == Why::kTooQuiet);
}

TEST_CASE("budget: whom a device may not take pushes nobody out and leaves the minute's moves to others") {
  World world({.moves_per_minute = 2});
  world.nic("ens1", 1);
  world.seat(1, 1000, {"ens1"}, kNic);
  for (SeatId id = 2; id <= 20; ++id) world.seat(id, 90000, {"ens1"});
  world.seat(21, 80000, {"ens1"});
  world.run(60);
  size_t asked = 0;
  const auto only_21 = [&](SeatId id, const std::string& device) {
    CHECK(device == "ens1");
    ++asked;
    return id == 21;
  };
  const std::vector<Move> first = world.budget.decide(world.now, only_21);
  REQUIRE(first.size() == 1);
  CHECK(first[0].seat == 1);
  CHECK(asked == 20);
  CHECK(world.why(2) == Why::kRefused);
  world.budget.placed(world.now, 1, kNowhere);
  const std::vector<Move> second = world.budget.decide(world.now, only_21);
  REQUIRE(second.size() == 1);
  CHECK(second[0].seat == 21);
  world.budget.placed(world.now, 21, Place("ens1"));
  world.run(30);
  CHECK(world.budget.decide(world.now, only_21).empty());
  world.budget.forget_refusals("ens1");
  CHECK(world.why(2) != Why::kRefused);
}
