#include "agent/own_spis.h"

#include <doctest/doctest.h>

#include "ike/engine.h"
#include "tests/support/engine_world.h"

using namespace ipsec;
using namespace ipsec::agent;
using namespace ipsec::testing;

namespace {

/// One worker of a node: an engine, whose questions nobody answers.
struct NodeWorker {
  NodeWorker(uint8_t index, OwnSpis& own, uint64_t seed, uint8_t node = 0)
      : random(seed), spis(index, random, node, own), engine({}, random, spis) {}
  uint64_t dropped() const { return engine.counters().get(Reason::kIkeOwnSpi); }
  Bytes begin(Instant now, const std::shared_ptr<const policy::Tunnel>& tunnel, const ike::Path& path) {
    id = engine.initiate(now, tunnel, "lan", path).value();
    Bytes sent;
    while (auto action = engine.poll_action())
      if (auto* datagram = std::get_if<ike::SendDatagram>(&*action)) sent = std::move(datagram->bytes);
    return sent;
  }
  SeededRandom random;
  NodeSpiSource spis;
  ike::IkeEngine engine;
  ike::IkeSaId id;
};

}  // namespace

TEST_CASE("own SPIs: our own first message, sent back to any worker of the node, is dropped and counted") {
  World world;
  OwnSpis own;
  NodeWorker first(0, own, 1), second(1, own, 2);
  const ike::Path path{.context = ike::SocketContext(0),
                       .local = {*world.a.tunnel->local_address(), 500},
                       .remote = {*world.a.tunnel->remote, 500}};
  const Bytes request = first.begin(world.now, world.a.tunnel, path);
  for (NodeWorker* each : {&first, &second}) {
    each->engine.receive(world.now, path, request);
    CHECK(each->dropped() == 1);
    CHECK(!each->engine.poll_action());
  }

  // Once the IKE SA is over the SPI is anybody's.
  first.engine.close_ike(world.now, first.id, Reason::kShutdown, ike::CloseMode::kSilently);
  second.engine.receive(world.now, path, request);
  CHECK(second.dropped() == 1);
  CHECK(second.engine.poll_action());
}

TEST_CASE("own SPIs: another node's SPI, and a peer's of the same form, are not ours") {
  World world;
  OwnSpis ours, theirs;
  NodeWorker here(0, ours, 1), there(0, theirs, 2), other_node(0, theirs, 3, 9);
  const ike::Path path{.context = ike::SocketContext(0),
                       .local = {*world.a.tunnel->local_address(), 500},
                       .remote = {*world.a.tunnel->remote, 500}};
  for (NodeWorker* each : {&there, &other_node}) {
    here.engine.receive(world.now, path, each->begin(world.now, world.a.tunnel, path));
    CHECK(here.engine.poll_action());
  }
  CHECK(here.dropped() == 0);
}

TEST_CASE("own SPIs: an IKE SA taken over from a snapshot counts as begun here") {
  World world;
  OwnSpis own;
  NodeWorker first(0, own, 1);
  const ike::Path path{.context = ike::SocketContext(0),
                       .local = {*world.a.tunnel->local_address(), 500},
                       .remote = {*world.a.tunnel->remote, 500}};
  const Bytes request = first.begin(world.now, world.a.tunnel, path);
  const Secret snapshot = *first.engine.snapshot(world.now, first.id);
  OwnSpis fresh;
  NodeWorker restored(0, fresh, 4), beside(1, fresh, 5);
  REQUIRE(restored.engine.restore(world.now, snapshot, [&](const std::string&) { return world.a.tunnel; }).ok());
  beside.engine.receive(world.now, path, request);
  CHECK(beside.dropped() == 1);
}
