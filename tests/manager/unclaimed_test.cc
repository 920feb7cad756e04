#include "agent/unclaimed.h"

#include <doctest/doctest.h>

#include "tests/manager/drift_now.h"
#include "tests/manager/manager_world.h"

// The journal of a killed run is lost: what stands is nobody's, until an operator says that it is ours.
using namespace ipsec;
using namespace ipsec::testing;

namespace {

constexpr ike::IkeSaId kIke{0x11}, kNext{0x22};
constexpr uint32_t kFirst = 0xc1, kFresh = 0xd1;

std::vector<TunnelText> two_tunnels(const char* start) {
  return {{.start = start}, {.name = "b", .remote = "198.51.100.9", .selector = "10.4.0.0/16", .start = start}};
}

/// A life that ends without a journal, and the next one: its kernel calls meet what stands.
std::vector<std::string> lose_everything(ManagerWorld& world, const std::vector<TunnelText>& next) {
  world.put_foreign_objects("lan0");
  std::vector<std::string> foreign = world.kernel.foreign();
  world.start(two_tunnels("now"));
  world.identity(kIke);
  world.install(kIke, kFirst);
  world.kernel.lose_journal();
  world.restart(next);
  world.manager->look_after(world.now, {"pub", "priv"});
  for (int i = 0; i < 5; ++i) world.run();
  return foreign;
}

size_t count_of(ManagerWorld& world, policy::DriftVerdict verdict) {
  size_t count = 0;
  for (const agent::NamespaceDrift& each : drift_now(*world.manager, world.now))
    for (const policy::DriftRow& row : *each.rows) count += row.verdict == verdict ? 1 : 0;
  return count;
}

size_t adopt(ManagerWorld& world) {
  agent::DriftAdoption adoption(world.kernel, world.manager->reconciliation(), {});
  while (adoption.step(world.now)) {
  }
  CHECK(!adoption.failed());
  for (int i = 0; i < 20; ++i) world.pass(1s);
  return adoption.adopted();
}

bool has_drift(ManagerWorld& world) {
  bool any = false;
  for (const agent::NamespaceDrift& each : drift_now(*world.manager, world.now))
    any = any || policy::has_drift(*each.rows);
  return any;
}

}  // namespace

TEST_CASE("unclaimed: without a journal nothing is touched, and all that bears our marks is listed") {
  ManagerWorld world;
  const auto foreign = lose_everything(world, two_tunnels("now"));
  const auto all = world.kernel.foreign();
  const size_t marked = all.size() - foreign.size();
  REQUIRE(marked >= 2 + 2 + 3 + 1);  // interfaces, SAs, policies, a route

  CHECK(count_of(world, policy::DriftVerdict::kUnclaimed) == marked);
  CHECK(count_of(world, policy::DriftVerdict::kForeign) == foreign.size());
  size_t found = 0;
  for (const char* netns : {"pub", "priv"}) found += agent::find_unclaimed(world.kernel, netns).value().count;
  CHECK(found == marked);
  CHECK(world.kernel.foreign() == all);
}

TEST_CASE("unclaimed: once adopted, what is wanted stays, the rest goes, and the tunnels begin their life") {
  ManagerWorld world;
  const auto foreign = lose_everything(world, two_tunnels("now"));
  CHECK(world.state() == "down");  // its interface was in the way
  const size_t marked = world.kernel.foreign().size() - foreign.size();

  CHECK(adopt(world) == marked);

  CHECK(world.kernel.foreign() == foreign);
  CHECK(!has_drift(world));
  CHECK(world.differences().empty());
  CHECK(count_of(world, policy::DriftVerdict::kUnclaimed) == 0);
  CHECK(world.events_of(Reason::kDriftAdopted).size() == 2);  // one for each namespace
  world.identity(kNext);
  world.install(kNext, kFresh);
  CHECK(world.state() == "up");
  CHECK(world.last_answer() == "installed");
  CHECK(world.differences().empty());
}

TEST_CASE("unclaimed: what is not configured any more goes with the adoption, and not before") {
  ManagerWorld world;
  const auto foreign = lose_everything(world, {{.start = "now"}});  // tunnel b is configured no more
  const size_t links = world.priv().links.size();

  adopt(world);

  CHECK(world.priv().links.size() == links - 1);
  CHECK(world.kernel.foreign() == foreign);
  CHECK(!has_drift(world));
}

TEST_CASE("unclaimed: an adoption of one namespace leaves the others, and a second one finds nothing") {
  ManagerWorld world;
  lose_everything(world, two_tunnels("now"));
  agent::DriftAdoption only(world.kernel, world.manager->reconciliation(), "priv");
  while (only.step(world.now)) {
  }
  CHECK(only.adopted() >= 2);
  CHECK(agent::find_unclaimed(world.kernel, "priv").value().count == 0);
  CHECK(agent::find_unclaimed(world.kernel, "pub").value().count != 0);

  adopt(world);
  CHECK(adopt(world) == 0);
}

TEST_CASE("unclaimed: an external interface that is adopted serves all tunnels of its group") {
  ManagerWorld world;
  world.group = R"("private": { "netns": "priv", "vrf": "red" }, "interfaces": "external")";
  const auto foreign = lose_everything(world, two_tunnels("now"));

  adopt(world);

  CHECK(world.kernel.foreign() == foreign);
  CHECK(!has_drift(world));
  world.identity(kNext);
  world.install(kNext, kFresh);
  CHECK(world.last_answer() == "installed");
}

TEST_CASE("unclaimed: a namespace that is not there holds nothing, and does not make the adoption fail") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.manager->look_after(world.now, {"nowhere"});
  CHECK(adopt(world) == 0);
}
