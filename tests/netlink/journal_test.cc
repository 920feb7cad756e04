#include "netlink/journal.h"

#include "netlink/namespace_port.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "netlink/limits.h"

using namespace ipsec;
using namespace ipsec::netlink;

namespace {

struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "journal.XXXXXX").string();
    VERIFY(::mkdtemp(name.data()) != nullptr);
    path = name + "/journal";
    folder = name;
  }
  ~Folder() { std::filesystem::remove_all(folder); }
  /// Without the zeros behind it.
  std::string read() const {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str().substr(0, text.str().find('\0'));
  }
  void write(const std::string& text) const { std::ofstream(path) << text; }
  std::string folder, path;
};

Journal open(const Folder& folder, const std::string& boot = "boot-1") {
  auto journal = Journal::open(folder.path, boot);
  INFO((journal.ok() ? std::string() : journal.error().text()));
  REQUIRE(journal.ok());
  return std::move(journal).value();
}

const ObjectKey kSa{.netns = "", .kind = "sa", .name = "192.0.2.1/c0000001"};
const ObjectKey kOdd{.netns = "a b%\n", .kind = "link", .name = ""};

}  // namespace

TEST_CASE("journal: what was intended is known after a restart, and must then be compared") {
  Folder folder;
  {
    Journal journal = open(folder);
    REQUIRE(journal.intend(kSa, "7,0,192.0.2.2,tunnel").ok());
    REQUIRE(journal.intend(kOdd, "").ok());
    journal.confirm(kSa);
    CHECK(journal.find(kSa)->origin == Journal::Origin::kThisRun);
  }

  Journal journal = open(folder);
  REQUIRE(journal.owns(kSa));
  CHECK(journal.find(kSa)->origin == Journal::Origin::kUnconfirmed);
  CHECK(journal.find(kSa)->fingerprint == "7,0,192.0.2.2,tunnel");
  CHECK(journal.all() == std::vector<ObjectKey>{kSa, kOdd});
  CHECK(journal.all("link") == std::vector<ObjectKey>{kOdd});
}

TEST_CASE("journal: what was forgotten stays forgotten") {
  Folder folder;
  {
    Journal journal = open(folder);
    REQUIRE(journal.intend(kSa, "-").ok());
    REQUIRE(journal.forget(kSa).ok());
    CHECK(journal.forget(kSa).ok());
  }
  CHECK(!open(folder).owns(kSa));
}

TEST_CASE("journal: the record of the intent is in the file when intend returns") {
  Folder folder;
  Journal journal = open(folder);
  REQUIRE(journal.intend(kSa, "x").ok());
  CHECK(folder.read() == "ipsecd-journal 1 boot-1\n+ % sa 192.0.2.1/c0000001 x\n");
}

TEST_CASE("journal: of another boot it is dropped") {
  Folder folder;
  { REQUIRE(open(folder).intend(kSa, "-").ok()); }
  {
    const Journal journal = open(folder, "boot-2");
    CHECK(journal.size() == 0);
    CHECK(journal.found() == Journal::Found::kOtherBoot);
  }
  CHECK(folder.read() == "ipsecd-journal 1 boot-2\n");
}

TEST_CASE("journal: cut off at any byte, all complete records before the cut count") {
  Folder folder;
  {
    Journal journal = open(folder);
    for (int i = 0; i < 5; ++i) REQUIRE(journal.intend({"n", "sa", std::to_string(i)}, "f").ok());
    REQUIRE(journal.forget({"n", "sa", "0"}).ok());
  }
  const std::string whole = folder.read();
  const size_t header = whole.find('\n') + 1;
  for (size_t length = 0; length <= whole.size(); ++length) {
    folder.write(whole.substr(0, length));
    const std::string cut = whole.substr(0, length);
    size_t expected = 0;
    if (length >= header)
      for (size_t at = header, end = 0; (end = cut.find('\n', at)) != std::string::npos; at = end + 1)
        expected += cut[at] == '+' ? 1 : -1UL;
    const Journal journal = open(folder);
    CHECK(journal.size() == expected);
    CHECK(journal.damaged_lines() <= 1);
    // Of the head alone nobody can say what followed it.
    const auto found = length == 0       ? Journal::Found::kNothing
                       : length < header ? Journal::Found::kDamaged
                                         : Journal::Found::kComplete;
    CHECK(journal.found() == found);
  }
}

TEST_CASE("journal: the zeros behind the text are no damage, wherever the last line was cut off") {
  Folder folder;
  { REQUIRE(open(folder).intend(kSa, "fingerprint").ok()); }
  const std::string whole = folder.read();
  for (size_t length = whole.find('\n') + 1; length <= whole.size(); ++length) {
    folder.write(whole.substr(0, length) + std::string(1000, '\0') + "+ % sa never f\n");
    const Journal journal = open(folder);
    CHECK(journal.size() == (length == whole.size() ? 1 : 0));
    CHECK(journal.found() == Journal::Found::kComplete);
  }
}

TEST_CASE("journal: damaged lines are counted and skipped") {
  Folder folder;
  folder.write(
      "ipsecd-journal 1 boot-1\n+ % sa a f\nnonsense\n+ % sa\n+  sa b f\n+ % sa %zz f\n* % sa c f\n+ % sa d f\n");
  const Journal journal = open(folder);
  CHECK(journal.size() == 2);
  CHECK(journal.damaged_lines() == 5);
  CHECK(journal.found() == Journal::Found::kDamaged);
}

TEST_CASE("journal: a namespace that is gone takes its objects along, and no others") {
  Folder folder;
  Journal journal = open(folder);
  REQUIRE(journal.intend({"blue", "sa", "1"}, "-").ok());
  REQUIRE(journal.intend({"blue2", "sa", "1"}, "-").ok());
  REQUIRE(journal.forget_namespace("blue").ok());
  CHECK(journal.all() == std::vector<ObjectKey>{{"blue2", "sa", "1"}});
}

TEST_CASE("journal: what somebody else may have touched is compared again, of one object or of a kind") {
  Folder folder;
  Journal journal = open(folder);
  const ObjectKey sa{"a", "sa", "1"}, policy{"a", "policy", "1"}, elsewhere{"a2", "sa", "1"};
  for (const ObjectKey& key : {sa, policy, elsewhere}) {
    REQUIRE(journal.intend(key, "x").ok());
    journal.confirm(key);
  }

  journal.doubt(policy);
  CHECK(journal.find(policy)->origin == Journal::Origin::kUnconfirmed);
  CHECK(journal.find(sa)->origin == Journal::Origin::kThisRun);
  journal.doubt_all("a", "sa");
  CHECK(journal.find(sa)->origin == Journal::Origin::kUnconfirmed);
  CHECK(journal.find(elsewhere)->origin == Journal::Origin::kThisRun);
  journal.doubt({"a", "sa", "unknown"});
  CHECK(journal.size() == 3);
}

TEST_CASE("journal: the file stays small however often objects come and go") {
  Folder folder;
  Journal journal = open(folder);
  for (size_t i = 0; i < 20'000; ++i) {
    REQUIRE(journal.intend(kSa, "-").ok());
    REQUIRE(journal.forget(kSa).ok());
  }
  REQUIRE(journal.intend(kSa, "-").ok());
  CHECK(std::filesystem::file_size(folder.path) <= 2 * kJournalReserve);
  CHECK(std::filesystem::file_size(folder.path + ".spare") <= 2 * kJournalReserve);
  CHECK(journal.owns(kSa));
  CHECK(journal.growths() == 1);
}

TEST_CASE("journal: it grows with its objects, and every one of them is known after a restart") {
  constexpr size_t kObjects = 20'000;
  Folder folder;
  {
    Journal journal = open(folder);
    for (size_t i = 0; i < kObjects; ++i) REQUIRE(journal.intend({"n", "sa", std::to_string(i)}, "f").ok());
    for (size_t i = 0; i < kObjects; i += 2) REQUIRE(journal.forget({"n", "sa", std::to_string(i)}).ok());
    CHECK(journal.growths() < 5);
  }

  const Journal journal = open(folder);
  CHECK(journal.size() == kObjects / 2);
  CHECK(journal.found() == Journal::Found::kComplete);
  CHECK(journal.owns({"n", "sa", "1"}));
  CHECK(!journal.owns({"n", "sa", "2"}));
}

TEST_CASE("journal: at the end it goes when it names no object, and stays with one") {
  Folder folder;
  {
    Journal journal = open(folder);
    REQUIRE(journal.intend(kSa, "-").ok());
    REQUIRE(journal.close().ok());
  }
  CHECK(std::filesystem::exists(folder.path));
  {
    Journal journal = open(folder);
    REQUIRE(journal.owns(kSa));
    REQUIRE(journal.forget(kSa).ok());
    REQUIRE(journal.close().ok());
  }
  CHECK(!std::filesystem::exists(folder.path));
  CHECK(!std::filesystem::exists(folder.path + ".spare"));
  CHECK(open(folder).found() == Journal::Found::kNothing);
}

TEST_CASE("journal: one that somebody removes while we run is written again at the next check") {
  Folder folder;
  Journal journal = open(folder);
  REQUIRE(journal.intend(kSa, "f").ok());
  for (const bool spare_too : {false, true}) {
    std::filesystem::remove(folder.path);
    if (spare_too) std::filesystem::remove(folder.path + ".spare");
    CHECK(!journal.check().refuses);
    CHECK(folder.read() == "ipsecd-journal 1 boot-1\n+ % sa 192.0.2.1/c0000001 f\n");
    REQUIRE(journal.intend(kOdd, "-").ok());
    REQUIRE(journal.forget(kOdd).ok());
    CHECK(journal.check().free_bytes != 0);
  }
}

TEST_CASE("journal: hundreds of megabytes of garbage keep no daemon from starting, nor what stands beside it") {
  Folder folder;
  {
    std::ofstream file(folder.path);
    const std::string garbage(1 << 20, 'x');
    file << "ipsecd-journal 1 boot-1\n+ % sa first f\n";
    for (int i = 0; i < 260; ++i) file << garbage;
    file << "\n+ % sa last f\n";
  }
  Journal journal = open(folder);
  CHECK(journal.size() == 2);
  CHECK(journal.damaged_lines() == 1);
  CHECK(journal.found() == Journal::Found::kDamaged);
  CHECK(std::filesystem::file_size(folder.path) <= 4 * kJournalReserve);
  CHECK(std::filesystem::file_size(folder.path + ".spare") <= 4 * kJournalReserve);
}

TEST_CASE("journal: what is no journal is replaced by an empty one, and said to be damaged") {
  for (const char* text : {"garbage", "garbage\n", "\n", "ipsecd-journal 2 boot-1\n+ % sa a f\n"}) {
    CAPTURE(text);
    Folder folder;
    folder.write(text);
    CHECK(open(folder).found() == Journal::Found::kDamaged);
    CHECK(folder.read() == "ipsecd-journal 1 boot-1\n");
    CHECK(open(folder).found() == Journal::Found::kComplete);
  }
}

TEST_CASE("journal: a record that could not be read again is refused") {
  Folder folder;
  Journal journal = open(folder);
  const Status status = journal.intend({"", "sa", std::string(kJournalLineMax, 'x')}, "-");
  REQUIRE(!status.ok());
  CHECK(status.error().reason() == Reason::kLimitReached);
  CHECK(journal.size() == 0);
}

TEST_CASE("journal: two daemons cannot share one") {
  Folder folder;
  const Journal first = open(folder);
  auto second = Journal::open(folder.path, "boot-1");
  REQUIRE(!second.ok());
  CHECK(second.error().reason() == Reason::kExists);
}

TEST_CASE("journal: only its owner can read it") {
  Folder folder;
  const Journal journal = open(folder);
  struct stat status {};
  REQUIRE(::stat(folder.path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("journal: the key of a route names its protocol, with and without a VRF or a preferred source") {
  policy::RouteConfig route{.destination = IpPrefix::parse("10.9.0.0/16").value(), .device = "ips1", .protocol = 186};
  CHECK(journal_route_protocol(journal_key("", route)) == 186);
  route.vrf = "blue";
  CHECK(journal_route_protocol(journal_key("", route)) == 186);
  route.preferred_source = IpAddress::parse("10.9.0.1").value();
  CHECK(journal_route_protocol(journal_key("", route)) == 186);
  CHECK_FALSE(journal_route_protocol({.netns = "", .kind = "link", .name = "a b c 5 d"}));
  CHECK_FALSE(journal_route_protocol({.netns = "", .kind = "route", .name = "10.9.0.0/16"}));
  CHECK_FALSE(journal_route_protocol({.netns = "", .kind = "route", .name = "a b c 500 d"}));
}
