#include "agent/outbox.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "tests/support/engine_world.h"

using namespace ipsec;
using namespace ipsec::agent;
using namespace ipsec::testing;
using ike::IkeSaId;

namespace {

ike::Report report_of(uint64_t ike, bool unauthenticated, const std::string& tunnel = {}) {
  return {.ike = IkeSaId(ike), .tunnel = tunnel, .reason = Reason::kAuthFailed, .unauthenticated = unauthenticated};
}

/// An outbox whose main thread does not look by itself.
struct Way {
  size_t invited = 0;
  std::vector<std::string> opened;
  Mailbox mailbox{[] {}, {.letters = 8, .bytes = 10'000}};
  Outbox outbox{mailbox, [this] { ++invited; }};
  Instant now{1000s};

  void send(const std::string& name, size_t bytes = 1) {
    outbox.send({.open = [this, name] { opened.push_back(name); }, .bytes = bytes});
  }
};

/// What a worker does with its engine's actions, without its sockets: a flood comes in as datagrams, the main thread
/// opens letters when the test lets it.
class FloodedWorker {
 public:
  explicit FloodedWorker(World& world) : world_(world) {
    World other({.seed = 4242, .ike_proposals_a = "aes128gcm16-prfsha256-ecp256"});
    other.initiate();
    request_ = other.wire.front().bytes;
  }
  /// A request that is refused, from an address of its own; false when the worker takes no datagrams.
  bool take_one() {
    if (outbox.is_blocked() && !outbox.flush()) return false;
    random_.fill(std::span(request_).first(8));
    const ike::Path path{.context = ike::SocketContext(0),
                         .local = {*world_.b.tunnel->local_address(), 500},
                         .remote = {IpAddress::v4(random_.u32()), 500}};
    world_.b.engine().receive(world_.now, path, request_);
    drain();
    return true;
  }
  void drain() {
    while (auto action = world_.b.engine().poll_action()) {
      if (const auto* need = std::get_if<ike::NeedInitPolicy>(&*action)) {
        world_.b.engine().answer(world_.now,
                                 {need->id, need->ike, ike::InitPolicy{world_.b.tunnel->ike_policy->proposals}});
        continue;
      }
      if (std::holds_alternative<ike::SendDatagram>(*action)) continue;
      switch (outbox.judge(world_.now, *action)) {
        case Outbox::Verdict::kNotNeeded: break;
        case Outbox::Verdict::kDropped: ++dropped; break;
        case Outbox::Verdict::kSend: {
          const size_t bytes = bytes_of(*action);
          auto kept = std::make_shared<ike::Action>(std::move(*action));
          outbox.send({.open = [this, kept] { opened += kept->index() != 0; }, .bytes = bytes});
          break;
        }
      }
    }
  }
  Mailbox mailbox{[] {}};
  Outbox outbox{mailbox, [] {}};
  size_t dropped = 0, opened = 0;

 private:
  World& world_;
  SeededRandom random_{99};
  Bytes request_;
};

}  // namespace

TEST_CASE("outbox: what the mailbox has no room for waits, in order, and nothing is lost") {
  Way way;
  for (int i = 0; i < 20; ++i) way.send(std::to_string(i));
  CHECK(way.outbox.is_blocked());
  CHECK(way.outbox.waiting() == 12);

  while (way.opened.size() < 20) {
    way.mailbox.open_some(3);
    way.outbox.flush();
  }

  for (int i = 0; i < 20; ++i) CHECK(way.opened[static_cast<size_t>(i)] == std::to_string(i));
  CHECK(!way.outbox.is_blocked());
  CHECK(way.invited >= 1);
}

TEST_CASE("outbox: while it is blocked nothing passes by what waits") {
  Way way;
  for (int i = 0; i < 9; ++i) way.send(std::to_string(i));
  way.mailbox.open_some(8);
  way.send("behind");
  CHECK(way.outbox.waiting() == 2);
  CHECK(way.outbox.flush());
  way.mailbox.open_some(8);
  CHECK(way.opened.back() == "behind");
}

TEST_CASE("outbox: reports of unauthenticated senders are sampled; those of authenticated peers never") {
  Way way;
  size_t sent = 0, dropped = 0;
  for (uint64_t i = 1; i <= 1000; ++i) {
    const auto verdict = way.outbox.judge(way.now, report_of(i, true));
    sent += verdict == Outbox::Verdict::kSend ? 1 : 0;
    dropped += verdict == Outbox::Verdict::kDropped ? 1 : 0;
    CHECK(way.outbox.judge(way.now, report_of(i, false, "site")) == Outbox::Verdict::kSend);
  }
  CHECK(sent == 2 * kUnauthenticatedReportsPerSecond);
  CHECK(dropped == 1000 - sent);
  // A flood of strangers hides no peer that fails to prove who it is.
  CHECK(way.outbox.judge(way.now, report_of(7, true, "site")) == Outbox::Verdict::kSend);
  way.now = way.now + 1s;
  CHECK(way.outbox.judge(way.now, report_of(8, true)) == Outbox::Verdict::kSend);
}

TEST_CASE("outbox: the main thread hears of the end of an IKE SA that it keeps a record of, and of no other") {
  Way way;
  const auto judge = [&](ike::Action action) { return way.outbox.judge(way.now, action); };
  const auto gone = [](uint64_t ike) { return ike::SnapshotChanged{IkeSaId(ike), true}; };
  CHECK(judge(ike::SnapshotChanged{IkeSaId(1)}) == Outbox::Verdict::kNotNeeded);
  CHECK(judge(gone(1)) == Outbox::Verdict::kNotNeeded);
  // A report alone leaves no record.
  CHECK(judge(report_of(1, false, "site")) == Outbox::Verdict::kSend);
  CHECK(judge(gone(1)) == Outbox::Verdict::kNotNeeded);
  CHECK(judge(ike::IdentityEstablished{.ike = IkeSaId(2), .tunnel = {}}) == Outbox::Verdict::kSend);
  CHECK(judge(ike::IkeRekeyed{IkeSaId(2), IkeSaId(3), {}}) == Outbox::Verdict::kSend);
  way.outbox.note_record(IkeSaId(4));
  CHECK(way.outbox.records() == 3);
  for (const uint64_t each : {2, 3, 4}) {
    CHECK(judge(gone(each)) == Outbox::Verdict::kSend);
    CHECK(judge(gone(each)) == Outbox::Verdict::kNotNeeded);
  }
  CHECK(way.outbox.records() == 0);
}

TEST_CASE("outbox: whatever is said of an IKE SA after its end, nothing of it is kept") {
  Way way;
  for (uint64_t id = 1; id <= 100; ++id) {
    (void)way.outbox.judge(way.now, ike::IdentityEstablished{.ike = IkeSaId(id), .tunnel = {}});
    (void)way.outbox.judge(way.now, ike::SnapshotChanged{IkeSaId(id), true});
    (void)way.outbox.judge(way.now, report_of(id, false, "site"));
    (void)way.outbox.judge(way.now, ike::RemoveChild{.ike = IkeSaId(id), .spec = {}});
    (void)way.outbox.judge(way.now, ike::ChildFailed{.ike = IkeSaId(id), .tunnel = {}, .child = {}, .detail = {}});
  }
  CHECK(way.outbox.records() == 0);
}

TEST_CASE("outbox: a letter counts what its action holds") {
  auto negotiation = std::make_shared<policy::Negotiation>();
  const size_t small = bytes_of(report_of(1, true));
  negotiation->offered.resize(64);
  for (policy::Proposal& each : negotiation->offered) each.transforms.resize(128);
  ike::Report large = report_of(1, true);
  large.fields.push_back(field("offered", std::string(50'000, 'x')));
  large.negotiation = negotiation;
  CHECK(small < 1000);
  CHECK(bytes_of(large) > 50'000 + 64 * 128 * sizeof(policy::Transform));
}

TEST_CASE("outbox: a flood of refused requests beside a main thread that stands still holds little memory") {
  World world({.admission_b = {.half_open_cookie_from = 1'000'000'000, .init_rate_per_address = 0}});
  FloodedWorker worker(world);
  size_t taken = 0;
  for (int i = 0; i < 20'000; ++i) taken += worker.take_one() ? 1 : 0;

  // Sampled: so the worker goes on, and what is under way stays far below the limits.
  CHECK(taken == 20'000);
  CHECK(worker.dropped == 20'000 - 2 * kUnauthenticatedReportsPerSecond);
  CHECK(worker.mailbox.letters() <= kMailboxLettersMax);
  CHECK(worker.mailbox.bytes() <= kMailboxBytesMax);
  CHECK(worker.outbox.waiting() == 0);
  const size_t letters = worker.mailbox.letters();
  while (worker.mailbox.open_some(kLettersPerTurn)) {
  }
  CHECK(worker.opened == letters);
}

TEST_CASE("outbox: what must not be lost fills the mailbox and then stops the worker, at the same bound") {
  World world({.admission_b = {.half_open_cookie_from = 1'000'000'000, .init_rate_per_address = 0}});
  FloodedWorker worker(world);
  size_t letters_most = 0, bytes_most = 0, waiting_most = 0, refused = 0;
  for (int i = 0; i < 30'000; ++i) {
    world.now = world.now + 20ms;  // as many as are passed on
    if (!worker.take_one()) ++refused;
    letters_most = std::max(letters_most, worker.mailbox.letters());
    bytes_most = std::max(bytes_most, worker.mailbox.bytes());
    waiting_most = std::max(waiting_most, worker.outbox.waiting());
  }
  CHECK(refused > 10'000);
  CHECK(letters_most <= kMailboxLettersMax);
  CHECK(bytes_most <= kMailboxBytesMax);
  CHECK(waiting_most <= 4);
  // The main thread comes back: everything arrives, and the worker goes on.
  const size_t under_way = worker.mailbox.letters() + worker.outbox.waiting();
  while (worker.mailbox.open_some(kLettersPerTurn) || !worker.outbox.flush()) {
  }
  while (worker.mailbox.open_some(kLettersPerTurn)) {
  }
  CHECK(worker.opened == under_way);
  CHECK(worker.take_one());
}
