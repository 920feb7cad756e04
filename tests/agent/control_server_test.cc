#include <doctest/doctest.h>
#include <sys/socket.h>

#include <random>

#include "agent/control/limits.h"
#include "tests/agent/control_support.h"

using namespace ipsec;
using namespace ipsec::agent::control;
using nlohmann::json;

namespace {

std::string error_of(const json& reply) { return reply.value("error", ""); }
json rows_of(size_t count) {
  json rows = json::array();
  for (size_t i = 0; i < count; ++i)
    rows.push_back({{"name", "t" + std::to_string(i)}, {"state", i % 2 == 0 ? "up" : "down"}, {"children", i % 3}});
  return rows;
}

}  // namespace

TEST_CASE("server: a call cut at every byte is answered like one that came whole") {
  World world;
  const std::string bytes = call_bytes("Status");
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    CAPTURE(cut);
    const int fd = world.connect();

    auto replies = world.exchange(fd, bytes.substr(0, cut));
    for (auto& reply : world.exchange(fd, bytes.substr(cut))) replies.push_back(reply);

    REQUIRE(replies.size() == 1);
    CHECK(replies[0]["parameters"]["status"]["version"] == "1.2.3");
    shutdown(fd, SHUT_RDWR);
    world.loop.run_until_idle();
  }
}

TEST_CASE("server: pipelined calls are answered in order, a oneway call is not answered") {
  World world;
  const int fd = world.connect();

  const auto replies =
      world.exchange(fd, call_bytes("Explain", {{"code", "timeout"}}) +
                             call_bytes("Status", json::object(), {{"oneway", true}}) + call_bytes("Status"));

  REQUIRE(replies.size() == 2);
  CHECK(replies[0]["parameters"]["code"] == "timeout");
  CHECK(replies[1]["parameters"].contains("status"));
  CHECK(world.server->counters().calls == 3);
}

TEST_CASE("server: what is not a call gets one error and the end of the connection") {
  World world;
  for (const std::string& garbage :
       {std::string("\0", 1), std::string("GET / HTTP/1.1\r\n\0", 17), std::string("[1,2]\0", 6),
        std::string("{\"method\":\"x\",\"more\":3}\0", 24), std::string(100, '{') + std::string("\0", 1)}) {
    CAPTURE(garbage);
    const int fd = world.connect();

    const auto replies = world.exchange(fd, garbage + call_bytes("Status"));

    REQUIRE(replies.size() == 1);
    CHECK(error_of(replies[0]) == "org.varlink.service.InvalidParameter");
    CHECK(World::is_closed(fd));
  }
  CHECK(world.server->counters().bad_messages == 5);
  CHECK(world.server->client_count() == 0);
}

TEST_CASE("server: random bytes never do harm") {
  World world;
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    const int fd = world.connect();
    std::string bytes = call_bytes("List", {{"kind", "tunnels"}, {"filter", {{"a", "b"}}}});
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<char>(random() % 256);
    world.exchange(fd, bytes);
    shutdown(fd, SHUT_WR);
    world.loop.run_until_idle();
    CHECK(world.server->client_count() == 0);
  }
}

TEST_CASE("server: more bytes than are taken end the connection") {
  World world;
  world.who = {.uid = 1000, .groups = {World::kReaders}};
  const int fd = world.connect();

  const auto replies = world.exchange(fd, std::string(kRequestBytesMaxReader + 1, 'x'));

  REQUIRE(replies.size() == 1);
  CHECK(error_of(replies[0]) == "org.varlink.service.InvalidParameter");
  CHECK(World::is_closed(fd));
  CHECK(world.server->counters().floods == 1);
}

TEST_CASE("server: unknown methods, interfaces and parameters are named") {
  World world;
  const int fd = world.connect();

  CHECK(error_of(world.call(fd, "Nothing")) == "org.varlink.service.MethodNotFound");
  CHECK(error_of(world.call(fd, "com.example.Status")) == "org.varlink.service.InterfaceNotFound");
  CHECK(error_of(world.call(fd, "net.ipsecd.control.")) == "org.varlink.service.MethodNotFound");
  const json missing = world.call(fd, "List");
  CHECK(error_of(missing) == "org.varlink.service.InvalidParameter");
  CHECK(missing["parameters"]["parameter"] == "kind");
  CHECK(world.call(fd, "Status", {{"verbose", true}})["parameters"]["parameter"] == "verbose");
  CHECK(world.call(fd, "Show", {{"kind", "tunnel"}, {"name", 7}})["parameters"]["parameter"] == "name");
  CHECK(world.call(fd, "ConfigCheck", {{"files", {{{"name", "a"}}}}})["parameters"]["parameter"] == "files");
  CHECK(world.call(fd, "Status", json::object(), {{"upgrade", true}})["parameters"]["parameter"] == "upgrade");
}

TEST_CASE("server: who may do what") {
  World world;
  const auto outcome = [&world](Credentials who, const char* method) {
    world.who = std::move(who);
    world.backend.outcome_at_once = json{{"tunnel", "a"}, {"state", "up"}};
    const json parameters = std::string(method) == "Up" ? json{{"tunnel", "a"}} : json::object();
    return error_of(world.call(world.connect(), method, parameters));
  };
  const std::string denied = "net.ipsecd.control.PermissionDenied";

  CHECK(outcome({.uid = 0, .groups = {}}, "Up").empty());
  CHECK(outcome({.uid = 77, .groups = {}}, "Up").empty());
  CHECK(outcome({.uid = 1000, .groups = {4, World::kWriters}}, "Up").empty());
  CHECK(outcome({.uid = 1000, .groups = {4, World::kReaders}}, "Up") == denied);
  CHECK(outcome({.uid = 1000, .groups = {4, World::kReaders}}, "DriftAdopt") == denied);
  CHECK(outcome({.uid = 1000, .groups = {4, World::kReaders}}, "Drift").empty());
  CHECK(outcome({.uid = 1000, .groups = {4, World::kReaders}}, "Status").empty());
  CHECK(outcome({.uid = 1000, .groups = {4}}, "Status") == denied);
  CHECK(outcome({.uid = 1000, .groups = {4}}, "org.varlink.service.GetInfo").empty());
  CHECK(world.server->counters().denied_calls == 3);
  CHECK(world.backend.operations.size() == 3);
}

TEST_CASE("server: an operation is answered when its outcome is known, and calls behind it wait") {
  World world;
  const int fd = world.connect();

  CHECK(world.exchange(fd, call_bytes("Up", {{"tunnel", "a"}, {"child", "lan"}}) + call_bytes("Status")).empty());
  REQUIRE(world.backend.waiting.size() == 1);
  world.backend.waiting[0](Error(Reason::kNoProposalChosen, "offered X, configured Y"));
  const auto replies = world.read_replies(fd);

  CHECK(world.backend.operations == std::vector<std::string>{"up a/lan"});
  REQUIRE(replies.size() == 2);
  CHECK(error_of(replies[0]) == "net.ipsecd.control.Failed");
  CHECK(replies[0]["parameters"]["code"] == std::string(code(Reason::kNoProposalChosen)));
  CHECK(replies[0]["parameters"]["text"] == "offered X, configured Y");
  CHECK(replies[1]["parameters"].contains("status"));
}

TEST_CASE("server: a configuration is applied while others are served, and its answer is the reply itself") {
  World world;
  world.backend.applies_later = true;
  const int fd = world.connect();
  CHECK(world.exchange(fd, call_bytes("ConfigApply")).empty());
  REQUIRE(world.backend.waiting.size() == 1);

  CHECK(world.call(world.connect(), "Status")["parameters"].contains("status"));
  world.backend.waiting[0](json{{"ok", true}, {"errors", json::array()}});
  const auto replies = world.read_replies(fd);

  REQUIRE(replies.size() == 1);
  CHECK(replies[0]["parameters"]["ok"] == true);
  CHECK(world.exchange(fd, call_bytes("ConfigDiff")).empty());
  world.backend.waiting[1](Error(Reason::kShutdown, "the daemon is stopping"));
  CHECK(error_of(world.read_replies(fd).at(0)) == "net.ipsecd.control.Failed");
}

TEST_CASE("server: an outcome may come when the client, or the server, is gone") {
  World world;
  const int fd = world.connect();
  const int other = world.connect();
  world.exchange(fd, call_bytes("Down", {{"tunnel", "a"}}));
  world.exchange(other, call_bytes("Down", {{"tunnel", "b"}}));

  shutdown(fd, SHUT_WR);
  world.loop.run_until_idle();
  CHECK(world.server->client_count() == 1);
  world.backend.waiting[0](json::object());
  world.server.reset();
  world.backend.waiting[1](json::object());

  CHECK(world.loop.watched() == 0);
}

TEST_CASE("list: rows are filtered, and a kind may be given in the singular") {
  World world;
  world.backend.rows["tunnels"] = rows_of(10);
  const int fd = world.connect();
  const auto names = [&](const json& filter) {
    return world.call(fd, "List", {{"kind", "tunnel"}, {"filter", filter}})["parameters"]["rows"].size();
  };

  CHECK(names({{"state", "down"}}) == 5);
  CHECK(names({{"state", "down"}, {"name", "t1"}}) == 1);
  CHECK(names({{"name", "t*"}}) == 10);
  CHECK(names({{"children", "0"}}) == 4);
  CHECK(names({{"nothing", "*"}}) == 0);
  CHECK(names({{"name", "?1"}, {"state", "d*w*n*"}}) == 1);
  CHECK(names({{"name", "*2"}}) == 1);
  CHECK(names({{"name", ""}}) == 0);
  CHECK(names({{"name", "t"}}) == 0);
  CHECK(names({{"name", "*t*1*1"}}) == 0);
  const json unknown = world.call(fd, "List", {{"kind", "tunels"}});
  CHECK(error_of(unknown) == "net.ipsecd.control.NotFound");
  CHECK(unknown["parameters"]["text"].get<std::string>().find("did you mean \"tunnels\"") != std::string::npos);
}

TEST_CASE("list: 100,000 rows stream in bounded parts, whatever parts the daemon makes") {
  for (const size_t part : {1, 17, 50}) {
    CAPTURE(part);
    World world;
    world.backend.rows["tunnels"] = rows_of(part == 50 ? 100000 : 5000);
    world.backend.rows_per_part = part;
    const int fd = world.connect();

    const auto replies = world.exchange(fd, call_bytes("List", {{"kind", "tunnels"}}, {{"more", true}}));

    json rows = json::array();
    for (size_t i = 0; i < replies.size(); ++i) {
      CHECK(replies[i]["parameters"]["rows"].size() <= kRowsPerReply);
      CHECK(replies[i].value("continues", false) == (i + 1 < replies.size()));
      for (const json& row : replies[i]["parameters"]["rows"]) rows.push_back(row);
    }
    CHECK(rows == world.backend.rows["tunnels"]);
    CHECK(world.call(fd, "Status")["parameters"].contains("status"));
  }
}

TEST_CASE("list: without more, a list that is too long is refused and a shorter one comes in one reply") {
  World world;
  const int fd = world.connect();

  world.backend.rows["sas"] = rows_of(kRowsMaxUnstreamed);
  CHECK(world.call(fd, "List", {{"kind", "sas"}})["parameters"]["rows"].size() == kRowsMaxUnstreamed);
  world.backend.rows["sas"] = rows_of(kRowsMaxUnstreamed + 1);
  CHECK(error_of(world.call(fd, "List", {{"kind", "sas"}})) == "net.ipsecd.control.TooManyRows");
  CHECK(world.call(fd, "Status")["parameters"].contains("status"));
}

TEST_CASE("list: a client that does not read makes no more rows than its queue holds, and holds up nobody") {
  World world;
  world.backend.rows["tunnels"] = rows_of(100000);
  world.backend.rows_per_part = 50;
  const int lazy = world.connect();
  const int other = world.connect();
  const std::string bytes = call_bytes("List", {{"kind", "tunnels"}}, {{"more", true}});

  REQUIRE(send(lazy, bytes.data(), bytes.size(), 0) > 0);
  world.loop.run_until_idle();

  CHECK(world.backend.parts_asked < 400);  // of 2000
  CHECK(world.call(other, "Status")["parameters"].contains("status"));
}

TEST_CASE("metrics: with more, the text comes in bounded parts of whole lines; without, in one reply") {
  World world;
  std::string lines;
  while (lines.size() < 5 * kTextBytesPerReply) lines += "ipsecd_tunnels " + std::to_string(lines.size()) + "\n";
  world.backend.metrics_text = lines;
  const int fd = world.connect();

  const auto replies = world.exchange(fd, call_bytes("Metrics", {}, {{"more", true}}));
  const json whole = world.call(fd, "Metrics", {{"format", "prometheus"}});
  const json refused = world.call(fd, "Metrics", {{"format", "xml"}});

  std::string joined;
  CHECK(replies.size() >= 5);
  for (size_t i = 0; i < replies.size(); ++i) {
    const auto text = replies[i]["parameters"]["text"].get<std::string>();
    CHECK(text.size() <= kTextBytesPerReply);
    CHECK(text.ends_with('\n'));
    CHECK(replies[i].value("continues", false) == (i + 1 < replies.size()));
    joined += text;
  }
  CHECK(joined == "#  1 calls of 1\n" + lines);
  CHECK(whole["parameters"]["text"] == "# prometheus 2 calls of 1\n" + lines);
  CHECK(error_of(refused) == "net.ipsecd.control.Failed");
}

TEST_CASE("metrics: whoever may read the status may read them, and nobody else") {
  World world;
  world.who = {.uid = 1000, .groups = {World::kReaders}};
  CHECK(world.call(world.connect(), "Metrics")["parameters"].contains("text"));
  world.who = {.uid = 1000, .groups = {4}};
  CHECK(error_of(world.call(world.connect(), "Metrics")) == "net.ipsecd.control.PermissionDenied");
}

TEST_CASE("server: readers cannot take the places that are kept for root") {
  World world;
  world.who = {.uid = 1000, .groups = {World::kReaders}};
  for (size_t i = 0; i < kClientsMax - kClientsReservedForRoot; ++i) world.connect();

  const int refused = world.connect();
  const auto replies = world.read_replies(refused);
  world.who = {.uid = 0, .groups = {}};
  const int root = world.connect();

  REQUIRE(replies.size() == 1);
  CHECK(error_of(replies[0]) == "net.ipsecd.control.TooManyClients");
  CHECK(World::is_closed(refused));
  CHECK(world.call(root, "Status")["parameters"].contains("status"));
  CHECK(world.server->counters().refused_clients == 1);
}

TEST_CASE(
    "turns: many clients that ask for much have their turns in rounds of bounded time, and each gets its answer") {
  World world;
  world.backend.rows["tunnels"] = rows_of(2000);
  world.backend.rows_per_part = 50;
  world.tick = 100us;
  std::vector<int> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(world.connect());
  const std::string bytes = call_bytes("List", {{"kind", "tunnels"}}, {{"more", true}});
  for (const int fd : clients) REQUIRE(send(fd, bytes.data(), bytes.size(), 0) > 0);

  Duration longest{0};
  for (bool went_on = true; went_on;) {
    const Instant begun = world.time;
    went_on = world.loop.run_once();
    longest = std::max(longest, world.time - begun);
  }

  CHECK(longest <= kTurnMax + kClientTurnMax + 1ms);
  CHECK(world.loop.rounds > 10);
  for (const int fd : clients) {
    size_t rows = 0;
    for (const json& reply : world.read_replies(fd)) rows += reply["parameters"]["rows"].size();
    CHECK(rows == 2000);
  }
}

TEST_CASE("large calls: only documents may be so large, and they are taken apart on another thread") {
  World world;
  const int fd = world.connect(), other = world.connect();
  const std::string large(kInlineBytesMax + 1, 'x');

  CHECK(error_of(world.call(fd, "Show", {{"kind", "tunnel"}, {"name", large}})) == "net.ipsecd.control.Failed");
  CHECK(error_of(world.call(fd, "Up", {{"tunnel", large}})) == "net.ipsecd.control.Failed");
  CHECK(world.backend.operations.empty());
  const json files = json::array({{{"name", "a.json"}, {"text", large + "bad"}}});
  CHECK(world.call(fd, "ConfigCheck", {{"files", files}})["parameters"]["ok"] == false);
  CHECK(error_of(world.call(fd, "ConfigCheck", {{"files", large}})) == "org.varlink.service.InvalidParameter");
  world.backend.set_aside.emplace();
  CHECK(world.exchange(fd, call_bytes("ConfigCheck", {{"files", files}})).empty());
  CHECK(world.call(other, "Status")["parameters"].contains("status"));
  for (const auto& each : std::exchange(*world.backend.set_aside, {})) each();
  CHECK(world.exchange(fd, "").front()["parameters"]["ok"] == false);
}

TEST_CASE("large calls: who has gone before its document was checked is forgotten") {
  World world;
  world.backend.set_aside.emplace();
  const int fd = world.connect();
  CHECK(world.exchange(fd, call_bytes("ConfigCheck", {{"files", json::array()}})).empty());
  shutdown(fd, SHUT_RDWR);
  world.loop.run_until_idle();

  for (const auto& each : std::exchange(*world.backend.set_aside, {})) each();
  world.loop.run_until_idle();

  CHECK(world.server->client_count() == 0);
}

TEST_CASE("config: the effective configuration comes whole in one reply, or with more in parts that merge") {
  World world;
  world.backend.rows["tunnels"] = rows_of(500);
  const int fd = world.connect();

  const json whole = world.call(fd, "ConfigEffective")["parameters"]["config"];
  const auto replies = world.exchange(fd, call_bytes("ConfigEffective", {}, {{"more", true}}));

  json merged = json::object();
  for (const json& reply : replies) merged.merge_patch(reply["parameters"]["config"]);
  CHECK(replies.size() == 3);
  CHECK(whole["version"] == 1);
  CHECK(whole["tunnels"].size() == 500);
  CHECK(merged == whole);
}
