#include <doctest/doctest.h>

#include "ike/limits.h"
#include "tests/support/insider.h"

// What is only to be ignored ends no set-up: limits on such things skip them, and an odd proposal spoils only itself.

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

/// Payloads that are put in front of others.
struct Extra {
  const char* what;
  PayloadType type;
  Bytes body;
  size_t count = 1;
};

Bytes notify_body(uint16_t type, size_t data_bytes) {
  ByteWriter out;
  out.u16(0);
  out.u16(type);
  out.zeros(data_bytes);
  return std::move(out).take();
}

const std::vector<Extra>& ignorable() {
  static const std::vector<Extra> kAll = {
      {"many CERTREQ", PayloadType::kCertReq, *from_hex("04"), 200},
      {"a long CERTREQ", PayloadType::kCertReq, Bytes(1 + 20 * 1000, 4)},
      {"many CERT", PayloadType::kCert, *from_hex("04 30"), 200},
      {"a long CERT", PayloadType::kCert, Bytes(kCertificateBytesMax + 2, 4)},
      {"many vendor IDs", PayloadType::kVendorId, *from_hex("0102"), 200},
      {"a long vendor ID", PayloadType::kVendorId, Bytes(20'000, 1)},
      {"a long private notification", PayloadType::kNotify, notify_body(42001, 6000)},
      {"a long error in a request", PayloadType::kNotify, notify_body(8190, 6000)},
      {"many notifications", PayloadType::kNotify, notify_body(42001, 0), 500},
      {"many notifications of a known type", PayloadType::kNotify, notify_body(16388, 20), 100},
      {"a CP of unknown type", PayloadType::kConfig, *from_hex("09000000")},
      {"a CP of many attributes", PayloadType::kConfig, [] { return Bytes(4 + 4 * 200); }()},
      {"two CP", PayloadType::kConfig, *from_hex("01000000"), 2},
      {"a Delete for another protocol", PayloadType::kDelete, *from_hex("07 04 0001 00000001")},
      {"an unknown payload", PayloadType{200}, *from_hex("01"), 300},
  };
  return kAll;
}

/// The chain with `extra` in front; `first` becomes its first type.
Bytes prefixed(const Extra& extra, PayloadType& first, ByteView chain) {
  Bytes all;
  for (size_t i = 0; i < extra.count; ++i) {
    const Bytes payload = raw_payload(i + 1 < extra.count ? extra.type : first, 0, extra.body);
    all.insert(all.end(), payload.begin(), payload.end());
  }
  all.insert(all.end(), chain.begin(), chain.end());
  first = extra.type;
  return all;
}

/// An error in a response is not to be ignored: it refuses the child (RFC 7296 3.10.1).
bool read_chain_has_error(const Extra& extra) { return extra.type == PayloadType::kNotify && extra.body[2] < 0x40; }

/// The first message of a world, with `extra` in front of its payloads.
Bytes init_with(const Bytes& datagram, const Extra& extra) {
  const Read read = read_plain(datagram);
  Header header = read.header;
  const Bytes chain = prefixed(extra, header.next_payload, read.chain);
  header.length = static_cast<uint32_t>(Header::kBytes + chain.size());
  ByteWriter out;
  header.write(out);
  out.bytes(chain);
  return std::move(out).take();
}

/// a's IKE_AUTH request is on the wire.
struct AuthOnWire : World {
  explicit AuthOnWire(const Options& options = {}) : World(options) {
    initiate();
    deliver_one();
    deliver_one();
    REQUIRE(wire.size() == 1);
  }
};

struct UpWorld : World {
  explicit UpWorld(const World::Options& options = {.dpd = 0s}) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
  }
};

uint64_t counted(World& world, Reason reason) { return world.b.engine().counters().get(reason); }

/// a's IKE_AUTH request, changed and sealed again; what b answers.
Reply auth_with(World& world, const std::function<void(Read&)>& change) {
  Insider peer(world, world.a);
  Read proper = peer.read(world.wire.front().bytes);
  change(proper);
  PayloadWriter request;
  request.add(PayloadType::kIdI, *proper.payloads.id_i);
  if (proper.payloads.auth) request.add(*proper.payloads.auth);
  request.add(*proper.payloads.sa);
  request.add(PayloadType::kTsI, *proper.payloads.ts_i);
  request.add(PayloadType::kTsR, *proper.payloads.ts_r);
  peer.next_id = 1;
  return peer.ask(Exchange::kIkeAuth, request);
}

/// ESP with AES-GCM of 256 bits, no ESN; its SPI as given in hexadecimal digits.
std::string esp(const std::string& last, const std::string& number, const std::string& spi) {
  const size_t bytes = spi.size() / 2;
  const auto digits = [](size_t value, size_t width) {
    ByteWriter out;
    out.u16(static_cast<uint16_t>(value));
    return to_hex(out.view()).substr(4 - width);
  };
  return last + "00" + digits(28 + bytes, 4) + number + "03" + digits(bytes, 2) + "02" + spi +
         "0300000c 01000014 800e 0100 00000008 05000000";
}

}  // namespace

TEST_CASE("ignored: an IKE_SA_INIT request is answered whatever stands in it that is only to be ignored") {
  for (const Extra& extra : ignorable()) {
    CAPTURE(extra.what);
    World world;
    world.initiate();
    const Bytes changed = init_with(world.wire.front().bytes, extra);
    if (changed.size() > kInitBytesMax) continue;  // refused by its size, before anything is read

    world.b.engine().receive(world.now, world.wire.front().path, changed);
    world.b.drain(world.now);

    REQUIRE(world.b.outbox.size() == 1);
    CHECK(read_plain(world.b.outbox.front().second).payloads.ke);
  }
}

TEST_CASE("ignored: an IKE_AUTH request is served, and its response taken, whatever else stands in them") {
  for (const Extra& extra : ignorable()) {
    CAPTURE(extra.what);
    AuthOnWire world;
    Insider initiator(world, world.a);
    const Read proper = initiator.read(world.wire.front().bytes);
    initiator.next_id = 1;
    PayloadType first = proper.first;
    const Bytes request = prefixed(extra, first, proper.chain);

    const Reply answer = initiator.ask(Exchange::kIkeAuth, first, request);

    CHECK(answer->payloads.auth);
    CHECK(answer->payloads.ts_i);
    CHECK(world.b.state() == "established");
    CHECK(world.b.inbound.size() == 1);

    // The other way: what b answered, with the same in front of it.
    Insider responder(world, world.b);
    first = answer->first;
    const Bytes response = prefixed(extra, first, answer->chain);
    responder.answer(*answer, first, response);
    const bool refused = read_chain_has_error(extra);
    CHECK(world.a.state() == "established");
    CHECK(world.a.inbound.size() == (refused ? 0U : 1U));
  }
}

TEST_CASE("ignored: what goes beyond a limit is counted, once for each payload that was skipped") {
  UpWorld world;
  Insider peer(world, world.a);
  PayloadWriter request;
  for (size_t i = 0; i < kCertificatesMax + 5; ++i) request.add(CertReqPayload{.encoding = 4, .authorities = {}});

  const Reply answer = peer.ask(Exchange::kInformational, request);

  CHECK(answer->chain.empty());
  CHECK(counted(world, Reason::kIkeSkipped) == 5);
  CHECK(world.is_up_and_equal());
}

TEST_CASE("ignored: an odd proposal in IKE_SA_INIT leaves the others, and the answer names the one that was good") {
  World world;
  world.initiate();
  Read read = read_plain(world.wire.front().bytes);
  const WireProposal good = read.payloads.sa->proposals.front();
  // SPIs of four bytes, then a good one with the same number as the one before, then a good one with the next.
  auto& proposals = read.payloads.sa->proposals;
  proposals = {good, good, good};
  proposals[0].spi = Bytes(4, 1);
  proposals[0].number = proposals[1].number = 1;
  proposals[2].number = 2;
  PayloadWriter out;
  out.add(*read.payloads.sa);
  out.add(*read.payloads.ke);
  out.add(*read.payloads.nonce);
  Header header = read.header;
  header.next_payload = out.first();
  header.length = static_cast<uint32_t>(Header::kBytes + out.view().size());
  ByteWriter datagram;
  header.write(datagram);
  datagram.bytes(out.view());

  world.b.engine().receive(world.now, world.wire.front().path, datagram.view());
  world.b.drain(world.now);

  REQUIRE(world.b.outbox.size() == 1);
  const Read answer = read_plain(world.b.outbox.front().second);
  REQUIRE(answer.payloads.sa);
  CHECK(answer.payloads.sa->proposals.front().number == 2);
  CHECK(counted(world, Reason::kIkeSpiSize) == 1);
  CHECK(counted(world, Reason::kProposalUnusable) == 1);
}

TEST_CASE("ignored: an odd proposal for a child leaves the others") {
  struct Case {
    const char* what;
    std::string sa;
    uint8_t chosen;
  };
  const Case cases[] = {
      // NOLINT(cppcoreguidelines-avoid-c-arrays)
      {"an SPI of three bytes first", esp("02", "01", "112233") + esp("00", "02", "11223344"), 2},
      {"an SPI of eight bytes behind", esp("02", "01", "11223344") + esp("00", "02", "1122334455667788"), 1},
      {"no SPI", esp("02", "01", "") + esp("00", "02", "11223344"), 2},
      {"a reserved SPI", esp("02", "01", "00000000") + esp("00", "02", "11223344"), 2},
      {"equal numbers", esp("02", "01", "11223344") + esp("00", "01", "11223345"), 1},
      {"a gap in the numbers", esp("02", "01", "112233") + esp("02", "07", "11223344") + esp("00", "08", "11223345"),
       8},
      {"a proposal of another protocol first", "02000010 01090001 00000008 0100001c" + esp("00", "02", "11223344"), 2},
  };
  for (const Case& each : cases) {
    CAPTURE(each.what);
    UpWorld world;
    Insider peer(world, world.a);
    Bytes chain;
    const auto add = [&](PayloadType next, const std::string& body) {
      const Bytes payload = raw_payload(next, 0, *from_hex(body));
      chain.insert(chain.end(), payload.begin(), payload.end());
    };
    add(PayloadType::kNonce, each.sa);
    add(PayloadType::kTsI, std::string(64, '5'));
    add(PayloadType::kTsR, "01000000 07000010 0000ffff 0a010000 0a01ffff");
    add(PayloadType::kNone, "01000000 07000010 0000ffff 0a020000 0a02ffff");

    const Reply answer = peer.ask(Exchange::kCreateChildSa, PayloadType::kSa, chain);

    REQUIRE(answer->payloads.sa);
    CHECK(answer->payloads.sa->proposals.front().number == each.chosen);
    CHECK(world.b.inbound.size() == 2);
  }
}

TEST_CASE("ignored: an odd proposal in a rekey of the IKE SA leaves the others; only odd ones are NO_PROPOSAL_CHOSEN") {
  for (const size_t good_spi_bytes : {size_t{8}, size_t{0}}) {
    CAPTURE(good_spi_bytes);
    UpWorld world;
    Insider peer(world, world.a);
    CryptoContext crypto;
    SeededRandom random(9);
    const KeyPair pair = crypto.generate(policy::kX25519, random).value();
    SaPayload offer;
    for (const size_t bytes : {size_t{4}, size_t{0}, good_spi_bytes})
      offer.proposals.push_back({.number = static_cast<uint8_t>(offer.proposals.size() + 1),
                                 .spi = Bytes(bytes, 7),
                                 .proposal = world.a.tunnel->ike_policy->proposals.front()});
    PayloadWriter request;
    request.add(offer);
    request.add(NoncePayload{Bytes(32, 3)});
    request.add(KePayload{pair.group, pair.public_value});

    const Reply answer = peer.ask(Exchange::kCreateChildSa, request);

    if (good_spi_bytes == 8) {
      REQUIRE(answer->payloads.sa);
      CHECK(answer->payloads.sa->proposals.front().number == 3);
    } else {
      CHECK(answer->has_only(NotifyType::kNoProposalChosen));
      CHECK(world.b.state() == "established");
    }
  }
}

TEST_CASE("ignored: a key exchange of a large unknown group is answered with the group that is wanted") {
  World world;
  world.initiate();
  Read read = read_plain(world.wire.front().bytes);
  PayloadWriter out;
  out.add(*read.payloads.sa);
  out.add(KePayload{40, Bytes(3000, 1)});
  out.add(*read.payloads.nonce);
  Header header = read.header;
  header.next_payload = out.first();
  header.length = static_cast<uint32_t>(Header::kBytes + out.view().size());
  ByteWriter datagram;
  header.write(datagram);
  datagram.bytes(out.view());

  world.b.engine().receive(world.now, world.wire.front().path, datagram.view());
  world.b.drain(world.now);

  REQUIRE(world.b.outbox.size() == 1);
  CHECK(read_plain(world.b.outbox.front().second).has_only(NotifyType::kInvalidKePayload));
}

TEST_CASE("not served: an initiator that wants EAP is told AUTHENTICATION_FAILED, and the operator why") {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    AuthOnWire world({.handover = handover});

    const Reply answer = auth_with(world, [](Read& proper) { proper.payloads.auth.reset(); });

    CHECK(answer->has_only(NotifyType::kAuthenticationFailed));
    CHECK(world.b.reported(Reason::kEapNotServed));
    CHECK(world.b.state() == "none");
    CHECK(world.b.engine().half_open() == 0);
  }
}

TEST_CASE("not served: NULL authentication is AUTHENTICATION_FAILED in either role, and the operator is told why") {
  AuthOnWire world;
  const Reply answer = auth_with(world, [](Read& proper) { proper.payloads.auth->method = AuthMethod::kNull; });
  CHECK(answer->has_only(NotifyType::kAuthenticationFailed));
  CHECK(world.b.reported(Reason::kNullAuthNotServed));
  CHECK(world.b.state() == "none");

  // And a responder that proves nothing.
  AuthOnWire other;
  other.deliver_one();
  REQUIRE(other.wire.size() == 1);
  Insider responder(other, other.b);
  const Read proper = responder.read(other.wire.front().bytes);
  PayloadWriter response;
  response.add(PayloadType::kIdR, *proper.payloads.id_r);
  response.add(AuthPayload{.method = AuthMethod::kNull, .data = {1}});
  Read asked = proper;
  responder.answer(asked, response);
  CHECK(other.a.reported(Reason::kNullAuthNotServed));
  CHECK(other.a.inbound.empty());
}

TEST_CASE("not served: an identity of an unknown type fails the authentication, not the message") {
  AuthOnWire world;

  const Reply answer = auth_with(world, [](Read& proper) { proper.payloads.id_i->body[0] = 13; });

  CHECK(answer->has_only(NotifyType::kAuthenticationFailed));
  CHECK(world.b.reported(Reason::kIdentityType));
  CHECK(world.b.state() == "none");
}

TEST_CASE("not served: a name longer than any that can be configured is that of an unknown peer") {
  AuthOnWire world;

  const Reply answer = auth_with(world, [](Read& proper) { proper.payloads.id_i->body.resize(3000, 'a'); });

  CHECK(answer->has_only(NotifyType::kAuthenticationFailed));
  CHECK(world.b.reported(Reason::kUnknownPeerIdentity));
  CHECK(world.b.state() == "none");
}

TEST_CASE("delete: of the IKE SA with SPIs in it is answered with an empty message, and the IKE SA is over") {
  for (const char* body :
       {"01 08 0001 0000000000000001", "01 10 0001 00000000000000010000000000000002", "01 04 0000"}) {
    CAPTURE(body);
    UpWorld world;
    Insider peer(world, world.a);

    const Reply answer =
        peer.ask(Exchange::kInformational, PayloadType::kDelete, raw_payload(PayloadType::kNone, 0, *from_hex(body)));

    CHECK(answer->chain.empty());
    CHECK(world.b.reported(Reason::kDeletedByPeer));
    CHECK(world.b.state() == "none");
    CHECK(world.b.inbound.empty());
  }
}
