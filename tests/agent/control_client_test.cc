#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agent/control/socket_address.h"
#include "tests/agent/running_server.h"

using namespace ipsec;
using namespace ipsec::agent::control;
using nlohmann::json;

TEST_CASE("client: status over a real socket and the daemon's event loop") {
  const TemporaryFolder folder;
  const RunningServer server(folder.path + "/control");
  REQUIRE(server.started);

  auto client = Client::connect(folder.path + "/control");
  REQUIRE(client.ok());
  const auto reply = client->call("Status", json::object(), {});

  REQUIRE(reply.ok());
  CHECK(reply.value().error.empty());
  CHECK(text_at(member_at(reply.value().parameters, "status"), "version") == "1.2.3");
}

TEST_CASE("client: when nobody answers, the error says what to do") {
  const TemporaryFolder folder;

  const auto absent = Client::connect(folder.path + "/control");
  CHECK(absent.error().reason() == Reason::kNotFound);
  CHECK(absent.error().detail().find("systemctl start ipsecd") != std::string::npos);
  CHECK(Client::connect(std::string(200, 'x')).error().reason() == Reason::kLimitReached);
}

TEST_CASE("client: silence, nonsense and a closed connection are told apart") {
  const auto outcome = [](std::string_view answer, bool closes) {
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    Client client{Descriptor(pair[0])};
    Descriptor other(pair[1]);
    if (!answer.empty()) REQUIRE(send(other.get(), answer.data(), answer.size(), 0) > 0);
    if (closes) shutdown(other.get(), SHUT_WR);
    const auto reply = client.call("Status", json::object(), {.longest = std::chrono::milliseconds(20)});
    return reply.ok() ? std::string("ok") : std::string(code(reply.error().reason()));
  };

  CHECK(outcome("", false) == "timeout");
  CHECK(outcome("{", false) == "timeout");
  CHECK(outcome("", true) == "cancelled");
  CHECK(outcome(std::string_view("nonsense\0", 9), false) == "malformed");
  CHECK(outcome(std::string_view("{\"parameters\":{}}\0", 19), false) == "ok");
}

TEST_CASE("client: a long list arrives whole through the daemon's event loop") {
  const TemporaryFolder folder;
  RunningServer server(folder.path + "/control");
  json rows = json::array();
  for (int i = 0; i < 20000; ++i) rows.push_back({{"name", "t" + std::to_string(i)}});
  server.change([&](FakeBackend& backend) { backend.rows["tunnels"] = std::move(rows); });
  auto client = Client::connect(folder.path + "/control");
  REQUIRE(client.ok());

  size_t count = 0;
  const auto status = client->stream("List", {{"kind", "tunnels"}}, {}, [&](const Reply& reply) {
    count += reply.parameters["rows"].size();
    return Flag::kOn;
  });

  CHECK(status.ok());
  CHECK(count == 20000);
}

TEST_CASE("listener: a stale socket is replaced, a living one and foreign files are not") {
  const TemporaryFolder folder;
  const std::string path = folder.path + "/control";
  {
    const Descriptor dead(socket(AF_UNIX, SOCK_STREAM, 0));
    const auto address = socket_address(path);
    REQUIRE(address.ok());
    const void* plain = &address.value();
    REQUIRE(bind(dead.get(), static_cast<const sockaddr*>(plain), sizeof(sockaddr_un)) == 0);
  }
  {
    const auto first = Listener::create(path, std::nullopt);
    REQUIRE(first.ok());
    struct stat info {};
    REQUIRE(stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(Listener::create(path, std::nullopt).error().reason() == Reason::kExists);
  }
  CHECK_FALSE(std::filesystem::exists(path));

  std::ofstream(path) << "precious";
  CHECK(Listener::create(path, std::nullopt).error().reason() == Reason::kExists);
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("listener: members of the group may connect") {
  const TemporaryFolder folder;
  const std::string path = folder.path + "/control";

  const auto listener = Listener::create(path, getgid());

  REQUIRE(listener.ok());
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0660);
  CHECK(info.st_gid == getgid());
}

TEST_CASE("listener: a socket that somebody answers without our lock is left alone") {
  const TemporaryFolder folder;
  const std::string path = folder.path + "/control";
  const Descriptor foreign(socket(AF_UNIX, SOCK_STREAM, 0));
  const auto address = socket_address(path);
  REQUIRE(address.ok());
  const void* plain = &address.value();
  REQUIRE(bind(foreign.get(), static_cast<const sockaddr*>(plain), sizeof(sockaddr_un)) == 0);
  REQUIRE(listen(foreign.get(), 5) == 0);

  CHECK(Listener::create(path, std::nullopt).error().reason() == Reason::kExists);
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("listener: a socket that was handed over is served, and anything else is refused") {
  const TemporaryFolder folder;
  const std::string path = folder.path + "/handed";
  World world;
  CHECK_FALSE(world.server->adopt(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)).ok());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto address = socket_address(path);
  REQUIRE(address.ok());
  const void* plain = &address.value();
  REQUIRE(bind(fd, static_cast<const sockaddr*>(plain), sizeof(sockaddr_un)) == 0);
  REQUIRE(listen(fd, 5) == 0);

  REQUIRE(world.server->adopt(fd).ok());
  const auto client = Client::connect(path);
  world.loop.run_until_idle();

  CHECK(client.ok());
  CHECK(world.server->client_count() == 1);
  world.server.reset();
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("access: the kernel says who is at the other end, with all groups") {
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const Descriptor one(pair[0]);
  const Descriptor two(pair[1]);

  const auto who = peer_credentials(one.get());

  REQUIRE(who.ok());
  CHECK(who.value().uid == geteuid());
  CHECK(std::count(who.value().groups.begin(), who.value().groups.end(), getegid()) >= 1);
  CHECK_FALSE(peer_credentials(-1).ok());
}

TEST_CASE("interface: varlinkctl, where there is one, understands us") {
  if (std::system("command -v varlinkctl >/dev/null 2>&1") != 0) return;
  const TemporaryFolder folder;
  const RunningServer server(folder.path + "/control");
  const std::string address = "unix:" + folder.path + "/control";

  CHECK(std::system(("varlinkctl introspect " + address + " net.ipsecd.control >/dev/null").c_str()) == 0);
  CHECK(std::system(("varlinkctl call " + address + " net.ipsecd.control.Status '{}' >/dev/null").c_str()) == 0);
}
