#include <doctest/doctest.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "netlink/journal.h"
#include "netlink/limits.h"

using namespace ipsec;
using namespace ipsec::netlink;

namespace {

/// A file system of its own, that others can fill.
class SmallDisk {
 public:
  explicit SmallDisk(size_t bytes) {
    std::string name = (std::filesystem::temp_directory_path() / "disk.XXXXXX").string();
    VERIFY(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    VERIFY(::mount("none", folder_.c_str(), "tmpfs", 0, ("size=" + std::to_string(bytes)).c_str()) == 0);
  }
  ~SmallDisk() {
    (void)::umount2(folder_.c_str(), MNT_DETACH);
    std::filesystem::remove(folder_);
  }
  void fill() const {
    std::ofstream file(folder_ + "/others", std::ios::app);
    const std::string page(4096, 'x');
    while (file.write(page.data(), static_cast<std::streamsize>(page.size())).flush()) {
    }
  }
  void free() const { std::filesystem::remove(folder_ + "/others"); }
  Journal open(const std::string& boot = "boot-1") const {
    auto journal = Journal::open(folder_ + "/journal", boot);
    INFO((journal.ok() ? std::string() : journal.error().text()));
    REQUIRE(journal.ok());
    return std::move(journal).value();
  }

 private:
  std::string folder_;
};

ObjectKey sa(size_t number) { return {"", "sa", "192.0.2.1/" + std::to_string(1'000'000 + number)}; }
ObjectKey policy(size_t number) { return {"", "policy", "out 10.1.0.0/16 10.2.0.0/16 " + std::to_string(number)}; }

/// Policies until the first refusal; how many there are then.
size_t take_all(Journal& journal) {
  size_t count = 0;
  while (journal.intend(policy(count), "16777217").ok()) ++count;
  return count;
}

}  // namespace

TEST_CASE("journal room: on a full file system what stands is rekeyed without end, and new objects are refused") {
  const SmallDisk disk(4 << 20);
  Journal journal = disk.open();
  for (size_t i = 0; i < 1000; ++i) REQUIRE(journal.intend(policy(i), "16777217").ok());
  for (size_t i = 0; i < 2000; ++i) REQUIRE(journal.intend(sa(i), "16777217,16777217,192.0.2.2,tunnel").ok());
  disk.fill();
  const size_t before = take_all(journal);  // the space that was taken beforehand

  for (size_t round = 1; round <= 20; ++round)
    for (size_t i = 0; i < 2000; ++i) {
      REQUIRE(journal.intend(sa(2000 * round + i), "16777217,16777217,192.0.2.2,tunnel").ok());
      REQUIRE(journal.intend(policy(i % before), "16777217").ok());
      REQUIRE(journal.forget(sa(2000 * (round - 1) + i)).ok());
    }

  const Status refused = journal.intend({"", "link", "ips1000099"}, "1");
  REQUIRE(!refused.ok());
  CHECK(refused.error().reason() == Reason::kJournalRoom);
  CHECK(refused.error().text().find("kept for rekeys") != std::string::npos);
  CHECK(!journal.owns({"", "link", "ips1000099"}));
  const JournalRoom room = journal.check();
  CHECK(room.is_low);
  CHECK(room.refuses);
}

TEST_CASE("journal room: all SAs of a full gateway may be replaced at once") {
  const SmallDisk disk(4 << 20);
  Journal journal = disk.open();
  for (size_t i = 0; i < 1000; ++i) REQUIRE(journal.intend(policy(i), "16777217").ok());
  for (size_t i = 0; i < 2000; ++i) REQUIRE(journal.intend(sa(i), "16777217,16777217,192.0.2.2,tunnel").ok());
  disk.fill();

  for (size_t i = 0; i < 2000; ++i) REQUIRE(journal.intend(sa(2000 + i), "16777217,16777217,192.0.2.2,tunnel").ok());
  for (size_t i = 0; i < 2000; ++i) REQUIRE(journal.forget(sa(i)).ok());
}

TEST_CASE("journal room: SAs without end are refused at last, and the others go on") {
  const SmallDisk disk(2 << 20);
  Journal journal = disk.open();
  disk.fill();
  size_t count = 0;
  Status status;
  while ((status = journal.intend(sa(count), "f")).ok()) ++count;

  CHECK(status.error().reason() == Reason::kJournalRoom);
  CHECK(count > 1000);
  for (size_t i = 0; i < count; ++i) REQUIRE(journal.intend(sa(i), "g").ok());
  REQUIRE(journal.forget(sa(0)).ok());
  CHECK(journal.intend(sa(count), "f").ok());
}

TEST_CASE("journal room: with space again new objects are taken again, and the shortage ends") {
  const SmallDisk disk(8 << 20);
  Journal journal = disk.open();
  CHECK(!journal.check().is_low);
  disk.fill();
  CHECK(journal.check().is_low);
  const size_t count = take_all(journal);
  CHECK(journal.check().refuses);

  disk.free();
  const JournalRoom room = journal.check();
  CHECK(!room.is_low);
  CHECK(!room.refuses);
  CHECK(journal.intend(policy(count), "f").ok());
}

TEST_CASE("journal room: after a restart on a full file system what was recorded is known, and rekeys go on") {
  const SmallDisk disk(2 << 20);
  {
    Journal journal = disk.open();
    for (size_t i = 0; i < 100; ++i) REQUIRE(journal.intend(sa(i), "f").ok());
    disk.fill();
  }
  Journal journal = disk.open();
  CHECK(journal.size() == 100);
  CHECK(journal.found() == Journal::Found::kComplete);
  for (size_t i = 100; i < 10'000; ++i) {
    REQUIRE(journal.intend(sa(i), "f").ok());
    REQUIRE(journal.forget(sa(i - 100)).ok());
  }
}

TEST_CASE("journal room: a start on a full file system works without any space, and is made good later") {
  const SmallDisk disk(2 << 20);
  disk.fill();
  Journal journal = disk.open();
  CHECK(journal.found() == Journal::Found::kNothing);
  const Status refused = journal.intend(sa(1), "f");
  REQUIRE(!refused.ok());
  CHECK(refused.error().reason() == Reason::kJournalRoom);
  CHECK(journal.size() == 0);
  CHECK(journal.check().is_low);

  disk.free();
  REQUIRE(journal.intend(sa(1), "f").ok());
  CHECK(!journal.check().refuses);
}

TEST_CASE("journal room: a journal without spare file, as older versions leave it, is read on a full file system") {
  const SmallDisk disk(2 << 20);
  {
    Journal journal = disk.open();
    REQUIRE(journal.intend(sa(1), "f").ok());
  }
  disk.fill();
  // The zeros and the spare file go, and somebody else takes their place.
  const std::string folder = [&] {
    for (const auto& each : std::filesystem::directory_iterator(std::filesystem::temp_directory_path()))
      if (each.path().filename().string().starts_with("disk.") && std::filesystem::exists(each.path() / "others"))
        return each.path().string();
    return std::string();
  }();
  REQUIRE(!folder.empty());
  std::filesystem::remove(folder + "/journal.spare");
  disk.fill();

  Journal journal = disk.open();
  CHECK(journal.owns(sa(1)));
  CHECK(journal.check().is_low);
  disk.free();
  CHECK(!journal.check().refuses);
  CHECK(journal.intend(policy(1), "f").ok());
}
