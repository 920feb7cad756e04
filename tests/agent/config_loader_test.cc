#include "agent/config_loader.h"

#include <future>

#include "agent/event_loop.h"
#include "tests/agent/config_world.h"

// A reload: what is refused, what a changed secret changes, and that nothing waits for the disk.

using namespace ipsec;
using namespace ipsec::agent;
using testing::ConfigWorld;
using Kind = policy::TunnelChange::Kind;

namespace {

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

bool any_has(const std::vector<std::string>& texts, std::string_view part) {
  return std::any_of(texts.begin(), texts.end(), [&](const std::string& each) { return has(each, part); });
}

}  // namespace

TEST_CASE("config loader: the same files again change nothing") {
  const ConfigWorld world;
  const ReloadOutcome found = world.reload(world.in_force());
  REQUIRE(found.outcome.loaded);
  CHECK(found.changes.empty());
  CHECK(found.warnings.empty());
}

TEST_CASE("config loader: a reload without a secret that is in force is refused, with the line of its credential") {
  const ConfigWorld world;
  const ConfigInForce before = world.in_force();
  std::filesystem::remove(world / "secrets/two.psk");

  const ReloadOutcome found = world.reload(before);

  CHECK_FALSE(found.outcome.loaded);
  REQUIRE(found.outcome.errors.size() == 1);
  const policy::ConfigError& error = found.outcome.errors.front();
  CHECK(error.reason == Reason::kConfigSecretFile);
  CHECK(error.pointer == "/credentials/two");
  CHECK(error.line == 4);
  CHECK(has(error.text(), "No such file"));
  CHECK(found.changes.empty());
}

TEST_CASE("config loader: a new tunnel without its secret is refused, and one that never had it stays a warning") {
  const ConfigWorld world;
  std::filesystem::remove(world / "secrets/two.psk");
  const ConfigInForce without = world.in_force();
  CHECK_FALSE(without.credentials->has("two"));

  const ReloadOutcome again = world.reload(without);

  REQUIRE(again.outcome.loaded);
  CHECK(any_has(again.warnings, "credential two"));

  world.write("conf.d/more.json", R"({ "version": 1, "credentials": { "three": { "psk": { "file": "none" } } } })");
  CHECK(world.reload(without).outcome.errors.size() == 1);
}

TEST_CASE("config loader: another key in a file is a change of the tunnels that use it") {
  const ConfigWorld world;
  const ConfigInForce before = world.in_force();
  world.write("secrets/two.psk", "another key\n");

  const ReloadOutcome found = world.reload(before);

  REQUIRE(found.outcome.loaded);
  REQUIRE(found.changes.size() == 1);
  const policy::TunnelChange& change = found.changes.at("b");
  CHECK(change.kind == Kind::kInPlace);
  CHECK(change.settings == std::vector<std::string>{"key of credential two"});
}

TEST_CASE("config loader: other manual keys come by new SAs of the children that use them") {
  const std::string keys = "0x00112233445566778899aabbccddeeff\n0x" + std::string(64, '5') + "\n";
  const ConfigWorld world;
  world.write("secrets/in", keys);
  world.write("secrets/out", keys);
  world.write_config(R"(, "node": { "allow_manual_keys": true })");
  world.write("conf.d/manual.json", R"({ "version": 1,
"credentials": { "static": { "manual": { "in": { "file": "in" }, "out": { "file": "out" } } } },
"child_policies": { "hmac": { "proposals": ["aes128-sha256"] } },
"tunnels": { "m": { "group": "core", "remote": "198.51.100.9", "children": { "lan": { "local": ["10.1.0.0/16"],
  "remote": ["10.9.0.0/16"], "policy": "hmac", "manual": { "spi_in": 300, "spi_out": 301, "credential": "static" } } } } } })");
  const ConfigInForce before = world.in_force();
  REQUIRE(before.credentials->has("static"));
  world.write("secrets/out", "0x10112233445566778899aabbccddeeff\n0x" + std::string(64, '5') + "\n");

  const ReloadOutcome found = world.reload(before);

  REQUIRE(found.changes.size() == 1);
  CHECK(found.changes.at("m").kind == Kind::kRekey);
  CHECK(found.changes.at("m").children_rekeyed == std::vector<std::string>{"lan"});

  std::filesystem::remove(world / "secrets/in");
  CHECK(world.reload(before).outcome.errors.size() == 1);
}

TEST_CASE("config loader: what is seldom meant in a secret's file is warned of, and nothing of the key is said") {
  const ConfigWorld world;
  for (const auto& each : {std::pair<std::string, std::string>{"\xef\xbb\xbfswordfish", "byte order mark"},
                           {"\"swordfish\"\n", "quotes around it"},
                           {"'swordfish'", "quotes around it"},
                           {" swordfish", "begins with a blank"},
                           {"swordfish \r\n", "ends with a blank"},
                           {"swordfish\t\n", "ends with a blank"},
                           {std::string("sword\0fish", 10), "NUL"},
                           {"0sc3dvcmRmaXNo", "begins with 0s"}}) {
    world.write("secrets/two.psk", each.first);
    const ConfigInForce loaded = world.in_force();
    CHECK(loaded.credentials->has("two"));
    const auto warnings = credential_warnings(*loaded.credentials);
    CHECK_MESSAGE(any_has(warnings, each.second), each.second);
    CHECK(any_has(warnings, "two.psk"));
    CHECK_FALSE(any_has(warnings, "word"));
    CHECK_FALSE(any_has(warnings, "c3dv"));
  }
  world.write("secrets/two.psk", "0x3132333435363738\n");
  CHECK(credential_warnings(*world.in_force().credentials).empty());
}

TEST_CASE("config loader: a key in the place of its file's name is not shown") {
  const ConfigWorld world;
  const ConfigInForce before = world.in_force();
  world.write_config({}, "correct horse battery staple");
  const ReloadOutcome found = world.reload(before);
  REQUIRE(found.outcome.errors.size() == 1);
  CHECK_FALSE(has(found.outcome.errors.front().text(), "horse"));
  CHECK_FALSE(any_has(credential_warnings(*world.in_force().credentials), "horse"));
}

TEST_CASE("config loader: many secrets that cannot be used are a few warnings") {
  const ConfigWorld world;
  std::string more;
  for (int i = 0; i < 1000; ++i)
    more += (i == 0 ? "\"c" : ",\"c") + std::to_string(i) + R"(": { "psk": { "file": "gone" } })";
  world.write("conf.d/more.json", R"({ "version": 1, "credentials": {)" + more + "} }");
  const auto warnings = credential_warnings(*world.in_force().credentials);
  CHECK(warnings.size() == 5);
  CHECK(has(warnings.back(), "996 more credentials"));
}

TEST_CASE("config loader: settings that count from the start stay as they are in force, which is said") {
  const ConfigWorld world;
  const ConfigInForce before = world.in_force();
  world.write_config(R"(, "node": { "id": 7 })");

  const ReloadOutcome found = world.reload(before);

  REQUIRE(found.outcome.loaded);
  CHECK(found.outcome.loaded->config->node_id == 0);
  CHECK(any_has(found.warnings, "node.id is 7 in the files and 0 in force"));
  CHECK(any_has(found.warnings, "needs a restart of the daemon"));
}

TEST_CASE("config loader: tasks run one after the other, and their results go to the outlet") {
  const auto loop = EventLoop::create().value();
  std::vector<int> seen;
  {
    DiskThread disk([&](std::function<void()> result) { loop->post(std::move(result)); });
    for (int i = 0; i < 3; ++i)
      disk.run([&, i] {
        return [&, i] {
          seen.push_back(i);
          if (i == 2) loop->stop();
        };
      });
    loop->run();
  }
  CHECK(seen == std::vector<int>{0, 1, 2});
}

TEST_CASE("config loader: what waits to be written at the end is written") {
  std::vector<int> written;
  {
    DiskThread disk([](const std::function<void()>&) {});
    for (int i = 0; i < 3; ++i)
      disk.run([&written, i]() -> std::function<void()> {
        written.push_back(i);
        return {};
      });
  }
  CHECK(written == std::vector<int>{0, 1, 2});
}

TEST_CASE("config loader: a disk that does not answer holds up neither the main thread nor the end") {
  const auto release = std::make_shared<std::promise<void>>();
  const auto ended = std::make_shared<std::promise<void>>();
  bool heard = false;
  {
    DiskThread disk([&](const std::function<void()>&) { heard = true; }, 0s);
    disk.run([release, ended]() -> std::function<void()> {
      release->get_future().wait();
      return [ended] {};
    });
    disk.run([ended]() -> std::function<void()> {
      ended->set_value();
      return {};
    });
  }
  release->set_value();  // the thread that was left behind ends by itself
  CHECK(ended->get_future().wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
  CHECK_FALSE(heard);
}
