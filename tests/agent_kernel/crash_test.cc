#include <doctest/doctest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include "tests/agent_kernel/gateway.h"
#include "tests/kernel/lab_network.h"
#include "tests/manager/drift_now.h"

using namespace ipsec;
using namespace ipsec::lab;

// A gateway killed at any of its system calls: between the journal and the kernel, between the kernel and its answer,
// in the middle of a rekey. The next one ends exactly as desired.

namespace {

constexpr uint32_t kFirst = 0xc1000, kSecond = 0xc1001, kFresh = 0xc1002;

/// Every fifth of some 740 entries and returns; CRASH_STRIDE=1 in the environment takes them all, in minutes.
int stride() {
  const char* wanted = std::getenv("CRASH_STRIDE");
  return wanted != nullptr ? std::max(1, std::atoi(wanted)) : 5;
}

void live() {
  Gateway left("left");
  left.inbound(kFirst);
  left.outbound(kFirst);
  left.inbound(kSecond, kFirst);
  left.outbound(kSecond, kFirst);
  left.stop_outbound(kFirst);
  left.remove(kFirst);
  left.remove(kSecond);
  left.end();
}

/// Lives in a process of its own that is killed as it enters or leaves its `calls`-th system call; false when it has
/// ended before that.
bool live_until(int calls) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    live();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  for (int stops = 0;; ++stops) {
    if (WIFEXITED(status)) return false;
    REQUIRE(WIFSTOPPED(status));
    if (stops == calls) break;
    REQUIRE(::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) == 0);
    REQUIRE(::waitpid(child, &status, 0) == child);
  }
  REQUIRE(::kill(child, SIGKILL) == 0);
  REQUIRE(::waitpid(child, &status, 0) == child);
  return true;
}

void put_foreign() {
  const std::string key = "0x" + std::string(72, '7');
  REQUIRE(
      shell("ip -n left-pub xfrm state add src 203.0.113.1 dst 203.0.113.2 proto esp spi 0xbeef reqid 9 mode tunnel "
            "aead 'rfc4106(gcm(aes))' " +
            key + " 128") == 0);
  REQUIRE(shell("ip -n left-pub xfrm policy add src 203.0.113.0/24 dst 198.51.100.0/24 dir out "
                "tmpl src 203.0.113.1 dst 203.0.113.2 proto esp reqid 9 mode tunnel") == 0);
  REQUIRE(shell("ip -n left-priv route add 10.77.0.0/16 dev lan table 1001 proto 50 metric 100") == 0);
}

std::string foreign() {
  return shell_output(
      "ip -n left-pub xfrm state list spi 0xbeef; ip -n left-pub xfrm policy list src 203.0.113.0/24; "
      "ip -n left-priv route show table 1001 10.77.0.0/16");
}

/// SAs and policies, interfaces and routes that are not foreign.
std::string rest() {
  return shell_output(
      "ip -n left-pub -o xfrm state | grep -v 203.0.113; ip -n left-pub -o xfrm policy | grep -v 203.0.113; "
      "ip -n left-priv -o link show type xfrm; ip -n left-priv route show table 1001 proto 50 | grep -v 10.77");
}

size_t differing(Gateway& gateway) {
  size_t rows = 0;
  for (const agent::NamespaceDrift& each : testing::drift_now(*gateway.manager, gateway.now)) {
    CHECK_FALSE(each.obstacle);
    rows += policy::has_drift(*each.rows) ? each.rows->size() : 0;
  }
  return rows;
}

/// How many SAs it has kept.
size_t check_next_run(const std::string& foreign_before) {
  Gateway next("left", {}, netlink::kReceiveBufferBytes, Gateway::Run::kAfterKill);
  next.manager->look_after(next.now, {"left-pub", "left-priv"});
  next.pass(1s);
  const size_t kept = next.manager->orphans().sas();
  for (const Error& each : next.not_removed) FAIL_CHECK(each.text());
  CHECK(differing(next) == 0);
  next.inbound(kFresh);
  next.outbound(kFresh);
  next.pass(3s);
  CHECK(next.state() == "up");
  CHECK(next.manager->orphans().sas() == 0);
  CHECK(differing(next) == 0);
  // A link, a route, three policies, two SAs: the journal has nothing that is not there.
  CHECK(next.kernel->journal().size() == 7);
  next.end();
  CHECK(next.kernel->journal().size() == 0);
  CHECK(rest() == "");
  CHECK(foreign() == foreign_before);
  return kept;
}

}  // namespace

TEST_CASE("crash: killed at any system call, the next run ends as desired and touches nothing foreign") {
  Network network;
  put_foreign();
  const std::string foreign_before = foreign();
  size_t kills = 0, with_orphans = 0;
  for (int calls = 0; live_until(calls); calls += stride()) {
    CAPTURE(calls);
    ++kills;
    with_orphans += check_next_run(foreign_before) != 0 ? 1 : 0;
  }
  MESSAGE(kills << " kills, " << with_orphans << " with SAs that outlived them");
  CHECK(kills > 100);
  CHECK(with_orphans > 30);
}
