#include <doctest/doctest.h>

#include <algorithm>

#include "ike/wire/header.h"
#include "tests/support/engine_world.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

/// Every test of this file runs twice: as it is, and with both engines rebuilt from snapshots after each step.
template <typename Test>
void in_both_modes(Test test) {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    CAPTURE(static_cast<int>(handover));
    test(handover);
  }
}

size_t position(const std::vector<std::string>& order, std::string_view name) {
  return static_cast<size_t>(std::find(order.begin(), order.end(), name) - order.begin());
}

}  // namespace

TEST_CASE("set-up: two exchanges make an IKE SA and a child with the same keys on both sides") {
  LEDGER("4-04");
  in_both_modes([](Handover handover) {
    World world({.handover = handover});

    world.initiate();
    // a: HDR, SAi1, KEi, Ni -->  <-- HDR, SAr1, KEr, Nr    a: HDR, SK {IDi, IDr, AUTH, SAi2, TSi, TSr} -->  <-- HDR, SK
    // {IDr, ...}
    world.deliver_all();

    CHECK(world.is_up_and_equal());
    CHECK(world.delivered == 4);
    CHECK(world.a.inbound.size() == 1);
    CHECK(world.b.established.size() == 1);
    CHECK(world.a.engine().view(world.a.engine().ike_sas().front())->proposal == "aes256gcm16-prfsha384-x25519");
  });
}

TEST_CASE("set-up: the responder installs inbound before it answers and outbound after, the initiator inbound first") {
  LEDGER("2.8-06");
  World world;

  world.initiate();
  world.deliver_all();

  const auto& order = world.b.order;
  const size_t inbound = position(order, "InstallInbound"), outbound = position(order, "InstallOutbound");
  CHECK(std::find(order.begin() + static_cast<long>(inbound), order.begin() + static_cast<long>(outbound),
                  "SendDatagram") != order.begin() + static_cast<long>(outbound));
  CHECK(position(world.a.order, "InstallInbound") < position(world.a.order, "InstallOutbound"));
  // The snapshot is stored before the datagram that follows leaves.
  CHECK(position(order, "SnapshotChanged") < position(order, "SendDatagram"));
}

TEST_CASE("set-up: every algorithm of the table is negotiated and gives both sides the same keys") {
  LEDGER("3.3.3-01");
  for (const char* ike : {"aes128gcm16-prfsha256-x25519", "chacha20poly1305-prfsha512-x448", "aes256-sha256-ecp256",
                          "aes128-sha384-ecp384", "aes256-sha512-ecp521", "aes256gcm16-prfsha384-modp2048",
                          "aes256gcm16-prfsha384-modp3072", "aes256gcm16-prfsha384-modp4096"}) {
    for (const char* esp : {"aes256gcm16-esn", "aes128gcm16-noesn", "chacha20poly1305", "aes256-sha512",
                            "aes128-sha256-noesn", "aes256-sha384"}) {
      CAPTURE(ike);
      CAPTURE(esp);
      World world({.ike_proposals_a = ike, .esp_proposals_a = esp});
      world.initiate();
      world.deliver_all();
      CHECK(world.is_up_and_equal());
      if (std::string_view(ike) != "aes128gcm16-prfsha256-x25519") break;  // each ESP suite once is enough
    }
  }
}

TEST_CASE("set-up: a group that the responder does not want costs one more round trip") {
  LEDGER("1.2-04");
  in_both_modes([](Handover handover) {
    World world({.handover = handover,
                 .ike_proposals_a = "aes256gcm16-prfsha384-x25519-ecp384",
                 .ike_proposals_b = "aes256gcm16-prfsha384-ecp384"});

    world.initiate();
    world.deliver_all();

    CHECK(world.is_up_and_equal());
    CHECK(world.delivered == 6);
    CHECK(world.a.reported(Reason::kInvalidKe));
  });
}

TEST_CASE("set-up: a responder with many half-open IKE SAs asks for a cookie and keeps no state until it comes") {
  LEDGER("2.6-02");
  World world;
  // The engine under test is b's: exhaust its patience with requests from addresses that never answer.
  Path victim{.context = SocketContext(0), .local = {*world.b.tunnel->local_address(), 500}, .remote = {}};
  world.initiate();
  const Flight real = world.wire.front();
  Bytes forged = real.bytes;
  const size_t cookies_from = policy::AdmissionLimits().half_open_cookie_from;
  for (size_t i = 0; i < cookies_from; ++i) {
    victim.remote = {IpAddress::v4(static_cast<uint32_t>(0x0a000001 + (i << 8))), 500};
    for (size_t k = 0; k < 8; ++k) forged[k] = static_cast<uint8_t>((i + 1) >> (8 * (k % 4)));
    world.b.engine().receive(world.now, victim, forged);
    world.b.drain(world.now);
  }
  world.b.outbox.clear();
  REQUIRE(world.b.engine().half_open() == cookies_from);

  world.deliver_all();

  CHECK(world.b.engine().counters().get(Reason::kIkeCookieSent) == 1);
  CHECK(world.a.state() == "established");
  CHECK(world.delivered == 6);
}

TEST_CASE("set-up: a NAT in front of the initiator is seen by both, everything moves to port 4500 and ESP into UDP") {
  LEDGER("2.23-02", "2.23-05", "2.23-08", "2.23-10");
  in_both_modes([](Handover handover) {
    for (bool ipv6 : {false, true}) {
      World world({.handover = handover, .nat = true, .ipv6 = ipv6});

      world.initiate();
      world.deliver_all();

      CHECK(world.is_up_and_equal());
      const auto a = *world.a.engine().view(world.a.engine().ike_sas().front());
      const auto b = *world.b.engine().view(world.b.engine().ike_sas().front());
      CHECK(a.nat_local);
      CHECK(!a.nat_remote);
      CHECK(b.nat_remote);
      CHECK(!b.nat_local);
      CHECK(a.path.remote.port == 4500);
      CHECK(b.path.remote.port == 24500);
      CHECK(b.children.front()->udp_encapsulation);
      CHECK(b.children.front()->remote_endpoint.port == 24500);
    }
  });
}

TEST_CASE("set-up: without a NAT there is no UDP encapsulation") {
  World world;
  world.initiate();
  world.deliver_all();
  CHECK(!world.a.inbound.begin()->second.spec->udp_encapsulation);
  CHECK(world.a.engine().view(world.a.engine().ike_sas().front())->path.remote.port == 500);
}

TEST_CASE("set-up: selectors are narrowed to what the responder allows") {
  LEDGER("2.9-03");
  World world({.local_ts = "10.1.0.0/16", .remote_ts = "10.2.0.0/16", .remote_ts_b = "10.1.7.0/24"});
  world.initiate();
  world.deliver_all();
  CHECK(world.is_up_and_equal());
  CHECK(policy::to_string(world.a.inbound.begin()->second.spec->local) == "10.1.7.0/24");
}

TEST_CASE("set-up: of children that lie within one another the peer gets the one that it names") {
  // "dmz" is 10.101.0.0/16 and 10.102.0.0/16; the other child stands before it.
  for (const auto& [local, remote] :
       {std::pair("10.101.0.0/16[tcp/20000]", "10.102.0.0/16[tcp]"), std::pair("10.96.0.0/11", "10.96.0.0/11")}) {
    CAPTURE(local);
    for (const char* const wanted : {"dmz", "lan"}) {
      CAPTURE(wanted);
      World world({.local_ts = local, .remote_ts = remote, .second_child = true});
      world.initiate(wanted);
      world.deliver_all();
      CHECK(world.is_up_and_equal());
      REQUIRE(world.b.inbound.size() == 1);
      CHECK(world.b.inbound.begin()->second.spec->child == wanted);
      CHECK(world.a.inbound.begin()->second.spec->local == world.b.inbound.begin()->second.spec->remote);
    }
  }
}

TEST_CASE("set-up: transport mode is agreed on when both want it") {
  LEDGER("1.3.1-01");
  World world({.mode_a = policy::EspMode::kTransport, .mode_b = policy::EspMode::kTransport});
  world.initiate();
  world.deliver_all();
  CHECK(world.is_up_and_equal());
  CHECK(world.a.inbound.begin()->second.spec->mode == policy::EspMode::kTransport);
}

TEST_CASE("set-up: transport mode that only one side wants gives no child, and no child is left in any kernel") {
  LEDGER("1.3.1-02", "1.3.1-03");
  for (bool initiator_wants : {true, false}) {
    World world({.mode_a = initiator_wants ? policy::EspMode::kTransport : policy::EspMode::kTunnel,
                 .mode_b = initiator_wants ? policy::EspMode::kTunnel : policy::EspMode::kTransport});
    world.initiate();
    world.deliver_all();
    CHECK(world.a.state() == "established");
    CHECK(world.b.state() == "established");
    CHECK(world.a.inbound.empty());
    CHECK(world.b.inbound.empty());
    CHECK(world.a.reported(initiator_wants ? Reason::kModeMismatch : Reason::kNoProposalChosen));
  }
}

TEST_CASE("set-up: whichever single datagram is lost, duplicated or late, the tunnel comes up once") {
  LEDGER("2.1-06");
  in_both_modes([](Handover handover) {
    for (size_t victim = 0; victim < 4; ++victim) {
      for (int fault = 0; fault < 3; ++fault) {
        CAPTURE(victim);
        CAPTURE(fault);
        World world({.handover = handover});
        size_t seen = 0;
        std::vector<Flight> late;
        world.lose = [&](const Flight& flight) {
          if (seen++ != victim) return false;
          if (fault == 1) world.wire.push_back(flight);
          if (fault == 2) late.push_back(flight);
          return fault != 1;
        };
        world.initiate();
        world.run_for(5s);
        for (Flight& each : late) world.wire.push_back(each);
        world.run_for(5s);

        CHECK(world.is_up_and_equal());
        CHECK(world.a.inbound.size() == 1);
        CHECK(world.b.inbound.size() == 1);
      }
    }
  });
}

TEST_CASE("set-up: with heavy random loss, duplication and reordering it succeeds or both sides end with nothing") {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    World world({.seed = seed, .handover = seed % 3 == 0 ? Handover::kEachStep : Handover::kNever});
    SeededRandom chance(seed);
    world.lose = [&](const Flight& flight) {
      const uint64_t die = chance.below(10);
      if (die < 3) return true;
      if (die == 3) world.wire.push_back(flight);
      if (die == 4) return world.wire.push_back(flight), true;
      return false;
    };
    world.initiate();
    world.run_for(40s);
    world.lose = nullptr;
    world.run_for(120s);

    if (world.a.state() == "established") {
      CHECK(world.is_up_and_equal());
    } else {
      CHECK(world.a.inbound.empty());
      CHECK(world.a.outbound.empty());
      CHECK(world.b.inbound.empty());
    }
  }
}

TEST_CASE("set-up: any changed byte of any datagram is survived, and the tunnel comes up by repetition") {
  LEDGER("1.2-02");
  for (size_t victim = 0; victim < 4; ++victim) {
    for (size_t byte = 0; byte < 400; byte += 7) {
      CAPTURE(victim);
      CAPTURE(byte);
      World world({.seed = byte + 1});
      size_t seen = 0;
      bool changed = false;
      world.lose = [&](const Flight& flight) {
        if (changed || seen++ != victim || byte >= flight.bytes.size()) return false;
        changed = true;
        Flight damaged = flight;
        damaged.bytes[byte] ^= 0x55;
        world.wire.push_front(damaged);
        return true;
      };
      world.initiate();
      world.run_for(60s);
      // A change in IKE_SA_INIT is only noticed by AUTH, and then this set-up fails; in IKE_AUTH it never does.
      if (victim >= 2)
        CHECK(world.is_up_and_equal());
      else if (world.a.state() != "established")
        CHECK(world.a.inbound.empty());
    }
  }
}

TEST_CASE(
    "set-up: a repeated request is answered with the same bytes, to the first copy's address, at a bounded rate") {
  LEDGER("2.1-01", "2.1-02");
  World world;
  world.initiate();
  const Flight request = world.wire.front();
  world.deliver_one();
  const Flight response = world.wire.back();
  Flight elsewhere = request;

  world.b.engine().receive(world.now, request.path, request.bytes);
  world.b.drain(world.now);
  CHECK(world.b.outbox.empty());  // too soon

  world.now = world.now + 200ms;
  world.b.engine().receive(world.now, elsewhere.path, request.bytes);
  world.b.drain(world.now);
  REQUIRE(world.b.outbox.size() == 1);
  CHECK(world.b.outbox[0].second == response.bytes);
  CHECK(world.b.outbox[0].first.remote == request.path.remote);
  CHECK(world.b.engine().counters().get(Reason::kIkeRetransmitLimited) == 1);
}
