#include <doctest/doctest.h>

#include "tests/support/insider.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

/// Both are up, and the test speaks as a.
struct InsideWorld : World {
  explicit InsideWorld(const World::Options& options = {.dpd = 0s}) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
    peer.emplace(*this, a);
    spi_a = a.inbound.begin()->first;
    spi_b = b.inbound.begin()->first;
  }
  std::optional<Insider> peer;
  uint32_t spi_a = 0, spi_b = 0;

  Reply ask_delete(policy::Protocol protocol, std::vector<uint32_t> spis = {}) {
    PayloadWriter out;
    out.add(DeletePayload{.protocol = protocol, .spis = std::move(spis)});
    return peer->ask(Exchange::kInformational, out);
  }
  /// A request for a child like "lan" or, with `rekeyed`, in its place.
  Reply ask_child(std::optional<uint32_t> rekeyed, uint8_t nonce_byte = 5) {
    PayloadWriter out;
    if (rekeyed) {
      ByteWriter spi(4);
      spi.u32(*rekeyed);
      out.add(NotifyPayload{
          .protocol = policy::Protocol::kEsp, .type = NotifyType::kRekeySa, .spi = std::move(spi).take()});
    }
    SaPayload offer;
    offer.proposals.push_back({.number = 1,
                               .spi = {0x11, 0x22, 0x33, 0x44},
                               .proposal = policy::parse_proposal(policy::Protocol::kEsp, "aes256gcm16").value()[0]});
    out.add(offer);
    out.add(NoncePayload{Bytes(32, nonce_byte)});
    out.add(PayloadType::kTsI, TsPayload{.selectors = a.tunnel->children[0].local});
    out.add(PayloadType::kTsR, TsPayload{.selectors = a.tunnel->children[0].remote});
    return peer->ask(Exchange::kCreateChildSa, out);
  }
  Reply ask_ike_rekey(uint16_t group = 31, uint8_t nonce_byte = 6) {
    PayloadWriter out;
    SaPayload offer;
    auto proposal = policy::parse_proposal(policy::Protocol::kIke, "aes256gcm16-prfsha384-x25519").value()[0];
    for (policy::Transform& each : proposal.transforms)
      if (each.type == policy::TransformType::kKeyExchange) each.id = group;
    offer.proposals.push_back({.number = 1, .spi = {1, 2, 3, 4, 5, 6, 7, 8}, .proposal = std::move(proposal)});
    out.add(offer);
    out.add(NoncePayload{Bytes(32, nonce_byte)});
    CryptoContext crypto;
    SeededRandom random(5);
    out.add(KePayload{31, crypto.generate(31, random)->public_value});
    return peer->ask(Exchange::kCreateChildSa, out);
  }
  /// What a answers to b's request: its first proposal, with one transform of each type.
  void accept(const Read& request, Bytes spi, uint8_t nonce_byte) {
    SaPayload chosen;
    chosen.proposals.push_back(request.payloads.sa->proposals[0]);
    chosen.proposals[0].spi = std::move(spi);
    std::vector<policy::Transform> once;
    for (const policy::Transform& each : chosen.proposals[0].proposal.transforms)
      if (once.empty() || once.back().type != each.type) once.push_back(each);
    chosen.proposals[0].proposal.transforms = std::move(once);
    PayloadWriter out;
    out.add(chosen);
    out.add(NoncePayload{Bytes(32, nonce_byte)});
    if (request.payloads.ke) {
      CryptoContext crypto;
      SeededRandom random(9);
      out.add(KePayload{31, crypto.generate(31, random)->public_value});
    }
    if (request.payloads.ts_i) out.add(PayloadType::kTsI, *request.payloads.ts_i);
    if (request.payloads.ts_r) out.add(PayloadType::kTsR, *request.payloads.ts_r);
    peer->answer(request, out);
  }
  void b_rekeys_child() { b.engine().rekey_child(now, b.ike(), ChildId(spi_b), Reason::kRekeyTime); }
  void b_closes_child() { b.engine().close_child(now, b.ike(), ChildId(spi_b), Reason::kDeletedByOperator); }
  void b_rekeys_ike() { b.engine().rekey_ike(now, b.ike(), Reason::kRekeyTime); }
};

bool deletes_only(const Read& read, uint32_t spi) {
  return read.payloads.deletes.size() == 1 && read.payloads.deletes[0].protocol == policy::Protocol::kEsp &&
         read.payloads.deletes[0].spis == std::vector{spi};
}

}  // namespace

TEST_CASE(
    "RFC 7296 1.4.1: a Delete names what its sender receives on, and is answered with the other half of the pair") {
  LEDGER("1.4.1-01", "1.4.1-02", "1.4.1-03", "3.11-01", "3.11-02");
  InsideWorld world;
  const auto answer = world.ask_delete(policy::Protocol::kEsp, {world.spi_a});
  REQUIRE(answer);
  CHECK(deletes_only(*answer, world.spi_b));
  CHECK(world.b.inbound.empty());
  CHECK(world.b.outbound.empty());
  CHECK(world.b.state() == "established");
}

TEST_CASE("RFC 7296 1.4.1: a child that we delete is named by our SPI, within its own IKE SA or that one's successor") {
  LEDGER("1.4-02", "1.4-03", "2.4-08", "3.11-03");
  InsideWorld world;
  world.b_closes_child();
  const auto sent = world.peer->sent();
  REQUIRE(sent.size() == 1);
  const Read request = world.peer->read(sent[0]);
  CHECK(request.header.exchange == Exchange::kInformational);
  CHECK(deletes_only(request, world.spi_b));

  World after({.dpd = 0s});
  after.initiate();
  after.deliver_all();
  after.b.engine().rekey_ike(after.now, after.b.ike(), Reason::kRekeyTime);
  after.run_for(20s);
  REQUIRE(after.is_up_and_equal());
  Insider heir(after, after.a);
  after.b.engine().close_child(after.now, after.b.ike(), ChildId(after.b.inbound.begin()->first),
                               Reason::kDeletedByOperator);
  const auto later = heir.sent();
  REQUIRE(later.size() == 1);
  CHECK(heir.read(later[0]).payloads.deletes.size() == 1);
}

TEST_CASE("RFC 7296 1.4.1: when both delete one child neither answer names it, and both halves go") {
  LEDGER("1.4.1-04", "1.4.1-05", "2.25.1-04");
  InsideWorld world;
  world.b_closes_child();
  const auto sent = world.peer->sent();
  REQUIRE(sent.size() == 1);
  const auto answer = world.ask_delete(policy::Protocol::kEsp, {world.spi_a});
  REQUIRE(answer);
  CHECK(answer->chain.empty());
  CHECK(world.b.outbound.empty());
  world.peer->answer(world.peer->read(sent[0]), PayloadWriter());
  CHECK(world.b.inbound.empty());
  CHECK(world.b.engine().view(world.b.ike())->leaving.empty());
}

TEST_CASE(
    "RFC 7296 1.4.1: what was closed is gone from the kernel, and its SPI is not used before the peer has answered") {
  LEDGER("1.4.1-06");
  InsideWorld world;
  world.b_closes_child();
  REQUIRE(world.peer->sent().size() == 1);
  CHECK(world.b.engine().view(world.b.ike())->leaving.size() == 1);
}

TEST_CASE("RFC 7296 2.25.1: a Delete of what does not exist is answered, and names nothing") {
  LEDGER("2.25.1-06");
  InsideWorld world;
  const auto answer = world.ask_delete(policy::Protocol::kEsp, {0x12345678});
  REQUIRE(answer);
  CHECK(answer->chain.empty());
  CHECK(world.b.inbound.size() == 1);
}

TEST_CASE("RFC 7296 2.25.1: a child that is being rekeyed is deleted as any other when the peer says so") {
  LEDGER("2.25.1-05");
  InsideWorld world;
  world.b_rekeys_child();
  REQUIRE(world.peer->sent().size() == 1);
  const auto answer = world.ask_delete(policy::Protocol::kEsp, {world.spi_a});
  REQUIRE(answer);
  CHECK(deletes_only(*answer, world.spi_b));
}

TEST_CASE(
    "RFC 7296 2.25.1: a rekey of a child that is being closed is put off, one of an unknown child is refused by name") {
  LEDGER("2.25-01", "2.25-04", "2.25.1-01", "2.25.1-03", "3.10-01");
  InsideWorld world;
  const auto unknown = world.ask_child(0x12345678);
  REQUIRE(unknown);
  REQUIRE(unknown->has_only(NotifyType::kChildSaNotFound));
  CHECK(unknown->payloads.notifies[0].protocol == policy::Protocol::kEsp);
  CHECK(unknown->payloads.notifies[0].spi == Bytes{0x12, 0x34, 0x56, 0x78});

  world.b_closes_child();
  REQUIRE(world.peer->sent().size() == 1);
  CHECK(world.ask_child(world.spi_a)->has_only(NotifyType::kTemporaryFailure));
  CHECK(world.b.state() == "established");
}

TEST_CASE("RFC 7296 2.25.1: a rekey of a child that we rekey too is answered as usual") {
  LEDGER("2.25.1-02");
  InsideWorld world;
  world.b_rekeys_child();
  REQUIRE(world.peer->sent().size() == 1);
  const auto answer = world.ask_child(world.spi_a);
  REQUIRE(answer);
  CHECK(answer->payloads.sa);
  CHECK(answer->payloads.notifies.empty());
}

TEST_CASE(
    "RFC 7296 2.8.1: of two crossing rekeys we close ours if its nonce is the lowest, and the old child otherwise") {
  LEDGER("2.8.1-03", "2.25.1-02");
  for (bool ours_is_lowest : {true, false}) {
    CAPTURE(ours_is_lowest);
    InsideWorld world;
    world.b_rekeys_child();
    auto sent = world.peer->sent();
    REQUIRE(sent.size() == 1);
    const Read request = world.peer->read(sent[0]);
    const uint32_t fresh = ByteReader(request.payloads.sa->proposals[0].spi).u32().value();
    REQUIRE(world.ask_child(world.spi_a, ours_is_lowest ? 0xff : 0x00)->payloads.sa);
    world.accept(request, {0x55, 0x66, 0x77, 0x88}, ours_is_lowest ? 0x00 : 0xff);
    sent = world.peer->sent();
    REQUIRE(sent.size() == 1);
    CHECK(deletes_only(world.peer->read(sent[0]), ours_is_lowest ? fresh : world.spi_b));
  }
}

TEST_CASE("RFC 7296 2.8.2: of two crossing rekeys of the IKE SA the same, and the one that stands has the children") {
  LEDGER("2.8.2-01", "2.25.2-01");
  for (bool ours_is_lowest : {true, false}) {
    CAPTURE(ours_is_lowest);
    InsideWorld world;
    world.b_rekeys_ike();
    auto sent = world.peer->sent();
    REQUIRE(sent.size() == 1);
    const Read request = world.peer->read(sent[0]);
    const uint64_t fresh = ByteReader(request.payloads.sa->proposals[0].spi).u64().value();
    const auto answer = world.ask_ike_rekey(31, ours_is_lowest ? 0xff : 0x00);
    REQUIRE(answer->payloads.sa);
    const uint64_t theirs = ByteReader(answer->payloads.sa->proposals[0].spi).u64().value();
    world.accept(request, {8, 7, 6, 5, 4, 3, 2, 1}, ours_is_lowest ? 0x00 : 0xff);
    sent = world.peer->sent();
    REQUIRE(sent.size() == 1);
    // The Delete: in ours, or in the old one that ours has replaced.
    const IkeSpi closed = Header::parse(sent[0])->initiator_spi;
    CHECK(closed == (ours_is_lowest ? IkeSpi(fresh) : world.peer->sa().spi_i));
    const IkeSaId heir(ours_is_lowest ? theirs : fresh);
    CHECK(world.b.engine().view(heir)->children.size() == 1);
  }
}

TEST_CASE("RFC 7296 2.25.1: the IKE SA is not rekeyed while one of its children is made, rekeyed or closed") {
  LEDGER("2.25-01", "2.25.1-07");
  for (int what = 0; what < 3; ++what) {
    CAPTURE(what);
    InsideWorld world({.second_child = true, .dpd = 0s});
    if (what == 0) (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz");
    if (what == 1) world.b_rekeys_child();
    if (what == 2) world.b_closes_child();
    REQUIRE(world.peer->sent().size() == 1);
    CHECK(world.ask_ike_rekey()->has_only(NotifyType::kTemporaryFailure));
  }
}

TEST_CASE(
    "RFC 7296 2.25.2: while we rekey the IKE SA the peer's rekey goes on, its children wait, its Deletes do not") {
  LEDGER("2.25-01", "2.25.2-01", "2.25.2-05", "2.25.2-06");
  {
    InsideWorld world;
    world.b_rekeys_ike();
    REQUIRE(world.peer->sent().size() == 1);
    CHECK(world.ask_child(std::nullopt)->has_only(NotifyType::kTemporaryFailure));
    CHECK(world.ask_child(world.spi_a)->has_only(NotifyType::kTemporaryFailure));
    CHECK(deletes_only(*world.ask_delete(policy::Protocol::kEsp, {world.spi_a}), world.spi_b));
  }
  InsideWorld world;
  world.b_rekeys_ike();
  REQUIRE(world.peer->sent().size() == 1);
  const auto answer = world.ask_ike_rekey();
  REQUIRE(answer);
  CHECK(answer->payloads.sa);
}

TEST_CASE("RFC 7296 2.25.2: an IKE SA that we rekey or close ends when the peer closes it, and ours is forgotten") {
  LEDGER("2.25.2-03", "2.25.2-04");
  for (bool rekey : {true, false}) {
    InsideWorld world;
    if (rekey)
      world.b_rekeys_ike();
    else
      world.b.engine().close_ike(world.now, world.b.ike(), Reason::kShutdown);
    REQUIRE(world.peer->sent().size() == 1);
    const auto answer = world.ask_delete(policy::Protocol::kIke);
    REQUIRE(answer);
    CHECK(answer->chain.empty());
    CHECK(world.b.state() == "none");
    CHECK(world.b.inbound.empty());
    CHECK(world.peer->sent().empty());
  }
}

TEST_CASE("RFC 7296 2.25.2: an IKE SA that we close is not rekeyed any more") {
  LEDGER("2.25.2-02");
  InsideWorld world;
  world.b.engine().close_ike(world.now, world.b.ike(), Reason::kShutdown);
  REQUIRE(world.peer->sent().size() == 1);
  CHECK(world.ask_ike_rekey()->has_only(NotifyType::kTemporaryFailure));
}

TEST_CASE("RFC 7296 2.8.2: an IKE SA that the peer has rekeyed already is not rekeyed by it once more") {
  LEDGER("2.8.2-02");
  InsideWorld world;
  REQUIRE(world.ask_ike_rekey()->payloads.sa);
  CHECK(world.ask_ike_rekey()->has_only(NotifyType::kTemporaryFailure));
}

TEST_CASE("RFC 7296 2.18: the IKE SA is rekeyed with a key exchange of its own and never without") {
  LEDGER("1.3.2-01", "2.18-01", "2.18-02", "2.18-03");
  InsideWorld world;
  CHECK(world.ask_ike_rekey(0)->has_only(NotifyType::kNoProposalChosen));

  world.b_rekeys_ike();
  const auto sent = world.peer->sent();
  REQUIRE(sent.size() == 1);
  const Read request = world.peer->read(sent[0]);
  REQUIRE(request.payloads.ke);
  for (const WireProposal& each : request.payloads.sa->proposals)
    for (const policy::Transform& transform : each.proposal.transforms)
      if (transform.type == policy::TransformType::kKeyExchange) CHECK(transform.id != 0);

  World fresh({.dpd = 0s});
  fresh.initiate();
  fresh.deliver_all();
  fresh.a.engine().rekey_ike(fresh.now, fresh.a.ike(), Reason::kRekeyTime);
  fresh.run_for(20s);
  for (Host* host : {&fresh.a, &fresh.b}) {
    host->engine().check_liveness(fresh.now, host->ike());
    host->drain(fresh.now);
    REQUIRE(host->outbox.size() == 1);
    CHECK(Header::parse(host->outbox[0].second)->message_id == 0);
  }
}

TEST_CASE("RFC 7296 2.8: the last request in a rekeyed IKE SA is the Delete of itself, by whoever rekeyed it") {
  LEDGER("1.3.2-02", "2.8-04");
  World world({.second_child = true, .dpd = 0s});
  world.initiate();
  world.deliver_all();
  Insider old(world, world.a);
  std::vector<Flight> requests;
  world.lose = [&](const Flight& flight) {
    const auto header = Header::parse(flight.bytes);
    if (!header->is_response() && header->initiator_spi == old.sa().spi_i) requests.push_back(flight);
    return false;
  };
  world.a.engine().rekey_ike(world.now, world.a.ike(), Reason::kRekeyTime);
  (void)world.a.engine().create_child(world.now, world.a.ike(), "dmz");
  world.deliver_all();
  world.run_for(20s);

  REQUIRE(requests.size() == 2);
  const Read last = old.read(requests[1].bytes);
  CHECK(requests[1].to == &world.b);
  REQUIRE(last.payloads.deletes.size() == 1);
  CHECK(last.payloads.deletes[0].protocol == policy::Protocol::kIke);
  CHECK(world.a.inbound.size() == 2);  // the child was made in the new one
}

TEST_CASE("RFC 7296 2.25: after TEMPORARY_FAILURE the request waits, and then comes again") {
  LEDGER("2.25-02");
  InsideWorld world;
  world.b_rekeys_child();
  auto sent = world.peer->sent();
  REQUIRE(sent.size() == 1);
  PayloadWriter later;
  later.add(NotifyPayload{.type = NotifyType::kTemporaryFailure});
  world.peer->answer(world.peer->read(sent[0]), later);
  CHECK(world.peer->sent().empty());
  const auto next = world.b.engine().next_deadline();
  REQUIRE(next);
  CHECK(*next - world.now >= 250ms);
  world.now = world.now + 5s;
  world.b.engine().tick(world.now);
  sent = world.peer->sent();
  REQUIRE(sent.size() == 1);
  CHECK(world.peer->read(sent[0]).payloads.notify(NotifyType::kRekeySa) != nullptr);
}

TEST_CASE("RFC 7296 2.25: after CHILD_SA_NOT_FOUND the child goes without a Delete and is made anew") {
  LEDGER("2.25-05");
  InsideWorld world;
  world.b_rekeys_child();
  auto sent = world.peer->sent();
  REQUIRE(sent.size() == 1);
  PayloadWriter unknown;
  ByteWriter spi(4);
  spi.u32(world.spi_b);
  unknown.add(NotifyPayload{
      .protocol = policy::Protocol::kEsp, .type = NotifyType::kChildSaNotFound, .spi = std::move(spi).take()});
  world.peer->answer(world.peer->read(sent[0]), unknown);
  CHECK(world.b.inbound.empty());
  sent = world.peer->sent();
  REQUIRE(sent.size() == 1);
  const Read request = world.peer->read(sent[0]);
  CHECK(request.header.exchange == Exchange::kCreateChildSa);
  CHECK(request.payloads.notify(NotifyType::kRekeySa) == nullptr);
}
