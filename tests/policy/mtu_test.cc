#include "policy/mtu.h"

#include <doctest/doctest.h>

#include "policy/proposal.h"

using namespace ipsec;
using namespace ipsec::policy;

namespace {

constexpr EspSuite kGcm{kEncrAesGcm16, 256, kAuthNone, false};
constexpr EspSuite kChacha{kEncrChaCha20Poly1305, 0, kAuthNone, false};
constexpr EspSuite kCbc256{kEncrAesCbc, 256, kAuthHmacSha256_128, false};
constexpr EspSuite kCbc384{kEncrAesCbc, 256, kAuthHmacSha384_192, false};
constexpr EspSuite kCbc512{kEncrAesCbc, 128, kAuthHmacSha512_256, false};
constexpr EspMode kTunnel = EspMode::kTunnel, kTransport = EspMode::kTransport;
constexpr Family k4 = Family::kIpv4, k6 = Family::kIpv6;

/// A tunnel with one child of these remote selectors.
Tunnel tunnel_to(std::initializer_list<const char*> remotes, ChildPolicy policy = {}) {
  if (policy.proposals.empty()) policy.proposals = parse_proposal(Protocol::kEsp, "aes256gcm16").value();
  policy.name = "std";
  Tunnel tunnel;
  tunnel.name = "a";
  tunnel.group = std::make_shared<TunnelGroup>();
  tunnel.remote = IpAddress::parse("198.51.100.7").value();
  ChildConfig child{.name = "lan", .policy = std::make_shared<const ChildPolicy>(std::move(policy))};
  for (const char* each : remotes) child.remote.push_back(parse_selector(each).value());
  tunnel.children.push_back(std::move(child));
  return tunnel;
}

InnerMtu mtu_of(const Tunnel& tunnel, std::optional<EspShape> shape = {}, PathFacts path = {"eth0", 1500}) {
  return child_mtu(tunnel, tunnel.children[0], shape, path);
}

}  // namespace

TEST_CASE("mtu: computed by hand for each suite, mode, family and encapsulation") {
  struct Row {
    EspShape shape;
    uint32_t path, inner;
  };
  const std::vector<Row> table{
      // 1500 - 20 - 8 - 8 (IV) - 16 (ICV) = 1448, a multiple of 4, - 2
      {{kGcm, kTunnel, k4, false}, 1500, 1446},
      // 1448 - 8 = 1440 - 2
      {{kGcm, kTunnel, k4, true}, 1500, 1438},
      // 1500 - 40 - 8 - 24 = 1428 - 2
      {{kGcm, kTunnel, k6, false}, 1500, 1426},
      {{kGcm, kTunnel, k6, true}, 1500, 1418},
      {{kChacha, kTunnel, k4, false}, 1500, 1446},
      // 1500 - 20 - 8 - 16 (IV) - 16 (ICV) = 1440 = 90 * 16, - 2
      {{kCbc256, kTunnel, k4, false}, 1500, 1438},
      // 1440 - 8 = 1432, down to 1424, - 2
      {{kCbc256, kTunnel, k4, true}, 1500, 1422},
      // 1500 - 40 - 8 - 32 = 1420, down to 1408, - 2
      {{kCbc256, kTunnel, k6, false}, 1500, 1406},
      // 1500 - 28 - 16 - 24 = 1432, down to 1424, - 2
      {{kCbc384, kTunnel, k4, false}, 1500, 1422},
      // 1500 - 28 - 16 - 32 = 1424 = 89 * 16, - 2
      {{kCbc512, kTunnel, k4, false}, 1500, 1422},
      // An underlay of jumbo frames: 9000 - 20 - 8 - 24 = 8948 - 2
      {{kGcm, kTunnel, k4, false}, 9000, 8946},
      // Not a multiple of 4: 1501 - 52 = 1449, down to 1448, - 2
      {{kGcm, kTunnel, k4, false}, 1501, 1446},
      // Transport mode: the 20 bytes of header are in the packet. 1500 - 20 - 8 - 24 = 1448 + 20 - 2
      {{kGcm, kTransport, k4, false}, 1500, 1466},
      // 1500 - 40 - 8 - 8 - 24 = 1420 + 40 - 2
      {{kGcm, kTransport, k6, true}, 1500, 1458},
      // 1500 - 20 - 8 - 32 = 1440 + 20 - 2
      {{kCbc256, kTransport, k4, false}, 1500, 1458},
  };
  for (const Row& row : table) {
    CAPTURE(row.path);
    CAPTURE(row.inner);
    CHECK(inner_mtu(row.shape, row.path) == row.inner);
  }
}

TEST_CASE("mtu: what fits leaves within the path, and one byte more does not") {
  for (const EspSuite& suite : {kGcm, kChacha, kCbc256, kCbc384, kCbc512})
    for (const EspMode mode : {kTunnel, kTransport})
      for (const Family outer : {k4, k6})
        for (const bool udp : {false, true})
          for (uint32_t path = 576; path <= 1600; ++path) {
            const EspShape shape{suite, mode, outer, udp};
            const uint32_t inner = inner_mtu(shape, path);
            REQUIRE(outer_bytes(shape, inner) <= path);
            REQUIRE(outer_bytes(shape, inner + 1) > path);
          }
}

TEST_CASE("mtu: a path that carries nothing sensible has the least MTU") {
  const EspShape shape{kCbc512, kTunnel, k6, true};
  for (const uint32_t path : {0U, 40U, 100U, 300U}) CHECK(inner_mtu(shape, path) == kMtuMin);
}

TEST_CASE("mtu: before anything is negotiated the largest of what is offered counts, in UDP") {
  ChildPolicy policy;
  policy.proposals = parse_proposal(Protocol::kEsp, "aes256gcm16").value();
  const auto slower = parse_proposal(Protocol::kEsp, "aes256-sha256-sha512").value();
  policy.proposals.insert(policy.proposals.end(), slower.begin(), slower.end());
  const Tunnel tunnel = tunnel_to({"10.2.0.0/16"}, policy);

  CHECK(mtu_of(tunnel).bytes == inner_mtu({kCbc512, kTunnel, k4, true}, 1500));
  CHECK(mtu_of(tunnel).because.find("the largest of what is offered") != std::string::npos);
  const InnerMtu negotiated = mtu_of(tunnel, EspShape{kGcm, kTunnel, k4, false});
  CHECK(negotiated.bytes == 1446);
  CHECK(negotiated.because == "1500 bytes of path less aes256gcm16 over IPv4 (eth0)");
}

TEST_CASE("mtu: an unknown peer may come over IPv6") {
  Tunnel tunnel = tunnel_to({"10.2.0.0/16"});
  tunnel.remote.reset();
  CHECK(mtu_of(tunnel, {}, {}).bytes == inner_mtu({kGcm, kTunnel, k6, true}, kUnderlayMtu));
  CHECK(mtu_of(tunnel, {}, {}).because.find("(assumed)") != std::string::npos);
}

TEST_CASE("mtu: a path that is too small for IPv6 is called that") {
  const EspShape shape{kGcm, kTunnel, k4, false};
  const PathFacts small{"eth0", 1300};
  CHECK(mtu_of(tunnel_to({"fd00:2::/64"}), shape, small).because.find("too little for IPv6") != std::string::npos);
  CHECK(mtu_of(tunnel_to({"10.2.0.0/16"}), shape, small).because.find("IPv6") == std::string::npos);
  CHECK(mtu_of(tunnel_to({"fd00:2::/64"}), shape).because.find("IPv6") == std::string::npos);
}

TEST_CASE("mtu: the configured one is not computed, and a configured path takes the place of the known one") {
  const EspShape shape{kGcm, kTunnel, k4, false};
  const InnerMtu fixed = mtu_of(tunnel_to({"10.2.0.0/16"}, {.mtu = 1300}), shape);
  CHECK(fixed.bytes == 1300);
  CHECK(fixed.because == "mtu of child policy std");
  const InnerMtu computed = mtu_of(tunnel_to({"10.2.0.0/16"}, {.outer_mtu = 1400}), shape);
  CHECK(computed.bytes == 1346);
  CHECK(computed.because.find("(outer_mtu of child policy std)") != std::string::npos);
}

TEST_CASE("mtu: an interface for IPv6 has at least what IPv6 needs, one for IPv4 what was asked for") {
  CHECK(link_mtu(tunnel_to({"10.2.0.0/16"}), 1000) == 1000);
  CHECK(link_mtu(tunnel_to({"10.2.0.0/16", "fd00:2::/64"}), 1000) == 1280);
  CHECK(link_mtu(tunnel_to({"fd00:2::/64"}), 1400) == 1400);
}

TEST_CASE("mss: none, a fixed one, or what the MTU leaves beside the headers of each family") {
  using Mode = MssClamp::Mode;
  CHECK(mss_limits({}, 1400) == MssLimits{});
  CHECK(mss_limits({.mode = Mode::kFixed, .bytes = 1200}, 1400) == MssLimits{1200, 1200});
  CHECK(mss_limits({.mode = Mode::kMtu}, 1446) == MssLimits{1406, 1386});
  // IPv6 packets of 1280 bytes pass whatever the MTU is.
  CHECK(mss_limits({.mode = Mode::kMtu}, 1000) == MssLimits{960, 1220});
}
