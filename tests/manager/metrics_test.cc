#include <doctest/doctest.h>

#include "agent/control/interface_text.h"
#include "agent/show/metrics_view.h"
#include "agent/show/status_json.h"
#include "tests/manager/offload_child.h"

using namespace ipsec;
using namespace ipsec::testing;
using agent::OffloadBook;
using agent::metrics::Exposition;
using agent::metrics::MetricFamily;
using policy::OffloadPin;

namespace {

Exposition collect(ManagerWorld& world) {
  const auto census = agent::Census::taken(*world.manager);
  return agent::collect_metrics({.manager = *world.manager,
                                 .census = census,
                                 .version = "1.2.3",
                                 .started_at = {1795238030s},
                                 .health = "degraded",
                                 .warnings = 2,
                                 .workers = {.workers = 2, .received = 30, .sent = 20, .half_open = 5},
                                 .count = [&](Reason reason) { return world.counters.get(reason); },
                                 .xfrm_stat = [](const std::string& netns) -> Result<std::map<std::string, uint64_t>> {
                                   if (netns != "pub") return Error(Reason::kNamespaceMissing, netns);
                                   return std::map<std::string, uint64_t>{{"XfrmInError", 3}, {"XfrmOutNoStates", 4}};
                                 },
                                 .control = {.accepted = 8, .calls = 9, .denied_calls = 1},
                                 .clients = 1});
}

/// Both directions may be on a NIC.
constexpr const char* kByPolicy = R"("attachment": "policy")";

/// The value of a series; -1: it is not there.
int64_t value(const Exposition& numbers, MetricFamily family, std::initializer_list<std::string_view> labels) {
  const Exposition::Value* found = numbers.find(family, labels);
  if (found == nullptr) return -1;
  const auto* whole = std::get_if<uint64_t>(found);
  return whole != nullptr ? static_cast<int64_t>(*whole) : static_cast<int64_t>(std::get<double>(*found));
}
int64_t value(ManagerWorld& world, MetricFamily family, std::initializer_list<std::string_view> labels) {
  return value(collect(world), family, labels);
}

int64_t moves(ManagerWorld& world, std::string_view to, std::string_view why, std::string_view result) {
  return value(world, MetricFamily::kMoves, {"pub", "ens1", to, why, result});
}

}  // namespace

TEST_CASE("metrics: the daemon, its workers and its control socket") {
  ManagerWorld world;
  world.start({{}});
  const Exposition numbers = collect(world);

  CHECK(value(numbers, MetricFamily::kBuild, {"1.2.3"}) == 1);
  CHECK(value(numbers, MetricFamily::kStartTime, {}) == 1795238030);
  CHECK(value(numbers, MetricFamily::kHealth, {"degraded"}) == 1);
  CHECK(value(numbers, MetricFamily::kHealth, {"ok"}) == 0);
  CHECK(value(numbers, MetricFamily::kWarnings, {}) == 2);
  CHECK(value(numbers, MetricFamily::kWorkers, {}) == 2);
  CHECK(value(numbers, MetricFamily::kIkeDatagrams, {"in"}) == 30);
  CHECK(value(numbers, MetricFamily::kIkeHalfOpen, {}) == 5);
  CHECK(value(numbers, MetricFamily::kControlCalls, {}) == 9);
  CHECK(value(numbers, MetricFamily::kControlRefusals, {"no-permission"}) == 1);
  CHECK(value(numbers, MetricFamily::kXfrmErrors, {"pub", "XfrmOutNoStates"}) == 4);
  CHECK(numbers.left_out() == 0);
}

TEST_CASE("metrics: tunnels and SAs of a group are counted by state, and every state is there") {
  ManagerWorld world("packet");
  world.group = kByPolicy;
  up(world);
  const Exposition numbers = collect(world);

  CHECK(value(numbers, MetricFamily::kTunnels, {"core", "up"}) == 1);
  for (const char* state : {"establishing", "idle", "failed", "down", "disabled"})
    CHECK(value(numbers, MetricFamily::kTunnels, {"core", state}) == 0);
  CHECK(value(numbers, MetricFamily::kChildSas, {"core", "up"}) == 1);
  CHECK(value(numbers, MetricFamily::kChildSas, {"core", "orphaned"}) == 0);
  for (const char* direction : {"in", "out"}) {
    CHECK(value(numbers, MetricFamily::kSas, {"core", direction, "packet", "packet"}) == 1);
    CHECK(value(numbers, MetricFamily::kSas, {"core", direction, "packet", "none"}) == 0);
    CHECK(value(numbers, MetricFamily::kSas, {"core", direction, "auto", "none"}) == -1);  // nobody asks for it
    CHECK(value(numbers, MetricFamily::kSasByReason, {"core", direction, "offload-effective"}) == 1);
    CHECK(value(numbers, MetricFamily::kDeviceSas, {"pub", "ens1", direction, "packet"}) == 1);
    CHECK(value(numbers, MetricFamily::kDeviceSas, {"pub", "ens1", direction, "crypto"}) == 0);
  }
  CHECK(value(numbers, MetricFamily::kDeviceChildren, {"pub", "ens1"}) == 1);
  CHECK(value(numbers, MetricFamily::kDeviceState, {"pub", "ens1", "usable"}) == 1);
  CHECK(value(numbers, MetricFamily::kTunnelsLimit, {"core"}) == -1);  // there is none
  CHECK(value(numbers, MetricFamily::kDeviceRoom, {"pub", "ens1", "learnt"}) == -1);
}

TEST_CASE("metrics: SAs of an earlier run are orphans of their group until they are replaced") {
  ManagerWorld world("packet");
  up(world);
  world.restart({{.start = "respond"}});
  const Exposition numbers = collect(world);

  CHECK(value(numbers, MetricFamily::kOrphanSas, {}) == 2);
  CHECK(value(numbers, MetricFamily::kChildSas, {"core", "orphaned"}) == 1);
  CHECK(value(numbers, MetricFamily::kChildSas, {"core", "up"}) == 0);
}

TEST_CASE("metrics: an IKE SA that is being set up is counted apart, for its group may not be known") {
  ManagerWorld world;
  world.start({{.start = "now"}});
  world.initiated(kIke);
  CHECK(value(world, MetricFamily::kIkeEstablishing, {}) == 1);
  CHECK(value(world, MetricFamily::kIkeSas, {"core", "established"}) == 0);
}

TEST_CASE("metrics: every event is counted in its part of the catalogue, and those of alerts from the start") {
  ManagerWorld world;
  world.start({{}});
  for (size_t i = 1; i < kReasonCount; ++i) world.counters.add(static_cast<Reason>(i), i);
  const Exposition numbers = collect(world);
  const auto is_in = [&](MetricFamily family, Reason reason) { return value(numbers, family, {code(reason)}); };

  CHECK(is_in(MetricFamily::kGeneralEvents, Reason::kMalformed) >= 1);
  CHECK(is_in(MetricFamily::kGeneralEvents, Reason::kCryptoFailed) >= 1);
  CHECK(is_in(MetricFamily::kConfigurationEvents, Reason::kConfigManualKeys) >= 1);
  CHECK(is_in(MetricFamily::kMessageEvents, Reason::kIkeShort) >= 1);
  CHECK(is_in(MetricFamily::kMessageEvents, Reason::kIkeAttributeIgnored) >= 1);
  CHECK(is_in(MetricFamily::kNegotiationEvents, Reason::kAuthFailed) >= 1);
  CHECK(is_in(MetricFamily::kLifecycleEvents, Reason::kDaemonStarted) >= 1);
  CHECK(is_in(MetricFamily::kKernelEvents, Reason::kDriftMended) >= 1);
  CHECK(is_in(MetricFamily::kOffloadEvents, Reason::kOffloadProbeFailed) >= 1);
  CHECK(is_in(MetricFamily::kControlEvents, Reason::kControlClients) >= 1);
  size_t found = 0;
  for (size_t i = 1; i < kReasonCount; ++i)
    for (const MetricFamily family :
         {MetricFamily::kGeneralEvents, MetricFamily::kConfigurationEvents, MetricFamily::kMessageEvents,
          MetricFamily::kNegotiationEvents, MetricFamily::kLifecycleEvents, MetricFamily::kKernelEvents,
          MetricFamily::kOffloadEvents, MetricFamily::kControlEvents})
      found += is_in(family, static_cast<Reason>(i)) == static_cast<int64_t>(world.counters.get(static_cast<Reason>(i)))
                   ? 1
                   : 0;
  CHECK(found == kReasonCount - 1);

  ManagerWorld fresh;
  fresh.start({{}});
  CHECK(value(fresh, MetricFamily::kNegotiationEvents, {"authentication-failed"}) == 0);
  CHECK(value(fresh, MetricFamily::kGeneralEvents, {"internal"}) == -1);
}

TEST_CASE("metrics: each single refusal of a NIC is counted by its reason, and the status says the same") {
  ManagerWorld world("packet");
  world.group = kByPolicy;
  CHECK(agent::refusals_json(world.manager->offload()).empty());
  world.pub().devices["ens1"].table_size = 1;
  up(world);
  CHECK(value(world, MetricFamily::kRefusals, {"pub", "ens1", "offload-refused"}) == 0);
  CHECK(value(world, MetricFamily::kRefusals, {"pub", "ens1", "offload-table-full"}) == 1);
  const nlohmann::json status = agent::status_json(*world.manager, agent::Census::taken(*world.manager),
                                                   {.version = "1", .count = [](Reason) { return uint64_t{0}; }});
  CHECK(status["offload_refusals"] ==
        nlohmann::json{{{"device", "ens1"}, {"netns", "pub"}, {"code", "offload-table-full"}, {"count", 1}}});

  world.pub().devices["ens1"] = {.capability = Capability::kIncapable};
  rekey(world);
  CHECK(value(world, MetricFamily::kRefusals, {"pub", "ens1", "offload-refused"}) >= 1);
  CHECK(value(world, MetricFamily::kRefusals, {"pub", "ens1", "offload-table-full"}) == 1);
  CHECK(value(world, MetricFamily::kRefusalsRemembered, {"pub", "ens1"}) >= 1);
}

TEST_CASE("metrics: the status has the keys that the interface describes") {
  ManagerWorld world("packet");
  world.group = kByPolicy;
  world.pub().devices["ens1"].table_size = 1;
  up(world);
  const auto members_of = [](const std::string& type) {
    const std::string_view all = agent::control::control_interface();
    const size_t begin = all.find("type " + type + " (");
    return std::string(all.substr(begin, all.find(")\n", begin) - begin));
  };
  const nlohmann::json status = agent::status_json(*world.manager, agent::Census::taken(*world.manager),
                                                   {.version = "1", .count = [](Reason) { return uint64_t{0}; }});
  const auto check = [&](const std::string& type, const nlohmann::json& object) {
    for (const auto& each : object.items())
      CHECK_MESSAGE(members_of(type).find(each.key() + ": ") != std::string::npos, type, " has ", each.key());
  };
  check("State", status);
  check("OffloadRefusals", status["offload_refusals"][0]);
}

TEST_CASE("metrics: an SA that the kernel keeps in software without a word counts as refused") {
  ManagerWorld world("crypto");
  up(world, Capability::kIncapable);
  CHECK(value(world, MetricFamily::kRefusals, {"pub", "ens1", "offload-silently-software"}) >= 1);
  CHECK(value(world, MetricFamily::kSas, {"core", "out", "crypto", "none"}) == 1);
  CHECK(value(world, MetricFamily::kSasByReason, {"core", "out", "offload-silently-software"}) == 1);
}

TEST_CASE("metrics: a move counts when it has ended, by the NIC, why, and how") {
  ManagerWorld world("packet");
  up(world);
  REQUIRE(world.manager->pin_offload(world.now, "a", "", OffloadPin::kSoftware, OffloadBook::PinFor::kGood).ok());
  world.run();
  CHECK(value(world, MetricFamily::kMovesUnderWay, {}) == 1);
  CHECK(moves(world, "software", "pinned", "made") == -1);
  rekey(world);
  CHECK(value(world, MetricFamily::kMovesUnderWay, {}) == 0);
  CHECK(moves(world, "software", "pinned", "made") == 1);
}

TEST_CASE("metrics: a move that nothing comes of is given up, and one that ends elsewhere says so") {
  ManagerWorld world("packet");
  up(world);
  REQUIRE(world.manager->pin_offload(world.now, "a", "", OffloadPin::kSoftware, OffloadBook::PinFor::kGood).ok());
  world.run();
  for (int i = 0; i < 70; ++i) world.pass(1s);
  CHECK(moves(world, "software", "pinned", "given-up") == 1);

  ManagerWorld other("packet");
  up(other, Capability::kIncapable);
  other.pub().devices["ens1"].capability = Capability::kPacket;
  REQUIRE(other.manager->pin_offload(other.now, "a", "", OffloadPin::kNic, OffloadBook::PinFor::kGood).ok());
  for (int i = 0; i < 4000 && value(other, MetricFamily::kMovesUnderWay, {}) == 0; ++i) other.pass(1s);
  REQUIRE(value(other, MetricFamily::kMovesUnderWay, {}) == 1);
  other.pub().devices["ens1"].capability = Capability::kIncapable;
  rekey(other);
  CHECK(moves(other, "nic", "pinned", "elsewhere") == 1);
  CHECK(moves(other, "nic", "pinned", "made") == -1);
}

TEST_CASE("metrics: losses of a NIC are counted once each, and the moves that follow name it") {
  ManagerWorld world("packet");
  up(world);
  link(world, false);
  CHECK(value(world, MetricFamily::kDeviceLosses, {"pub", "ens1"}) == 1);
  CHECK(value(world, MetricFamily::kDeviceState, {"pub", "ens1", "lost"}) == 1);
  rekey(world);
  CHECK(moves(world, "software", "device-lost", "made") == 1);
  link(world, true);
  CHECK(value(world, MetricFamily::kDeviceState, {"pub", "ens1", "settling"}) == 1);
  CHECK(value(world, MetricFamily::kDeviceLosses, {"pub", "ens1"}) == 1);
  link(world, false);
  CHECK(value(world, MetricFamily::kDeviceLosses, {"pub", "ens1"}) == 2);
}

TEST_CASE("metrics: SAs that were shown on a NIC and carried nothing are counted by the NIC") {
  ManagerWorld world("packet");
  up(world);
  carried(world, 10);
  world.pass(5s);
  CHECK(value(world, MetricFamily::kDisproved, {"pub", "ens1"}) == 0);
  world.out_drops = 20;
  world.pass(5s);
  CHECK(value(world, MetricFamily::kDisproved, {"pub", "ens1"}) == 1);
}

TEST_CASE(
    "metrics: traffic of a group grows with its SAs, goes on over rekeys, and is not known before they are read") {
  ManagerWorld world("packet");
  world.group = kByPolicy;
  const auto bytes = [&](std::string_view direction) {
    return value(world, MetricFamily::kTrafficBytes, {"core", direction, "packet"});
  };
  begin(world);
  CHECK(bytes("in") == -1);
  establish(world);
  carried(world, 10);
  world.pass(5s);
  CHECK(bytes("in") == 10'000);
  CHECK(bytes("out") == 10'000);
  CHECK(value(world, MetricFamily::kTrafficPackets, {"core", "out", "packet"}) == 10);
  CHECK(value(world, MetricFamily::kTrafficBytes, {"core", "out", "none"}) == 0);
  carried(world, 25);
  world.pass(5s);
  CHECK(bytes("out") == 25'000);
  rekey(world);
  carried(world, 3);
  world.pass(5s);
  CHECK(bytes("out") == 28'000);
  world.pass(5s);
  CHECK(bytes("out") == 28'000);
}

TEST_CASE("metrics: another configuration begins no counter anew") {
  ManagerWorld world("packet");
  world.group = kByPolicy;
  world.pub().devices["ens1"].table_size = 1;
  up(world);
  carried(world, 10);
  world.pass(5s);
  world.reconfigure({{.start = "traffic"}});
  CHECK(value(world, MetricFamily::kRefusals, {"pub", "ens1", "offload-table-full"}) == 1);
  CHECK(value(world, MetricFamily::kTrafficBytes, {"core", "in", "packet"}) == 10'000);
}

TEST_CASE("metrics: what is not configured any more is forgotten") {
  agent::OffloadCounts counts;
  const agent::OffloadCounts::Device kept{"pub", "ens1"}, gone{"pub", "ens2"};
  for (const auto& device : {kept, gone}) {
    counts.lost(device);
    counts.refused(device, Reason::kOffloadRefused);
  }
  counts.decided(Instant{1000s}, gone, {.seat = 1, .to = "pub/ens2"});
  counts.keep({kept});
  counts.placed(1, "pub/ens2");
  CHECK(counts.devices().size() == 1);
  CHECK(counts.of(kept).losses == 1);
  CHECK(counts.of(gone).losses == 0);
}

TEST_CASE("metrics: two thousand tunnels have no more series than one") {
  ManagerWorld one, many;
  one.start({{}});
  constexpr int kCount = 2000;
  std::vector<TunnelText> tunnels;
  tunnels.reserve(kCount);
  for (int i = 0; i < kCount; ++i)
    tunnels.push_back({.name = "t" + std::to_string(i),
                       .remote = "198.51." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1),
                       .selector = "10." + std::to_string(i / 250 + 2) + "." + std::to_string(i % 250) + ".0/24"});
  many.start(tunnels);
  many.roll_out();
  CHECK(value(many, MetricFamily::kTunnels, {"core", "down"}) + value(many, MetricFamily::kTunnels, {"core", "idle"}) ==
        kCount);
  CHECK(collect(one).series() == collect(many).series());
}
