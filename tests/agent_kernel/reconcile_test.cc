#include <doctest/doctest.h>
#include <poll.h>

#include <algorithm>

#include "agent/event_loop.h"
#include "tests/agent_kernel/gateway.h"
#include "tests/kernel/lab_network.h"
#include "tests/manager/drift_now.h"

using namespace ipsec;
using namespace ipsec::lab;
using policy::NamespaceState;

// What others do to a gateway in a real kernel, and how soon it is put right: on the real clock, and told with each.

namespace {

constexpr uint32_t kFirst = 0xc1000, kSecond = 0xc1001;
constexpr int kSmallBuffer = 8192;  // bytes; a few dozen events fit

bool passes() { return shell("ip netns exec left-priv ip vrf exec blue ping -I 10.1.0.1 10.2.0.1 -c 1 -W 2") == 0; }

/// Everything in both namespaces, whoever's it is, but SAs.
struct Picture {
  NamespaceState in_public, in_private;
  friend bool operator==(const Picture&, const Picture&) = default;
};

Picture picture(Gateway& gateway) {
  Picture all;
  const auto fill = [&](const std::string& netns, NamespaceState& state) {
    auto links = gateway.kernel->dump_links(netns);
    auto policies = gateway.kernel->dump_policies(netns);
    auto routes = gateway.kernel->dump_routes(netns);
    if (!links.ok() || !policies.ok() || !routes.ok()) return;
    for (const auto& each : *links)
      if (each.kind != policy::LinkKind::kVrf) state.add(each);  // the operator's, made anew with other tables
    for (const auto& each : *policies) state.add(each);
    for (const auto& each : *routes) state.add(each);
  };
  fill("left-pub", all.in_public);
  fill("left-priv", all.in_private);
  return all;
}

std::vector<std::string> drift(Gateway& gateway) {
  std::vector<std::string> lines;
  for (const agent::NamespaceDrift& each : testing::drift_now(*gateway.manager, gateway.now))
    for (const policy::DriftRow& row : *each.rows)
      lines.push_back(row.netns + " " + row.kind + " " + std::string(policy::to_string(row.verdict)));
  return lines;
}

/// A tunnel that is up between both sides, looked after on the left one.
struct Tunnel {
  explicit Tunnel(int receive_buffer_bytes = netlink::kReceiveBufferBytes)
      : left("left", {}, receive_buffer_bytes), right("right") {
    for (Gateway* each : {&left, &right}) {
      each->inbound(kFirst);
      each->outbound(kFirst);
      REQUIRE(each->state() == "up");
    }
    left.manager->look_after(left.now, {"left-pub", "left-priv"});
    settle(2s);
    REQUIRE(drift(left).empty());
    REQUIRE(passes());
  }
  /// The left side on the real clock, until `done` or for at most `limit`; milliseconds.
  double run(const std::function<bool()>& done, Duration limit) {
    const Instant begin = agent::monotonic_now();
    const Instant base = left.now;
    while (agent::monotonic_now() - begin < limit) {
      left.now = base + (agent::monotonic_now() - begin);
      left.run();
      if (done()) break;
      std::vector<pollfd> entries;
      for (const int fd : left.kernel->poll_fds()) entries.push_back({.fd = fd, .events = POLLIN, .revents = 0});
      ::poll(entries.data(), entries.size(), 5);
    }
    left.now = base + (agent::monotonic_now() - begin);
    return std::chrono::duration<double, std::milli>(agent::monotonic_now() - begin).count();
  }
  void settle(Duration time) {
    run([] { return false; }, time);
  }
  /// Runs until both namespaces are as in `wanted`; says how long that took.
  void mend(const std::string& what, const Picture& wanted) {
    const double took = run([&] { return picture(left) == wanted; }, 10s);
    MESSAGE(what, ": mended after ", took, " ms");
    CHECK(picture(left) == wanted);
    CHECK(drift_of_ours().empty());
    CHECK(left.state() == "up");
  }
  std::vector<std::string> drift_of_ours() {
    auto lines = drift(left);
    std::erase_if(lines, [](const std::string& line) { return line.ends_with("foreign"); });
    return lines;
  }

  Network network;
  Gateway left, right;
};

/// Objects of somebody else, of every kind.
void put_foreign() {
  REQUIRE(shell("set -e; ip -n left-pub xfrm state add src 203.0.113.1 dst 203.0.113.2 proto esp spi 0xf1 mode tunnel "
                "enc \"ecb(cipher_null)\" '' auth \"hmac(sha1)\" 0x0102030405060708090a0b0c0d0e0f1011121314\n"
                "ip -n left-pub xfrm policy add src 172.16.0.0/12 dst 172.16.0.0/12 dir out priority 7\n"
                "ip -n left-priv link add theirs type xfrm if_id 7\n"
                "ip -n left-priv link set theirs up\n"
                "ip -n left-priv route add 172.16.0.0/12 dev theirs proto 50") == 0);
}

}  // namespace

TEST_CASE("reconcile: a deleted link, a removed route and a changed link are put right; foreign objects stay") {
  Tunnel tunnel;
  put_foreign();
  const Picture before = picture(tunnel.left);
  const std::string link = tunnel.left.manager->tunnels().at("t").interface;
  const std::string states = shell_output("ip -n left-pub xfrm state list spi 0xf1");
  CHECK(drift(tunnel.left) == std::vector<std::string>{"left-priv link foreign", "left-priv route foreign",
                                                       "left-pub policy foreign", "left-pub sa foreign"});

  for (const std::string& damage :
       {"link del " + link, "route del 10.2.0.0/16 table 1001 dev " + link, "link set " + link + " down",
        "link set " + link + " mtu 1280", "link set " + link + " nomaster"}) {
    CAPTURE(damage);
    tunnel.settle(1s);
    REQUIRE(shell("ip -n left-priv " + damage) == 0);
    REQUIRE(picture(tunnel.left) != before);
    tunnel.mend(damage, before);
    CHECK(passes());
  }
  CHECK(shell_output("ip -n left-pub xfrm state list spi 0xf1") == states);
}

TEST_CASE(
    "reconcile: flushed policies are put right, and drift shows them before; one that was changed is changed back") {
  Tunnel tunnel;
  const Picture before = picture(tunnel.left);
  REQUIRE(shell("ip -n left-pub xfrm policy flush") == 0);
  const auto rows = drift(tunnel.left);
  CHECK(std::ranges::count(rows, "left-pub policy missing") == 3);
  CHECK(rows.size() == 3);
  tunnel.mend("xfrm policy flush", before);
  CHECK(passes());

  const auto& [key, config] = *std::ranges::find_if(
      before.in_public.policies, [](const auto& each) { return each.first.direction == policy::Direction::kOut; });
  REQUIRE(shell("ip -n left-pub xfrm policy update src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 5 if_id " +
                std::to_string(key.if_id) + " tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel reqid " +
                std::to_string(config.reqid)) == 0);
  CHECK(drift(tunnel.left) == std::vector<std::string>{"left-pub policy changed"});
  tunnel.mend("xfrm policy update", before);
}

TEST_CASE("reconcile: flushed SAs are asked for at once, and with the answer of IKE traffic passes again") {
  Tunnel tunnel;
  Gateway& left = tunnel.left;
  REQUIRE(shell("ip -n left-pub xfrm state flush") == 0);
  const auto rows = drift(left);
  CHECK(std::ranges::count(rows, "left-pub sa missing") == 2);
  const double took = tunnel.run([&] { return !left.workers.rekeys.empty(); }, 10s);
  MESSAGE("xfrm state flush: rekey asked for after ", took, " ms");
  REQUIRE(left.workers.rekeys.size() == 1);
  CHECK(left.workers.rekeys[0].child == ike::ChildId(kFirst));
  CHECK(left.workers.rekeys[0].reason == Reason::kSaLost);

  tunnel.right.inbound(kSecond, kFirst);
  left.inbound(kSecond, kFirst);
  left.outbound(kSecond, kFirst);
  left.stop_outbound(kFirst);
  tunnel.right.outbound(kSecond, kFirst);
  tunnel.right.stop_outbound(kFirst);
  for (Gateway* each : {&left, &tunnel.right}) each->remove(kFirst);

  CHECK(passes());
  tunnel.settle(3s);
  CHECK(tunnel.drift_of_ours().empty());
  CHECK(left.workers.rekeys.size() == 1);
  CHECK(left.workers.closed_children.empty());
}

TEST_CASE("reconcile: a VRF that goes and comes back, with another table, gets link and routes again") {
  Tunnel tunnel;
  const Picture before = picture(tunnel.left);
  REQUIRE(shell("ip -n left-priv link del blue") == 0);
  tunnel.settle(2s);
  const std::string link = tunnel.left.manager->tunnels().at("t").interface;
  CHECK(shell_output("ip -n left-priv link show " + link).find(",UP") == std::string::npos);
  CHECK(tunnel.left.state() == "up");

  REQUIRE(shell("set -e; ip -n left-priv link add blue type vrf table 1002; ip -n left-priv link set blue up\n"
                "ip -n left-priv link set lan master blue") == 0);
  tunnel.mend("VRF back", before);
  CHECK(passes());
}

TEST_CASE("reconcile: a private namespace that goes and comes back is filled again; the SAs have lived on") {
  Tunnel tunnel;
  const Picture before = picture(tunnel.left);
  REQUIRE(shell("ip netns del left-priv") == 0);
  tunnel.settle(2s);
  const auto gone = testing::drift_now(*tunnel.left.manager, tunnel.left.now, "left-priv");
  REQUIRE(gone.size() == 1);
  CHECK(gone[0].state == policy::Reconciler::State::kAwaiting);
  CHECK(gone[0].obstacle->reason() == Reason::kNamespaceMissing);

  REQUIRE(shell("set -e; ip netns add left-priv; ip -n left-priv link add blue type vrf table 1001\n"
                "ip -n left-priv link set blue up; ip -n left-priv link add lan type dummy\n"
                "ip -n left-priv link set lan master blue up; ip -n left-priv addr add 10.1.0.1/16 dev lan") == 0);
  tunnel.mend("namespace back", before);
  CHECK(tunnel.left.shown(tunnel.left.out_key(kFirst)));
  CHECK(passes());
}

TEST_CASE("reconcile: what was lost in an overrun of the socket is found all the same") {
  Tunnel tunnel(kSmallBuffer);
  const Picture before = picture(tunnel.left);
  tunnel.settle(1s);
  // More than the socket holds, all of others; then a flush that nobody can be told of any more.
  REQUIRE(shell("for i in $(seq 400); do\n"
                "echo \"xfrm state add src 203.0.113.1 dst 203.0.113.2 proto esp spi $i enc ecb(cipher_null) ''\"\n"
                "echo \"xfrm state del src 203.0.113.1 dst 203.0.113.2 proto esp spi $i\"\n"
                "done | ip -n left-pub -b - && ip -n left-pub xfrm policy flush") == 0);
  // A socket that is full takes nothing more until it is read.
  CHECK(std::stoi(shell_output("ip netns exec left-pub awk '$2 == 6 { lost += $9 } END { print lost }' "
                               "/proc/net/netlink")) > 0);
  tunnel.mend("policy flush behind an overrun", before);
  CHECK(passes());
}
