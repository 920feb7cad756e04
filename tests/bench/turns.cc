#include "tests/bench/turns.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <thread>

#include "agent/event_loop.h"
#include "policy/base/verify.h"
#include "tests/bench/limits.h"
#include "tests/manager/manager_world.h"

namespace ipsec::bench {
namespace {

using testing::ManagerWorld;
using testing::TunnelText;

constexpr size_t kOperationsPerFlush = 64;  // as the real kernel port
constexpr size_t kTurnsMax = 10'000'000;

std::string address(const char* first, size_t number) {
  return first + std::to_string(number >> 16 & 255) + "." + std::to_string(number >> 8 & 255) + "." +
         std::to_string(number & 255);
}

class World {
 public:
  explicit World(size_t tunnels) {
    world_.clock = &agent::monotonic_now;
    world_.kernel.set_flush_most(kOperationsPerFlush);
    // As another thread does it: the main thread does not wait, and the result is there some turns later.
    world_.aside = [this](std::function<void()> work, std::function<void()> then) {
      std::thread([&work] { work(), work = nullptr; }).join();
      posted_.push_back(std::move(then));
    };
    for (size_t i = 0; i < tunnels; ++i)
      texts_.push_back({.name = "t" + std::to_string(i),
                        .remote = address("30.", i),
                        .selector = address("20.", i) + "/32",
                        .start = "traffic",
                        .members = {}});
  }

  void start() {
    const auto config = world_.parse(texts_);
    measure("start", [&] {
      world_.manager->start(world_.now, config);
      world_.manager->look_after(world_.now, {"pub", "priv"});
    });
  }
  void bring_up() {
    size_t at = 0;
    measure(
        "children up", [&] {},
        [&] {
          for (size_t i = 0; i < 20 && at < texts_.size(); ++i, ++at) {
            const auto ike = ike::IkeSaId(at + 1);
            world_.identity(ike, true, texts_[at].name);
            world_.install(ike, static_cast<uint32_t>(0x1000 + at), texts_[at].name);
          }
          return at < texts_.size();
        });
  }
  void audit() {
    world_.now = world_.now + 3600s;
    measure("audit", [] {});
  }
  void drift() {
    measure("drift", [&] { world_.manager->drift(world_.now, {}, [](const auto& found) { VERIFY(found.ok()); }); });
  }
  void flush_policies() {
    world_.kernel.flush_policies("pub");
    world_.now = world_.now + 3600s;
    measure("policies flushed", [&] { world_.kernel.emit(policy::PolicyDisturbed{.netns = "pub", .key = {}}); });
  }
  void reload(const char* verb, const std::function<void(std::vector<TunnelText>&)>& change) {
    change(texts_);
    const auto config = world_.parse(texts_);
    const auto changes =
        std::make_shared<const policy::TunnelChanges>(policy::tunnel_changes(world_.manager->config(), *config));
    measure(verb, [&] { world_.manager->reconfigure(world_.now, config, changes); });
  }
  std::vector<TurnsOf> results;

 private:
  using More = std::function<bool()>;
  /// Turns until nothing is to be done at once, the first of which does `begin` as well; `more` in each of them.
  void measure(
      const char* verb, const std::function<void()>& begin, const More& more = [] { return false; }) {
    TurnsOf found{.verb = verb};
    bool first = true, goes_on = true;
    while (goes_on && found.turns < kTurnsMax) {
      const double before = thread_cpu();
      if (std::exchange(first, false)) begin();
      goes_on = more();
      for (auto& then : std::exchange(posted_, {})) then();
      world_.manager->run(world_.now);
      const auto next = world_.manager->next_deadline();
      const double took = (thread_cpu() - before) / 1000;
      found.longest = std::max(found.longest, took);
      found.all += took;
      ++found.turns;
      goes_on = goes_on || !posted_.empty() || (next && *next <= world_.now);
    }
    world_.kernel.forget_texts();
    world_.workers = {};
    results.push_back(found);
  }

  ManagerWorld world_;
  std::vector<TunnelText> texts_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace

std::vector<TurnsOf> run_turns(size_t tunnels) {
  World world(tunnels);
  world.start();
  world.bring_up();
  world.audit();
  world.drift();
  world.flush_policies();
  world.reload("reload, nothing new", [](std::vector<TunnelText>&) {});
  world.reload("reload, all changed", [](std::vector<TunnelText>& texts) {
    for (TunnelText& each : texts) each.start = "respond";
  });
  world.reload("reload, half removed", [](std::vector<TunnelText>& texts) { texts.resize(texts.size() / 2); });
  return world.results;
}

int print_turns(size_t tunnels, bool json) {
  const std::vector<TurnsOf> results = run_turns(tunnels);
  double longest = 0;
  if (!json) std::printf("%zu tunnels on the fake kernel: turns of the main thread, milliseconds of CPU\n", tunnels);
  for (const TurnsOf& each : results) {
    longest = std::max(longest, each.longest);
    std::printf(json ? "{\"verb\": \"%s\", \"turns\": %zu, \"longest_ms\": %.2f, \"all_ms\": %.1f}\n"
                     : "  %-24s turns %7zu  longest %8.2f  all %9.1f\n",
                each.verb.c_str(), each.turns, each.longest, each.all);
  }
  return longest <= kTurnMost ? 0 : 1;
}

}  // namespace ipsec::bench
