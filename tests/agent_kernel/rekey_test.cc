#include <doctest/doctest.h>

#include "agent/sequence_watch.h"
#include "netlink/xfrm_stat.h"
#include "tests/agent_kernel/gateway.h"
#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;

// The tunnel manager on a real kernel: nothing is lost while children are replaced, and what asks for it comes in time.

namespace {

constexpr uint32_t kFirst = 0xc1000, kSecond = 0xc1001;
const std::string kLeft = "ip netns exec left-priv ip vrf exec blue ",
                  kRight = "ip netns exec right-priv ip vrf exec blue ";
const std::string kPing = kLeft + "ping -I 10.1.0.1 10.2.0.1 ";

bool passes() { return shell(kPing + "-c 1 -W 2") == 0; }

uint64_t sequence_errors() { return netlink::read_xfrm_stat("left-pub").value().at("XfrmOutStateSeqError"); }

struct Pair {
  explicit Pair(ChildVolume volume = {}) : left("left", volume), right("right") {
    for (Gateway* each : {&left, &right}) {
      each->inbound(kFirst);
      each->outbound(kFirst);
      REQUIRE(each->state() == "up");
    }
  }
  /// As engines do it: left asks.
  void rekey() {
    right.inbound(kSecond, kFirst);
    right.watch_inbound(kSecond);
    left.inbound(kSecond, kFirst);
    left.outbound(kSecond, kFirst);
    left.stop_outbound(kFirst);
    for (int i = 0; i < 100 && right.workers.used_inbound.empty(); ++i) {
      shell(kPing + "-c 1 -W 1");
      right.pass(100ms);
    }
    REQUIRE(right.workers.used_inbound.size() == 1);
    right.outbound(kSecond, kFirst);
    right.stop_outbound(kFirst);
    right.remove(kFirst);
    left.remove(kFirst);
  }

  Network network;
  Gateway left, right;
};

}  // namespace

TEST_CASE("rekey: while a child is replaced no packet is lost, in either direction, and the old SAs are gone") {
  Pair pair;
  REQUIRE(passes());
  Meanwhile traffic(kPing + "-i 0.02 -c 150 -W 2");

  pair.rekey();

  const std::string& told = traffic.join();
  INFO(told);
  CHECK(told.find(" 0% packet loss") != std::string::npos);
  CHECK_FALSE(pair.left.shown(pair.left.out_key(kFirst)));
  CHECK_FALSE(pair.left.shown(pair.left.in_key(kFirst)));
  REQUIRE(pair.left.shown(pair.left.out_key(kSecond)));
  CHECK(pair.left.shown(pair.left.out_key(kSecond))->packets > 0);
  CHECK(pair.right.state() == "up");
  pair.left.end();
  CHECK(pair.left.kernel->dump_sas("left-pub")->empty());
  CHECK(pair.left.kernel->dump_policies("left-pub")->empty());
}

TEST_CASE(
    "volume: the soft limit of bytes asks for a rekey; both children stand, and the tunnel goes on past the hard one") {
  Pair pair({.bytes = 100'000});
  Gateway& left = pair.left;
  for (int i = 0; i < 30 && left.workers.rekeys.empty(); ++i) {
    CHECK(shell(kPing + "-c 4 -i 0.01 -s 1000 -W 2") == 0);
    left.run();
  }
  REQUIRE_FALSE(left.workers.rekeys.empty());
  CHECK(left.workers.rekeys[0].reason == Reason::kRekeyBytes);
  CHECK(left.workers.rekeys[0].child == ike::ChildId(kFirst));
  CHECK(left.workers.closed_children.empty());
  CHECK(left.shown(left.out_key(kFirst)));

  left.inbound(kSecond, kFirst);
  pair.right.inbound(kSecond, kFirst);
  left.outbound(kSecond, kFirst);
  for (const auto& key : {left.in_key(kFirst), left.out_key(kFirst), left.in_key(kSecond), left.out_key(kSecond)})
    CHECK(left.shown(key));
  pair.right.outbound(kSecond, kFirst);
  for (Gateway* each : {&left, &pair.right}) {
    each->stop_outbound(kFirst);
    each->remove(kFirst);
  }
  CHECK(shell(kPing + "-c 30 -i 0.01 -s 1000 -W 2") == 0);
}

TEST_CASE("volume: the hard limit ends the SA in the kernel, and the child gets another one instead of an end") {
  Pair pair({.packets = 20});
  shell(kPing + "-c 40 -i 0.01 -W 1");
  pair.left.run();

  const auto& rekeys = pair.left.workers.rekeys;
  REQUIRE(rekeys.size() >= 2);
  CHECK(rekeys.front().reason == Reason::kRekeyPackets);
  CHECK(rekeys.back().reason == Reason::kKernelExpired);
  CHECK(rekeys.back().child == ike::ChildId(kFirst));
  CHECK(pair.left.workers.closed_children.empty());
}

TEST_CASE(
    "sequence: large packets that are cut up late use up numbers; the rekey is asked for before the kernel drops") {
  Pair pair;
  Gateway& left = pair.left;
  const uint64_t errors = sequence_errors();
  const auto point = static_cast<uint32_t>(agent::SequenceWatch::rekey_point({.jitter_percent = 0}, 0));
  REQUIRE(set_sequence_sent("left-pub", left.out_key(kFirst), point - 1000).ok());
  left.pass(agent::SequenceWatch::kLookFirst);
  CHECK(left.workers.rekeys.empty());

  Meanwhile server(kRight + "timeout 30 iperf3 -s -1 -B 10.2.0.1");
  for (int i = 0; i < 50 && shell(kRight + "ss -ltn | grep -q 5201") != 0; ++i) left.run();
  Meanwhile client(kLeft + "timeout 30 iperf3 -c 10.2.0.1 -B 10.1.0.1 -n 4M");
  for (int i = 0; i < 2000 && left.workers.rekeys.empty(); ++i) {
    left.pass(agent::SequenceWatch::kLookShortest);
    shell(kPing + "-c 1 -W 1");  // the pace of this loop
  }

  REQUIRE_FALSE(left.workers.rekeys.empty());
  CHECK(left.workers.rekeys[0].reason == Reason::kRekeySequence);
  CHECK(sequence_errors() == errors);
  INFO(client.join());
  const auto state = left.shown(left.out_key(kFirst));
  REQUIRE(state);
  CHECK(state->sequence_sent >= point);
  MESSAGE("packets counted: ", state->packets, ", numbers used: ", state->sequence_sent - (point - 1000));

  // What happens otherwise.
  REQUIRE(set_sequence_sent("left-pub", left.out_key(kFirst), 0xfffffffe).ok());
  shell(kPing + "-c 3 -W 1");
  CHECK(sequence_errors() > errors);
  // And what the rekey mends.
  pair.rekey();
  CHECK(passes());
}
