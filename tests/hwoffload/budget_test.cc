#include <doctest/doctest.h>

#include "tests/hwoffload/budget_world.h"

using namespace ipsec;
using namespace ipsec::hwoffload;
using namespace ipsec::hwoffload::testing;

TEST_CASE("budget: the busiest get the room that there is, the others are told why not") {
  World world;
  world.nic("ens1", 2);
  for (SeatId id = 1; id <= 4; ++id) world.seat(id, 10000.0 * static_cast<double>(id), {"ens1"});
  world.seat(5, 10, {"ens1"});
  world.run(60);

  CHECK(world.decide() == Texts{"4 software>ens1 there was room", "3 software>ens1 there was room"});
  world.obey();

  CHECK(world.on(kNic) == Ids{3, 4});
  CHECK(world.decide().empty());
  CHECK(world.why(2) == Why::kRoomTaken);
  CHECK(world.why(5) == Why::kTooQuiet);
  CHECK(reason_of(*world.budget.seat(2)) == Reason::kOffloadBusierFirst);
  CHECK(reason_of(*world.budget.seat(4)) == Reason::kOffloadEffective);
  CHECK(world.device("ens1").used == 2);
  CHECK(world.device("ens1").load == doctest::Approx(70000).epsilon(0.05));
}

TEST_CASE(
    "budget: a challenger needs to be busier by the hysteresis, and then two moves are made one after the other") {
  World world;
  world.nic("ens1", 1);
  world.seat(1, 10000, {"ens1"}, kNic);
  world.seat(2, 12000, {"ens1"});
  world.run(200);
  CHECK(world.decide().empty());

  world.rates[2] = 13000;
  world.run(200);
  CHECK(world.decide() == Texts{"1 ens1>software pushed out by a busier or pinned one"});
  CHECK(world.decide().empty());  // not a second one while the first is under way
  world.obey();
  CHECK(world.decide() == Texts{"2 software>ens1 among the busiest"});
  world.obey();
  CHECK(world.decide().empty());
  CHECK(world.on(kNic) == Ids{2});
}

TEST_CASE("budget: room that a swap has made is not for a fresh child") {
  World world;
  world.nic("ens1", 1);
  world.seat(1, 10000, {"ens1"}, kNic);
  world.seat(2, 50000, {"ens1"});
  world.run(200);
  world.decide();
  world.obey();

  REQUIRE(world.budget.add(3, {"ens1"}, Pin::kNone).ok());
  CHECK(world.budget.seat_for(world.now, 3) == kNowhere);
  CHECK(world.decide() == Texts{"2 software>ens1 among the busiest"});
}

TEST_CASE("budget: room that was made for one that is gone is for the next, or for all") {
  World world;
  world.nic("ens1", 1);
  world.seat(1, 10000, {"ens1"}, kNic);
  world.seat(2, 50000, {"ens1"});
  world.run(200);
  world.decide();
  world.obey();
  world.budget.remove(2);
  world.rates.erase(2);
  CHECK(world.decide().empty());

  REQUIRE(world.budget.add(3, {"ens1"}, Pin::kNone).ok());
  CHECK(world.budget.seat_for(world.now, 3) == kNic);
}

TEST_CASE("budget: no more moves in a minute than allowed, those that a swap will need included") {
  World world({.moves_per_minute = 5});
  world.nic("ens1", 4);
  for (SeatId id = 1; id <= 4; ++id) world.seat(id, 10000, {"ens1"}, kNic);
  for (SeatId id = 5; id <= 8; ++id) world.seat(id, 90000, {"ens1"});
  world.run(200);

  CHECK(world.decide().size() == 2);  // two swaps are four moves; a third one would be six
  world.obey();
  CHECK(world.decide().size() == 2);
  world.obey();
  CHECK(world.decide().empty());
  world.run(59);
  CHECK(world.decide().empty());
  CHECK(world.why(7) == Why::kRoomTaken);
  world.run(1);
  CHECK(world.decide().size() == 2);
}

TEST_CASE("budget: no more moves under way than moves_at_once, and one that is not heard of is given up") {
  World world({.stay_least = 0s, .move_patience = 30s, .moves_at_once = 3});
  world.nic("ens1");
  for (SeatId id = 1; id <= 8; ++id) world.seat(id, 10000, {"ens1"});
  world.run(60);

  CHECK(world.decide().size() == 3);
  CHECK(world.decide().empty());
  CHECK(world.budget.moves_under_way() == 3);
  world.run(29);
  CHECK(world.decide().empty());
  world.run(1);
  CHECK(world.decide() ==
        Texts{"1 software>ens1 there was room", "2 software>ens1 there was room", "3 software>ens1 there was room"});
}

TEST_CASE("budget: moves_per_minute 0 moves nothing, but off a lost device") {
  World world({.moves_per_minute = 0});
  world.nic("ens1", 10);
  world.seat(1, 90000, {"ens1"});
  world.seat(2, 90000, {"ens1"}, kNic);
  world.run(60);
  CHECK(world.decide().empty());
  world.lose("ens1", 10);
  CHECK(world.decide() == Texts{"2 ens1>software device lost"});
}

TEST_CASE("budget: a seat that was moved stays, whatever its rate becomes") {
  World world;
  world.nic("ens1", 1);
  world.seat(1, 50000, {"ens1"});
  world.run(60);
  CHECK(world.converge() == 1);
  world.seat(2, 900000, {"ens1"});
  world.run(59);
  CHECK(world.decide().empty());
  CHECK(world.why(2) == Why::kRoomTaken);
  world.run(1);
  CHECK(world.converge() == 2);
  CHECK(world.on(kNic) == Ids{2});

  world.rates[1] = 9e6;  // and the one that was pushed out does not come back at once
  world.run(59);
  CHECK(world.decide().empty());
  world.run(1);
  CHECK(world.decide().size() == 1);
}

TEST_CASE("budget: pinned to a NIC wins over every rate, pinned to software leaves it") {
  World world;
  world.nic("ens1", 2);
  world.seat(1, 90000, {"ens1"}, kNic);
  world.seat(2, 80000, {"ens1"}, kNic);
  world.seat(3, 0, {"ens1"}, kNowhere, Pin::kNic);
  world.run(60);
  CHECK(world.decide() == Texts{"2 ens1>software pushed out by a busier or pinned one"});
  world.obey();
  CHECK(world.decide() == Texts{"3 software>ens1 pinned"});
  world.obey();
  world.rates[2] = 9e6;
  world.run(100);
  CHECK(world.decide() == Texts{"1 ens1>software pushed out by a busier or pinned one"});  // never the pinned one
  world.obey();
  world.decide();
  world.obey();

  REQUIRE(world.budget.add(2, {"ens1"}, Pin::kSoftware).ok());
  world.run(100);
  CHECK(world.decide().front() == "2 ens1>software pinned");
  world.obey();
  CHECK(world.why(2) == Why::kPinned);
  CHECK(reason_of(*world.budget.seat(2)) == Reason::kOffloadPinned);
  CHECK(world.budget.seat_for(world.now, 2) == kNowhere);
}

TEST_CASE("budget: less room than seats, and the quietest go, pinned ones last") {
  World world;
  world.nic("ens1", 4);
  for (SeatId id = 1; id <= 3; ++id) world.seat(id, 10000.0 * static_cast<double>(id), {"ens1"}, kNic);
  world.seat(4, 0, {"ens1"}, kNic, Pin::kNic);
  world.run(60);
  world.nic("ens1", 2);
  CHECK(world.decide() == Texts{"1 ens1>software the room shrank", "2 ens1>software the room shrank"});
  CHECK(world.decide().empty());
  world.obey();
  CHECK(world.on(kNic) == Ids{3, 4});
  world.nic("ens1", 1);
  world.converge();
  CHECK(world.on(kNic) == Ids{4});
}

TEST_CASE("budget: a refusal teaches the room, and after a while it is tried to be larger, more and more rarely") {
  World world({.grow_after = 100s});
  world.nic("ens1");
  for (SeatId id = 1; id <= 5; ++id) world.seat(id, 10000, {"ens1"});
  for (SeatId id = 1; id <= 3; ++id) world.budget.placed(world.now, id, kNic);
  CHECK(world.device("ens1").source == RoomSource::kUnknown);
  CHECK_FALSE(world.device("ens1").room);
  world.run(60);

  const auto try_one = [&] {
    const auto moves = world.budget.decide(world.now);
    for (const Move& each : moves) world.budget.refused(world.now, each.seat, *each.to, Refusal::kTableFull);
    return moves.size();
  };
  CHECK(try_one() == 2);
  CHECK(world.device("ens1").room == 3);
  CHECK(world.device("ens1").source == RoomSource::kLearnt);
  CHECK(world.why(5) == Why::kTableFull);
  CHECK(reason_of(*world.budget.seat(5)) == Reason::kOffloadTableFull);
  world.run(99);
  CHECK(try_one() == 0);
  world.run(1);
  CHECK(try_one() == 1);
  CHECK(world.device("ens1").room == 3);
  world.run(199);
  CHECK(try_one() == 0);
  world.run(1);
  CHECK(world.decide().size() == 1);  // this time it is taken
  world.obey();
  CHECK(world.device("ens1").room == 4);
  world.run(200);
  CHECK(world.converge() == 1);
  CHECK(world.device("ens1").room == 5);

  world.nic("ens1", 2);  // another number from the configuration: what was learnt is forgotten
  CHECK(world.device("ens1").source == RoomSource::kConfigured);
  CHECK(world.device("ens1").room == 2);
}

TEST_CASE("budget: a room that is learnt while many are on their way is the room that there is") {
  for (const bool placed_late : {false, true}) {
    CAPTURE(placed_late);
    World world;
    world.nic("ens1");
    for (SeatId id = 1; id <= 20; ++id) {
      REQUIRE(world.budget.add(id, {"ens1"}, Pin::kNone).ok());
      REQUIRE(world.budget.seat_for(world.now, id) == kNic);
    }
    const auto place = [&](SeatId first, SeatId last, const Place& where) {
      for (SeatId id = first; id <= last; ++id) world.budget.placed(world.now, id, where);
    };
    if (!placed_late) place(1, 12, kNic);
    for (SeatId id = 13; id <= 20; ++id) world.budget.refused(world.now, id, "ens1", hwoffload::Refusal::kTableFull);
    if (placed_late) place(1, 12, kNic);  // the kernel's answers came in another order
    place(13, 20, kNowhere);
    CHECK(world.on(kNic).size() == 12);
    CHECK(world.device("ens1").room == 12);
    CHECK(world.decide().empty());
  }
}

TEST_CASE("budget: who is refused in the middle of its rekey shows that there is one less") {
  World world;
  world.nic("ens1");
  for (SeatId id = 1; id <= 3; ++id) world.seat(id, 10000, {"ens1"}, kNic);
  CHECK(world.budget.seat_for(world.now, 2) == kNic);
  world.budget.refused(world.now, 2, "ens1", Refusal::kTableFull);
  world.budget.placed(world.now, 2, kNowhere);
  CHECK(world.device("ens1").room == 2);
  CHECK(world.device("ens1").used == 2);
}

TEST_CASE("budget: part of the room is kept for the second pair of SAs during rekeys") {
  World world({.reserve_percent = 10});
  world.nic("ens1", 50);
  CHECK(world.device("ens1").room == 45);
  world.nic("ens1", 9);
  CHECK(world.device("ens1").room == 9);
  world.nic("ens1", SIZE_MAX);
  CHECK(world.device("ens1").room > SIZE_MAX / 100 * 89);
}

TEST_CASE("budget: a device that refuses one seat for another reason is left alone by that seat, longer each time") {
  World world({.stay_least = 0s});
  world.nic("ens1", 5);
  world.seat(1, 10000, {"ens1"});
  world.seat(2, 10000, {"ens1"}, kNic);
  world.run(60);
  CHECK(world.decide().size() == 1);
  world.budget.refused(world.now, 1, "ens1", Refusal::kOther);
  CHECK(world.why(1) == Why::kRefused);
  CHECK(world.device("ens1").used == 1);
  CHECK(world.budget.seat_for(world.now, 1) == kNowhere);
  world.run(59);
  CHECK(world.decide().empty());
  world.run(1);
  CHECK(world.decide().size() == 1);
  world.budget.refused(world.now, 1, "ens1", Refusal::kOther);
  world.run(119);
  CHECK(world.decide().empty());
  world.run(1);
  CHECK(world.decide().size() == 1);
}

TEST_CASE("budget: a fresh child gets room that is free, and keeps it until it is heard of or given up") {
  World world({.move_patience = 20s});
  world.nic("ens1", 1);
  for (SeatId id = 1; id <= 2; ++id) REQUIRE(world.budget.add(id, {"ens1"}, Pin::kNone).ok());
  CHECK(world.budget.seat_for(world.now, 1) == kNic);
  CHECK(world.budget.seat_for(world.now, 1) == kNic);
  CHECK(world.budget.seat_for(world.now, 2) == kNowhere);
  CHECK(world.device("ens1").used == 1);
  world.run(20);
  world.decide();
  CHECK(world.device("ens1").used == 0);
  CHECK(world.budget.seat_for(world.now, 2) == kNic);
  world.budget.placed(world.now, 2, kNic);
  CHECK(world.why(2) == Why::kRoom);
  CHECK(world.budget.seat(2)->place == kNic);
}

TEST_CASE("budget: a rekey that happens anyway keeps its place, or makes a move come true") {
  World world;
  world.nic("ens1", 1);
  world.seat(1, 10000, {"ens1"}, kNic);
  world.seat(2, 90000, {"ens1"});
  CHECK(world.budget.seat_for(world.now, 1) == kNic);
  CHECK(world.budget.seat_for(world.now, 2) == kNowhere);
  world.run(60);
  CHECK(world.budget.seat_for(world.now, 1) == kNic);
  world.decide();
  CHECK(world.budget.seat_for(world.now, 1) == kNowhere);
  world.budget.placed(world.now, 1, kNowhere);
  CHECK(world.decide() == Texts{"2 software>ens1 among the busiest"});
  CHECK(world.budget.seat_for(world.now, 2) == kNic);
}

TEST_CASE("budget: a rekey of a quiet seat does not put it onto the NIC, one of a busy seat does at no cost") {
  World world({.moves_per_minute = 0});
  world.nic("ens1", 10);
  world.seat(1, 500, {"ens1"});
  world.seat(2, 5000, {"ens1"});
  world.seat(3, 0, {"ens1"}, kNowhere, Pin::kNic);
  world.run(60);
  CHECK(world.budget.seat_for(world.now, 1) == kNowhere);
  CHECK(world.budget.seat_for(world.now, 2) == kNic);
  CHECK(world.budget.seat_for(world.now, 3) == kNic);
  CHECK(world.budget.moves_under_way() == 0);
}

TEST_CASE("budget: rates begin at 0, halve after half_life, and survive a counter that begins again") {
  World world({.half_life = 10s});
  world.nic("ens1");
  REQUIRE(world.budget.add(1, {"ens1"}, Pin::kNone).ok());
  const auto rate = [&] { return world.budget.seat(1)->rate; };
  Instant at = world.now;
  world.budget.observe(at, 1, 1'000'000);
  CHECK(rate() == 0);
  world.budget.observe(at = at + 10s, 1, 1'010'000);
  CHECK(rate() == doctest::Approx(500));
  world.budget.observe(at, 1, 1'010'000);  // the same instant again
  CHECK(rate() == doctest::Approx(500));
  world.budget.observe(at = at + 10s, 1, 1'010'000);
  CHECK(rate() == doctest::Approx(250));
  world.budget.observe(at = at + 10s, 1, 2'500);  // counts from 0 again
  CHECK(rate() == doctest::Approx(250));
  world.budget.observe(at = at + 1s, 1, UINT64_MAX);
  CHECK(rate() <= kRateMax);
  world.budget.observe(at, 99, 5);  // nobody
}

TEST_CASE("budget: what is not there or too much is refused in words") {
  World world;
  CHECK_FALSE(world.budget.set_device(world.now, {.name = "", .configured = {}}).ok());
  CHECK_FALSE(world.budget.add(1, {""}, Pin::kNone).ok());
  CHECK_FALSE(world.budget.add(1, std::vector<std::string>(kDevicesPerSeatMax + 1, "a"), Pin::kNone).ok());
  CHECK_FALSE(world.budget.seat(1));
  for (size_t i = 0; i < kBudgetDevicesMax; ++i) world.nic("n" + std::to_string(i));
  const Status too_many = world.budget.add(1, {"n0", "one-more"}, Pin::kNone);
  REQUIRE_FALSE(too_many.ok());
  CHECK(too_many.error().detail().find("device one-more: more than 256 devices") != std::string::npos);
  world.budget.remove_device(world.now, "n7");
  CHECK(world.budget.add(1, {"n0", "one-more"}, Pin::kNone).ok());
  world.budget.placed(world.now, 2, "n0");  // nobody
  world.budget.refused(world.now, 2, "n0", Refusal::kOther);
  world.budget.remove(2);
  CHECK(world.budget.seat_for(world.now, 2) == kNowhere);
}

TEST_CASE("budget: settings outside their limits are named with what is possible") {
  CHECK(check({}).ok());
  const auto detail = [](const BudgetSettings& settings) { return check(settings).error().detail(); };
  CHECK(detail({.half_life = 0s}) == "offload budget: half_life is 0 ms; 1000 ms to 3600000 ms is possible");
  CHECK(detail({.hysteresis_percent = 1001}) == "offload budget: hysteresis_percent is 1001; 0 to 1000 is possible");
  CHECK_FALSE(check({.stay_least = -1s}).ok());
  CHECK_FALSE(check({.device_settle = 2h}).ok());
  CHECK_FALSE(check({.move_patience = 0s}).ok());
  CHECK_FALSE(check({.grow_after = 1s}).ok());
  CHECK_FALSE(check({.moves_per_minute = 60001}).ok());
  CHECK_FALSE(check({.moves_per_minute = 1}).ok());
  CHECK_FALSE(check({.moves_at_once = 0}).ok());
  CHECK_FALSE(check({.reserve_percent = 51}).ok());
}
