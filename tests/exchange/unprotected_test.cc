#include <doctest/doctest.h>

#include "ike/limits.h"
#include "tests/support/insider.h"
#include "tests/support/ledger.h"

// What arrives without protection, or where it does not belong, decides nothing.

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

uint64_t counted(Host& host, Reason reason) { return host.engine().counters().get(reason); }

/// A response to the IKE_SA_INIT request `flight` that anybody can make who has seen it.
Bytes forged_response(const Flight& flight, const PayloadWriter& payloads) {
  Header header = read_plain(flight.bytes).header;
  header.flags = Header::kFlagResponse;
  header.next_payload = payloads.first();
  header.length = static_cast<uint32_t>(Header::kBytes + payloads.view().size());
  ByteWriter out;
  header.write(out);
  out.bytes(payloads.view());
  return std::move(out).take();
}

Bytes forged_error(const Flight& flight, NotifyType type = NotifyType::kNoProposalChosen) {
  PayloadWriter out;
  out.add(NotifyPayload{.type = type});
  return forged_response(flight, out);
}

/// Hands `bytes` to a as if the receiver of `flight` had answered.
void answer(World& world, const Flight& flight, const Bytes& bytes) {
  world.a.engine().receive(
      world.now, {.context = flight.path.context, .local = flight.path.remote, .remote = flight.path.local}, bytes);
  world.collect();
}

std::string cause_at_a(const World& world) { return std::string(code(world.a.reports.back().reason)); }

struct UpWorld : World {
  explicit UpWorld(const World::Options& options = {.dpd = 0s}) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
  }
};

}  // namespace

TEST_CASE("unprotected: a forged error does not survive a cookie, so that one loss ends nothing") {
  World world({.admission_b = {.half_open_cookie_from = 0}});
  world.initiate();
  answer(world, world.wire.front(), forged_error(world.wire.front()));
  // The cookie comes, and the request with it is lost as often as an error would have to be repeated.
  world.deliver_one();
  world.deliver_one();
  size_t lost = 0;
  world.lose = [&](const Flight&) { return ++lost <= kUnprotectedErrorTries; };

  world.run_for(20s);

  CHECK(lost > kUnprotectedErrorTries);
  CHECK(world.is_up_and_equal());
}

TEST_CASE("unprotected: a forged error ends no set-up whose answer is lost a few times") {
  for (NotifyType type : {NotifyType::kNoProposalChosen, NotifyType::kInvalidSyntax, NotifyType::kAuthenticationFailed,
                          NotifyType::kUnsupportedCriticalPayload, NotifyType{8190}}) {
    CAPTURE(name(type));
    World world;
    world.initiate();
    answer(world, world.wire.front(), forged_error(world.wire.front(), type));
    size_t sent = 0;
    world.lose = [&](const Flight&) { return ++sent <= kUnprotectedErrorTries + 1; };

    world.run_for(20s);

    CHECK(counted(world.a, Reason::kIkeUnprotectedError) == 1);
    CHECK(world.is_up_and_equal());
  }
}

TEST_CASE("unprotected: an error inside a whole response ends nothing, and the true response is taken") {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    World world({.handover = handover});
    world.initiate();
    const Flight request = world.wire.front();
    world.deliver_one();
    const Read proper = read_plain(world.wire.front().bytes);
    PayloadWriter changed;
    changed.add(NotifyPayload{.type = NotifyType::kNoProposalChosen});
    changed.add(*proper.payloads.sa);
    changed.add(*proper.payloads.ke);
    changed.add(*proper.payloads.nonce);
    Bytes forged = forged_response(request, changed);
    std::copy_n(world.wire.front().bytes.begin() + 8, 8, forged.begin() + 8);  // with the responder's SPI
    answer(world, request, forged);
    CHECK(world.a.state() == "init-sent");

    world.deliver_all();

    CHECK(world.is_up_and_equal());
  }
}

TEST_CASE("unprotected: a response without CHILDLESS_IKEV2_SUPPORTED ends nothing while the true one may come") {
  using enum policy::ChildlessPolicy;
  World world({.childless_a = kForce, .childless_b = kAllow});
  world.initiate();
  const Flight request = world.wire.front();
  world.deliver_one();
  const Read proper = read_plain(world.wire.front().bytes);
  PayloadWriter changed;
  changed.add(*proper.payloads.sa);
  changed.add(*proper.payloads.ke);
  changed.add(*proper.payloads.nonce);
  Bytes forged = forged_response(request, changed);
  std::copy_n(world.wire.front().bytes.begin() + 8, 8, forged.begin() + 8);
  answer(world, request, forged);

  world.deliver_all();

  CHECK(world.is_up_and_equal());
}

TEST_CASE("unprotected: a refusal that comes to each repetition is believed after three, and is the cause") {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    World world({.handover = handover, .ike_proposals_b = "aes128gcm16-prfsha256-ecp256"});
    world.initiate();
    world.run_for(2s);
    CHECK(world.a.state() == "init-sent");
    CHECK(world.a.reported(Reason::kIkeUnprotectedError));
    if (handover == Handover::kNever) CHECK(counted(world.a, Reason::kIkeUnprotectedError) == 3);

    world.run_for(2s);

    CHECK(world.a.state() == "none");
    CHECK(cause_at_a(world) == "no-proposal-chosen");
  }
}

TEST_CASE("unprotected: after a single refusal and then silence the set-up ends in its own time, with that cause") {
  World world({.ike_proposals_b = "aes128gcm16-prfsha256-ecp256"});
  size_t sent = 0;
  world.lose = [&](const Flight& flight) { return flight.to == &world.b && ++sent > 1; };
  world.initiate();
  world.run_for(60s);
  CHECK(world.a.state() == "none");
  CHECK(sent == world.a.tunnel->ike_policy->retransmit.tries);
  CHECK(cause_at_a(world) == "no-proposal-chosen");
}

TEST_CASE("misplaced: an authentic request of an exchange that does not belong is answered, and ends the IKE SA") {
  LEDGER("2.21.3-01");
  // IKE_SA_INIT, IKE_AUTH, IKE_SESSION_RESUME, IKE_INTERMEDIATE, one that nobody knows.
  for (uint8_t exchange : {34, 35, 38, 43, 99}) {
    CAPTURE(int{exchange});
    UpWorld world;
    Insider peer(world, world.a);
    PayloadWriter request;
    request.add(NotifyPayload{.type = NotifyType{40000}});

    const Reply answered = peer.ask(Exchange{exchange}, request);

    CHECK(answered->has_only(NotifyType::kInvalidSyntax));
    CHECK(counted(world.b, exchange == 99 ? Reason::kIkeExchangeUnknown : Reason::kIkeUnexpected) >= 1);
    CHECK(world.b.state() == "none");
    CHECK(world.b.inbound.empty());
  }
}

TEST_CASE("misplaced: forged requests and responses of such exchanges are neither answered nor harmful") {
  for (uint8_t exchange : {34, 35, 38, 43, 99}) {
    UpWorld world;
    Insider peer(world, world.a);
    PayloadWriter request;
    request.add(NotifyPayload{.type = NotifyType{40000}});
    Bytes forged = peer.seal(Exchange{exchange}, 0, peer.next_id, request.first(), request.view());
    forged.back() ^= 1;

    CHECK(peer.deliver(forged).empty());
    CHECK(
        peer.deliver(peer.seal(Exchange{exchange}, Header::kFlagResponse, 0, request.first(), request.view())).empty());
    CHECK(world.is_up_and_equal());
  }
}

TEST_CASE("misplaced: before the peer is authenticated such a request is dropped, and the set-up goes on") {
  for (Exchange exchange : {Exchange::kInformational, Exchange::kCreateChildSa, Exchange::kIkeIntermediate}) {
    World world;
    world.initiate();
    world.deliver_one();
    world.deliver_one();
    Insider peer(world, world.a);
    peer.next_id = 1;
    CHECK_FALSE(peer.ask(exchange, PayloadWriter()));
    world.deliver_all();
    CHECK(world.is_up_and_equal());
  }
}

TEST_CASE("role: a peer of a tunnel that only initiates is refused, and the operator is told that it is the role") {
  World world({.role_b = policy::Role::kInitiate});
  world.initiate();
  world.run_for(10s);
  CHECK(world.b.reported(Reason::kRoleRefused));
  CHECK(world.a.reported(Reason::kPeerAuthFailed));
  CHECK(world.a.state() == "none");
  CHECK(world.b.state() == "none");
}

TEST_CASE("AEAD: integrity beside it is accepted for the IKE SA and a child, answered without, and counted") {
  World world;
  world.initiate();
  // IKE_SA_INIT: only what b makes of it, for AUTH would cover the change.
  const Read init = read_plain(world.wire.front().bytes);
  SaPayload offer = *init.payloads.sa;
  offer.proposals[0].proposal.transforms.push_back({policy::TransformType::kIntegrity, policy::kAuthHmacSha256_128});
  PayloadWriter changed;
  changed.add(offer);
  changed.add(*init.payloads.ke);
  changed.add(*init.payloads.nonce);
  Bytes datagram = forged_response(world.wire.front(), changed);
  datagram[19] = Header::kFlagInitiator;
  World other;
  other.b.engine().receive(other.now, world.wire.front().path, datagram);
  other.b.drain(other.now);
  REQUIRE(other.b.outbox.size() == 1);
  const Read response = read_plain(other.b.outbox.front().second);
  REQUIRE(response.payloads.sa);
  CHECK_FALSE(response.payloads.sa->proposals[0].proposal.has(policy::TransformType::kIntegrity));
  CHECK(counted(other.b, Reason::kIntegrityBesideAead) == 1);

  // IKE_AUTH.
  world.deliver_one();
  world.deliver_one();
  Insider peer(world, world.a);
  Read proper = peer.read(world.wire.front().bytes);
  proper.payloads.sa->proposals[0].proposal.transforms.push_back(
      {policy::TransformType::kIntegrity, policy::kAuthHmacSha256_128});
  PayloadWriter request;
  request.add(PayloadType::kIdI, *proper.payloads.id_i);
  request.add(*proper.payloads.auth);
  request.add(*proper.payloads.sa);
  request.add(PayloadType::kTsI, *proper.payloads.ts_i);
  request.add(PayloadType::kTsR, *proper.payloads.ts_r);
  peer.next_id = 1;
  const Reply answered = peer.ask(Exchange::kIkeAuth, request);
  REQUIRE(answered->payloads.sa);
  CHECK_FALSE(answered->payloads.sa->proposals[0].proposal.has(policy::TransformType::kIntegrity));
  CHECK(counted(world.b, Reason::kIntegrityBesideAead) == 1);
  CHECK(world.b.inbound.size() == 1);
}
