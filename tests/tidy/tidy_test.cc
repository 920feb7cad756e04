#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <set>

#include "policy/base/reasons.h"
#include "tests/support/source_folder.h"
#include "tests/tidy/tree.h"

using namespace ipsec;
using namespace ipsec::tidy;

namespace {

constexpr size_t kFileLinesMax = 600, kFunctionLinesMax = 70, kReadmeLinesMax = 60;

const std::vector<SourceFile>& tree() {
  static const std::vector<SourceFile> files = read_tree(testing::in_source_folder(""));
  return files;
}

/// The folders of the architecture's section 3 and what each may include of ours. The longest folder counts.
struct Arrow {
  std::string_view folder;
  std::vector<std::string_view> may_include;
};
const std::vector<Arrow>& arrows() {
  static const std::vector<Arrow> all = {
      {"policy/base/", {"policy/base/"}},
      {"policy/", {"policy/"}},
      {"ike/", {"ike/", "policy/"}},
      {"netlink/", {"netlink/", "policy/"}},
      {"hwoffload/", {"hwoffload/", "netlink/", "policy/"}},
      {"agent/control/", {"agent/control/", "policy/base/"}},
      {"agent/metrics/", {"agent/metrics/", "policy/base/"}},
      {"agent/service/", {"agent/service/", "agent/control/", "policy/base/"}},
      {"agent/files/", {"agent/files/", "netlink/unique_fd.h", "policy/"}},
      {"agent/ctl/", {"agent/ctl/", "agent/control/", "agent/files/", "policy/"}},
      {"agent/", {"agent/", "hwoffload/", "ike/", "netlink/", "policy/"}},
      {"tests/", {"agent/", "hwoffload/", "ike/", "netlink/", "policy/", "tests/"}},
  };
  return all;
}
const Arrow& arrow_of(const SourceFile& file) {
  return *std::ranges::find_if(arrows(), [&](const Arrow& each) { return file.in(each.folder); });
}

/// What stands between the quotes or angle brackets of an #include line.
std::string included(const std::string& line) {
  if (!line.starts_with("#include")) return {};
  const size_t begin = line.find_first_of("\"<");
  const size_t end = line.find_last_of("\">");
  return begin == std::string::npos || end <= begin ? std::string() : line.substr(begin, end - begin + 1);
}

/// A rule about words: where they must not stand.
struct Ban {
  std::string_view word;
  std::vector<std::string_view> folders;
  std::string_view why;
  std::vector<std::string_view> except;  ///< Files, each with a reason beside it.
};

std::string where(const SourceFile& file, size_t line) { return file.path + ":" + std::to_string(line + 1); }

}  // namespace

TEST_CASE("hygiene: each folder includes only what its arrows allow") {
  for (const SourceFile& file : tree()) {
    const Arrow& arrow = arrow_of(file);
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string what = included(file.lines[i]);
      if (!what.starts_with('"') || what.find('/') == std::string::npos) continue;
      const bool allowed = std::ranges::any_of(
          arrow.may_include, [&](std::string_view each) { return std::string_view(what).substr(1).starts_with(each); });
      CHECK_MESSAGE(allowed, where(file, i), " includes ", what);
    }
  }
}

TEST_CASE("hygiene: the core knows no kernel, no socket and, outside ike, no cryptography") {
  for (const SourceFile& file : tree()) {
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string what = included(file.lines[i]);
      if (file.in("policy/") || file.in("ike/"))
        for (std::string_view banned : {"<linux/", "<sys/socket.h", "<netinet/", "<unistd.h", "<thread", "<libmnl"})
          CHECK_MESSAGE(!what.starts_with(banned), where(file, i), " includes ", what);
      if (file.in("policy/") && what.starts_with("<openssl/"))
        CHECK_MESSAGE((what == "<openssl/rand.h>" || what == "<openssl/crypto.h>"), where(file, i), " includes ", what);
      if (!file.in("netlink/") || !file.is_header()) continue;
      for (std::string_view prefix : {"mnl_", "nl_", "nlmsg_", "rtnl_"}) {
        const std::string& code = file.code[i];
        const size_t at = code.find(prefix);
        const bool begins =
            at != std::string::npos && (at == 0 || (std::isalnum(code[at - 1]) == 0 && code[at - 1] != '_'));
        CHECK_MESSAGE(!begins, where(file, i), " shows a type of libmnl or libnl");
      }
    }
  }
}

TEST_CASE("hygiene: files and functions can be read in one go") {
  for (const SourceFile& file : tree()) {
    CHECK_MESSAGE(file.lines.size() <= kFileLinesMax, file.path, " has ", file.lines.size(), " lines");
    for (const FunctionLength& each : functions_of(file))
      CHECK_MESSAGE(each.lines <= kFunctionLinesMax, where(file, each.line - 1), ": a function of ", each.lines,
                    " lines");
  }
}

TEST_CASE("hygiene: nothing in the core or the tests reads a clock, rolls dice or sleeps on its own") {
  // The lab's tests and the bench work on a real kernel and a real clock.
  const std::vector<Ban> bans = {
      {"getrandom", {"policy/", "ike/", "tests/"}, "randomness is injected", {}},
      {"rand", {"policy/", "ike/", "tests/"}, "randomness is injected", {}},
      {"gettimeofday", {"policy/", "ike/", "tests/"}, "time is injected", {}},
      {"clock_gettime", {"policy/", "ike/", "tests/"}, "time is injected", {"tests/bench/", "tests/kernel/"}},
      {"steady_clock", {"policy/", "ike/", "tests/"}, "time is injected", {"tests/kernel/", "tests/agent/"}},
      {"system_clock", {"policy/", "ike/", "tests/"}, "time is injected", {}},
      {"sleep", {"policy/", "ike/", "tests/"}, "tests wait for what happens", {}},
      {"usleep", {"policy/", "ike/", "tests/"}, "tests wait for what happens", {}},
      {"sleep_for", {"policy/", "ike/", "tests/"}, "tests wait for what happens", {}},
  };
  for (const SourceFile& file : tree()) {
    for (const Ban& ban : bans) {
      if (!std::ranges::any_of(ban.folders, [&](auto each) { return file.in(each); })) continue;
      if (std::ranges::any_of(ban.except, [&](auto each) { return file.in(each); })) continue;
      for (size_t i = 0; i < file.code.size(); ++i)
        CHECK_MESSAGE((file.code[i].starts_with("#include") || !has_word(file.code[i], ban.word)), where(file, i), ": ",
                      std::string(ban.word), ": ", std::string(ban.why));
    }
  }
}

TEST_CASE("hygiene: casts that the type system cannot check stand only where an interface of C demands them") {
  constexpr std::array kAllowed = {
      "policy/base/bytes.h",  // text as bytes and back
      "agent/udp_socket.cc",  // sockaddr
      "agent/control/",       // sockaddr of unix sockets
      "netlink/",             // structures of the kernel in messages
      "tests/agent/",         // sockaddr of unix sockets
      "tests/kernel/",        // sockaddr, structures of the kernel
      "tests/tidy/",          // the word itself
  };
  for (const SourceFile& file : tree()) {
    if (std::ranges::any_of(kAllowed, [&](const char* each) { return file.in(each); })) continue;
    for (size_t i = 0; i < file.code.size(); ++i)
      CHECK_MESSAGE(!has_word(file.code[i], "reinterpret_cast"), where(file, i), ": reinterpret_cast");
  }
}

TEST_CASE("hygiene: nothing is left for later, no name spills out of a header, no exception is swallowed") {
  for (const SourceFile& file : tree()) {
    if (file.in("tests/tidy/")) continue;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      for (std::string_view word : {"TODO", "FIXME", "XXX"})
        CHECK_MESSAGE(!has_word(file.lines[i], word), where(file, i), ": ", std::string(word));
      CHECK_MESSAGE(file.code[i].find("catch (...)") == std::string::npos, where(file, i), ": catch (...)");
      // The literals of std::chrono are how limits are written here (policy/base/time.h).
      const bool spills = file.is_header() && file.code[i].find("using namespace") != std::string::npos &&
                          file.code[i].find("std::chrono_literals") == std::string::npos;
      CHECK_MESSAGE(!spills, where(file, i), ": using namespace in a header");
      for (std::string_view place : {"/home/", "/root/"})
        CHECK_MESSAGE(file.lines[i].find(place) == std::string::npos, where(file, i), ": a path of one machine");
    }
  }
}

TEST_CASE("hygiene: every folder says on one page what it is") {
  for (const char* folder :
       {"policy", "policy/base", "ike", "netlink", "hwoffload", "agent", "agent/control", "agent/ctl", "agent/files",
        "agent/metrics", "agent/service", "agent/show", "systemd", "tests"}) {
    const std::string path = testing::in_source_folder(std::string(folder) + "/README.md");
    CHECK_MESSAGE(std::filesystem::exists(path), folder, " has no README.md");
    std::ifstream in(path);
    size_t lines = 0;
    for (std::string line; std::getline(in, line);) ++lines;
    CHECK_MESSAGE(lines <= kReadmeLinesMax, path, " has ", lines, " lines");
  }
}

TEST_CASE("hygiene: each reason has a code of its own, a sentence, and is found by its code") {
  std::set<std::string_view> codes;
  for (size_t i = 0; i < kReasonCount; ++i) {
    const auto reason = static_cast<Reason>(i);
    CHECK_MESSAGE(codes.insert(code(reason)).second, std::string(code(reason)), " occurs twice");
    CHECK(info(reason).reason == reason);
    CHECK(reason_from_code(code(reason)) == reason);
    CHECK_MESSAGE(!info(reason).text.ends_with('.'), std::string(code(reason)), ": a full stop");
  }
}

TEST_CASE("hygiene: the measure of functions sees what it should") {
  SourceFile file{.path = "a.cc",
                  .lines = {"namespace a {", "struct B {", "  int c() {", "    if (x) { y(); }", "  }", "};",
                            "int d[] = {1, 2};", "void e() {", "}", "}  // namespace"},
                  .code = {}};
  file.code = without_comments(file.lines);

  const auto found = functions_of(file);

  REQUIRE(found.size() == 2);
  CHECK((found[0].line == 3 && found[0].lines == 3));
  CHECK((found[1].line == 8 && found[1].lines == 2));
}
