#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/insider.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

/// What `host` has sent last, as the other side reads it.
Read last_sent(World& world) {
  REQUIRE(!world.wire.empty());
  return read_plain(world.wire.back().bytes);
}

/// An unprotected response to the IKE_SA_INIT request on the wire, given to a at once.
void answer_init(World& world, const PayloadWriter& payloads, IkeSpi spi_r = IkeSpi()) {
  const Flight request = world.wire.front();
  world.wire.pop_front();
  Header header = *Header::parse(request.bytes);
  header.responder_spi = spi_r;
  header.flags = Header::kFlagResponse;
  header.next_payload = payloads.first();
  header.length = static_cast<uint32_t>(Header::kBytes + payloads.view().size());
  ByteWriter out(header.length);
  header.write(out);
  out.bytes(payloads.view());
  const Path path{.context = request.path.context, .local = request.path.remote, .remote = request.path.local};
  world.a.engine().receive(world.now, path, out.view());
  world.collect();
}

void answer_init(World& world, const NotifyPayload& notice) {
  PayloadWriter out;
  out.add(notice);
  answer_init(world, out);
}

NotifyPayload wants_group(uint16_t group) {
  return {.type = NotifyType::kInvalidKePayload,
          .data = {static_cast<uint8_t>(group >> 8), static_cast<uint8_t>(group)}};
}

constexpr uint16_t kEcp384 = 20;

}  // namespace

TEST_CASE("RFC 7296 2.6: with a cookie the request begins anew, the cookie in front and nothing else changed") {
  LEDGER("2.6-03", "2.6-04", "3.1-03");
  World world;
  world.initiate();
  const Read first = last_sent(world);
  const Bytes cookie(64, 0xc0);
  answer_init(world, NotifyPayload{.type = NotifyType::kCookie, .data = cookie});
  const Read second = last_sent(world);

  CHECK(second.header.responder_spi.value() == 0);
  CHECK(second.header.initiator_spi == first.header.initiator_spi);
  CHECK(second.header.message_id == 0);
  CHECK(second.first == PayloadType::kNotify);
  CHECK(second.payloads.notifies[0].type == NotifyType::kCookie);
  CHECK(second.payloads.notifies[0].data == cookie);
  const size_t cookie_bytes = 8 + cookie.size();
  CHECK(second.chain[0] == static_cast<uint8_t>(first.first));
  CHECK(Bytes(second.chain.begin() + static_cast<long>(cookie_bytes), second.chain.end()) == first.chain);
}

TEST_CASE("RFC 7296 2.6: a cookie of no byte or of more than 64 is not followed") {
  LEDGER("2.6-03");
  for (size_t size : {size_t{0}, size_t{65}}) {
    World world;
    world.initiate();
    answer_init(world, NotifyPayload{.type = NotifyType::kCookie, .data = Bytes(size, 1)});
    CHECK(world.wire.empty());
  }
}

TEST_CASE("RFC 7296 2.6: a cookie that is not ours counts as none, and is answered with one of ours") {
  LEDGER("2.6-02", "2.6-03", "2.6-05");
  World world;
  world.initiate();
  const Flight request = world.wire.front();
  Bytes other = request.bytes;
  Path elsewhere = request.path;
  for (uint32_t i = 0; i < policy::AdmissionLimits().half_open_cookie_from; ++i) {
    for (size_t k = 0; k < 8; ++k) other[k] = static_cast<uint8_t>((i + 1) >> (8 * (k % 4)));
    elsewhere.remote.address = IpAddress::v4(0x0a000001 + (i << 8));
    world.b.engine().receive(world.now, elsewhere, other);
    world.b.drain(world.now);
  }
  world.b.outbox.clear();
  answer_init(world, NotifyPayload{.type = NotifyType::kCookie, .data = Bytes(20, 9)});
  world.b.engine().receive(world.now, request.path, world.wire.front().bytes);
  world.b.drain(world.now);

  REQUIRE(world.b.outbox.size() == 1);
  const Read answer = read_plain(world.b.outbox[0].second);
  REQUIRE(answer.has_only(NotifyType::kCookie));
  CHECK(answer.payloads.notifies[0].data.size() >= 1);
  CHECK(answer.payloads.notifies[0].data.size() <= 64);
  CHECK(answer.payloads.notifies[0].data != Bytes(20, 9));
}

TEST_CASE(
    "RFC 7296 1.2: with INVALID_KE_PAYLOAD the request comes again with that group, the whole offer and the nonce") {
  LEDGER("1.2-04", "1.2-05", "3.3.6-09", "3.3.6-10");
  World world({.ike_proposals_a = "aes256gcm16-prfsha384-x25519-ecp384"});
  world.initiate();
  const Read first = last_sent(world);
  answer_init(world, wants_group(kEcp384));
  const Read second = last_sent(world);

  CHECK(second.payloads.ke->group == kEcp384);
  CHECK(second.payloads.nonce->nonce == first.payloads.nonce->nonce);
  CHECK(second.header.initiator_spi == first.header.initiator_spi);
  REQUIRE(second.payloads.sa->proposals.size() == first.payloads.sa->proposals.size());
  for (size_t i = 0; i < first.payloads.sa->proposals.size(); ++i)
    CHECK(second.payloads.sa->proposals[i].proposal == first.payloads.sa->proposals[i].proposal);
}

TEST_CASE(
    "RFC 7296 2.6.1: a cookie stays in the request that another group is put into, and a second cookie is taken") {
  LEDGER("2.6.1-01");
  World world({.ike_proposals_a = "aes256gcm16-prfsha384-x25519-ecp384"});
  world.initiate();
  answer_init(world, NotifyPayload{.type = NotifyType::kCookie, .data = Bytes(20, 1)});
  answer_init(world, wants_group(kEcp384));
  const Read both = last_sent(world);
  CHECK(both.payloads.ke->group == kEcp384);
  REQUIRE(both.first == PayloadType::kNotify);
  CHECK(both.payloads.notifies[0].data == Bytes(20, 1));

  answer_init(world, NotifyPayload{.type = NotifyType::kCookie, .data = Bytes(20, 2)});
  const Read again = last_sent(world);
  CHECK(again.payloads.notifies[0].data == Bytes(20, 2));
  CHECK(again.payloads.ke->public_value == both.payloads.ke->public_value);
}

TEST_CASE("RFC 7296 3.4: a guessed group that is not the chosen one is refused with the chosen one") {
  LEDGER("3.4-04");
  World world(
      {.ike_proposals_a = "aes256gcm16-prfsha384-x25519-ecp384", .ike_proposals_b = "aes256gcm16-prfsha384-ecp384"});
  world.initiate();
  world.deliver_one();
  const Read answer = last_sent(world);
  CHECK(answer.has_only(NotifyType::kInvalidKePayload));
  CHECK(answer.payloads.notifies[0].data == Bytes{0, kEcp384});
  CHECK(world.b.engine().ike_sas().empty());
}

TEST_CASE("RFC 7296 3.9: nonces are long enough for every PRF and never the same") {
  LEDGER("2.10-01", "3.9-01", "3.9-02");
  std::set<Bytes> seen;
  for (const char* prf : {"prfsha256", "prfsha384", "prfsha512"}) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      World world({.seed = seed, .ike_proposals_a = "aes256gcm16-" + std::string(prf) + "-x25519"});
      world.initiate();
      const Bytes ni = last_sent(world).payloads.nonce->nonce;
      world.deliver_one();
      const Bytes nr = last_sent(world).payloads.nonce->nonce;
      constexpr size_t kLongestPrfKey = 64;
      for (const Bytes& nonce : {ni, nr}) {
        CHECK(nonce.size() >= kLongestPrfKey / 2);
        CHECK(nonce.size() <= 256);
      }
      CHECK(ni != nr);
      seen.insert(ni);
    }
  }
  CHECK(seen.size() == 3);  // a seed is all the chance there is
}

TEST_CASE("RFC 7296 2.23: both first messages hold the hashes of both addresses and ports") {
  LEDGER("2.23-07");
  World world;
  world.initiate();
  for (int message = 0; message < 2; ++message) {
    const Read read = last_sent(world);
    CHECK(read.payloads.notify(NotifyType::kNatDetectionSourceIp) != nullptr);
    CHECK(read.payloads.notify(NotifyType::kNatDetectionDestinationIp) != nullptr);
    world.deliver_one();
  }
}

TEST_CASE("RFC 7296 3.3: proposals are numbered from one, carry no SPI in IKE_SA_INIT and no NONE; KE fits the first") {
  LEDGER("1.2-06", "3.3-01", "3.3-03", "3.3-04", "3.3-05", "3.3-06", "3.3-07", "3.3.1-02", "3.3.1-04", "3.3.6-08",
         "3.4-02");
  World world({.ike_proposals_a = "aes256gcm16-aes128gcm16-aes256-aes128-sha256-prfsha384-x25519-ecp384"});
  world.initiate();
  const Read read = last_sent(world);
  const auto& proposals = read.payloads.sa->proposals;
  REQUIRE(proposals.size() == 2);
  for (size_t i = 0; i < proposals.size(); ++i) {
    CHECK(proposals[i].number == i + 1);
    CHECK(proposals[i].spi.empty());
    CHECK(proposals[i].proposal == world.a.tunnel->ike_policy->proposals[i]);  // in the order of preference
    for (const policy::Transform& each : proposals[i].proposal.transforms)
      if (each.type != policy::TransformType::kEncryption) CHECK(each.id != 0);
  }
  CHECK_FALSE(proposals[0].proposal.has(policy::TransformType::kIntegrity));
  CHECK(proposals[1].proposal.has(policy::TransformType::kIntegrity));
  CHECK(proposals[0].proposal.first(policy::TransformType::kKeyExchange)->id == read.payloads.ke->group);
  // Two key sizes are two transforms.
  CHECK(proposals[1].proposal.transforms[0].key_bits == 256);
  CHECK(proposals[1].proposal.transforms[1].key_bits == 128);
}

TEST_CASE("RFC 7296 2.7: one proposal is chosen, under its number, with one transform of each type as it was offered") {
  LEDGER("2.7-01", "2.7-02", "2.7-03", "2.7-04", "2.7-05", "3.3.1-03", "3.3.6-01", "3.3.6-02", "3.3.6-03", "3.3.6-04");
  World world({.ike_proposals_a = "aes256gcm16-aes256-aes128-sha256-sha512-prfsha384-x25519-ecp384",
               .ike_proposals_b = "aes128-sha256-prfsha384-x25519"});
  world.initiate();
  const Read offer = last_sent(world);
  world.deliver_one();
  const Read answer = last_sent(world);
  REQUIRE(answer.payloads.sa->proposals.size() == 1);
  const WireProposal& chosen = answer.payloads.sa->proposals[0];
  CHECK(chosen.number == 2);
  CHECK(chosen.proposal.protocol == policy::Protocol::kIke);
  CHECK(chosen.proposal.transforms.size() == 4);
  const auto& offered = offer.payloads.sa->proposals[1].proposal.transforms;
  for (const policy::Transform& each : chosen.proposal.transforms) {
    CHECK(std::ranges::count(offered, each) == 1);
    CHECK(std::ranges::count(chosen.proposal.transforms, each.type, &policy::Transform::type) == 1);
  }
}

TEST_CASE("RFC 7296 3.3.6: an answer in IKE_SA_INIT that was not offered is not gone on with") {
  LEDGER("3.3.6-05");
  World world({.ike_proposals_a = "aes256gcm16-prfsha384-x25519", .ike_proposals_b = "aes256gcm16-prfsha384-x25519"});
  world.initiate();
  world.deliver_one();
  Flight answer = world.wire.front();
  const Bytes key_length{0x80, 0x0e, 0x01, 0x00};
  const auto at = std::search(answer.bytes.begin(), answer.bytes.end(), key_length.begin(), key_length.end());
  REQUIRE(at != answer.bytes.end());
  at[2] = 0, at[3] = 128;
  world.wire.clear();
  world.a.engine().receive(world.now, answer.path, answer.bytes);
  world.collect();
  CHECK(world.wire.empty());
  CHECK(world.a.state() == "init-sent");
}

TEST_CASE("RFC 7296 2.9: the packet that wants the child comes first in what is offered, and is in what is chosen") {
  LEDGER("2.9-01", "2.9-02", "2.9-03", "3.13.1-01", "3.13.1-02", "3.13.1-03");
  World world({.remote_ts_b = "10.1.7.0/24"});
  const Path path{.context = SocketContext(0),
                  .local = {*world.a.tunnel->local_address(), 500},
                  .remote = {*world.a.tunnel->remote, 500}};
  const auto local = policy::parse_selector("10.1.7.9/32[tcp/40000]").value();
  const auto remote = policy::parse_selector("10.2.0.5/32[tcp/443]").value();
  REQUIRE(world.a.engine().initiate(world.now, world.a.tunnel, "lan", path, std::pair(local, remote)).ok());
  world.collect();
  world.deliver_one();
  world.deliver_one();
  Insider peer(world, world.a);
  const Read request = peer.read(world.wire.front().bytes);
  REQUIRE(request.payloads.ts_i);
  CHECK(request.payloads.ts_i->selectors.front() == local);
  CHECK(request.payloads.ts_r->selectors.front() == remote);
  CHECK(request.payloads.ts_i->selectors.size() == 2);
  // Any protocol, any port.
  CHECK(request.payloads.ts_i->selectors[1].protocol == 0);
  CHECK(request.payloads.ts_i->selectors[1].port_first == 0);
  CHECK(request.payloads.ts_i->selectors[1].port_last == 65535);
  world.deliver_all();
  REQUIRE(world.is_up_and_equal());
  const auto& spec = *world.a.inbound.begin()->second.spec;
  CHECK(policy::all_within(std::span(&local, 1), spec.local));
  CHECK(policy::all_within(std::span(&remote, 1), spec.remote));
  CHECK(policy::to_string(spec.local) == "10.1.7.0/24");
}

TEST_CASE("RFC 7296 2.6: SPIs of IKE SAs are unique, also among those of one peer") {
  LEDGER("2.6-01");
  std::set<uint64_t> seen;
  World world;
  for (int i = 0; i < 50; ++i) {
    world.initiate();
    const Read request = last_sent(world);
    CHECK(seen.insert(request.header.initiator_spi.value()).second);
    world.wire.clear();
  }
}

TEST_CASE("RFC 7296 4: the first child of IKE_AUTH comes with IDr and AUTH, and both SPIs are in the answer") {
  LEDGER("2.8-06", "4-04");
  World world;
  world.initiate();
  world.deliver_one();
  world.deliver_one();
  Insider peer(world, world.a);
  const Read request = peer.read(world.wire.front().bytes);
  CHECK(request.payloads.auth);
  CHECK(request.payloads.id_i);
  CHECK(request.payloads.sa->proposals[0].spi.size() == 4);
  world.deliver_one();
  // Ready for what the initiator sends before the answer is on the wire.
  CHECK(world.b.inbound.size() == 1);
  const Read answer = peer.read(world.wire.front().bytes);
  CHECK(answer.payloads.auth);
  CHECK(answer.payloads.id_r);
  CHECK(answer.payloads.sa->proposals[0].spi.size() == 4);
  CHECK(answer.payloads.ts_i);
  world.deliver_all();
  CHECK(world.is_up_and_equal());
}

TEST_CASE(
    "RFC 7296 2.23: behind a NAT the peer is followed to where it sends from; whoever is behind one itself stays") {
  LEDGER("2.23-13", "2.23-14");
  for (bool peer_behind : {true, false}) {
    World world({.nat = true});
    world.initiate();
    world.deliver_all();
    REQUIRE(world.is_up_and_equal());
    Host& moved = peer_behind ? world.a : world.b;
    Host& stays = peer_behind ? world.b : world.a;
    Insider peer(world, moved);
    const Endpoint before = stays.engine().view(stays.ike())->path.remote;
    peer.path = stays.engine().view(stays.ike())->path;
    peer.path.remote.port = 61000;
    // Not authentic: nobody is followed.
    Bytes forged = peer.seal(Exchange::kInformational, 0, peer.next_id, PayloadType::kNone, {});
    forged.back() ^= 1;
    peer.deliver(forged);
    CHECK(stays.engine().view(stays.ike())->path.remote == before);
    REQUIRE(peer.ask(Exchange::kInformational, PayloadWriter()));
    CHECK(stays.engine().view(stays.ike())->path.remote.port == (peer_behind ? 61000 : before.port));
  }
}

TEST_CASE("RFC 7296 2.23: a response from elsewhere moves the peer too, with the request that is under way") {
  LEDGER("2.23-13");
  World world({.nat = true});
  world.initiate();
  world.deliver_all();
  Insider peer(world, world.a);
  world.b.engine().check_liveness(world.now, world.b.ike());
  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  peer.path = world.b.engine().view(world.b.ike())->path;
  peer.path.remote.port = 61000;
  peer.answer(peer.read(sent[0]), PayloadWriter());
  CHECK(world.b.engine().view(world.b.ike())->path.remote.port == 61000);
}

TEST_CASE("RFC 7296 2.23: with a NAT on both sides neither follows the other") {
  LEDGER("2.23-14");
  World world({.nat = true});
  world.initiate();
  const Endpoint real = world.wire.front().path.local;
  world.wire.front().path.local.address = *IpAddress::parse("10.99.0.1");
  world.deliver_one();
  world.wire.front().path.remote = real;
  world.deliver_all();
  REQUIRE(world.is_up_and_equal());
  const auto view = *world.b.engine().view(world.b.ike());
  REQUIRE(view.nat_local);
  REQUIRE(view.nat_remote);
  Insider peer(world, world.a);
  peer.path = view.path;
  peer.path.remote.port = 61000;
  REQUIRE(peer.ask(Exchange::kInformational, PayloadWriter()));
  CHECK(world.b.engine().view(world.b.ike())->path.remote == view.path.remote);
}

TEST_CASE("RFC 7296 2.23: ESP goes into UDP on port 4500 and never on 500") {
  LEDGER("2.23-03", "2.23-05");
  for (bool ipv6 : {false, true}) {
    World world({.nat = true, .ipv6 = ipv6});
    world.initiate();
    world.deliver_all();
    for (const Host* host : {&world.a, &world.b}) {
      const auto& spec = *host->inbound.begin()->second.spec;
      CHECK(spec.udp_encapsulation);
      CHECK(spec.local_endpoint.port == 4500);
      CHECK(spec.remote_endpoint.port != 500);
    }
  }
}

TEST_CASE("RFC 7296 5: an IKE SA without encryption or integrity is not negotiated, nor a PRF of less than 128 bits") {
  LEDGER("3.14-02", "5-01", "5-02");
  constexpr uint16_t kNullCipher = 11, kAesCbc = 12;
  policy::Proposal chosen = policy::parse_proposal(policy::Protocol::kIke, "aes256-sha256-x25519").value()[0];
  REQUIRE(IkeSuite::of(chosen).ok());
  policy::Proposal plain = chosen;
  plain.transforms[0] = {policy::TransformType::kEncryption, kNullCipher};
  CHECK_FALSE(IkeSuite::of(plain).ok());
  policy::Proposal unchecked = chosen;
  std::erase_if(unchecked.transforms, [](const auto& each) { return each.type == policy::TransformType::kIntegrity; });
  REQUIRE(unchecked.transforms[0].id == kAesCbc);
  CHECK_FALSE(IkeSuite::of(unchecked).ok());
  CHECK_FALSE(policy::parse_proposal(policy::Protocol::kIke, "null-sha256-x25519").ok());
  CHECK_FALSE(policy::parse_proposal(policy::Protocol::kIke, "aes256-prfsha256-x25519").ok());
  for (uint16_t prf = 0; prf < 64; ++prf)
    if (const auto* known = policy::find_algorithm(policy::TransformType::kPrf, prf)) CHECK(known->key_bytes >= 16);
}
