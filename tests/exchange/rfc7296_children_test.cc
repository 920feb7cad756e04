#include <doctest/doctest.h>

#include "tests/support/insider.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

constexpr uint16_t kX25519 = 31, kEcp256 = 19;

struct UpWorld : World {
  explicit UpWorld(const World::Options& options = {.dpd = 0s}) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
  }
};

struct Wish {
  std::string esp = "aes256gcm16-noesn";
  uint16_t group = 0;  ///< Of the KE payload; 0: none.
  uint8_t first_number = 1;
  Bytes spi = {0x11, 0x22, 0x33, 0x44};
  std::vector<NotifyType> notices;
};

/// What a's side could ask for, as payloads.
PayloadWriter child_request(const World& world, const Wish& wish) {
  PayloadWriter out;
  for (NotifyType each : wish.notices) out.add(NotifyPayload{.type = each});
  SaPayload offer;
  const auto wanted = policy::parse_proposal(policy::Protocol::kEsp, wish.esp);
  for (const policy::Proposal& each : *wanted)
    offer.proposals.push_back({.number = static_cast<uint8_t>(wish.first_number + offer.proposals.size()),
                               .spi = wish.spi,
                               .proposal = each});
  out.add(offer);
  out.add(NoncePayload{Bytes(32, 5)});
  if (wish.group != 0) {
    CryptoContext crypto;
    SeededRandom random(5);
    out.add(KePayload{wish.group, crypto.generate(wish.group, random)->public_value});
  }
  out.add(PayloadType::kTsI, TsPayload{.selectors = world.a.tunnel->children.back().local});
  out.add(PayloadType::kTsR, TsPayload{.selectors = world.a.tunnel->children.back().remote});
  return out;
}

/// What b asks when it begins to rekey its child.
Read rekey_request(World& world, Insider& peer) {
  world.b.engine().rekey_child(world.now, world.b.ike(), ChildId(world.b.inbound.begin()->first), Reason::kRekeyTime);
  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  return peer.read(sent[0]);
}

}  // namespace

TEST_CASE(
    "RFC 7296 1.3.3: a rekey names the child, asks for what it carries, and has no key exchange without a group") {
  LEDGER("1.3.3-01", "2.9.2-02", "2.9.2-04", "3.4-03");
  World world({.dpd = 0s});
  const Path path{.context = SocketContext(0),
                  .local = {*world.b.tunnel->local_address(), 500},
                  .remote = {*world.b.tunnel->remote, 500}};
  const auto local = policy::parse_selector("10.2.7.9/32[tcp/40000]").value();
  const auto remote = policy::parse_selector("10.1.0.5/32[tcp/443]").value();
  REQUIRE(world.b.engine().initiate(world.now, world.b.tunnel, "lan", path, std::pair(local, remote)).ok());
  world.deliver_all();
  REQUIRE(world.is_up_and_equal());
  Insider peer(world, world.a);
  const uint32_t spi = world.b.inbound.begin()->first;
  const Read request = rekey_request(world, peer);

  const NotifyPayload* rekey = request.payloads.notify(NotifyType::kRekeySa);
  REQUIRE(rekey != nullptr);
  CHECK(ByteReader(rekey->spi).u32().value() == spi);
  CHECK(rekey->protocol == policy::Protocol::kEsp);
  CHECK_FALSE(request.payloads.ke);
  for (const WireProposal& each : request.payloads.sa->proposals)
    CHECK_FALSE(each.proposal.has(policy::TransformType::kKeyExchange));
  const auto& spec = *world.b.inbound.begin()->second.spec;
  CHECK(policy::all_within(spec.local, request.payloads.ts_i->selectors));
  CHECK(policy::all_within(spec.remote, request.payloads.ts_r->selectors));
  CHECK(request.payloads.ts_i->selectors.front() != local);
}

TEST_CASE("RFC 7296 1.3: with a key exchange its group is in the offer, and first in it") {
  LEDGER("1.3-01", "1.3-02", "3.4-02");
  UpWorld world({.esp_proposals_a = "aes256gcm16-x25519-ecp256", .pfs_a = true, .pfs_b = true, .dpd = 0s});
  Insider peer(world, world.a);
  const Read request = rekey_request(world, peer);
  REQUIRE(request.payloads.ke);
  const auto* first = request.payloads.sa->proposals[0].proposal.first(policy::TransformType::kKeyExchange);
  REQUIRE(first != nullptr);
  CHECK(first->id == request.payloads.ke->group);
}

TEST_CASE("RFC 7296 1.3: a child with another group than that of KE is refused with the group wanted") {
  LEDGER("1.3-03", "3.4-04");
  UpWorld world(
      {.esp_proposals_a = "aes256gcm16-x25519", .pfs_a = true, .pfs_b = true, .second_child = true, .dpd = 0s});
  Insider peer(world, world.a);
  const auto answer = peer.ask(Exchange::kCreateChildSa,
                               child_request(world, {.esp = "aes256gcm16-noesn-ecp256-x25519", .group = kEcp256}));
  REQUIRE(answer);
  REQUIRE(answer->has_only(NotifyType::kInvalidKePayload));
  CHECK(answer->payloads.notifies[0].data == Bytes{0, kX25519});
  const auto second = peer.ask(Exchange::kCreateChildSa,
                               child_request(world, {.esp = "aes256gcm16-noesn-ecp256-x25519", .group = kX25519}));
  REQUIRE(second);
  CHECK(second->payloads.ke->group == kX25519);
}

TEST_CASE("RFC 7296 3.3.6: where no group is chosen the request's KE is passed over and the answer has none") {
  LEDGER("3.3.6-11");
  UpWorld world({.second_child = true, .dpd = 0s});
  Insider peer(world, world.a);
  PayloadWriter request;
  const PayloadWriter plain = child_request(world, {.group = kX25519});
  auto parsed = parse_payloads(plain.first(), plain.view());
  REQUIRE(parsed.ok());
  SaPayload offer = *parsed->sa;
  offer.proposals[0].proposal.transforms.push_back({policy::TransformType::kKeyExchange, 0});
  request.add(offer);
  request.add(*parsed->nonce);
  request.add(*parsed->ke);
  request.add(PayloadType::kTsI, *parsed->ts_i);
  request.add(PayloadType::kTsR, *parsed->ts_r);
  const auto answer = peer.ask(Exchange::kCreateChildSa, request);
  REQUIRE(answer);
  CHECK(answer->payloads.sa);
  CHECK_FALSE(answer->payloads.ke);
}

TEST_CASE("RFC 7296 1.3.1: a child that cannot be had leaves the IKE SA and its other children") {
  LEDGER("1.3.1-03", "2.7-03", "3.3.4-05", "3.3.4-06", "3.3.6-01");
  UpWorld world({.second_child = true, .dpd = 0s});
  Insider peer(world, world.a);
  const auto answer = peer.ask(Exchange::kCreateChildSa, child_request(world, {.esp = "aes128-sha256-noesn"}));
  REQUIRE(answer);
  CHECK(answer->has_only(NotifyType::kNoProposalChosen));
  CHECK(world.b.state() == "established");
  CHECK(world.b.inbound.size() == 1);
}

TEST_CASE("RFC 7296 3.3.5: a cipher of several key sizes that names none is not chosen") {
  LEDGER("3.3.5-05");
  UpWorld world({.second_child = true, .dpd = 0s});
  Insider peer(world, world.a);
  const PayloadWriter plain = child_request(world, {});
  auto parsed = parse_payloads(plain.first(), plain.view());
  REQUIRE(parsed.ok());
  SaPayload offer = *parsed->sa;
  offer.proposals[0].proposal.transforms[0].key_bits = 0;
  PayloadWriter request;
  request.add(offer);
  request.add(*parsed->nonce);
  request.add(PayloadType::kTsI, *parsed->ts_i);
  request.add(PayloadType::kTsR, *parsed->ts_r);
  const auto answer = peer.ask(Exchange::kCreateChildSa, request);
  REQUIRE(answer);
  CHECK(answer->has_only(NotifyType::kNoProposalChosen));
}

TEST_CASE("RFC 7296 3.3.6: a proposal with an unknown transform type is passed over, the others are not") {
  LEDGER("3.3.6-06", "3.3.1-03");
  UpWorld world({.second_child = true, .dpd = 0s});
  Insider peer(world, world.a);
  const PayloadWriter plain = child_request(world, {.esp = "aes256gcm16-noesn"});
  auto parsed = parse_payloads(plain.first(), plain.view());
  REQUIRE(parsed.ok());
  SaPayload offer = *parsed->sa;
  offer.proposals.push_back(offer.proposals[0]);
  offer.proposals[1].number = 2;
  offer.proposals[0].proposal.transforms.push_back({policy::TransformType{77}, 1});
  PayloadWriter request;
  request.add(offer);
  request.add(*parsed->nonce);
  request.add(PayloadType::kTsI, *parsed->ts_i);
  request.add(PayloadType::kTsR, *parsed->ts_r);
  const auto answer = peer.ask(Exchange::kCreateChildSa, request);
  REQUIRE(answer);
  REQUIRE(answer->payloads.sa);
  CHECK(answer->payloads.sa->proposals[0].number == 2);
}

TEST_CASE("RFC 7296 3.3.6: an answer that was not offered gives no child, and the peer is told to delete its own") {
  LEDGER("3.3.6-05");
  UpWorld world({.second_child = true, .dpd = 0s});
  Insider peer(world, world.a);
  (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz");
  auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  const Read request = peer.read(sent[0]);
  PayloadWriter answer;
  SaPayload chosen;
  chosen.proposals.push_back(
      {.number = 1,
       .spi = {0x11, 0x22, 0x33, 0x44},
       .proposal = policy::parse_proposal(policy::Protocol::kEsp, "aes128-sha256-noesn").value()[0]});
  answer.add(chosen);
  answer.add(NoncePayload{Bytes(32, 5)});
  answer.add(PayloadType::kTsI, *request.payloads.ts_i);
  answer.add(PayloadType::kTsR, *request.payloads.ts_r);
  peer.answer(request, answer);
  CHECK(world.b.failed.size() == 1);
  CHECK(world.b.inbound.size() == 1);
  sent = peer.sent();
  REQUIRE(sent.size() == 1);
  CHECK(peer.read(sent[0]).payloads.deletes.size() == 1);
}

TEST_CASE("RFC 7296 1.3.1: transport mode is said in the answer when it is agreed on, and only then") {
  LEDGER("1.3.1-01");
  for (bool transport : {true, false}) {
    const auto mode = transport ? policy::EspMode::kTransport : policy::EspMode::kTunnel;
    UpWorld world({.mode_a = mode, .mode_b = mode, .second_child = true, .dpd = 0s});
    Insider peer(world, world.a);
    const auto answer =
        peer.ask(Exchange::kCreateChildSa, child_request(world, {.notices = {NotifyType::kUseTransportMode}}));
    REQUIRE(answer);
    REQUIRE(answer->payloads.sa);
    CHECK((answer->payloads.notify(NotifyType::kUseTransportMode) != nullptr) == transport);
  }
}

TEST_CASE("RFC 7296 1.3.1: an answer in another mode than wanted is deleted") {
  LEDGER("1.3.1-02");
  UpWorld world(
      {.mode_a = policy::EspMode::kTransport, .mode_b = policy::EspMode::kTransport, .second_child = true, .dpd = 0s});
  Insider peer(world, world.a);
  (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz");
  auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  const Read request = peer.read(sent[0]);
  REQUIRE(request.payloads.notify(NotifyType::kUseTransportMode) != nullptr);
  PayloadWriter answer;
  SaPayload chosen;
  chosen.proposals.push_back(request.payloads.sa->proposals[0]);
  auto& transforms = chosen.proposals[0].proposal.transforms;
  while (transforms.size() > 2) transforms.pop_back();  // one ESN transform of two
  answer.add(chosen);
  answer.add(NoncePayload{Bytes(32, 5)});
  answer.add(PayloadType::kTsI, *request.payloads.ts_i);
  answer.add(PayloadType::kTsR, *request.payloads.ts_r);
  peer.answer(request, answer);
  CHECK(world.b.reported(Reason::kModeMismatch));
  CHECK(world.b.inbound.size() == 1);
  sent = peer.sent();
  REQUIRE(sent.size() == 1);
  CHECK(peer.read(sent[0]).payloads.deletes.size() == 1);
}

TEST_CASE("RFC 7296 2.9.2: a child that was narrowed keeps its selectors when it is rekeyed, by either side") {
  LEDGER("2.8-03", "2.9.2-03");
  for (bool by_a : {true, false}) {
    UpWorld world({.remote_ts_b = "10.1.7.0/24", .dpd = 0s});
    Host& rekeyer = by_a ? world.a : world.b;
    const auto before = *world.a.inbound.begin()->second.spec;
    rekeyer.engine().rekey_child(world.now, rekeyer.ike(), ChildId(rekeyer.inbound.begin()->first), Reason::kRekeyTime);
    world.traffic = true;
    REQUIRE(world.settles());
    const auto after = *world.a.inbound.begin()->second.spec;
    CHECK(after.spi_in != before.spi_in);
    CHECK(after.local == before.local);
    CHECK(after.remote == before.remote);
    CHECK(after.suite == before.suite);
  }
}

TEST_CASE("RFC 7296 2.8.1: when a child is rekeyed is drawn at random") {
  LEDGER("2.8.1-01");
  std::set<Duration> times;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    UpWorld world({.seed = seed, .child_lifetime = 1000s, .dpd = 0s});
    const Instant up = world.now;
    world.lose = [&](const Flight&) { return times.insert(world.now - up), world.lose = nullptr, false; };
    world.run_for(900s);
  }
  CHECK(times.size() >= 6);
  CHECK(*times.begin() < 900s);
}

TEST_CASE("RFC 7296 2.8: an SA whose lifetime is over goes") {
  LEDGER("2.8-01", "2.8-02");
  UpWorld child({.child_lifetime = 100s, .dpd = 0s, .rekey = false});
  child.run_for(101s);
  CHECK(child.a.inbound.empty());
  CHECK(child.b.inbound.empty());
  CHECK(child.a.outbound.empty());
  UpWorld whole({.ike_lifetime = 100s, .dpd = 0s, .rekey = false});
  whole.run_for(101s);
  CHECK(whole.a.state() == "none");
  CHECK(whole.b.state() == "none");
}

TEST_CASE("RFC 7296 2.4: the peer is told by a Delete of an IKE SA whose lifetime is over") {
  LEDGER("2.4-09");
  UpWorld world({.ike_lifetime = 100s, .dpd = 0s, .rekey = false});
  Insider peer(world, world.a);
  world.now = world.now + 101s;
  world.b.engine().tick(world.now);
  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  const Read request = peer.read(sent[0]);
  REQUIRE(request.payloads.deletes.size() == 1);
  CHECK(request.payloads.deletes[0].protocol == policy::Protocol::kIke);
}

TEST_CASE("RFC 7296 3.10.1: an unknown error beside an answer that is otherwise good fails the request") {
  LEDGER("3.10.1-01");
  for (bool error : {true, false}) {
    UpWorld world({.second_child = true, .dpd = 0s});
    Insider peer(world, world.a);
    (void)world.b.engine().create_child(world.now, world.b.ike(), "dmz");
    const auto sent = peer.sent();
    REQUIRE(sent.size() == 1);
    const Read request = peer.read(sent[0]);
    PayloadWriter answer;
    if (error) answer.add(NotifyPayload{.type = NotifyType{8190}});
    SaPayload chosen;
    chosen.proposals.push_back(request.payloads.sa->proposals[0]);
    auto& transforms = chosen.proposals[0].proposal.transforms;
    while (transforms.size() > 2) transforms.pop_back();  // one ESN transform of two
    answer.add(chosen);
    answer.add(NoncePayload{Bytes(32, 5)});
    answer.add(PayloadType::kTsI, *request.payloads.ts_i);
    answer.add(PayloadType::kTsR, *request.payloads.ts_r);
    peer.answer(request, answer);
    CHECK(world.b.failed.size() == (error ? 1 : 0));
    CHECK(world.b.inbound.size() == (error ? 1 : 2));
  }
}

TEST_CASE("RFC 7296 4: where the peer makes no more SAs the old one is deleted and made anew") {
  LEDGER("4-06");
  UpWorld world({.child_lifetime = 200s, .dpd = 0s});
  Insider peer(world, world.a);
  const Read request = rekey_request(world, peer);
  PayloadWriter answer;
  answer.add(NotifyPayload{.type = NotifyType::kNoAdditionalSas});
  peer.answer(request, answer);
  CHECK(world.b.inbound.size() == 1);
  CHECK(world.b.reported(Reason::kRekeyFailed));
  // Its lifetime ends it: the shell makes another one.
  for (int i = 0; i < 100 && !world.b.inbound.empty(); ++i) {
    world.now = world.now + 5s;
    world.b.engine().tick(world.now);
    for (const Bytes& each : peer.sent())
      if (const Read asked = peer.read(each); asked.header.exchange == Exchange::kCreateChildSa)
        peer.answer(asked, answer);
  }
  CHECK(world.b.inbound.empty());
  CHECK(world.b.reported(Reason::kLifetimeEnded));
  CHECK(world.b.engine().create_child(world.now, world.b.ike(), "lan").ok());
}

TEST_CASE("RFC 7296 2.8: a second SA with the same selectors is no reason to delete the first") {
  LEDGER("2.8-05");
  UpWorld world;
  Insider peer(world, world.a);
  const auto answer = peer.ask(Exchange::kCreateChildSa, child_request(world, {}));
  REQUIRE(answer);
  CHECK(answer->payloads.sa);
  CHECK(world.b.inbound.size() == 2);
  CHECK(peer.sent().empty());
}

TEST_CASE("RFC 7296 2.25: a peer that puts everything off for minutes is taken to be out of step") {
  LEDGER("2.25-03");
  for (const bool ike : {false, true}) {
    UpWorld world;
    Insider peer(world, world.a);
    const Instant begin = world.now;
    if (ike)
      world.b.engine().rekey_ike(world.now, world.b.ike(), Reason::kRekeyTime);
    else
      world.b.engine().rekey_child(world.now, world.b.ike(), ChildId(world.b.inbound.begin()->first),
                                   Reason::kRekeyTime);
    PayloadWriter later;
    later.add(NotifyPayload{.type = NotifyType::kTemporaryFailure});
    size_t asked = 0;
    bool deleted = false;
    while (!deleted && world.now - begin < 600s) {
      for (const Bytes& each : peer.sent()) {
        const Read request = peer.read(each);
        deleted = deleted || !request.payloads.deletes.empty();
        if (request.header.exchange != Exchange::kCreateChildSa) continue;
        ++asked;
        peer.answer(request, later);
      }
      if (!world.b.outbox.empty()) continue;
      world.now = world.now + 1s;
      world.b.engine().tick(world.now);
      world.b.drain(world.now);
    }
    CHECK(deleted);
    CHECK(asked > 3);
    CHECK(world.now - begin >= 300s);
    CHECK(world.now - begin < 400s);
    CHECK(world.b.state() == "deleting");
  }
}
