#include <doctest/doctest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "agent/control/limits.h"
#include "agent/show/sa_rows.h"
#include "tests/manager/manager_world.h"

using namespace ipsec;
using namespace ipsec::testing;
using nlohmann::json;

TEST_CASE("rows: a child that rekeys while its list is read is shown once") {
  ManagerWorld world;
  std::vector<TunnelText> tunnels;
  const size_t count = agent::control::kRowsPerStep + 1;
  for (size_t i = 0; i < count; ++i) {
    const std::string number = std::to_string(1000 + i);
    tunnels.push_back({.name = "t" + number,
                       .remote = "198.51.100." + std::to_string(i + 1),
                       .selector = "10.2." + std::to_string(i) + ".0/24"});
  }
  world.start(tunnels);
  for (size_t i = 0; i < count; ++i) {
    world.identity(ike::IkeSaId(i + 1), true, tunnels[i].name);
    world.install(ike::IkeSaId(i + 1), static_cast<uint32_t>(0x1000 + i), tunnels[i].name);
  }

  const auto source = agent::show::child_rows(*world.manager);
  std::vector<json> rows;
  CHECK(source->next(rows) == agent::control::RowSource::More::kYes);
  CHECK(rows.size() < count);
  const std::string last = tunnels.back().name;
  const ChildShape fresh{
      .ike = ike::IkeSaId(count), .id = 0x20, .replaces = static_cast<uint32_t>(0x1000 + count - 1), .tunnel = last};
  world.inbound(fresh);
  world.outbound(fresh);
  const ChildShape old{.ike = ike::IkeSaId(count), .id = static_cast<uint32_t>(0x1000 + count - 1), .tunnel = last};
  world.stop_outbound(old);
  world.remove(old, Reason::kChildRekeyed);
  std::vector<json> rest;
  while (source->next(rest) == agent::control::RowSource::More::kYes) {
  }
  rows.insert(rows.end(), rest.begin(), rest.end());

  std::map<std::string, size_t> shown;
  for (const json& row : rows) ++shown[row.at("tunnel").get<std::string>()];
  CHECK(shown.size() == count);
  for (const auto& [tunnel, times] : shown) CHECK_MESSAGE(times == 1, tunnel);
}
