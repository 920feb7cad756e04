#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "agent/control/socket_address.h"
#include "agent/service/limits.h"
#include "agent/service/log_writer.h"
#include "agent/service/start_pace.h"
#include "agent/service/supervision.h"
#include "agent/service/watchdog.h"

using namespace ipsec;
using namespace ipsec::agent::service;
using ipsec::agent::control::Descriptor;

namespace {

const std::string kTime = "2026-01-01T00:00:00.000Z";

struct Ends {
  Descriptor read, write;
};
Ends pipe_ends() {
  std::array<int, 2> ends{};
  REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}
Ends stream_ends() {
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

/// What can be read without waiting.
std::string taken_from(int fd) {
  std::string all;
  std::array<char, 65536> block{};
  for (pollfd ready{.fd = fd, .events = POLLIN, .revents = 0}; poll(&ready, 1, 0) == 1;) {
    const ssize_t got = read(fd, block.data(), block.size());
    if (got <= 0) break;
    all.append(block.data(), static_cast<size_t>(got));
  }
  return all;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    lines.push_back(text.substr(at, end - at));
  return lines;
}

std::string folder(const char* name) {
  const auto path = std::filesystem::temp_directory_path() / (std::string("ipsecd-") + name);
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path.string();
}

/// A socket like the journal's.
struct Journal {
  std::string path = folder("journal") + "/socket";
  Descriptor socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  Journal() {
    const auto address = agent::control::socket_address(path);
    REQUIRE(address.ok());
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    REQUIRE(bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0);
  }
};
std::string stream_name(int fd) {
  struct stat status {};
  REQUIRE(fstat(fd, &status) == 0);
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

}  // namespace

TEST_CASE("log: a line has its time, its text and its fields") {
  Ends ends = pipe_ends();
  LogWriter log({.fd = ends.write.get()});

  log.write(LogLevel::kNotice, "started", {field("tunnels", uint64_t{2})}, kTime);

  CHECK(taken_from(ends.read.get()) == kTime + " started tunnels=2\n");
}

TEST_CASE("log: a pipe or socket that nobody reads never stops the writer, and what was dropped is counted and told") {
  for (const auto& make : {pipe_ends, stream_ends}) {
    Ends ends = make();
    LogWriter log({.fd = ends.write.get()});
    const std::string text(1000, 'x');
    constexpr size_t kLines = 3000;

    for (size_t i = 0; i < kLines; ++i) log.write(LogLevel::kInfo, text, {field("n", i)}, kTime);

    CHECK(log.is_waiting());
    const uint64_t dropped = log.take_dropped();
    CHECK(dropped > 1000);
    std::string all;
    while (log.is_waiting()) {
      all += taken_from(ends.read.get());
      log.flush();
    }
    all += taken_from(ends.read.get());
    const auto lines = lines_of(all);
    REQUIRE(lines.size() == kLines - dropped + 1);
    for (size_t i = 0; i + 1 < lines.size(); ++i) CHECK(lines[i] == kTime + " " + text + " n=" + std::to_string(i));
    CHECK(lines.back().find("log lines were dropped") != std::string::npos);
    CHECK(lines.back().ends_with("count=" + std::to_string(dropped)));
    CHECK(log.take_dropped() == 0);
  }
}

TEST_CASE("log: the mode of a file that other programs share stays as it was") {
  Ends ends = pipe_ends();

  LogWriter log({.fd = ends.write.get()});

  CHECK((fcntl(ends.write.get(), F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("log: a reader that has gone costs lines, not the process") {
  Ends ends = stream_ends();
  LogWriter log({.fd = ends.write.get()});
  ends.read.reset();

  for (int i = 0; i < 10; ++i) log.write(LogLevel::kInfo, "one more", {}, kTime);

  CHECK(!log.is_waiting());
  CHECK(log.take_dropped() == 10);
}

TEST_CASE("log: under a service manager lines go to the journal with their fields, or at least with their priority") {
  Journal journal;
  Ends ends = stream_ends();
  LogWriter log(
      {.fd = ends.write.get(), .journal_stream = stream_name(ends.write.get()), .journal_socket = journal.path});
  LogWriter elsewhere(
      {.fd = ends.write.get(), .journal_stream = stream_name(ends.write.get()), .journal_socket = "/nowhere/socket"});

  log.write(LogLevel::kWarning, "a tunnel is down", {field("peer", "192.0.2.1"), field("two words", "a\nb")}, kTime);
  elsewhere.write(LogLevel::kWarning, "a tunnel is down", {}, kTime);

  const std::string record = taken_from(journal.socket.get());
  CHECK(record.starts_with("MESSAGE=a tunnel is down peer=192.0.2.1"));
  CHECK(record.find("\nPRIORITY=4\n") != std::string::npos);
  CHECK(record.find("\nIPSECD_PEER=192.0.2.1\n") != std::string::npos);
  CHECK(record.ends_with(std::string("\nIPSECD_TWO_WORDS\n\x03\0\0\0\0\0\0\0a\nb\n", 30)));
  CHECK(taken_from(ends.read.get()) == "<4>a tunnel is down\n");
}

TEST_CASE("log: a journal that does not read never stops the writer") {
  Journal journal;
  Ends ends = stream_ends();
  LogWriter log(
      {.fd = ends.write.get(), .journal_stream = stream_name(ends.write.get()), .journal_socket = journal.path});

  for (size_t i = 0; i < 5000; ++i) log.write(LogLevel::kInfo, std::string(500, 'x'), {}, kTime);

  CHECK(log.take_dropped() > 0);
}

TEST_CASE("watchdog: fed while all workers go round, and not while one hangs") {
  std::vector<std::vector<std::function<void()>>> posted(2);
  size_t fed = 0;
  Watchdog watchdog(30s, {.workers = 2,
                          .ask = [&](size_t worker, auto task) { posted[worker].push_back(std::move(task)); },
                          .feed = [&] { ++fed; }});
  const auto run = [&](size_t worker) {
    for (auto& each : std::exchange(posted[worker], {})) each();
  };
  CHECK(!watchdog.tick());
  CHECK(fed == 1);
  run(0), run(1);
  CHECK(!watchdog.tick());
  CHECK(fed == 2);
  run(0);

  CHECK(!watchdog.tick());
  CHECK(watchdog.tick() == 1);  // said once
  CHECK(!watchdog.tick());
  CHECK(fed == 2);
  run(1);
  CHECK(!watchdog.tick());
  CHECK(fed == 3);
}

TEST_CASE("supervision: the end is announced first, and more time is asked for at each tick after that") {
  Ends ends = pipe_ends();
  LogWriter log({.fd = ends.write.get()});
  std::vector<std::string> said;
  auto supervision = Supervision::create(
      log, 4s, {.watchdog = {}, .on_dropped = {}, .notify = [&](const std::string& each) { said.push_back(each); }});
  REQUIRE(supervision.ok());

  (*supervision)->ready("3 tunnels");
  (void)(*supervision)->on_timer();
  (*supervision)->stopping();
  (void)(*supervision)->on_timer();

  CHECK(said == std::vector<std::string>{"READY=1\nSTATUS=3 tunnels", "WATCHDOG=1",
                                         "STOPPING=1\nSTATUS=closing IKE SAs\nEXTEND_TIMEOUT_USEC=10000000",
                                         "EXTEND_TIMEOUT_USEC=10000000", "WATCHDOG=1"});
}

TEST_CASE("start pace: failures in a row wait longer, up to ten seconds; a start that works or time ends the row") {
  const std::string run_dir = folder("starts");
  StartPace pace(run_dir);
  const WallTime now{1'000'000s};

  std::vector<int64_t> waits;
  for (int i = 0; i < 9; ++i) waits.push_back(pace.failed(now) / 1ms);

  CHECK(waits == std::vector<int64_t>{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000});
  CHECK(pace.failed({now.since_epoch + 11min}) == 100ms);
  CHECK(pace.failed({now.since_epoch + 11min}) == 200ms);
  pace.succeeded();
  CHECK(pace.failed({now.since_epoch + 11min}) == 100ms);
  std::ofstream(run_dir + "/failed-starts") << "nonsense";
  CHECK(pace.failed(now) == 100ms);
  CHECK(StartPace("/nowhere").failed(now) == 200ms);
}
