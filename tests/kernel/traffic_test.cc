#include <doctest/doctest.h>

#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

/// One end of a tunnel as the plan would have it: SAs and policies in the public namespace, an xfrm interface in the
/// VRF of the private one, a route through it.
struct End {
  std::string side, local, remote, local_net, remote_net, local_net6, remote_net6;
  uint32_t spi_in, spi_out;
};

void must(const Status& status) {
  INFO((status.ok() ? std::string() : status.error().text()));
  REQUIRE(status.ok());
}

void install(Port& port, const End& end, const EspSuite& suite) {
  const std::string pub = end.side + "-pub", priv = end.side + "-priv";
  must(port.done(priv, AddLink{{.name = "tun0",
                                .altname = "tunnel-to-" + end.remote,
                                .if_id = 42,
                                .public_netns = pub,
                                .public_device = "wan",
                                .vrf = "blue",
                                .mtu = 1400,
                                .group = 77}}));
  must(port.done(pub, AddSa{make_sa({.source = end.remote,
                                     .destination = end.local,
                                     .spi = end.spi_in,
                                     .direction = Direction::kIn,
                                     .suite = suite,
                                     .if_id = 42})}));
  must(port.done(pub, AddSa{make_sa({.source = end.local,
                                     .destination = end.remote,
                                     .spi = end.spi_out,
                                     .direction = Direction::kOut,
                                     .suite = suite,
                                     .if_id = 42})}));
  for (const bool v6 : {false, true}) {
    const std::string ours = v6 ? end.local_net6 : end.local_net, theirs = v6 ? end.remote_net6 : end.remote_net;
    must(port.done(pub, AddPolicy{make_policy({.source = ours,
                                               .destination = theirs,
                                               .tunnel_source = end.local,
                                               .tunnel_destination = end.remote,
                                               .direction = Direction::kOut,
                                               .if_id = 42})}));
    for (const Direction direction : {Direction::kIn, Direction::kForward})
      must(port.done(pub, AddPolicy{make_policy({.source = theirs,
                                                 .destination = ours,
                                                 .tunnel_source = end.remote,
                                                 .tunnel_destination = end.local,
                                                 .direction = direction,
                                                 .if_id = 42})}));
    must(port.done(priv, AddRoute{{.destination = prefix(theirs), .vrf = "blue", .device = "tun0"}}));
  }
}

void check_tunnel(const End& left, const End& right, const EspSuite& suite) {
  Network network;
  Port left_port("left"), right_port("right");
  install(left_port, left, suite);
  install(right_port, right, suite);

  CHECK(shell("ip netns exec left-priv ip vrf exec blue ping -c 2 -W 2 -I "
              "10.1.0.1 10.2.0.1") == 0);
  CHECK(shell("ip netns exec left-priv ip vrf exec blue ping -6 -c 2 -W 2 -I fd01::1 fd02::1") == 0);
  auto sas = left_port.kernel->dump_sas("left-pub");
  REQUIRE(sas.ok());
  CHECK(sas->size() == 2);
  for (const SaState& sa : *sas) CHECK(sa.packets >= 4);
  CHECK(shell_output("ip -n left-pub link show type xfrm").empty());
}

constexpr EspSuite kGcm{.encryption = kEncrAesGcm16, .key_bits = 256};

}  // namespace

namespace {

void check_outer(const char* left_outer, const char* right_outer, const EspSuite& suite) {
  check_tunnel({.side = "left",
                .local = left_outer,
                .remote = right_outer,
                .local_net = "10.1.0.0/16",
                .remote_net = "10.2.0.0/16",
                .local_net6 = "fd01::/64",
                .remote_net6 = "fd02::/64",
                .spi_in = 0xc0000010,
                .spi_out = 0xc0000020},
               {.side = "right",
                .local = right_outer,
                .remote = left_outer,
                .local_net = "10.2.0.0/16",
                .remote_net = "10.1.0.0/16",
                .local_net6 = "fd02::/64",
                .remote_net6 = "fd01::/64",
                .spi_in = 0xc0000020,
                .spi_out = 0xc0000010},
               suite);
}

}  // namespace

TEST_CASE("traffic: SAs over IPv4 carry both inner families between VRFs of other namespaces through xfrm interfaces") {
  check_outer("192.0.2.1", "192.0.2.2", kGcm);
}

TEST_CASE("traffic: SAs over IPv6 do so as well, with ESN") {
  EspSuite suite = kGcm;
  suite.esn = true;
  check_outer("2001:db8::1", "2001:db8::2", suite);
}

TEST_CASE("traffic: the other suites pass packets too") {
  check_outer("192.0.2.1", "192.0.2.2", {.encryption = kEncrChaCha20Poly1305});
  check_outer("192.0.2.1", "192.0.2.2",
              {.encryption = kEncrAesCbc, .key_bits = 256, .integrity = kAuthHmacSha512_256, .esn = true});
}
