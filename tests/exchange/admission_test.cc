#include <doctest/doctest.h>

#include "ike/limits.h"
#include "tests/support/engine_world.h"
#include "tests/support/ledger.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::testing;

namespace {

uint64_t counted(const World& world, Reason reason) { return world.b.engine().counters().get(reason); }

/// Requests that look like a's, from wherever a test wants, with SPIs of their own. Nobody hears the answers.
class Flood {
 public:
  explicit Flood(World& world, uint64_t seed = 1) : Flood(world, World::Options{.seed = seed}) {}
  /// As of the initiator of such a world.
  Flood(World& world, World::Options options) : world_(world), random_(options.seed) {
    options.seed += 1000;
    World other(options);
    other.initiate();
    bytes_ = other.wire.front().bytes;
  }
  /// Puts an unknown critical payload in front.
  void append_critical() {
    const Bytes payload = {bytes_[16], 0x80, 0, 4};
    bytes_.insert(bytes_.begin() + 28, payload.begin(), payload.end());
    bytes_[16] = 200;
    bytes_[26] = static_cast<uint8_t>(bytes_.size() >> 8);
    bytes_[27] = static_cast<uint8_t>(bytes_.size());
  }

  void send(const IpAddress& source, uint16_t port = 500) {
    Bytes bytes = bytes_;
    random_.fill(std::span(bytes).first(8));
    world_.b.engine().receive(world_.now, path_from(source, port), bytes);
    world_.b.drain(world_.now);
    answers += std::exchange(world_.b.outbox, {}).size();
  }
  void send(const IpAddress& source, size_t count, Duration apart) {
    for (size_t i = 0; i < count; ++i) send(source), world_.now = world_.now + apart;
  }
  IpAddress any_source() { return IpAddress::v4(random_.u32()); }
  size_t answers = 0;

 private:
  Path path_from(const IpAddress& source, uint16_t port) const {
    return {.context = SocketContext(0), .local = {*world_.b.tunnel->local_address(), 500}, .remote = {source, port}};
  }
  World& world_;
  SeededRandom random_;
  Bytes bytes_;
};

IpAddress in_network(uint32_t network, uint32_t host) { return IpAddress::v4(0x0a000000 + (network << 8) + host); }
IpAddress of_a(const World& world) { return *world.a.tunnel->local_address(); }

/// A forged message of the IKE SA that `flight` belongs to: right header, wrong inside.
Bytes forged(const Flight& flight, size_t number) {
  Bytes bytes = flight.bytes;
  bytes[40] ^= static_cast<uint8_t>(1 + number % 255);
  bytes.back() ^= static_cast<uint8_t>(1 + number / 255);
  return bytes;
}

/// A world in which a's IKE_AUTH request is on the wire, and b has only answered IKE_SA_INIT.
struct AuthOnWire : World {
  explicit AuthOnWire(const Options& options = {}) : World(options) {
    initiate();
    deliver_one();
    deliver_one();
    REQUIRE(wire.size() == 1);
    REQUIRE(b.state() == "init-answered");
  }
  void forge(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      b.engine().receive(now, wire.front().path, forged(wire.front(), i));
      b.drain(now);
    }
  }
};

constexpr uint32_t kForgedMax = policy::AdmissionLimits().decrypt_failures_max;

}  // namespace

TEST_CASE("admission: a flood from one network leaves another one undisturbed") {
  World world({.seed = 11});
  Flood flood(world, 11);
  for (uint32_t i = 0; i < 5000; ++i) flood.send(in_network(1, i % 256));

  CHECK(world.b.engine().half_open() == policy::AdmissionLimits().half_open_per_prefix / 2);
  CHECK(counted(world, Reason::kIkeCookieSent) == 5000 - world.b.engine().half_open());
  world.initiate();
  world.deliver_all();
  CHECK(world.a.state() == "established");
  CHECK(world.delivered == 4);  // without a cookie
}

TEST_CASE("admission: a flood that pretends to come from a peer's own address costs that peer a cookie, no more") {
  World world({.seed = 12});
  Flood flood(world, 12);
  flood.send(of_a(world), 5000, 0ms);

  world.initiate();
  world.deliver_all();
  CHECK(world.a.state() == "established");
  CHECK(world.delivered == 6);
}

TEST_CASE("admission: with cookies on, a flood from everywhere takes no state at all, and peers still connect") {
  World world({.seed = 13, .admission_b = {.half_open_cookie_from = 0}});
  Flood flood(world, 13);
  for (int i = 0; i < 20'000; ++i) flood.send(flood.any_source());

  CHECK(world.b.engine().ike_sas().empty());
  CHECK(world.b.engine().next_deadline() == std::nullopt);
  CHECK(counted(world, Reason::kIkeCookieSent) == 20'000);
  CHECK(flood.answers == 20'000);
  world.initiate();
  world.deliver_all();
  CHECK(world.a.state() == "established");
}

TEST_CASE("admission: beyond the threshold cookies stay on until the half-open IKE SAs have gone") {
  World world({.seed = 14, .admission_b = {.half_open_cookie_from = 50, .half_open_cookie_until = 40}});
  Flood flood(world, 14);
  for (uint32_t i = 0; i < 45; ++i) flood.send(in_network(i, 1));
  CHECK(counted(world, Reason::kIkeCookieSent) == 0);
  world.now = world.now + 10s;
  for (uint32_t i = 45; i < 60; ++i) flood.send(in_network(i, 1));
  CHECK(world.b.engine().half_open() == 50);
  CHECK(counted(world, Reason::kIkeCookieSent) == 10);

  // The first 45 are given up: 5 are left, fewer than the lower threshold.
  world.run_for(20s);
  CHECK(world.b.engine().half_open() == 5);
  flood.send(in_network(100, 1));
  CHECK(world.b.engine().half_open() == 6);
  CHECK(counted(world, Reason::kIkeCookieSent) == 10);
}

TEST_CASE("admission: each refusal has its own reason, sends nothing and leaves nothing behind") {
  struct Case {
    policy::AdmissionLimits limits;
    Reason reason;
    size_t admitted;
  };
  // No cookies, so that each limit shows itself: their thresholds are out of reach, and quotas are twice the number.
  const Case cases[] = {{{.half_open_max = 5, .half_open_cookie_from = 1000}, Reason::kIkeHalfOpenLimit, 5},
                        {{.half_open_cookie_from = 1000, .ike_sas_max = 4}, Reason::kIkeSaLimit, 4}};
  for (const Case& each : cases) {
    World world({.seed = 15, .admission_b = each.limits});
    Flood flood(world, 15);
    for (uint32_t i = 0; i < each.admitted; ++i) flood.send(in_network(i, 1));
    REQUIRE(world.b.engine().half_open() == each.admitted);
    flood.answers = 0;

    for (uint32_t i = 0; i < 100; ++i) flood.send(in_network(1000 + i, 1));
    CHECK(world.b.engine().half_open() == each.admitted);
    CHECK(world.b.engine().ike_sas().size() == each.admitted);
    CHECK(counted(world, each.reason) == 100);
    CHECK(flood.answers == 0);
  }
}

TEST_CASE("admission: who returns its cookie has the whole quota of its network, and beyond it is refused") {
  World world({.seed = 16, .admission_b = {.half_open_per_prefix = 2, .init_rate_per_address = 0}});
  // a begins three times and never gets to IKE_AUTH.
  world.lose = [](const Flight& flight) { return flight.bytes[18] == 35; };
  for (int i = 0; i < 3; ++i) {
    world.initiate();
    world.deliver_all();
  }
  CHECK(world.b.engine().half_open() == 2);
  CHECK(counted(world, Reason::kIkeCookieSent) == 2);
  CHECK(counted(world, Reason::kIkePrefixLimit) == 1);
}

TEST_CASE("admission: who returns its cookie has the whole rate of its address, and beyond it is refused for a while") {
  World world({.seed = 17, .admission_b = {.init_rate_per_address = 1}});
  for (int i = 0; i < 3; ++i) {
    world.initiate();
    world.deliver_all();
  }
  CHECK(counted(world, Reason::kIkeInitRate) == 1);
  CHECK(world.b.established.size() == 2);

  world.run_for(10s);  // it repeats its request by itself
  CHECK(world.b.established.size() == 3);
}

TEST_CASE("admission: a half-open IKE SA lives as long as configured") {
  World world({.seed = 18, .admission_b = {.half_open_timeout = 7s}});
  Flood flood(world, 18);
  flood.send(in_network(1, 1));
  world.run_for(7s - 1ms);
  CHECK(world.b.engine().half_open() == 1);
  world.run_for(2ms);
  CHECK(world.b.engine().half_open() == 0);
  CHECK(world.b.reported(Reason::kSetupTimeout));
}

TEST_CASE("admission: after a restart from snapshots the counts are as before") {
  World world({.seed = 19, .admission_b = {.half_open_cookie_from = 20, .half_open_cookie_until = 10}});
  Flood flood(world, 19);
  for (uint32_t i = 0; i < 19; ++i) flood.send(in_network(1 + i / 10, i));
  world.b.handover(world.now);
  CHECK(world.b.engine().half_open() == 19);
  flood.send(in_network(50, 1));
  CHECK(world.b.engine().half_open() == 20);
  flood.send(in_network(51, 1));
  CHECK(world.b.engine().half_open() == 20);
  CHECK(counted(world, Reason::kIkeCookieSent) == 1);

  world.b.handover(world.now);
  flood.send(in_network(52, 1));
  CHECK(world.b.engine().half_open() == 20);
  world.run_for(60s);  // each one's end finds its count
  CHECK(world.b.engine().half_open() == 0);
}

TEST_CASE("admission: in whatever way half-open IKE SAs end, their network's count goes with them") {
  // Answers that never come, refusals, timeouts, completed set-ups: the limit of one network is enough for all of them.
  World world({.seed = 20, .admission_b = {.half_open_per_prefix = 2, .init_rate_per_address = 0}});
  for (int round = 0; round < 10; ++round) {
    world.b.shell.know_address = round % 3 != 1;
    world.b.shell.hold_answers = round % 3 == 2;
    const IkeSaId id = world.initiate();
    world.deliver_all();
    world.b.shell.hold_answers = false;
    world.run_for(100s);
    CHECK(world.b.engine().half_open() == 0);
    world.a.engine().close_ike(world.now, id, Reason::kDeletedByOperator);
    world.deliver_all();
    CHECK(world.b.engine().ike_sas().empty());
  }
  CHECK(counted(world, Reason::kIkePrefixLimit) == 0);
}

TEST_CASE("admission: malformed requests take no state, with and without cookies") {
  for (const uint32_t cookie_from : {0U, 1000U}) {
    World world({.seed = 21, .admission_b = {.half_open_cookie_from = cookie_from}});
    world.initiate();
    const Flight request = world.wire.front();
    for (size_t bytes = 28; bytes < request.bytes.size(); ++bytes) {
      Bytes cut(request.bytes.begin(), request.bytes.begin() + static_cast<ptrdiff_t>(bytes));
      cut[26] = static_cast<uint8_t>(bytes >> 8), cut[27] = static_cast<uint8_t>(bytes);
      world.b.engine().receive(world.now, request.path, cut);
      world.b.drain(world.now);
    }
    CHECK(world.b.engine().ike_sas().empty());
    CHECK(world.b.outbox.empty());
  }
}

TEST_CASE("forgery: messages that are not authentic do not keep the peer from finishing its set-up") {
  AuthOnWire world({.seed = 22});
  world.forge(10 * kForgedMax);
  CHECK(world.b.reported(Reason::kIkeDecryptLimit));
  CHECK(counted(world, Reason::kIkeNotAuthentic) == 10 * kForgedMax);
  world.deliver_all();
  CHECK(world.is_up_and_equal());
}

TEST_CASE("forgery: a peer whose first request is lost finishes its set-up in spite of a forger") {
  AuthOnWire world({.seed = 23});
  world.forge(kForgedMax);
  world.wire.clear();
  world.run_for(9s);  // a repeats its request
  CHECK(world.is_up_and_equal());
}

TEST_CASE("forgery: a half-open IKE SA that only a forger talks to ends sooner, at the limit and not one before") {
  for (const uint32_t count : {kForgedMax - 1, kForgedMax}) {
    CAPTURE(count);
    AuthOnWire world({.seed = 24});
    world.forge(count);
    world.lose = [](const Flight&) { return true; };
    world.run_for(kForgedTimeout - 1s);
    CHECK(world.b.state() == "init-answered");
    world.run_for(2s);
    CHECK(world.b.state() == (count < kForgedMax ? "init-answered" : "none"));
    world.run_for(30s);
    CHECK(world.b.state() == "none");
  }
}

TEST_CASE("forgery: an established IKE SA is never dropped for it, only counted") {
  World world({.seed = 25});
  world.initiate();
  world.deliver_all();
  REQUIRE(world.is_up_and_equal());
  world.a.engine().check_liveness(world.now, world.a.engine().ike_sas().front());
  world.collect();
  const Flight real = world.wire.front();
  for (size_t i = 0; i < 1000; ++i) world.b.engine().receive(world.now, real.path, forged(real, i));
  world.run_for(20s);
  CHECK(counted(world, Reason::kIkeNotAuthentic) == 1000);
  CHECK(!world.b.reported(Reason::kIkeDecryptLimit));
  CHECK(world.is_up_and_equal());
}

TEST_CASE("hostile: requests from everywhere, at any pace, stay within every limit and end without a trace") {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    const policy::AdmissionLimits limits{
        .half_open_max = 60, .half_open_cookie_from = 40, .half_open_cookie_until = 20, .half_open_per_prefix = 6};
    World world({.seed = seed, .admission_b = limits});
    Flood flood(world, seed);
    SeededRandom random(seed);
    for (int i = 0; i < 3000; ++i) {
      flood.send(in_network(static_cast<uint32_t>(random.below(12)), static_cast<uint32_t>(random.below(256))));
      world.now = world.now + Duration(random.below(50'000'000));
      if (i % 16 == 0) world.b.engine().tick(world.now), world.b.drain(world.now);
      if (random.below(200) == 0) world.b.handover(world.now);
      CHECK(world.b.engine().half_open() <= limits.half_open_cookie_from);
      CHECK(world.b.engine().half_open() == world.b.engine().ike_sas().size());
    }
    world.run_for(60s);
    CHECK(world.b.engine().ike_sas().empty());
    CHECK(world.b.engine().half_open() == 0);
  }
}

TEST_CASE("admission: strangers are answered at a bounded rate, whatever they send") {
  LEDGER("2.4-05");
  World world({.seed = 31});
  const Path path{SocketContext(0), {*world.b.tunnel->local_address(), 500}, {of_a(world), 500}};
  world.initiate();
  Bytes newer = world.wire.front().bytes;
  newer[17] = 0x30;  // major version 3
  constexpr size_t kBurst = size_t{2} * kStatelessAnswersRate;
  auto answers_to = [&](size_t count) {
    size_t answers = 0;
    for (size_t i = 0; i < count; ++i) {
      world.b.engine().receive(world.now, path, newer);
      while (auto action = world.b.engine().poll_action()) answers += std::holds_alternative<SendDatagram>(*action);
    }
    return answers;
  };
  CHECK(answers_to(kBurst + 1000) == kBurst);
  CHECK(counted(world, Reason::kIkeAnswerRate) == 1000);
  world.now = world.now + 1ms;
  CHECK(answers_to(1000) == kStatelessAnswersRate / 1000);
}

TEST_CASE("admission: a flood of requests that are refused brings cookies on, and they go when it is over") {
  struct Case {
    const char* what;
    std::string proposals_of_flood;
    bool know_address;
  };
  const Case cases[] = {// NOLINT(cppcoreguidelines-avoid-c-arrays)
                        {"no proposal in common", "aes128gcm16-prfsha256-ecp256", true},
                        {"an address that no tunnel is for", "aes256gcm16-prfsha384-x25519", false},
                        {"another group", "aes256gcm16-prfsha384-ecp384-x25519", true}};
  for (const Case& each : cases) {
    CAPTURE(each.what);
    World world({.seed = 31});
    world.b.shell.know_address = each.know_address;
    Flood flood(world, {.seed = 31, .ike_proposals_a = each.proposals_of_flood});
    for (int i = 0; i < 10'000; ++i) flood.send(flood.any_source());

    CHECK(world.b.engine().asks_for_cookies(world.now));
    CHECK(counted(world, Reason::kIkeCookieSent) > 9'900);
    CHECK(world.b.reports.size() < 100);
    CHECK(world.b.engine().half_open() == 0);
    // A peer pays a cookie, no more.
    world.b.shell.know_address = true;
    world.initiate();
    world.deliver_all();
    CHECK(world.a.state() == "established");
    CHECK(world.delivered == 6);

    world.now = world.now + 5s;
    CHECK(!world.b.engine().asks_for_cookies(world.now));
  }
}

TEST_CASE("admission: requests with an unknown critical payload are load like those that are refused") {
  World world({.seed = 32});
  Flood flood(world, {.seed = 32});
  flood.append_critical();
  for (int i = 0; i < 1'000; ++i) flood.send(flood.any_source());
  CHECK(counted(world, Reason::kIkeCookieSent) > 900);
}

TEST_CASE("admission: refusals now and then bring no cookies") {
  World world({.seed = 33});
  Flood flood(world, {.seed = 33, .ike_proposals_a = "aes128gcm16-prfsha256-ecp256"});
  for (int i = 0; i < 500; ++i) {
    flood.send(flood.any_source());
    world.now = world.now + 100ms;
  }
  CHECK(counted(world, Reason::kIkeCookieSent) == 0);
  CHECK(counted(world, Reason::kNoProposalChosen) == 500);
}
