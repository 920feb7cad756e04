#include <doctest/doctest.h>

#include "tests/agent/control_support.h"

using namespace ipsec;
using namespace ipsec::agent::control;
using nlohmann::json;

TEST_CASE("server: failed negotiations are answered all together or of one peer, to whoever may read") {
  World world;
  world.who = {.uid = 1000, .groups = {World::kReaders}};
  world.backend.rows["failures"] = {{{"tunnel", "a"}, {"code", "no-proposal-chosen"}},
                                    {{"tunnel", "b"}, {"code", "ts-unacceptable"}}};
  const int fd = world.connect();

  CHECK(world.call(fd, "ExplainNegotiation")["parameters"]["failures"].size() == 2);
  const json one = world.call(fd, "ExplainNegotiation", {{"peer", "b"}});
  CHECK(one["parameters"]["failures"] == json::array({{{"tunnel", "b"}, {"code", "ts-unacceptable"}}}));
}

TEST_CASE("server: a peer of which no failure is kept is not found, and a peer must be a text") {
  World world;
  const int fd = world.connect();

  const json none = world.call(fd, "ExplainNegotiation", {{"peer", "c"}});
  CHECK(none["error"] == "net.ipsecd.control.NotFound");
  CHECK(none["parameters"]["code"] == "not-found");
  CHECK(none["parameters"]["text"].get<std::string>().find("\"c\" is kept") != std::string::npos);
  CHECK(world.call(fd, "ExplainNegotiation", {{"peer", 7}})["parameters"]["parameter"] == "peer");

  world.who = {.uid = 1000, .groups = {}};
  CHECK(world.call(world.connect(), "ExplainNegotiation")["error"] == "net.ipsecd.control.PermissionDenied");
}
