#include "agent/files/config_files.h"

#include <sys/fsuid.h>
#include <sys/resource.h>

#include <vector>

#include "agent/files/limits.h"
#include "tests/agent/temp_folder.h"

// Which files a configuration is made of, and that nothing unreadable passes for nothing.

using namespace ipsec;
using namespace ipsec::agent;
using testing::TempFolder;

namespace {

struct World : TempFolder {
  World() { write("gw.json", "{}"); }
  ConfigPaths paths() const { return {*this / "gw.json", *this / "conf.d"}; }

  ConfigOnDisk good(FolderPresence before = FolderPresence::kAbsent) const {
    auto read = read_config_files(paths(), before);
    if (const auto* failed = std::get_if<policy::ConfigError>(&read)) FAIL(failed->text());
    return std::get<ConfigOnDisk>(std::move(read));
  }
  policy::ConfigError bad(FolderPresence before = FolderPresence::kAbsent) const {
    auto read = read_config_files(paths(), before);
    REQUIRE(std::holds_alternative<policy::ConfigError>(read));
    return std::get<policy::ConfigError>(std::move(read));
  }
};

bool says(const policy::ConfigError& error, std::string_view part) {
  return error.text().find(part) != std::string::npos;
}

/// The file system as another user finds it; root reads everything.
struct AsNobody {
  AsNobody() { setfsuid(65534); }
  ~AsNobody() { setfsuid(geteuid()); }
};

struct FewDescriptors {
  FewDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit few{3, before.rlim_max};  // those that are open stay so
    setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before); }
  rlimit before{};
};

}  // namespace

TEST_CASE("config files: the main file comes first, then those of the folder in the order of their names") {
  World world;
  world.write("conf.d/20.json", "twenty");
  world.write("conf.d/10.json", "ten");

  const ConfigOnDisk disk = world.good();

  REQUIRE(disk.files.size() == 3);
  CHECK(disk.files[0].name == world / "gw.json");
  CHECK(disk.files[1].name == world / "conf.d/10.json");
  CHECK(disk.files[1].text == "ten");
  CHECK(disk.files[2].text == "twenty");
  CHECK(disk.folder == FolderPresence::kPresent);
}

TEST_CASE("config files: what editors and people leave beside them is not read, and named") {
  World world;
  const std::vector<std::string> left = {"#x.json#", ".#x.json",   ".hidden.json", ".x.json.swp",
                                         "README",   "x.json.bak", "x.json~"};
  for (const std::string& each : left) world.write("conf.d/" + each, "not JSON");
  world.write("conf.d/x.json", "{}");

  const ConfigOnDisk disk = world.good();

  REQUIRE(disk.files.size() == 2);
  CHECK(disk.files[1].name == world / "conf.d/x.json");
  CHECK(disk.passed_over == left);
}

TEST_CASE("config files: a folder may be absent before it was there, and not afterwards") {
  World world;
  CHECK(world.good().files.size() == 1);
  CHECK(world.good().folder == FolderPresence::kAbsent);

  const policy::ConfigError gone = world.bad(FolderPresence::kPresent);

  CHECK(gone.reason == Reason::kConfigFolder);
  CHECK(gone.file == world / "conf.d");
  CHECK(says(gone, "not there any more"));

  std::filesystem::create_directory(world / "conf.d");
  CHECK(world.good(FolderPresence::kPresent).files.size() == 1);
}

TEST_CASE("config files: a folder that cannot be read is an error, and not an empty one") {
  World world;
  SUBCASE("no folder") { world.write("conf.d", "a file"); }
  SUBCASE("a link to nothing") { std::filesystem::create_symlink(world / "gone", world / "conf.d"); }
  SUBCASE("a loop of links") { std::filesystem::create_symlink(world / "conf.d", world / "conf.d"); }

  const policy::ConfigError error = world.bad();

  CHECK(error.reason == Reason::kConfigFolder);
  CHECK(error.file == world / "conf.d");
  CHECK(says(error, "restore it"));
}

TEST_CASE("config files: a folder whose mode forbids reading is an error") {
  World world;
  std::filesystem::create_directory(world / "conf.d");
  chmod(world.path.c_str(), 0755);
  chmod((world / "gw.json").c_str(), 0644);
  chmod((world / "conf.d").c_str(), 0);
  const AsNobody nobody;

  CHECK(says(world.bad(), "Permission denied"));
}

TEST_CASE("config files: without a descriptor nothing is read, and that is an error") {
  World world;
  std::filesystem::create_directory(world / "conf.d");
  const FewDescriptors few;

  CHECK(world.bad().reason == Reason::kConfigFolder);
}

TEST_CASE("config files: a file that cannot be read in full is an error") {
  World world;
  std::filesystem::create_directory(world / "conf.d");
  const std::string path = world / "conf.d/x.json";
  SUBCASE("a link to nothing") { std::filesystem::create_symlink(world / "gone", path); }
  SUBCASE("a folder") { std::filesystem::create_directory(path); }
  SUBCASE("a pipe, which would be waited for") { REQUIRE(mkfifo(path.c_str(), 0600) == 0); }
  SUBCASE("a device") { std::filesystem::create_symlink("/dev/zero", path); }
  // A regular file whose first byte cannot be read.
  SUBCASE("an input error") { std::filesystem::create_symlink("/proc/self/mem", path); }

  const policy::ConfigError error = world.bad();

  CHECK(error.reason == Reason::kConfigFolder);
  CHECK(error.file == path);
}

TEST_CASE("config files: a main file that is not there is named") {
  World world;
  std::filesystem::remove(world / "gw.json");
  CHECK(world.bad().file == world / "gw.json");
  CHECK(says(world.bad(), "No such file"));
}

TEST_CASE("config files: a link to a file is read, as container platforms lay them") {
  World world;
  world.write("..2026/x.json", "{}");
  std::filesystem::create_directory(world / "conf.d");
  std::filesystem::create_symlink("../..2026/x.json", world / "conf.d/x.json");
  CHECK(world.good().files.size() == 2);
}

TEST_CASE("config files: too many files are refused") {
  World world;
  std::filesystem::create_directory(world / "conf.d");
  for (size_t i = 0; i <= kConfigFilesMax; ++i) std::ofstream(world / ("conf.d/" + std::to_string(i) + ".json"));
  CHECK(world.bad().reason == Reason::kLimitReached);
}
