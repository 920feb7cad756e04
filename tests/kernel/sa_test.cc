#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>

#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

std::vector<EspSuite> all_suites() {
  std::vector<EspSuite> suites;
  for (const Algorithm& cipher : all_algorithms()) {
    if (cipher.type != TransformType::kEncryption || !cipher.esp) continue;
    for (const Algorithm& integrity : all_algorithms()) {
      const bool none = cipher.aead && &integrity == &all_algorithms().front();
      if (!none && (cipher.aead || integrity.type != TransformType::kIntegrity)) continue;
      for (const bool esn : {false, true})
        suites.push_back({.encryption = cipher.id,
                          .key_bits = cipher.key_bits,
                          .integrity = cipher.aead ? uint16_t{kAuthNone} : integrity.id,
                          .esn = esn});
    }
  }
  return suites;
}

const SaState& state_of(const Result<KernelReply>& reply) {
  INFO((reply.ok() ? std::string() : reply.error().text()));
  REQUIRE(reply.ok());
  const auto* state = std::get_if<SaState>(&reply.value());
  REQUIRE(state != nullptr);
  return *state;
}

}  // namespace

TEST_CASE("SA: every suite installs in both families and directions, reads back as asked for, and goes") {
  Namespace netns("sa");
  Port port;
  uint32_t spi = 0xc0000100;
  for (const EspSuite& suite : all_suites())
    for (const bool v6 : {false, true})
      for (const Direction direction : {Direction::kIn, Direction::kOut}) {
        SaConfig sa = make_sa({.source = v6 ? "2001:db8::1" : "192.0.2.1",
                               .destination = v6 ? "2001:db8::2" : "192.0.2.2",
                               .spi = ++spi,
                               .direction = direction,
                               .suite = suite,
                               .if_id = 9});
        const SaKey key = sa.key;
        INFO(to_string(suite), " ", to_string(direction), v6 ? " IPv6" : " IPv4");
        const auto reply = port.run("sa", AddSa{std::move(sa)});
        const SaState& state = state_of(reply);
        CHECK(state.key == key);
        CHECK(state.suite == suite);
        CHECK(state.reqid == 7);
        CHECK(state.if_id == 9);
        CHECK(state.mode == EspMode::kTunnel);
        CHECK(state.offload == OffloadKind::kNone);
        if (state.direction) CHECK(*state.direction == direction);
        if (direction == Direction::kIn) CHECK(state.replay_window == 64);
        CHECK(port.kernel->owns("sa", key));
        CHECK(error_of(port.done("sa", DeleteSa{key})) == "");
        CHECK(!port.kernel->owns("sa", key));
        CHECK(reason_of(port.run("sa", ReadSa{key})) == Reason::kNotFound);
      }
  CHECK(port.kernel->dump_sas("sa")->empty());
}

TEST_CASE("SA: what we install and what iproute2 installs for the same parameters show identically") {
  Namespace ours("ours"), theirs("theirs");
  Port port;
  SaConfig sa = make_sa({.spi = 0xc0000001, .direction = Direction::kIn, .if_id = 42});
  sa.output_mark = {.value = 0x10, .mask = 0xff};
  sa.encap_source_port = 4500, sa.encap_destination_port = 4501;
  std::string key = "0x";
  key += to_hex(sa.keys.expose());
  const bool knows_direction = shell_output("ip xfrm state help").find("dir") != std::string::npos;
  CHECK(knows_direction);
  CHECK(error_of(port.done("ours", AddSa{std::move(sa)})) == "");
  PolicyConfig policy = make_policy({.if_id = 42});
  CHECK(error_of(port.done("ours", AddPolicy{policy})) == "");
  CHECK(theirs.ip("xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0xc0000001 reqid 7 mode tunnel aead "
                  "'rfc4106(gcm(aes))' " +
                  key +
                  " 128 replay-window 64 encap espinudp 4500 4501 0.0.0.0 flag af-unspec output-mark 0x10 mask 0xff "
                  "if_id 42 dir in") == 0);
  CHECK(theirs.ip("xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 1000 if_id 42 tmpl src 192.0.2.1 "
                  "dst 192.0.2.2 proto esp reqid 7 mode tunnel") == 0);

  CHECK(shell_output("ip -n ours xfrm state") == shell_output("ip -n theirs xfrm state"));
  CHECK(shell_output("ip -n ours xfrm policy") == shell_output("ip -n theirs xfrm policy"));
  CHECK(shell_output("ip -n ours xfrm state").find("0xc0000001") != std::string::npos);
}

TEST_CASE("SA: a foreign one of the same key is a conflict, and stays as it is") {
  Namespace netns("foreign");
  Port port;
  REQUIRE(netns.ip("xfrm state add src 192.0.2.9 dst 192.0.2.2 proto esp spi 0xc0000001 reqid 99 mode tunnel aead "
                   "'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128") == 0);
  const std::string before = shell_output("ip -n foreign xfrm state");
  const SaConfig sa = make_sa({});

  const Status added = port.done("foreign", AddSa{make_sa({})});
  REQUIRE(!added.ok());
  CHECK(added.error().reason() == Reason::kKernelConflict);
  CHECK(!port.kernel->owns("foreign", sa.key));
  const Status removed = port.done("foreign", DeleteSa{sa.key});
  REQUIRE(!removed.ok());
  CHECK(removed.error().reason() == Reason::kKernelConflict);
  CHECK(shell_output("ip -n foreign xfrm state") == before);
}

TEST_CASE("SA: installed twice, the second time is told so and the first one stays") {
  Namespace netns("twice");
  Port port;
  REQUIRE(port.done("twice", AddSa{make_sa({})}).ok());
  const Status again = port.done("twice", AddSa{make_sa({})});
  REQUIRE(!again.ok());
  CHECK(again.error().reason() == Reason::kExists);
  CHECK(port.kernel->dump_sas("twice")->size() == 1);
}

TEST_CASE("SA: deleting one that is gone succeeds, known to the journal or not") {
  Namespace netns("gone");
  Port port;
  const SaKey key = make_sa({}).key;
  CHECK(port.done("gone", DeleteSa{key}).ok());
  REQUIRE(port.done("gone", AddSa{make_sa({})}).ok());
  netns.ip("xfrm state flush");
  CHECK(port.done("gone", DeleteSa{key}).ok());
  CHECK(!port.kernel->owns("gone", key));
}

TEST_CASE("SA: one that is removed and made again in one go stands, and the journal knows it as ours") {
  Namespace netns("again");
  Port port;
  const SaKey key = make_sa({}).key;
  REQUIRE(port.done("again", AddSa{make_sa({})}).ok());
  for (int round = 0; round < 3; ++round) {
    port.kernel->submit({.id = ++port.next_id, .netns = "again", .change = DeleteSa{key}});
    port.kernel->submit({.id = ++port.next_id, .netns = "again", .change = AddSa{make_sa({})}});
    for (const KernelCompletion& each : port.finish()) CHECK(error_of(each.result) == "");
    CHECK(port.kernel->owns("again", key));
    CHECK(port.kernel->dump_sas("again")->size() == 1);
  }
}

TEST_CASE("SA: manual ones stand without a replay window, with sequence numbers that may wrap") {
  Namespace netns("manual");
  Port port;
  for (const Direction direction : {Direction::kIn, Direction::kOut}) {
    SaConfig sa = make_sa({.spi = direction == Direction::kIn ? 0x1001U : 0x2001U, .direction = direction});
    sa.replay_window = 0;
    sa.sequence_wraps = direction == Direction::kOut;
    CHECK(error_of(port.done("manual", AddSa{std::move(sa)})) == "");
  }
  const std::string shown = shell_output("ip -n manual -s xfrm state");
  CHECK(shown.find("oseq-may-wrap") != std::string::npos);
  CHECK(shown.find("oseq-may-wrap") == shown.rfind("oseq-may-wrap"));
  CHECK(shell_output("ip -n manual xfrm state | grep -c 'replay-window 0'") == "2\n");
}

TEST_CASE("SA: after a restart of the daemon its own are deleted, and one that took the key of its own is not") {
  Namespace netns("restart");
  {
    Port port("restart");
    REQUIRE(port.done("restart", AddSa{make_sa({.spi = 0xc0000001})}).ok());
    REQUIRE(port.done("restart", AddSa{make_sa({.spi = 0xc0000002})}).ok());
  }
  netns.ip("xfrm state delete dst 192.0.2.2 proto esp spi 0xc0000002");
  REQUIRE(netns.ip("xfrm state add src 192.0.2.9 dst 192.0.2.2 proto esp spi 0xc0000002 reqid 99 mode tunnel aead "
                   "'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128") == 0);

  Port port("restart");
  CHECK(port.done("restart", DeleteSa{make_sa({.spi = 0xc0000001}).key}).ok());
  const Status foreign = port.done("restart", DeleteSa{make_sa({.spi = 0xc0000002}).key});
  REQUIRE(!foreign.ok());
  CHECK(foreign.error().reason() == Reason::kKernelConflict);
  CHECK(port.kernel->dump_sas("restart")->size() == 1);
}

TEST_CASE(
    "SA: operations of one namespace complete in the order of submission, also those decided without the kernel") {
  Namespace netns("order");
  Port port;
  for (uint64_t id = 1; id <= 300; ++id) {
    KernelOperation operation{.id = id, .netns = "order", .change = ReadSa{make_sa({}).key}};
    if (id % 3 == 0) operation.change = AddSa{make_sa({.spi = static_cast<uint32_t>(0xc0001000 + id)})};
    if (id % 7 == 0) operation.change = UpdatePolicy{make_policy({})};  // not ours: refused at once
    if (id % 10 == 0) operation.change = DeleteLink{"nothing"};
    port.kernel->submit(std::move(operation));
  }
  const auto all = port.finish();
  REQUIRE(all.size() == 300);
  for (size_t i = 0; i < all.size(); ++i) CHECK(all[i].id == i + 1);
}

TEST_CASE("SA: ten thousand are installed, dumped and deleted in batches") {
  Namespace netns("many");
  Port port;
  constexpr uint32_t kCount = 10000;
  using Clock = std::chrono::steady_clock;
  const auto rate = [](const char* what, Clock::time_point since) {
    const double seconds = std::chrono::duration<double>(Clock::now() - since).count();
    std::printf("  %u SAs %s: %.0f a second\n", kCount, what, kCount / seconds);
  };
  auto since = Clock::now();
  for (uint32_t i = 0; i < kCount; ++i)
    port.kernel->submit({.id = i, .netns = "many", .change = AddSa{make_sa({.spi = 0xc0010000 + i})}});
  size_t good = 0;
  for (const auto& completion : port.finish()) good += completion.result.ok() ? 1 : 0;
  rate("installed and read back", since);
  CHECK(good == kCount);

  since = Clock::now();
  CHECK(port.kernel->dump_sas("many")->size() == kCount);
  rate("dumped", since);

  since = Clock::now();
  for (uint32_t i = 0; i < kCount; ++i)
    port.kernel->submit({.id = i, .netns = "many", .change = DeleteSa{make_sa({.spi = 0xc0010000 + i}).key}});
  good = 0;
  for (const auto& completion : port.finish()) good += completion.result.ok() ? 1 : 0;
  rate("deleted", since);
  CHECK(good == kCount);
  CHECK(port.kernel->dump_sas("many")->empty());
  CHECK(port.kernel->journal().size() == 0);
}
