#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "agent/udp_socket.h"
#include "policy/base/random.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

/// An IKE-like datagram with SPIs and flags drawn from `random`; sometimes too short to be one.
Bytes draw_datagram(Random& random) {
  Bytes bytes(random.below(10) == 0 ? random.below(20) : 28 + random.below(100));
  random.fill(bytes);
  if (bytes.size() < 28) return bytes;
  bytes[19] = random.below(2) == 0 ? 0x08 : 0x20;
  if (random.below(3) == 0) std::fill(bytes.begin() + 8, bytes.begin() + 16, uint8_t{0});
  return bytes;
}

size_t receive_all(std::vector<UdpSocket>& group, std::vector<std::pair<size_t, Bytes>>& got) {
  for (size_t i = 0; i < group.size(); ++i)
    group[i].receive([&](const ike::Path&, ByteView bytes) { got.emplace_back(i, Bytes(bytes.begin(), bytes.end())); });
  return got.size();
}

}  // namespace

TEST_CASE("steering: the kernel's filter sends each datagram to the worker that the same arithmetic names") {
  constexpr size_t kWorkers = 3;
  for (const char* text : {"127.0.0.1", "::1"}) {
    const IpAddress address = *IpAddress::parse(text);
    for (uint16_t port : {kIkePort, kNatPort}) {
      auto group = UdpSocket::open_group({}, ike::SocketContext(0), {address, port}, kWorkers);
      REQUIRE_MESSAGE(group.ok(), (group.ok() ? std::string() : group.error().text()));
      // A socket of the group sends to the group: so the non-ESP marker is there on 4500, and nowhere else.
      UdpSocket& from = group->back();
      SeededRandom random(port);
      std::set<size_t> used;
      for (int round = 0; round < 300; ++round) {
        const Bytes bytes = draw_datagram(random);
        REQUIRE(from.send({address, port}, bytes).ok());
        std::vector<std::pair<size_t, Bytes>> got;
        REQUIRE(receive_all(*group, got) == 1);
        Bytes on_wire = bytes;
        if (port == kNatPort) on_wire.insert(on_wire.begin(), 4, uint8_t{0});
        CHECK(got[0].first == worker_for(on_wire, port, kWorkers));
        CHECK(got[0].second == bytes);
        used.insert(got[0].first);
      }
      CHECK(used.size() == kWorkers);
    }
  }
}

TEST_CASE("sockets: a port that somebody else has bound, a missing address, VRF or namespace are told apart") {
  auto reason = [](const policy::RoutingPlace& place, const char* address) {
    auto group = UdpSocket::open_group(place, ike::SocketContext(0), {*IpAddress::parse(address), kIkePort}, 2);
    return group.ok() ? Reason::kNone : group.error().reason();
  };
  CHECK(reason({}, "127.0.0.1") == Reason::kNone);
  CHECK(reason({}, "203.0.113.77") == Reason::kAddressMissing);
  CHECK(reason({.netns = {}, .vrf = "nosuch"}, "127.0.0.1") == Reason::kVrfMissing);
  CHECK(reason({.netns = "nosuch", .vrf = {}}, "127.0.0.1") == Reason::kNamespaceMissing);
}
