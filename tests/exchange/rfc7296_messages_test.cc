#include <doctest/doctest.h>

#include <algorithm>

#include "ike/snapshot.h"
#include "tests/support/insider.h"
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

/// All datagrams that are sent while `act` runs, with who receives them.
std::vector<Flight> record(World& world, const std::function<void()>& act) {
  std::vector<Flight> all;
  world.lose = [&](const Flight& flight) { return all.push_back(flight), false; };
  act();
  world.lose = nullptr;
  return all;
}

Header header_of(const Flight& flight) { return *Header::parse(flight.bytes); }

/// The flags of each generic header of a chain.
std::vector<uint8_t> flags_of(ByteView chain) {
  std::vector<uint8_t> flags;
  for (size_t at = 0; at + 4 <= chain.size(); at += static_cast<size_t>(chain[at + 2]) << 8 | chain[at + 3])
    flags.push_back(chain[at + 1]);
  return flags;
}

Bytes zeros(size_t count) { return Bytes(count, 0); }

}  // namespace

TEST_CASE("RFC 7296 2.1: each repetition of a request has the bytes and the message ID of the first") {
  LEDGER("2.1-03", "2.1-06", "2.1-07", "2.2-01", "2.3-06");
  for (int exchange = 0; exchange < 3; ++exchange) {
    CAPTURE(exchange);
    World world;
    world.initiate();
    if (exchange >= 1) world.deliver_one(), world.deliver_one();
    if (exchange == 2) {
      world.deliver_all();
      world.b.engine().check_liveness(world.now, world.b.ike());
      world.collect();
    }
    std::vector<Flight> copies;
    world.lose = [&](const Flight& flight) { return copies.push_back(flight), true; };
    world.run_for(4s);

    REQUIRE(copies.size() >= 3);
    for (const Flight& each : copies) CHECK(each.bytes == copies.front().bytes);
    world.lose = nullptr;
    world.run_for(60s);
    CHECK(world.is_up_and_equal());
  }
}

TEST_CASE("RFC 7296 2.1: a response is sent again when its request comes again, and never otherwise") {
  LEDGER("2.1-01", "2.1-02", "2.1-04", "2.3-07");
  UpWorld world({.dpd = 0s});
  Insider peer(world, world.a);
  PayloadWriter request;
  request.add(DeletePayload{.protocol = policy::Protocol::kEsp, .spis = {world.a.inbound.begin()->first}});
  const Bytes datagram = peer.seal(Exchange::kInformational, 0, peer.next_id, request.first(), request.view());

  const auto first = peer.deliver(datagram);
  REQUIRE(first.size() == 1);
  world.b.engine().tick(world.now + 10s);
  CHECK(peer.sent().empty());
  const size_t reports = world.b.reports.size();
  world.now = world.now + 10s;
  const auto second = peer.deliver(datagram);

  CHECK(second == first);
  CHECK(world.b.reports.size() == reports);  // nothing happened but that
}

TEST_CASE("RFC 7296 2.3: a message ID outside the window is neither answered nor acted on") {
  LEDGER("2.1-05", "2.3-08", "2.3-09");
  UpWorld world({.dpd = 0s});
  Insider peer(world, world.a);
  PayloadWriter request;
  request.add(DeletePayload{.protocol = policy::Protocol::kIke});
  const uint32_t expected = peer.next_id;
  for (uint32_t id : {expected + 1, expected + 100, UINT32_MAX, expected - 2, 0U}) {
    world.now = world.now + 1s;
    CHECK(peer.deliver(peer.seal(Exchange::kInformational, 0, id, request.first(), request.view())).empty());
  }
  CHECK(world.b.state() == "established");
  CHECK(peer.ask(Exchange::kInformational, PayloadWriter()));
}

TEST_CASE("RFC 7296 2.3: one request at a time, and the peer's are served while ours is under way") {
  LEDGER("2.3-02", "2.3-03", "2.3-04", "2.3-05");
  UpWorld world({.second_child = true});
  Insider peer(world, world.a);
  // N(SET_WINDOW_SIZE) was never said, so the window is one.
  world.b.engine().check_liveness(world.now, world.b.ike());
  (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz");
  world.b.engine().close_child(world.now, world.b.ike(), ChildId(world.b.inbound.begin()->first),
                               Reason::kDeletedByOperator);

  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  CHECK(peer.ask(Exchange::kInformational, PayloadWriter()));
  CHECK(peer.sent().empty());
  peer.answer(peer.read(sent[0]), PayloadWriter());
  CHECK(peer.sent().size() == 1);
}

TEST_CASE("RFC 7296 3.1: whatever is sent has the right version, flags, SPIs and zeros where zeros belong") {
  LEDGER("2.5-06", "2.5-10", "3.1-01", "3.1-02", "3.1-03", "3.1-04", "3.1-07", "3.1-09", "3.1-10", "3.1-12", "3.1-13",
         "3.10-01", "3.10-03", "3.2-01", "3.2-04", "3.2-06", "3.12-01", "3.14-01");
  World world({.second_child = true, .dpd = 0s});
  const auto flights = record(world, [&] {
    world.initiate();
    world.deliver_all();
    world.a.engine().rekey_child(world.now, world.a.ike(), ChildId(world.a.inbound.begin()->first), Reason::kRekeyTime);
    world.run_for(10s);
    (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz");
    world.run_for(10s);
    world.b.engine().check_liveness(world.now, world.b.ike());
    world.deliver_all();
  });
  Insider either(world, world.a);
  std::set<std::pair<const Host*, uint32_t>> requests;
  for (size_t i = 0; i < flights.size(); ++i) {
    const Header header = header_of(flights[i]);
    const Host* from = flights[i].to == &world.a ? &world.b : &world.a;
    CHECK(header.version == 0x20);
    CHECK(header.initiator_spi);
    CHECK(header.responder_spi.value() == (i == 0 ? 0 : either.sa().spi_r.value()));
    CHECK(header.from_initiator() == (from == &world.a));
    CHECK((header.flags & ~(Header::kFlagInitiator | Header::kFlagResponse)) == 0);
    // A request has an ID that its sender has not used; a response has that of a request of the other side.
    if (header.is_response())
      CHECK(requests.contains({flights[i].to, header.message_id}));
    else
      CHECK(requests.insert({from, header.message_id}).second);
    const bool plain = header.exchange == Exchange::kIkeSaInit;
    const Read read = plain ? read_plain(flights[i].bytes) : either.read(flights[i].bytes);
    CHECK_FALSE(read.payloads.encrypted);
    for (uint8_t flags : flags_of(read.chain)) CHECK(flags == 0);
    // What is said of the IKE SA names no SPI, what is said of a child names the protocol.
    for (const NotifyPayload& each : read.payloads.notifies) {
      CHECK(each.spi.empty() == (each.type != NotifyType::kRekeySa));
      if (!each.spi.empty()) CHECK(each.protocol == policy::Protocol::kEsp);
    }
    if (!plain) CHECK(flights[i].bytes[Header::kBytes + 1] == 0);
  }
  CHECK(flights.size() >= 12);
}

TEST_CASE("RFC 7296 2.5: the minor version and reserved bits of what is received are ignored") {
  LEDGER("2.5-01", "2.5-04", "2.5-06", "3.1-08", "3.1-09", "3.1-12", "3.2-03", "3.2-06");
  UpWorld world;
  Insider peer(world, world.a);
  peer.version = 0x2f;
  peer.or_flags = Header::kFlagVersion | 0xc7;
  ByteWriter body(4);
  body.u32(0x00009c40);  // no protocol, no SPI, a status type
  const Bytes chain = raw_payload(PayloadType::kNone, 0xff, body.view());

  const auto answer = peer.ask(Exchange::kInformational, PayloadType::kNotify, chain);

  REQUIRE(answer);
  CHECK(answer->header.version == 0x20);
  CHECK(answer->payloads.notifies.empty());
  CHECK(world.b.state() == "established");
}

TEST_CASE(
    "RFC 7296 2.5: a request of a higher major version is dropped and answered with ours, a response is dropped") {
  LEDGER("2.5-02", "3.1-06");
  World world;
  world.initiate();
  Flight request = world.wire.front();
  request.bytes[17] = 0x30;
  world.b.engine().receive(world.now, request.path, request.bytes);
  world.b.drain(world.now);
  REQUIRE(world.b.outbox.size() == 1);
  const Read answer = read_plain(world.b.outbox[0].second);
  CHECK(answer.has_only(NotifyType::kInvalidMajorVersion));
  CHECK(answer.header.version == 0x20);
  CHECK(answer.header.message_id == 0);
  CHECK(world.b.engine().ike_sas().empty());

  world.b.outbox.clear();
  request.bytes[19] = Header::kFlagResponse;
  world.b.engine().receive(world.now, request.path, request.bytes);
  world.b.drain(world.now);
  CHECK(world.b.outbox.empty());
}

TEST_CASE("RFC 7296 2.5: an unknown payload is passed over unless it is critical; then only the request is refused") {
  LEDGER("2.5-07", "2.5-08", "2.5-09", "3.2-02", "4-02", "4-03", "2.21.3-01");
  UpWorld world;
  Insider peer(world, world.a);
  const auto unknown = PayloadType{200};

  const auto passed = peer.ask(Exchange::kInformational, unknown, raw_payload(PayloadType::kNone, 0, zeros(12)));
  REQUIRE(passed);
  CHECK(passed->chain.empty());

  const auto refused = peer.ask(Exchange::kInformational, unknown, raw_payload(PayloadType::kNone, 0x80, zeros(12)));
  REQUIRE(refused);
  CHECK(refused->has_only(NotifyType::kUnsupportedCriticalPayload));
  CHECK(refused->payloads.notifies[0].data == Bytes{200});
  CHECK(world.b.state() == "established");
  CHECK(peer.ask(Exchange::kInformational, PayloadWriter()));
}

TEST_CASE("RFC 7296 2.5: an unknown critical payload in IKE_SA_INIT is named, and nothing is kept") {
  LEDGER("2.5-08", "2.21.2-02");
  World world;
  world.initiate();
  Flight request = world.wire.front();
  Bytes chain = raw_payload(PayloadType::kSa, 0x80, zeros(3));
  chain.insert(chain.end(), request.bytes.begin() + Header::kBytes, request.bytes.end());
  ByteWriter out(Header::kBytes + chain.size());
  Header header = header_of(request);
  header.next_payload = PayloadType{201};
  header.length = static_cast<uint32_t>(Header::kBytes + chain.size());
  header.write(out);
  out.bytes(chain);
  world.b.engine().receive(world.now, request.path, out.view());
  world.b.drain(world.now);
  REQUIRE(world.b.outbox.size() == 1);
  const Read answer = read_plain(world.b.outbox[0].second);
  CHECK(answer.has_only(NotifyType::kUnsupportedCriticalPayload));
  CHECK(answer.payloads.notifies[0].data == Bytes{201});
  CHECK(world.b.engine().ike_sas().empty());
}

TEST_CASE("RFC 7296 2.5: payloads may come in any order") {
  LEDGER("1.7-05", "2.5-11");
  World world;
  world.initiate();
  const Flight request = world.wire.front();
  const Read read = read_plain(request.bytes);
  PayloadWriter mixed;
  mixed.add(*read.payloads.nonce);
  for (const NotifyPayload& each : read.payloads.notifies) mixed.add(each);
  mixed.add(*read.payloads.ke);
  mixed.add(*read.payloads.sa);
  ByteWriter out(request.bytes.size());
  Header header = read.header;
  header.next_payload = mixed.first();
  header.write(out);
  out.bytes(mixed.view());
  REQUIRE(out.size() == request.bytes.size());
  world.b.engine().receive(world.now, request.path, out.view());
  world.b.drain(world.now);
  REQUIRE(world.b.outbox.size() == 1);
  CHECK(read_plain(world.b.outbox[0].second).payloads.sa);
}

TEST_CASE("RFC 7296 2: messages of three thousand bytes are taken, and unfamiliar vendor IDs are passed over") {
  LEDGER("2-01", "3.12-02");
  UpWorld world;
  Insider peer(world, world.a);
  PayloadWriter large;
  large.add(VendorIdPayload{zeros(2900)});
  const auto answer = peer.ask(Exchange::kInformational, large);
  REQUIRE(answer);
  CHECK(answer->chain.empty());
}

TEST_CASE("RFC 7296 2.20: whoever asks for a version or an address gets none, as configuration is not served") {
  LEDGER("2.20-01", "3.15.1-05");
  UpWorld world;
  Insider peer(world, world.a);
  constexpr uint16_t kApplicationVersion = 7, kUnheardOf = 999;
  PayloadWriter request;
  request.add(ConfigPayload{.type = ConfigPayload::Type::kRequest,
                            .attributes = {{kApplicationVersion, {}}, {kUnheardOf, {1, 2}}}});
  const auto answer = peer.ask(Exchange::kInformational, request);
  REQUIRE(answer);
  CHECK_FALSE(answer->payloads.config);
  CHECK(world.b.state() == "established");
}

TEST_CASE("RFC 7296 2.2: long before message IDs are used up the IKE SA is rekeyed, and at the last one it ends") {
  LEDGER("2.2-02");
  UpWorld world({.dpd = 30s});
  auto find = [&](const std::string&) { return world.b.tunnel; };
  SeededRandom random(3);
  WorkerSpiSource spis(1, random);
  for (bool last : {false, true}) {
    auto sa = read_snapshot(*world.b.engine().snapshot(world.now, world.b.ike()), world.now, find);
    REQUIRE(sa.ok());
    (*sa)->window.next_request = last ? UINT32_MAX : kMessageIdRekey;
    IkeEngine engine({}, random, spis);
    REQUIRE(engine.restore(world.now, write_snapshot(**sa, world.now), find).ok());
    engine.tick(world.now + 31s);
    size_t requests = 0;
    while (auto action = engine.poll_action())
      if (const auto* sent = std::get_if<SendDatagram>(&*action)) {
        ++requests;
        CHECK(Header::parse(sent->bytes)->exchange == Exchange::kCreateChildSa);
      }
    CHECK(requests == (last ? 0 : 1));
    CHECK(engine.ike_sas().empty() == last);
  }
}

TEST_CASE("RFC 7296 3.10.1: notifications that nobody knows do nothing in a request and fail what an error answers") {
  LEDGER("3.10.1-01", "3.10.1-02", "3.10.1-03");
  UpWorld world({.second_child = true});
  Insider peer(world, world.a);
  PayloadWriter strange;
  strange.add(NotifyPayload{.type = NotifyType{8190}});
  strange.add(NotifyPayload{.type = NotifyType{39999}, .data = {1, 2, 3}});
  const auto answer = peer.ask(Exchange::kInformational, strange);
  REQUIRE(answer);
  CHECK(answer->chain.empty());
  CHECK(world.is_up_and_equal());

  (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz");
  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  peer.answer(peer.read(sent[0]), strange);
  CHECK(world.b.failed.size() == 1);
  CHECK(world.b.state() == "established");
}

TEST_CASE("RFC 7296 2.21.3: an authentic request that is malformed is answered INVALID_SYNTAX and ends the IKE SA") {
  LEDGER("2.21.3-01", "3.10.1-04");
  UpWorld world;
  Insider peer(world, world.a);
  const auto answer = peer.ask(Exchange::kInformational, PayloadType::kNonce, raw_payload(PayloadType::kNone, 0, {}));
  REQUIRE(answer);
  CHECK(answer->has_only(NotifyType::kInvalidSyntax));
  CHECK(world.b.state() == "none");
  CHECK(world.b.inbound.empty());
}

TEST_CASE("RFC 7296 2.21.2: a malformed IKE_AUTH request gets nothing but INVALID_SYNTAX") {
  LEDGER("2.21.2-02");
  World world;
  world.initiate();
  world.deliver_one();
  world.deliver_one();
  Insider peer(world, world.a);
  peer.next_id = 1;
  const auto answer = peer.ask(Exchange::kIkeAuth, PayloadType::kIdI, raw_payload(PayloadType::kNone, 0, zeros(2)));
  REQUIRE(answer);
  CHECK(answer->has_only(NotifyType::kInvalidSyntax));
  CHECK(world.b.state() == "none");
}

TEST_CASE("RFC 7296 3.1: nothing is ever sent in answer to a response") {
  LEDGER("2.21.3-02", "2.21.4-01", "3.1-11");
  UpWorld world;
  Insider peer(world, world.a);
  const Bytes broken = raw_payload(PayloadType::kNone, 0, {});
  // Nobody asked.
  CHECK(
      peer.deliver(peer.seal(Exchange::kInformational, Header::kFlagResponse, 0, PayloadType::kNonce, broken)).empty());
  CHECK(world.b.state() == "established");
  // Asked, and the answer cannot be read.
  world.b.engine().check_liveness(world.now, world.b.ike());
  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  peer.answer(peer.read(sent[0]), PayloadType::kNonce, broken);
  CHECK(peer.sent().empty());
}

TEST_CASE("RFC 7296 2.21.4: messages without protection, or of no IKE SA, change nothing and are not answered") {
  LEDGER("1.5-01", "2.4-03", "2.21.4-01", "2.21.4-04", "2.21.4-08");
  UpWorld world({.dpd = 0s});
  Insider peer(world, world.a);
  world.b.engine().check_liveness(world.now, world.b.ike());
  REQUIRE(peer.sent().size() == 1);
  for (NotifyType type : {NotifyType::kInvalidIkeSpi, NotifyType::kInvalidSyntax, NotifyType::kAuthenticationFailed,
                          NotifyType::kInvalidSpi, NotifyType::kInvalidMajorVersion}) {
    for (uint8_t flags : {uint8_t{0x08}, uint8_t{0x28}}) {
      for (bool known : {true, false}) {
        PayloadWriter out;
        out.add(NotifyPayload{.type = type});
        ByteWriter datagram(64);
        Header{.initiator_spi = peer.sa().spi_i,
               .responder_spi = known ? peer.sa().spi_r : IkeSpi(0x1234567890),
               .next_payload = out.first(),
               .exchange = Exchange::kInformational,
               .flags = flags,
               .message_id = 0,
               .length = static_cast<uint32_t>(Header::kBytes + out.view().size())}
            .write(datagram);
        datagram.bytes(out.view());
        CHECK(peer.deliver(Bytes(datagram.view().begin(), datagram.view().end())).empty());
      }
    }
  }
  CHECK(world.is_up_and_equal());
}

TEST_CASE("RFC 7296 3.14: an encrypted payload inside an encrypted payload is malformed") {
  LEDGER("3.1-01");
  UpWorld world;
  Insider peer(world, world.a);
  const auto answer =
      peer.ask(Exchange::kInformational, PayloadType::kEncrypted, raw_payload(PayloadType::kNone, 0, zeros(40)));
  REQUIRE(answer);
  CHECK(answer->has_only(NotifyType::kInvalidSyntax));
}

TEST_CASE("RFC 7296 1.4: an INFORMATIONAL request gets an answer whatever stands in it, but none before IKE_AUTH") {
  LEDGER("1-01", "1.4-01", "1.4-04", "4-05");
  World world;
  world.initiate();
  world.deliver_one();
  world.deliver_one();
  {
    Insider early(world, world.a);
    early.next_id = 1;
    CHECK_FALSE(early.ask(Exchange::kInformational, PayloadWriter()));
    early.next_id = 1;
    CHECK_FALSE(early.ask(Exchange::kCreateChildSa, PayloadWriter()));
  }
  world.deliver_all();
  REQUIRE(world.is_up_and_equal());
  Insider peer(world, world.a);
  PayloadWriter with_something;
  with_something.add(NotifyPayload{.type = NotifyType{40000}});
  CHECK(peer.ask(Exchange::kInformational, PayloadWriter())->chain.empty());
  CHECK(peer.ask(Exchange::kInformational, with_something)->chain.empty());
}

TEST_CASE("RFC 7296 2.11: requests from any port are answered to where they came from, from where they went") {
  LEDGER("2.11-01", "2.11-02", "2.23-01");
  UpWorld world;
  Insider peer(world, world.a);
  for (uint16_t port : {uint16_t{500}, uint16_t{4500}, uint16_t{31337}, uint16_t{1}}) {
    peer.path.remote.port = port;
    world.b.engine().receive(world.now, peer.path,
                             peer.seal(Exchange::kInformational, 0, peer.next_id++, PayloadType::kNone, {}));
    world.b.drain(world.now);
    REQUIRE(world.b.outbox.size() == 1);
    CHECK(world.b.outbox[0].first == peer.path);
    world.b.outbox.clear();
  }
}
