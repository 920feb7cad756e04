#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "tests/support/insider.h"

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

constexpr uint32_t kFirstSpi = 0x20000000;

/// The peer of b: real keys, and no manners.
struct Greedy {
  World& world;
  Insider peer;
  uint32_t next_spi = kFirstSpi;
  std::vector<uint32_t> ours = {};  ///< Our inbound SPIs, as b knows them.

  explicit Greedy(World& its_world) : world(its_world), peer(its_world, its_world.a) {
    ours.push_back(world.a.inbound.begin()->first);
  }

  PayloadWriter child_request(std::optional<uint32_t> replaced) {
    PayloadWriter out;
    if (replaced)
      out.add(NotifyPayload{.protocol = policy::Protocol::kEsp, .type = NotifyType::kRekeySa, .spi = spi(*replaced)});
    SaPayload offer;
    offer.proposals.push_back(
        {.number = 1,
         .spi = spi(next_spi),
         .proposal = policy::parse_proposal(policy::Protocol::kEsp, "aes256gcm16-noesn").value().front()});
    out.add(offer);
    out.add(NoncePayload{Bytes(32, 5)});
    out.add(PayloadType::kTsI, TsPayload{.selectors = world.a.tunnel->children.front().local});
    out.add(PayloadType::kTsR, TsPayload{.selectors = world.a.tunnel->children.front().remote});
    return out;
  }
  /// Asks for one more child, or for one in the place of `replaced`. True: it was made.
  bool ask_child(std::optional<uint32_t> replaced = std::nullopt) {
    const Reply answer = peer.ask(Exchange::kCreateChildSa, child_request(replaced));
    REQUIRE(answer);
    if (!answer->payloads.sa) {
      CHECK(answer->has_only(NotifyType::kNoAdditionalSas));
      return false;
    }
    ours.push_back(next_spi++);
    return true;
  }
  static Bytes spi(uint32_t value) {
    ByteWriter out(4);
    out.u32(value);
    return std::move(out).take();
  }
};

struct UpWorld : World {
  explicit UpWorld(const World::Options& options) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
  }
};

size_t answered_spis(const Read& answer) {
  size_t count = 0;
  for (const DeletePayload& each : answer.payloads.deletes) {
    CHECK(each.spis.size() <= 255);
    count += each.spis.size();
  }
  return count;
}

}  // namespace

TEST_CASE("limits: children that a peer rekeys and never deletes count, and beyond the limit are refused") {
  UpWorld world({.children_max = 4, .dpd = 0s});
  Greedy greedy(world);
  size_t made = 0;
  for (int i = 0; i < 100; ++i) {
    world.now = world.now + 210ms;
    if (greedy.ask_child(greedy.ours.back())) ++made;
  }
  CHECK(made == 4 + 8 - 1);
  CHECK(world.b.inbound.size() == 4 + 8);
  CHECK(world.b.reported(Reason::kChildLimit));

  // Its Deletes make room again.
  PayloadWriter deletes;
  deletes.add(DeletePayload{.protocol = policy::Protocol::kEsp, .spis = {greedy.ours.begin(), greedy.ours.end() - 1}});
  const Reply answer = greedy.peer.ask(Exchange::kInformational, deletes);
  CHECK(answered_spis(*answer) == made);
  CHECK(greedy.ask_child(greedy.ours.back()));
}

TEST_CASE("limits: old inbound SAs that only linger make room for rekeys of a peer that deletes") {
  UpWorld world({.children_max = 1, .dpd = 0s, .admission_b = {.rekey_rate = 0}});
  Greedy greedy(world);
  for (int i = 0; i < 50; ++i) {
    REQUIRE(greedy.ask_child(greedy.ours.back()));
    PayloadWriter deletes;
    deletes.add(DeletePayload{.protocol = policy::Protocol::kEsp, .spis = {greedy.ours[greedy.ours.size() - 2]}});
    REQUIRE(greedy.peer.ask(Exchange::kInformational, deletes));
    CHECK(world.b.inbound.size() <= 1 + 8);
    CHECK(world.b.outbound.size() == 1);
  }
}

TEST_CASE("limits: one message that deletes hundreds of children is answered in payloads of 255 SPIs") {
  UpWorld world({.children_max = 400, .dpd = 0s, .admission_b = {.rekey_rate = 0}});
  Greedy greedy(world);
  for (int i = 0; i < 350; ++i) REQUIRE(greedy.ask_child());

  // HDR, SK {D of 351 SPIs} -->  <-- HDR, SK {D of 255, D of 96}
  ByteWriter body;
  body.u8(3);
  body.u8(4);
  body.u16(static_cast<uint16_t>(greedy.ours.size()));
  for (uint32_t spi : greedy.ours) body.u32(spi);
  const Reply answer =
      greedy.peer.ask(Exchange::kInformational, PayloadType::kDelete, raw_payload(PayloadType::kNone, 0, body.view()));
  CHECK(answer->payloads.deletes.size() == 2);
  CHECK(answered_spis(*answer) == 351);
  CHECK(world.b.inbound.empty());
  CHECK(world.b.state() == "established");
}

TEST_CASE("limits: Deletes of ours that pile up while one is not answered go 255 at a time") {
  UpWorld world({.children_max = 400, .dpd = 0s, .admission_b = {.rekey_rate = 0}});
  Greedy greedy(world);
  for (int i = 0; i < 350; ++i) REQUIRE(greedy.ask_child());
  const auto children = world.b.inbound_spis();
  for (uint32_t spi : children)
    world.b.engine().close_child(world.now, world.b.ike(), ChildId(spi), Reason::kDeletedByOperator);

  std::vector<size_t> sizes;
  for (std::vector<Bytes> sent = greedy.peer.sent(); !sent.empty(); sent = greedy.peer.sent()) {
    const Read request = greedy.peer.read(sent.front());
    REQUIRE(request.payloads.deletes.size() == 1);
    sizes.push_back(request.payloads.deletes[0].spis.size());
    greedy.peer.answer(request, PayloadWriter());
  }
  CHECK(sizes == std::vector<size_t>{1, 255, 95});
  CHECK(world.b.inbound.empty());
  CHECK(world.b.engine().view(world.b.ike())->leaving.empty());
}

TEST_CASE("limits: a Delete of an SPI named a thousand times deletes one child") {
  UpWorld world({.children_max = 4, .dpd = 0s, .admission_b = {.rekey_rate = 0}});
  Greedy greedy(world);
  REQUIRE(greedy.ask_child());
  PayloadWriter deletes;
  deletes.add(DeletePayload{.protocol = policy::Protocol::kEsp, .spis = std::vector<uint32_t>(255, greedy.ours[0])});
  CHECK(answered_spis(*greedy.peer.ask(Exchange::kInformational, deletes)) == 1);
  CHECK(world.b.inbound.size() == 1);
}

namespace {

constexpr size_t kIkeSasMax = 5;

/// Ways in which the state of an IKE SA goes on elsewhere. No limit may begin anew by any of them.
enum class Way : uint8_t { kRekey, kRestore, kReload };
constexpr std::array kWays = {Way::kRekey, Way::kRestore, Way::kReload};

void go(Way way, World& world, Greedy& greedy) {
  switch (way) {
    case Way::kRekey: REQUIRE(greedy.peer.rekey_ike()); return;
    case Way::kRestore: world.b.handover(world.now); return;
    case Way::kReload: break;
  }
  auto changed = std::make_shared<policy::Tunnel>(*world.b.tunnel);
  world.b.engine().adopt([&](const std::string&) { return changed; });
  world.b.tunnel = changed;
}

}  // namespace

TEST_CASE("limits: each holds after an IKE rekey, a restore and a reload") {
  for (Way way : kWays) {
    CAPTURE(static_cast<int>(way));
    SUBCASE("children in all") {
      UpWorld world({.children_max = 4, .dpd = 0s, .admission_b = {.rekey_rate = 0}});
      Greedy greedy(world);
      while (greedy.ask_child(greedy.ours.back())) {
      }
      go(way, world, greedy);
      CHECK_FALSE(greedy.ask_child(greedy.ours.back()));
      CHECK(world.b.inbound.size() == 4 + 8);
    }
    SUBCASE("the rate of requests") {
      UpWorld world({.dpd = 0s, .admission_b = {.rekey_rate = 5}});
      Greedy greedy(world);
      auto refused = [&] {
        const Reply answer = greedy.peer.ask(Exchange::kCreateChildSa, greedy.child_request(greedy.ours.back()));
        if (answer->payloads.sa) greedy.ours.push_back(greedy.next_spi++);
        return answer->has_only(NotifyType::kTemporaryFailure);
      };
      // One token is left for the rekey of the IKE SA.
      for (int i = 0; i < 9; ++i) CHECK_FALSE(refused());
      go(way, world, greedy);
      if (way != Way::kRekey) CHECK_FALSE(refused());
      CHECK(refused());
      world.now = world.now + 200ms;
      CHECK_FALSE(refused());
      CHECK(refused());
    }
    SUBCASE("replaced IKE SAs of one peer, and IKE SAs in all") {
      UpWorld world({.dpd = 0s, .admission_b = {.rekey_rate = 0, .ike_sas_max = kIkeSasMax}});
      Greedy greedy(world);
      for (int i = 0; i < 20; ++i) {
        REQUIRE(greedy.peer.rekey_ike());
        CHECK(world.b.engine().ike_sas().size() <= 3);
      }
      go(way, world, greedy);
      CHECK(world.b.engine().ike_sas().size() == 3);
      REQUIRE(greedy.peer.rekey_ike());
      CHECK(world.b.engine().ike_sas().size() == 3);
      CHECK(world.b.reported(Reason::kIkePredecessors));
      CHECK(world.b.inbound.size() == 1);
    }
  }
}

TEST_CASE("limits: where all IKE SAs are taken, a rekey takes the place of the peer's own old one, or is put off") {
  UpWorld world({.dpd = 0s, .admission_b = {.rekey_rate = 0, .ike_sas_max = 2}});
  Greedy greedy(world);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(greedy.peer.rekey_ike());
    CHECK(world.b.engine().ike_sas().size() == 2);
  }
  UpWorld full({.dpd = 0s, .admission_b = {.rekey_rate = 0, .ike_sas_max = 1}});
  Greedy other(full);
  CHECK_FALSE(other.peer.rekey_ike());
  CHECK(full.b.reported(Reason::kIkeSaLimit));
  CHECK(full.b.engine().ike_sas().size() == 1);
  // Ours waits as well, and the IKE SA goes on.
  full.b.engine().rekey_ike(full.now, full.b.ike(), Reason::kRekeyTime);
  CHECK(other.peer.sent().empty());
  CHECK(full.b.state() == "established");
}

TEST_CASE("limits: a reload that lowers children_max ends nothing, and lets nothing more in") {
  UpWorld world({.children_max = 40, .dpd = 0s, .admission_b = {.rekey_rate = 0}});
  Greedy greedy(world);
  for (int i = 0; i < 20; ++i) REQUIRE(greedy.ask_child());
  auto policy = std::make_shared<policy::IkePolicy>(*world.b.tunnel->ike_policy);
  policy->children_max = 4;
  auto changed = std::make_shared<policy::Tunnel>(*world.b.tunnel);
  changed->ike_policy = policy;
  world.b.engine().adopt([&](const std::string&) { return changed; });
  world.b.tunnel = changed;

  CHECK(world.b.inbound.size() == 21);
  CHECK_FALSE(greedy.ask_child());
  CHECK_FALSE(greedy.ask_child(greedy.ours.back()));
}

TEST_CASE("limits: all configured children may be set up at once, and count against no rate") {
  UpWorld world({.further_children = 39, .dpd = 0s});
  world.traffic = false;
  for (int i = 0; i < 39; ++i) {
    REQUIRE(world.a.engine().create_child(world.now, world.a.ike(), "net-" + std::to_string(i)).ok());
    world.deliver_all();
    world.now = world.now + 20ms;
  }
  CHECK(world.is_up_and_equal());
  CHECK(world.b.inbound.size() == 40);
  CHECK_FALSE(world.b.reported(Reason::kIkeRekeyRate));
}

TEST_CASE("limits: a child that comes and goes all the time is not free") {
  UpWorld world({.dpd = 0s, .admission_b = {.rekey_rate = 1}});
  Greedy greedy(world);
  size_t made = 0;
  for (int i = 0; i < 200; ++i) {
    PayloadWriter deletes;
    deletes.add(DeletePayload{.protocol = policy::Protocol::kEsp, .spis = {greedy.ours.back()}});
    REQUIRE(greedy.peer.ask(Exchange::kInformational, deletes));
    const Reply answer = greedy.peer.ask(Exchange::kCreateChildSa, greedy.child_request(std::nullopt));
    if (answer->payloads.sa) {
      greedy.ours.push_back(greedy.next_spi++);
      ++made;
    }
    world.now = world.now + 20ms;
  }
  // Four seconds: of each kind one per second, and two that were left over.
  CHECK(made <= 2 * (4 + 2));
}
