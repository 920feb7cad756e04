#include <doctest/doctest.h>
#include <sys/socket.h>

#include "agent/control/event_json.h"
#include "agent/control/limits.h"
#include "tests/agent/control_support.h"

using namespace ipsec;
using namespace ipsec::agent::control;
using nlohmann::json;

namespace {

std::vector<uint64_t> sequences(const std::vector<json>& replies) {
  std::vector<uint64_t> all;
  for (const json& reply : replies)
    for (const json& event : reply["parameters"]["events"]) all.push_back(event["sequence"].get<uint64_t>());
  return all;
}

std::string monitor_bytes(json parameters) { return call_bytes("Monitor", std::move(parameters), {{"more", true}}); }

}  // namespace

TEST_CASE("monitor: an event says when, what, which code and what the code means") {
  World world;
  world.backend.add_events(1);

  const json reply = world.call(world.connect(), "Monitor");

  const json event = reply["parameters"]["events"][0];
  CHECK(event["sequence"] == 1);
  CHECK(event["time"] == "2026-11-21T05:13:50.123Z");
  CHECK(event["object"] == "tunnel/branch-7");
  CHECK(event["code"] == "ike-established");
  CHECK(event["text"] == "an IKE SA was established");
  CHECK(event["fields"] == json{{"peer", "198.51.100.7"}});
  CHECK(reply["parameters"]["next"] == 2);
}

TEST_CASE("monitor: without following it ends with what there is, and resumes where it stopped") {
  World world;
  world.backend.add_events(150);
  const int fd = world.connect();

  const auto all = world.exchange(fd, monitor_bytes({{"from", 1}}));
  CHECK(sequences(all).size() == 150);
  CHECK_FALSE(all.back().value("continues", false));
  const auto rest = world.exchange(fd, monitor_bytes({{"from", 149}}));
  CHECK(sequences(rest) == std::vector<uint64_t>{149, 150});
  const auto last = world.exchange(fd, monitor_bytes({{"from", -3}}));
  CHECK(sequences(last) == std::vector<uint64_t>{148, 149, 150});
  CHECK(sequences(world.exchange(fd, monitor_bytes({{"from", -100000}}))).size() == 150);
  CHECK(sequences(world.exchange(fd, monitor_bytes({{"from", 1000}}))).empty());
}

TEST_CASE("monitor: events that are no longer kept are counted") {
  World world;
  world.backend.add_events(1500);  // the ring keeps 1000

  const auto replies = world.exchange(world.connect(), monitor_bytes({{"from", 101}}));

  CHECK(replies[0]["parameters"]["lost"] == 400);
  CHECK(sequences(replies).front() == 501);
  CHECK(sequences(replies).size() == 1000);
}

TEST_CASE("monitor: following starts with a first reply and goes on with what is appended") {
  World world;
  world.backend.add_events(5);
  const int fd = world.connect();

  const auto first = world.exchange(fd, monitor_bytes({{"follow", true}}));
  REQUIRE(first.size() == 1);
  CHECK(first[0].value("continues", false));
  CHECK(sequences(first).empty());
  CHECK(first[0]["parameters"]["next"] == 6);

  world.backend.add_events(2);
  world.server->on_new_events();
  CHECK(sequences(world.read_replies(fd)) == std::vector<uint64_t>{6, 7});
  world.server->on_new_events();
  CHECK(world.read_replies(fd).empty());
}

TEST_CASE("monitor: following needs more") {
  World world;

  const json reply = world.call(world.connect(), "Monitor", {{"follow", true}});

  CHECK(reply.value("error", "") == "org.varlink.service.ExpectedMore");
}

TEST_CASE("monitor: a follower that does not read is disconnected when the ring has overtaken it") {
  World world;
  const int lazy = world.connect();
  const int keen = world.connect();
  const std::string bytes = monitor_bytes({{"follow", true}});
  REQUIRE(send(lazy, bytes.data(), bytes.size(), 0) > 0);
  world.exchange(keen, bytes);

  size_t seen = 0;
  for (int i = 0; i < 100 && world.server->counters().slow_clients == 0; ++i) {
    world.backend.add_events(500, std::string(200, 'x'));
    world.server->on_new_events();
    seen += sequences(world.read_replies(keen)).size();
  }

  CHECK(world.server->counters().slow_clients == 1);
  CHECK(world.server->client_count() == 1);
  CHECK(seen == world.backend.ring.last_sequence());
}

TEST_CASE("monitor: events may be announced from inside a call") {
  World world;
  const int follower = world.connect();
  world.exchange(follower, monitor_bytes({{"follow", true}}));

  class Chatty : public FakeBackend {
   public:
    void up(const std::string&, const std::string&, Done done) override {
      add_events(1);
      announce();
      done(json::object());
    }
    std::function<void()> announce;
  } chatty;
  TestLoop loop;
  Server server({.version = "1",
                 .rules = {},
                 .credentials = [](int) -> Result<Credentials> { return Credentials{}; },
                 .now = [] { return Instant{}; }},
                chatty, loop.watcher());
  chatty.announce = [&server] { server.on_new_events(); };
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
  const Descriptor mine(pair[0]);
  server.add_client(pair[1]);
  const std::string bytes = call_bytes("Up", {{"tunnel", "a"}}) + monitor_bytes({{"follow", true}, {"from", 1}});
  REQUIRE(send(mine.get(), bytes.data(), bytes.size(), 0) > 0);
  loop.run_until_idle();

  char block[4096];
  const ssize_t got = recv(mine.get(), block, sizeof block, MSG_DONTWAIT);
  REQUIRE(got > 0);
  CHECK(std::string(block, static_cast<size_t>(got)).find("outcome") != std::string::npos);
  CHECK(std::string(block, static_cast<size_t>(got)).find("\"sequence\":1") != std::string::npos);
}

TEST_CASE("time: RFC 3339 with milliseconds, in UTC") {
  CHECK(rfc3339({}) == "1970-01-01T00:00:00.000Z");
  CHECK(rfc3339({std::chrono::milliseconds(4102444799999)}) == "2099-12-31T23:59:59.999Z");
}
