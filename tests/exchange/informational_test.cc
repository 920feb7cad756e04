#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/engine_world.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

struct UpWorld : World {
  explicit UpWorld(const World::Options& options = {}) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
  }
};

IkeSaId only(const Host& host) { return host.engine().ike_sas().front(); }

template <typename Test>
void in_both_modes(Test test) {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    CAPTURE(static_cast<int>(handover));
    test(handover);
  }
}

void check_all_gone(const World& world) {
  CHECK(world.a.state() == "none");
  CHECK(world.b.state() == "none");
  CHECK(world.a.inbound.empty());
  CHECK(world.b.inbound.empty());
  CHECK(world.a.outbound.empty());
  CHECK(world.b.outbound.empty());
}

}  // namespace

TEST_CASE("delete: either side ends the IKE SA, and nothing is left on both") {
  LEDGER("1.4.1-03");
  in_both_modes([](Handover handover) {
    for (bool initiator : {true, false}) {
      UpWorld world({.handover = handover});
      Host& closer = initiator ? world.a : world.b;
      // HDR, SK {D} -->  <-- HDR, SK {}
      closer.engine().close_ike(world.now, only(closer), Reason::kDeletedByOperator);
      world.deliver_all();
      check_all_gone(world);
      CHECK((initiator ? world.b : world.a).reported(Reason::kDeletedByPeer));
    }
  });
}

TEST_CASE("delete: both sides at once") {
  LEDGER("2.25.2-04");
  in_both_modes([](Handover handover) {
    UpWorld world({.handover = handover});
    world.a.engine().close_ike(world.now, only(world.a), Reason::kShutdown);
    world.b.engine().close_ike(world.now, only(world.b), Reason::kShutdown);
    world.run_for(60s);
    check_all_gone(world);
  });
}

TEST_CASE("delete: lost, duplicated or with the answer lost, it ends the same") {
  for (int fault = 0; fault < 3; ++fault) {
    UpWorld world;
    size_t seen = 0;
    world.lose = [&](const Flight& flight) {
      const size_t index = seen++;
      if (fault == 2 && index == 0) world.wire.push_back(flight);
      return index == static_cast<size_t>(fault);
    };
    world.a.engine().close_ike(world.now, only(world.a), Reason::kShutdown);
    world.run_for(120s);
    check_all_gone(world);
  }
}

TEST_CASE("delete: a single child goes on both sides and the IKE SA stays") {
  LEDGER("1.4.1-01", "1.4.1-02", "1.4.1-03");
  in_both_modes([](Handover handover) {
    for (bool initiator : {true, false}) {
      UpWorld world({.handover = handover});
      Host& closer = initiator ? world.a : world.b;
      const ChildId child(closer.inbound.begin()->first);
      // HDR, SK {D(ESP, spi)} -->  <-- HDR, SK {D(ESP, spi)}
      closer.engine().close_child(world.now, only(closer), child, Reason::kDeletedByOperator);
      world.deliver_all();
      CHECK(world.a.inbound.empty());
      CHECK(world.b.inbound.empty());
      CHECK(world.a.outbound.empty());
      CHECK(world.b.outbound.empty());
      CHECK(world.a.state() == "established");
      CHECK(world.b.state() == "established");
    }
  });
}

TEST_CASE("delete: both sides delete the same child at once") {
  LEDGER("1.4.1-04");
  UpWorld world;
  world.a.engine().close_child(world.now, only(world.a), ChildId(world.a.inbound.begin()->first),
                               Reason::kDeletedByOperator);
  world.b.engine().close_child(world.now, only(world.b), ChildId(world.b.inbound.begin()->first),
                               Reason::kDeletedByOperator);
  world.run_for(5s);
  CHECK(world.a.inbound.empty());
  CHECK(world.b.inbound.empty());
  CHECK(world.a.state() == "established");
  CHECK(world.b.state() == "established");
}

TEST_CASE("delete: a child, then the whole IKE SA while the first request is under way, in order and with window one") {
  LEDGER("2.3-02");
  in_both_modes([](Handover handover) {
    UpWorld world({.handover = handover});
    world.a.engine().close_child(world.now, only(world.a), ChildId(world.a.inbound.begin()->first),
                                 Reason::kDeletedByOperator);
    world.a.engine().close_ike(world.now, only(world.a), Reason::kShutdown);
    world.run_for(5s);
    check_all_gone(world);
  });
}

TEST_CASE("liveness: silence is broken by an empty exchange, and a peer that answers stays") {
  in_both_modes([](Handover handover) {
    UpWorld world({.handover = handover});
    const size_t before = world.delivered;
    world.run_for(65s);
    CHECK(world.is_up_and_equal());
    CHECK(world.delivered >= before + 4);
  });
}

TEST_CASE("liveness: a peer that is gone is noticed, and its children leave the kernel") {
  LEDGER("2.4-04");
  UpWorld world;
  world.lose = [](const Flight&) { return true; };
  world.run_for(180s);
  check_all_gone(world);
  CHECK(world.a.reported(Reason::kPeerUnreachable));
}

TEST_CASE("lifetime: an IKE SA that is not to be rekeyed ends when its time is over") {
  LEDGER("2.8-01");
  UpWorld world({.child_lifetime = std::chrono::hours(48), .rekey = false});
  world.run_for(std::chrono::hours(24) + 60s);
  check_all_gone(world);
}

TEST_CASE("hostile: garbage, foreign SPIs and forged messages change nothing but counters") {
  LEDGER("2.4-03");
  UpWorld world;
  SeededRandom random(7);
  const Path path{.context = SocketContext(0),
                  .local = {*world.b.tunnel->local_address(), 500},
                  .remote = {*world.b.tunnel->remote, 500}};
  const auto view = *world.b.engine().view(only(world.b));
  for (int i = 0; i < 3000; ++i) {
    Bytes bytes(random.below(400));
    random.fill(bytes);
    if (bytes.size() >= 28 && i % 2 == 0) {
      // A plausible header: right SPIs, version and length.
      ByteWriter header;
      header.u64(view.initiator_spi.value());
      header.u64(view.responder_spi.value());
      header.u8(i % 4 == 0 ? 46 : static_cast<uint8_t>(random.below(60)));
      header.u8(0x20);
      header.u8(static_cast<uint8_t>(34 + random.below(5)));
      header.u8(static_cast<uint8_t>(random.below(2) == 0 ? 0x08 : 0x28));
      header.u32(2);  // the next one expected
      header.u32(static_cast<uint32_t>(bytes.size()));
      std::copy(header.view().begin(), header.view().end(), bytes.begin());
      if (bytes.size() >= 32 && i % 4 == 0)
        bytes[29] = 0, bytes[30] = static_cast<uint8_t>((bytes.size() - 28) >> 8),
        bytes[31] = static_cast<uint8_t>(bytes.size() - 28);
    }
    world.b.engine().receive(world.now, path, bytes);
    world.b.drain(world.now);
  }
  CHECK(world.b.outbox.empty());
  CHECK(world.is_up_and_equal());
  CHECK(world.b.engine().counters().get(Reason::kIkeNotAuthentic) > 50);
}

TEST_CASE("hostile: an old message that is sent again gets no second effect") {
  LEDGER("2.1-05");
  UpWorld world;
  std::vector<Flight> record;
  world.lose = [&](const Flight& flight) { return record.push_back(flight), false; };
  world.a.engine().close_child(world.now, only(world.a), ChildId(world.a.inbound.begin()->first),
                               Reason::kDeletedByOperator);
  world.deliver_all();
  world.run_for(65s);  // liveness moves the window on

  const uint64_t before = world.b.engine().counters().get(Reason::kIkeMessageId);
  world.b.engine().receive(world.now, record.front().path, record.front().bytes);
  world.b.drain(world.now);

  CHECK(world.b.outbox.empty());
  CHECK(world.b.engine().counters().get(Reason::kIkeMessageId) +
            world.b.engine().counters().get(Reason::kIkeRetransmitted) >
        before);
}

TEST_CASE("snapshot: truncated at any byte or of another version it is refused") {
  UpWorld world;
  const Secret whole = *world.a.engine().snapshot(world.now, only(world.a));
  auto find = [&](const std::string&) { return world.a.tunnel; };
  SeededRandom random(1);
  WorkerSpiSource spis(1, random);
  for (size_t size = 0; size < whole.size(); ++size) {
    IkeEngine fresh({}, random, spis);
    CHECK(!fresh.restore(world.now, whole.part(0, size), find).ok());
  }
  Secret other = whole.clone();
  other.writable()[7] ^= 1;
  IkeEngine fresh({}, random, spis);
  CHECK(fresh.restore(world.now, other, find).error().reason() == Reason::kUnsupported);
  CHECK(fresh.restore(world.now, whole, [](const std::string&) { return nullptr; }).error().reason() ==
        Reason::kNotFound);
  CHECK(fresh.restore(world.now, whole, find).ok());
  CHECK(fresh.restore(world.now, whole, find).error().reason() == Reason::kExists);
}

TEST_CASE("snapshot: an IKE SA with a child that the configuration has no more is refused, and nothing crashes") {
  World world;
  auto childless = std::make_shared<policy::Tunnel>(*world.a.tunnel);
  childless->children.clear();
  const auto look = [&](const Host& host) {
    for (const IkeSaId id : host.engine().ike_sas()) {
      SeededRandom random(1);
      WorkerSpiSource spis(1, random);
      IkeEngine fresh({}, random, spis);
      const auto restored = fresh.restore(world.now, *host.engine().snapshot(world.now, id),
                                          [&](const std::string&) { return childless; });
      if (!restored.ok()) CHECK(restored.error().reason() == Reason::kNotFound);
      CHECK(restored.ok() == (host.state() == "init-answered"));  // whose tunnel is not known yet
    }
  };
  world.initiate();
  look(world.a);
  while (world.deliver_one()) {
    look(world.a);
    look(world.b);
  }
  CHECK(world.is_up_and_equal());
  const IkeSaId ike = world.a.ike();
  const ChildId child(world.a.engine().view(ike)->children.front()->spi_in.value());
  world.a.engine().rekey_child(world.now, ike, child, Reason::kRekeyTime);
  world.collect();
  look(world.a);
}

TEST_CASE("keepalives: whoever is behind a NAT keeps its mapping, and nobody else sends any") {
  LEDGER("2.23-09");
  in_both_modes([](Handover handover) {
    auto keepalives = [](const Host& host) { return std::ranges::count(host.order, "SendKeepalive"); };
    UpWorld behind({.handover = handover, .nat = true, .dpd = 0s});
    behind.run_for(101s);
    CHECK(keepalives(behind.a) == 5);
    CHECK(keepalives(behind.b) == 0);
    UpWorld open({.handover = handover, .dpd = 0s});
    open.run_for(101s);
    CHECK(keepalives(open.a) == 0);
    CHECK(keepalives(open.b) == 0);
  });
}
