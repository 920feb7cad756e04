#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "netlink/df_programs.h"
#include "tests/kernel/lab_network.h"

// DF bits on packets that a real kernel sends and forwards: what goes in, what comes out.

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::netlink;
using namespace ipsec::policy;

namespace {

constexpr uint32_t kSpi = 0xc0000001;

/// Raw IPv4 packets of one protocol, as they come with their headers.
class Raw {
 public:
  Raw(const std::string& netns, int protocol)
      : fd_(socket_in_netns(netns, AF_INET, SOCK_RAW | SOCK_CLOEXEC, protocol).value()) {}

  void send(const std::string& to, ByteView payload, int discover) const {
    REQUIRE(::setsockopt(fd_.get(), IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof(discover)) == 0);
    sockaddr_in there{};
    there.sin_family = AF_INET;
    REQUIRE(::inet_pton(AF_INET, to.c_str(), &there.sin_addr) == 1);
    REQUIRE(::sendto(fd_.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&there),
                     sizeof(there)) == static_cast<ssize_t>(payload.size()));
  }
  /// The flags and offset of the next packet that comes; nothing within two seconds: 0xffff.
  uint16_t next_flags() const {
    pollfd waiting{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    std::array<uint8_t, 2048> packet{};
    if (::poll(&waiting, 1, 2000) != 1 || ::recv(fd_.get(), packet.data(), packet.size(), 0) < 20) return 0xffff;
    return static_cast<uint16_t>(packet[6] << 8 | packet[7]);
  }

 private:
  UniqueFd fd_;
};

Bytes esp(uint32_t spi, size_t bytes = 40) {
  ByteWriter packet;
  packet.u32(spi), packet.u32(1), packet.zeros(bytes - 8);
  const ByteView view = packet.view();
  return {view.begin(), view.end()};
}

/// A UDP datagram between ports 4500; no checksum.
Bytes in_udp(ByteView payload) {
  ByteWriter packet;
  packet.u16(4500), packet.u16(4500), packet.u16(static_cast<uint16_t>(8 + payload.size())), packet.u16(0);
  packet.bytes(payload);
  const ByteView view = packet.view();
  return {view.begin(), view.end()};
}

SaKey sa(uint32_t spi, const char* to = "192.0.2.2") { return {address(to), ChildSpi(spi)}; }

PacketRules with_sas(std::initializer_list<uint32_t> spis) {
  PacketRules rules;
  for (const uint32_t spi : spis) rules.outer.emplace(sa(spi), OuterHeader{.df_set = true});
  return rules;
}

/// How many programs of ours the kernel has.
size_t programs() {
  size_t count = 0;
  bpf_attr attributes{};
  while (::syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attributes, sizeof(attributes)) == 0) {
    attributes.start_id = attributes.next_id;
    bpf_attr open{};
    open.prog_id = attributes.next_id;
    const UniqueFd program(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &open, sizeof(open))));
    bpf_prog_info info{};
    bpf_attr ask{};
    ask.info.bpf_fd = static_cast<uint32_t>(program.get());
    ask.info.info_len = sizeof(info);
    ask.info.info = reinterpret_cast<uintptr_t>(&info);
    if (::syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof(ask)) == 0 && std::string(info.name) == "ipsecd_df")
      ++count;
  }
  return count;
}

/// What is sent by the left gateway, seen by the right one.
struct Sending {
  Network network;
  Raw esp_from{"left-pub", IPPROTO_ESP}, esp_to{"right-pub", IPPROTO_ESP};
  Raw udp_from{"left-pub", IPPROTO_UDP}, udp_to{"right-pub", IPPROTO_UDP};

  uint16_t flags_of(uint32_t spi, int discover = IP_PMTUDISC_DONT) const {
    esp_from.send("192.0.2.2", esp(spi), discover);
    return esp_to.next_flags();
  }
  uint16_t flags_in_udp(ByteView payload) const {
    udp_from.send("192.0.2.2", in_udp(payload), IP_PMTUDISC_DONT);
    return udp_to.next_flags();
  }
};

/// Packets from `host` through left-priv to `far`, which is where "out" leads; "in" is what they come by.
struct Forwarding {
  Network network;
  Namespace host{"df-host"}, far{"df-far"};

  explicit Forwarding(const std::string& vrf) {
    const std::string in_vrf =
        vrf.empty() ? ""
                    : "; ip -n left-priv link set in master " + vrf + "; ip -n left-priv link set out master " + vrf;
    const std::string line =
        "set -e; ip -n left-priv link add in type veth peer name eth0 netns df-host;"
        "ip -n left-priv link add out type veth peer name eth0 netns df-far" +
        in_vrf +
        "; ip -n left-priv link set in up; ip -n left-priv link set out up mtu 1300; ip -n df-host link set eth0 up;"
        "ip -n df-far link set eth0 up; ip -n left-priv addr add 10.9.0.1/24 dev in; ip -n df-host addr add "
        "10.9.0.2/24 dev eth0; ip -n left-priv addr add 10.8.0.1/24 dev out; ip -n df-far addr add 10.8.0.2/24 dev "
        "eth0; ip -n df-far addr add 10.2.0.9/32 dev eth0; ip -n df-far addr add 10.3.0.9/32 dev eth0;"
        "ip -n df-host route add default via 10.9.0.1; ip -n df-far route add default via 10.8.0.1;"
        "ip netns exec left-priv sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward';"
        "ip -n left-priv route add 10.2.0.0/15 via 10.8.0.2 dev out" +
        (vrf.empty() ? "" : " vrf " + vrf);
    REQUIRE(shell(line) == 0);
  }
  uint16_t flags_to(const std::string& address) const {
    const Raw from("df-host", IPPROTO_UDP), to("df-far", IPPROTO_UDP);
    from.send(address, in_udp(Bytes(16)), IP_PMTUDISC_PROBE);
    return to.next_flags();
  }
};

constexpr uint16_t kDf = 0x4000;

/// Without DF from a VRF (empty: none) into an interface, to 10.2.0.0/16.
PacketRules cleared(const std::string& vrf, const std::string& interface) {
  PacketRules rules;
  rules.inner_df = {{vrf, interface, prefix("10.2.0.0/16")}};
  return rules;
}

/// The programs that do so, as long as they are held.
std::unique_ptr<DfPrograms> made_for(const std::string& netns, const PacketRules& rules) {
  auto made = DfPrograms::create(netns, rules);
  REQUIRE_MESSAGE(made.ok(), made.error().text());
  return std::move(made).value();
}

}  // namespace

TEST_CASE("DF: packets of an SA leave with it as long as that is wanted, others as they are") {
  const Sending world;
  Port port;
  CHECK(error_of(port.kernel->writes_df()) == "");
  PacketRules rules = with_sas({kSpi});
  rules.outer.emplace(sa(kSpi + 1), OuterHeader{.df_set = true, .dscp = {}, .udp_encapsulation = true});
  CHECK(world.flags_of(kSpi) == 0);
  CHECK(error_of(port.done("left-pub", SetPacketRules{rules})) == "");
  CHECK(port.kernel->dump_packet_rules("left-pub").value() == rules);
  CHECK(world.flags_of(kSpi) == kDf);
  CHECK(world.flags_of(kSpi, IP_PMTUDISC_DO) == kDf);  // stays
  CHECK(world.flags_of(kSpi + 1) == 0);
  CHECK(world.flags_in_udp(esp(kSpi + 1)) == kDf);
  CHECK(world.flags_in_udp(esp(kSpi)) == 0);
  CHECK(world.flags_in_udp(esp(0)) == 0);  // IKE

  const PacketRuleChange change{.outer = {{sa(kSpi), std::nullopt}, {sa(kSpi + 2), OuterHeader{.df_set = true}}}};
  CHECK(error_of(port.done("left-pub", ChangePacketRules{change})) == "");
  CHECK(world.flags_of(kSpi) == 0);
  CHECK(world.flags_of(kSpi + 2) == kDf);
  change.apply_to(rules);
  CHECK(port.kernel->dump_packet_rules("left-pub").value() == rules);

  CHECK(error_of(port.done("left-pub", SetPacketRules{})) == "");
  CHECK(world.flags_of(kSpi + 2) == 0);
  CHECK(port.kernel->dump_packet_rules("left-pub").value().empty());
  CHECK(programs() == 0);
}

TEST_CASE("DF: a DSCP of the same SA is written too, and either goes without the other") {
  const Sending world;
  Port port;
  PacketRules rules;
  rules.outer.emplace(sa(kSpi), OuterHeader{.df_set = true, .dscp = uint8_t{46}});
  CHECK(error_of(port.done("left-pub", SetPacketRules{rules})) == "");
  CHECK(port.kernel->dump_packet_rules("left-pub").value() == rules);
  CHECK(world.flags_of(kSpi) == kDf);
  for (const OuterHeader& header : {OuterHeader{.dscp = uint8_t{46}}, OuterHeader{.df_set = true},
                                    OuterHeader{.df_set = true, .dscp = uint8_t{10}}}) {
    const PacketRuleChange change{.outer = {{sa(kSpi), header}}};
    change.apply_to(rules);
    CHECK(error_of(port.done("left-pub", ChangePacketRules{change})) == "");
    CHECK(port.kernel->dump_packet_rules("left-pub").value() == rules);
    CHECK(world.flags_of(kSpi) == (header.df_set ? kDf : 0));
  }
  CHECK(error_of(port.done("left-pub", SetPacketRules{})) == "");
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("DF: what is forwarded into an interface loses it, by destination and VRF") {
  for (const std::string vrf : {"", "blue"}) {
    CAPTURE(vrf);
    const Forwarding world(vrf);
    Port port;
    const PacketRules rules = cleared(vrf, "out");
    CHECK(world.flags_to("10.2.0.9") == kDf);
    CHECK(error_of(port.done("left-priv", SetPacketRules{rules})) == "");
    CHECK(port.kernel->dump_packet_rules("left-priv").value() == rules);
    CHECK(world.flags_to("10.2.0.9") == 0);
    CHECK(world.flags_to("10.3.0.9") == kDf);
    CHECK(error_of(port.done("left-priv", SetPacketRules{})) == "");
    CHECK(world.flags_to("10.2.0.9") == kDf);
  }
}

TEST_CASE("DF: programs ask the route, and where that says more than an interface the destination alone") {
  const Forwarding world("blue");
  auto held = made_for("left-priv", cleared("blue", "lan"));
  CHECK(world.flags_to("10.2.0.9") == kDf);  // routed elsewhere
  REQUIRE(shell("ip -n left-priv route replace 10.2.0.0/15 vrf blue encap ip id 7 dst 10.8.0.2 via 10.8.0.2 dev out") ==
          0);
  CHECK(world.flags_to("10.2.0.9") == 0);
  held = made_for("left-priv", cleared("red", "out"));  // a VRF that is not there yet
  CHECK(world.flags_to("10.2.0.9") == kDf);
}

TEST_CASE("DF: programs follow devices that come, go, and change their VRF") {
  const Forwarding world("");
  const PacketRules rules = cleared("blue", "out");
  const auto made = made_for("left-priv", rules);
  DfPrograms& programs = *made;
  CHECK(world.flags_to("10.2.0.9") == kDf);  // not from the VRF
  REQUIRE(shell("ip -n left-priv link set in master blue && ip -n left-priv link set out master blue && "
                "ip -n left-priv route add 10.2.0.0/15 via 10.8.0.2 dev out vrf blue") == 0);
  CHECK_FALSE(programs.take_disturbed());
  CHECK(world.flags_to("10.2.0.9") == 0);
  // The interface is made anew, under another number.
  REQUIRE(shell("ip -n left-priv link del out && ip -n left-priv link add out type veth peer name eth0 netns df-far && "
                "ip -n left-priv link set out master blue up && ip -n df-far link set eth0 up && "
                "ip -n left-priv addr add 10.8.0.1/24 dev out && ip -n df-far addr add 10.8.0.2/24 dev eth0 && "
                "ip -n df-far addr add 10.2.0.9/32 dev eth0 && ip -n df-far route add default via 10.8.0.1 && "
                "ip -n left-priv route add 10.2.0.0/15 via 10.8.0.2 dev out vrf blue") == 0);
  CHECK_FALSE(programs.take_disturbed());
  CHECK(world.flags_to("10.2.0.9") == 0);
  CHECK(programs.read().value() == rules);
  // And so is the one that packets come by, under the same number and name as before.
  REQUIRE(shell("index=$(ip -n left-priv -o link show in | cut -d: -f1) && ip -n left-priv link del in && "
                "ip -n left-priv link add in index $index type veth peer name eth0 netns df-host && "
                "ip -n left-priv link set in master blue up && ip -n df-host link set eth0 up && "
                "ip -n left-priv addr add 10.9.0.1/24 dev in && ip -n df-host addr add 10.9.0.2/24 dev eth0 && "
                "ip -n df-host route add default via 10.9.0.1") == 0);
  CHECK_FALSE(programs.take_disturbed());
  CHECK(world.flags_to("10.2.0.9") == 0);
  CHECK(programs.read().value() == rules);
  REQUIRE(shell("ip -n left-priv link del in") == 0);
  CHECK_FALSE(programs.take_disturbed());
  CHECK(programs.read().value() == rules);
}

TEST_CASE("DF: programs stand beside those of others, and end with what holds them") {
  const Sending world;
  const size_t before = programs();
  {
    auto first = made_for("left-pub", with_sas({kSpi})), second = made_for("left-pub", with_sas({kSpi + 1}));
    CHECK(world.flags_of(kSpi) == kDf);
    CHECK(world.flags_of(kSpi + 1) == kDf);
    CHECK(programs() > before);
    first = std::move(second);
    CHECK(world.flags_of(kSpi) == 0);
    CHECK(world.flags_of(kSpi + 1) == kDf);
  }
  CHECK(world.flags_of(kSpi + 1) == 0);
  CHECK(programs() == before);
}

TEST_CASE("DF: more devices than may have a program are refused, and nothing stays") {
  const Sending world;
  std::string line = "set -e; ";
  for (size_t each = 0; each <= kDfDevicesMax / 2; ++each) {
    const std::string number = std::to_string(each);
    line.append("echo link add da").append(number).append(" type veth peer name db").append(number).append(";");
  }
  REQUIRE(shell("(" + line + ") | ip -n left-pub -batch -") == 0);
  const auto refused = DfPrograms::create("left-pub", with_sas({kSpi}));
  CHECK(reason_of(refused) == Reason::kLimitReached);
  CHECK(programs() == 0);
}
