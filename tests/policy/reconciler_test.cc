#include "policy/reconciler.h"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>

#include "policy/limits.h"
#include "tests/support/fake_kernel.h"

using namespace ipsec;
using namespace ipsec::policy;
using ipsec::testing::FakeKernel;
using ipsec::testing::Maker;
using State = Reconciler::State;
using Hint = Reconciler::Hint;
using Texts = std::vector<std::string>;

namespace {

SaKey sa_key(uint32_t spi) { return {IpAddress::v4(0xc0000201), ChildSpi(spi)}; }

PolicyConfig policy_of(uint32_t number, uint32_t reqid) {
  PolicyConfig policy;
  policy.key.source = IpPrefix::parse("10.1.0.0/16").value();
  policy.key.destination = IpPrefix::host(IpAddress::v4(0x0a020000 + number));
  policy.reqid = reqid;
  return policy;
}

LinkConfig link_of(uint32_t number, uint32_t mtu) {
  return {.name = "ips" + std::to_string(number), .if_id = number, .vrf = "red", .mtu = mtu};
}

RouteConfig route_of(uint32_t number, uint32_t link) {
  return {.destination = IpPrefix::host(IpAddress::v4(0x0a020000 + number)),
          .vrf = "red",
          .device = "ips" + std::to_string(link)};
}

/// A few of the objects `first` to `first + 3`; routes only over links that are there.
NamespaceState random_state(Random& random, uint32_t first) {
  NamespaceState state;
  for (uint32_t i = first; i < first + 4; ++i) {
    if (random.below(2) == 0) state.sas[sa_key(0xc0 + i)] = {.reqid = static_cast<uint32_t>(random.below(2))};
    if (random.below(2) == 0) state.add(policy_of(i, static_cast<uint32_t>(random.below(2))));
    if (random.below(2) == 0) continue;
    state.add(link_of(i, 1400 + static_cast<uint32_t>(random.below(2))));
    const auto link = std::next(state.links.begin(), static_cast<ptrdiff_t>(random.below(state.links.size())));
    if (random.below(2) == 0) state.add(route_of(i, link->second.if_id));
  }
  return state;
}

void put(FakeKernel& kernel, const NamespaceState& state, Maker maker) {
  auto& space = kernel.in("");
  for (const auto& [key, identity] : state.sas) {
    FakeKernel::Sa sa{.state = {}, .config = {}, .maker = maker};
    sa.state.key = sa.config.key = key;
    sa.state.reqid = identity.reqid;
    space.sas.insert_or_assign(key, std::move(sa));
  }
  for (const auto& [key, policy] : state.policies) space.policies[key] = {policy, maker};
  for (const auto& [name, link] : state.links) space.links[name] = {link, maker};
  for (const auto& [key, route] : state.routes)
    space.routes[{route.vrf, route.destination, route.metric}] = {route, maker};
}

NamespaceState ours(const FakeKernel& kernel) {
  NamespaceState state;
  const auto& space = kernel.in("");
  for (const auto& [key, sa] : space.sas)
    if (sa.maker == Maker::kOurs) state.sas[key] = SaIdentity::of(sa.state);
  for (const auto& [key, policy] : space.policies)
    if (policy.maker == Maker::kOurs) state.add(policy.config);
  for (const auto& [name, link] : space.links)
    if (link.maker == Maker::kOurs) state.add(link.config);
  for (const auto& [key, route] : space.routes)
    if (route.maker == Maker::kOurs) state.add(route.config);
  return state;
}

/// A reconciler between a fake kernel, whose operations fail on demand, and an IKE that replaces SAs on demand.
struct World {
  explicit World(uint64_t seed) : random(seed), reconciler(random) { kernel.in("").vrfs.insert("red"); }

  /// Carries out everything that is due now.
  void run() {
    reconciler.tick(now);
    for (int steps = 0; steps < 100; ++steps) {
      act();
      if (!reconciler.read_due(now)) return;
      ++reads;
      if (unreadable)
        reconciler.on_unreadable(now, *unreadable);
      else
        reconciler.on_read(now, diff(desired, ours(kernel)));
    }
    FAIL("it never comes to rest");
  }
  void act() {
    while (auto action = reconciler.poll()) {
      if (auto* submit = std::get_if<SubmitChange>(&*action)) {
        if (random.below(100) < failing_percent) kernel.fail(1, {.os_errno = kErrnos[random.below(kErrnos.size())]});
        kernel.submit({.id = submit->id, .netns = "", .change = std::move(submit->change)});
        kernel.flush();
      } else if (const auto* replace = std::get_if<ReplaceSa>(&*action)) {
        replaced.push_back(replace->key);
        if (random.below(100) >= failing_percent && ike_answers) replace_sa(replace->key);
      } else if (auto* mended = std::get_if<ReportMended>(&*action)) {
        reports.push_back(std::string(mended->what.kind) + " " + std::string(mended->what.verb));
      } else if (auto* stays = std::get_if<ReportStays>(&*action)) {
        reports.push_back(std::string(stays->what.kind) + " stays: " + std::string(code(stays->why.reason())));
      } else if (auto* waiting = std::get_if<ReportWaiting>(&*action)) {
        reports.push_back("waits: " + std::string(code(waiting->why.reason())));
      } else {
        reports.emplace_back("synced");
      }
      while (auto done = kernel.poll_completion())
        reconciler.on_done(now, done->id, done->result.ok() ? Status() : Status(done->result.error()));
    }
  }
  /// Another one takes its place, as a rekey does it.
  void replace_sa(const SaKey& key) {
    const SaIdentity identity = desired.sas.at(key);
    desired.sas.erase(key);
    const SaKey fresh = sa_key(++last_spi);
    desired.sas[fresh] = identity;
    NamespaceState made;
    made.sas[fresh] = identity;
    put(kernel, made, Maker::kOurs);
  }
  /// Goes to the next deadline; whether there was one within `limit`.
  bool step(Duration limit) {
    const auto next = reconciler.next_deadline();
    if (!next || *next > now + limit) return false;
    now = std::max(now, *next);
    run();
    return true;
  }
  void pass(Duration time) {
    const Instant end = now + time;
    while (step(end - now)) continue;
    now = end;
  }
  bool converged() const { return diff(desired, ours(kernel)).empty(); }

  static constexpr std::array kErrnos{EEXIST, ENOENT, ESRCH, EINVAL, EPERM,  ENOMEM,   ENOBUFS,
                                      EBUSY,  ENODEV, EIO,   ENOSPC, EAGAIN, ENETDOWN, EOPNOTSUPP};
  SeededRandom random;
  FakeKernel kernel;
  Reconciler reconciler;
  NamespaceState desired;
  Instant now{1000s};
  Texts reports;
  std::vector<SaKey> replaced;
  std::optional<Error> unreadable;
  uint64_t failing_percent = 0;
  bool ike_answers = true;
  uint32_t last_spi = 0x1000;
  size_t reads = 0;
};

NamespaceState one_tunnel() {
  NamespaceState state;
  state.add(policy_of(1, 1));
  state.add(link_of(1, 1400));
  state.add(route_of(1, 1));
  return state;
}

}  // namespace

TEST_CASE("reconciler: from any state to any other, whatever fails meanwhile, and nothing foreign is touched") {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    World world(seed);
    put(world.kernel, random_state(world.random, 1), Maker::kOurs);
    world.desired = random_state(world.random, 1);
    put(world.kernel, random_state(world.random, 5), Maker::kForeign);
    const Texts foreign = world.kernel.foreign();
    world.failing_percent = 10 + world.random.below(90);
    world.reconciler.hint(world.now, Hint::kPerhaps);
    world.run();
    for (int second = 0; second < 20; ++second) {
      const size_t reads = world.reads;
      if (world.random.below(4) == 0) world.reconciler.hint(world.now, Hint::kGone);
      world.pass(1s);
      CHECK(world.reads - reads <= 20);  // never hot
    }

    world.failing_percent = 0;
    world.pass(200s);

    CHECK(world.converged());
    CHECK(world.reconciler.state() == State::kSynced);
    CHECK(world.kernel.foreign() == foreign);
  }
}

TEST_CASE("reconciler: what is missing is made at once, read back, and reported") {
  World world(1);
  world.desired = one_tunnel();
  world.reconciler.hint(world.now, Hint::kGone);
  world.run();

  CHECK(world.converged());
  CHECK(world.reports == Texts{"link made", "policy made", "route made", "synced"});
  CHECK(world.reads == 2);
  CHECK(world.reconciler.state() == State::kSynced);
}

TEST_CASE("reconciler: without any sign of a change there is one read per audit interval, and it reports nothing") {
  World world(1);
  world.reconciler.hint(world.now, Hint::kPerhaps);
  world.run();
  world.reads = 0;

  world.pass(kAuditInterval * 10);

  CHECK(world.reads >= 7);
  CHECK(world.reads <= 14);
  CHECK(world.reports.empty());
}

TEST_CASE("reconciler: however many signs there are, one read a second follows; more when something of ours is gone") {
  World world(1);
  world.reconciler.hint(world.now, Hint::kPerhaps);
  world.run();
  world.reads = 0;
  for (int i = 0; i < 1000; ++i) {
    world.reconciler.hint(world.now, Hint::kPerhaps);
    world.pass(10ms);
  }
  CHECK(world.reads == 10);

  world.reads = 0;
  for (int i = 0; i < 100; ++i) {
    world.reconciler.hint(world.now, Hint::kGone);
    world.pass(10ms);
  }
  CHECK(world.reads <= 21);
  CHECK(world.reads >= 10);
}

TEST_CASE("reconciler: after a read that took long the next one waits ten times as long, whatever is gone") {
  World world(1);
  Reconciler& reconciler = world.reconciler;
  reconciler.hint(world.now, Hint::kPerhaps);
  REQUIRE(reconciler.read_due(world.now));
  reconciler.on_read(world.now, {}, 20000, 500ms);

  reconciler.hint(world.now + 10ms, Hint::kGone);

  CHECK(!reconciler.read_due(world.now + 4999ms));
  CHECK(reconciler.read_due(world.now + 5s));
}

TEST_CASE("reconciler: objects are put right by their keys, so many in a second; what is more waits for a read") {
  World world(1);
  Reconciler& reconciler = world.reconciler;
  reconciler.hint(world.now, Hint::kPerhaps);
  world.run();

  size_t repaired = 0;
  for (int i = 0; i < 1000; ++i) repaired += reconciler.may_repair(world.now) ? 1 : 0;
  CHECK(repaired == kKeyedRepairsMax);
  CHECK(reconciler.may_repair(world.now + kReadGap));
  reconciler.on_sa_gone(world.now + kReadGap, sa_key(1));
  const auto action = reconciler.poll();
  REQUIRE(action);
  CHECK(std::holds_alternative<ReplaceSa>(*action));
  reconciler.on_sa_gone(world.now + kReadGap, sa_key(1));  // said twice, asked once
  CHECK(!reconciler.poll());
}

TEST_CASE("reconciler: a namespace that is gone is waited for, said once, and filled as soon as it is back") {
  World world(1);
  world.desired = one_tunnel();
  world.unreadable = Error(Reason::kNamespaceMissing, "gone");
  world.reconciler.hint(world.now, Hint::kGone);
  world.run();
  CHECK(world.reconciler.state() == State::kAwaiting);
  world.pass(60s);
  CHECK(world.reports == Texts{"waits: namespace-missing"});
  CHECK(world.reads < 30);

  world.unreadable.reset();
  world.reconciler.hint(world.now, Hint::kReturned);
  world.pass(kReadGapShort);

  CHECK(world.converged());
  CHECK(world.reports.back() == "synced");
  CHECK(!world.reconciler.obstacle());
}

TEST_CASE("reconciler: a VRF that is gone is waited for, and what does not need it is mended meanwhile") {
  World world(1);
  world.desired = one_tunnel();
  world.kernel.in("").vrfs.clear();
  world.reconciler.hint(world.now, Hint::kGone);
  world.run();
  CHECK(world.reconciler.state() == State::kAwaiting);
  CHECK(world.reconciler.obstacle()->reason() == Reason::kVrfMissing);
  CHECK(world.kernel.in("").policies.size() == 1);
  CHECK(world.reports == Texts{"policy made", "waits: vrf-missing"});

  world.kernel.in("").vrfs.insert("red");
  world.pass(kAwaitMost * 2);  // without any hint

  CHECK(world.converged());
}

TEST_CASE("reconciler: where somebody else's object stands, it is said once, tried ever more rarely, and not touched") {
  World world(1);
  world.desired.add(policy_of(1, 1));
  world.kernel.put_foreign("", policy_of(1, 99));
  world.reconciler.hint(world.now, Hint::kGone);
  world.run();
  world.pass(600s);
  CHECK(world.reports == Texts{"policy stays: kernel-conflict"});
  CHECK(world.reads < 30);
  CHECK(world.kernel.in("").policies.begin()->second.config.reqid == 99);
  CHECK(world.reconciler.obstacle()->reason() == Reason::kKernelConflict);

  world.kernel.in("").policies.clear();
  world.pass(kRepairMost * 2);

  CHECK(world.converged());
}

TEST_CASE("reconciler: an SA that is gone is asked for, again after a while, and no more when another has its place") {
  World world(1);
  world.desired.sas[sa_key(0xc1)] = {.reqid = 1};
  world.ike_answers = false;
  world.reconciler.hint(world.now, Hint::kGone);
  world.run();
  CHECK(world.replaced == std::vector{sa_key(0xc1)});
  world.pass(kReplaceSaFirst * 2);
  CHECK(world.replaced.size() >= 2);
  CHECK(world.replaced.size() <= 3);
  CHECK(world.reconciler.state() == State::kSyncing);

  world.ike_answers = true;
  world.pass(60s);
  world.replaced.clear();
  world.pass(600s);

  CHECK(world.replaced.empty());
  CHECK(world.reconciler.state() == State::kSynced);
}

TEST_CASE("reconciler: of very many SAs that are gone only so many are asked for at a time, and all get their turn") {
  World world(1);
  for (uint32_t i = 0; i < 3 * kReplaceSasAtOnce; ++i) world.desired.sas[sa_key(0x10000 + i)] = {.reqid = 1};
  world.last_spi = 0x20000;
  world.reconciler.hint(world.now, Hint::kGone);
  world.run();
  CHECK(world.replaced.size() == kReplaceSasAtOnce);
  world.pass(kReplaceSasGap * 3);
  CHECK(world.replaced.size() == 3 * kReplaceSasAtOnce);
  world.pass(10s);
  CHECK(world.reconciler.state() == State::kSynced);
}

TEST_CASE("reconciler: the more there is to read, the more rarely it is audited") {
  World world(1);
  world.reconciler.on_read(world.now, {}, 1'000'000);
  CHECK(*world.reconciler.next_deadline() - world.now >= 750s);
}

TEST_CASE("reconciler: what the kernel takes and does not keep is tried with growing pauses") {
  World world(1);
  world.desired.add(link_of(1, 1400));
  put(world.kernel, world.desired, Maker::kOurs);
  world.desired.links["ips1"].public_netns = "";
  world.reconciler.hint(world.now, Hint::kGone);
  size_t reads = 0;
  for (Instant end = world.now + 60s; world.now < end;) {
    if (world.reconciler.read_due(world.now)) {
      ++reads;
      StateDiff same;
      same.changes.emplace_back(UpdateLink{link_of(1, 1400)});
      world.reconciler.on_read(world.now, std::move(same));
    }
    world.act();
    world.now = world.now + 10ms;
  }
  CHECK(reads < 20);
}

TEST_CASE("reconciler: answers that never come count as failed, and late ones do no harm") {
  World world(1);
  world.desired = one_tunnel();
  world.reconciler.hint(world.now, Hint::kGone);
  world.reconciler.on_read(world.now, diff(world.desired, {}));
  std::vector<uint64_t> ids;
  while (auto action = world.reconciler.poll())
    if (const auto* submit = std::get_if<SubmitChange>(&*action)) ids.push_back(submit->id);
  REQUIRE(ids.size() == 3);
  CHECK(!world.reconciler.read_due(world.now));

  world.now = world.now + kRoundTimeout;
  world.reconciler.tick(world.now);
  for (const uint64_t id : ids) world.reconciler.on_done(world.now, id, {});
  CHECK(!world.reconciler.poll());
  world.pass(1s);

  CHECK(world.converged());
}
