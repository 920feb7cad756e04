#include <doctest/doctest.h>

#include <cerrno>

#include "policy/base/random.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using Texts = std::vector<std::string>;

namespace {

constexpr int kErrnos[] = {EEXIST, EINVAL, ENOMEM, ENOBUFS, EPERM, ENOSPC, EOPNOTSUPP, ESRCH};

/// Peers, packets, an operator and a kernel that does what it likes, all by one seed.
class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed) {
    world.pub().devices["ens1"] = {.capability = FakeKernel::Capability::kCrypto, .table_size = 3};
    world.kernel.put_foreign("pub", policy::SaKey{*IpAddress::parse("192.0.2.1"), policy::ChildSpi(0xabcd)});
    world.start({{.name = "a", .remote = "198.51.100.1", .selector = "10.2.0.0/16", .start = "traffic"},
                 {.name = "b", .remote = "198.51.100.1", .selector = "10.3.0.0/16", .start = "respond"},
                 {.name = "c", .remote = "198.51.100.3", .selector = "10.4.0.0/16", .start = "now"}});
  }

  void step() {
    const std::string tunnel(1, "abc"[random_.below(3)]);
    switch (random_.below(10)) {
      case 0:
      case 1: add_child(tunnel); break;
      case 2: remove_child(); break;
      case 3: world.kernel.emit(world.acquire_for(tunnel)); break;
      case 4: world.initiated(ike::IkeSaId(++last_ike_), tunnel); break;
      case 5: world.ike_failed(ike::IkeSaId(last_ike_), Reason::kTimeout, tunnel); break;
      case 6:
        if (random_.below(2) == 0)
          world.manager->down(world.now, tunnel, "", [](Status) {});
        else
          world.manager->up(world.now, tunnel, "", [](Status) {});
        break;
      case 7:
      case 8: rekey_child(); break;
      default: world.pass(std::chrono::seconds(random_.below(40))); break;
    }
    world.run();
    obey();
  }

  /// Does what the manager asked of the worker, as the engine would.
  void obey() {
    for (const auto& each : std::exchange(world.workers.closed_children, {})) {
      const auto there = children_.find(each.child.value());
      if (there == children_.end()) continue;
      world.remove_child(each.ike, each.child.value(), there->second);
      children_.erase(there);
    }
  }

  ManagerWorld world{"auto"};

 private:
  /// A child that is agreed on, with a kernel that may refuse one operation, lose one answer, or answer late, and a
  /// peer that may change its mind meanwhile.
  void add_child(const std::string& tunnel) {
    const uint32_t id = ++last_child_;
    const ike::IkeSaId ike(last_ike_);
    const size_t position = 1 + random_.below(8);
    switch (random_.below(4)) {
      case 0: world.kernel.fail(position, {.os_errno = kErrnos[random_.below(std::size(kErrnos))]}); break;
      case 1: world.kernel.fail(position, {.lost = true}); break;
      case 2: world.kernel.hold_answers(); break;
      default: break;
    }
    // Sometimes a peer takes an SPI again that another one behind the same address has.
    world.spi_out_offset = random_.below(4) == 0 ? 0x1000 - static_cast<uint32_t>(random_.below(4)) : 0x1000;
    const size_t answers = world.workers.answers.size();
    world.install_inbound(ike, id, tunnel);
    world.kernel.release(random_.below(4));
    world.run();
    children_[id] = tunnel;
    if (world.kernel.held() > 0 && random_.below(2) == 0) drop(ike, id);
    world.kernel.release_all();
    world.run();
    const bool installed = world.workers.answers.size() > answers && world.last_answer() == "installed";
    if (installed && children_.count(id) != 0) world.install_outbound(ike, id, tunnel);
    if (!installed) children_.erase(id);
    world.kernel.forget_faults();
  }

  /// A child is replaced, by a kernel that does what it likes; the orders about the old one come at any time, and
  /// sometimes it is the fresh one that goes.
  void rekey_child() {
    if (children_.empty()) return;
    const auto [old_id, tunnel] = *std::next(children_.begin(), static_cast<long>(random_.below(children_.size())));
    const ike::IkeSaId ike(last_ike_);
    const ChildShape old{.ike = ike, .id = old_id, .tunnel = tunnel};
    const ChildShape fresh{.ike = ike, .id = ++last_child_, .replaces = old_id, .tunnel = tunnel};
    world.spi_out_offset = 0x1000;
    switch (random_.below(4)) {
      case 0: world.kernel.fail(1 + random_.below(4), {.os_errno = kErrnos[random_.below(std::size(kErrnos))]}); break;
      case 1: world.kernel.fail(1 + random_.below(4), {.lost = true}); break;
      default: break;
    }
    const size_t answers = world.workers.answers.size();
    world.inbound(fresh);
    if (world.workers.answers.size() == answers || world.last_answer() != "installed")
      return world.kernel.forget_faults();
    children_[fresh.id] = tunnel;
    if (random_.below(2) == 0) world.kernel.hold_answers();
    world.outbound(fresh);
    world.kernel.release(random_.below(3));
    world.run();
    world.kernel.forget_faults();  // a deletion that the kernel refuses is another matter
    if (random_.below(4) != 0) world.stop_outbound(old);
    if (random_.below(5) == 0) drop(ike, fresh.id);
    if (random_.below(3) != 0) drop(ike, old_id);
    world.kernel.release_all();
    world.run();
  }

  void remove_child() {
    if (!children_.empty()) drop(ike::IkeSaId(last_ike_), children_.begin()->first);
  }

  void drop(ike::IkeSaId ike, uint32_t id) {
    const std::string tunnel = children_.at(id);
    children_.erase(id);
    world.remove_child(ike, id, tunnel);
  }

  SeededRandom random_;
  std::map<uint32_t, std::string> children_;
  uint32_t last_child_ = 0x100;
  uint64_t last_ike_ = 0;
};

}  // namespace

TEST_CASE("walk: whenever nothing is under way, the kernel holds exactly what the manager's rows say") {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Walk walk(seed);
    for (int step = 0; step < 60; ++step) {
      walk.step();
      CAPTURE(step);
      REQUIRE(walk.world.manager->kernel_idle());
      Texts differences = walk.world.differences();
      // An MTU that the kernel has refused is a matter of reconciliation, which nobody has asked for here.
      std::erase_if(differences, [](const std::string& each) { return each.find("update-link") != std::string::npos; });
      REQUIRE_MESSAGE(differences.empty(), differences.front());
      REQUIRE(walk.world.kernel.foreign().size() == 1);
    }
    walk.world.manager->begin_shutdown();
    walk.world.manager->remove_all();
    walk.world.run();
    CHECK(walk.world.kernel.ours() == Texts{});
    CHECK(walk.world.kernel.foreign().size() == 1);
  }
}
