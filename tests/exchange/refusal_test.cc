#include <doctest/doctest.h>

#include "tests/support/engine_world.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {
template <typename Test>
void in_both_modes(Test test) {
  for (Handover handover : {Handover::kNever, Handover::kEachStep}) {
    CAPTURE(static_cast<int>(handover));
    test(handover);
  }
}

std::string field_of(const Host& host, Reason reason, std::string_view name) {
  for (const Report& report : host.reports)
    if (report.reason == reason)
      for (const Field& each : report.fields)
        if (each.name == name) return each.value;
  return {};
}

void nothing_left(const World& world) {
  CHECK(world.a.state() == "none");
  CHECK(world.b.state() == "none");
  CHECK(world.a.inbound.empty());
  CHECK(world.b.inbound.empty());
  CHECK(world.a.outbound.empty());
  CHECK(world.b.outbound.empty());
  CHECK(world.b.engine().half_open() == 0);
}
}  // namespace

TEST_CASE("refusal: no common IKE proposal is answered, and both operators see offered against configured") {
  LEDGER("2.7-03", "3.3.4-06");
  in_both_modes([](Handover handover) {
    World world({.handover = handover, .ike_proposals_b = "aes128gcm16-prfsha256-ecp256"});
    world.initiate();
    world.run_for(10s);

    nothing_left(world);
    CHECK(field_of(world.b, Reason::kNoProposalChosen, "offered") == "aes256gcm16-prfsha384-x25519");
    CHECK(field_of(world.b, Reason::kNoProposalChosen, "configured") == "aes128gcm16-prfsha256-ecp256");
    CHECK(world.a.reported(Reason::kNoProposalChosen));
  });
}

TEST_CASE("refusal: an unprotected error is only believed when nothing better comes before the next repetition") {
  LEDGER("2.4-03");
  World world;
  world.initiate();
  // An attacker who sees the request answers first: HDR, N(NO_PROPOSAL_CHOSEN)
  const Flight request = world.wire.front();
  Bytes forged(request.bytes.begin(), request.bytes.begin() + 28);
  forged[16] = 41, forged[19] = 0x20, forged[27] = 36;
  for (uint8_t byte : {0, 0, 0, 8, 0, 0, 0, 14}) forged.push_back(byte);
  world.a.engine().receive(
      world.now, {.context = SocketContext(0), .local = request.path.remote, .remote = request.path.local}, forged);

  world.deliver_all();

  CHECK(world.a.engine().counters().get(Reason::kIkeUnprotectedError) == 1);
  CHECK(world.is_up_and_equal());
}

TEST_CASE("refusal: an address that no tunnel is for gets NO_PROPOSAL_CHOSEN and leaves no state") {
  World world;
  world.b.shell.know_address = false;
  world.initiate();
  world.run_for(10s);
  nothing_left(world);
}

TEST_CASE("refusal: a wrong pre-shared key ends the set-up on both sides with AUTHENTICATION_FAILED") {
  LEDGER("1.2-02", "1.2-03", "2.21.2-01");
  in_both_modes([](Handover handover) {
    World world({.handover = handover});
    world.b.shell.psk = "another one";
    world.initiate();
    world.run_for(10s);

    nothing_left(world);
    CHECK(world.b.reported(Reason::kAuthFailed));
    CHECK(world.a.reported(Reason::kPeerAuthFailed));
    CHECK(field_of(world.b, Reason::kAuthFailed, "identity") == "a.example");
  });
}

TEST_CASE("refusal: an initiator that cannot verify the responder tells it so and closes") {
  LEDGER("1.2-02");
  in_both_modes([](Handover handover) {
    World world({.handover = handover});
    world.initiate();
    world.deliver_one();
    world.deliver_one();
    // a has sent its AUTH; what it holds of the key changes before b's comes back.
    world.deliver_one();
    world.a.shell.psk = "another one";
    world.run_for(10s);

    nothing_left(world);
    CHECK(world.a.reported(Reason::kAuthFailed));
    CHECK(world.b.reported(Reason::kPeerAuthFailed));
  });
}

TEST_CASE("refusal: an identity that no tunnel expects") {
  LEDGER("1.2-03", "2.21.2-01");
  World world;
  world.b.shell.know_peer = false;
  world.initiate();
  world.run_for(10s);
  nothing_left(world);
  CHECK(world.b.reported(Reason::kUnknownPeerIdentity));
}

TEST_CASE(
    "refusal: selectors that do not meet leave an IKE SA without a child, and say what was offered and configured") {
  LEDGER("1.3.1-03", "2.21.2-03");
  in_both_modes([](Handover handover) {
    World world({.handover = handover, .remote_ts_b = "10.9.0.0/16"});
    world.initiate();
    world.deliver_all();

    CHECK(world.a.state() == "established");
    CHECK(world.b.state() == "established");
    CHECK(world.a.inbound.empty());
    CHECK(world.b.inbound.empty());
    CHECK(world.a.reported(Reason::kTsUnacceptable));
    const std::string detail = field_of(world.b, Reason::kTsUnacceptable, "detail");
    CHECK(detail.find("10.1.0.0/16") != std::string::npos);
    CHECK(detail.find("10.9.0.0/16") != std::string::npos);
  });
}

TEST_CASE("refusal: no common ESP proposal leaves an IKE SA without a child") {
  LEDGER("2.21.2-03");
  World world({.esp_proposals_b = "aes128-sha256"});
  world.initiate();
  world.deliver_all();
  CHECK(world.a.state() == "established");
  CHECK(world.a.inbound.empty());
  CHECK(world.b.inbound.empty());
  CHECK(world.a.reported(Reason::kNoProposalChosen));
}

TEST_CASE("refusal: a child that the responder's kernel refuses gets its notify and the IKE SA stays") {
  in_both_modes([](Handover handover) {
    World world({.handover = handover});
    world.b.shell.refuse_install = Reason::kKernelRefused;
    world.initiate();
    world.deliver_all();

    CHECK(world.a.state() == "established");
    CHECK(world.b.state() == "established");
    CHECK(world.a.inbound.empty());
    CHECK(world.b.inbound.empty());
    CHECK(world.b.reported(Reason::kKernelRefused));
    CHECK(world.a.reported(Reason::kNoAdditionalSas));
  });
}

TEST_CASE("refusal: a child that the initiator's kernel refuses is deleted at the responder") {
  LEDGER("2.4-08");
  in_both_modes([](Handover handover) {
    World world({.handover = handover});
    world.a.shell.refuse_install = Reason::kKernelRefused;
    world.initiate();
    world.deliver_all();

    CHECK(world.a.state() == "established");
    CHECK(world.b.state() == "established");
    CHECK(world.a.inbound.empty());
    CHECK(world.b.inbound.empty());
    CHECK(world.b.outbound.empty());
    CHECK(world.b.reported(Reason::kChildDeleted));
  });
}

TEST_CASE("refusal: a kernel that never answers is given up in time, on either side") {
  for (bool at_responder : {true, false}) {
    World world;
    (at_responder ? world.b : world.a).shell.never_install = true;
    world.initiate();
    world.run_for(60s);

    CHECK(world.a.inbound.empty());
    CHECK(world.b.inbound.empty());
    CHECK((at_responder ? world.b : world.a).reported(Reason::kTimeout));
  }
}

TEST_CASE("refusal: answers that come twice count once") {
  World world;
  world.a.shell.answer_twice = world.b.shell.answer_twice = true;
  world.initiate();
  world.deliver_all();
  CHECK(world.is_up_and_equal());
  CHECK(world.b.engine().counters().get(Reason::kCancelled) >= 4);
}

TEST_CASE("refusal: answers that come late are taken, and after the deadline ignored") {
  for (Duration delay : {Duration(2s), Duration(40s)}) {
    World world;
    world.b.shell.hold_answers = true;
    world.initiate();
    world.deliver_all();
    for (int i = 0; i < 20; ++i) {
      world.now = world.now + delay / 20;
      world.a.engine().tick(world.now);
      world.b.engine().tick(world.now);
      world.deliver_all();
    }
    world.b.shell.hold_answers = false;
    while (!world.b.held.empty()) {
      Answer answer = std::move(world.b.held.front());
      world.b.held.pop_front();
      world.b.engine().answer(world.now, std::move(answer));
    }
    world.run_for(10s);
    if (delay < kAskTimeout)
      CHECK(world.is_up_and_equal());
    else
      CHECK(world.b.state() == "none");
  }
}

TEST_CASE("refusal: a peer that never answers is given up after the configured tries, with growing pauses") {
  LEDGER("2.4-04", "2.4-06");
  World world;
  size_t sent = 0;
  std::vector<Instant> times;
  world.lose = [&](const Flight&) { return ++sent, times.push_back(world.now), true; };
  world.initiate();
  world.run_for(120s);

  CHECK(world.a.state() == "none");
  CHECK(sent == world.a.tunnel->ike_policy->retransmit.tries);
  REQUIRE(times.size() > 3);
  CHECK(times[1] - times[0] == 500ms);
  CHECK(times[2] - times[1] == 1s);
  CHECK(times[3] - times[2] == 2s);
  CHECK((world.a.reported(Reason::kPeerUnreachable) || world.a.reported(Reason::kSetupTimeout)));
}

TEST_CASE("refusal: a half-open IKE SA whose initiator never comes back is forgotten") {
  World world;
  world.initiate();
  world.deliver_one();
  CHECK(world.b.engine().half_open() == 1);
  world.lose = [](const Flight&) { return true; };
  world.run_for(120s);
  nothing_left(world);
}
