#include "agent/journal_watch.h"

#include <doctest/doctest.h>

#include "agent/limits.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

struct Disk {
  netlink::JournalRoom room{.free_bytes = 1 << 20, .is_low = false, .refuses = false};
  size_t asked = 0;
  uint64_t growths = 0;
  std::vector<std::pair<Reason, std::vector<Field>>> told;
  JournalWatch watch{"/run/ipsecd/journal", [this](Reason reason, std::vector<Field> fields) {
                       told.emplace_back(reason, std::move(fields));
                     }};
  Instant now{1000s};

  void run() {
    watch.run(now, growths, [this] { return ++asked, room; });
  }
};

}  // namespace

TEST_CASE("journal watch: it asks rarely, and at once when the journal has grown") {
  Disk disk;
  for (int i = 0; i < 100; ++i) disk.run();
  CHECK(disk.asked == 1);
  CHECK(disk.watch.next_deadline() == disk.now + kJournalCheck);
  ++disk.growths;
  for (int i = 0; i < 100; ++i) disk.run();
  CHECK(disk.asked == 2);
  disk.now = disk.now + kJournalCheck;
  disk.run();
  CHECK(disk.asked == 3);
  CHECK(disk.told.empty());
}

TEST_CASE("journal watch: a loss is counted, logged and told, with path and number of objects") {
  Counters counters;
  EventRing events(10);
  std::vector<std::string> lines;
  Log log(LogLevel::kInfo,
          [&](LogLevel, std::string_view text, const std::vector<Field>&) { lines.emplace_back(text); });
  JournalWatch watch("/run/ipsecd/journal", announce_by(log, events, counters));

  watch.report_loss(14);

  CHECK(counters.get(Reason::kJournalMissing) == 1);
  CHECK(lines.size() == 1);
  const auto page = events.read(0, 10);
  REQUIRE(page.events.size() == 1);
  CHECK(page.events[0].fields.at(0).value == "/run/ipsecd/journal");
  CHECK(page.events[0].fields.at(1).value == "14");
}

TEST_CASE("journal watch: a shortage and its end are reported once each, with path and free bytes") {
  Disk disk;
  disk.run();
  disk.room.is_low = true;
  ++disk.growths;
  for (int i = 0; i < 10; ++i) {
    disk.run();
    ++disk.growths;  // each refusal is a try to grow: it makes no look
    disk.now = disk.now + kJournalCheckLow / 2;
  }
  CHECK(disk.asked <= 7);
  REQUIRE(disk.told.size() == 1);
  CHECK(disk.told[0].first == Reason::kJournalRoom);
  CHECK(disk.told[0].second.at(0).value == "/run/ipsecd/journal");
  CHECK(disk.told[0].second.at(1).value == std::to_string(1 << 20));
  CHECK(disk.told[0].second.at(2).value == "no");
  CHECK(disk.watch.is_low());

  disk.room.is_low = false;
  disk.now = disk.now + kJournalCheckLow;
  disk.run();
  REQUIRE(disk.told.size() == 2);
  CHECK(disk.told[1].first == Reason::kJournalRoomAgain);
}
