#include <doctest/doctest.h>

#include <algorithm>

#include "netlink/df_probe.h"
#include "netlink/nft_table.h"
#include "tests/kernel/lab_network.h"

// Our table of packet rules in a real kernel; the command nft, which knows nothing of us, says what stands there.

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

constexpr const char* kPlace = "left-pub";

SaKey sa(const char* address, uint32_t spi) { return {IpAddress::parse(address).value(), ChildSpi(spi)}; }

const PacketRules::Sealed kPair{IpAddress::parse("192.0.2.2").value(), IpAddress::parse("192.0.2.1").value()};

PacketRules rich() {
  PacketRules rules;
  rules.interfaces = {{"ips1000001", {1406, 1386}}};
  rules.reqids = {{0x1000003, {1200, 1180}}};
  rules.inner_df = {{.interface = "ips1000001"}, {"blue", "ips1000002", IpPrefix::parse("10.2.0.0/16").value()}};
  rules.outer = {{sa("192.0.2.2", 0xc0000001), {.df_set = true, .dscp = uint8_t{12}}},
                 {sa("2001:db8::2", 0xc0000003), {.df_set = true, .dscp = uint8_t{46}, .udp_encapsulation = true}}};
  rules.sealed = {kPair};
  return rules;
}

std::string nft(const std::string& line) {
  return shell_output("ip netns exec " + std::string(kPlace) + " nft '" + line + "'");
}
std::string listed() { return nft("list table inet ipsecd"); }
bool shows(const std::string& listing, const char* part) { return listing.find(part) != std::string::npos; }

PacketRules standing(Port& port) {
  auto rules = port.kernel->dump_packet_rules(kPlace);
  REQUIRE_MESSAGE(rules.ok(), rules.error().text());
  return std::move(*rules);
}

}  // namespace

TEST_CASE("packet rules: the kernel holds what was asked for, as another program reads it, and shows it to us") {
  Network network;
  Port port;
  CHECK(standing(port).empty());
  CHECK(error_of(port.done(kPlace, SetPacketRules{rich()})) == "");

  const std::string text = listed();
  for (const char* part : {"comment \"made by ipsecd",
                           "type filter hook postrouting priority mangle; policy accept;",
                           "type filter hook prerouting priority mangle; policy accept;",
                           "\"ips1000001\" : jump mss_1406_1386",
                           "tcp flags syn / syn,rst",
                           "iifname vmap @interfaces_in",
                           "oifname vmap @interfaces_out",
                           "ipsec in reqid vmap @reqids_in",
                           "ipsec out reqid vmap @reqids_out",
                           "tcp option maxseg size set 1406",
                           "tcp option maxseg size set 1386",
                           "tcp option maxseg size set 1200",
                           "ip daddr . esp spi vmap @esp4",
                           "ip6 daddr . esp spi vmap @esp6",
                           "vmap @udp4",
                           "vmap @udp6",
                           "ip dscp set ef",
                           "ip6 dscp set ef",
                           "ip saddr . ip daddr vmap @sealed",
                           "192.0.2.2 . 192.0.2.1 : jump protected_only",
                           "meta ipsec missing drop"})
    CHECK_MESSAGE(shows(text, part), part, " in ", text);
  const bool df = netlink::probe_df_writer().value() == netlink::DfWriter::kRules;
  for (const char* part : {"iifname \"blue\" ip daddr 10.2.0.0/16", "fib daddr oifname \"ips1000001\""})
    CHECK_MESSAGE(shows(text, part) == df, part, " in ", text);
  CHECK(standing(port) == rich());
}

TEST_CASE("packet rules: elements come and go without the rest, and what needs another chain brings it") {
  Network network;
  Port port;
  REQUIRE(port.done(kPlace, SetPacketRules{rich()}).ok());
  PacketRules wanted = rich();
  for (const PacketRuleChange& change :
       {PacketRuleChange{.interfaces = {{"ips1000001", std::nullopt}, {"ips1000004", MssLimits{1200, 1180}}}},
        PacketRuleChange{.outer = {{sa("192.0.2.2", 0xc0000001), std::nullopt},
                                   {sa("192.0.2.2", 0xc0000007), OuterHeader{.df_set = true}}}},
        PacketRuleChange{.outer = {{sa("192.0.2.2", 0xc0000007), OuterHeader{.dscp = uint8_t{10}}}}},
        PacketRuleChange{.sealed = {{kPair, false}}}, PacketRuleChange{.sealed = {{kPair, true}}},
        PacketRuleChange{.inner_df = {{{.interface = "ips1000001"}, false}}}}) {
    change.apply_to(wanted);
    CHECK(error_of(port.done(kPlace, ChangePacketRules{change})) == "");
    CHECK(standing(port) == wanted);
  }
  CHECK(shows(listed(), "ip dscp set af11"));
}

TEST_CASE("packet rules: the last one takes the table with it, and other tables are left alone") {
  Network network;
  Port port;
  REQUIRE(shell("ip netns exec left-pub nft 'add table inet others { chain c { counter; }; }'") == 0);
  REQUIRE(port.done(kPlace, SetPacketRules{rich()}).ok());
  CHECK(error_of(port.done(kPlace, SetPacketRules{})) == "");
  CHECK(error_of(port.done(kPlace, SetPacketRules{})) == "");  // gone already
  CHECK(nft("list tables") == "table inet others\n");
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("packet rules: what others change is seen at once, and told from what we do ourselves") {
  Network network;
  Port port;
  REQUIRE(port.kernel->watch(kPlace).ok());
  REQUIRE(port.done(kPlace, SetPacketRules{rich()}).ok());
  const auto disturbed = [&] {
    bool seen = false;
    port.kernel->process();
    while (const auto event = port.kernel->poll_event())
      seen = seen || std::holds_alternative<PacketRulesDisturbed>(*event);
    return seen;
  };
  CHECK_FALSE(disturbed());
  REQUIRE(shell("ip netns exec left-pub nft 'add table inet others'") == 0);
  CHECK_FALSE(disturbed());
  for (const char* line : {"add rule inet ipsecd leaving counter", "flush chain inet ipsecd entering",
                           "add element inet ipsecd interfaces_out { ips7 : jump mss_1200_1180 }",
                           "flush map inet ipsecd esp4", "delete table inet ipsecd"}) {
    CAPTURE(line);
    REQUIRE(nft(line) == "");
    CHECK(disturbed());
    CHECK(standing(port) != rich());
    CHECK(error_of(port.done(kPlace, SetPacketRules{rich()})) == "");
    CHECK(standing(port) == rich());
    CHECK_FALSE(disturbed());
  }
}

TEST_CASE("packet rules: a table of our name that is somebody else's is not touched") {
  Network network;
  Port port;
  REQUIRE(nft("add table inet ipsecd { chain theirs { counter; }; }") == "");
  CHECK(reason_of(port.done(kPlace, SetPacketRules{rich()})) == Reason::kKernelConflict);
  CHECK(error_of(port.done(kPlace, SetPacketRules{})) == "");
  CHECK(shows(listed(), "theirs"));
  CHECK(port.kernel->journal().size() == 0);
}

TEST_CASE("packet rules: what a killed run has left is known as ours and replaced") {
  Network network;
  {
    Port before("nft-restart");
    REQUIRE(before.done(kPlace, SetPacketRules{rich()}).ok());
  }
  Port port("nft-restart");
  CHECK_FALSE(standing(port).intact);  // what of it still holds nobody remembers
  CHECK(reason_of(port.done(kPlace, ChangePacketRules{{.interfaces = {{"ips9", MssLimits{900, 880}}}}})) ==
        Reason::kNotFound);
  CHECK(error_of(port.done(kPlace, SetPacketRules{rich()})) == "");
  CHECK(standing(port) == rich());
  CHECK(error_of(port.done(kPlace, SetPacketRules{})) == "");
  CHECK(shell("ip netns exec left-pub nft list table inet ipsecd") != 0);
}

TEST_CASE("packet rules: the probe of DF says what a packet finds, and leaves nothing") {
  Network network;
  Port port;
  CHECK(error_of(port.kernel->writes_df()) == "");
  const auto probed = netlink::probe_df_writer();
  REQUIRE_MESSAGE(probed.ok(), probed.error().text());
  // The same with the words of nft: the bit of a packet without one, and a counter behind it.
  REQUIRE(nft("add table inet t { chain c { type filter hook output priority 0; udp dport 9 ip frag-off set 0x4000 "
              "counter; }; }") == "");
  REQUIRE(shell("ip netns exec left-pub bash -c 'echo > /dev/udp/192.0.2.2/9'") == 0);
  CHECK(shows(nft("list table inet t"), "counter packets 0") == (*probed == netlink::DfWriter::kPrograms));
  CHECK(shell("nft list table inet ipsecd") != 0);
}

TEST_CASE("path: device, route and ICMP say how much a path carries") {
  Network network;
  Port port;
  const IpAddress peer = IpAddress::parse("192.0.2.2").value(), far = IpAddress::parse("203.0.113.1").value();
  const auto path = [&](const IpAddress& to) { return port.kernel->path_to({.netns = kPlace}, to); };
  CHECK(path(peer).value() == PathFacts{"wan", 1500, true});
  CHECK_FALSE(path(far).ok());
  REQUIRE(shell("ip -n left-pub route add 203.0.113.0/24 via 192.0.2.2 mtu 1300") == 0);
  CHECK(path(far).value() == PathFacts{"wan", 1300});
  REQUIRE(shell("ip -n left-pub link set wan mtu 1400") == 0);
  CHECK(path(peer).value() == PathFacts{"wan", 1400, true});
  CHECK(path(IpAddress::parse("2001:db8::2").value()).value() == PathFacts{"wan", 1400, true});
  CHECK(port.kernel->path_to({.netns = kPlace, .vrf = "green"}, peer).error().reason() == Reason::kVrfMissing);
}
