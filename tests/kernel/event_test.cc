#include <doctest/doctest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

/// The next event of a kind; others on the way are dropped. At most three seconds.
template <typename Event>
std::optional<Event> next(Port& port) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  while (std::chrono::steady_clock::now() < end) {
    port.kernel->process();
    while (auto event = port.kernel->poll_event())
      if (auto* wanted = std::get_if<Event>(&*event)) return std::move(*wanted);
    std::vector<pollfd> entries;
    for (const int fd : port.kernel->poll_fds()) entries.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    ::poll(entries.data(), entries.size(), 100);
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("events: a watched namespace begins with a resync") {
  Namespace netns("watched");
  Port port;
  REQUIRE(port.kernel->watch("watched").ok());
  CHECK(port.kernel->fds_changed());
  CHECK(!port.kernel->fds_changed());
  const auto resync = next<ResyncNeeded>(port);
  REQUIRE(resync);
  CHECK(resync->netns == "watched");
}

TEST_CASE(
    "events: a packet into an xfrm interface without SA raises an acquire with the interface's id; cleared, the "
    "next packet raises one again") {
  Network network;
  Port port;
  REQUIRE(port.kernel->watch("left-pub").ok());
  REQUIRE(port.done("left-priv", AddLink{{.name = "tun0",
                                          .altname = "a",
                                          .if_id = 42,
                                          .public_netns = "left-pub",
                                          .public_device = "wan",
                                          .vrf = "blue"}})
              .ok());
  REQUIRE(port.done("left-pub", AddPolicy{make_policy({.if_id = 42})}).ok());
  REQUIRE(
      port.done("left-priv", AddRoute{{.destination = prefix("10.2.0.0/16"), .vrf = "blue", .device = "tun0"}}).ok());

  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    shell("ip netns exec left-priv ip vrf exec blue ping -c 1 -W 1 -I 10.1.0.1 10.2.0.1");
    const auto acquire = next<Acquire>(port);
    REQUIRE(acquire);
    CHECK(acquire->netns == "left-pub");
    CHECK(acquire->policy == make_policy({.if_id = 42}).key);
    CHECK(acquire->reqid == 7);
    CHECK(to_string(acquire->packet_source.addresses) == "10.1.0.1/32");
    CHECK(to_string(acquire->packet_destination.addresses) == "10.2.0.1/32");
    CHECK(to_string(acquire->tunnel_destination) == "192.0.2.2");
    auto larval = port.kernel->dump_sas("left-pub");
    REQUIRE(larval.ok());
    REQUIRE(larval->size() == 1);
    CHECK(larval->front().larval);
    CHECK(larval->front().key.spi == ChildSpi(0));
    CHECK(reason_of(port.done("left-pub", DeleteSa{larval->front().key})) == Reason::kUnsupported);

    const Status cleared = port.kernel->clear_acquire(*acquire);
    INFO((cleared.ok() ? std::string() : cleared.error().text()));
    CHECK(cleared.ok());
    CHECK(port.kernel->dump_sas("left-pub")->empty());
    while (port.kernel->poll_event()) continue;
  }
}

TEST_CASE("events: the kernel's backstop lifetime ends an SA, says so, and it is no longer ours") {
  Namespace netns("expire");
  Port port;
  REQUIRE(port.kernel->watch("expire").ok());
  SaConfig sa = make_sa({});
  const SaKey key = sa.key;
  sa.hard_lifetime = 1s;
  REQUIRE(port.done("expire", AddSa{std::move(sa)}).ok());
  const auto expired = next<SaExpired>(port);
  REQUIRE(expired);
  CHECK(expired->key == key);
  CHECK(expired->hard);
  CHECK(!port.kernel->owns("expire", key));
}

TEST_CASE("events: a device that goes down, comes up and goes away is reported") {
  Namespace netns("links");
  Port port;
  REQUIRE(port.kernel->watch("links").ok());
  REQUIRE(netns.ip("link add d0 type dummy") == 0);
  REQUIRE(netns.ip("link set d0 up") == 0);
  std::optional<LinkChanged> change;
  do change = next<LinkChanged>(port);
  while (change && !change->up);
  REQUIRE(change);
  CHECK(change->name == "d0");
  CHECK(change->index == static_cast<uint32_t>(port.kernel->device("links", "d0")->index));
  REQUIRE(netns.ip("link del d0") == 0);
  do change = next<LinkChanged>(port);
  while (change && !change->gone);
  CHECK(change);
}

TEST_CASE("events: an address that comes is told once it can be used, one of link scope never") {
  Namespace netns("addresses");
  REQUIRE(netns.ip("link add d0 type dummy") == 0);
  Port port;
  REQUIRE(port.kernel->watch("addresses").ok());
  REQUIRE(netns.ip("link set d0 up") == 0);  // gets an address of link scope
  REQUIRE(netns.ip("addr add 192.0.2.77/24 dev d0") == 0);
  REQUIRE(netns.ip("addr add 2001:db8::77/64 dev d0") == 0);  // tentative at first
  REQUIRE(netns.ip("addr add 192.0.2.78/24 dev d0") == 0);
  std::vector<std::string> told;
  while (told.size() < 3) {
    const auto added = next<AddressAdded>(port);
    REQUIRE(added);
    CHECK(added->netns == "addresses");
    told.push_back(to_string(added->address));
  }
  std::ranges::sort(told);
  CHECK(told == std::vector<std::string>{"192.0.2.77", "192.0.2.78", "2001:db8::77"});
}

TEST_CASE("events: an address of ours that goes is told, with its interface too, and one of others never") {
  Network network;
  Port port;
  LinkConfig link{.name = "tun0", .if_id = 42, .public_netns = "left-pub", .vrf = "blue"};
  for (const char* each : {"10.255.0.1", "10.255.0.5", "fd00::1"}) {
    const IpAddress address = IpAddress::parse(each).value();
    link.addresses.push_back({address, static_cast<uint8_t>(address.is_v4() ? 30 : 64)});
  }
  REQUIRE(error_of(port.done("left-priv", AddLink{link})) == "");
  REQUIRE(port.kernel->watch("left-priv").ok());
  REQUIRE(shell("ip -n left-priv addr add 10.77.0.1/24 dev tun0") == 0);
  REQUIRE(shell("ip -n left-priv addr del 10.77.0.1/24 dev tun0") == 0);
  REQUIRE(shell("ip -n left-priv addr add 10.78.0.1/24 dev tun0 proto 77") == 0);
  REQUIRE(shell("ip -n left-priv addr del 10.78.0.1/24 dev tun0") == 0);
  for (const char* expected : {"10.255.0.1/30", "fd00::1/64"}) {
    REQUIRE(shell(std::string("ip -n left-priv addr del ") + expected + " dev tun0") == 0);
    const auto gone = next<AddressRemoved>(port);
    REQUIRE(gone);
    CHECK(gone->netns == "left-priv");
    CHECK(std::string(expected).starts_with(to_string(gone->address) + "/"));
  }
  REQUIRE(shell("ip -n left-priv link del tun0") == 0);
  const auto last = next<AddressRemoved>(port);
  REQUIRE(last);
  CHECK(to_string(last->address) == "10.255.0.5");
}

TEST_CASE("events: the operational state of an interface is told apart from whether it is up") {
  Network network;
  Port port;
  LinkConfig link{.name = "tun0", .if_id = 42, .public_netns = "left-pub", .vrf = "blue"};
  REQUIRE(error_of(port.done("left-priv", AddLink{link})) == "");
  REQUIRE(port.kernel->watch("left-priv").ok());
  std::optional<LinkChanged> change;
  link.dormant = true;
  REQUIRE(error_of(port.done("left-priv", UpdateLink{link})) == "");
  do change = next<LinkChanged>(port);
  while (change && !change->dormant);
  REQUIRE(change);
  CHECK(change->name == "tun0");
  CHECK(change->admin_up);
  CHECK_FALSE(change->up);
  REQUIRE(shell("ip -n left-priv link set tun0 state up") == 0);
  do change = next<LinkChanged>(port);
  while (change && change->dormant);
  REQUIRE(change);
  CHECK(change->admin_up);
  CHECK(change->up);
}

TEST_CASE("events: when the kernel drops messages, the namespace is marked for a resync") {
  Namespace netns("flood");
  Port port("flood", 2304);  // the smallest receive buffer that there is
  REQUIRE(port.kernel->watch("flood").ok());
  REQUIRE(next<ResyncNeeded>(port));
  shell("for i in $(seq 40); do echo \"link add d$i type dummy\"; done | ip -n flood -b -");
  const auto resync = next<ResyncNeeded>(port);
  REQUIRE(resync);
  CHECK(resync->netns == "flood");
}

TEST_CASE("requests: with the smallest receive buffer every operation still completes, and what got lost says so") {
  Namespace netns("tiny");
  Port port("tiny", 2304);
  constexpr uint32_t kCount = 200;
  for (uint32_t i = 0; i < kCount; ++i)
    port.kernel->submit({.id = i, .netns = "tiny", .change = AddSa{make_sa({.spi = 0xc0020000 + i})}});
  const auto all = port.finish();
  uint32_t lost = 0;
  for (const auto& completion : all)
    if (!completion.result.ok()) {
      const Reason reason = completion.result.error().reason();
      const bool is_loss =
          reason == Reason::kKernelLost || reason == Reason::kKernelReadBack || reason == Reason::kKernelTimeout;
      CHECK_MESSAGE(is_loss, completion.result.error().text());
      ++lost;
    }
  MESSAGE("answers lost: ", lost, " of ", kCount, ", completed: ", all.size());
  // All were installed; those whose answer was lost stay in the journal, so that they can be found and removed.
  CHECK(port.kernel->journal().size() == kCount);
}

TEST_CASE("permission: without privileges the answer is one clear reason") {
  Namespace netns("unprivileged");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int failures = 0;
    const std::string folder = "/tmp/kernel-test-unprivileged";
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(100);
    auto kernel = netlink::XfrmKernel::create({.journal_path = folder + "/journal", .boot_id = "test"});
    if (!kernel.ok()) ::_exit(101);
    for (const char* name : {"", "unprivileged"}) {
      (*kernel)->submit({.id = 1, .netns = name, .change = AddSa{make_sa({})}});
      (*kernel)->flush();
      const auto completion = (*kernel)->poll_completion();
      if (!completion || completion->result.ok() || completion->result.error().reason() != Reason::kPermission)
        ++failures;
    }
    ::_exit(failures);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("probe: this kernel has what is needed, and the probe leaves nothing behind") {
  Namespace netns("probe");
  Port port;
  const auto features = port.kernel->probe("probe");
  INFO((features.ok() ? std::string() : features.error().text()));
  REQUIRE(features.ok());
  CHECK(features->esp4);
  CHECK(features->esp6);
  CHECK(features->xfrm_interface);
  CHECK(features->offload);
  CHECK(features->missing.empty());
  MESSAGE("knows SA directions: ", features->sa_direction);
  CHECK(port.kernel->dump_sas("probe")->empty());
  CHECK(shell_output("ip -n probe link show type xfrm").empty());
}

TEST_CASE("events: a change of any route is told once, and again only when it is asked for") {
  Network network;
  Port port;
  REQUIRE(port.kernel->watch_routes("left-pub").ok());
  const auto told = [&] {
    size_t times = 0;
    port.kernel->process();
    while (const auto event = port.kernel->poll_event()) times += std::holds_alternative<RoutesChanged>(*event) ? 1 : 0;
    return times;
  };
  CHECK(told() == 0);
  for (int i = 1; i < 20; ++i)
    shell("ip -n left-pub route add 10.99." + std::to_string(i) + ".0/24 via 192.0.2.2 && true");
  CHECK(told() == 1);
  shell("ip -n left-pub route add 10.98.0.0/24 via 192.0.2.2");
  CHECK(told() == 0);
  REQUIRE(port.kernel->watch_routes("left-pub").ok());
  shell("ip -n left-pub route del 10.98.0.0/24");
  CHECK(told() == 1);
}
