#include <doctest/doctest.h>

#include "tests/support/insider.h"
#include "tests/support/ledger.h"

// Which traffic a child carries: what a responder answers, what an initiator accepts, and what stays at a rekey.

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

policy::SelectorList selectors(std::initializer_list<const char*> texts) {
  policy::SelectorList list;
  for (const char* each : texts) list.push_back(policy::parse_selector(each).value());
  return list;
}

template <typename Change>
void change_child(Host& host, Change change) {
  auto tunnel = std::make_shared<policy::Tunnel>(*host.tunnel);
  policy::ChildConfig& child = tunnel->children[0];
  auto policy = std::make_shared<policy::ChildPolicy>(*child.policy);
  change(child, *policy);
  child.policy = std::move(policy);
  host.tunnel = std::move(tunnel);
}

/// Four networks behind b, of which b's kernel is allowed two.
struct FourNetworks : World {
  explicit FourNetworks(const World::Options& options) : World(options) {
    const auto four = selectors({"10.2.0.0/24", "10.2.2.0/24", "10.2.4.0/24", "10.2.6.0/24"});
    change_child(a, [&](policy::ChildConfig& child, policy::ChildPolicy&) { child.remote = four; });
    change_child(b, [&](policy::ChildConfig& child, policy::ChildPolicy& policy) {
      child.local = four;
      policy.policies_max = 2;
    });
  }
  void begin(const char* local, const char* remote) {
    const Path path{SocketContext(0), {*a.tunnel->local_address(), 500}, {*a.tunnel->remote, 500}};
    const auto packet = std::pair(policy::parse_selector(local).value(), policy::parse_selector(remote).value());
    REQUIRE(a.engine().initiate(now, a.tunnel, "lan", path, packet).ok());
    deliver_all();
  }
  const policy::ChildSpec& spec_of(const Host& host) const { return *host.inbound.begin()->second.spec; }
};

/// The request of a host to rekey its only child, as the peer reads it.
Read rekey_request(Host& host, const World& world, Insider& peer) {
  host.engine().rekey_child(world.now, host.ike(), ChildId(host.inbound.begin()->first), Reason::kRekeyTime);
  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  return peer.read(sent[0]);
}

/// A good answer to a rekey, with these selectors of b's side.
PayloadWriter answer_to(const Read& request, policy::SelectorList ts_i) {
  PayloadWriter answer;
  SaPayload chosen;
  chosen.proposals.push_back(request.payloads.sa->proposals[0]);
  auto& transforms = chosen.proposals[0].proposal.transforms;
  while (transforms.size() > 2) transforms.pop_back();  // one ESN transform of two
  answer.add(chosen);
  answer.add(NoncePayload{Bytes(32, 5)});
  answer.add(PayloadType::kTsI, TsPayload{.selectors = std::move(ts_i)});
  answer.add(PayloadType::kTsR, *request.payloads.ts_r);
  return answer;
}

}  // namespace

TEST_CASE(
    "selection: a child gets as many of the offered selectors as the kernel may have, and keeps them at a rekey") {
  LEDGER("2.9.2-01");
  for (const Handover handover : {Handover::kNever, Handover::kEachStep})
    for (const bool by_a : {true, false}) {
      FourNetworks world({.handover = handover, .dpd = 0s});
      // The packet is for the last network: that one is among them.
      world.begin("10.1.0.5/32[tcp/40000]", "10.2.6.9/32[tcp/443]");
      REQUIRE(world.is_up_and_equal());
      const policy::ChildSpec before = world.spec_of(world.b);
      CHECK(policy::all_within(selectors({"10.2.6.9/32[tcp/443]"}), before.local));
      CHECK(before.local.size() < 4);
      CHECK(world.spec_of(world.a).remote == before.local);

      Host& rekeyer = by_a ? world.a : world.b;
      rekeyer.engine().rekey_child(world.now, rekeyer.ike(), ChildId(rekeyer.inbound.begin()->first),
                                   Reason::kRekeyTime);
      world.traffic = true;
      REQUIRE(world.settles());
      CHECK(world.spec_of(world.b).spi_in != before.spi_in);
      CHECK(policy::all_within(before.local, world.spec_of(world.b).local));
      CHECK(world.packets_lost == 0);
    }
}

TEST_CASE("selection: selectors of which no part fits into the kernel are refused with the numbers") {
  World world({.remote_ts = "10.2.0.1-10.2.0.30", .dpd = 0s});
  change_child(world.b, [](policy::ChildConfig&, policy::ChildPolicy& policy) { policy.policies_max = 4; });
  world.initiate();
  world.deliver_all();

  CHECK(world.b.reported(Reason::kSelectorCount));
  CHECK(world.a.reported(Reason::kTsUnacceptable));
  CHECK(world.b.inbound.empty());
  CHECK(world.a.inbound.empty());
}

TEST_CASE("selection: where each SA carries one pair of addresses, the packet's is taken, and a rekey keeps it") {
  FourNetworks world({.dpd = 0s});
  change_child(world.b, [](policy::ChildConfig&, policy::ChildPolicy& policy) { policy.single_pair = true; });
  world.begin("10.1.0.5/32", "10.2.6.9/32");
  REQUIRE(world.is_up_and_equal());
  CHECK(world.spec_of(world.b).local == selectors({"10.2.6.9/32"}));
  CHECK(world.spec_of(world.b).remote == selectors({"10.1.0.5/32"}));
  world.a.engine().rekey_child(world.now, world.a.ike(), ChildId(world.a.inbound.begin()->first), Reason::kRekeyTime);
  world.traffic = true;
  REQUIRE(world.settles());
  CHECK(world.spec_of(world.b).local == selectors({"10.2.6.9/32"}));

  World without({.dpd = 0s});
  change_child(without.b, [](policy::ChildConfig&, policy::ChildPolicy& policy) { policy.single_pair = true; });
  without.initiate();
  without.deliver_all();
  CHECK(without.a.reported(Reason::kSinglePairRequired));
  CHECK(without.a.inbound.empty());
}

TEST_CASE("selection: a rekey offers what the child has, and nothing else to a peer that wants a single pair") {
  World world({.remote_ts_b = "10.1.7.0/24", .dpd = 0s});
  world.initiate();
  world.deliver_all();
  Insider peer(world, world.b);
  const Read request = rekey_request(world.a, world, peer);
  CHECK(request.payloads.ts_i->selectors == selectors({"10.1.7.0/24"}));
  CHECK(request.payloads.notify(NotifyType::kRekeySa) != nullptr);
  PayloadWriter refusal;
  refusal.add(NotifyPayload{.type = NotifyType::kSinglePairRequired});
  peer.answer(request, refusal);
  CHECK(peer.sent().empty());  // there is nothing else to offer: later
  CHECK(world.a.reported(Reason::kSinglePairRequired));
  CHECK(world.a.inbound.size() == 1);
}

TEST_CASE(
    "selection: an answer to a rekey that is narrower than the child is not taken, and the peer deletes its own") {
  LEDGER("2.9.2-01");
  World world({.dpd = 0s});
  world.initiate();
  world.deliver_all();
  Insider peer(world, world.a);
  const uint32_t old = world.b.inbound.begin()->first;
  const Read request = rekey_request(world.b, world, peer);
  peer.answer(request, answer_to(request, selectors({"10.2.1.0/24"})));

  CHECK(world.b.reported(Reason::kTsUnacceptable));
  CHECK(world.b.inbound_spis() == std::set<uint32_t>{old});
  CHECK(world.b.sends_on("lan") != 0);
  const auto sent = peer.sent();
  REQUIRE(sent.size() == 1);
  CHECK(peer.read(sent[0]).payloads.deletes.size() == 1);

  World taken({.dpd = 0s});
  taken.initiate();
  taken.deliver_all();
  Insider equal(taken, taken.a);
  const Read same = rekey_request(taken.b, taken, equal);
  equal.answer(same, answer_to(same, same.payloads.ts_i->selectors));
  CHECK_FALSE(taken.b.reported(Reason::kTsUnacceptable));
  CHECK(taken.b.inbound.size() == 2);
}
