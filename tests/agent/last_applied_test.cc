#include "agent/last_applied.h"

#include "agent/start_config.h"
#include "tests/agent/config_world.h"

// The configuration applied last: kept without mistakes, and what a start makes of it.

using namespace ipsec;
using namespace ipsec::agent;
using testing::ConfigWorld;

namespace {

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

struct World : ConfigWorld {
  /// As the daemon keeps it after applying what is on disk.
  void keep() const {
    const LoadOutcome found = load_config(paths(), secrets(), FolderPresence::kAbsent);
    REQUIRE(found.loaded);
    std::set<std::string> unusable;
    for (const auto& [name, error] : found.loaded->credentials->errors()) unusable.insert(name);
    const Status saved = kept.save(paths(), *found.loaded->disk, unusable);
    REQUIRE_MESSAGE(saved.ok(), (saved.ok() ? std::string() : saved.error().text()));
  }
  StartConfig start() const { return load_at_start(paths(), secrets(), kept); }

  LastApplied kept{*this / "state"};
};

}  // namespace

TEST_CASE("last applied: what is kept parses to the same, line by line, without its comments") {
  const World world;
  world.write("conf.d/more.json", "{ \"version\": 1 /* swordfish */,\n\n\"node\": { \"id\": 3 } }");
  world.keep();
  CHECK_FALSE(has(world.read("state/last-applied"), "swordfish"));
  CHECK_FALSE(has(world.read("state/last-applied"), "a comment"));

  const auto disk = world.kept.load(world.paths());

  REQUIRE(disk.ok());
  REQUIRE(disk->files.size() == 2);
  CHECK(disk->folder == FolderPresence::kPresent);
  CHECK(policy::parse_config(disk->files).config->node_id == 3);
  CHECK(has(disk->files[1].text, "\n\n\"node\""));
  CHECK(policy::tunnel_changes(*world.in_force().config, *policy::parse_config(disk->files).config).empty());
}

TEST_CASE("last applied: a key in the place of its file's name is not kept, and the rest is") {
  const World world;
  world.write_config({}, "correct horse battery staple");
  world.keep();
  CHECK_FALSE(has(world.read("state/last-applied"), "horse"));
  CHECK(has(world.read("state/last-applied"), "one.psk"));
  CHECK(policy::parse_config(world.kept.load(world.paths())->files).config != nullptr);
}

TEST_CASE("last applied: folder and file are closed to others, and no half of a file is ever in place") {
  const World world;
  world.keep();
  struct stat about {};
  REQUIRE(stat((world / "state").c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0700);
  REQUIRE(stat((world / "state/last-applied").c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  CHECK_FALSE(std::filesystem::exists(world / "state/last-applied.new"));

  const std::string before = world.read("state/last-applied");
  std::filesystem::create_directory(world / "state/last-applied.new");  // in the way
  CHECK_FALSE(
      world.kept
          .save(world.paths(), *load_config(world.paths(), world.secrets(), FolderPresence::kAbsent).loaded->disk, {})
          .ok());
  CHECK(world.read("state/last-applied") == before);
}

TEST_CASE("last applied: what is damaged at any byte, or others may have written, is not used") {
  const World world;
  world.keep();
  const std::string good = world.read("state/last-applied");
  for (size_t i = 0; i < good.size(); i += 7) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    world.write("state/last-applied", bad);
    CHECK_FALSE(world.kept.load(world.paths()).ok());
    world.write("state/last-applied", good.substr(0, i));
    CHECK_FALSE(world.kept.load(world.paths()).ok());
  }
  world.write("state/last-applied", good, 0620);
  CHECK_FALSE(world.kept.load(world.paths()).ok());
  world.write("state/last-applied", good);
  CHECK(world.kept.load(world.paths()).ok());
  REQUIRE(chmod((world / "state").c_str(), 0777) == 0);
  CHECK_FALSE(world.kept.load(world.paths()).ok());
}

TEST_CASE("last applied: it stands for the files that it was made of, and for no others") {
  const World world;
  world.keep();
  const auto other = world.kept.load({world / "other.json", world / "conf.d"});
  REQUIRE_FALSE(other.ok());
  CHECK(other.error().reason() == Reason::kNotFound);
}

TEST_CASE("start: a good configuration is used as it is on disk") {
  const World world;
  const StartConfig start = world.start();
  REQUIRE(start.loaded);
  CHECK(start.errors.empty());
  CHECK(start.last_applied.empty());
}

TEST_CASE("start: with a bad configuration the one applied last goes on, and the error is named") {
  const World world;
  world.keep();
  world.write("gw.json", "{ \"version\": 1, \"tunels\": {} }");

  const StartConfig start = world.start();

  REQUIRE(start.loaded);
  CHECK(start.loaded->config->tunnels.size() == 2);
  CHECK(start.loaded->credentials->has("one"));
  CHECK(start.errors.size() == 1);
  CHECK(has(start.last_applied, "tunels"));
}

TEST_CASE("start: a folder that was there and has gone is a bad configuration, also after a restart") {
  const World world;
  world.write("conf.d/more.json", R"({ "version": 1, "node": { "id": 3 } })");
  world.keep();
  std::filesystem::remove_all(world / "conf.d");

  const StartConfig start = world.start();

  REQUIRE(start.loaded);
  CHECK(start.loaded->config->node_id == 3);
  REQUIRE(start.errors.size() == 1);
  CHECK(start.errors[0].reason == Reason::kConfigFolder);
}

TEST_CASE("start: with a bad configuration and nothing good kept there is no start, and all errors are named") {
  const World world;
  const std::string bad = "{ \"version\": 1, \"tunels\": {}, \"groups\": {} }";
  SUBCASE("nothing kept") {}
  SUBCASE("damaged") { world.write("state/last-applied", "damaged"), chmod((world / "state").c_str(), 0700); }
  world.write("gw.json", bad);

  const StartConfig start = world.start();

  CHECK_FALSE(start.loaded);
  CHECK(start.errors.size() == 2);
  CHECK_FALSE(start.last_applied.empty());
}

TEST_CASE("start: a secret that cannot be loaded concerns its tunnel only") {
  const World world;
  std::filesystem::remove(world / "secrets/two.psk");
  const StartConfig start = world.start();
  REQUIRE(start.loaded);
  CHECK(start.loaded->credentials->has("one"));
  CHECK(start.loaded->credentials->errors().contains("two"));
}
