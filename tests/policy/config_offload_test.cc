#include "tests/policy/config_support.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

std::string with_node(const std::string& offload) {
  return R"({ "version": 1, "node": { "offload": )" + offload + " } }";
}

}  // namespace

TEST_CASE("config: node.offload says how children compete for NICs, and what is known of each NIC") {
  const ConfigOutcome outcome = parse_one(with_node(R"({
    "half_life": "5s", "stay": "2m", "settle": "1m", "moves_per_minute": 10, "hysteresis_percent": 50,
    "least_rate": 5000, "choice": "spread",
    "devices": { "ens1": { "children_max": 2000 }, "ens2": { "netns": "wan" } } })"));
  REQUIRE(outcome.config);
  const OffloadBudget& budget = outcome.config->offload;
  CHECK(budget.half_life == 5s);
  CHECK(budget.stay == 2min);
  CHECK(budget.settle == 1min);
  CHECK(budget.moves_per_minute == 10);
  CHECK(budget.hysteresis_percent == 50);
  CHECK(budget.least_rate == 5000);
  CHECK(budget.spread);
  CHECK(budget.devices.at("ens1") == OffloadDevice{.netns = "", .children_max = 2000});
  CHECK(budget.devices.at("ens2").netns == "wan");
}

TEST_CASE("config: without node.offload its defaults count, and no NIC has a limit") {
  const ConfigOutcome outcome = parse_one(R"({ "version": 1 })");
  REQUIRE(outcome.config);
  CHECK(outcome.config->offload == OffloadBudget{});
}

TEST_CASE("config: what is wrong in node.offload is told by its place") {
  CHECK(only_error(with_node(R"({ "half_life": "1ms" })")).pointer == "/node/offload/half_life");
  CHECK(only_error(with_node(R"({ "moves_per_minute": 1 })")).pointer == "/node/offload/moves_per_minute");
  CHECK(only_error(with_node(R"({ "choice": "best" })")).pointer == "/node/offload/choice");
  CHECK(only_error(with_node(R"({ "devices": { "ens1": { "sas": 1 } } })")).pointer ==
        "/node/offload/devices/ens1/sas");
  CHECK(only_error(with_node(R"({ "devices": { "ens1": { "children_max": -1 } } })")).pointer ==
        "/node/offload/devices/ens1/children_max");
}
